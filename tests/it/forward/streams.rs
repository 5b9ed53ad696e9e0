//! Bodies in both directions: frame by frame, whole, cut off, with trailers.

use crate::support::client::UserProfile;
use crate::support::stage::Stage;
use crate::support::upstream::{Exchange, Upstream};
use crate::support::vestibule::field;
use crate::support::wire::Framing;
use crate::support::{Gate, within};

const SSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A whole number of MiB whose bytes tell their place.
fn long_body() -> Vec<u8> {
    (0..8 * 1024 * 1024_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[tokio::test]
async fn a_stream_arrives_frame_by_frame() {
    let gate = Gate::closed();
    let sending = gate.clone();
    let upstream = Upstream::answering(move |mut exchange| {
        let gate = sending.clone();
        async move {
            exchange.body().await;
            exchange.send(SSE).await;
            for number in 1..=5 {
                gate.pass().await;
                exchange.send_chunk(&format!("data: {number}\n\n")).await;
            }
            exchange.send("0\r\n\r\n").await;
            Some(exchange)
        }
    });
    let stage = Stage::before(upstream.await).await;
    // The head comes before the first frame was sent, and each frame before the next one may be.
    let (head, mut wire) = stage
        .client()
        .post("/v1/chat/completions", r#"{"stream":true}"#)
        .from(&UserProfile::named("alice"))
        .open()
        .await;
    assert_eq!((head.status(), head.value("content-type").as_deref()), (200, Some("text/event-stream")));
    assert_eq!(head.value("content-encoding"), None);
    for number in 1..=5 {
        gate.open();
        let frame = within("a frame", wire.read_chunk()).await;
        assert_eq!(frame, Ok(Some(format!("data: {number}\n\n").into_bytes())));
    }
    assert_eq!(within("the end", wire.read_chunk()).await, Ok(None));
}

#[tokio::test]
async fn an_upload_arrives_whole_whatever_its_framing() {
    let stage = Stage::plain().await;
    let body = long_body();
    stage.client().post("/v1/files", body.clone()).from(&UserProfile::named("alice")).send().await.expect_ok();
    let seen = stage.upstream.last();
    assert_eq!(seen.head.value("content-length"), Some(body.len().to_string()));
    assert!(seen.body.complete && seen.body.bytes == body, "with Content-Length");

    let mut bytes = stage
        .client()
        .request("POST", "/v1/files")
        .from(&UserProfile::named("alice"))
        .header("Transfer-Encoding", "chunked")
        .bytes();
    for chunk in body.chunks(70_000) {
        bytes.extend(format!("{:X};name=value\r\n", chunk.len()).as_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    stage.client().raw(bytes).await.expect_ok();
    let seen = stage.upstream.last();
    assert_eq!(seen.head.request_framing(), Framing::Chunked);
    assert!(seen.body.complete && seen.body.bytes == body, "chunked");
}

#[tokio::test]
async fn an_upload_is_not_collected_before_it_goes_up() {
    let upstream = Upstream::answering(|mut exchange: Exchange| async move {
        let first = exchange.wire.read_chunk().await;
        assert_eq!(first, Ok(Some(b"first".to_vec())));
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        exchange.send_chunk("seen the first").await;
        while let Ok(Some(_)) = exchange.wire.read_chunk().await {}
        exchange.send("0\r\n\r\n").await;
        None
    });
    let stage = Stage::before(upstream.await).await;
    let request = stage
        .client()
        .request("POST", "/v1/audio")
        .from(&UserProfile::named("alice"))
        .header("Transfer-Encoding", "chunked");
    let mut wire = stage.client().connect().await;
    wire.send(request.bytes()).await;
    wire.send("5\r\nfirst\r\n").await;
    assert_eq!(wire.expect_head("an answer while the upload runs").await.status(), 200);
    assert_eq!(within("a chunk", wire.read_chunk()).await, Ok(Some(b"seen the first".to_vec())));
    wire.send("6\r\nsecond\r\n0\r\n\r\n").await;
    assert_eq!(within("the end", wire.read_chunk()).await, Ok(None));
}

#[tokio::test]
async fn a_long_answer_arrives_whole() {
    let upstream = Upstream::answering(|mut exchange| async move {
        let body = long_body();
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).await;
        exchange.send(body).await;
        Some(exchange)
    });
    let stage = Stage::before(upstream.await).await;
    let answer = stage.client().get("/v1/files/1/content").from(&UserProfile::named("alice")).send().await;
    assert_eq!(answer.status, 200);
    assert!(answer.complete && answer.body == long_body());
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.body().await;
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Check\r\n\r\n").await;
        exchange.send_chunk("ok").await;
        exchange.send("0\r\nX-Check: down\r\n\r\n").await;
        Some(exchange)
    });
    let stage = Stage::before(upstream.await).await;
    let mut bytes = stage
        .client()
        .request("POST", "/v1/x")
        .from(&UserProfile::named("alice"))
        .header("Transfer-Encoding", "chunked")
        .header("Trailer", "X-Check")
        .header("TE", "trailers")
        .bytes();
    bytes.extend(b"2\r\nhi\r\n0\r\nX-Check: up\r\n\r\n");
    let answer = stage.client().raw(bytes).await;
    answer.expect_ok();
    assert!(answer.complete);
    assert_eq!(answer.trailers.iter().map(|(_, value)| value.as_slice()).collect::<Vec<_>>(), [b"down"]);
    let seen = stage.upstream.only();
    assert_eq!(seen.body.trailers.iter().map(|(_, value)| value.as_slice()).collect::<Vec<_>>(), [b"up"]);
}

#[tokio::test]
async fn a_client_that_goes_away_is_known_upstream() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.body().await;
        exchange.send(SSE).await;
        exchange.send_chunk("data: 1\n\n").await;
        exchange.wire.closed().await;
        None
    });
    let stage = Stage::before(upstream.await).await;
    for reset in [false, true] {
        let (_, mut wire) =
            stage.client().post("/v1/chat/completions", "{}").from(&UserProfile::named("alice")).open().await;
        assert!(within("the first frame", wire.read_chunk()).await.is_ok());
        if reset {
            wire.reset();
        } else {
            drop(wire);
        }
        stage.upstream.closed(1 + usize::from(reset)).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_answer_is_known_upstream() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.body().await;
        exchange.wire.closed().await;
        None
    });
    let stage = Stage::before(upstream.await).await;
    let mut wire = stage.client().connect().await;
    wire.send(stage.client().post("/v1/chat/completions", "{}").from(&UserProfile::named("alice")).bytes()).await;
    stage.upstream.requests(1).await;
    drop(wire);
    stage.upstream.closed(1).await;
}

