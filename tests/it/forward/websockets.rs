//! A real websocket library at both ends of the tunnel.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::support::client::UserProfile;
use crate::support::stage::Stage;
use crate::support::upstream::{Exchange, Upstream};
use crate::support::within;

type Socket = WebSocketStream<TcpStream>;

/// The library's own limit is 16 MiB for a frame.
fn unlimited() -> WebSocketConfig {
    WebSocketConfig::default().max_frame_size(None).max_message_size(None)
}

/// The upstream's end.
async fn accept(mut exchange: Exchange) -> Socket {
    let key = exchange.head.value("sec-websocket-key").expect("a websocket has a key");
    let accept = derive_accept_key(key.as_bytes());
    exchange
        .send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ))
        .await;
    let (stream, ahead) = exchange.wire.into_stream();
    WebSocketStream::from_partially_read(stream, ahead, Role::Server, Some(unlimited())).await
}

/// An upstream that gives each message back.
async fn echo() -> Upstream {
    Upstream::answering(|exchange| async move {
        let mut socket = accept(exchange).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.expect("the client is there");
            }
        }
        None
    })
    .await
}

/// The client's end; the library has checked the answer.
async fn open(stage: &Stage) -> Socket {
    let (stream, _) = stage.client().connect().await.into_stream();
    let mut request = "ws://llm.example.com/v1/realtime?model=x".into_client_request().expect("an address");
    for (name, value) in UserProfile::named("alice").headers() {
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    let opened = within("a websocket", client_async_with_config(request, stream, Some(unlimited()))).await;
    opened.expect("the handshake is as it should be").0
}

async fn next(socket: &mut Socket) -> Message {
    within("a message", socket.next()).await.expect("the tunnel lives").expect("a message as it should be")
}

#[tokio::test]
async fn frames_of_16_mib_pass_unchanged_both_ways() {
    let stage = Stage::before(echo().await).await;
    let mut socket = open(&stage).await;
    for seed in [1, 2] {
        let long: Bytes =
            (0..16 * 1024 * 1024_u32).map(|at| ((at + seed).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (mut to, mut from) = socket.split();
        let sending = tokio::spawn({
            let long = long.clone();
            async move {
                to.send(Message::Binary(long)).await.expect("it is taken");
                to
            }
        });
        let came =
            within("the frame", from.next()).await.expect("the tunnel lives").expect("a message as it should be");
        assert!(came.into_data() == long, "what came is what was sent");
        socket = from.reunite(sending.await.expect("it only sends")).expect("two halves of one");
    }
}

#[tokio::test]
async fn messages_of_every_kind_pass_as_they_are() {
    let stage = Stage::before(echo().await).await;
    let mut socket = open(&stage).await;
    socket.send(Message::text("häļło")).await.expect("it is taken");
    assert_eq!(next(&mut socket).await, Message::text("häļło"));
    socket.send(Message::Binary(Bytes::new())).await.expect("it is taken");
    assert_eq!(next(&mut socket).await, Message::Binary(Bytes::new()));
    // The library at the other end answers a ping by itself.
    socket.send(Message::Ping(Bytes::from_static(b"there?"))).await.expect("it is taken");
    assert_eq!(next(&mut socket).await, Message::Pong(Bytes::from_static(b"there?")));
}

fn farewell(code: u16) -> CloseFrame {
    CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::from_static("on the way out") }
}

#[tokio::test]
async fn a_close_code_passes_unchanged_up_and_comes_back() {
    for code in [1000, 1001, 3999, 4321] {
        let upstream = Upstream::answering(|exchange| async move {
            let mut socket = accept(exchange).await;
            let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else { panic!("a close frame") };
            assert_eq!(frame.reason.as_str(), "on the way out");
            // The library's answer to it has the same code (RFC 6455 5.5.1).
            while socket.next().await.is_some() {}
            None
        });
        let stage = Stage::before(upstream.await).await;
        let mut socket = open(&stage).await;
        socket.close(Some(farewell(code))).await.expect("it is taken");
        let Message::Close(Some(frame)) = next(&mut socket).await else { panic!("a close frame") };
        assert_eq!(u16::from(frame.code), code);
        assert!(within("the end", socket.next()).await.is_none(), "a tidy end");
        stage.upstream.closed(1).await;
    }
}

#[tokio::test]
async fn a_close_code_passes_unchanged_down() {
    for code in [1001, 1011, 1013, 4321] {
        let upstream = Upstream::answering(move |exchange| async move {
            let mut socket = accept(exchange).await;
            socket.close(Some(farewell(code))).await.expect("it is taken");
            while socket.next().await.is_some() {}
            None
        });
        let stage = Stage::before(upstream.await).await;
        let mut socket = open(&stage).await;
        assert_eq!(next(&mut socket).await, Message::Close(Some(farewell(code))));
        assert!(within("the end", socket.next()).await.is_none(), "a tidy end");
        stage.upstream.closed(1).await;
    }
}

mod long {
    use super::*;

    /// Of one websocket; the other says nothing meanwhile.
    const PINGS: u32 = 10;
    const EVERY: Duration = Duration::from_mins(1);

    #[tokio::test]
    #[ignore = "takes ten minutes: tests/run --long"]
    async fn a_websocket_that_is_idle_for_ten_minutes_lives() {
        let stage = Stage::before(echo().await).await;
        let (mut silent, mut pinged) = (open(&stage).await, open(&stage).await);
        let pings = async {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.tick().await;
            for _ in 0..PINGS {
                ticks.tick().await;
                pinged.send(Message::Ping(Bytes::new())).await.expect("it is taken");
                assert_eq!(next(&mut pinged).await, Message::Pong(Bytes::new()));
            }
        };
        tokio::select! {
            came = silent.next() => panic!("nothing comes by itself: {came:?}"),
            () = pings => {}
        }
        for socket in [&mut silent, &mut pinged] {
            socket.send(Message::text("still there?")).await.expect("it is taken");
            assert_eq!(next(socket).await, Message::text("still there?"));
        }
    }
}
