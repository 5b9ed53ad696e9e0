use serde_json::json;

use super::{GATEWAYS, Scene, ask, forward_auth, key};
use crate::support::client::UserProfile;
use crate::support::stage::Stage;

#[tokio::test]
async fn a_yes_is_exactly_200_with_the_person_s_key_once_in_each_header() {
    let scene = Scene::plain().await;
    for gateway in GATEWAYS {
        for method in ["GET", "POST", "HEAD", "DELETE", "PATCH", "OPTIONS"] {
            let answer = scene.asked_for("alice", gateway, method, "/v1/chat/completions?a=b").await;
            let key = key(&answer);
            assert!(key.starts_with("sk-") && !key.starts_with("sk-vst-"), "{gateway} {method}");
            assert_eq!(scene.stage.db.owner_of(&key).await.as_deref(), Some("alice"));
            assert_eq!(answer.head.values("content-length"), ["0"]);
            assert_eq!(answer.head.value("cache-control").as_deref(), Some("no-store"));
            assert_eq!(answer.head.value("set-cookie"), None);
            assert!(answer.body.is_empty());
            let removal = answer.head.value("x-envoy-auth-headers-to-remove");
            assert_eq!(removal.is_some(), gateway == "envoy");
        }
    }
    assert_eq!(scene.stage.upstream.count(), 0, "the gateway forwards, not vestibule");
}

#[tokio::test]
async fn the_role_follows_the_groups_that_the_sign_in_proxy_says() {
    let scene = Scene::plain().await;
    scene.asked_for("alice", "nginx", "GET", "/v1/models").await.expect_ok();
    scene.asked_for("bob", "nginx", "GET", "/user/list").await.expect_ok();
    assert_eq!(scene.stage.db.role("alice").await.as_deref(), Some("internal_user"));
    assert_eq!(scene.stage.db.role("bob").await.as_deref(), Some("proxy_admin"));
}

#[tokio::test]
async fn a_no_is_401_or_403_for_every_gateway_and_says_why_in_a_header() {
    let scene = Scene::with(|setup| setup.with("default_role", "deny").with("rules", json!([]))).await;
    for gateway in GATEWAYS {
        for (cookie, uri, status, code) in [
            ("none", "/v1/models", 401, "no_identity"),
            ("alice", "/v1/models", 403, "no_role"),
            ("alice", "/vestibule/x", 403, "unknown_path"),
            ("alice", "/login", 403, "closed_door"),
            // On the proxy's listener both are answered; here a yes would lead to LiteLLM's own.
            ("alice", "/sso/key/generate", 403, "closed_door"),
            ("alice", "/vestibule/whoami", 403, "unknown_path"),
            ("alice", "/a%zz", 403, "bad_target"),
            ("twice", "/v1/models", 403, "repeated_header"),
        ] {
            let answer = scene.asked_for(cookie, gateway, "GET", uri).await;
            answer.expect_refusal(status, code);
            assert_eq!(answer.head.value("authorization"), None);
        }
    }
}

#[tokio::test]
async fn a_browser_s_page_is_sent_to_sign_in_where_the_gateway_passes_that_on() {
    let scene = Scene::plain().await;
    let page = |gateway: &str, method: &str, uri: &str| {
        let request = scene.ask(gateway, method, uri).header("Accept", "text/html,*/*;q=0.8");
        request
            .header("Sec-Fetch-Site", "none")
            .header("Sec-Fetch-Mode", "navigate")
            .header("Sec-Fetch-Dest", "document")
    };
    for gateway in GATEWAYS {
        let answer = page(gateway, "GET", "/ui/?page=a&b=c").send().await;
        if gateway == "nginx" {
            answer.expect_refusal(401, "no_identity");
            continue;
        }
        assert_eq!(answer.status, 302, "{gateway}");
        let wanted = "https://llm.example.com/oauth2/start?rd=https%3A%2F%2Fllm.example.com%2Fui%2F%3Fpage%3Da%26b%3Dc";
        assert_eq!(answer.head.value("location").as_deref(), Some(wanted));
        assert!(answer.body.is_empty());
        // What is no page that somebody looks at is told no.
        page(gateway, "POST", "/ui/").send().await.expect_refusal(401, "no_identity");
        page(gateway, "GET", "/ui/").header("Sec-WebSocket-Key", "x").send().await.expect_refusal(401, "no_identity");
        // Signing in again would be a circle.
        for nobody in ["nameless", "empty"] {
            let page = page(gateway, "GET", "/ui/").header("Cookie", format!("_oauth2_proxy={nobody}"));
            page.send().await.expect_refusal(401, "no_identity");
        }
        let forbidden = page(gateway, "GET", "/ui/").header("Cookie", "_oauth2_proxy=forbidden").send().await;
        forbidden.expect_refusal(403, "not_admitted");
    }
    // So is a page that the gateway routes to vestibule.
    let page = scene.stage.client().get("/ui/").header("Accept", "text/html").header("Sec-Fetch-Dest", "document");
    let page = page.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Site", "none").send().await;
    let wanted = "https://llm.example.com/oauth2/start?rd=https%3A%2F%2Fllm.example.com%2Fui%2F";
    assert_eq!((page.status, page.head.value("location").as_deref()), (302, Some(wanted)));
    scene.stage.client().get("/v1/models").send().await.expect_refusal(401, "no_identity");
}

