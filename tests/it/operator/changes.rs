//! Rows linked, accounts moved, sessions revoked.

use serde_json::{Value, json};

use super::{told, two_people};
use crate::support::client::UserProfile;
use crate::support::operator::{done, operate, plain, said};
use crate::support::stage::Stage;

#[tokio::test]
async fn only_a_link_gives_a_row_with_an_admin_role_to_a_person() {
    let stage = Stage::with(|setup| setup.with("account.adopt", vec!["user_id", "email"])).await;
    stage.db.add_user("root-of-old", "proxy_admin", None, Some("alice@example.com")).await;
    let alice = UserProfile::named("alice").in_groups("llm-admins");
    let request = stage.client().get("/v1/models").from(&alice);
    request.send().await.expect_refusal(403, "account_conflict");
    let ended = operate(&stage.setup, &["users", "link", "default", "alice", "root-of-old", "--dry-run"]).await;
    let wanted = "\
Link default alice to LiteLLM's user `root-of-old` (e-mail alice@example.com, role proxy_admin):
  - make an account; whoever signs in so has that user's row
  - at the next request its role becomes the one that the rules give (`account.role_sync`)
A dry run: nothing was changed.
";
    assert_eq!(said(&ended), wanted);
    let linked = done(&stage.setup, &["users", "link", "default", "alice", "root-of-old", "--yes"]).await;
    assert_eq!(linked, "default alice is root-of-old from now on.\n");
    stage.setup.start().await.client().get("/v1/models").from(&alice).send().await.expect_ok();
    assert_eq!(stage.db.users().await.len(), 1);
    assert_eq!(stage.db.role("root-of-old").await.as_deref(), Some("proxy_admin"));
    let events = stage.db.texts("SELECT event FROM vestibule.audit WHERE event <> 'refused' ORDER BY id").await;
    assert_eq!(events[0], "linked");
}

#[tokio::test]
async fn what_cannot_be_linked_is_told_with_the_reason() {
    let stage = two_people().await;
    stage.db.add_user("carol", "internal_user", None, None).await;
    for (words, reason) in [
        (["default", "alice", "carol"], "has an account already: `alice`"),
        (["default", "c", "bob"], "belongs to the account of `default` `bob`"),
        (["default", "c", "nobody"], "LiteLLM has no user `nobody`"),
        (["default", "c", "default_user_id"], "LiteLLM keeps for itself"),
        (["default", " c", "carol"], "can't be a subject"),
    ] {
        let words = [&["users", "link"], &words[..], &["--yes"]].concat();
        told!(operate(&stage.setup, &words).await, 1, reason);
    }
    told!(
        operate(&stage.setup, &["users", "link", "othr", "c", "carol", "--dry-run"]).await,
        0,
        "this configuration's `identity.issuer` is `default`"
    );
}

#[tokio::test]
async fn somebody_whose_subject_changed_keeps_the_account() {
    let stage = two_people().await;
    let expected = operate(&stage.setup, &["users", "move", "alice", "default", "a-2", "--dry-run"]).await;
    let wanted = "\
Move `alice`, account <ACCOUNT1>:
  - from default alice, who has no account then
  - to default a-2
  - end session <SESSION1> and delete its key in LiteLLM
A dry run: nothing was changed.
";
    assert_eq!(plain(&stage, &said(&expected)).await, wanted);
    told!(
        operate(&stage.setup, &["users", "move", "alice", "default", "bob", "--yes"]).await,
        1,
        "has an account already: `bob`",
        "vestibule users move default bob default bob.old"
    );
    let moved = done(&stage.setup, &["users", "move", "default", "alice", "default", "a-2", "--yes"]).await;
    assert_eq!(moved, "alice is default a-2 from now on.\n");
    let mut alice = UserProfile::named("a-2");
    alice.email = "alice@example.com".to_owned();
    let answer = stage.client().get("/v1/models").from(&alice).send().await;
    answer.expect_ok();
    let key = stage.upstream.last().head.value("x-litellm-api-key").expect("a key");
    assert_eq!(stage.db.owner_of(&key).await.as_deref(), Some("alice"));
    let row = stage.db.user("alice").await.expect("the row is there");
    assert_eq!(row.sso_user_id.as_deref(), Some("a-2"));
    assert_eq!(stage.db.user_count().await, 2);
    let detail = stage.db.texts("SELECT detail::text FROM vestibule.audit WHERE event = 'moved'").await.remove(0);
    let wanted =
        json!({ "from": { "issuer": "default", "subject": "alice" }, "to": { "issuer": "default", "subject": "a-2" } });
    assert_eq!(serde_json::from_str::<Value>(&detail).expect("JSON"), wanted);
}

#[tokio::test]
async fn a_revocation_ends_the_key_and_the_next_request_makes_another() {
    let stage = two_people().await;
    let plan = operate(&stage.setup, &["sessions", "revoke", "alice", "--dry-run"]).await;
    let wanted = "\
End 1 session, and delete the keys in LiteLLM:
  - <SESSION1> of `alice`, made <TIME>
This is no block: whoever comes again gets a new session.
A dry run: nothing was changed.
";
    assert_eq!(plain(&stage, &said(&plan)).await, wanted);
    let first = stage.db.texts("SELECT token FROM vestibule.session ORDER BY created_at").await;
    let told = done(&stage.setup, &["sessions", "revoke", "alice", "--yes"]).await;
    assert_eq!(told, "1 session ended. Whoever comes again gets a new one.\n");
    assert_eq!(stage.db.texts(r#"SELECT token FROM "LiteLLM_VerificationToken""#).await, first[1..]);
    let other = stage.setup.start().await;
    other.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    assert_eq!(stage.db.key_count().await, 2);
    let again = operate(&stage.setup, &["sessions", "revoke", "default", "nobody", "--yes"]).await;
    assert_eq!(again.code, Some(67), "{again:?}");
}

#[tokio::test]
async fn one_session_or_all_can_be_revoked() {
    let stage = two_people().await;
    let list = done(&stage.setup, &["sessions", "list", "bob", "--json"]).await;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let id = list[0]["session_id"].as_str().expect("an id");
    let told = done(&stage.setup, &["sessions", "revoke", "--session", id, "--yes", "--json"]).await;
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told, json!({ "changed": true, "sessions_ended": [id], "litellm": "no_master_key" }));
    told!(
        operate(&stage.setup, &["sessions", "revoke", "--session", id, "--yes"]).await,
        1,
        "there is no living session"
    );
    // More than one batch.
    stage
        .db
        .run(
            "INSERT INTO vestibule.session (id, account_id, kind, nonce, secret_id, token, expires_at, current) \
             SELECT 's' || n, a.id, 'api', '', 'x', 'token' || n, now() + interval '1 hour', false \
             FROM vestibule.account a, generate_series(1, 1100) n WHERE a.user_id = 'bob'",
        )
        .await;
    let ended = operate(&stage.setup, &["sessions", "revoke", "--all", "--yes"]).await;
    told!(&ended, 0, "and 1081 more");
    assert_eq!(ended.stdout, "1101 sessions ended. Whoever comes again gets a new one.\n");
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.session").await, 0);
    assert_eq!(stage.db.key_count().await, 0);
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.audit WHERE event = 'session_revoked'").await, 1102);
    told!(operate(&stage.setup, &["sessions", "revoke", "--all", "--yes"]).await, 0, "There is no living session");
}
