//! The end of a process that is busy: nobody who could finish is cut, and nobody is lost on the way.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::client::UserProfile;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::wire::Wire;
use crate::support::{eventually, within};

const STREAMS: usize = 1000;
const UPLOADS: usize = 100;
const SOCKETS: usize = 50;

/// Streams a frame and waits with the rest until the gate is opened; takes uploads whole; echoes websockets.
async fn busy(gate: Arc<Semaphore>) -> Upstream {
    Upstream::answering(move |mut exchange| {
        let gate = Arc::clone(&gate);
        async move {
            if exchange.head.line.contains("/short") || exchange.head.line.contains("/upload") {
                return exchange.json(r#"{"ok":true}"#).await;
            }
            if exchange.head.value("upgrade").is_some() {
                exchange
                    .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                    .await;
                while let [byte] = exchange.wire.read_exact(1).await[..] {
                    exchange.send([byte]).await;
                }
                return None;
            }
            exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            exchange.send_chunk("first").await;
            gate.acquire().await.expect("it is never closed").forget();
            exchange.send_chunk("last").await;
            exchange.send("0\r\n\r\n").await;
            Some(exchange)
        }
    })
    .await
}

async fn streams(stage: &Stage) -> Vec<Wire> {
    let mut opening = JoinSet::new();
    for number in 0..STREAMS {
        let request = stage.client().get("/stream").from(&UserProfile::named(&format!("p{}", number % 10)));
        opening.spawn(async move {
            let (head, mut wire) = request.open().await;
            assert_eq!(head.status(), 200);
            assert_eq!(within("the first frame", wire.read_chunk()).await, Ok(Some(b"first".to_vec())));
            wire
        });
    }
    opening.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_process_ends_without_losing_whoever_can_finish() {
    let gate = Arc::new(Semaphore::new(0));
    let stage =
        Stage::of(busy(Arc::clone(&gate)).await, |setup| setup.with("drain.delay", "2s").with("drain.timeout", "40s"))
            .await;
    let alice = UserProfile::named("alice");
    let streaming = streams(&stage).await;
    let mut uploading = Vec::new();
    for _ in 0..UPLOADS {
        let mut wire = stage.client().connect().await;
        wire.send(stage.client().request("POST", "/upload").from(&alice).header("Content-Length", "10").bytes()).await;
        wire.send("begun").await;
        uploading.push(wire);
    }
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let request = stage.client().get("/socket").from(&alice).header("Connection", "Upgrade");
        let (head, wire) = request.header("Upgrade", "websocket").open().await;
        assert_eq!(head.status(), 101);
        sockets.push(wire);
    }
    let client = stage.client();
    let Stage { mut vestibule, upstream: _upstream, db: _books, setup: _setup } = stage;

    vestibule.terminate();
    eventually("readiness to end", async || (vestibule.readyz().await.status == 503).then_some(())).await;
    // The balancers have not noticed yet: whoever comes is served.
    for _ in 0..20 {
        client.get("/short").from(&alice).send().await.expect_ok();
    }
    for mut wire in uploading {
        wire.send("ended").await;
        wire.answer("POST").await.expect_ok();
    }
    for wire in &mut sockets {
        wire.send("x").await;
        assert_eq!(within("an echo", wire.read_exact(1)).await, b"x");
    }
    gate.add_permits(STREAMS);
    let mut ending = JoinSet::new();
    for mut wire in streaming {
        ending.spawn(async move {
            let last = within("the last frame", wire.read_chunk()).await;
            (last, within("the end", wire.read_chunk()).await)
        });
    }
    for (last, end) in ending.join_all().await {
        assert_eq!((last, end), (Ok(Some(b"last".to_vec())), Ok(None)));
    }
    drop(sockets);
    assert_eq!(vestibule.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_now() {
    let stage = Stage::of(busy(Arc::new(Semaphore::new(0))).await, |setup| {
        setup.with("drain.delay", "1h").with("drain.timeout", "1h")
    })
    .await;
    let (_, mut wire) = stage.client().get("/stream").from(&UserProfile::named("alice")).open().await;
    assert!(within("the first frame", wire.read_chunk()).await.is_ok());
    let Stage { mut vestibule, upstream: _upstream, db: _books, setup: _setup } = stage;
    vestibule.terminate();
    eventually("readiness to end", async || (vestibule.readyz().await.status == 503).then_some(())).await;
    vestibule.terminate();
    assert_eq!(vestibule.wait().await.code(), Some(0));
    assert_eq!(within("the end", wire.read_chunk()).await, Err(()), "cut off, not ended tidily");
}
