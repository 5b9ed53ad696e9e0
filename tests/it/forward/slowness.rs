//! Whoever is slow: given up by name, bounded in memory, and never at the cost of others.

use std::time::Duration;

use tokio::time::{interval, timeout};

use crate::support::client::{Request, UserProfile};
use crate::support::stage::Stage;
use crate::support::upstream::{Exchange, Upstream};
use crate::support::wire::Wire;
use crate::support::{Gate, within};

/// Long beside the limits that the tests set, short beside their patience.
const A_WHILE: Duration = Duration::from_secs(1);
const ENDLESS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn upload(stage: &Stage, framing: (&str, &str)) -> Request {
    stage.client().request("POST", "/v1/files").from(&UserProfile::named("alice")).header(framing.0, framing.1)
}

/// Says nothing for a while; fails when something comes.
async fn expect_nothing(what: &str, wire: &mut Wire) {
    assert!(timeout(A_WHILE, wire.closed()).await.is_err(), "{what}: the connection was closed");
    assert_eq!(wire.ahead(), b"", "{what}");
}

/// Sends chunks until nobody takes them.
async fn flood(mut exchange: Exchange) -> Option<Exchange> {
    exchange.body().await;
    exchange.send(ENDLESS).await;
    let chunk = "x".repeat(16 * 1024);
    while exchange.send_chunk(&chunk).await {}
    None
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let stage = Stage::with(|setup| setup.with("limits.body_timeout", "200ms")).await;
    for (framing, begun) in [(("Content-Length", "10"), "hello"), (("Transfer-Encoding", "chunked"), "5\r\nhello\r\n")]
    {
        let before = stage.upstream.count();
        let mut wire = stage.client().connect().await;
        wire.send(upload(&stage, framing).bytes()).await;
        wire.send(begun).await;
        let answer = wire.answer("POST").await;
        answer.expect_refusal(408, "body_timeout");
        within("the end", wire.closed()).await;
        stage.upstream.closed(before + 1).await;
    }
    assert!(stage.upstream.seen().iter().all(|seen| !seen.body.complete), "an aborted request, not a short one");
}

#[tokio::test]
async fn a_body_that_dribbles_is_given_up_although_it_is_never_silent() {
    let limits = |setup: crate::support::vestibule::Setup| {
        setup.with("limits.body_timeout", "500ms").with("limits.body_rate", 100_000)
    };
    let stage = Stage::with(limits).await;
    let mut wire = stage.client().connect().await;
    wire.send(upload(&stage, ("Content-Length", "100000")).bytes()).await;
    let mut tick = interval(Duration::from_millis(20));
    let answer = loop {
        tick.tick().await;
        wire.send("x").await;
        if let Ok(answer) = timeout(Duration::from_millis(1), wire.peek()).await {
            assert!(answer, "closed without an answer");
            break wire.answer("POST").await;
        }
    };
    answer.expect_refusal(408, "body_timeout");
}

#[tokio::test]
async fn an_upstream_that_takes_its_time_is_no_fault_of_the_clients() {
    let gate = Gate::closed();
    let stage = Stage::of(Upstream::json_behind(&gate).await, |setup| setup.with("limits.body_timeout", "200ms")).await;
    // More than all buffers on the way hold, so that the client waits for the upstream.
    let body = vec![b'x'; 32 * 1024 * 1024];
    let (mut from, mut to) = stage.client().connect().await.split();
    let request = upload(&stage, ("Content-Length", &body.len().to_string())).bytes();
    // Given back at the end: a half that is dropped ends the client's side.
    let sending = tokio::spawn(async move { (to.send([request, body].concat()).await, to) });
    stage.upstream.requests(1).await;
    expect_nothing("while the upstream reads nothing", &mut from).await;
    gate.open();
    from.answer("POST").await.expect_ok();
    assert!(sending.await.expect("the sender ends").0);
    assert!(stage.upstream.only().body.complete);
}

