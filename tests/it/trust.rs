//! Who may say who somebody is.

use base64::Engine;
use serde_json::json;

use crate::support::client::{Client, UserProfile};
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::Setup;

const PROOF: &str = "canary-proof-0123456789abcdef0123456789";
const OLD_PROOF: &str = "canary-proof-before-rotation-0123456789";

#[tokio::test]
async fn identity_headers_of_an_untrusted_peer_are_refused() {
    let stage = Stage::plain().await;
    for (name, value) in UserProfile::named("alice").headers() {
        let answer = stage.stranger().get("/v1/models").header(name, value).send().await;
        answer.expect_refusal(403, "untrusted_peer");
    }
    // Where the request says it comes from changes nothing.
    let answer = stage
        .stranger()
        .get("/v1/models")
        .from(&UserProfile::named("alice"))
        .header("X-Forwarded-For", "127.0.0.1")
        .header("X-Real-IP", "127.0.0.1")
        .header("Forwarded", "for=127.0.0.1")
        .send()
        .await;
    answer.expect_refusal(403, "untrusted_peer");
    assert_eq!(stage.upstream.count(), 0);
    stage.db.expect_nothing_written().await;
}

#[tokio::test]
async fn an_untrusted_peer_without_identity_is_nobody() {
    let stage = Stage::plain().await;
    stage.stranger().get("/v1/models").send().await.expect_refusal(401, "no_identity");
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test]
async fn a_network_of_peers_is_trusted() {
    let stage = Stage::with(|setup| setup.with("trust.peers", vec!["127.0.0.0/30"])).await;
    for (source, trusted) in [("127.0.0.1", true), ("127.0.0.3", true), ("127.0.0.4", false), ("127.1.0.1", false)] {
        let answer = stage.client().from(source).get("/v1/models").from(&UserProfile::named("alice")).send().await;
        assert_eq!(answer.status, if trusted { 200 } else { 403 }, "{source}");
    }
}

fn proven(setup: Setup) -> Setup {
    let folder = setup.folder().join("proof");
    std::fs::write(&folder, format!("{PROOF}\n{OLD_PROOF}\n")).expect("the folder can be written");
    setup.with("trust.secret_header", json!({ "name": "X-Vestibule-Proof", "value_file": folder }))
}

#[tokio::test]
async fn a_secret_header_must_be_right_beside_the_address() {
    let stage = Stage::with(proven).await;
    let request = stage.client().get("/v1/models").from(&UserProfile::named("alice"));
    for right in [PROOF, OLD_PROOF] {
        request.clone().header("X-Vestibule-Proof", right).send().await.expect_ok();
    }
    let written = stage.upstream.count();
    request.send().await.expect_refusal(403, "bad_proof");
    for wrong in ["", "wrong", PROOF.trim_start_matches('c'), &format!("{PROOF}x"), &format!("{PROOF},{PROOF}")] {
        request.clone().header("X-Vestibule-Proof", wrong).send().await.expect_refusal(403, "bad_proof");
    }
    let twice = request.clone().header("X-Vestibule-Proof", PROOF).header("X-Vestibule-Proof", PROOF).send().await;
    assert!(twice.status == 400 || twice.status == 403, "{}", twice.text());
    let alias = request.clone().header("X_Vestibule_Proof", PROOF).send().await;
    assert!(alias.status == 400 || alias.status == 403, "{}", alias.text());
    let answer = stage
        .stranger()
        .get("/v1/models")
        .from(&UserProfile::named("alice"))
        .header("X-Vestibule-Proof", PROOF)
        .send()
        .await;
    answer.expect_refusal(403, "untrusted_peer");
    assert_eq!(stage.upstream.count(), written);
    for seen in stage.upstream.seen() {
        assert!(!String::from_utf8_lossy(&seen.raw).contains("canary-proof"), "the proof goes no further");
    }
}

#[tokio::test]
async fn a_secret_header_alone_can_be_the_trust() {
    let stage = Stage::with(|setup| proven(setup).without("trust.peers")).await;
    let request = stage.stranger().get("/v1/models").from(&UserProfile::named("alice"));
    request.clone().header("X-Vestibule-Proof", PROOF).send().await.expect_ok();
    request.send().await.expect_refusal(403, "bad_proof");
}

