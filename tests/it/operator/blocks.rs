//! A block does what it says, remembers it, and its lifting undoes that and no more.

use serde_json::{Value, json};

use super::{told, two_people};
use crate::support::client::UserProfile;
use crate::support::db::TestDb;
use crate::support::operator::{MASTER_KEY, done, operate, plain, said};
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;

/// What LiteLLM's tables say of somebody's row and keys, but for the session's.
async fn in_litellm(db: &TestDb, user_id: &str) -> Vec<String> {
    db.texts(&format!(
        r#"SELECT t FROM (SELECT 'user ' || metadata::text AS t FROM "LiteLLM_UserTable" WHERE user_id = '{user_id}'
               UNION ALL SELECT concat_ws(' ', 'key', coalesce(key_alias, key_name), coalesce(blocked::text, '-'))
               FROM "LiteLLM_VerificationToken" k WHERE user_id = '{user_id}'
               AND NOT EXISTS (SELECT FROM vestibule.session s WHERE s.token = k.token)) rows ORDER BY t"#
    ))
    .await
}

/// Alice has three keys of her own, of which one is blocked, and bob one.
async fn with_keys() -> Stage {
    let stage = two_people().await;
    for (name, owner, blocked) in
        [("one", "alice", "NULL"), ("two", "alice", "false"), ("three", "alice", "true"), ("bobs", "bob", "NULL")]
    {
        let sql = format!(
            r#"INSERT INTO "LiteLLM_VerificationToken" (token, key_alias, user_id, blocked, models)
               VALUES ('{name}', '{name}', '{owner}', {blocked}, '{{}}')"#
        );
        stage.db.run(&sql).await;
    }
    stage.db.run(r#"UPDATE "LiteLLM_UserTable" SET metadata = '{"a": 1}' WHERE user_id = 'alice'"#).await;
    stage
}

#[tokio::test]
async fn a_block_says_its_plan_does_it_and_is_undone_exactly() {
    let stage = with_keys().await;
    let before = in_litellm(&stage.db, "alice").await;
    let bobs = in_litellm(&stage.db, "bob").await;
    let plan = operate(&stage.setup, &["users", "block", "alice", "--dry-run"]).await;
    let wanted = "\
Block `alice` (default alice), account <ACCOUNT1>:
  - refuse every request of theirs
  - end session <SESSION1> and delete its key in LiteLLM
  - block 2 other keys of theirs in LiteLLM
  - set `metadata.scim_active` to false in LiteLLM's user row
A dry run: nothing was changed.
";
    assert_eq!(plain(&stage, &said(&plan)).await, wanted);
    let ended = operate(&stage.setup, &["users", "block", "alice", "--yes", "--json"]).await;
    told!(&ended, 0, "LiteLLM itself may go by what it remembers for up to 1m");
    let document: Value = serde_json::from_str(&ended.stdout).expect("one JSON document");
    assert_eq!(document["sessions_ended"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&document["keys_blocked"], &document["changed"], &document["litellm"]),
        (&json!(2), &json!(true), &json!("no_master_key"))
    );
    assert_eq!(
        in_litellm(&stage.db, "alice").await,
        ["key one true", "key three true", "key two true", r#"user {"a": 1, "scim_active": false}"#]
    );
    let sessions = "SELECT count(*) FROM vestibule.session s JOIN vestibule.account a ON a.id = s.account_id WHERE a.user_id = 'alice'";
    assert_eq!(stage.db.number(sessions).await, 0);
    assert_eq!(stage.db.key_count().await, 5, "the session's key is gone, all others are there");
    let shown = done(&stage.setup, &["users", "show", "alice"]).await;
    assert!(shown.contains("keys blocked  2") && shown.contains("operator:"), "{shown}");

    assert!(done(&stage.setup, &["users", "unblock", "alice", "--yes"]).await.contains("alice may come in again"));
    assert_eq!(in_litellm(&stage.db, "alice").await, before);
    assert_eq!(in_litellm(&stage.db, "bob").await, bobs);
    let ended = operate(&stage.setup, &["users", "unblock", "alice", "--yes"]).await;
    told!(ended, 0, "is not blocked by vestibule: nothing was changed");
    stage.setup.start().await.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
}

#[tokio::test]
async fn what_somebody_changed_since_the_block_stays_as_they_changed_it() {
    let stage = with_keys().await;
    stage.db.run(r#"UPDATE "LiteLLM_UserTable" SET metadata = '{"scim_active": true}' WHERE user_id = 'alice'"#).await;
    done(&stage.setup, &["users", "block", "alice", "--yes"]).await;
    // Key one works again by an admin's hand, key two has gone to bob.
    stage.db.run(r#"UPDATE "LiteLLM_VerificationToken" SET blocked = false WHERE token = 'one'"#).await;
    stage.db.run(r#"UPDATE "LiteLLM_VerificationToken" SET user_id = 'bob' WHERE token = 'two'"#).await;
    done(&stage.setup, &["users", "unblock", "alice", "--yes"]).await;
    assert_eq!(
        in_litellm(&stage.db, "alice").await,
        ["key one false", "key three true", r#"user {"scim_active": true}"#]
    );
    assert_eq!(in_litellm(&stage.db, "bob").await[..2], ["key bobs -", "key two true"]);
}

#[tokio::test]
async fn a_person_who_was_off_in_litellm_before_stays_off() {
    let stage = two_people().await;
    stage.db.run(r#"UPDATE "LiteLLM_UserTable" SET metadata = '{"scim_active": false}' WHERE user_id = 'alice'"#).await;
    done(&stage.setup, &["users", "block", "alice", "--yes"]).await;
    let ended = operate(&stage.setup, &["users", "unblock", "alice", "--yes"]).await;
    told!(ended, 0, "which vestibule did not set: the person stays refused");
    assert_eq!(in_litellm(&stage.db, "alice").await, [r#"user {"scim_active": false}"#]);
}

#[tokio::test]
async fn a_second_block_takes_in_what_was_made_since_and_one_lifting_undoes_both() {
    let stage = with_keys().await;
    let before = in_litellm(&stage.db, "alice").await;
    done(&stage.setup, &["users", "block", "alice", "--yes", "--reason", "first"]).await;
    let again = operate(&stage.setup, &["users", "block", "alice", "--yes"]).await;
    told!(again, 0, "is blocked already");
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.audit WHERE event = 'blocked'").await, 1, "no news");
    stage
        .db
        .run(r#"INSERT INTO "LiteLLM_VerificationToken" (token, key_alias, user_id, models) VALUES ('late', 'late', 'alice', '{}')"#)
        .await;
    done(&stage.setup, &["users", "block", "alice", "--yes"]).await;
    assert!(in_litellm(&stage.db, "alice").await.contains(&"key late true".to_owned()));
    let shown = done(&stage.setup, &["users", "show", "alice"]).await;
    assert!(shown.contains("keys blocked  3") && shown.contains("first"), "{shown}");
    done(&stage.setup, &["users", "unblock", "alice", "--yes"]).await;
    let mut wanted = before;
    wanted.insert(0, "key late -".to_owned());
    assert_eq!(in_litellm(&stage.db, "alice").await, wanted);
}

/// Stages with a master key, before an upstream that answers LiteLLM's management calls.
async fn with_master_key(upstream: Upstream) -> Stage {
    let stage = Stage::of(upstream, |setup| setup.with("litellm.master_key", MASTER_KEY)).await;
    stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    stage
        .db
        .run(r#"INSERT INTO "LiteLLM_VerificationToken" (token, key_alias, user_id, models) VALUES ('own', 'own', 'alice', '{}')"#)
        .await;
    stage
}

/// Path, key and body of each call that reached LiteLLM, past the first request.
fn calls(upstream: &Upstream) -> Vec<(String, String, Value)> {
    let seen = upstream.seen();
    let call = |seen: &crate::support::upstream::Seen| {
        let path = seen.head.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let key = seen.head.value("x-litellm-api-key").unwrap_or_default();
        (path, key, serde_json::from_slice(&seen.body.bytes).unwrap_or_default())
    };
    seen.iter().skip(1).map(call).collect()
}

#[tokio::test]
async fn with_the_master_key_litellm_is_told_of_a_block_at_once() {
    let stage = with_master_key(Upstream::json().await).await;
    let token = stage.db.texts("SELECT token FROM vestibule.session").await.remove(0);
    let told = done(&stage.setup, &["users", "block", "alice", "--yes", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&told).expect("JSON")["litellm"], "told");
    let key = MASTER_KEY.to_owned();
    assert_eq!(
        calls(&stage.upstream),
        [
            ("/key/delete".to_owned(), key.clone(), json!({ "keys": [token] })),
            ("/user/update".to_owned(), key.clone(), json!({ "user_id": "alice" })),
            ("/key/block".to_owned(), key, json!({ "key": "own" })),
        ]
    );
    // The double deletes nothing, so the command does.
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.session").await, 0);
    assert_eq!(stage.db.key_count().await, 1);
}

#[tokio::test]
async fn a_litellm_that_does_not_take_the_key_is_a_warning_and_a_1_and_the_block_holds() {
    let upstream = Upstream::answering(|exchange| {
        let is_call = exchange.head.line.starts_with("POST ");
        async move {
            let said = r#"{"error":{"message":"Authentication Error, sk-wrong","type":"auth_error"}}"#;
            if is_call { exchange.refuse("401 Unauthorized", said).await } else { exchange.json("{}").await }
        }
    })
    .await;
    let stage = with_master_key(upstream).await;
    let ended = operate(&stage.setup, &["users", "block", "alice", "--yes", "--json"]).await;
    told!(
        &ended,
        1,
        "the change is made and stays",
        "within 30s (`account.refresh`)",
        "does not take `litellm.master_key`",
        "for up to 1m (`litellm.cache_ttl`)"
    );
    assert_eq!(serde_json::from_str::<Value>(&ended.stdout).expect("JSON")["litellm"], "failed");
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.account WHERE blocked_at IS NOT NULL").await, 1);
    assert_eq!(stage.db.key_count().await, 1, "the session's key is gone all the same");
    let gone = stage.setup.clone().with("litellm.url", "http://127.0.0.1:1");
    let ended = operate(&gone, &["users", "unblock", "alice", "--yes"]).await;
    told!(ended, 1, "could not connect to LiteLLM at");
}
