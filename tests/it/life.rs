//! The process among other processes: few descriptors, a log that nobody reads, no log at all, no core files.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{ChildStderr, Command, Stdio};

use crate::support::client::{Client, UserProfile};
use crate::support::process::Process;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::{Setup, binary, field};
use crate::support::{Gate, db::TestDb, eventually, within};

fn serve(setup: &Setup, mut command: Command) -> Process {
    Process(command.arg("serve").arg("--config").arg(setup.write()).spawn().expect("the binary was built"))
}

#[tokio::test]
async fn without_descriptors_it_serves_whom_it_has_and_takes_more_when_there_are_some() {
    const DESCRIPTORS: usize = 128;
    let stage = Stage::with(|setup| setup.with("workers", 1).descriptors(DESCRIPTORS)).await;
    let request = stage.client().get("/v1/models").from(&UserProfile::named("alice"));
    let mut kept = stage.client().connect().await;
    kept.send(request.bytes()).await;
    kept.answer("GET").await.expect_ok();
    let mut crowd = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        crowd.push(stage.client().connect().await);
    }
    stage
        .vestibule
        .line("the word that there are none left", |line| {
            (field(line, "message") == "can't accept a connection").then_some(())
        })
        .await;
    for _ in 0..50 {
        kept.send(request.bytes()).await;
        kept.answer("GET").await.expect_ok();
    }
    drop(crowd);
    for _ in 0..50 {
        request.send().await.expect_ok();
    }
    let refused = stage.vestibule.log().iter().filter(|line| line.contains("can't accept a connection")).count();
    assert!(refused < 1000, "it tries again now and then, not all the time: {refused} times");
}

/// A process whose log is read until it listens and then never again, with its admin and its proxy address. The log is held so
/// that the pipe stays open.
async fn unread(setup: &Setup) -> (Process, [SocketAddr; 2], Lines<BufReader<ChildStderr>>) {
    let mut command = binary();
    command.stderr(Stdio::piped());
    let mut process = serve(setup, command);
    let mut log = BufReader::new(process.0.stderr.take().expect("it is piped")).lines();
    let reading = tokio::task::spawn_blocking(move || {
        let addresses = ["admin", "proxy"].map(|what| {
            let address = log.find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
                (field(&line, "what") == what).then(|| field(&line, "address").parse::<SocketAddr>().ok())?
            });
            address.unwrap_or_else(|| panic!("it listens: {what}"))
        });
        (addresses, log)
    });
    let (addresses, log) = reading.await.expect("the log is read");
    (process, addresses, log)
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    let (upstream, db) = (Upstream::json().await, TestDb::fresh().await);
    let setup = Setup::new(&upstream.url, db.url()).with("log.level", "debug");
    let (_process, [_, address], _log) = unread(&setup).await;
    let client = Client::tcp(address);
    let request = client.get("/v1/models").from(&UserProfile::named("alice"));
    eventually("the database to be ready", async || (request.send().await.status == 200).then_some(())).await;
    let mut wire = client.connect().await;
    // Some hundred bytes each: many times what a pipe holds.
    for _ in 0..2000 {
        wire.send(request.bytes()).await;
        wire.answer("GET").await.expect_ok();
    }
}

#[tokio::test]
async fn lines_of_a_log_that_nobody_reads_are_counted_and_the_end_does_not_wait_for_them() {
    const LINE: usize = 7000;
    const LINES_MAX: usize = (16 << 20) / LINE;
    let (upstream, db) = (Upstream::json().await, TestDb::fresh().await);
    let (mut process, [admin, address], _log) = unread(&Setup::new(&upstream.url, db.url())).await;
    let request = Client::tcp(address).get(&format!("/{}", "x".repeat(LINE)));
    let mut wire = Client::tcp(address).connect().await;
    let dropped = async || {
        let page = Client::tcp(admin).get("/metrics").send().await.text();
        let count = page.lines().find_map(|line| line.strip_prefix("vestibule_log_lines_dropped_total "));
        count.expect("it is counted").parse::<usize>().expect("a number")
    };
    let mut sent = 0;
    while dropped().await == 0 {
        for _ in 0..50 {
            wire.send(request.bytes()).await;
            wire.answer("GET").await.expect_refusal(401, "no_identity");
        }
        sent += 50;
        assert!(sent < LINES_MAX, "some find no room");
    }
    assert!(dropped().await <= 100, "as long as there is room they wait");
    let terminated = Command::new("kill").arg(process.0.id().to_string()).status().expect("there is a kill command");
    assert!(terminated.success());
    let ended = async || process.0.try_wait().expect("it is our child");
    assert!(eventually("the process to end", ended).await.success());
}

#[tokio::test]
async fn the_last_lines_are_written_before_it_ends() {
    const REQUESTS: usize = 300;
    let mut stage = Stage::plain().await;
    let request = stage.client().get("/v1/models").from(&UserProfile::named("alice"));
    let mut wire = stage.client().connect().await;
    for _ in 0..REQUESTS {
        wire.send(request.bytes()).await;
        wire.answer("GET").await.expect_ok();
    }
    stage.vestibule.terminate();
    assert!(stage.vestibule.wait().await.success());
    let lines = stage.vestibule.request_lines(REQUESTS).await;
    assert_eq!(lines.len(), REQUESTS);
    assert!(lines.is_sorted_by_key(|line| field(line, "timestamp")), "one connection's are in order");
}

