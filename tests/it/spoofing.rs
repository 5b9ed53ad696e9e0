//! What a client can send, and what comes of it: nothing.

use base64::Engine;
use serde_json::json;

use crate::support::client::{Answer, Request, UserProfile};
use crate::support::stage::Stage;

/// Every header that some preset reads, by the preset.
const NAMES: &[(&str, &[&str])] = &[
    (
        "oauth2-proxy",
        &["X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username"],
    ),
    (
        "oauth2-proxy-auth-request",
        &["X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Groups", "X-Auth-Request-Preferred-Username"],
    ),
    (
        "vouch",
        &[
            "X-Vouch-User",
            "X-Vouch-IdP-Claims-Email",
            "X-Vouch-IdP-Claims-Name",
            "X-Vouch-IdP-Claims-Given-Name",
            "X-Vouch-IdP-Claims-Family-Name",
            "X-Vouch-IdP-Claims-Groups",
            "X-Vouch-IdP-Claims-Picture",
        ],
    ),
    (
        "gatekeeper",
        &[
            "X-Auth-Subject",
            "X-Auth-Username",
            "X-Auth-Email",
            "X-Auth-Name",
            "X-Auth-Given-Name",
            "X-Auth-Family-Name",
            "X-Auth-Groups",
            "X-Auth-Roles",
            "X-Auth-Picture",
        ],
    ),
    (
        "authentik",
        &["X-authentik-uid", "X-authentik-username", "X-authentik-email", "X-authentik-name", "X-authentik-groups"],
    ),
    ("authelia", &["Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups"]),
];

/// What is read from oauth2-proxy in these tests.
const READ: &[&str] = &["X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups"];

/// What a forged header says; none of it may come through anywhere.
const FORGED: &str = "mallory@canary.example";

fn every_name() -> impl Iterator<Item = &'static str> {
    NAMES.iter().flat_map(|(_, names)| names.iter().copied())
}

/// The spellings that some program between takes for the same name, with whether a `_` is in them.
fn spellings(name: &str) -> Vec<(String, bool)> {
    let plain = [name.to_owned(), name.to_ascii_lowercase(), name.to_ascii_uppercase()];
    let mut spellings: Vec<_> = plain.into_iter().map(|name| (name, false)).collect();
    spellings.push((name.replace('-', "_"), true));
    spellings.push((name.to_ascii_uppercase().replace('-', "_"), true));
    spellings.push((name.replacen('-', "_", 1), true));
    if let Some((before, last)) = name.rsplit_once('-') {
        spellings.push((format!("{}_{}", before.to_ascii_lowercase(), last.to_ascii_uppercase()), true));
    }
    spellings
}

fn alice(stage: &Stage) -> Request {
    stage.client().get("/v1/models").from(&UserProfile::named("alice"))
}

/// Either a refusal, or alice's own request as if nothing else had been sent.
fn expect_no_effect(stage: &Stage, seen_before: usize, answer: &Answer, case: &str) {
    let seen = stage.upstream.seen();
    if answer.status == 200 {
        assert_eq!(seen.len(), seen_before + 1, "{case}");
        let raw = String::from_utf8_lossy(&seen[seen_before].raw).to_ascii_lowercase();
        assert!(!raw.contains(FORGED), "{case}: {raw}");
        for name in every_name() {
            let name = name.to_ascii_lowercase();
            assert!(
                !raw.contains(&format!("\n{name}:")) && !raw.contains(&format!("\n{}:", name.replace('-', "_"))),
                "{case}: {raw}"
            );
        }
    } else {
        assert!((400..404).contains(&answer.status), "{case}: {}", answer.status);
        assert!(answer.refusal().is_some(), "{case}: refused here, not upstream");
        assert_eq!(seen.len(), seen_before, "{case}");
    }
}

