//! Secrets as canaries, looked for in everything that leaves the process: logs, answers, metrics, the command line, a dump of
//! the database, a crash.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::client::{Answer, UserProfile};
use crate::support::db::TestDb;
use crate::support::operator::{MASTER_KEY, done};
use crate::support::postgres::server;
use crate::support::process::{Process, became};
use crate::support::proxy::Proxy;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::{SESSION_SECRET, Setup, Vestibule, ended};
use crate::support::{eventually, within};

const OLD_SECRET: &str = "canary-older-session-secret-5b0ad1c27f6e4f0c9d3f";
const PROOF: &str = "canary-proof-0123456789abcdef0123456789";
const BASIC_PASSWORD: &str = "canary-basic-password";
/// Runs a program as the same user, without what lets root look into everybody's memory.
const UNPRIVILEGED: [&str; 3] = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];

fn basic() -> String {
    STANDARD.encode(format!("alice:{BASIC_PASSWORD}"))
}

/// What is looked for, besides the keys that were made.
fn canaries() -> Vec<String> {
    let plain = [
        SESSION_SECRET,
        OLD_SECRET,
        MASTER_KEY,
        PROOF,
        "canary-proof-that-is-wrong",
        BASIC_PASSWORD,
        "canary-database",
        "canary-cookie",
        "canary-bearer",
        "canary-query",
        "canary-mistake",
    ];
    plain.map(str::to_owned).into_iter().chain([basic()]).collect()
}

fn none_of(canaries: &[String], text: &str, place: &str) {
    for canary in canaries {
        let line = text.lines().find(|line| line.contains(canary));
        assert_eq!(line, None, "{canary} in {place}");
    }
}

fn shown(answer: &Answer) -> String {
    let headers = answer.head.headers.iter();
    let headers = headers.map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)));
    headers.collect::<String>() + &answer.text()
}

/// Every secret that a configuration can hold.
fn with_canaries(setup: Setup) -> Setup {
    setup
        .with("session.secret", format!("{SESSION_SECRET}\n{OLD_SECRET}"))
        .with("litellm.master_key", MASTER_KEY)
        .with("trust.secret_header", json!({ "name": "X-Vestibule-Proof", "value": PROOF }))
        .with("trust.basic_auth_password", BASIC_PASSWORD)
        .with("account.refresh", "1s")
}

