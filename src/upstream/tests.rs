use http::header::HOST;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::*;
use crate::config::testing;

const SECOND: Duration = Duration::from_secs(1);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn limits() -> Limits {
    Limits {
        upstream_connect_timeout: SECOND,
        upstream_first_byte_timeout: SECOND,
        upstream_read_timeout: SECOND,
        upstream_idle_timeout: SECOND * 60,
        upstream_idle_connections: 1,
        ..testing("").limits
    }
}

fn upstream(limits: Limits, backlog: u32) -> (Upstream, TcpListener) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(backlog).unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = UpstreamUrl::Tcp { host: "127.0.0.1".into(), port };
    (Upstream::new(address, limits, Arc::new(Metrics::default())), listener)
}

/// A connection that nobody made, and its other end.
async fn spare(upstream: &Upstream) -> (Spare, DuplexStream) {
    let (near, far) = duplex(65_536);
    let spare = upstream.shared.handshake(near).await.unwrap();
    yield_now().await;
    (spare, far)
}

/// The same, after its other end has closed and that is known.
async fn closed_spare(upstream: &Upstream) -> Spare {
    let (spare, far) = spare(upstream).await;
    drop(far);
    while !spare.sender.is_closed() {
        yield_now().await;
    }
    spare
}

fn keep_unseen(upstream: &Upstream, spare: Spare) {
    upstream.shared.idle().push(Idle { spare, since: Instant::now() });
}

fn request(method: Method) -> Request<RequestBody> {
    let body = RequestBody::empty(Arc::default());
    Request::builder().method(method).uri("/").header(HOST, "a").body(body).unwrap()
}

async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(bytes).await.unwrap();
}

#[tokio::test]
async fn so_many_connections_are_kept_and_for_so_long() {
    let (few, _listener) = upstream(limits(), 1);
    let (one, _far) = spare(&few).await;
    let (two, _other_far) = spare(&few).await;
    few.shared.keep(one);
    few.shared.keep(two);
    assert_eq!(few.shared.idle().len(), 1);
    few.sweep();
    assert!(few.shared.take_idle().is_some());

    let (brief, _listener) = upstream(Limits { upstream_idle_timeout: Duration::ZERO, ..limits() }, 1);
    let (old, _far) = spare(&brief).await;
    brief.shared.keep(old);
    assert!(brief.shared.take_idle().is_none() && brief.shared.idle().is_empty());
    let (old, _far) = spare(&brief).await;
    brief.shared.keep(old);
    brief.sweep();
    assert!(brief.shared.idle().is_empty());
}

#[tokio::test]
async fn a_closed_connection_is_neither_kept_nor_used() {
    let (upstream, _listener) = upstream(limits(), 1);
    upstream.shared.keep(closed_spare(&upstream).await);
    assert!(upstream.shared.idle().is_empty());
    keep_unseen(&upstream, closed_spare(&upstream).await);
    assert!(upstream.shared.take_idle().is_none());
    keep_unseen(&upstream, closed_spare(&upstream).await);
    upstream.sweep();
    assert!(upstream.shared.idle().is_empty());
}

#[tokio::test]
async fn a_request_of_which_nothing_was_written_is_sent_again() {
    let (upstream, listener) = upstream(limits(), 1);
    let (kept, far) = spare(&upstream).await;
    upstream.shared.keep(kept);
    drop(far); // nobody has seen it yet
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        answer(&mut stream, ANSWER).await;
        stream
    });
    let answer = upstream.send(request(Method::POST), || panic!("it is there to be sent")).await.unwrap();
    assert_eq!((answer.status().as_u16(), upstream.shared.metrics.upstream_retries.get()), (200, 1));
    answering.await.unwrap();
}

#[tokio::test]
async fn a_connection_with_more_on_it_than_an_answer_is_not_used_again() {
    for (behind, is_kept) in [("", true), ("x", false)] {
        let (upstream, _listener) = upstream(limits(), 1);
        let (spare, mut far) = spare(&upstream).await;
        let bytes = [ANSWER, behind.as_bytes()].concat();
        let exchange = upstream.shared.exchange(spare, request(Method::POST));
        let (given, ()) = tokio::join!(exchange, answer(&mut far, &bytes));
        let body = given.map_err(|(error, _)| error).unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "ok");
        assert_eq!(upstream.shared.take_idle().is_some(), is_kept, "{behind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_long_but_not_be_silent_for_long() {
    let (upstream, _listener) = upstream(limits(), 1);
    let (spare, mut far) = spare(&upstream).await;
    let answering = tokio::spawn(async move {
        answer(&mut far, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..5 {
            sleep(SECOND * 6 / 10).await;
            far.write_all(b"1\r\nx\r\n").await.unwrap();
        }
        far.read(&mut [0]).await.unwrap()
    });
    let given = upstream.shared.exchange(spare, request(Method::GET)).await.map_err(|(error, _)| error).unwrap();
    let mut body = given.into_body();
    for _ in 0..5 {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
    }
    let end = timeout(SECOND * 10, body.frame()).await.unwrap();
    assert!(matches!(end, Some(Err(AnswerError::Silent))));
    let read = timeout(SECOND, answering).await.expect("its connection has ended, although somebody holds the body");
    assert_eq!(read.unwrap(), 0);
}

#[tokio::test]
async fn an_upstream_that_accepts_nobody_is_given_up() {
    let brief = Limits { upstream_connect_timeout: SECOND / 5, ..limits() };
    let (upstream, _listener) = upstream(brief, 1);
    let mut waiting = Vec::new();
    for _ in 0..8 {
        match timeout(SECOND * 10, upstream.shared.connect()).await.unwrap() {
            Ok(spare) => waiting.push(spare),
            Err(error) => return assert!(matches!(error, UpstreamError::ConnectTimeout(_)), "{error}"),
        }
    }
    panic!("the system takes in more connections than its backlog");
}