/// Nobody but alice is in the books, and she is what she was.
async fn expect_only_alice(stage: &Stage) {
    let users = stage.db.users().await;
    assert_eq!(users.len(), 1, "{users:?}");
    assert_eq!(users[0].user_id, "alice");
    assert_eq!(users[0].user_email.as_deref(), Some("alice@example.com"));
    assert_eq!(users[0].user_role.as_deref(), Some("internal_user"));
    assert_eq!(stage.db.key_count().await, 1);
    assert_eq!(stage.upstream.keys().len(), 1);
}

#[tokio::test]
async fn a_second_copy_of_any_identity_header_in_any_spelling_has_no_effect() {
    let stage = Stage::plain().await;
    alice(&stage).send().await.expect_ok();
    for name in every_name() {
        for (spelling, twin) in spellings(name) {
            for first in [true, false] {
                let forged = stage.client().get("/v1/models").header(&spelling, FORGED);
                let request = if first {
                    forged.from(&UserProfile::named("alice"))
                } else {
                    alice(&stage).header(&spelling, FORGED)
                };
                let before = stage.upstream.count();
                let answer = request.send().await;
                let case = format!("{spelling}, first: {first}");
                expect_no_effect(&stage, before, &answer, &case);
                let expected = if twin {
                    Some("aliased_header")
                } else if READ.contains(&name) {
                    Some("repeated_header")
                } else {
                    None
                };
                assert_eq!(answer.refusal().as_deref(), expected, "{case}");
            }
        }
    }
    expect_only_alice(&stage).await;
}

#[tokio::test]
async fn a_twin_alone_is_no_identity() {
    let stage = Stage::plain().await;
    for name in READ {
        for (spelling, twin) in spellings(name) {
            if twin {
                let answer = stage.client().get("/v1/models").header(&spelling, "alice").send().await;
                answer.expect_refusal(400, "aliased_header");
            }
        }
    }
    assert_eq!(stage.upstream.count(), 0);
    stage.db.expect_nothing_written().await;
}

#[tokio::test]
async fn no_identity_header_counts_from_an_untrusted_address() {
    let stage = Stage::plain().await;
    for name in every_name() {
        for (spelling, _) in spellings(name) {
            let answer = stage.stranger().get("/v1/models").header(&spelling, "llm-admins").send().await;
            assert!([400, 401, 403].contains(&answer.status), "{spelling}: {}", answer.status);
            let answer = stage
                .stranger()
                .get("/v1/models")
                .from(&UserProfile::named("alice"))
                .header(&spelling, "llm-admins")
                .send()
                .await;
            assert!([400, 403].contains(&answer.status), "{spelling}: {}", answer.status);
        }
    }
    assert_eq!(stage.upstream.count(), 0);
    stage.db.expect_nothing_written().await;
}

#[tokio::test]
async fn what_is_not_read_is_stripped_unread() {
    for (preset, names) in NAMES {
        let stage = Stage::with(|setup| {
            setup.with("identity", json!({ "preset": preset, "reads": ["user"] })).with("rules", json!([]))
        })
        .await;
        let user = names[0];
        let mut request = stage.client().get("/v1/models").header(user, "alice");
        for name in every_name().filter(|name| *name != user) {
            request = request.header(name, FORGED);
        }
        request.send().await.expect_ok();
        let raw = String::from_utf8_lossy(&stage.upstream.only().raw).to_ascii_lowercase();
        assert!(!raw.contains(FORGED), "{preset}: {raw}");
        let users = stage.db.users().await;
        assert_eq!(users.len(), 1, "{preset}");
        assert_eq!((users[0].user_id.as_str(), users[0].user_email.as_deref()), ("alice", None), "{preset}");
    }
}

#[tokio::test]
async fn two_names_in_one_value_are_nobody() {
    let stage = Stage::plain().await;
    for value in ["alice,mallory", "alice, mallory", "mallory,alice", ",alice", "alice,"] {
        let answer = stage.client().get("/v1/models").header("X-Forwarded-User", value).send().await;
        answer.expect_refusal(400, "repeated_header");
    }
    for value in ["alice@example.com,mallory@example.com", "alice@example.com, "] {
        let answer = stage
            .client()
            .get("/v1/models")
            .header("X-Forwarded-User", "alice")
            .header("X-Forwarded-Email", value)
            .send()
            .await;
        answer.expect_refusal(400, "repeated_header");
    }
    assert_eq!(stage.upstream.count(), 0);
    stage.db.expect_nothing_written().await;
}