/// Requests that pass and that are refused; what came back.
async fn asked(vestibule: &Vestibule) -> String {
    let mut text = String::new();
    let proofs = [
        (PROOF, format!("Basic {}", basic())),
        ("canary-proof-that-is-wrong-0123456789", "Bearer canary-bearer".into()),
    ];
    for (proof, authorization) in proofs {
        let request = vestibule.client().get("/v1/models?key=canary-query").from(&UserProfile::named("alice"));
        let request = request.header("X-Vestibule-Proof", proof).header("Authorization", authorization);
        let request = request.header("Cookie", "_oauth2_proxy=canary-cookie").header("x-api-key", "sk-canary-bearer");
        text += &shown(&request.send().await);
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_any_log_answer_metric_or_command_line() {
    // `info` has the lines of the levels above it.
    for level in ["info", "debug", "trace"] {
        let (upstream, db) = (Upstream::json().await, TestDb::fresh().await);
        let way = Proxy::postgres(db.url()).await;
        // The test server trusts everybody, so any password works.
        let database = db.url_through(way.address).replacen('@', ":canary-database-password@", 1);
        let setup = with_canaries(Setup::new(&upstream.url, &database)).with("log.level", level);
        let mut vestibule = setup.start().await;
        let mut answers = asked(&vestibule).await;
        let key = upstream.only().head.value("x-litellm-api-key").expect("a key");
        // A mistake beside each secret, and secrets that are mistakes.
        vestibule.spoil(&format!(
            "session: {{ secret: canary-mistake, sekret: \"{SESSION_SECRET}\" }}\ntrust: {{ basic_auth_password: canary-mistake }}\n\
             litellm: {{ master_key: \"{MASTER_KEY}\", database_url: \"postgres//u:canary-database-password@h/d\" }}\n"
        ));
        vestibule.reload("failed", 1).await;
        vestibule.spoil(&format!("session: {{ secret: \"{SESSION_SECRET}\n"));
        vestibule.reload("failed", 2).await;
        way.cut();
        let degraded = async || vestibule.readyz().await.text().contains("degraded").then_some(());
        eventually("the database to be missed", degraded).await;
        answers += &asked(&vestibule).await;
        answers += &shown(&vestibule.readyz().await);
        let metrics = vestibule.admin().get("/metrics").send().await.text();
        let command_line = vestibule.proc("cmdline");
        vestibule.request_lines(4).await;
        vestibule.terminate();
        within("its end", vestibule.wait()).await;

        let mut canaries = canaries();
        canaries.push(key);
        let log = vestibule.log().join("\n");
        assert!(level == "error" || log.contains("secret"), "the log says what is wrong: {log}");
        assert!(command_line.contains("serve"), "{command_line}");
        for (place, text) in
            [("an answer", &answers), ("the metrics", &metrics), ("the command line", &command_line), ("the log", &log)]
        {
            none_of(&canaries, text, &format!("{place} at level {level}"));
        }
    }
}

#[tokio::test]
async fn a_dump_of_the_database_holds_no_secret_and_no_key() {
    let stage = Stage::with(|setup| with_canaries(setup).without("trust.basic_auth_password")).await;
    let ask = async |name: &str| {
        let request =
            stage.client().get("/v1/models").from(&UserProfile::named(name)).header("X-Vestibule-Proof", PROOF);
        request.send().await.expect_ok();
    };
    for name in ["alice", "bob", "carol"] {
        ask(name).await;
    }
    // With a key that was renewed, one that was ended, and a block: all that writes has written.
    stage.db.run("UPDATE vestibule.session SET expires_at = now() + interval '1 minute'").await;
    eventually("renewals", async || {
        ask("alice").await;
        let renewed = "SELECT count(*) FROM vestibule.audit WHERE event = 'session_renewed'";
        (stage.db.number(renewed).await > 0).then_some(())
    })
    .await;
    let without = stage.setup.clone().without("litellm.master_key");
    done(&without, &["sessions", "revoke", "bob", "--yes"]).await;
    done(&without, &["users", "block", "carol", "--yes", "--reason", "a reason"]).await;
    let mut dump = server::program("pg_dump", &[]);
    dump.arg(stage.db.direct_url());
    let dump = ended(dump).await;
    assert_eq!(dump.code, Some(0), "{}", dump.stderr);
    let keys = stage.upstream.keys();
    assert_eq!(keys.len(), 3, "one each");
    assert!(dump.stdout.contains("session_renewed") && dump.stdout.contains("a reason"), "{}", dump.stdout);
    let mut canaries = canaries();
    canaries.extend(keys.iter().flat_map(|key| [key.clone(), key.trim_start_matches("sk-").to_owned()]));
    none_of(&canaries, &dump.stdout, "a dump");
}

#[tokio::test]
async fn a_crash_leaves_no_core_file() {
    let setup = Setup::new(&Upstream::json().await.url, TestDb::fresh().await.url());
    let mut vestibule =
        setup.wrapped(&["sh", "-c", "ulimit -S -c $(ulimit -H -c); exec \"$0\" \"$@\""]).start_unready().await;
    // As after a panic that aborts; a SIGSEGV from outside Rust's own handler lets pass once.
    vestibule.signal("ABRT");
    let status = vestibule.wait().await;
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}

#[tokio::test]
async fn another_process_of_the_same_user_cannot_look_into_its_memory() {
    let is_root = rustix::process::geteuid().is_root();
    let before: &[&str] = if is_root { &UNPRIVILEGED } else { &["env"] };
    let look = async |id: u32| {
        let mut command = Command::new(before[0]);
        command.args(&before[1..]).args(["cat", &format!("/proc/{id}/environ"), &format!("/proc/{id}/maps")]);
        ended(command).await
    };
    // Of a program that does not mind, as much is seen: else the look would prove nothing.
    let sleep = ["sleep", "1000"];
    let open = Process(Command::new(before[0]).args(&before[1..]).args(sleep).spawn().expect("there is a sleep"));
    // What starts it has rights that keep others out.
    became(open.0.id(), &sleep).await;
    let control = look(open.0.id()).await;
    assert!(control.code == Some(0) && control.stdout.contains("sleep"), "{control:?}");

    let stage = Stage::with(|setup| setup.wrapped(before)).await;
    let seen = look(stage.vestibule.id()).await;
    assert_eq!((seen.code, seen.stdout.as_str()), (Some(1), ""), "{seen:?}");
    assert_eq!(seen.stderr.matches("Permission denied").count(), 2, "{seen:?}");
}
