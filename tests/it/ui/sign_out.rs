use serde_json::{Value, json};

use super::{alice, key, page, script, set_cookies, signed_in, stage};
use crate::support::client::{Request, UserProfile};
use crate::support::eventually;

/// A visit to a page that another site led to.
fn led(request: Request, dest: &str) -> Request {
    let request = request.header("User-Agent", "Mozilla/5.0").header("Sec-Fetch-Site", "cross-site");
    request.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", dest)
}

#[tokio::test]
async fn litellms_button_ends_the_session_its_key_and_the_cookies() {
    let stage = stage(|setup| setup).await;
    let placeholder = key(&signed_in(&stage, &alice()).await);
    let other = key(&signed_in(&stage, &alice()).await);
    let before = stage.upstream.count();
    let request = script(&stage, "POST", "/session/logout", &alice(), &placeholder).header("Content-Length", "0");
    let answer = request.send().await;
    answer.expect_ok();
    let over = |path| format!("token=; Path={path}; SameSite=Lax; Secure; Max-Age=0");
    assert_eq!(set_cookies(&answer), [over("/ui"), over("/")]);
    assert_eq!(stage.upstream.count(), before, "it is answered here");
    let dead = script(&stage, "GET", "/key/list", &alice(), &placeholder).send().await;
    dead.expect_refusal(401, "dead_placeholder");
    script(&stage, "GET", "/key/list", &alice(), &other).send().await.expect_ok();
    stage.client().get("/v1/models").from(&alice()).send().await.expect_ok();
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.session WHERE kind = 'ui'").await, 1);
    assert_eq!(stage.db.key_count().await, 2, "its key is gone");
    let audit = "SELECT actor FROM vestibule.audit WHERE event = 'session_revoked'";
    assert_eq!(stage.db.texts(audit).await, ["person"]);
}

#[tokio::test]
async fn the_way_out_is_named_in_litellms_settings() {
    let stage = stage(|setup| setup).await;
    let answer = script(&stage, "GET", "/sso/get/ui_settings", &alice(), "sk-anything").send().await;
    answer.expect_ok();
    let wanted = json!({ "PROXY_BASE_URL": Value::Null, "PROXY_LOGOUT_URL": "/vestibule/logout" });
    assert_eq!(answer.json(), wanted);
}

#[tokio::test]
async fn the_page_for_it_goes_on_to_the_sign_in_proxy_and_asks_whoever_was_led_there() {
    let steps = vec!["proxy", "https://idp.example.com/end?to={next}", "/bye"];
    let stage = stage(|setup| setup.with("logout.chain", steps)).await;
    let token = signed_in(&stage, &alice()).await;
    let visit = stage.client().get("/vestibule/logout").from(&alice()).header("Cookie", format!("token={token}"));
    let answer = led(visit.clone(), "document").send().await;
    answer.expect_ok();
    assert!(answer.text().contains("<form method=\"post\" action=\"/vestibule/logout\">"), "{}", answer.text());
    assert!(set_cookies(&answer).is_empty());
    script(&stage, "GET", "/key/list", &alice(), &key(&token)).send().await.expect_ok();

    led(visit, "iframe").send().await.expect_refusal(403, "cross_site");
    let forged = stage.client().post("/vestibule/logout", "").from(&alice()).header("Origin", "https://evil.example");
    forged.send().await.expect_refusal(403, "cross_site");

    let leaving = page(&stage, "/vestibule/logout", &alice()).header("Cookie", format!("token={token}"));
    let answer = leaving.send().await;
    assert_eq!(answer.status, 303);
    let idp = "https%3A%2F%2Fidp.example.com%2Fend%3Fto%3Dhttps%253A%252F%252Fllm.example.com%252Fbye";
    assert_eq!(answer.head.value("location"), Some(format!("/oauth2/sign_out?rd={idp}")));
    assert_eq!(set_cookies(&answer).len(), 2);
    let dead = script(&stage, "GET", "/key/list", &alice(), &key(&token)).send().await;
    dead.expect_refusal(401, "dead_placeholder");
}

#[tokio::test]
async fn the_session_for_the_api_ends_too_where_that_is_wanted() {
    let stage = stage(|setup| setup.with("logout.api_session", "end")).await;
    let token = signed_in(&stage, &alice()).await;
    stage.client().get("/v1/models").from(&alice()).send().await.expect_ok();
    let before = stage.upstream.last().head.value("x-litellm-api-key");
    page(&stage, "/vestibule/logout", &alice()).header("Cookie", format!("token={token}")).send().await;
    stage.client().get("/v1/models").from(&alice()).send().await.expect_ok();
    assert_ne!(stage.upstream.last().head.value("x-litellm-api-key"), before, "the old key is dead");
    assert_eq!(stage.db.key_count().await, 1);
}

#[tokio::test]
async fn with_a_master_key_litellm_is_told_at_once() {
    let stage = stage(|setup| setup.with("litellm.master_key", "sk-master-0123456789")).await;
    let token = signed_in(&stage, &alice()).await;
    let answer = page(&stage, "/vestibule/logout", &alice()).header("Cookie", format!("token={token}")).send().await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let told = stage.upstream.last();
    assert_eq!(told.head.target(), "/key/delete");
    assert_eq!(told.head.value("authorization").as_deref(), Some("Bearer sk-master-0123456789"));
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.session WHERE kind = 'ui'").await, 0);
}