#[tokio::test]
async fn a_connection_header_cannot_make_an_identity_disappear() {
    let stage = Stage::plain().await;
    let credentials = ["Authorization", "X-Litellm-Api-Key", "Cookie", "X-Forwarded-For", "X-Request-Id"];
    for name in every_name().chain(credentials) {
        for nomination in [
            name.to_owned(),
            name.to_ascii_lowercase(),
            format!("close, {name}"),
            format!("keep-alive,{},te", name.to_ascii_uppercase()),
        ] {
            let before = stage.upstream.count();
            let answer = alice(&stage).header("Connection", &nomination).send().await;
            expect_no_effect(&stage, before, &answer, &nomination);
            if every_name().any(|known| known == name) || name == "Authorization" || name == "X-Litellm-Api-Key" {
                answer.expect_refusal(400, "nominated_header");
            } else if answer.status == 200 {
                let seen = stage.upstream.last().head;
                assert!(
                    seen.value("x-litellm-api-key").is_some() && seen.value("x-request-id").is_some(),
                    "{nomination}"
                );
            }
        }
        let before = stage.upstream.count();
        let answer = alice(&stage).header("Connection", "").header("Connection", name).send().await;
        expect_no_effect(&stage, before, &answer, name);
    }
}

#[tokio::test]
async fn a_trailer_says_nothing_about_who_it_is() {
    let stage = Stage::plain().await;
    alice(&stage).send().await.expect_ok();
    let chunked = stage.client().request("POST", "/v1/x").header("Transfer-Encoding", "chunked");
    for name in every_name().chain(["Authorization", "X-Litellm-Api-Key", "X-Api-Key"]) {
        for (spelling, _) in spellings(name) {
            let mut bytes = chunked.clone().from(&UserProfile::named("alice")).header("Trailer", &spelling).bytes();
            bytes.extend(format!("2\r\nhi\r\n0\r\n{spelling}: {FORGED}\r\n\r\n").as_bytes());
            let before = stage.upstream.count();
            let answer = stage.client().raw(bytes).await;
            let raw = stage.upstream.seen()[before..]
                .iter()
                .map(|seen| String::from_utf8_lossy(&seen.raw).into_owned())
                .collect::<String>();
            assert!(!raw.contains(FORGED), "{spelling}: {raw}");
            assert!(answer.status == 200 || answer.status == 400, "{spelling}: {}", answer.status);
        }
        let mut bytes = chunked.bytes();
        bytes.extend(format!("0\r\n{name}: alice\r\n\r\n").as_bytes());
        stage.client().raw(bytes).await.expect_refusal(401, "no_identity");
    }
    expect_only_alice(&stage).await;
}

/// Header names that LiteLLM, or something before it, takes a key from, and how it is written there.
fn credential_places(key: &str) -> Vec<(&'static str, String)> {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("x:{key}"));
    let claims =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json!({ "key": key, "user_id": "bob" }).to_string());
    vec![
        ("Authorization", format!("Bearer {key}")),
        ("Authorization", format!("bearer {key}")),
        ("Authorization", key.to_owned()),
        ("Authorization", format!("Basic {basic}")),
        ("Authorization", format!("AWS4-HMAC-SHA256 Credential=Bearer {key}, SignedHeaders=host")),
        ("x-litellm-api-key", key.to_owned()),
        ("X-LiteLLM-API-Key", format!("Bearer {key}")),
        ("api-key", key.to_owned()),
        ("x-api-key", key.to_owned()),
        ("x-goog-api-key", key.to_owned()),
        ("Ocp-Apim-Subscription-Key", key.to_owned()),
        ("litellm_user_api_key", key.to_owned()),
        ("litellm-user-api-key", key.to_owned()),
        ("X-Company-Key", key.to_owned()),
        ("X-Pass-Key", key.to_owned()),
        ("Cookie", format!("token={key}")),
        ("Cookie", format!("theme=dark; token=h.{claims}.s")),
        ("Cookie", format!("token=\"h.{claims}.s\"; theme=dark")),
        ("Sec-WebSocket-Protocol", format!("realtime, openai-insecure-api-key.{key}")),
        ("Sec-WebSocket-Protocol", format!("OpenAI-Insecure-API-Key.{key}")),
    ]
}

