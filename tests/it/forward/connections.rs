//! Connections to the upstream: reused, found dead, never reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::support::client::{Client, UserProfile};
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::field;
use crate::support::{eventually, within};
use crate::trust::own_uid;

/// Answers the first request of each connection, and closes as it reads the head of the second.
async fn closing_on_the_second() -> Upstream {
    let on_connection = Arc::new(AtomicUsize::new(0));
    Upstream::answering(move |exchange| {
        let number = on_connection.fetch_add(1, Ordering::SeqCst);
        async move { if number == 1 { None } else { exchange.json(r#"{"ok":true}"#).await } }
    })
    .await
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_turn_refused_ones_too() {
    let stage = Stage::plain().await;
    let good = stage.client().get("/v1/models").from(&UserProfile::named("alice")).bytes();
    let refused = stage.client().get("/v1/models").bytes();
    let mut wire = stage.client().connect().await;
    wire.send([refused.clone(), refused.clone(), good.clone(), refused, good].concat()).await;
    for status in [401, 401, 200, 401, 200] {
        assert_eq!(wire.answer("GET").await.status, status);
    }
}

/// Answers a POST with an interim and a final answer at once, both with the request's path, and all else with a final one.
async fn announcing() -> Upstream {
    Upstream::answering(|mut exchange| async move {
        exchange.body().await;
        let path = exchange.head.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let is_announced = exchange.head.line.starts_with("POST ");
        let interim =
            if is_announced { format!("HTTP/1.1 103 Early Hints\r\nX-Path: {path}\r\n\r\n") } else { String::new() };
        let last = format!("HTTP/1.1 200 OK\r\nX-Path: {path}\r\nContent-Length: 0\r\n\r\n");
        exchange.send(interim + &last).await.then_some(exchange)
    })
    .await
}

#[tokio::test]
async fn an_interim_answer_never_comes_behind_the_answer_that_it_announced() {
    const REQUESTS: usize = 150;
    let stage = Stage::of(announcing().await, |setup| {
        let listen = format!("unix:{}", setup.folder().join("proxy.sock").display());
        setup.with("listen", listen).with("trust", json!({ "uids": [own_uid()] }))
    })
    .await;
    let client = Client::unix(stage.vestibule.folder().join("proxy.sock"));
    let request = |method, path: &str| client.request(method, path).from(&UserProfile::named("alice"));
    // Nobody reads until the client's socket is full. It should once be full just before a `100 Continue`, which hyper writes
    // by itself: what is there then is an interim answer that can't be written, and a final one that hyper has. How the
    // pieces fall is the system's; so many shifts by one piece meet each of them.
    for shift in 0..6 {
        let before = stage.upstream.count();
        let mut wire = client.connect().await;
        let mut all = request("GET", "/shift").bytes().repeat(shift);
        for number in 0..REQUESTS {
            let announced = request("POST", &format!("/{number}")).header("Expect", "100-continue");
            all.extend(announced.header("Content-Length", "1").bytes());
            all.push(b'x');
        }
        assert!(all.len() < 60_000, "more is cut off");
        wire.send(all).await;
        let mut count = before;
        eventually("the connection to stand", async || {
            // A machine that stands still for so long makes the test weaker, and no failure.
            let stands = timeout(Duration::from_millis(300), stage.upstream.requests(count + 1)).await.is_err();
            count = stage.upstream.count();
            (stands && count > before).then_some(())
        })
        .await;
        assert!(count < before + REQUESTS, "the socket is full");
        for number in 0..shift + REQUESTS {
            let answer = wire.answer("POST").await;
            answer.expect_ok();
            for interim in answer.informational.iter().filter(|interim| interim.status() != 100) {
                assert_eq!(interim.value("x-path"), answer.head.value("x-path"), "shifted by {shift}, at {number}");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_known_upstream_also_with_a_request_behind() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.wire.closed().await;
        None
    });
    let stage = Stage::before(upstream.await).await;
    let request = stage.client().get("/v1/models").from(&UserProfile::named("alice")).bytes();
    let mut wire = stage.client().connect().await;
    wire.send([request.clone(), request].concat()).await;
    stage.upstream.requests(1).await;
    drop(wire);
    stage.upstream.closed(1).await;
    assert_eq!(stage.upstream.count(), 1, "what waited behind it is nobody's any more");
}

#[tokio::test]
async fn connections_to_the_upstream_are_reused() {
    let stage = Stage::with(|setup| setup.with("workers", 1)).await;
    for _ in 0..20 {
        stage.client().post("/v1/chat/completions", "{}").from(&UserProfile::named("alice")).send().await.expect_ok();
    }
    assert_eq!(stage.upstream.connections(), 1);
}

#[tokio::test]
async fn a_get_on_a_connection_that_just_closed_is_sent_again_unseen() {
    let stage = Stage::of(closing_on_the_second().await, |setup| setup.with("workers", 1)).await;
    for path in ["/1", "/2"] {
        stage.client().get(path).from(&UserProfile::named("alice")).send().await.expect_ok();
    }
    assert_eq!(stage.upstream.connections(), 2, "the second request needed a second connection");
}

#[tokio::test]
async fn a_post_that_may_have_been_read_is_never_sent_twice() {
    let stage = Stage::of(closing_on_the_second().await, |setup| setup.with("workers", 1)).await;
    stage.client().get("/1").from(&UserProfile::named("alice")).send().await.expect_ok();
    let answer = stage.client().post("/2", r#"{"pay":1}"#).from(&UserProfile::named("alice")).send().await;
    answer.expect_refusal(502, "upstream_failed");
    let posts = stage.upstream.seen().iter().filter(|seen| seen.head.line.starts_with("POST")).count();
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_is_not_used_again() {
    let upstream = Upstream::answering(|exchange| async move {
        // Without `Connection: close`, as uvicorn does after its idle time.
        drop(exchange.json(r#"{"ok":true}"#).await);
        None
    });
    let stage = Stage::of(upstream.await, |setup| setup.with("workers", 1)).await;
    for number in 1..=30 {
        let answer = stage.client().post("/v1/chat/completions", "{}").from(&UserProfile::named("alice")).send().await;
        answer.expect_ok();
        stage.upstream.closed(number).await;
    }
    assert_eq!(stage.upstream.count(), 30);
}

#[tokio::test]
async fn an_upstream_that_asks_to_close_is_obeyed() {
    let stage =
        Stage::before(Upstream::saying("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await)
            .await;
    for _ in 0..5 {
        let answer = stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await;
        answer.expect_ok();
        assert_eq!(answer.head.value("connection"), None, "that was said to us, not to the client");
    }
    assert_eq!(stage.upstream.connections(), 5);
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_502() {
    let upstream = Upstream::json().await;
    let stage = Stage::before(upstream).await;
    let address = stage.upstream.url.clone();
    let Stage { vestibule, upstream, .. } = stage;
    upstream.take_down().await;
    let answer = vestibule.client().get("/v1/models").from(&UserProfile::named("alice")).send().await;
    answer.expect_refusal(502, "upstream_unreachable");
    assert!(!answer.text().contains(address.trim_start_matches("http://")), "the caller learns no inner address");
}

#[tokio::test]
async fn an_upstream_that_hangs_up_is_a_502() {
    let stage = Stage::before(
        Upstream::answering(|exchange| async move {
            drop(exchange);
            None
        })
        .await,
    )
    .await;
    let answer = stage.client().post("/v1/chat/completions", "{}").from(&UserProfile::named("alice")).send().await;
    answer.expect_refusal(502, "upstream_failed");
    assert_eq!(stage.upstream.count(), 1);
}

#[tokio::test]
async fn an_upstream_that_talks_nonsense_is_a_502() {
    let stage = Stage::before(Upstream::saying("HTTP/1.1 2000 What\r\nContent-Length: 1\r\n\r\nx").await).await;
    let answer = stage.client().post("/v1/chat/completions", "{}").from(&UserProfile::named("alice")).send().await;
    answer.expect_refusal(502, "upstream_failed");
    let cause = field(&stage.vestibule.request_lines(1).await[0], "cause");
    assert!(cause.contains("the upstream sent "), "{cause}");
    assert!(!answer.text().contains("the upstream sent "), "that is for the log alone");
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_a_504() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.body().await;
        exchange.wire.closed().await;
        None
    });
    let stage = Stage::of(upstream.await, |setup| setup.with("limits.upstream_first_byte_timeout", "200ms")).await;
    let answer = stage.client().post("/v1/chat/completions", "{}").from(&UserProfile::named("alice")).send().await;
    answer.expect_refusal(504, "upstream_timeout");
    stage.upstream.closed(1).await;
}

#[tokio::test]
async fn an_upstream_can_be_a_unix_socket() {
    let folder = std::env::temp_dir();
    let path = folder.join(format!("vestibule-it-upstream-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let stage = Stage::before(Upstream::on_unix_socket(&path)).await;
    stage.client().post("/v1/chat/completions", "{}").from(&UserProfile::named("alice")).send().await.expect_ok();
    assert!(stage.upstream.only().head.value("x-litellm-api-key").is_some());
    let _ = std::fs::remove_file(&path);
}

#[tokio::test]
async fn a_request_that_has_come_through_here_before_is_a_loop() {
    let stage = Stage::plain().await;
    stage
        .client()
        .get("/v1/models")
        .from(&UserProfile::named("alice"))
        .header("Via", "1.1 edge")
        .send()
        .await
        .expect_ok();
    let via = stage.upstream.only().head.values("via").join(", ");
    assert!(via.starts_with("1.1 edge, ") || via.contains("1.1 edge"), "{via}");
    let answer = stage.client().get("/v1/models").from(&UserProfile::named("alice")).header("Via", via).send().await;
    answer.expect_refusal(508, "loop_detected");
    assert_eq!(stage.upstream.count(), 1);
}

#[tokio::test]
async fn a_client_that_is_far_ahead_is_cut_off() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.wire.closed().await;
        None
    });
    let stage = Stage::before(upstream.await).await;
    let mut wire = stage.client().connect().await;
    wire.send(stage.client().get("/v1/models").from(&UserProfile::named("alice")).bytes()).await;
    stage.upstream.requests(1).await;
    // Behind so much nobody would see that it goes away.
    wire.send(vec![b'x'; 80 * 1024]).await;
    within("the end", wire.closed()).await;
    stage.upstream.closed(1).await;
}
