//! Websockets: a tunnel only after a matching 101.

use crate::support::client::{Request, UserProfile};
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::within;

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn websocket(stage: &Stage) -> Request {
    stage
        .client()
        .get("/v1/realtime?model=x")
        .from(&UserProfile::named("alice"))
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test]
async fn a_websocket_goes_up_with_our_key_also_where_authorization_is_kept() {
    let stage = Stage::with(|setup| setup.with("litellm.keep_authorization", vec!["/v1/"])).await;
    websocket(&stage).header("Authorization", "Bearer ya29.far-end").send().await.expect_ok();
    let seen = stage.upstream.last().head;
    assert!(seen.value("authorization").is_some_and(|value| value.starts_with("Bearer sk-")), "{seen:?}");
}

#[tokio::test]
async fn a_websocket_is_a_tunnel_after_its_101() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.send(SWITCHING).await;
        // The first bytes may come with the 101.
        exchange.send("welcome").await;
        while let [first, ..] = exchange.wire.read_exact(1).await.as_slice() {
            exchange.send([first.to_ascii_uppercase()]).await;
        }
        None
    });
    let stage = Stage::before(upstream.await).await;
    let (head, mut wire) = websocket(&stage)
        .header("Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key.sk-forged, v1")
        .open()
        .await;
    assert_eq!(head.status(), 101);
    assert_eq!(head.value("sec-websocket-accept").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(head.value("upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")));
    assert_eq!(within("the welcome", wire.read_exact(7)).await, b"welcome");
    for word in ["hello", "again"] {
        wire.send(word).await;
        assert_eq!(within("the echo", wire.read_exact(word.len())).await, word.to_uppercase().as_bytes());
    }
    let seen = stage.upstream.only();
    assert!(seen.head.value("upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")));
    assert!(seen.head.value("connection").is_some_and(|connection| connection.eq_ignore_ascii_case("upgrade")));
    assert_eq!(seen.head.value("sec-websocket-key").as_deref(), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(seen.head.value("sec-websocket-protocol").as_deref(), Some("realtime, v1"));
    assert!(
        seen.head.value("authorization").is_some_and(|value| value.starts_with("Bearer sk-")),
        "the key that websockets read"
    );
    drop(wire);
    stage.upstream.closed(1).await;
}

#[tokio::test]
async fn a_connection_that_served_other_requests_can_become_a_tunnel() {
    let upstream = Upstream::answering(|mut exchange| async move {
        if exchange.head.value("upgrade").is_none() {
            return exchange.json(r#"{"ok":true}"#).await;
        }
        exchange.send(SWITCHING).await;
        while let [first, ..] = exchange.wire.read_exact(1).await.as_slice() {
            exchange.send([first.to_ascii_uppercase()]).await;
        }
        None
    });
    let stage = Stage::before(upstream.await).await;
    let mut wire = stage.client().connect().await;
    for _ in 0..2 {
        wire.send(stage.client().get("/v1/models").from(&UserProfile::named("alice")).bytes()).await;
        wire.answer("GET").await.expect_ok();
    }
    // What follows the handshake is no request, even before its answer.
    let mut bytes = websocket(&stage).bytes();
    bytes.extend_from_slice(b"a\n\nb");
    wire.send(bytes).await;
    assert_eq!(wire.expect_head("the handshake").await.status(), 101);
    assert_eq!(within("the echo", wire.read_exact(4)).await, b"A\n\nB");
}

#[tokio::test]
async fn a_connection_serves_on_after_a_refused_upgrade() {
    let stage = Stage::before(Upstream::saying("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await).await;
    let mut wire = stage.client().connect().await;
    for _ in 0..2 {
        wire.send(websocket(&stage).bytes()).await;
        assert_eq!(wire.answer("GET").await.status, 403);
    }
    assert_eq!(stage.upstream.count(), 2);
}

#[tokio::test]
async fn the_end_of_one_side_reaches_the_other() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.send(SWITCHING).await;
        exchange.wire.read_exact(3).await;
        exchange.send("bye").await;
        None
    });
    let stage = Stage::before(upstream.await).await;
    let (_, mut wire) = websocket(&stage).open().await;
    wire.send("end").await;
    assert_eq!(within("the end of the tunnel", wire.read_to_end()).await, b"bye");
}

