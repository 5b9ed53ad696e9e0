use super::Scene;
use crate::check::{count, findings};
use crate::support::operator::operate;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn a_check_asks_the_sign_in_proxy_about_nobody() {
    let scene = Scene::plain().await;
    let ended = operate(&scene.stage.setup, &["check", "--connect", "--json"]).await;
    assert_eq!(count(&findings(&ended), "ok sign-in: ", "knows nobody without a sign-in"), 1, "{ended:?}");
    let away = scene.stage.setup.clone().with("identity.check.url", "http://127.0.0.1:1/auth");
    let ended = operate(&away, &["check", "--connect", "--json"]).await;
    assert_eq!(count(&findings(&ended), "problem sign-in: ", "could not be asked"), 1, "{ended:?}");
    let litellm = scene.stage.setup.clone().with("identity.check.url", format!("{}/auth", scene.stage.upstream.url));
    let ended = operate(&litellm, &["check", "--connect", "--json"]).await;
    assert_eq!(count(&findings(&ended), "warning sign-in: ", "lets a request pass"), 1, "{ended:?}");
}

#[tokio::test]
async fn behind_the_proxy_s_listener_the_cookie_alone_says_who_it_is() {
    let scene = Scene::plain().await;
    let client = scene.stage.client();
    let forged = |request: crate::support::client::Request| {
        request
            .header("X-Auth-Request-User", "mallory")
            .header("X-Forwarded-User", "mallory")
            .header("X-Auth-Request-Groups", "llm-admins")
    };
    forged(client.get("/v1/models")).send().await.expect_refusal(401, "no_identity");
    forged(client.get("/v1/models")).header("Cookie", "_oauth2_proxy=alice; a=1").send().await.expect_ok();
    let seen = scene.stage.upstream.only();
    let key = seen.head.value("x-litellm-api-key").expect("a key");
    assert_eq!(scene.stage.db.owner_of(&key).await.as_deref(), Some("alice"));
    assert_eq!(scene.stage.db.role("alice").await.as_deref(), Some("internal_user"));
    assert_eq!(seen.head.value("cookie").as_deref(), Some("a=1"), "the sign-in's cookie stays here");
    assert_eq!(seen.head.value("x-auth-request-user"), None);
    let whoami = client.get("/vestibule/whoami").header("Cookie", "_oauth2_proxy=alice").send().await.json();
    assert_eq!(
        (whoami["subject"].as_str(), whoami["read_from"]["user"].as_str()),
        (Some("alice"), Some("x-auth-request-user"))
    );
}

#[tokio::test]
async fn the_sign_in_proxy_hears_the_cookies_and_what_was_asked_for_and_nothing_else_of_the_client() {
    let scene = Scene::plain().await;
    let request =
        scene.ask("caddy", "POST", "/v1/chat/completions?a=b").header("Cookie", "_oauth2_proxy=alice; token=x");
    let request = request
        .header("Authorization", "Bearer sk-client")
        .header("User-Agent", "curl/8")
        .header("X-Forwarded-For", "203.0.113.7");
    request.header("X-Original-URL", "https://evil.example/").header("X-Real-IP", "6.6.6.6").send().await.expect_ok();
    let asked = scene.sign_in.only().head;
    assert_eq!(asked.target(), "/oauth2/auth");
    for (name, value) in [
        ("cookie", Some("_oauth2_proxy=alice")),
        ("host", Some("llm.example.com")),
        ("x-original-url", Some("https://llm.example.com/v1/chat/completions?a=b")),
        ("x-original-method", Some("POST")),
        ("x-forwarded-uri", Some("/v1/chat/completions?a=b")),
        ("x-forwarded-method", Some("POST")),
        ("x-forwarded-host", Some("llm.example.com")),
        ("x-forwarded-proto", Some("https")),
        ("user-agent", Some("curl/8")),
        // By which a question that comes back here is known.
        ("via", Some("1.1 vestibule")),
        ("x-forwarded-for", Some("203.0.113.7")),
        ("authorization", None),
        ("x-real-ip", None),
        ("x-vestibule-proof", None),
    ] {
        assert_eq!(asked.value(name).as_deref(), value, "{name}");
    }
}

