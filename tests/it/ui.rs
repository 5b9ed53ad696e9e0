//! The admin UI before an upstream double: sign-in, what a browser holds, sign-out, and what other sites can make it send.

mod origins;
mod sign_in;
mod sign_out;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::support::client::{Answer, Request, UserProfile};
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::Setup;

/// Answers pages as LiteLLM does, its settings with their fields, and all else with JSON.
async fn litellm() -> Upstream {
    Upstream::answering(|mut exchange| async move {
        let path = exchange.head.target().split('?').next().unwrap_or_default().to_owned();
        exchange.body().await;
        let (kind, body) = match path.as_str() {
            "/sso/get/ui_settings" => ("application/json", r#"{"PROXY_BASE_URL":null,"PROXY_LOGOUT_URL":null}"#),
            "/user/info" => ("application/json", r#"{"user_id":"x","user_info":{"spend":1.5,"max_budget":4.0}}"#),
            path if path.contains("/ui/") && !path.contains(".js") => ("text/html; charset=utf-8", "<html>page</html>"),
            _ => ("application/json", r#"{"ok":true}"#),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nAccess-Control-Allow-Origin: *\r\n\r\n");
        exchange.send(format!("{head}{body}")).await;
        Some(exchange)
    })
    .await
}

async fn stage(change: impl FnOnce(Setup) -> Setup) -> Stage {
    Stage::of(litellm().await, |setup| change(setup.with("public_url", "https://llm.example.com"))).await
}

/// A browser's navigation to a page.
fn page(stage: &Stage, path: &str, person: &UserProfile) -> Request {
    let request = stage.client().get(path).from(person).header("Accept", "text/html,*/*;q=0.8");
    request.header("Sec-Fetch-Site", "none").header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document")
}

/// What a page's script sends.
fn script(stage: &Stage, method: &str, path: &str, person: &UserProfile, key: &str) -> Request {
    let request = stage.client().request(method, path).from(person).header("Authorization", format!("Bearer {key}"));
    request.header("Sec-Fetch-Site", "same-origin").header("Sec-Fetch-Mode", "cors").header("Sec-Fetch-Dest", "empty")
}

fn set_cookies(answer: &Answer) -> Vec<String> {
    answer.head.values("set-cookie")
}

fn alice() -> UserProfile {
    UserProfile::named("alice")
}

/// The token cookie that an answer sets for the whole host.
pub(crate) fn token(answer: &Answer) -> String {
    let set = set_cookies(answer);
    let cookie = set.iter().find(|cookie| cookie.contains("; Path=/;") && !cookie.contains("Max-Age=0"));
    let cookie = cookie.unwrap_or_else(|| panic!("no cookie in {set:?}"));
    cookie.strip_prefix("token=").expect("its name").split(';').next().expect("a value").to_owned()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

/// What the browser holds in place of a key.
pub(crate) fn key(token: &str) -> String {
    claims(token)["key"].as_str().expect("a key").to_owned()
}

/// Opens the UI, signs in, and gives the cookie.
async fn signed_in(stage: &Stage, person: &UserProfile) -> String {
    let answer = page(stage, "/ui/", person).send().await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    token(&answer)
}
