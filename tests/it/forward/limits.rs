//! Limits and framing: what is refused before it is looked at.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::client::UserProfile;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::{Gate, eventually, within};

#[tokio::test]
async fn heads_and_targets_over_the_limit_are_refused() {
    let stage = Stage::plain().await;
    let alice = UserProfile::named("alice");
    let request = stage.client().get(&format!("/{}", "x".repeat(8191))).from(&alice);
    request.send().await.expect_ok();
    let request = stage.client().get(&format!("/{}", "x".repeat(8192))).from(&alice);
    request.send().await.expect_refusal(414, "target_too_long");

    let many = (0..110)
        .fold(stage.client().get("/").from(&alice), |request, number| request.header(&format!("X-{number}"), "x"));
    many.send().await.expect_refusal(431, "header_too_large");
    let big = stage.client().get("/").from(&alice).header("X-Big", "x".repeat(65_536));
    big.send().await.expect_refusal(431, "header_too_large");
    assert_eq!(stage.upstream.count(), 1);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let stage = Stage::with(|setup| setup.with("limits.body_bytes", 1000)).await;
    let alice = UserProfile::named("alice");
    stage.client().post("/v1/files", vec![b'x'; 1000]).from(&alice).send().await.expect_ok();
    let mut wire = stage.client().connect().await;
    wire.send(stage.client().request("POST", "/v1/files").from(&alice).header("Content-Length", "1001").bytes()).await;
    wire.answer("POST").await.expect_refusal(413, "body_too_large");
    assert_eq!(stage.upstream.count(), 1);
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_never_ends_tidily_upstream() {
    let stage = Stage::with(|setup| setup.with("limits.body_bytes", 1000)).await;
    let alice = UserProfile::named("alice");
    let mut bytes =
        stage.client().request("POST", "/v1/files").from(&alice).header("Transfer-Encoding", "chunked").bytes();
    for _ in 0..3 {
        bytes.extend(format!("190\r\n{}\r\n", "x".repeat(400)).as_bytes());
    }
    bytes.extend(b"0\r\n\r\n");
    stage.client().raw(bytes).await.expect_refusal(413, "body_too_large");
    if stage.upstream.connections() > 0 {
        stage.upstream.closed(1).await;
    }
    assert!(stage.upstream.seen().iter().all(|seen| !seen.body.complete), "an aborted request, not a short one");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_given_up() {
    let stage = Stage::with(|setup| setup.with("limits.header_timeout", "200ms")).await;
    let mut wire = stage.client().connect().await;
    wire.send("GET / HTTP/1.1\r\nHost: a.example\r\n").await;
    let bytes = within("the connection to be given up", wire.read_to_end()).await;
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("x-vestibule-refusal: header_timeout"), "{text}");
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test]
async fn requests_with_doubtful_framing_are_refused() {
    const CASES: &[(&str, &str)] = &[
        ("length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("chunks and length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        ("chunks and gzip", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("chunks in two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("two equal lengths", "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
        ("a bare LF", "X-A: 1\nX-Forwarded-Groups: llm-admins\r\n\r\n"),
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        ("a list of lengths", "Content-Length: 5, 6\r\n\r\nhello!"),
        ("a signed length", "Content-Length: +5\r\n\r\nhello"),
        ("a hexadecimal length", "Content-Length: 0x5\r\n\r\nhello"),
        ("a negative length", "Content-Length: -1\r\n\r\n"),
        ("chunks twice", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        ("chunks before gzip", "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("a space before the colon", "Content-Length : 5\r\n\r\nhello"),
        ("a folded line", "X-A: 1\r\n 2\r\n\r\n"),
        ("a NUL", "X-A: a\0b\r\n\r\n"),
        ("a bare CR", "X-A: a\rb\r\n\r\n"),
    ];
    let stage = Stage::plain().await;
    let mut taken = Vec::new();
    for (case, rest) in CASES {
        let answer = stage
            .client()
            .raw(format!("POST /v1/x HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-User: alice\r\n{rest}"))
            .await;
        if answer.status != 400 {
            taken.push((*case, answer.status));
        }
    }
    assert_eq!(taken, [], "none of them may be taken for a request");
    assert_eq!(stage.upstream.count(), 0, "{:#?}", stage.upstream.seen());
    stage.db.expect_nothing_written().await;
}

#[tokio::test]
async fn bad_chunks_are_a_400_and_never_end_tidily_upstream() {
    let stage = Stage::plain().await;
    for chunks in
        ["5_\r\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "fffffffffffffffff\r\nx", "5\r\nhelloXX0\r\n\r\n"]
    {
        let head =
            "POST /v1/x HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-User: alice\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = stage.client().raw(format!("{head}{chunks}")).await;
        assert_eq!((answer.status, answer.refusal().as_deref()), (400, Some("bad_framing")), "{chunks:?}");
    }
    assert!(stage.upstream.seen().iter().all(|seen| !seen.body.complete));
}

#[tokio::test]
async fn a_request_names_one_host() {
    let stage = Stage::plain().await;
    for hosts in [
        "",
        "Host: a.example\r\nHost: a.example\r\n",
        "Host: a.example, b.example\r\n",
        "Host: user@a.example\r\n",
        "Host: a.example/x\r\n",
        "Host: a.example:x\r\n",
        "Host: \r\n",
    ] {
        let answer = stage.client().raw(format!("GET /v1/x HTTP/1.1\r\n{hosts}X-Forwarded-User: alice\r\n\r\n")).await;
        assert_eq!((answer.status, answer.refusal().as_deref()), (400, Some("bad_host")), "{hosts:?}");
    }
    let answer = stage
        .client()
        .raw("GET http://b.example/v1/x HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-User: alice\r\n\r\n")
        .await;
    answer.expect_refusal(400, "bad_host");
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test]
async fn odd_targets_and_expectations_are_refused() {
    let stage = Stage::plain().await;
    for (line, field, status, code) in
        [("GET *", "", 400, "bad_target"), ("GET /v1/models", "Expect: 200-ok\r\n", 417, "unknown_expectation")]
    {
        let head = format!("{line} HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-User: alice\r\n{field}\r\n");
        stage.client().raw(head).await.expect_refusal(status, code);
    }
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test]
async fn one_person_can_have_a_limit_of_requests_in_flight() {
    let gate = Gate::closed();
    let stage =
        Stage::of(Upstream::json_behind(&gate).await, |setup| setup.with("limits.in_flight_per_person", 2)).await;
    let alice = UserProfile::named("alice");
    let request = stage.client().get("/v1/models").from(&alice);
    let running: Vec<_> = (0..2)
        .map(|_| {
            let request = request.clone();
            tokio::spawn(async move { request.send().await })
        })
        .collect();
    stage.upstream.requests(2).await;
    let answer = request.send().await;
    answer.expect_refusal(429, "too_many_requests");
    assert_eq!(answer.head.value("retry-after").as_deref(), Some("1"));
    gate.open();
    gate.open();
    for answer in running {
        answer.await.expect("the request is answered").expect_ok();
    }
    gate.open();
    // A place is free when its request is over, which may be just after its answer.
    eventually("a place for alice", async || (request.send().await.status == 200).then_some(())).await;
    gate.open();
    stage.client().get("/v1/models").from(&UserProfile::named("bob")).send().await.expect_ok();
}

#[tokio::test]
async fn there_can_be_a_limit_of_requests_in_flight_in_all() {
    let gate = Gate::closed();
    let stage = Stage::of(Upstream::json_behind(&gate).await, |setup| setup.with("limits.in_flight", 1)).await;
    let request = stage.client().get("/v1/models").from(&UserProfile::named("alice"));
    let first = tokio::spawn({
        let request = request.clone();
        async move { request.send().await }
    });
    stage.upstream.requests(1).await;
    let answer = stage.client().get("/v1/models").from(&UserProfile::named("bob")).send().await;
    answer.expect_refusal(503, "overloaded");
    assert_eq!(answer.head.value("retry-after").as_deref(), Some("1"));
    gate.open();
    first.await.expect("the request is answered").expect_ok();
}

#[tokio::test]
async fn an_idle_worker_keeps_no_place_from_a_busy_one() {
    let stage = Stage::with(|setup| setup.with("limits.connections", 1).with("workers", 4)).await;
    // Wherever the system puts each of them, there is a place for it: the one before has gone.
    for _ in 0..16 {
        stage
            .client()
            .get("/v1/models")
            .from(&UserProfile::named("alice"))
            .header("Connection", "close")
            .send()
            .await
            .expect_ok();
    }
}

#[tokio::test]
async fn at_the_limit_of_connections_a_new_one_waits_for_a_place() {
    let stage = Stage::with(|setup| setup.with("limits.connections", 1).with("workers", 1)).await;
    let request = stage.client().get("/v1/models").from(&UserProfile::named("alice")).bytes();
    let mut first = stage.client().connect().await;
    first.send(&request).await;
    first.answer("GET").await.expect_ok();
    let mut second = stage.client().connect().await;
    second.send(&request).await;
    assert!(timeout(Duration::from_secs(1), second.peek()).await.is_err(), "there is no place for it yet");
    drop(first);
    second.answer("GET").await.expect_ok();
}
