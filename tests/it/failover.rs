//! A standby takes the place of the database: real servers, one streaming from the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::support::client::{Client, UserProfile};
use crate::support::db::TestDb;
use crate::support::eventually;
use crate::support::postgres::server::Server;
use crate::support::proxy::Proxy;
use crate::support::upstream::Upstream;
use crate::support::vestibule::{Setup, Vestibule};

/// From the promotion to the first new person.
const LATE: Duration = Duration::from_secs(10);

struct Scene {
    vestibule: Vestibule,
    upstream: Upstream,
    way: Proxy,
    db: TestDb,
    primary: Server,
    standby: Server,
}

/// vestibule before a primary with a standby, which knows all that was written until now.
async fn scene() -> Scene {
    let primary = Server::fresh(Vec::new()).await;
    let db = primary.make_db("books").await;
    let standby = primary.standby().await;
    let (upstream, way) = (Upstream::json().await, Proxy::postgres(db.url()).await);
    let setup = Setup::new(&upstream.url, &db.url_through(way.address)).with("account.refresh", "1s");
    let vestibule = setup.start().await;
    Scene { vestibule, upstream, way, db, primary, standby }
}

impl Scene {
    async fn caught_up(&self) {
        let written = self.db.texts("SELECT pg_current_wal_lsn()::text").await.remove(0);
        let standby = TestDb::at(&self.standby.url("books")).await;
        let has = format!("SELECT (pg_last_wal_replay_lsn() >= '{written}')::int::int8");
        eventually("the standby to have it all", async || (standby.number(&has).await == 1).then_some(())).await;
    }
}

/// One request after the other, until told to end: how many there were.
fn asking(client: &Client, name: &str, end: &Arc<AtomicBool>) -> tokio::task::JoinHandle<u64> {
    let (request, end) = (client.get("/v1/models").from(&UserProfile::named(name)), Arc::clone(end));
    tokio::spawn(async move {
        let mut count = 0;
        while !end.load(Ordering::Relaxed) {
            request.send().await.expect_ok();
            count += 1;
        }
        count
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_promoted_and_whoever_was_known_never_notices() {
    let scene = scene().await;
    let Scene { vestibule, upstream, way, primary, standby, .. } = &scene;
    let request = |name: &str| vestibule.client().get("/v1/models").from(&UserProfile::named(name));
    request("alice").send().await.expect_ok();
    scene.caught_up().await;
    let end = Arc::new(AtomicBool::new(false));
    let alice = asking(&vestibule.client(), "alice", &end);

    primary.stop().await;
    request("bob").send().await.expect_refusal(503, "store_unavailable");
    // The way may lead to the standby before it is one no more: it reads, and takes nothing.
    way.lead_to(&standby.url("books"));
    let degraded = async || {
        let answer = vestibule.readyz().await;
        let is_standby = vestibule.log().iter().any(|line| line.contains("it is a standby"));
        (answer.status == 200 && answer.text().contains("degraded") && is_standby).then_some(())
    };
    eventually("the word that this is a standby", degraded).await;
    request("bob").send().await.expect_refusal(503, "store_unavailable");

    standby.promote().await;
    let promoted = Instant::now();
    eventually("bob to get in", async || (request("bob").send().await.status == 200).then_some(())).await;
    assert!(promoted.elapsed() < LATE, "{:?}", promoted.elapsed());
    eventually("readiness", async || (!vestibule.readyz().await.text().contains("degraded")).then_some(())).await;
    // Past a refresh, so that alice has been read on the new one.
    let waited = vestibule.metric("vestibule_registry_opens_total{result=\"opened\"").await;
    eventually("alice to be read again", async || {
        (vestibule.metric("vestibule_registry_opens_total{result=\"opened\"").await > waited).then_some(())
    })
    .await;
    end.store(true, Ordering::Relaxed);
    assert!(alice.await.expect("alice was served each time") > 10);

    let db = TestDb::at(&standby.url("books")).await;
    assert_eq!((db.user_count().await, db.key_count().await, db.orphan_keys().await), (2, 2, 0));
    assert_eq!(db.number("SELECT count(*) FROM vestibule.session").await, 2);
    assert_eq!(upstream.keys().len(), 2, "one key each, before and after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_standby_never_got_is_made_again() {
    let scene = scene().await;
    let Scene { vestibule, upstream, way, db, primary, standby } = &scene;
    let request = vestibule.client().get("/v1/models").from(&UserProfile::named("carol"));
    scene.caught_up().await;
    let behind = TestDb::at(&standby.url("postgres")).await;
    behind.run("ALTER SYSTEM SET primary_conninfo = ''").await;
    behind.run("SELECT pg_reload_conf()").await;
    let streams = "SELECT count(*) FROM pg_stat_replication";
    eventually("the end of the stream", async || (db.number(streams).await == 0).then_some(())).await;
    request.send().await.expect_ok();
    let lost = upstream.last().head.value("x-litellm-api-key").expect("a key");
    let end = Arc::new(AtomicBool::new(false));
    let carol = asking(&vestibule.client(), "carol", &end);

    primary.stop().await;
    standby.promote().await;
    way.lead_to(&standby.url("books"));
    let db = TestDb::at(&standby.url("books")).await;
    assert_eq!(db.user_count().await, 0, "this is what was lost");
    eventually("another key", async || {
        let key = upstream.last().head.value("x-litellm-api-key").expect("a key");
        (key != lost && db.owner_of(&key).await.as_deref() == Some("carol")).then_some(())
    })
    .await;
    end.store(true, Ordering::Relaxed);
    carol.await.expect("carol was served each time");
    assert_eq!((db.user_count().await, db.key_count().await, db.orphan_keys().await), (1, 1, 0));
    assert_eq!(upstream.keys().len(), 2);
}