#[tokio::test]
async fn a_client_that_breaks_off_its_upload_leaves_a_broken_upload_upstream() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.body().await;
        None
    });
    let stage = Stage::before(upstream.await).await;
    let mut wire = stage.client().connect().await;
    wire.send(
        stage
            .client()
            .request("POST", "/v1/files")
            .from(&UserProfile::named("alice"))
            .header("Transfer-Encoding", "chunked")
            .bytes(),
    )
    .await;
    wire.send("5\r\nhello\r\n").await;
    stage.upstream.requests(1).await;
    drop(wire);
    stage.upstream.closed(1).await;
    assert!(!stage.upstream.only().body.complete, "no tidy end for an upload that had none");
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.body().await;
        let path = exchange.head.line.split(' ').nth(1).unwrap_or_default().to_owned();
        if path.starts_with("/length") {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
        } else {
            exchange.send(SSE).await;
            exchange.send_chunk("data: 1\n\n").await;
        }
        if path.ends_with("/reset") {
            exchange.wire.reset();
        }
        None
    });
    let stage = Stage::before(upstream.await).await;
    let mut cuts = 0;
    for path in ["/chunked/close", "/chunked/reset", "/length/close", "/length/reset"] {
        let before = stage.upstream.count();
        let mut wire = stage.client().connect().await;
        wire.send(stage.client().get(path).from(&UserProfile::named("alice")).bytes()).await;
        // A reset may overtake the first bytes; then the answer is a refusal, never a whole one.
        let head = wire.expect_head("an answer").await;
        let body = within("the end of the answer", wire.read_body(head.answer_framing("GET"))).await;
        assert!(!body.complete || head.status() == 502, "{path}: {}", String::from_utf8_lossy(&wire.used));
        assert!(head.status() == 200 || path.ends_with("/reset"), "{path}");
        if head.status() == 200 {
            cuts += 1;
            assert_eq!(stage.upstream.count(), before + 1, "{path}: nothing is asked again after a first byte");
        }
    }
    let lines = stage.vestibule.request_lines(4).await;
    let told = lines.iter().filter(|line| field(line, "cause").starts_with("the upstream's answer broke off")).count();
    assert_eq!(told, cuts, "{lines:#?}");
    assert_eq!(usize::try_from(stage.vestibule.metric("vestibule_upstream_cuts_total").await), Ok(cuts));
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_uploading() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.wire.read_exact(10).await;
        exchange.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig").await;
        // Closed only when vestibule has read it, else the unread upload makes a RST of it.
        exchange.wire.closed().await;
        None
    });
    let stage = Stage::before(upstream.await).await;
    let request = stage
        .client()
        .request("POST", "/v1/files")
        .from(&UserProfile::named("alice"))
        .header("Content-Length", "1000000");
    let mut wire = stage.client().connect().await;
    wire.send(request.bytes()).await;
    wire.send(vec![b'x'; 20_000]).await;
    let answer = wire.answer("POST").await;
    assert_eq!((answer.status, answer.text().as_str(), answer.refusal()), (413, "big", None));
}

