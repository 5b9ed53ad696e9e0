//! `vestibule explain`: the real decision, told, with nothing written and nobody asked.

use serde_json::{Value, json};

use crate::support::client::UserProfile;
use crate::support::operator::operate;
use crate::support::stage::Stage;
use crate::support::vestibule::{Ended, Setup};

const PROOF: &str = "canary-proof-0123456789abcdef0123456789";

/// Nobody answers at these addresses.
fn setup() -> Setup {
    Setup::new("http://127.0.0.1:1", "postgresql://nobody@127.0.0.1:1/nothing")
}

async fn explained(setup: &Setup, words: &[&str]) -> Ended {
    let ended = operate(setup, &[&["explain"], words].concat()).await;
    assert!(!ended.stdout.contains("canary") && !ended.stderr.contains("canary"), "{ended:?}");
    ended
}

async fn told(setup: &Setup, words: &[&str]) -> Value {
    let ended = explained(setup, &[words, &["--json"]].concat()).await;
    let told: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    assert_eq!(ended.code, Some(i32::from(told["admitted"] != true)), "{told}");
    told
}

const ALICE: [&str; 6] = [
    "-H",
    "X-Forwarded-User: alice",
    "-H",
    "X-Forwarded-Email: Alice@example.com",
    "-H",
    "X-Forwarded-Groups: llm-users",
];

#[tokio::test]
async fn a_person_is_told_with_rule_role_row_and_headers() {
    let told = told(&setup(), &ALICE).await;
    assert_eq!(told["why"], "`trust.peers` has 127.0.0.1/32");
    assert_eq!(told["identity"]["groups"], json!({ "header": "x-forwarded-groups", "value": "llm-users" }));
    assert!(
        told["rule"].as_str().is_some_and(|rule| rule.starts_with("rules[1], /") && rule.contains(".yaml:1: ")),
        "{told}"
    );
    assert_eq!(told["role"], "internal_user");
    let row = json!({ "user_id": "alice", "sso_user_id": "alice", "user_email": "alice@example.com", "user_alias": "alice", "user_role": "internal_user" });
    assert_eq!(told["written"], row);
    let sent = told["sent"].as_array().expect("a list");
    assert!(sent.contains(&json!(["authorization", "Bearer <the person's session key>"])), "{told}");
    assert_eq!(told["not_sent"], json!(["x-forwarded-user", "x-forwarded-email", "x-forwarded-groups"]));
}

