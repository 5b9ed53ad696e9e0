//! Many at once: one person a thousand times, a thousand people once.

use std::sync::Arc;

use tokio::sync::Barrier;

use crate::support::client::{Answer, Request, UserProfile};
use crate::support::proxy::Proxy;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::Setup;
use crate::support::{PATIENCE, db::TestDb};

const HERD: usize = 1000;

/// Sends all requests at once.
pub(crate) async fn stampede(requests: Vec<Request>) -> Vec<Answer> {
    let barrier = Arc::new(Barrier::new(requests.len()));
    let running: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let barrier = Arc::clone(&barrier);
            tokio::spawn(async move {
                barrier.wait().await;
                request.send().await
            })
        })
        .collect();
    let mut answers = Vec::new();
    for request in running {
        answers.push(request.await.expect("the request is answered"));
    }
    answers
}

/// What opens a session: the statements since the last reset that read or write an account or a key, with their counts. The
/// keeper's looks and its sweep, which come when their time is, and what begins and ends a transaction are left out.
pub(crate) async fn statements(db: &TestDb) -> Vec<String> {
    db.texts(
        "SELECT calls || ' x ' || query FROM pg_stat_statements \
             WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             AND query NOT LIKE '%pg_stat_statements%' AND query NOT LIKE 'WITH over AS%' \
             AND query ~ 'vestibule\"?\\.account|pg_advisory_xact_lock|LiteLLM_' ORDER BY calls DESC",
    )
    .await
}

pub(crate) fn calls(statements: &[String]) -> i64 {
    statements.iter().filter_map(|line| line.split_once(" x ")?.0.parse::<i64>().ok()).sum()
}

pub(crate) async fn count_from_here(db: &TestDb) {
    db.run("CREATE EXTENSION IF NOT EXISTS pg_stat_statements").await;
    let own = "(SELECT oid FROM pg_database WHERE datname = current_database())";
    db.run(&format!("SELECT pg_stat_statements_reset(0, {own}, 0)")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_first_requests_of_one_person_make_one_row_and_one_key() {
    let stage = Stage::plain().await;
    let second = stage.setup.start().await;
    count_from_here(&stage.db).await;
    let alice = UserProfile::named("alice");
    let clients = [stage.client(), second.client()];
    let answers =
        stampede((0..HERD).map(|number| clients[number % 2].post("/v1/chat/completions", "{}").from(&alice)).collect())
            .await;
    for answer in &answers {
        answer.expect_ok();
    }
    let statements = statements(&stage.db).await;
    assert_eq!((stage.db.user_count().await, stage.db.key_count().await), (1, 1));
    assert_eq!(stage.upstream.count(), HERD);
    assert_eq!(stage.upstream.keys().len(), 1, "one key");
    // Two processes look, take the lock and look again; one of them finds nobody and writes, once.
    assert!(calls(&statements) <= 12, "{} statements for {HERD} requests: {statements:#?}", calls(&statements));
    for table in ["LiteLLM_UserTable", "LiteLLM_VerificationToken"] {
        let inserts: Vec<_> =
            statements.iter().filter(|line| line.contains(&format!("INTO \"public\".\"{table}\""))).cloned().collect();
        assert_eq!(calls(&inserts), 1, "{inserts:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_different_people_make_a_thousand_rows() {
    // They queue for the database; how long that takes is a benchmark's business.
    let stage =
        Stage::with(|setup| setup.with("database.connect_timeout", "40s").with("database.statement_timeout", "40s"))
            .await;
    let second = stage.setup.start().await;
    let clients = [stage.client(), second.client()];
    let requests = (0..HERD)
        .map(|number| clients[number % 2].get("/v1/models").from(&UserProfile::named(&format!("person-{number}"))));
    for answer in stampede(requests.collect()).await {
        answer.expect_ok();
    }
    let count = i64::try_from(HERD).expect("small");
    assert_eq!((stage.db.user_count().await, stage.db.key_count().await), (count, count));
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.account").await, count);
    assert_eq!(stage.db.orphan_keys().await, 0);
    assert_eq!(stage.upstream.keys().len(), HERD);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_slot_never_waits_for_the_database() {
    let db = TestDb::fresh().await;
    let upstream = Upstream::json().await;
    let database = Proxy::postgres(db.url()).await;
    let vestibule = Setup::new(&upstream.url, &db.url_through(database.address)).start().await;
    let request = vestibule.client().get("/v1/models").from(&UserProfile::named("alice"));
    request.send().await.expect_ok();
    let waited = vestibule.metric("vestibule_slots_total{state=\"waited\"").await;
    let fresh = vestibule.metric("vestibule_slots_total{state=\"fresh\"").await;
    // Were one of these to ask the database, it would wait until it is given up.
    database.stall();
    for answer in stampede(vec![request.clone(); 200]).await {
        answer.expect_ok();
    }
    assert_eq!(vestibule.metric("vestibule_slots_total{state=\"waited\"").await, waited);
    assert_eq!(vestibule.metric("vestibule_slots_total{state=\"fresh\"").await, fresh + 200);
    database.pass();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_slot_is_served_while_it_is_read_again() {
    let db = TestDb::fresh().await;
    let upstream = Upstream::json().await;
    let database = Proxy::postgres(db.url()).await;
    let setup = Setup::new(&upstream.url, &db.url_through(database.address)).with("account.refresh", "1s");
    let vestibule = setup.start().await;
    let request = vestibule.client().get("/v1/models").from(&UserProfile::named("alice"));
    request.send().await.expect_ok();
    database.stall();
    let waited = vestibule.metric("vestibule_slots_total{state=\"waited\"").await;
    tokio::time::timeout(PATIENCE, async {
        while vestibule.metric("vestibule_slots_total{state=\"stale\"").await < 1 {
            request.send().await.expect_ok();
        }
    })
    .await
    .expect("the slot becomes stale within its second");
    assert_eq!(vestibule.metric("vestibule_slots_total{state=\"waited\"").await, waited);
    database.pass();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_can_start_at_once_on_an_empty_database() {
    let db = TestDb::fresh().await;
    let upstream = Upstream::json().await;
    let setup = Setup::new(&upstream.url, db.url());
    let (first, second, third) = tokio::join!(setup.start(), setup.start(), setup.start());
    for replica in [&first, &second, &third] {
        replica.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    }
    assert_eq!((db.user_count().await, db.key_count().await, upstream.keys().len()), (1, 1, 1));
}