#[tokio::test]
async fn what_vestibule_can_not_decide_is_no_yes() {
    let scene = Scene::plain().await;
    for (cookie, status, code) in [
        ("nameless", 401, "no_identity"),
        ("empty", 401, "no_identity"),
        ("away", 401, "no_identity"),
        ("forbidden", 403, "not_admitted"),
        ("broken", 503, "sign_in_unavailable"),
        ("silent", 503, "sign_in_unavailable"),
    ] {
        let answer = scene.asked_for(cookie, "traefik", "GET", "/v1/models").await;
        answer.expect_refusal(status, code);
        assert_eq!(answer.head.value("retry-after").is_some(), status == 503);
    }
    scene.stage.db.expect_nothing_written().await;
}

#[tokio::test]
async fn a_sign_in_proxy_that_is_away_lets_nobody_in() {
    let away = Scene::with(|setup| setup.with("identity.check.url", "http://127.0.0.1:1/auth")).await;
    away.asked_for("alice", "nginx", "GET", "/v1/models").await.expect_refusal(503, "sign_in_unavailable");
    let proxied = away.stage.client().get("/v1/models").header("Cookie", "_oauth2_proxy=alice").send().await;
    proxied.expect_refusal(503, "sign_in_unavailable");
    assert_eq!(away.stage.upstream.count(), 0);
}

#[tokio::test]
async fn another_site_s_requests_are_refused_here_too() {
    let scene = Scene::plain().await;
    for gateway in GATEWAYS {
        for (name, value) in [("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example"), ("Origin", "null")]
        {
            let request = scene.ask(gateway, "GET", "/health").header("Cookie", "_oauth2_proxy=alice");
            request.header(name, value).send().await.expect_refusal(403, "cross_site");
        }
        let preflight = scene.ask(gateway, "OPTIONS", "/v1/models").header("Origin", "https://chat.example.com");
        preflight.header("Access-Control-Request-Method", "POST").send().await.expect_refusal(403, "cross_site");
    }
    assert_eq!(scene.sign_in.count(), 0, "nobody was asked for them");
}

#[tokio::test]
async fn what_the_gateway_would_hand_on_is_refused() {
    let scene = Scene::plain().await;
    for (gateway, name, value, wanted) in [
        ("nginx", "Authorization", "Bearer sk-client", None),
        ("nginx", "X-LiteLLM-API-Key", "sk-client", None),
        ("nginx", "X-Api-Key", "sk-client", None),
        ("nginx", "Api-Key", "sk-client", Some((401, "caller_key"))),
        ("nginx", "X-Forwarded-User", "mallory", Some((403, "unremoved_header"))),
        ("nginx", "X-Auth-Request-User", "mallory", Some((403, "unremoved_header"))),
        ("nginx", "X-LiteLLM-End-User-Id", "mallory", Some((403, "unremoved_header"))),
        ("nginx", "X_Forwarded_User", "mallory", Some((403, "aliased_header"))),
        ("nginx", "Connection", "close, X-Forwarded-User", Some((403, "nominated_header"))),
        ("envoy", "Api-Key", "sk-client", None),
        ("envoy", "X-Forwarded-User", "mallory", None),
        ("envoy", "Sec-WebSocket-Protocol", "openai-insecure-api-key.sk-client", Some((401, "caller_key"))),
    ] {
        let request = scene.ask(gateway, "GET", "/v1/models").header("Cookie", "_oauth2_proxy=alice");
        let answer = request.header(name, value).send().await;
        match wanted {
            None => assert_eq!(scene.stage.db.owner_of(&key(&answer)).await.as_deref(), Some("alice"), "{name}"),
            Some((status, code)) => answer.expect_refusal(status, code),
        }
    }
    scene.asked_for("alice", "envoy", "GET", "/v1/models?key=sk-client").await.expect_refusal(401, "caller_key");
}