/// What each endpoint says of alice, as its source has it.
const ENDPOINTS: [(&str, &str, &str); 3] = [
    (
        "vouch",
        "/validate",
        "X-Vouch-User: alice\r\nX-Vouch-Success: true\r\nX-Vouch-IdP-Claims-Email: alice@example.com\r\n\
         X-Vouch-IdP-Claims-Groups: \"llm-users\",\"team, a\"\r\n",
    ),
    (
        "authentik",
        "/outpost.goauthentik.io/auth/nginx",
        "X-authentik-uid: alice\r\nX-authentik-username: ali\r\nX-authentik-email: alice@example.com\r\n\
         X-authentik-groups: llm-users|team, a\r\nX-authentik-meta-outpost: x\r\n",
    ),
    (
        "authelia",
        "/api/authz/auth-request",
        "Remote-User: alice\r\nRemote-Groups: llm-users,team a\r\nRemote-Name: Alice\r\nRemote-Email: alice@example.com\r\n",
    ),
];

#[tokio::test]
async fn each_sign_in_proxy_is_asked_at_its_endpoint_and_read_in_its_words() {
    for (preset, path, says) in ENDPOINTS {
        let sign_in = Upstream::answering(move |mut exchange| async move {
            let is_alice = exchange.head.value("cookie").is_some_and(|cookie| cookie == "session=alice");
            let (status, says) = if is_alice { ("200 OK", says) } else { ("401 Unauthorized", "") };
            exchange.send(format!("HTTP/1.1 {status}\r\n{says}Content-Length: 0\r\n\r\n")).await;
            Some(exchange)
        })
        .await;
        let url = format!("{}{path}", sign_in.url);
        let stage = Stage::with(|setup| super::asked(setup, &url).with("identity.preset", preset)).await;
        let questions = stage.vestibule.questions().await;
        let ask =
            |who: &str| super::ask(&questions, "nginx", "GET", "/v1/models").header("Cookie", format!("session={who}"));
        let key = super::key(&ask("alice").send().await);
        assert_eq!(stage.db.owner_of(&key).await.as_deref(), Some("alice"), "{preset}");
        assert_eq!(stage.db.role("alice").await.as_deref(), Some("internal_user"), "{preset}: by e-mail and group");
        assert_eq!(sign_in.last().head.target(), path);
        ask("bob").send().await.expect_refusal(401, "no_identity");
    }
}

#[tokio::test]
async fn a_request_without_a_cookie_is_not_asked_about() {
    let scene = Scene::plain().await;
    scene.ask("nginx", "GET", "/v1/models").send().await.expect_refusal(401, "no_identity");
    scene.ask("nginx", "GET", "/v1/models").header("Cookie", "token=x").send().await.expect_refusal(401, "no_identity");
    assert_eq!(scene.sign_in.count(), 0);
}

#[tokio::test]
async fn an_untrusted_peer_has_nobody_asked() {
    let scene = Scene::plain().await;
    let request = scene.stage.stranger().get("/v1/models").header("Cookie", "_oauth2_proxy=alice");
    request.send().await.expect_refusal(403, "untrusted_peer");
    assert_eq!((scene.sign_in.count(), scene.stage.upstream.count()), (0, 0));
}

#[tokio::test]
async fn connections_to_the_sign_in_proxy_are_kept() {
    let scene = Scene::with(|setup| setup.with("workers", 1)).await;
    for _ in 0..20 {
        scene.asked_for("alice", "nginx", "GET", "/v1/models").await.expect_ok();
    }
    assert_eq!((scene.sign_in.count(), scene.sign_in.connections()), (20, 1));
}
