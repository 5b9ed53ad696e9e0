//! A refusal speaks the caller's language, and says no more than it must.

use crate::support::client::{Answer, UserProfile};
use crate::support::stage::Stage;

fn expect_common(answer: &Answer, code: &str) {
    assert_eq!(answer.refusal().as_deref(), Some(code));
    assert!(answer.head.value("x-request-id").is_some_and(|id| !id.is_empty()));
    assert_eq!(answer.head.value("cache-control").as_deref(), Some("no-store"));
}

#[tokio::test]
async fn an_api_caller_gets_an_openai_error() {
    let stage = Stage::plain().await;
    let answer = stage.client().post("/v1/chat/completions", "{}").send().await;
    assert_eq!(answer.status, 401);
    expect_common(&answer, "no_identity");
    assert_eq!(
        answer.head.value("www-authenticate").as_deref().map(|value| value.split(' ').next()),
        Some(Some("Bearer"))
    );
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "no_identity");
    assert!(error["message"].is_string() && error["type"].is_string() && error["param"].is_null(), "{error}");
}

#[tokio::test]
async fn an_anthropic_caller_gets_an_anthropic_error() {
    let stage = Stage::plain().await;
    for path in ["/v1/messages", "/v1/messages/count_tokens", "/anthropic/v1/messages"] {
        let answer = stage.client().post(path, "{}").send().await;
        assert_eq!(answer.status, 401, "{path}");
        expect_common(&answer, "no_identity");
        let document = answer.json();
        assert_eq!(document["type"], "error", "{path}");
        assert!(document["error"]["type"].is_string() && document["error"]["message"].is_string(), "{document}");
        assert_eq!(document["request_id"].as_str().map(str::to_owned), answer.head.value("x-request-id"));
    }
}

#[tokio::test]
async fn a_browser_gets_a_page() {
    let stage = Stage::plain().await;
    let answer = stage.client().get("/ui/").header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8").send().await;
    assert_eq!(answer.status, 401);
    expect_common(&answer, "no_identity");
    assert!(answer.head.value("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    let id = answer.head.value("x-request-id").unwrap_or_default();
    assert!(
        answer.text().contains("no_identity") && answer.text().contains(&id),
        "the page names the code and the request"
    );
}

#[tokio::test]
async fn a_page_never_shows_what_the_caller_sent_unescaped() {
    let stage = Stage::plain().await;
    let hostile = "<script>alert(1)</script>";
    let answer = stage
        .client()
        .get("/ui/?q=<script>alert(1)</script>")
        .header("Accept", "text/html")
        .header("X-Request-Id", hostile)
        .header("X-Forwarded-User", hostile)
        .header("X-Forwarded-User", hostile)
        .send()
        .await;
    assert_eq!(answer.status, 400);
    assert!(!answer.text().contains("<script>alert"), "{}", answer.text());
}

#[tokio::test]
async fn unknown_pages_of_ours_stay_here() {
    let stage = Stage::plain().await;
    for path in ["/vestibule/nothing", "/vestibule/", "/vestibule", "/vestibule/../v1/x"] {
        let answer = stage.client().get(path).from(&UserProfile::named("alice")).send().await;
        answer.expect_refusal(404, "unknown_path");
    }
    assert_eq!(stage.upstream.count(), 0);
    stage.client().get("/vestibules").from(&UserProfile::named("alice")).send().await.expect_ok();
}

#[tokio::test]
async fn our_prefix_can_be_moved() {
    let stage = Stage::with(|setup| setup.with("own_prefix", "/-/door")).await;
    stage
        .client()
        .get("/-/door/nothing")
        .from(&UserProfile::named("alice"))
        .send()
        .await
        .expect_refusal(404, "unknown_path");
    stage.client().get("/vestibule/nothing").from(&UserProfile::named("alice")).send().await.expect_ok();
}

#[tokio::test]
async fn a_connection_serves_on_after_a_refusal() {
    let stage = Stage::plain().await;
    let mut wire = stage.client().connect().await;
    wire.send(stage.client().get("/v1/models").bytes()).await;
    assert_eq!(wire.answer("GET").await.status, 401);
    wire.send(stage.client().get("/v1/models").from(&UserProfile::named("alice")).bytes()).await;
    wire.answer("GET").await.expect_ok();
}
