use serde_json::json;

use super::{GATEWAYS, PROOF, Scene, ask, key};
use crate::support::client::{Client, UserProfile};
use crate::support::stage::Stage;
use crate::support::within;
use crate::trust::own_uid;

#[tokio::test]
async fn only_the_gateway_may_ask_and_nobody_else_learns_anything() {
    let scene = Scene::plain().await;
    let stranger = scene.questions.from("127.0.0.2");
    for path in ["/vestibule/auth/nginx", "/vestibule/auth/envoy/v1/models", "/", "/v1/models", "/vestibule/whoami"] {
        let request = stranger.get(path).header("X-Vestibule-Proof", PROOF).header("Cookie", "_oauth2_proxy=alice");
        request.send().await.expect_refusal(403, "untrusted_peer");
        let unproven = scene.questions.get(path).header("Cookie", "_oauth2_proxy=alice").send().await;
        unproven.expect_refusal(403, "bad_proof");
    }
    assert_eq!(scene.sign_in.count(), 0);
}

#[tokio::test]
async fn a_unix_socket_is_asked_by_the_users_that_may() {
    for (uid, is_asked) in [(own_uid(), true), (own_uid() + 1, false)] {
        let mut socket = std::path::PathBuf::new();
        let stage = Stage::with(|setup| {
            socket = setup.folder().join("auth.sock");
            let section = json!({
                "listen": format!("unix:{}", socket.display()), "listen_mode": "0666", "uids": [uid], "gateways": ["haproxy"],
                "gateway_removes": ["cookie"],
                "gateway_overwrites": ["X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups"],
            });
            setup.with("public_url", "https://llm.example.com").with("forward_auth", section)
        })
        .await;
        let asked =
            ask(&Client::unix(socket), "haproxy", "GET", "/v1/models").from(&UserProfile::named("alice")).send().await;
        if is_asked {
            assert_eq!(stage.db.owner_of(&key(&asked)).await.as_deref(), Some("alice"));
        } else {
            asked.expect_refusal(403, "untrusted_peer");
        }
    }
}

#[tokio::test]
async fn the_listener_knows_its_endpoints_in_one_spelling_and_nothing_else() {
    let scene = Scene::plain().await;
    let proven = |path: &str| {
        let request =
            scene.questions.get(path).header("X-Vestibule-Proof", PROOF).header("Cookie", "_oauth2_proxy=alice");
        request
            .header("X-Original-URI", "/v1/models")
            .header("X-Original-Method", "GET")
            .header("X-Original-Host", "llm.example.com")
    };
    key(&proven("/vestibule/auth/nginx").send().await);
    key(&proven("/vestibule/auth/nginx/any/suffix?and=query").send().await);
    for path in [
        "/",
        "/auth",
        "/vestibule/auth",
        "/vestibule/auth/",
        "/vestibule/auth/nginxx",
        "/vestibule/auth/apache",
        "/Vestibule/auth/nginx",
        "/vestibule//auth/nginx",
        "/vestibule/auth/%6eginx",
        "/vestibule/whoami",
        "/vestibule/logout",
        "/v1/models",
        "/ui/",
    ] {
        proven(path).send().await.expect_refusal(404, "unknown_path");
    }
}

#[tokio::test]
async fn on_the_proxy_s_listener_no_spelling_of_an_endpoint_is_answered_with_a_key() {
    let scene = Scene::plain().await;
    for gateway in GATEWAYS {
        for spelling in [
            format!("/vestibule/auth/{gateway}"),
            format!("/vestibule/auth/{gateway}/v1/models"),
            format!("/VESTIBULE/Auth/{gateway}"),
            format!("//vestibule/auth/{gateway}"),
            format!("/vestibule//auth//{gateway}"),
            format!("/./vestibule/auth/{gateway}"),
            format!("/x/../vestibule/auth/{gateway}"),
            format!("/%76estibule/auth/{gateway}"),
            format!("/vestibule%2fauth%2f{gateway}"),
            format!("/vestibule/auth/{gateway};a=b"),
            format!("/vestibule\\auth\\{gateway}"),
        ] {
            let request = scene.stage.client().get(&spelling).header("Cookie", "_oauth2_proxy=alice");
            let request = request.header("X-Original-URI", "/v1/models").header("X-Original-Method", "GET");
            let answer =
                request.header("X-Vestibule-Proof", PROOF).header("X-Original-Host", "llm.example.com").send().await;
            assert_ne!(answer.status, 200, "{spelling}");
            for name in ["authorization", "x-litellm-api-key"] {
                assert_eq!(answer.head.value(name), None, "{spelling}");
            }
        }
        scene
            .stage
            .client()
            .get(&format!("/vestibule/auth/{gateway}"))
            .send()
            .await
            .expect_refusal(404, "unknown_path");
    }
    assert_eq!(scene.stage.upstream.count(), 0);
}

