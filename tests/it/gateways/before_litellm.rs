//! What LiteLLM itself answers, and what somebody is told who does not come so far.

use serde_json::{Value, json};

use super::scene::Scene;
use super::shipped::Kind;
use crate::support::client::Answer;
use crate::support::eventually;

async fn chat(scene: &Scene, stream: bool) -> Answer {
    let body = json!({ "model": "gpt-4o-mini", "stream": stream, "messages": [{ "role": "user", "content": "hi" }] });
    scene.of("alice", scene.client.post("/v1/chat/completions", body.to_string())).send().await
}

pub(super) async fn a_model_call_is_the_persons(scene: &mut Scene) {
    let answer = chat(scene, false).await;
    answer.expect_ok();
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "hello");
    let answer = chat(scene, true).await;
    answer.expect_ok();
    assert!(answer.complete && answer.text().contains("data: [DONE]"), "{}", answer.text());
    let paid = format!(r#"SELECT count(*) FROM "LiteLLM_SpendLogs" WHERE "user" = '{}'"#, scene.name("alice"));
    eventually("the two calls in her name", async || (scene.db.number(&paid).await >= 2).then_some(())).await;
}

pub(super) async fn a_management_call_is_the_persons(scene: &mut Scene) {
    let told = scene.alice("/user/info").send().await;
    told.expect_ok();
    let told = told.json();
    assert_eq!(told["user_id"], scene.name("alice"), "{told}");
    assert_eq!(told["user_info"]["user_role"], "internal_user", "{told}");
    let people = "/user/list?page=1&page_size=1";
    let answer = scene.alice(people).send().await;
    assert_eq!((answer.status, answer.refusal()), (403, None), "LiteLLM's own no: {}", answer.text());
    scene.of("bob", scene.get(people)).send().await.expect_ok();
}

pub(super) async fn whoever_is_not_signed_in_is_told(scene: &mut Scene) {
    for request in [scene.get("/v1/models"), scene.client.post("/v1/chat/completions", "{}")] {
        for request in [request.clone(), request.header("Authorization", "Bearer sk-1234567890")] {
            let answer = request.send().await;
            answer.expect_refusal(401, "no_identity");
            assert_eq!(answer.json()["error"]["code"], "no_identity");
        }
    }
}

pub(super) async fn somebody_without_a_role_is_told(scene: &mut Scene) {
    let answer = scene.of("guest", scene.get("/v1/models")).send().await;
    answer.expect_refusal(403, "no_role");
    assert_eq!(answer.json()["error"]["code"], "no_role");
}

pub(super) async fn a_page_leads_to_sign_in(scene: &mut Scene) {
    let signs_in_at = |path: &str| {
        let back = percent_encoding::utf8_percent_encode(path, percent_encoding::NON_ALPHANUMERIC).to_string();
        let back = ["%2D", "%2E", "%5F", "%7E"]
            .iter()
            .zip("-._~".chars())
            .fold(back, |text, (escape, sign)| text.replace(escape, &sign.to_string()));
        format!("https://llm.example.com/oauth2/start?rd=https%3A%2F%2Fllm.example.com{back}")
    };
    for path in ["/model_hub?a=1&b=%2F", "/ui/", "/"] {
        let page = scene.get(path).header("Accept", "text/html,*/*;q=0.8").header("Sec-Fetch-Dest", "document");
        let answer = page.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Site", "none").send().await;
        assert_eq!(answer.status, 302, "{path}: {}", answer.text());
        let location = answer.head.value("location").unwrap_or_default();
        if scene.gateway.kind == Kind::Nginx && path.starts_with("/model") {
            // nginx has fetched the sign-in proxy's own redirect.
            assert_eq!(location, "https://idp.example.com/authorize");
            assert_eq!(answer.head.value("x-comes-back-to").as_deref(), Some(path));
        } else {
            assert_eq!(location, signs_in_at(path), "{path}");
        }
    }
}

pub(super) async fn somebody_elses_key_counts_nowhere(scene: &mut Scene) {
    let body = json!({ "user_id": scene.name("bob") }).to_string();
    let made = scene.of("bob", scene.client.post("/key/generate", body)).send().await;
    made.expect_ok();
    let key = made.json()["key"].as_str().expect("a key").to_owned();
    let bearer = format!("Bearer {key}");
    let places = [
        ("Authorization", &bearer),
        ("x-litellm-api-key", &key),
        ("x-api-key", &key),
        ("api-key", &key),
        ("x-goog-api-key", &key),
        ("Ocp-Apim-Subscription-Key", &key),
        ("litellm_user_api_key", &key),
    ];
    for (name, value) in places {
        let answer = scene.alice("/user/info").header(name, value).send().await;
        answer.expect_ok();
        assert_eq!(answer.json()["user_id"], scene.name("alice"), "{name}");
        // Without a sign-in it opens nothing.
        scene.get("/user/info").header(name, value).send().await.expect_refusal(401, "no_identity");
    }
    let google = format!("/v1beta/models/gpt-4o-mini:generateContent?key={key}");
    let answer = scene.of("alice", scene.client.post(&google, r#"{"contents":[]}"#)).send().await;
    answer.expect_refusal(401, "caller_key");
    let answer: Value = scene.of("bob", scene.get("/user/info")).send().await.json();
    assert_eq!(answer["user_id"], scene.name("bob"));
}