const CREDENTIAL_NAMES: &[&str] = &[
    "Authorization",
    "x-litellm-api-key",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "Ocp-Apim-Subscription-Key",
    "X-Company-Key",
    "X-Pass-Key",
];

/// Claims that LiteLLM reads beside the key.
const CLAIM_NAMES: &[&str] = &[
    "x-litellm-end-user-id",
    "x-litellm-customer-id",
    "x-litellm-user-id",
    "x-litellm-user-email",
    "x-litellm-user-role",
    "x-litellm-team-id",
    "x-litellm-agent-id",
    "litellm-changed-by",
    "x-openwebui-user-email",
    "x-openwebui-user-id",
];

async fn guarded() -> (Stage, String) {
    let stage = Stage::with(|setup| {
        setup.with("litellm.key_header", "X-Company-Key").with("litellm.pass_through_key_headers", vec!["X-Pass-Key"])
    })
    .await;
    stage.client().get("/v1/models").from(&UserProfile::named("bob").in_groups("llm-admins")).send().await.expect_ok();
    let key = stage.upstream.only().head.value("x-litellm-api-key").expect("bob's key");
    (stage, key)
}

/// bob's key is nowhere in what the upstream read, in no encoding that we sent it in.
fn expect_without(raw: &[u8], key: &str, case: &str) {
    let raw = String::from_utf8_lossy(raw).into_owned();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("x:{key}"));
    let claims =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json!({ "key": key, "user_id": "bob" }).to_string());
    for hidden in [key, &basic, &claims] {
        assert!(!raw.contains(hidden), "{case}: {raw}");
    }
}

#[tokio::test]
async fn a_second_persons_key_never_goes_up_with_the_first() {
    let (stage, key) = guarded().await;
    for (name, value) in credential_places(&key) {
        for path in ["/v1/models", "/user/info", "/anthropic/v1/messages", "/vertex-ai/v1/x", "/mcp/"] {
            let case = format!("{path} {name}: {value}");
            let before = stage.upstream.count();
            let answer = stage.client().get(path).from(&UserProfile::named("alice")).header(name, &value).send().await;
            assert!(answer.status == 200 || answer.status == 400, "{case}: {}", answer.text());
            for seen in &stage.upstream.seen()[before..] {
                expect_without(&seen.raw, &key, &case);
                let own = seen.head.value("x-litellm-api-key").expect("alice's own key");
                assert_eq!(seen.head.value("authorization"), Some(format!("Bearer {own}")), "{case}");
                assert_eq!(stage.db.owner_of(&own).await.as_deref(), Some("alice"), "{case}");
            }
        }
    }
    assert_eq!(stage.upstream.keys().len(), 2);
}

#[tokio::test]
async fn a_twin_of_a_credential_header_is_refused() {
    let (stage, key) = guarded().await;
    for name in CREDENTIAL_NAMES.iter().filter(|name| name.contains('-')) {
        for (spelling, twin) in spellings(name) {
            if twin {
                let answer = alice(&stage).header(&spelling, &key).send().await;
                answer.expect_refusal(400, "aliased_header");
            }
        }
    }
    assert_eq!(stage.upstream.count(), 1);
}