#[tokio::test]
async fn traefik_s_proof_is_on_the_request_itself_and_has_to_be_taken_off() {
    let scene = Scene::with(|setup| setup.with("forward_auth.gateway_removes", json!(["cookie"]))).await;
    scene.asked_for("alice", "traefik", "GET", "/v1/models").await.expect_refusal(401, "caller_key");
    key(&scene.asked_for("alice", "nginx", "GET", "/v1/models").await);
}

#[tokio::test]
async fn a_placeholder_becomes_its_key_in_the_answer() {
    let scene = Scene::plain().await;
    // The UI's pages go through vestibule whole; what their scripts send is asked about.
    let page = scene.stage.client().get("/vestibule/ui").header("Cookie", "_oauth2_proxy=alice");
    let page = page.header("Accept", "text/html").header("Sec-Fetch-Site", "none");
    let page = page.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document").send().await;
    assert_eq!(
        (page.status, page.head.value("location").as_deref()),
        (303, Some("/ui/?login=success")),
        "{}",
        page.text()
    );
    let placeholder = crate::ui::key(&crate::ui::token(&page));
    let script = |who: &str, uri: &str| {
        let request = scene.ask("caddy", "GET", uri).header("Cookie", format!("_oauth2_proxy={who}"));
        request.header("Sec-Fetch-Site", "same-origin").header("Authorization", format!("Bearer {placeholder}"))
    };
    let managing = key(&script("alice", "/user/info").send().await);
    let asking = key(&script("alice", "/v1/models").send().await);
    assert_ne!(managing, asking, "the browser's own key is not for models");
    for key in [&managing, &asking] {
        assert_eq!(scene.stage.db.owner_of(key).await.as_deref(), Some("alice"));
    }
    script("bob", "/user/info").send().await.expect_refusal(401, "dead_placeholder");
    let out = scene.stage.client().post("/vestibule/logout", "").header("Cookie", "_oauth2_proxy=alice");
    let out = out.header("Sec-Fetch-Site", "same-origin").header("Origin", "https://llm.example.com");
    let token = crate::ui::token(&page);
    let out = out.header("Cookie", format!("token={token}")).send().await;
    assert!(matches!(out.status, 200 | 303), "{} {}", out.status, out.text());
    script("alice", "/user/info").send().await.expect_refusal(401, "dead_placeholder");
}

#[tokio::test]
async fn headers_of_a_gateway_that_overwrites_them_are_identity() {
    let stage = Stage::with(|setup| {
        let mut section = forward_auth(&json!({ "name": "X-Vestibule-Proof", "value": super::PROOF }));
        let overwrites = ["X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups"];
        section["gateway_overwrites"] = json!(overwrites);
        section["gateway_passes"].as_array_mut().expect("a list").extend(overwrites.map(serde_json::Value::from));
        setup.with("public_url", "https://llm.example.com").with("forward_auth", section)
    })
    .await;
    let questions = stage.vestibule.questions().await;
    for gateway in GATEWAYS {
        let answer = ask(&questions, gateway, "GET", "/v1/models").from(&UserProfile::named("alice")).send().await;
        assert_eq!(stage.db.owner_of(&key(&answer)).await.as_deref(), Some("alice"));
        ask(&questions, gateway, "GET", "/v1/models").send().await.expect_refusal(401, "no_identity");
        let twice = ask(&questions, gateway, "GET", "/v1/models").from(&UserProfile::named("alice"));
        twice.header("X-Forwarded-User", "bob").send().await.expect_refusal(403, "repeated_header");
    }
}

#[tokio::test]
async fn a_caller_s_own_key_is_answered_where_it_may_pass() {
    let scene = Scene::with(|setup| setup.with("client_keys", "pass")).await;
    let answer = scene.ask("nginx", "GET", "/v1/models").header("Authorization", "Bearer sk-mine").send().await;
    assert_eq!(key(&answer), "sk-mine");
    scene.ask("nginx", "GET", "/v1/models").send().await.expect_refusal(401, "no_identity");
}

#[tokio::test]
async fn public_paths_are_not_answered_since_there_is_no_key_for_them() {
    let scene = Scene::with(|setup| setup.with("public_paths", json!(["health"]))).await;
    let asked = scene.ask("nginx", "GET", "/health/liveness");
    asked.header("Authorization", "Bearer sk-client").send().await.expect_refusal(401, "no_identity");
    assert_eq!(scene.stage.client().get("/health/liveness").send().await.status, 200);
}
