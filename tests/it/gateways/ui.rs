//! The admin UI, as a browser would: its pages go to vestibule's proxy listener, its calls through the gateway's question.

use serde_json::json;

use super::scene::{Scene, has_key};
use crate::support::client::{Answer, Request};
use crate::ui::{key, token};

/// A browser's navigation.
fn page(request: Request) -> Request {
    let request = request.header("Accept", "text/html,*/*;q=0.8").header("Sec-Fetch-Site", "none");
    request.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document")
}

/// What a page's script sends with what the page holds.
async fn call(scene: &Scene, method: &str, path: &str, cookies: &str, key: &str) -> Answer {
    let request = scene.client.request(method, path).header("Cookie", cookies).header("Sec-Fetch-Site", "same-origin");
    let request = request.header("Authorization", format!("Bearer {key}")).header("Content-Length", "0");
    request.send().await
}

pub(super) async fn the_admin_ui_signs_in_and_out(scene: &mut Scene) {
    let opened = page(scene.alice("/ui/")).send().await;
    assert_eq!(opened.status, 303, "{}", opened.text());
    let token = token(&opened);
    let placeholder = key(&token);
    assert!(placeholder.starts_with("sk-vst-"), "{placeholder}");
    assert_eq!(scene.db.owner_of(&placeholder).await, None, "it is no key of LiteLLM's");
    let cookies = format!("{}; token={token}", scene.cookie("alice"));

    // In, with LiteLLM's own page.
    let shown = page(scene.get("/ui/?login=success").header("Cookie", &cookies)).send().await;
    shown.expect_ok();
    assert!(shown.text().contains("<html"), "{}", shown.text());
    assert!(!has_key(&shown), "a key is in the page");
    let led = page(scene.get("/vestibule/ui").header("Cookie", &cookies)).send().await;
    assert!(led.status == 200 || led.status == 303, "{}: {}", led.status, led.text());
    let settings = call(scene, "GET", "/sso/get/ui_settings", &cookies, &placeholder).await;
    settings.expect_ok();
    assert_eq!(settings.json()["PROXY_LOGOUT_URL"], "/vestibule/logout");

    // Its calls are hers, with the real key.
    for path in ["/user/info", "/v1/models"] {
        call(scene, "GET", path, &cookies, &placeholder).await.expect_ok();
    }
    let told = call(scene, "GET", "/user/info", &cookies, &placeholder).await;
    assert_eq!(told.json()["user_id"], scene.name("alice"));
    let who = scene.get("/vestibule/whoami").header("Cookie", &cookies).send().await;
    who.expect_ok();
    assert_eq!((&who.json()["user_id"], &who.json()["role"]), (&json!(scene.name("alice")), &json!("internal_user")));
    assert!(!has_key(&who));
    // It is worth nothing to somebody else.
    let stolen = format!("{}; token={token}", scene.cookie("bob"));
    call(scene, "GET", "/user/info", &stolen, &placeholder).await.expect_refusal(401, "dead_placeholder");

    // Out.
    let left = page(scene.get("/vestibule/logout").header("Cookie", &cookies)).send().await;
    assert_eq!(left.status, 303, "{}", left.text());
    let over = left.head.values("set-cookie");
    assert!(over.iter().any(|cookie| cookie.starts_with("token=;")), "{over:?}");
    call(scene, "GET", "/user/info", &cookies, &placeholder).await.expect_refusal(401, "dead_placeholder");
    scene.alice("/v1/models").send().await.expect_ok();
}
