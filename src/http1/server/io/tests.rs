use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep, timeout};

use super::*;

impl Stream for DuplexStream {
    fn keep_alive(&self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn reset(&self) {}
}

const SECOND: Duration = Duration::from_secs(1);
const UPGRADE: &str = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";

fn limits() -> ServerLimits {
    ServerLimits {
        header_bytes: 8192,
        headers: 100,
        header_timeout: SECOND,
        keep_alive_timeout: SECOND,
        body_timeout: SECOND,
        body_rate: 0,
        send_timeout: SECOND,
    }
}

/// A connection whose other end takes so many bytes before it is read.
fn connection(room: usize) -> (ServerIo<DuplexStream>, ServerConn, DuplexStream) {
    limited(room, &limits())
}

fn limited(room: usize, limits: &ServerLimits) -> (ServerIo<DuplexStream>, ServerConn, DuplexStream) {
    let (near, far) = duplex(room);
    let conn = ServerConn::default();
    (ServerIo::new(near, conn.clone(), limits), conn, far)
}

async fn read(end: &mut (impl AsyncRead + Unpin), count: usize) -> String {
    let mut bytes = vec![0; count];
    end.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Sends all, and has the guard hand on the beginning.
async fn begin(io: &mut ServerIo<DuplexStream>, far: &mut DuplexStream, begin: &str, rest: &str) {
    far.write_all([begin, rest].concat().as_bytes()).await.unwrap();
    assert_eq!(read(io, begin.len()).await, begin);
}

/// A byte of a body comes after most of a second.
async fn dribble(io: &mut ServerIo<DuplexStream>, far: &mut DuplexStream) {
    let sending = async {
        sleep(SECOND * 6 / 10).await;
        far.write_all(b"x").await.unwrap();
    };
    assert_eq!(tokio::join!(read(io, 1), sending).0, "x");
}

#[tokio::test]
async fn an_interim_answer_never_gets_into_an_earlier_one() {
    let (mut io, conn, mut far) = connection(8);
    assert_eq!(io.write(b"answer one").await.unwrap(), 8);
    conn.push_interim(StatusCode::EARLY_HINTS, &HeaderMap::new());
    let reading = tokio::spawn(async move { (read(&mut far, 10 + HINTS.len() + 3).await, far) });
    io.write_all(b"ne").await.unwrap();
    io.flush().await.unwrap();
    io.write_all(b"two").await.unwrap();
    io.flush().await.unwrap();
    assert_eq!(reading.await.unwrap().0, format!("answer one{HINTS}two"));
}

#[tokio::test]
async fn an_interim_answer_that_could_only_come_too_late_does_not_come() {
    let (mut io, conn, mut far) = connection(8);
    assert_eq!(io.write(b"answer one").await.unwrap(), 8);
    conn.push_interim(StatusCode::EARLY_HINTS, &HeaderMap::new());
    conn.begin_response();
    let reading = tokio::spawn(async move { (read(&mut far, 13).await, far) });
    io.write_all(b"netwo").await.unwrap();
    io.flush().await.unwrap();
    assert_eq!(reading.await.unwrap().0, "answer onetwo");
    assert!(!conn.has_interim());
}

#[tokio::test]
async fn an_interim_answer_goes_before_the_final_one_that_is_there_already() {
    let (mut io, conn, mut far) = connection(1024);
    io.flush().await.unwrap();
    conn.push_interim(StatusCode::EARLY_HINTS, &HeaderMap::new());
    conn.begin_response();
    io.write_all(b"final").await.unwrap();
    assert_eq!(read(&mut far, HINTS.len() + 5).await, format!("{HINTS}final"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_for_too_long_is_given_up() {
    let (mut io, _, _far) = connection(4);
    let written = timeout(SECOND * 10, io.write_all(b"too much")).await.unwrap();
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_body_may_take_long_but_not_be_silent_for_long() {
    let (mut io, _, mut far) = connection(1024);
    begin(&mut io, &mut far, "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", "").await;
    for _ in 0..8 {
        dribble(&mut io, &mut far).await;
    }
    let came = timeout(SECOND * 10, io.read_u8()).await.unwrap();
    assert_eq!(came.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn each_body_has_its_whole_time() {
    let (mut io, conn, mut far) = limited(1024, &ServerLimits { body_rate: 1_000_000, ..limits() });
    for number in 1..=3 {
        begin(&mut io, &mut far, "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", "").await;
        dribble(&mut io, &mut far).await;
        assert!(timeout(SECOND / 10, io.read_u8()).await.is_err());
        conn.end(number);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_too_much_before_a_response_is_cut_off() {
    for head in ["GET / HTTP/1.1\r\n\r\n", UPGRADE] {
        let (mut io, _, mut far) = connection(1024);
        begin(&mut io, &mut far, head, "").await;
        let sending = tokio::spawn(async move {
            let mut sent = 0;
            while sent < 2 * EARLY_BYTES_MAX && far.write_all(&[b'x'; 1024]).await.is_ok() {
                sent += 1024;
            }
            sent
        });
        let read = timeout(SECOND / 2, io.read_u8()).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted, "{head:?}");
        drop(io);
        assert!(sending.await.unwrap() < 2 * EARLY_BYTES_MAX, "{head:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_waits_for_an_answer_is_not_late() {
    let (mut io, conn, mut far) = connection(1024);
    begin(&mut io, &mut far, "GET / HTTP/1.1\r\n\r\n", "GET /").await;
    assert!(timeout(SECOND * 10, io.read_u8()).await.is_err());
    conn.end(1);
    let stand_in = timeout(SECOND * 2, read(&mut io, STAND_IN.len())).await.unwrap();
    assert_eq!((stand_in.as_bytes(), conn.malformed(2)), (STAND_IN, Some(Malformed::Late)));
}

#[tokio::test(start_paused = true)]
async fn the_end_is_put_off_for_a_while_and_for_some_bytes() {
    let (mut silent, _, _far) = connection(1024);
    let begun = Instant::now();
    timeout(SECOND * 10, silent.shutdown()).await.unwrap().unwrap();
    assert!((SECOND..SECOND * 2).contains(&begun.elapsed()));

    let (mut flooded, _, mut far) = connection(1024);
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        while sent < 1024 && far.write_all(&[b'x'; 1024]).await.is_ok() {
            sent += 1;
        }
        (sent, far)
    });
    flooded.shutdown().await.unwrap();
    drop(flooded);
    let (sent, _far) = sending.await.unwrap();
    assert!((256..512).contains(&sent), "{sent} KiB");
}

#[tokio::test(start_paused = true)]
async fn a_tunnels_half_ends_at_once_and_the_other_lives() {
    let (mut io, conn, mut far) = connection(1024);
    begin(&mut io, &mut far, UPGRADE, "").await;
    conn.answer_upgrade(1, true);
    begin(&mut io, &mut far, "\n\n", "").await;
    let begun = Instant::now();
    io.shutdown().await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    begin(&mut io, &mut far, "more", "").await;
}

#[tokio::test(start_paused = true)]
async fn an_answers_end_wakes_who_waits_for_it() {
    for (head, behind) in [("GET / HTTP/1.1\r\n\r\n", "GET /b HTTP/1.1\r\n\r\n"), (UPGRADE, "\n\n")] {
        let (mut io, conn, mut far) = connection(1024);
        begin(&mut io, &mut far, head, behind).await;
        let waiting = tokio::spawn(async move {
            io.flush().await.unwrap();
            read(&mut io, behind.len()).await
        });
        sleep(SECOND * 2).await;
        assert!(!waiting.is_finished());
        conn.answer_upgrade(1, true);
        conn.end(1);
        assert_eq!(timeout(SECOND, waiting).await.unwrap().unwrap(), behind);
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A connection whose first request has been read and answered.
async fn kept() -> (ServerIo<DuplexStream>, DuplexStream) {
    let (mut io, conn, mut far) = connection(1024);
    far.write_all(REQUEST).await.unwrap();
    let mut bytes = [0; REQUEST.len()];
    io.read_exact(&mut bytes).await.unwrap();
    conn.end(1);
    (io, far)
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_in_its_time() {
    let (mut io, _far) = kept().await;
    let begin = Instant::now();
    assert_eq!(io.read(&mut [0; 64]).await.unwrap(), 0);
    assert_eq!(begin.elapsed().as_secs(), limits().keep_alive_timeout.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_begins_late_in_the_idle_time_has_its_own() {
    let (mut io, mut far) = kept().await;
    let writing = tokio::spawn(async move {
        for part in REQUEST.chunks(REQUEST.len() / 2 + 1) {
            sleep(limits().keep_alive_timeout * 4 / 5).await;
            far.write_all(part).await.unwrap();
        }
        far
    });
    let mut bytes = [0; REQUEST.len()];
    io.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, *REQUEST);
    writing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_whole_is_refused_also_when_the_idle_time_is_shorter() {
    let (near, mut far) = duplex(1024);
    let conn = ServerConn::default();
    let limits = ServerLimits { keep_alive_timeout: SECOND / 2, ..limits() };
    let mut io = ServerIo::new(near, conn.clone(), &limits);
    far.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut bytes = [0; STAND_IN.len()];
    io.read_exact(&mut bytes).await.unwrap();
    assert_eq!((bytes.as_slice(), conn.malformed(1)), (STAND_IN, Some(Malformed::Late)));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_answer_wakes_who_waits_behind_it_also_before_anything_was_flushed() {
    let (mut io, conn, mut far) = connection(1024);
    far.write_all(REQUEST).await.unwrap();
    let mut bytes = [0; REQUEST.len()];
    io.read_exact(&mut bytes).await.unwrap();
    far.write_all(REQUEST).await.unwrap();
    let reading = tokio::spawn(async move {
        io.read_exact(&mut bytes).await.unwrap();
        bytes
    });
    // The reader has looked, and found that it is not its turn.
    while !conn.is_awaited() {
        tokio::task::yield_now().await;
    }
    conn.end(1);
    let begin = Instant::now();
    assert_eq!(reading.await.unwrap(), *REQUEST);
    assert_eq!(begin.elapsed(), Duration::ZERO, "woken by the answer, not by a clock");
}