#[tokio::test]
async fn what_explain_says_is_what_serve_does() {
    let stage = Stage::with(|setup| setup.with("default_role", "deny").with("public_paths", json!(["health"]))).await;
    let cases: [(&str, &[(&str, &str)]); 7] = [
        (
            "/v1/models",
            &[("X-Forwarded-User", "alice"), ("X-Forwarded-Email", "a@example.com"), ("X-Forwarded-Groups", "llm-a")],
        ),
        ("/v1/models", &[("X-Forwarded-User", "alice"), ("X-Forwarded-Groups", "x")]),
        ("/v1/models", &[("X-Forwarded-User", "alice"), ("X-Forwarded-User", "bob")]),
        ("/v1/models", &[("X_Forwarded_User", "alice")]),
        ("/v1/models", &[("X-Forwarded-User", "litellm-dashboard"), ("X-Forwarded-Groups", "llm-admins")]),
        ("/vestibule/zzz", &[("X-Forwarded-User", "alice")]),
        ("/health/liveness", &[]),
    ];
    for (path, headers) in cases {
        let mut request = stage.client().get(path);
        let mut words = vec!["--path".to_owned(), path.to_owned()];
        for (name, value) in headers {
            request = request.header(name, *value);
            words.extend(["--header".to_owned(), format!("{name}: {value}")]);
        }
        let answer = request.send().await;
        let told = told(&stage.setup, &words.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let refusal = told["refusal"]["code"].as_str().map(str::to_owned);
        assert_eq!(answer.refusal(), refusal, "{path} {headers:?}: {told}");
        let Some(_) = refusal else {
            let sent = told["sent"].as_array().expect("a list");
            let seen = stage.upstream.last().head;
            for header in sent.iter().map(|header| header[0].as_str().unwrap_or_default()) {
                assert!(seen.value(header).is_some(), "{path}: {header} was not sent: {seen:?}");
            }
            continue;
        };
        assert_eq!(told["refusal"]["status"], answer.status, "{told}");
    }
}

#[tokio::test]
async fn a_refusal_has_its_code_its_meaning_and_what_to_do() {
    let ended = explained(&setup(), &[&ALICE[..], &["--peer", "10.9.9.9"]].concat()).await;
    assert_eq!(ended.code, Some(1));
    for words in ["trusted  no", "127.0.0.1/32", "refused: 403 `untrusted_peer`", "= help: Compare the peer"] {
        assert!(ended.stdout.contains(words), "{words:?} is not in:\n{}", ended.stdout);
    }
    let denied = setup().with("deny", json!([{ "group": "out" }, { "user": "ali*" }]));
    let refusal = &told(&denied, &ALICE).await["refusal"];
    assert_eq!(refusal["cause"], "not_admitted: `deny[1]` matches", "{refusal}");
    let allowed = setup().with("allow", json!([{ "group": "in" }]));
    assert_eq!(told(&allowed, &ALICE).await["refusal"]["cause"], "not_admitted: no entry of `allow` matches");
}

#[tokio::test]
async fn the_proof_is_put_in_and_never_shown() {
    let proven = setup().with("trust.secret_header", json!({ "name": "X-Proof", "value": PROOF }));
    let ended = explained(&proven, &ALICE).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("the proof in `x-proof` is right"), "{}", ended.stdout);
    let bare = told(&proven, &[&ALICE[..], &["--without-proof"]].concat()).await;
    assert_eq!(bare["refusal"]["code"], "bad_proof");
    let password = setup().with("trust.basic_auth_password", PROOF);
    assert_eq!(told(&password, &ALICE).await["admitted"], true);
}

#[tokio::test]
async fn a_callers_own_key_and_a_stranger_on_a_socket_are_told_too() {
    let pass = setup().with("client_keys", "pass");
    let ended = explained(&pass, &["-H", "Authorization: Bearer sk-mine-0123456789"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("with the caller's own key") && !ended.stdout.contains("sk-mine"),
        "{}",
        ended.stdout
    );
    let socket = setup();
    let path = format!("unix:{}", socket.folder().join("s").display());
    let socket = socket.with("listen", path).with("trust", json!({ "uids": [65532] }));
    assert_eq!(told(&socket, &ALICE).await["peer"], "unix:65532");
    let stranger = told(&socket, &[&ALICE[..], &["--peer", "unix:1"]].concat()).await;
    assert_eq!(stranger["refusal"]["code"], "untrusted_peer");
}

#[tokio::test]
async fn nothing_is_written_and_what_is_no_request_is_a_2() {
    let stage = Stage::plain().await;
    stage.client().get("/v1/models").from(&UserProfile::named("bob")).send().await.expect_ok();
    let rows = "SELECT (SELECT count(*) FROM vestibule.account) + (SELECT count(*) FROM \"LiteLLM_UserTable\") + (SELECT count(*) FROM vestibule.audit)";
    let before = stage.db.number(rows).await;
    let requests = stage.upstream.count();
    assert_eq!(told(&stage.setup, &ALICE).await["admitted"], true);
    assert_eq!((stage.db.number(rows).await, stage.upstream.count()), (before, requests));
    for words in [
        &["-H", "no colon"][..],
        &["-H", "a b: c"],
        &["--path", "no path"],
        &["--method", "G T"],
        &["--peer", "somebody"],
    ] {
        assert_eq!(explained(&stage.setup, words).await.code, Some(2), "{words:?}");
    }
}