#[tokio::test]
async fn an_early_answer_reaches_the_client_although_the_upstream_closes_at_once() {
    for reset in [false, true] {
        let upstream = Upstream::answering(move |mut exchange| async move {
            exchange.wire.read_exact(10).await;
            exchange.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig").await;
            // With unread bytes a close is a RST too; what was sent before it may still be read.
            if reset {
                exchange.wire.reset();
            }
            None
        });
        let stage = Stage::before(upstream.await).await;
        for _ in 0..20 {
            let request = stage
                .client()
                .request("POST", "/v1/files")
                .from(&UserProfile::named("alice"))
                .header("Content-Length", "100000000");
            let (mut from, mut to) = stage.client().connect().await.split();
            to.send(request.bytes()).await;
            let uploading = tokio::spawn(async move {
                let piece = vec![b'x'; 64 * 1024];
                while to.send(&piece).await {}
            });
            let answer = from.answer("POST").await;
            assert_eq!((answer.status, answer.text().as_str(), answer.refusal()), (413, "big", None), "reset: {reset}");
            drop(from);
            within("the upload to end", uploading).await.expect("it only sends");
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_reset_for_an_http_1_0_client() {
    let gate = Gate::closed();
    let waiting = gate.clone();
    let upstream = Upstream::answering(move |mut exchange| {
        let gate = waiting.clone();
        async move {
            exchange.body().await;
            exchange.send(SSE).await;
            exchange.send_chunk("hello").await;
            gate.pass().await;
            None
        }
    });
    let stage = Stage::before(upstream.await).await;
    let bytes = stage.client().get("/v1/models").from(&UserProfile::named("alice")).bytes();
    let bytes = String::from_utf8(bytes).expect("text").replace("HTTP/1.1", "HTTP/1.0");
    let mut wire = stage.client().connect().await;
    wire.send(bytes).await;
    wire.expect_head("an answer").await;
    assert_eq!(within("the first chunk", wire.read_exact(5)).await, b"hello");
    gate.open();
    // Without chunks or a length a tidy end would say that this was all.
    assert!(within("the end", wire.is_reset()).await);
}
