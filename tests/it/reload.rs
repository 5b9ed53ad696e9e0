//! Another configuration without a restart: what changes, what stays, what a mistake does.

use std::fs;

use serde_json::json;

use crate::support::client::UserProfile;
use crate::support::db::TestDb;
use crate::support::proxy::Proxy;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::{Setup, Vestibule, field};
use crate::support::{Gate, within};

const SUCCEEDED: &str = "vestibule_config_last_reload_succeeded";

/// With everybody refused whom no rule names.
fn stricter(setup: &Setup) -> Setup {
    setup.clone().with("rules", json!([])).with("default_role", "deny")
}

async fn logged(vestibule: &Vestibule, message: &str, name: &str) -> String {
    let line = |line: &serde_json::Value| {
        (field(line, "message") == message && !field(line, name).is_empty()).then(|| field(line, name))
    };
    vestibule.line(&format!("{message:?} with `{name}`"), line).await
}

#[tokio::test]
async fn new_rules_hold_for_the_next_request_of_an_open_connection_and_cut_no_stream() {
    let gate = Gate::closed();
    let passing = gate.clone();
    let upstream = Upstream::answering(move |mut exchange| {
        let gate = passing.clone();
        async move {
            if !exchange.head.line.contains("/stream") {
                return exchange.json(r#"{"ok":true}"#).await;
            }
            exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            exchange.send_chunk("before").await;
            gate.pass().await;
            exchange.send_chunk("after").await;
            exchange.send("0\r\n\r\n").await;
            Some(exchange)
        }
    });
    let stage = Stage::before(upstream.await).await;
    let alice = UserProfile::named("alice");
    let mut kept = stage.client().connect().await;
    kept.send(stage.client().get("/v1/models").from(&alice).bytes()).await;
    kept.answer("GET").await.expect_ok();
    let (_, mut stream) = stage.client().get("/stream").from(&alice).open().await;
    assert_eq!(within("the first chunk", stream.read_chunk()).await, Ok(Some(b"before".to_vec())));

    stage.vestibule.rewrite(&stricter(&stage.setup));
    stage.vestibule.reload("done", 1).await;

    kept.send(stage.client().get("/v1/models").from(&alice).bytes()).await;
    kept.answer("GET").await.expect_refusal(403, "no_role");
    gate.open();
    assert_eq!(within("the second chunk", stream.read_chunk()).await, Ok(Some(b"after".to_vec())));
    assert_eq!(within("the end", stream.read_chunk()).await, Ok(None));
}

#[tokio::test]
async fn a_broken_file_changes_nothing_says_what_is_wrong_and_sets_a_metric() {
    let stage = Stage::plain().await;
    let request = stage.client().get("/v1/models").from(&UserProfile::named("alice"));
    request.send().await.expect_ok();
    assert_eq!(stage.vestibule.metric(SUCCEEDED).await, 1);
    for (count, text) in [(1, "listen: [\n"), (2, "listen: 127.0.0.1:0\nrulez: []\n")] {
        stage.vestibule.spoil(text);
        stage.vestibule.reload("failed", count).await;
        request.send().await.expect_ok();
        assert_eq!(stage.vestibule.metric(SUCCEEDED).await, 0);
        assert_eq!(stage.vestibule.readyz().await.status, 200);
    }
    let told = |line: &serde_json::Value| {
        let problems = field(line, "problems");
        (problems.contains("rulez") && problems.contains("rules")).then_some(())
    };
    stage.vestibule.line("the typo and the key meant", told).await;
    stage.vestibule.rewrite(&stricter(&stage.setup));
    stage.vestibule.reload("done", 1).await;
    assert_eq!(stage.vestibule.metric(SUCCEEDED).await, 1);
    request.send().await.expect_refusal(403, "no_role");
}

#[tokio::test]
async fn a_secret_file_that_changes_is_read_without_being_told() {
    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";
    let upstream = Upstream::json().await;
    let db = TestDb::fresh().await;
    let setup = Setup::new(&upstream.url, db.url());
    let proof = setup.folder().join("proof");
    fs::write(&proof, OLD).expect("the folder can be written");
    let setup = setup.with("trust", json!({ "secret_header": { "name": "X-Proof", "value_file": proof } }));
    let vestibule = setup.start().await;
    let request =
        |value| vestibule.client().get("/v1/models").from(&UserProfile::named("alice")).header("X-Proof", value);
    request(OLD).send().await.expect_ok();
    // As Kubernetes does it: another file under the same name.
    let other = setup.folder().join("proof.new");
    fs::write(&other, NEW).expect("the folder can be written");
    fs::rename(&other, &proof).expect("both are in one folder");
    vestibule.reloaded("done", 1).await;
    request(NEW).send().await.expect_ok();
    request(OLD).send().await.expect_refusal(403, "bad_proof");
}

#[tokio::test]
async fn people_who_were_known_stay_known_while_the_database_is_away() {
    let (upstream, db) = (Upstream::json().await, TestDb::fresh().await);
    let database = Proxy::postgres(db.url()).await;
    let setup = Setup::new(&upstream.url, &db.url_through(database.address)).with("account.refresh", "1s");
    let vestibule = setup.start().await;
    let request = vestibule.client().get("/v1/models").from(&UserProfile::named("alice"));
    request.send().await.expect_ok();
    database.cut();
    vestibule.rewrite(&setup.clone().with("limits.body_bytes", 1000));
    vestibule.reload("done", 1).await;
    request.send().await.expect_ok();
    let large = vestibule.client().post("/v1/files", vec![b'x'; 1001]).from(&UserProfile::named("alice"));
    large.send().await.expect_refusal(413, "body_too_large");
}

#[tokio::test]
async fn another_database_is_taken_only_when_it_is_ready() {
    let stage = Stage::plain().await;
    let request = stage.client().get("/v1/models").from(&UserProfile::named("alice"));
    request.send().await.expect_ok();
    let nowhere = stage.setup.clone().with("litellm.database_url", "postgres://nobody@127.0.0.1:1/none");
    stage.vestibule.rewrite(&nowhere);
    stage.vestibule.reload("failed", 1).await;
    request.send().await.expect_ok();

    let other = TestDb::fresh().await;
    stage.vestibule.rewrite(&stage.setup.clone().with("litellm.database_url", other.url()));
    stage.vestibule.reload("done", 1).await;
    request.send().await.expect_ok();
    assert_eq!((stage.db.user_count().await, other.user_count().await), (1, 1), "alice is in both books");
}

#[tokio::test]
async fn another_database_that_is_not_ready_yet_is_taken_without_anybodys_doing_once_it_is() {
    let stage = Stage::plain().await;
    let request = stage.client().get("/v1/models").from(&UserProfile::named("alice"));
    request.send().await.expect_ok();
    let other = TestDb::fresh().await;
    let database = Proxy::postgres(other.url()).await;
    database.cut();
    stage.vestibule.rewrite(&stage.setup.clone().with("litellm.database_url", other.url_through(database.address)));
    stage.vestibule.reload("failed", 1).await;
    logged(&stage.vestibule, "not reloaded: what ran goes on until the registry is ready", "retry_s").await;
    request.send().await.expect_ok();
    assert_eq!(other.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'vestibule'").await, 0);

    database.pass();
    stage.vestibule.reloaded("done", 1).await;
    assert_eq!(stage.vestibule.metric(SUCCEEDED).await, 1);
    request.send().await.expect_ok();
    assert_eq!(other.user_count().await, 1, "alice is in the other books");
}

#[tokio::test]
async fn a_new_session_secret_before_the_old_one_keeps_the_keys_that_are_lent() {
    let stage = Stage::plain().await;
    let request = stage.client().get("/v1/models").from(&UserProfile::named("alice"));
    request.send().await.expect_ok();
    let both = format!("{}\n{}", "n".repeat(40), crate::support::vestibule::SESSION_SECRET);
    stage.vestibule.rewrite(&stage.setup.clone().with("session.secret", both));
    stage.vestibule.reload("done", 1).await;
    request.send().await.expect_ok();
    assert_eq!(stage.upstream.keys().len(), 1, "the same key");
    stage.client().get("/v1/models").from(&UserProfile::named("bob")).send().await.expect_ok();
    assert_eq!(stage.upstream.keys().len(), 2);
}

#[tokio::test]
async fn what_needs_a_restart_is_said() {
    let stage = Stage::plain().await;
    stage.vestibule.rewrite(&stage.setup.clone().with("workers", 3).with("log.level", "debug"));
    stage.vestibule.reload("done", 1).await;
    assert_eq!(logged(&stage.vestibule, "changed, and needs a restart", "keys").await, "workers, log.level");
}
