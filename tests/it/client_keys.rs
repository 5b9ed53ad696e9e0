//! A caller's own key, without identity.

use crate::support::client::UserProfile;
use crate::support::stage::Stage;

const OWN: &str = "sk-own-0123456789";

async fn passing() -> Stage {
    Stage::with(|setup| setup.with("client_keys", "pass").with("litellm.key_header", "X-Company-Key")).await
}

#[tokio::test]
async fn an_own_key_is_refused_by_default() {
    let stage = Stage::plain().await;
    for client in [stage.client(), stage.stranger()] {
        let answer = client.get("/v1/models").header("Authorization", format!("Bearer {OWN}")).send().await;
        answer.expect_refusal(401, "no_identity");
    }
    assert_eq!(stage.upstream.count(), 0);
    stage.db.expect_nothing_written().await;
}

#[tokio::test]
async fn one_own_key_passes_where_it_may() {
    let stage = passing().await;
    for (name, value) in [
        ("Authorization", format!("Bearer {OWN}")),
        ("x-litellm-api-key", OWN.to_owned()),
        ("x-litellm-api-key", format!("Bearer {OWN}")),
        ("x-api-key", OWN.to_owned()),
        ("api-key", OWN.to_owned()),
        ("x-goog-api-key", OWN.to_owned()),
        ("X-Company-Key", OWN.to_owned()),
    ] {
        for client in [stage.client(), stage.stranger()] {
            let answer = client.get("/v1/models").header(name, &value).send().await;
            answer.expect_ok();
            let raw = String::from_utf8_lossy(&stage.upstream.last().raw).into_owned();
            assert!(raw.contains(OWN), "{name}: {raw}");
        }
    }
    stage.db.expect_nothing_written().await;
}

#[tokio::test]
async fn what_is_not_exactly_one_key_is_refused() {
    let stage = passing().await;
    let cases: &[&[(&str, &str)]] = &[
        &[("Authorization", "Bearer sk-one"), ("x-api-key", "sk-two")],
        &[("Authorization", "Bearer sk-one"), ("Authorization", "Bearer sk-two")],
        &[("x-api-key", "sk-one"), ("x-api-key", "sk-two")],
        &[("Authorization", "Bearer eyJhbGciOi.x.y")],
        &[("Authorization", "Basic eDpzay1vd24=")],
        &[("x-api-key", "not-a-key")],
        &[("x-api-key", "sk-one two")],
        &[("x-api-key", "sk-")],
    ];
    for headers in cases {
        let request =
            headers.iter().fold(stage.client().get("/v1/models"), |request, (name, value)| request.header(name, value));
        request.send().await.expect_refusal(401, "caller_key");
    }
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test]
async fn without_any_key_nobody_is_nobody() {
    let stage = passing().await;
    let answer = stage.client().get("/v1/models").send().await;
    assert_eq!(answer.status, 401);
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test]
async fn an_identity_beats_an_own_key() {
    let stage = passing().await;
    let answer = stage
        .client()
        .get("/v1/models")
        .from(&UserProfile::named("alice"))
        .header("Authorization", format!("Bearer {OWN}"))
        .send()
        .await;
    answer.expect_ok();
    let seen = stage.upstream.only();
    assert!(!String::from_utf8_lossy(&seen.raw).contains(OWN));
    let key = seen.head.value("x-litellm-api-key").expect("alice's key");
    assert_eq!(stage.db.owner_of(&key).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn an_own_key_does_not_launder_a_strangers_identity() {
    let stage = passing().await;
    for (name, value) in UserProfile::named("alice").headers() {
        let answer = stage
            .stranger()
            .get("/v1/models")
            .header(name, value)
            .header("Authorization", format!("Bearer {OWN}"))
            .send()
            .await;
        answer.expect_refusal(403, "untrusted_peer");
    }
    // A bad identity from a trusted peer does not fall back on the key either.
    let answer = stage
        .client()
        .get("/v1/models")
        .header("X-Forwarded-User", "a,b")
        .header("Authorization", format!("Bearer {OWN}"))
        .send()
        .await;
    answer.expect_refusal(400, "repeated_header");
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test]
async fn claims_do_not_pass_with_an_own_key() {
    let stage = passing().await;
    let answer = stage
        .client()
        .get("/v1/models")
        .header("Authorization", format!("Bearer {OWN}"))
        .header("x-litellm-end-user-id", "boss")
        .header("litellm-changed-by", "boss")
        .send()
        .await;
    answer.expect_ok();
    assert!(!String::from_utf8_lossy(&stage.upstream.only().raw).contains("boss"));
}
