use http::header::HOST;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn limits() -> ClientLimits {
    ClientLimits {
        connect_timeout: SECOND,
        first_byte_timeout: SECOND,
        read_timeout: SECOND,
        idle_timeout: SECOND * 60,
        idle_connections: 1,
    }
}

fn upstream(limits: ClientLimits, backlog: u32) -> (Client, TcpListener) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(backlog).unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = UpstreamAddress::Tcp { host: "127.0.0.1".into(), port };
    (Client::new(target, limits, ClientCounters::default(), TrailerFilter::new(|_| false)), listener)
}

/// A connection that was not accepted, and its other end.
async fn spare() -> (PooledConn, DuplexStream) {
    let (near, far) = duplex(65_536);
    let spare = Pool::handshake(near).await.unwrap();
    yield_now().await;
    (spare, far)
}

/// The same, after its other end has closed and that is known.
async fn closed_spare() -> PooledConn {
    let (spare, far) = spare().await;
    drop(far);
    while !spare.sender.is_closed() {
        yield_now().await;
    }
    spare
}

fn request(method: Method) -> Box<Request<RequestBody>> {
    let body = RequestBody::empty();
    Box::new(Request::builder().method(method).uri("/").header(HOST, "a").body(body).unwrap())
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
    let (one, _far) = spare().await;
    let (two, _other_far) = spare().await;
    few.pool.keep(one);
    few.pool.keep(two);
    assert_eq!(few.pool.idle().len(), 1);
    few.sweep();
    assert!(few.pool.take().is_some());

    let (brief, _listener) = upstream(ClientLimits { idle_timeout: Duration::ZERO, ..limits() }, 1);
    let (old, _far) = spare().await;
    brief.pool.keep(old);
    assert!(brief.pool.take().is_none() && brief.pool.idle().is_empty());
    let (old, _far) = spare().await;
    brief.pool.keep(old);
    brief.sweep();
    assert!(brief.pool.idle().is_empty());
}

#[tokio::test]
async fn a_closed_connection_is_neither_kept_nor_used() {
    let (client, _listener) = upstream(limits(), 1);
    client.pool.keep(closed_spare().await);
    assert!(client.pool.idle().is_empty());
    client.pool.keep_unseen(closed_spare().await);
    assert!(client.pool.take().is_none());
    client.pool.keep_unseen(closed_spare().await);
    client.sweep();
    assert!(client.pool.idle().is_empty());
}

#[tokio::test]
async fn a_request_of_which_nothing_was_written_is_sent_again() {
    let (client, listener) = upstream(limits(), 1);
    let (kept, far) = spare().await;
    client.pool.keep(kept);
    drop(far); // hyper has not seen it yet
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        answer(&mut stream, ANSWER).await;
        stream
    });
    let answer = client.send(request(Method::POST), || panic!("it is there to be sent")).await.unwrap();
    assert_eq!((answer.status().as_u16(), client.pool.counters.retries.get()), (200, 1));
    answering.await.unwrap();
}

#[tokio::test]
async fn a_connection_with_more_on_it_than_an_answer_is_not_used_again() {
    for (behind, is_kept) in [("", true), ("x", false)] {
        let (client, _listener) = upstream(limits(), 1);
        let (spare, mut far) = spare().await;
        let bytes = [ANSWER, behind.as_bytes()].concat();
        let exchange = client.exchange(spare, request(Method::POST));
        let (given, ()) = tokio::join!(exchange, answer(&mut far, &bytes));
        let body = given.map_err(|(error, _)| error).unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "ok");
        assert_eq!(client.pool.take().is_some(), is_kept, "{behind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_long_but_not_be_silent_for_long() {
    let (client, _listener) = upstream(limits(), 1);
    let (spare, mut far) = spare().await;
    let answering = tokio::spawn(async move {
        answer(&mut far, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..5 {
            sleep(SECOND * 6 / 10).await;
            far.write_all(b"1\r\nx\r\n").await.unwrap();
        }
        far.read(&mut [0]).await.unwrap()
    });
    let given = client.exchange(spare, request(Method::GET)).await.map_err(|(error, _)| error).unwrap();
    let mut body = given.into_body();
    for _ in 0..5 {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
    }
    let end = timeout(SECOND * 10, body.frame()).await.unwrap();
    assert!(matches!(end, Some(Err(ResponseError::Silent))));
    let read = timeout(SECOND, answering).await.expect("its connection has ended, although its body is held");
    assert_eq!(read.unwrap(), 0);
}

#[tokio::test]
async fn an_upstream_that_accepts_nobody_is_given_up() {
    let brief = ClientLimits { connect_timeout: SECOND / 5, ..limits() };
    let (client, _listener) = upstream(brief, 1);
    let mut waiting = Vec::new();
    for _ in 0..8 {
        match timeout(SECOND * 10, client.pool.connect()).await.unwrap() {
            Ok(spare) => waiting.push(spare),
            Err(error) => return assert!(matches!(error, ClientError::ConnectTimeout(_)), "{error}"),
        }
    }
    panic!("the system takes in more connections than its backlog");
}