#[tokio::test]
async fn a_client_s_copies_of_another_gateway_s_headers_decide_nothing() {
    let scene = Scene::plain().await;
    // A path that would be refused, were it believed.
    for gateway in GATEWAYS {
        let mut request = scene.ask(gateway, "GET", "/v1/models").header("Cookie", "_oauth2_proxy=alice");
        let own: &[&str] = match gateway {
            "nginx" => &["X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Host", "X-Original-URL"],
            "envoy" => {
                &["X-Forwarded-Uri", "X-Forwarded-Method", "X-Original-URI", "X-Original-Method", "X-Original-Host"]
            }
            _ => &["X-Original-URI", "X-Original-Method", "X-Original-Host", "X-Original-URL"],
        };
        for name in own {
            request = request.header(name, "/login");
        }
        key(&request.send().await);
        // And one that would pass, were it believed, for one that does not.
        let mut request = scene.ask(gateway, "GET", "/login").header("Cookie", "_oauth2_proxy=alice");
        for name in own {
            request = request.header(name, "/v1/models");
        }
        request.send().await.expect_refusal(403, "closed_door");
    }
}

#[tokio::test]
async fn a_question_that_does_not_say_what_it_is_about_is_refused() {
    let scene = Scene::plain().await;
    for gateway in ["nginx", "traefik", "caddy", "haproxy"] {
        let bare = scene.questions.get(&format!("/vestibule/auth/{gateway}")).header("X-Vestibule-Proof", PROOF);
        bare.header("Cookie", "_oauth2_proxy=alice").send().await.expect_refusal(403, "no_original");
        let twice = scene.ask(gateway, "GET", "/v1/models").header("Cookie", "_oauth2_proxy=alice");
        let name = if gateway == "nginx" { "X-Original-URI" } else { "X-Forwarded-Uri" };
        twice.header(name, "/ui/").send().await.expect_refusal(403, "no_original");
    }
    for host in ["evil.example", "llm.example.com.evil.example"] {
        let request = scene.questions.get("/vestibule/auth/nginx").header("X-Vestibule-Proof", PROOF);
        let request = request.header("X-Original-URI", "/v1/models").header("X-Original-Method", "GET");
        let request = request.header("X-Original-Host", host).header("Cookie", "_oauth2_proxy=alice");
        request.send().await.expect_refusal(403, "unknown_host");
    }
    assert_eq!(scene.sign_in.count(), 0);
}

/// The head of a question by nginx, with these lines.
fn raw(start: &str, lines: &str) -> String {
    format!(
        "{start}\r\nHost: a\r\nX-Vestibule-Proof: {PROOF}\r\nCookie: _oauth2_proxy=alice\r\nX-Original-URI: /v1/models\r\n\
         X-Original-Method: GET\r\nX-Original-Host: llm.example.com\r\n{lines}\r\n"
    )
}

#[tokio::test]
async fn every_way_to_ask_is_answered_at_once_and_closed_when_told_to() {
    let scene = Scene::plain().await;
    for (start, lines, closes) in [
        ("GET /vestibule/auth/nginx HTTP/1.0", "Connection: close\r\n", true),
        ("GET /vestibule/auth/nginx HTTP/1.0", "", true),
        ("GET /vestibule/auth/nginx HTTP/1.1", "Connection: close\r\n", true),
        ("GET /vestibule/auth/nginx HTTP/1.1", "Content-Length: 0\r\n", false),
        // nginx hands the client's on where it was not told otherwise: the body never comes.
        ("GET /vestibule/auth/nginx HTTP/1.1", "Content-Length: 5\r\n", true),
        ("POST /vestibule/auth/nginx HTTP/1.1", "Transfer-Encoding: chunked\r\n", true),
        ("HEAD /vestibule/auth/nginx HTTP/1.1", "", false),
        ("PROPFIND /vestibule/auth/nginx HTTP/1.1", "", false),
    ] {
        let mut wire = scene.questions.connect().await;
        wire.send(raw(start, lines)).await;
        let method = start.split(' ').next().expect("a method");
        let answer = wire.answer(method).await;
        assert_eq!(answer.status, 200, "{start} {lines}: {}", answer.text());
        assert_eq!(answer.head.values("authorization").len(), 1, "{start}");
        if closes {
            within("the end of the connection", wire.closed()).await;
        } else {
            wire.send(raw("GET /vestibule/auth/nginx HTTP/1.1", "")).await;
            assert_eq!(wire.answer("GET").await.status, 200, "the connection is kept");
        }
    }
}

#[tokio::test]
async fn an_upgrade_is_answered_as_any_other_question() {
    let scene = Scene::plain().await;
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut wire = scene.questions.connect().await;
    for _ in 0..2 {
        wire.send(raw("GET /vestibule/auth/nginx HTTP/1.1", lines)).await;
        let answer = wire.answer("GET").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.head.value("upgrade"), None);
    }
}

#[tokio::test]
async fn a_no_to_a_question_about_a_head_request_is_whole() {
    let scene = Scene::plain().await;
    let mut wire = scene.questions.connect().await;
    for _ in 0..2 {
        wire.send(scene.ask("traefik", "HEAD", "/v1/models").bytes()).await;
        let answer = wire.answer("GET").await;
        answer.expect_refusal(401, "no_identity");
        assert!(answer.complete && !answer.body.is_empty());
    }
}