#[tokio::test]
async fn the_clients_side_can_end_while_the_upstream_goes_on() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.send(SWITCHING).await;
        assert_eq!(exchange.wire.read_to_end().await, b"all of it");
        for word in ["still", " here"] {
            exchange.send(word).await;
        }
        None
    });
    let stage = Stage::before(upstream.await).await;
    let (mut from, mut to) = websocket(&stage).open().await.1.split();
    to.send("all of it").await;
    drop(to);
    assert_eq!(within("the rest", from.read_to_end()).await, b"still here");
    stage.upstream.closed(1).await;
}

#[tokio::test]
async fn the_upstreams_side_can_end_while_the_client_goes_on() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.send(SWITCHING).await;
        let (mut from, mut to) = exchange.wire.split();
        to.send("no more").await;
        drop(to);
        let came = from.read_to_end().await;
        assert_eq!(came, b"still here");
        None
    });
    let stage = Stage::before(upstream.await).await;
    let (mut from, mut to) = websocket(&stage).open().await.1.split();
    assert_eq!(within("the end of one half", from.read_to_end()).await, b"no more");
    for word in ["still", " here"] {
        assert!(to.send(word).await, "the other half lives");
    }
    drop(to);
    stage.upstream.closed(1).await;
}

#[tokio::test]
async fn a_refused_upgrade_passes_as_it_is() {
    let stage = Stage::before(Upstream::saying("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await).await;
    let answer = websocket(&stage).send().await;
    assert_eq!((answer.status, answer.text().as_str(), answer.refusal()), (403, "no", None));
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_a_502() {
    let stage = Stage::before(Upstream::saying(SWITCHING).await).await;
    let answer = stage.client().get("/v1/realtime").from(&UserProfile::named("alice")).send().await;
    answer.expect_refusal(502, "upstream_failed");
}

#[tokio::test]
async fn a_101_to_another_protocol_is_a_502() {
    for protocol in ["h2c", "websocket, h2c", ""] {
        let upstream = Upstream::answering(move |mut exchange| async move {
            exchange
                .send(format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"))
                .await;
            exchange.wire.closed().await;
            None
        });
        let stage = Stage::before(upstream.await).await;
        websocket(&stage).send().await.expect_refusal(502, "upstream_failed");
    }
}

#[tokio::test]
async fn no_other_upgrade_goes_up() {
    let stage = Stage::plain().await;
    for protocol in ["h2c", "H2C, websocket", "TLS/1.0", "websocket2"] {
        let answer = stage
            .client()
            .get("/v1/models")
            .from(&UserProfile::named("alice"))
            .header("Connection", "Upgrade, HTTP2-Settings")
            .header("Upgrade", protocol)
            .header("HTTP2-Settings", "AAMAAABkAAQAAP__")
            .send()
            .await;
        if protocol.to_ascii_lowercase().starts_with("h2c") {
            answer.expect_refusal(400, "bad_upgrade");
        } else {
            answer.expect_ok();
        }
    }
    assert_eq!(stage.upstream.count(), 2);
    for seen in stage.upstream.seen() {
        assert_eq!((seen.head.value("upgrade"), seen.head.value("http2-settings")), (None, None));
    }
}

#[tokio::test]
async fn a_websocket_needs_an_identity_like_any_request() {
    let stage = Stage::plain().await;
    let answer = stage
        .client()
        .get("/v1/realtime")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Sec-WebSocket-Protocol", "openai-insecure-api-key.sk-own")
        .send()
        .await;
    assert_eq!(answer.status, 401);
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test]
async fn a_tunnel_ends_when_the_upstream_takes_nothing_more() {
    for reset in [false, true] {
        let upstream = Upstream::answering(move |mut exchange| async move {
            exchange.send(SWITCHING).await;
            exchange.wire.read_exact(1).await;
            if reset {
                exchange.wire.reset();
            }
            None
        });
        let stage = Stage::before(upstream.await).await;
        let (head, wire) = websocket(&stage).open().await;
        assert_eq!(head.status(), 101);
        let (_from, mut to) = wire.split();
        within("the end of the tunnel", async {
            while to.send("data").await {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