#[tokio::test]
async fn the_password_of_basic_auth_must_be_right() {
    let password = "canary-basic-password";
    let stage = Stage::with(|setup| setup.with("trust.basic_auth_password", password)).await;
    let request = stage.client().get("/v1/models").from(&UserProfile::named("alice"));
    let basic = |user: &str, password: &str| {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
    };
    request.clone().header("Authorization", basic("alice", password)).send().await.expect_ok();
    assert!(!String::from_utf8_lossy(&stage.upstream.only().raw).contains(&basic("alice", password)));
    request.send().await.expect_refusal(403, "bad_proof");
    for wrong in [basic("alice", "wrong"), basic("alice", ""), format!("Bearer {password}"), "Basic ???".to_owned()] {
        request.clone().header("Authorization", wrong).send().await.expect_refusal(403, "bad_proof");
    }
    assert_eq!(stage.upstream.count(), 1);
}

/// The uid of this test's process, which is the client's.
pub(crate) fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").expect("there is a /proc").uid()
}

#[tokio::test]
async fn a_unix_socket_trusts_by_uid() {
    use std::os::unix::fs::PermissionsExt;
    for (uid, trusted) in [(own_uid(), true), (own_uid() + 4321, false)] {
        let stage = Stage::with(|setup| {
            let listen = format!("unix:{}", setup.folder().join("proxy.sock").display());
            setup.with("listen", listen).with("trust", json!({ "uids": [uid] }))
        })
        .await;
        let path = stage.vestibule.folder().join("proxy.sock");
        let mode = std::fs::metadata(&path).expect("the socket is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let answer = Client::unix(path).get("/v1/models").from(&UserProfile::named("alice")).send().await;
        if trusted {
            answer.expect_ok();
        } else {
            answer.expect_refusal(403, "untrusted_peer");
            stage.db.expect_nothing_written().await;
        }
    }
}

#[tokio::test]
async fn all_lines_of_x_forwarded_for_are_kept_from_a_trusted_peer_on_a_unix_socket() {
    let stage = Stage::with(|setup| {
        let listen = format!("unix:{}", setup.folder().join("proxy.sock").display());
        setup.with("listen", listen).with("trust", json!({ "uids": [own_uid()] }))
    })
    .await;
    let client = Client::unix(stage.vestibule.folder().join("proxy.sock"));
    let alice = UserProfile::named("alice");
    client.get("/v1/models").from(&alice).send().await.expect_ok();
    assert_eq!(stage.upstream.last().head.value("x-forwarded-for"), None);
    let request = client.get("/v1/models").from(&alice).header("X-Forwarded-For", "203.0.113.7");
    request.header("X-Forwarded-For", "10.0.0.1, 10.0.0.2").send().await.expect_ok();
    assert_eq!(stage.upstream.last().head.values("x-forwarded-for"), ["203.0.113.7, 10.0.0.1, 10.0.0.2"]);
}

#[tokio::test]
async fn a_socket_that_was_left_behind_does_not_stop_a_start() {
    let stage = Stage::with(|setup| {
        let listen = format!("unix:{}", setup.folder().join("proxy.sock").display());
        setup.with("listen", listen).with("listen_mode", "0660").with("trust", json!({ "uids": [own_uid()] }))
    })
    .await;
    let Stage { vestibule, setup, upstream: _upstream, db: _books } = stage;
    let path = vestibule.folder().join("proxy.sock");
    vestibule.kill().await;
    assert!(path.exists(), "a killed process leaves its socket");
    let _vestibule = setup.start().await;
    Client::unix(path).get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
}

#[tokio::test]
async fn trust_that_is_none_stops_the_start() {
    let upstream = Upstream::json().await;
    let setup = Setup::new(&upstream.url, "postgresql://nobody@127.0.0.1:1/nothing");
    let cases: Vec<(&str, Setup, &str)> = vec![
        ("no trust at all", setup.clone().without("trust"), "trust"),
        ("an empty trust", setup.clone().with("trust", json!({})), "trust"),
        ("everybody", setup.clone().with("trust.peers", vec!["0.0.0.0/0"]), "everybody_may_be_anybody"),
        ("everybody by IPv6", setup.clone().with("trust.peers", vec!["::/0"]), "everybody_may_be_anybody"),
        ("a shared address", setup.clone().without("trust.accept_shared_loopback"), "accept_shared_loopback"),
        (
            "a short proof",
            setup.clone().with("trust.secret_header", json!({ "name": "X-P", "value": "short" })),
            "secret_header",
        ),
        ("a short password", setup.clone().with("trust.basic_auth_password", "short"), "basic_auth_password"),
        ("uids on TCP", setup.clone().with("trust", json!({ "uids": [0] })), "uids"),
        ("no address", setup.clone().with("trust.peers", vec!["localhost"]), "peers"),
    ];
    for (case, setup, word) in cases {
        let ended = setup.give_up().await;
        assert_eq!(ended.code, Some(78), "{case}: {ended:?}");
        assert!(ended.stderr.contains(word), "{case}: {}", ended.stderr);
    }
}