#[tokio::test]
async fn a_client_that_takes_its_time_is_no_fault_of_the_upstreams() {
    let stage = Stage::with(|setup| setup.with("limits.upstream_first_byte_timeout", "1s")).await;
    let mut wire = stage.client().connect().await;
    wire.send(upload(&stage, ("Content-Length", "12")).bytes()).await;
    let mut tick = interval(Duration::from_millis(200));
    for _ in 0..12 {
        tick.tick().await;
        wire.send("x").await;
    }
    wire.answer("POST").await.expect_ok();
    assert!(stage.upstream.only().body.complete);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let stage = Stage::of(Upstream::answering(flood).await, |setup| setup.with("limits.send_timeout", "200ms")).await;
    let (head, wire) =
        stage.client().post("/v1/chat/completions", "{}").from(&UserProfile::named("alice")).open().await;
    assert_eq!(head.status(), 200);
    stage.upstream.closed(1).await;
    drop(wire);
}

#[tokio::test]
async fn a_slow_reader_is_served_as_long_as_it_reads() {
    let stage = Stage::of(Upstream::answering(flood).await, |setup| setup.with("limits.send_timeout", "400ms")).await;
    let (_, mut wire) =
        stage.client().post("/v1/chat/completions", "{}").from(&UserProfile::named("alice")).open().await;
    let mut tick = interval(Duration::from_millis(40));
    for _ in 0..100 {
        tick.tick().await;
        // Far less than the system's buffers hold: that they move little is no sign that nobody reads.
        for _ in 0..3 {
            assert!(matches!(within("a chunk", wire.read_chunk()).await, Ok(Some(_))));
        }
    }
}

#[tokio::test]
async fn an_answer_that_falls_silent_is_cut_off_for_the_client_to_see() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.body().await;
        exchange.send(ENDLESS).await;
        exchange.send_chunk("data: 1\n\n").await;
        exchange.wire.closed().await;
        None
    });
    let stage = Stage::of(upstream.await, |setup| setup.with("limits.upstream_read_timeout", "200ms")).await;
    let answer = stage.client().post("/v1/chat/completions", "{}").from(&UserProfile::named("alice")).send().await;
    assert_eq!((answer.status, answer.complete, answer.text().as_str()), (200, false, "data: 1\n\n"));
    stage.upstream.closed(1).await;
    let line = stage.vestibule.request_lines(1).await.remove(0);
    assert_eq!(crate::support::vestibule::field(&line, "cause"), "the upstream was silent within its answer");
    assert_eq!(stage.vestibule.metric("vestibule_upstream_cuts_total").await, 1);
}

/// After how long the system asks the far end of the one connection between these ports whether it is still there; `None`
/// as long as it does not mean to (`/proc/net/tcp`, timer 2 and its time in hundredths of a second).
fn asks_after(is_it: impl Fn(u16, u16) -> bool) -> Option<Duration> {
    #[expect(clippy::disallowed_methods, reason = "the system's own file needs no path in the error")]
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let port = |end: &str| u16::from_str_radix(end.rsplit(':').next().unwrap_or_default(), 16).ok();
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, local, remote, "01", _, timer, ..] = fields[..] else { return None };
        let after = u64::from_str_radix(timer.strip_prefix("02:")?, 16).ok()?;
        is_it(port(local)?, port(remote)?).then(|| Duration::from_millis(after * 10))
    })
}

#[tokio::test]
async fn whoever_is_silent_is_asked_within_a_minute_whether_they_are_there_on_both_sides() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.body().await;
        exchange.send(ENDLESS).await;
        exchange.wire.closed().await;
        None
    });
    let stage = Stage::before(upstream.await).await;
    let (_, _wire) = stage.client().post("/v1/chat/completions", "{}").from(&UserProfile::named("alice")).open().await;
    let ours = crate::wire::address_of(&stage.vestibule).port();
    let theirs: u16 = stage.upstream.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    for (side, is_downstream) in [("the client", true), ("LiteLLM", false)] {
        let is_it = |local, remote| if is_downstream { local == ours } else { remote == theirs };
        let after = crate::support::eventually(side, async || asks_after(is_it)).await;
        assert!(after <= Duration::from_mins(1), "{side}: {after:?}");
    }
}

