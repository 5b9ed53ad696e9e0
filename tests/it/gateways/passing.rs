//! What has to pass as it came: events, frames, uploads; and what must not come back.

use super::scene::{HANDSHAKE, HELLO, Scene, has_key};
use super::shipped::Kind;
use crate::support::within;

fn handshake(scene: &Scene) -> crate::support::client::Request {
    let request = scene.get("/v1/socket?model=x").header("Origin", "https://llm.example.com");
    HANDSHAKE.iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// Caddy 2.6 ends about one in a hundred answers to a POST before their first event, with or without vestibule
/// (caddyserver/caddy#5431; deploy/caddy/README.md warns): there alone it may be asked again.
pub(super) async fn events_arrive_one_by_one(scene: &mut Scene) {
    let attempts = if scene.gateway.name == "caddy-2.6" { 4 } else { 1 };
    for attempt in 1..=attempts {
        let (head, mut wire) = scene.of("alice", scene.client.post("/v1/events", r#"{"stream":true}"#)).open().await;
        assert_eq!((head.status(), head.value("content-type").as_deref()), (200, Some("text/event-stream")));
        assert_eq!((head.value("content-length"), head.value("transfer-encoding").as_deref()), (None, Some("chunked")));
        // The head came before the first event was sent, and each event comes before the next one may be.
        for number in 1..=5 {
            scene.events.open();
            let event = within("an event", wire.read_chunk()).await;
            if number == 1 && event == Ok(None) && attempt < attempts {
                break;
            }
            assert_eq!(event, Ok(Some(format!("data: {number}\n\n").into_bytes())));
            if number == 5 {
                assert_eq!(within("the end", wire.read_chunk()).await, Ok(None));
                return;
            }
        }
    }
}

pub(super) async fn a_websocket_echoes(scene: &mut Scene) {
    let (head, mut wire) = scene.of("alice", handshake(scene)).open().await;
    assert_eq!(head.status(), 101, "{head:#?}");
    scene.expect_alices(&scene.upstream().last()).await;
    assert!(wire.send(HELLO.0).await);
    assert_eq!(within("the echo", wire.read_exact(HELLO.1.len())).await, HELLO.1);
    drop(wire);

    let somebody_else = || scene.of("guest", handshake(scene));
    let foreign = scene.of("alice", handshake(scene));
    let bytes = String::from_utf8(foreign.bytes()).expect("plain");
    let foreign = bytes.replace("Origin: https://llm.example.com", "Origin: https://evil.example");
    for (what, bytes) in [
        ("nobody", handshake(scene).bytes()),
        ("somebody without a role", somebody_else().bytes()),
        ("another site", foreign.into_bytes()),
    ] {
        let before = scene.upstream().count();
        let answer = scene.client.raw(bytes).await;
        assert!(answer.status >= 300, "{what}: {}", answer.status);
        assert_eq!(scene.upstream().count(), before, "{what} went on");
    }
    let key =
        handshake(scene).header("Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key.sk-forged-0123456789");
    let (answer, seen) = scene.through(&scene.of("alice", key)).await;
    Scene::expect_closed("a key among the subprotocols", &answer, seen.as_ref());
}

pub(super) async fn no_other_protocol_is_changed_to(scene: &mut Scene) {
    // Traefik passes a wish for what no server of LiteLLM's knows.
    let unknown = if scene.gateway.kind == Kind::Traefik { "h2c" } else { "TLS/1.0" };
    for protocol in ["h2c", "H2C", "websocket, h2c", "h2c, websocket", unknown] {
        let request =
            scene.alice("/v1/models").header("Upgrade", protocol).header("HTTP2-Settings", "AAMAAABkAAQAAP__");
        let (answer, seen) = scene.through(&request.header("Connection", "Upgrade, HTTP2-Settings")).await;
        assert_ne!(answer.status, 101, "{protocol}");
        if let Some(seen) = seen {
            let asked = seen.head.value("upgrade").unwrap_or_default();
            assert!(asked.is_empty() || asked.eq_ignore_ascii_case("websocket"), "{protocol}: {:#?}", seen.head);
            scene.expect_alices(&seen).await;
        }
    }
}

pub(super) async fn an_upload_passes_whole(scene: &mut Scene) {
    let body = vec![b'x'; 8 * 1024 * 1024];
    let (answer, seen) = scene.through(&scene.of("alice", scene.client.post("/v1/files", body.clone()))).await;
    answer.expect_ok();
    let seen = seen.expect("it goes on");
    assert!(seen.body.complete && seen.body.bytes == body, "{} bytes arrived", seen.body.bytes.len());

    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let request = scene.client.request(method, "/v1/models").header("Content-Length", "0");
        let (answer, seen) = scene.through(&scene.of("alice", request.clone())).await;
        assert_eq!(answer.status, 200, "{method}");
        assert!(seen.expect("it goes on").head.line.starts_with(&format!("{method} ")), "{method}");
        let (answer, seen) = scene.through(&request).await;
        Scene::expect_closed(method, &answer, seen.as_ref());
    }
}

/// One connection, as programs keep it: each answer is read where the one before it ended.
pub(super) async fn a_kept_connection_stays_in_step(scene: &mut Scene) {
    let mut wire = scene.client.connect().await;
    for (method, person, status) in [
        ("HEAD", None, 401),
        ("GET", Some("alice"), 200),
        ("HEAD", Some("guest"), 403),
        ("GET", None, 401),
        ("GET", Some("alice"), 200),
    ] {
        let request = scene.client.request(method, "/v1/models");
        let request = person.map_or(request.clone(), |person| scene.of(person, request));
        assert!(wire.send(request.bytes()).await, "the connection is kept");
        assert_eq!(wire.answer(method).await.status, status, "{method} {person:?}");
    }
}

pub(super) async fn another_sites_requests_get_nowhere(scene: &mut Scene) {
    let browser = |request: crate::support::client::Request| request.header("User-Agent", "Mozilla/5.0");
    let cases = [
        vec![("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")],
        vec![("Sec-Fetch-Site", "same-site")],
        vec![("Origin", "https://evil.example")],
        vec![("Origin", "null")],
        vec![("Referer", "https://evil.example/")],
    ];
    for lines in cases {
        for request in [scene.get("/health"), scene.client.post("/key/generate", "{}")] {
            let request = browser(scene.of("alice", request));
            let request = lines.iter().fold(request, |request, (name, value)| request.header(name, value));
            let (answer, seen) = scene.through(&request).await;
            Scene::expect_closed(&format!("{lines:?}"), &answer, seen.as_ref());
            assert_eq!(answer.refusal().as_deref(), Some("cross_site"), "{lines:?}");
        }
    }
    let preflight = scene.client.request("OPTIONS", "/v1/models").header("Origin", "https://evil.example");
    let (answer, seen) = scene.through(&preflight.header("Access-Control-Request-Method", "POST")).await;
    Scene::expect_closed("a preflight", &answer, seen.as_ref());
    for host in ["evil.example", "127.0.0.1", "llm.example.com.evil.example", "llm.example.com:4182"] {
        let (answer, seen) = scene.through(&scene.alice("/v1/models").header("Host", host)).await;
        Scene::expect_closed(host, &answer, seen.as_ref());
    }
}

pub(super) async fn an_answer_leads_nowhere(scene: &mut Scene) {
    let (answer, seen) = scene.through(&scene.alice("/v1/astray")).await;
    seen.expect("it goes on");
    assert_eq!((answer.status, answer.text().as_str()), (200, "sea"), "{:#?}", answer.head);
    assert!(!has_key(&answer), "{:#?}", answer.head);
    for name in ["access-control-allow-origin", "access-control-allow-credentials"] {
        assert_eq!(answer.head.value(name), None, "{:#?}", answer.head);
    }
}