#[tokio::test]
async fn a_sign_out_at_one_replica_holds_at_the_other() {
    let stage = stage(|setup| setup.with("account.refresh", "1s")).await;
    let second = stage.setup.start().await;
    let token = signed_in(&stage, &alice()).await;
    let there = second.client().get("/key/list").from(&alice());
    let there = there.header("Authorization", format!("Bearer {}", key(&token)));
    there.send().await.expect_ok();
    page(&stage, "/vestibule/logout", &alice()).header("Cookie", format!("token={token}")).send().await;
    eventually("the other replica to refuse it", async || {
        (there.send().await.refusal().as_deref() == Some("dead_placeholder")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn whoami_tells_people_and_programs_who_they_are_and_nothing_secret() {
    let stage = stage(|setup| setup).await;
    let eve = UserProfile::named("eve").in_groups("llm-users,<b>x</b>");
    let answer = stage.client().get("/vestibule/whoami").from(&eve).send().await;
    answer.expect_ok();
    let told = answer.json();
    assert_eq!((&told["user_id"], &told["role"]), (&json!("eve"), &json!("internal_user")));
    assert_eq!((&told["rule"], &told["read_from"]["groups"]), (&json!("rules[1]"), &json!("x-forwarded-groups")));
    assert_eq!(told["budget"], json!({ "spent": 1.5, "max": 4.0, "left": 2.5 }));
    assert!(!answer.text().contains("sk-"));
    let html = page(&stage, "/vestibule/whoami", &eve).send().await;
    html.expect_ok();
    let text = html.text();
    assert!(text.contains("&lt;b&gt;x&lt;/b&gt;") && !text.contains("<b>"), "{text}");
    assert!(text.contains("2.50 USD of 4.00 left"), "{text}");
    assert!(html.head.value("content-security-policy").is_some_and(|policy| policy.contains("frame-ancestors 'none'")));
    // The groups are those of this very request, also where they change nothing that is written.
    let moved = stage.client().get("/vestibule/whoami").from(&eve.clone().in_groups("llm-users,team-b")).send().await;
    assert_eq!(moved.json()["groups"], serde_json::json!(["llm-users", "team-b"]));
    stage.client().get("/vestibule/whoami").send().await.expect_refusal(401, "no_identity");
    stage.client().post("/vestibule/whoami", "").from(&eve).send().await.expect_refusal(405, "method_not_allowed");
    stage.client().get("/vestibule/who").from(&eve).send().await.expect_refusal(404, "unknown_path");
}

#[tokio::test]
async fn a_sign_out_at_a_replica_that_has_not_heard_of_the_session_ends_it() {
    let stage = stage(|setup| setup).await;
    let second = stage.setup.start().await;
    second.client().get("/v1/models").from(&alice()).send().await.expect_ok();
    let token = signed_in(&stage, &alice()).await;
    let there = second.client().post("/vestibule/logout", "").from(&alice());
    let there = there.header("Cookie", format!("token={token}")).header("Origin", "https://llm.example.com");
    assert_eq!(there.send().await.status, 303);
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.session WHERE kind = 'ui'").await, 0);
}

#[tokio::test]
async fn a_role_that_settles_keeps_nobody_from_signing_out() {
    let stage = stage(|setup| setup).await;
    let admin = alice().in_groups("llm-admins");
    let token = signed_in(&stage, &admin).await;
    let lowered = alice();
    script(&stage, "GET", "/key/list", &lowered, &key(&token)).send().await.expect_refusal(503, "role_settling");
    let request = script(&stage, "POST", "/session/logout", &lowered, &key(&token)).header("Content-Length", "0");
    request.send().await.expect_ok();
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.session WHERE kind = 'ui'").await, 0);
}

#[tokio::test]
async fn a_picture_or_a_page_shown_ahead_signs_nobody_out() {
    let stage = stage(|setup| setup).await;
    let token = signed_in(&stage, &alice()).await;
    let visit = stage.client().get("/vestibule/logout").from(&alice()).header("Cookie", format!("token={token}"));
    let picture = visit.clone().header("Sec-Fetch-Site", "same-origin").header("Sec-Fetch-Dest", "image");
    picture.send().await.expect_ok();
    let ahead = visit.header("Sec-Fetch-Site", "none").header("Sec-Fetch-Dest", "document");
    ahead.header("Sec-Purpose", "prefetch;prerender").send().await.expect_ok();
    script(&stage, "GET", "/key/list", &alice(), &key(&token)).send().await.expect_ok();
}

#[tokio::test]
async fn own_pages_are_there_below_a_prefix_that_stays_on() {
    let public = "https://llm.example.com/llm";
    let stage = stage(|setup| setup.with("litellm.root_path", "/llm").with("public_url", public)).await;
    let settings = script(&stage, "GET", "/llm/sso/get/ui_settings", &alice(), "sk-anything").send().await;
    settings.expect_ok();
    let token = signed_in(&stage, &alice()).await;
    let before = stage.upstream.count();
    let leaving = page(&stage, "/llm/vestibule/logout", &alice()).header("Cookie", format!("token={token}"));
    assert_eq!(leaving.send().await.status, 303);
    stage.client().get("/llm/vestibule/x").from(&alice()).send().await.expect_refusal(404, "unknown_path");
    assert_eq!(stage.upstream.count(), before);
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.session WHERE kind = 'ui'").await, 0);
}

#[tokio::test]
async fn a_sign_out_does_not_lift_what_an_admin_blocked() {
    let stage = stage(|setup| setup.with("logout.api_session", "end")).await;
    let token = signed_in(&stage, &alice()).await;
    stage.db.run(r#"UPDATE "LiteLLM_VerificationToken" SET blocked = true WHERE team_id IS NULL"#).await;
    page(&stage, "/vestibule/logout", &alice()).header("Cookie", format!("token={token}")).send().await;
    stage.client().get("/v1/models").from(&alice()).send().await.expect_refusal(403, "account_blocked");
}
