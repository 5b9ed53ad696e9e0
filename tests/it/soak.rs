//! A long run under load with a fault every minute: nothing may grow. By hand: `tests/run --long`.

#![expect(clippy::cast_precision_loss, reason = "figures of a few digits")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::support::client::{Client, UserProfile};
use crate::support::db::TestDb;
use crate::support::proxy::Proxy;
use crate::support::upstream::Upstream;
use crate::support::vestibule::{Setup, Vestibule};

const CLIENTS: u64 = 28;
/// Of each client: 560 requests a second are offered, so that 500 come through where a fault holds some of them.
const EVERY: Duration = Duration::from_millis(50);
const PEOPLE: u64 = 50;
const FAULT_EVERY: Duration = Duration::from_mins(1);
const FAULT_LASTS: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Tally {
    served: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
}

/// What is looked at again and again.
struct Look {
    hours: f64,
    mebibytes: f64,
    descriptors: f64,
    rows: f64,
}

/// How long: an hour, or what `tests/run --long SECONDS` says.
fn length() -> Duration {
    let seconds = std::env::var("VESTIBULE_TEST_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3600))
}

async fn load(client: Client, number: u64, tally: Arc<Tally>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut turn = number;
    loop {
        let mut wire = client.connect().await;
        loop {
            ticks.tick().await;
            turn += 1;
            let person = UserProfile::named(&format!("p{}", turn % PEOPLE));
            let request = client.post("/v1/chat/completions", r#"{"stream":false}"#).from(&person);
            if !wire.send(request.bytes()).await {
                break;
            }
            let Ok(Some(head)) = timeout(Duration::from_secs(20), wire.read_head()).await else {
                tally.broken.fetch_add(1, Ordering::Relaxed);
                break;
            };
            let body = wire.read_body(head.answer_framing("POST")).await;
            let count = if head.status() == 200 { &tally.served } else { &tally.refused };
            count.fetch_add(1, Ordering::Relaxed);
            if !body.complete || head.values("connection").iter().any(|value| value == "close") {
                break;
            }
        }
    }
}

/// One fault after another, a minute apart.
async fn faults(vestibule: &Vestibule, database: &Proxy, is_upstream_bad: &AtomicBool) {
    let mut ticks = interval(FAULT_EVERY);
    ticks.tick().await;
    for number in 0_u64.. {
        ticks.tick().await;
        match number % 6 {
            0 => database.cut(),
            1 => database.stall(),
            2 => database.dribble(),
            3 => is_upstream_bad.store(true, Ordering::Relaxed),
            4 => vestibule.hangup(),
            _ => {
                // Half a head, half an upload, and gone.
                for bytes in ["GET / HTTP/1.1\r\nHost: a", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"] {
                    for _ in 0..50 {
                        let mut wire = vestibule.client().connect().await;
                        wire.send(bytes).await;
                        wire.reset();
                    }
                }
            }
        }
        tokio::time::sleep(FAULT_LASTS).await;
        database.pass();
        is_upstream_bad.store(false, Ordering::Relaxed);
    }
}

async fn looks(vestibule: &Vestibule, db: &TestDb, until: Instant) -> Vec<Look> {
    let (begin, mut ticks, mut looks) = (Instant::now(), interval(LOOK_EVERY), Vec::new());
    while Instant::now() < until {
        ticks.tick().await;
        let rows =
            "SELECT (SELECT count(*) FROM vestibule.session) + (SELECT count(*) FROM \"LiteLLM_VerificationToken\")";
        looks.push(Look {
            hours: begin.elapsed().as_secs_f64() / 3600.0,
            mebibytes: vestibule.memory() as f64 / 1_048_576.0,
            descriptors: vestibule.open_files() as f64,
            rows: db.number(rows).await as f64,
        });
    }
    looks
}

/// Per hour, by least squares over what follows the first third.
fn slope(looks: &[Look], value: impl Fn(&Look) -> f64) -> f64 {
    let looks = &looks[looks.len() / 3..];
    let count = looks.len() as f64;
    let mean = |of: &dyn Fn(&Look) -> f64| looks.iter().map(of).sum::<f64>() / count;
    let (hours, level) = (mean(&|look| look.hours), mean(&value));
    let covariance: f64 = looks.iter().map(|look| (look.hours - hours) * (value(look) - level)).sum();
    covariance / looks.iter().map(|look| (look.hours - hours).powi(2)).sum::<f64>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes an hour: tests/run --long"]
async fn an_hour_of_load_and_faults_leaves_no_slope() {
    let is_upstream_bad = Arc::new(AtomicBool::new(false));
    let bad = Arc::clone(&is_upstream_bad);
    let upstream = Upstream::forgetful(move |exchange| {
        let is_bad = bad.load(Ordering::Relaxed);
        async move { if is_bad { None } else { exchange.json(r#"{"ok":true}"#).await } }
    })
    .await;
    let db = TestDb::fresh().await;
    let database = Proxy::postgres(db.url()).await;
    let setup = Setup::new(&upstream.url, &db.url_through(database.address))
        .with("log.level", "warn,vestibule::server=info")
        .with("account.refresh", "5s");
    let vestibule = setup.start().await;
    let tally = Arc::new(Tally::default());
    let running: Vec<_> =
        (0..CLIENTS).map(|number| tokio::spawn(load(vestibule.client(), number, Arc::clone(&tally)))).collect();
    let looks = tokio::select! {
        looks = looks(&vestibule, &db, Instant::now() + length()) => looks,
        () = faults(&vestibule, &database, &is_upstream_bad) => unreachable!("faults never end"),
    };
    running.iter().for_each(tokio::task::JoinHandle::abort);
    let [memory, descriptors, rows] =
        [slope(&looks, |look| look.mebibytes), slope(&looks, |look| look.descriptors), slope(&looks, |look| look.rows)];
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let last = looks.last().expect("there was time to look");
    let report = format!(
        "{} s: {} served, {} refused, {} broken; at the end {:.1} MiB, {} files, {} rows; \
         an hour adds {memory:.2} MiB, {descriptors:.2} files, {rows:.2} rows",
        length().as_secs(),
        of(&tally.served),
        of(&tally.refused),
        of(&tally.broken),
        last.mebibytes,
        last.descriptors,
        last.rows
    );
    #[expect(clippy::print_stdout, reason = "the figures are what the run is for")]
    {
        println!("{report}");
    }
    assert!(of(&tally.served) > length().as_secs() * 300, "{report}");
    assert!(memory < 8.0 && descriptors.abs() < 30.0 && rows.abs() < 20.0, "{report}");
}