#[tokio::test]
async fn a_level_leaves_the_lines_of_requests_out_and_no_others() {
    let mut stage = Stage::with(|setup| setup.with("log.level", "info,vestibule::access=off")).await;
    stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    stage.vestibule.terminate();
    assert!(stage.vestibule.wait().await.success());
    let line = |wanted: &'static str| move |line: &serde_json::Value| (field(line, "event") == wanted).then_some(());
    stage.vestibule.line("the audit's line", line("session_made")).await;
    let requests = stage.vestibule.log().into_iter().filter(|line| line.contains("vestibule::access"));
    assert_eq!(requests.count(), 0);
}

#[tokio::test]
async fn without_a_place_to_log_to_it_serves() {
    let (upstream, db) = (Upstream::json().await, TestDb::fresh().await);
    let setup = Setup::new(&upstream.url, db.url()).with("admin", "off").without("trust.peers");
    let socket = setup.folder().join("front.sock");
    let setup = setup.with("listen", format!("unix:{}", socket.display()));
    let mut command = Command::new("sh");
    command.env_clear().arg("-c").arg("exec \"$0\" \"$@\" 2>&-").arg(binary().get_program());
    let _process = serve(&setup, command);
    // A socket is there before anybody listens at it.
    eventually("its socket", async || tokio::net::UnixStream::connect(&socket).await.ok()).await;
    let request = Client::unix(socket.clone()).get("/v1/models").from(&UserProfile::named("alice"));
    eventually("an answer", async || (request.send().await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn it_leaves_no_core_file_and_raises_its_descriptors() {
    let stage = Stage::plain().await;
    let limits = stage.vestibule.proc("limits");
    let of = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("{name}: {limits}"));
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of("Max core file size"), ["0", "0"]);
    let descriptors = of("Max open files");
    assert_eq!(descriptors[0], descriptors[1], "as many as it may have");
    assert_eq!(stage.vestibule.metric("vestibule_log_lines_dropped_total").await, 0);
    assert!(stage.vestibule.metrics().await.contains_key("vestibule_log_lines_dropped_total"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_that_come_to_nothing_leave_nothing_behind() {
    const CONNECTIONS: usize = 10_000;
    const AT_ONCE: usize = 50;
    let stage = Stage::plain().await;
    let request = stage.client().get("/v1/models").from(&UserProfile::named("alice"));
    request.send().await.expect_ok();
    let open = async || stage.vestibule.metric("vestibule_connections").await;
    let before = open().await;
    let mut visits = tokio::task::JoinSet::new();
    for number in 0..AT_ONCE {
        let client = stage.client();
        visits.spawn(async move {
            for _ in 0..CONNECTIONS / AT_ONCE {
                let mut wire = client.connect().await;
                match number % 3 {
                    // A door that is opened and closed; half a head; the greeting of TLS.
                    0 => true,
                    1 => wire.send("GET /v1/models HTTP/1.1\r\nHost:").await,
                    _ => wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await,
                };
            }
        });
    }
    // Whoever means it is served among them.
    while visits.try_join_next().is_some() || !visits.is_empty() {
        request.send().await.expect_ok();
    }
    eventually("the connections to be gone", async || (open().await <= before).then_some(())).await;
    assert_eq!(stage.upstream.seen().iter().filter(|seen| !seen.head.line.contains("/v1/models")).count(), 0);
}

#[tokio::test]
async fn a_stream_outlives_its_key_and_the_next_request_has_a_fresh_one() {
    let gate = Gate::closed();
    let passing = gate.clone();
    let upstream = Upstream::answering(move |mut exchange| {
        let gate = passing.clone();
        async move {
            if !exchange.head.line.contains("/stream") {
                return exchange.json("{}").await;
            }
            exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            exchange.send_chunk("before").await;
            gate.pass().await;
            exchange.send_chunk("after").await;
            exchange.send("0\r\n\r\n").await.then_some(exchange)
        }
    });
    let stage = Stage::of(upstream.await, |setup| setup.with("account.refresh", "1s")).await;
    let alice = UserProfile::named("alice");
    let (_, mut stream) = stage.client().get("/stream").from(&alice).open().await;
    assert_eq!(within("the first chunk", stream.read_chunk()).await, Ok(Some(b"before".to_vec())));
    stage.db.run("UPDATE vestibule.session SET expires_at = now() - interval '1 second'").await;
    stage.db.run("UPDATE \"LiteLLM_VerificationToken\" SET expires = now() AT TIME ZONE 'UTC'").await;
    eventually("another key", async || {
        stage.client().get("/v1/models").from(&alice).send().await.expect_ok();
        (stage.upstream.keys().len() == 2).then_some(())
    })
    .await;
    gate.open();
    assert_eq!(within("the second chunk", stream.read_chunk()).await, Ok(Some(b"after".to_vec())));
    assert_eq!(within("the end", stream.read_chunk()).await, Ok(None));
}
