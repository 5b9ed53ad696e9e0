//! What the commands show, compared as a whole.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use super::two_people;
use crate::support::client::UserProfile;
use crate::support::operator::{done, operate, plain, said};
use crate::support::stage::Stage;
use crate::support::vestibule::{SESSION_SECRET, binary, ended};
use crate::support::{eventually, within};

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[tokio::test]
async fn people_are_a_table_and_one_json_document() {
    let stage = two_people().await;
    let table = done(&stage.setup, &["users", "list"]).await;
    let wanted = "\
USER_ID  ISSUER   SUBJECT  EMAIL              ROLE           SESSIONS  BLOCKED
alice    default  alice    alice@example.com  internal_user  1         -
bob      default  bob      bob@example.com    internal_user  1         -
";
    assert_eq!(table, wanted);
    let document = plain(&stage, &done(&stage.setup, &["users", "list", "--json"]).await).await;
    let person = |name: &str, account: &str| {
        json!({
            "user_id": name, "issuer": "default", "subject": name, "email": format!("{name}@example.com"), "name": name,
            "role": "internal_user", "mapped_role": "internal_user", "blocked": false, "blocked_at": null,
            "blocked_by": null, "blocked_reason": null, "blocked_keys": 0, "switched_off_in_litellm": false,
            "key_blocked_in_litellm": false, "in_litellm": true, "sessions": 1, "created_at": "<TIME>",
            "lowered_at": null, "account_id": account,
        })
    };
    assert_eq!(parse(&document), json!([person("alice", "<ACCOUNT1>"), person("bob", "<ACCOUNT2>")]));
    let nobody = done(&stage.setup, &["users", "list", "--issuer", "other", "--json"]).await;
    assert_eq!(parse(&nobody), json!([]));
    let admins = done(&stage.setup, &["users", "list", "--role", "proxy_admin"]).await;
    assert_eq!(admins, "USER_ID  ISSUER  SUBJECT  EMAIL  ROLE  SESSIONS  BLOCKED\n");
}

#[tokio::test]
async fn one_person_is_shown_with_their_sessions() {
    let stage = two_people().await;
    for who in [&["alice"][..], &["ALICE@example.com"], &["default", "alice"]] {
        let words = [&["users", "show"], who].concat();
        let shown = plain(&stage, &done(&stage.setup, &words).await).await;
        let wanted = "\
user_id  alice
issuer  default
subject  alice
email  alice@example.com
name  alice
role  internal_user
mapped role  internal_user
blocked  -
created at  <TIME>
lowered at  -
account  <ACCOUNT1>

SESSION  USER_ID  STATE  KEY  CREATED  EXPIRES  SECRET
<SESSION1>  alice  current  there  <TIME>  <TIME>  ";
        assert!(shown.starts_with(wanted), "{who:?}: {shown}");
        let document = parse(&done(&stage.setup, &[&words[..], &["--json"]].concat()).await);
        assert_eq!(
            (&document["account"]["user_id"], document["sessions"].as_array().map(Vec::len)),
            (&json!("alice"), Some(1))
        );
    }
}