#[tokio::test]
async fn the_key_in_the_query_of_a_google_route_is_taken_out() {
    let (stage, key) = guarded().await;
    let places = [
        ("/v1beta/models/gemini-pro:generateContent?key=KEY", "/v1beta/models/gemini-pro:generateContent"),
        (
            "/v1beta/models/gemini-pro:streamGenerateContent?alt=sse&key=KEY",
            "/v1beta/models/gemini-pro:streamGenerateContent?alt=sse",
        ),
        ("/models/gemini-pro:generateContent?key=KEY&alt=sse", "/models/gemini-pro:generateContent?alt=sse"),
        (
            "/gemini/v1beta/models/x:generateContent?alt=sse&%6Bey=KEY&x=1",
            "/gemini/v1beta/models/x:generateContent?alt=sse&x=1",
        ),
        ("/v1beta/models/x:countTokens?key=1&key=KEY&key", "/v1beta/models/x:countTokens"),
        ("/gemini/v1beta/x?%6b%65%79=KEY&a=b", "/gemini/v1beta/x?a=b"),
    ];
    for (target, expected) in places {
        let answer =
            stage.client().post(&target.replace("KEY", &key), "{}").from(&UserProfile::named("alice")).send().await;
        answer.expect_ok();
        let seen = stage.upstream.last();
        expect_without(&seen.raw, &key, target);
        let path = seen.head.line.split(' ').nth(1).unwrap_or_default().trim_end_matches('?').to_owned();
        assert_eq!(path, expected, "{target}");
    }
}

#[tokio::test]
async fn claims_beside_the_key_are_taken_out() {
    let (stage, _) = guarded().await;
    for name in CLAIM_NAMES {
        for (spelling, _) in spellings(name) {
            let before = stage.upstream.count();
            let answer = alice(&stage).header(&spelling, FORGED).send().await;
            expect_no_effect(&stage, before, &answer, &spelling);
        }
    }
}

#[tokio::test]
async fn what_is_nobodys_claim_passes() {
    let stage = Stage::plain().await;
    let kept = [
        ("x-mcp-auth", "Bearer far"),
        ("mcp-session-id", "s1"),
        ("x-litellm-tags", "a,b"),
        ("x-litellm-timeout", "5"),
        ("X-Custom_Thing", "1"),
        ("anthropic-version", "2023-06-01"),
    ];
    let request = kept.iter().fold(alice(&stage), |request, (name, value)| request.header(name, value));
    request.send().await.expect_ok();
    let seen = stage.upstream.only().head;
    for (name, value) in kept {
        assert_eq!(seen.value(name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_public_path_loses_identity_and_credentials() {
    let stage = Stage::with(|setup| setup.with("public_paths", vec!["/health/*", "/exact"])).await;
    for path in ["/health/readiness", "/exact"] {
        let answer = stage
            .stranger()
            .get(path)
            .from(&UserProfile::named("mallory").in_groups("llm-admins"))
            .header("Authorization", "Bearer sk-own")
            .header("x-api-key", "sk-own")
            .send()
            .await;
        answer.expect_ok();
        let seen = stage.upstream.last();
        let raw = String::from_utf8_lossy(&seen.raw);
        assert!(!raw.contains("sk-") && !raw.contains("mallory") && !raw.contains("llm-admins"), "{path}: {raw}");
    }
    let public = stage.upstream.count();
    for path in [
        "/healthy",
        "/health",
        "/exact/x",
        "/health/../v1/models",
        "/health/%2e%2e/v1/models",
        "//health/x",
        "/health//x",
        "/health/x%2f..",
        "/health/;x/../../v1",
        "/HEALTH/x",
        "/health/..",
    ] {
        stage.stranger().get(path).send().await.expect_refusal(401, "no_identity");
    }
    assert_eq!(stage.upstream.count(), public);
    stage.db.expect_nothing_written().await;
}

#[tokio::test]
async fn the_named_sets_of_public_paths_are_what_they_say() {
    let stage = Stage::with(|setup| setup.with("public_paths", vec!["health", "mcp-discovery"])).await;
    for path in ["/health/liveliness", "/health/liveness", "/health/readiness", "/.well-known/oauth-protected-resource"]
    {
        stage.stranger().get(path).send().await.expect_ok();
    }
    // `/health` itself calls every model.
    for path in ["/health", "/health/services", "/.well-known/litellm-ui-config", "/mcp"] {
        stage.stranger().get(path).send().await.expect_refusal(401, "no_identity");
    }
}
