//! The process among other processes: few descriptors, a log that nobody reads, no log at all, no core files.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::support::client::{Client, Person};
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::{Setup, binary, field};
use crate::support::{books::Books, eventually};

/// Ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(setup: &Setup, mut command: Command) -> Process {
    Process(command.arg("serve").arg("--config").arg(setup.write()).spawn().expect("the binary was built"))
}

#[tokio::test]
async fn without_descriptors_it_serves_whom_it_has_and_takes_more_when_there_are_some() {
    const DESCRIPTORS: usize = 128;
    let stage = Stage::with(|setup| setup.with("workers", 1).descriptors(DESCRIPTORS)).await;
    let request = stage.client().get("/v1/models").from(&Person::named("alice"));
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

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    let (upstream, books) = (Upstream::json().await, Books::fresh().await);
    let setup = Setup::new(&upstream.url, books.url()).with("log.level", "debug");
    let mut command = binary();
    command.stderr(Stdio::piped());
    let mut process = serve(&setup, command);
    let mut log = BufReader::new(process.0.stderr.take().expect("it is piped")).lines();
    let address = tokio::task::spawn_blocking(move || {
        let address = log.find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
            (field(&line, "what") == "proxy").then(|| field(&line, "address").parse::<SocketAddr>().ok())?
        });
        // Held, so that the pipe stays open, and never read again.
        (address.expect("it listens"), log)
    });
    let (address, _log) = address.await.expect("the log is read");
    let client = Client::tcp(address);
    let request = client.get("/v1/models").from(&Person::named("alice"));
    eventually("the database to be ready", async || (request.send().await.status == 200).then_some(())).await;
    let mut wire = client.connect().await;
    // Some hundred bytes each: many times what a pipe holds.
    for _ in 0..2000 {
        wire.send(request.bytes()).await;
        wire.answer("GET").await.expect_ok();
    }
}

#[tokio::test]
async fn without_a_place_to_log_to_it_serves() {
    let (upstream, books) = (Upstream::json().await, Books::fresh().await);
    let setup = Setup::new(&upstream.url, books.url()).with("admin", "off").without("trust.peers");
    let socket = setup.folder().join("front.sock");
    let setup = setup.with("listen", format!("unix:{}", socket.display()));
    let mut command = Command::new("sh");
    command.env_clear().arg("-c").arg("exec \"$0\" \"$@\" 2>&-").arg(binary().get_program());
    let _process = serve(&setup, command);
    eventually("its socket", async || socket.exists().then_some(())).await;
    let request = Client::unix(socket.clone()).get("/v1/models").from(&Person::named("alice"));
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