#[tokio::test]
async fn sessions_are_a_table_and_one_json_document() {
    let stage = two_people().await;
    stage.db.run(r#"UPDATE "LiteLLM_VerificationToken" SET blocked = true WHERE user_id = 'alice'"#).await;
    stage.db.run(r#"DELETE FROM "LiteLLM_VerificationToken" WHERE user_id = 'bob'"#).await;
    let secret = stage.db.texts("SELECT DISTINCT secret_id FROM vestibule.session").await.remove(0);
    let table = plain(&stage, &done(&stage.setup, &["sessions", "list"]).await).await;
    let wanted = format!(
        "SESSION  USER_ID  STATE  KEY  CREATED  EXPIRES  SECRET\n\
         <SESSION1>  alice  current  blocked  <TIME>  <TIME>  {secret}\n\
         <SESSION2>  bob  current  gone  <TIME>  <TIME>  {secret}\n"
    );
    assert_eq!(table, wanted);
    let document = plain(&stage, &done(&stage.setup, &["sessions", "list", "bob", "--json"]).await).await;
    let session = json!({
        "session_id": "<SESSION2>", "user_id": "bob", "kind": "api", "state": "current", "key": "gone",
        "created_at": "<TIME>", "expires_at": "<TIME>", "secret_id": secret, "account_id": "<ACCOUNT2>",
    });
    assert_eq!(parse(&document), json!([session]));
    let listed = done(&stage.setup, &["users", "list", "--blocked"]).await;
    assert!(listed.contains("in LiteLLM (key)") && !listed.contains("bob"), "{listed}");
}

#[tokio::test]
async fn the_audit_tells_who_did_what_to_whom() {
    let stage = two_people().await;
    let admin = UserProfile::named("alice").in_groups("llm-admins");
    stage.client().get("/v1/models").from(&admin).send().await.expect_ok();
    done(&stage.setup, &["users", "block", "alice", "--yes", "--reason", "left on Friday"]).await;
    let table = plain(&stage, &done(&stage.setup, &["audit", "alice"]).await).await;
    let session =
        table.split("session=").nth(1).and_then(|rest| rest.split('\n').next()).unwrap_or_default().to_owned();
    let wanted = format!(
        "AT  EVENT  USER_ID  ACTOR  DETAIL\n\
         <TIME>  created  alice  vestibule  role=internal_user user_id=alice\n\
         <TIME>  session_made  alice  vestibule  session={session}\n\
         <TIME>  role_changed  alice  vestibule  from=internal_user to=proxy_admin\n\
         <TIME>  blocked  alice  <OPERATOR>  keys=0 reason=\"left on Friday\" sessions=1 switched_off=true\n"
    );
    assert_eq!(table, wanted);
    let document =
        parse(&done(&stage.setup, &["audit", "--event", "blocked,unblocked", "--since", "1h", "--json"]).await);
    let entry = &document.as_array().expect("a list")[0];
    let fields: Vec<&String> = entry.as_object().expect("an object").keys().collect();
    assert_eq!(fields, ["account_id", "actor", "at", "detail", "event", "id", "user_id"]);
    assert_eq!(
        (&entry["event"], &entry["user_id"], &entry["detail"]["reason"]),
        (&json!("blocked"), &json!("alice"), &json!("left on Friday"))
    );
    assert!(
        entry["actor"].as_str().is_some_and(|actor| actor.starts_with("operator:") && actor.contains('@')),
        "{entry}"
    );
    let newest = operate(&stage.setup, &["audit", "--limit", "1"]).await;
    assert!(newest.stdout.contains("blocked") && said(&newest).contains("There may be more"), "{newest:?}");
}

/// What a command prints, line by line, until this is dropped.
struct Following {
    child: std::process::Child,
    lines: tokio::sync::mpsc::UnboundedReceiver<String>,
}

impl Following {
    fn of(stage: &Stage, words: &[&str]) -> Self {
        let mut command = binary();
        command.args(words).arg("--config").arg(stage.setup.write()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary was built");
        let printed = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || printed.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    async fn next(&mut self) -> String {
        within("a line", self.lines.recv()).await.expect("it goes on")
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_audit_can_be_followed_and_misses_neither_a_burst_nor_a_line_that_was_overtaken() {
    let stage = two_people().await;
    let mut following =
        Following::of(&stage, &["audit", "--follow", "--json", "--limit", "2", "--event", "created,blocked"]);
    let mut table = Following::of(&stage, &["audit", "alice", "--follow"]);
    for name in ["alice", "bob"] {
        let line = parse(&following.next().await);
        assert_eq!((&line["event"], &line["user_id"]), (&json!("created"), &json!(name)));
    }
    for wanted in ["AT ", "created", "session_made"] {
        assert!(table.next().await.contains(wanted));
    }
    let first = stage.db.number("SELECT max(id) FROM vestibule.audit").await + 1;
    // Far more at once than `--limit`, but for one number that is taken and not there yet.
    let insert = "INSERT INTO vestibule.audit (id, account_id, actor, event) OVERRIDING SYSTEM VALUE";
    let alice = "(SELECT id FROM vestibule.account WHERE user_id = 'alice')";
    let burst = format!("SELECT n, {alice}, 'somebody', 'blocked' FROM generate_series({first}, {first} + 299) n");
    stage.db.run(&format!("{insert} {burst} WHERE n <> {first} + 7")).await;
    let mut ids = Vec::new();
    for _ in 0..299 {
        ids.push(parse(&following.next().await)["id"].as_i64().expect("a number"));
    }
    stage.db.run(&format!("{insert} VALUES ({first} + 7, {alice}, 'late', 'blocked')")).await;
    let late = parse(&following.next().await);
    assert_eq!((&late["actor"], &late["id"]), (&json!("late"), &json!(first + 7)));
    ids.push(first + 7);
    ids.sort_unstable();
    assert_eq!(ids, (first..first + 300).collect::<Vec<_>>());
    let line = table.next().await;
    assert!(line.contains("blocked  alice  somebody"), "{line}");
}

#[tokio::test]
async fn a_name_that_would_move_the_cursor_is_shown_without_it() {
    let stage = two_people().await;
    stage.db.run(r#"UPDATE "LiteLLM_UserTable" SET user_email = E'\x1b[2Jx' WHERE user_id = 'bob'"#).await;
    let table = done(&stage.setup, &["users", "list"]).await;
    assert!(table.contains("\u{fffd}[2Jx") && !table.contains('\u{1b}'), "{table:?}");
}

#[tokio::test]
async fn a_new_secret_is_good_and_another_each_time() {
    let mut made = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let mut command = binary();
        command.args(["secret", "new"]);
        let ended = ended(command).await;
        let secret = ended.stdout.trim().to_owned();
        assert_eq!(
            (ended.code, secret.len(), secret.bytes().all(|byte| byte.is_ascii_hexdigit())),
            (Some(0), 64, true)
        );
        made.insert(secret);
    }
    assert_eq!(made.len(), 3);
    let mut command = binary();
    command.args(["secret", "rotate"]);
    assert!(ended(command).await.stdout.contains("LAST in the `session.secret_file`"));
}

#[tokio::test]
async fn the_secrets_in_use_are_told_by_their_ids() {
    let stage = two_people().await;
    let old = stage.db.texts("SELECT DISTINCT secret_id FROM vestibule.session").await.remove(0);
    let new = "a new secret of the tests, 32 bytes and more";
    let both = stage.setup.clone().with("session.secret", format!("{new}\n{SESSION_SECRET}"));
    let document = plain(&stage, &done(&both, &["secret", "id", "--json"]).await).await;
    let document = parse(&document);
    assert_eq!((&document[0]["state"], &document[0]["sessions"]), (&json!("makes_keys"), &json!(0)));
    let wanted = json!({ "secret_id": old, "state": "honoured", "sessions": 2, "last_expires_at": "<TIME>" });
    assert_eq!(document[1], wanted);
    // Taken out too early, it is missed.
    let early = stage.setup.clone().with("session.secret", new);
    let ended = operate(&early, &["secret", "id"]).await;
    assert!(ended.stdout.contains("NOT IN THE FILE") && ended.stderr.contains("put it back"), "{ended:?}");
    done(&both, &["sessions", "revoke", "--all", "--yes"]).await;
    let document = parse(&done(&both, &["secret", "id", "--json"]).await);
    assert_eq!((&document[1]["state"], &document[1]["sessions"]), (&json!("may_go"), &json!(0)));
}

#[tokio::test]
async fn the_tables_are_made_or_their_sql_is_printed() {
    let db = crate::support::db::TestDb::fresh().await;
    let setup = crate::support::vestibule::Setup::new("http://127.0.0.1:1", db.url());
    let ended = operate(&setup, &["users", "list"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("run `vestibule migrate`"), "{ended:?}");
    let ended = operate(&setup, &["migrate"]).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("in schema `vestibule`"), "{ended:?}");
    // What is printed does what the command would do, and once more does nothing.
    db.run(&done(&setup, &["migrate", "--print"]).await).await;
    assert!(done(&setup, &["migrate"]).await.contains("nothing to do"));
    db.run(&done(&setup, &["migrate", "--print"]).await).await;
    assert_eq!(done(&setup, &["users", "list", "--json"]).await, "[]\n");
    let other = setup.with("database.schema", "other");
    assert!(done(&other, &["migrate", "--yes"]).await.contains("schema `other` are of version"));
    assert_eq!(db.number("SELECT count(*) FROM other.account").await, 0);
}

#[tokio::test]
async fn with_people_in_clear_the_log_names_them_and_else_not() {
    for (person, named) in [("hash", false), ("id", true)] {
        let stage = Stage::with(|setup| setup.with("log.person", person)).await;
        stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
        let ended = operate(&stage.setup, &["users", "block", "alice", "--yes", "--reason", "alice knows"]).await;
        let lines: Vec<Value> = ended.stderr.lines().filter(|line| line.starts_with('{')).map(parse).collect();
        let line = lines.iter().find(|line| line["target"] == "vestibule::audit").expect("a line of the audit");
        assert_eq!((&line["event"], line.to_string().contains("alice")), (&json!("blocked"), named), "{line}");
        let made = eventually("two lines of the audit", async || {
            let made = stage.vestibule.log().into_iter().filter(|line| line.contains("vestibule::audit"));
            let made: Vec<Value> = made.map(|line| parse(&line)).collect();
            (made.len() >= 2).then_some(made)
        })
        .await;
        let events: Vec<&str> = made.iter().filter_map(|line| line["event"].as_str()).collect();
        assert_eq!(events, ["created", "session_made"]);
        assert_eq!(made[0].to_string().contains("alice"), named, "{}", made[0]);
        assert_eq!(made[0]["actor"], "vestibule");
    }
}