#[tokio::test]
async fn slow_heads_end_in_time_and_hold_nobody_up() {
    let stage = Stage::with(|setup| setup.with("limits.header_timeout", "1s")).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut wire = stage.client().connect().await;
        wire.send("GET / HTTP/1.1\r\nHost: a.example\r\nX-Slow: ").await;
        slow.push(wire);
    }
    for _ in 0..20 {
        stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    }
    for mut wire in slow {
        wire.answer("GET").await.expect_refusal(408, "header_timeout");
    }
    assert_eq!(stage.upstream.count(), 20);
}

#[tokio::test]
async fn stalled_readers_hold_bounded_memory() {
    const READERS: usize = 100;
    let stage = Stage::of(Upstream::answering(flood).await, |setup| setup.with("workers", 1)).await;
    let request = stage.client().post("/v1/chat/completions", "{}").from(&UserProfile::named("alice"));
    let before = stage.vestibule.memory();
    let mut stalled = Vec::new();
    for _ in 0..READERS {
        stalled.push(request.open().await);
    }
    // The streams stand when the upstream can send no more to any of them.
    let mut sent = 0;
    crate::support::eventually("the streams to stand", async || {
        let now = stage.vestibule.metric("vestibule_in_flight").await;
        let memory = stage.vestibule.memory();
        let stands = usize::try_from(now).is_ok_and(|now| now >= READERS) && memory == sent;
        sent = memory;
        stands.then_some(())
    })
    .await;
    let each = stage.vestibule.memory().saturating_sub(before) / READERS;
    assert!(each <= 160 * 1024, "{each} bytes for each stalled stream");
}

/// An upstream that takes the head of an upload and no more of it, and stays.
async fn taking_nothing() -> Upstream {
    Upstream::answering(|exchange| async move {
        let _stays = exchange;
        std::future::pending().await
    })
    .await
}

/// More than all buffers on the way hold.
const STUCK: usize = 32 * 1024 * 1024;

#[tokio::test]
async fn an_upload_that_nobody_takes_leaves_nothing_behind_its_504() {
    let stage =
        Stage::of(taking_nothing().await, |setup| setup.with("limits.upstream_first_byte_timeout", "300ms")).await;
    let (mut from, mut to) = stage.client().connect().await.split();
    let request = upload(&stage, ("Content-Length", &STUCK.to_string())).bytes();
    let sending = tokio::spawn(async move { to.send([request, vec![b'x'; STUCK]].concat()).await });
    from.answer("POST").await.expect_refusal(504, "upstream_timeout");
    within("the end of the connection", from.closed()).await;
    assert!(!sending.await.expect("it only sends"), "nobody takes the rest");
    crate::support::eventually("its place to be free", async || {
        (stage.vestibule.metric("vestibule_connections").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_nobody_takes_and_whose_client_goes_away_leaves_nothing_behind() {
    let stage = Stage::of(taking_nothing().await, |setup| setup.with("limits.upstream_first_byte_timeout", "1s")).await;
    let (from, mut to) = stage.client().connect().await.split();
    let request = upload(&stage, ("Content-Length", &STUCK.to_string())).bytes();
    let sending = tokio::spawn(async move { to.send([request, vec![b'x'; STUCK]].concat()).await });
    stage.upstream.requests(1).await;
    drop(from);
    sending.abort();
    assert!(sending.await.is_err(), "nobody takes all of it");
    crate::support::eventually("its place to be free", async || {
        (stage.vestibule.metric("vestibule_connections").await == 0).then_some(())
    })
    .await;
}
