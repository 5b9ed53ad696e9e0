//! Clocks that jump, vestibule's own and the database's, under libfaketime: no key more than must be, none for ever. The
//! monotonic clock is left alone, as a system leaves it when its time is set.

use std::path::{Path, PathBuf};

use crate::herd::{calls, count_from_here, stampede, statements};
use crate::support::client::{Request, UserProfile};
use crate::support::db::TestDb;
use crate::support::eventually;
use crate::support::postgres::server::Server;
use crate::support::upstream::Upstream;
use crate::support::vestibule::{Setup, Vestibule, field};

const PEOPLE: usize = 20;

/// The wall clock of a process, which a test moves while it runs.
struct Clock {
    file: PathBuf,
}

// === impl Clock ===

impl Clock {
    fn right(folder: &Path) -> Self {
        let clock = Self { file: folder.join("clock") };
        clock.jump("+0d");
        clock
    }

    /// What has a process go by it.
    fn environment(&self) -> Vec<(String, String)> {
        let library = std::env::var("VESTIBULE_TEST_FAKETIME")
            .expect("libfaketime is missing: `tests/run` installs it where it can, package faketime");
        let file = self.file.display().to_string();
        let pairs = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// Moves it so far from the right time.
    fn jump(&self, offset: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, offset).expect("the folder can be written");
        std::fs::rename(&new, &self.file).expect("both are in one folder");
    }
}

fn everybody(vestibule: &Vestibule) -> Vec<Request> {
    let people = (0..PEOPLE).map(|number| UserProfile::named(&format!("person-{number}")));
    people.map(|person| vestibule.client().get("/v1/models").from(&person)).collect()
}

async fn served(requests: &[Request]) {
    for answer in stampede(requests.to_vec()).await {
        answer.expect_ok();
    }
}

fn made(kind: &str) -> String {
    format!("SELECT count(*) FROM vestibule.audit WHERE event = '{kind}'")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_a_day_to_and_fro_asks_nothing_and_mints_nothing() {
    let (upstream, db) = (Upstream::json().await, TestDb::fresh().await);
    let setup = Setup::new(&upstream.url, db.url()).with("account.refresh", "1h");
    let clock = Clock::right(setup.folder());
    let vestibule = setup.environment(clock.environment()).start().await;
    let requests = everybody(&vestibule);
    served(&requests).await;
    count_from_here(&db).await;
    for (offset, days) in [("+1d", 1), ("-1d", -1), ("+0d", 0)] {
        clock.jump(offset);
        let today = format!("SELECT to_char(now() AT TIME ZONE 'UTC' + interval '{days} days', 'YYYY-MM-DD')");
        eventually("a log line of that day", async || {
            requests[0].send().await.expect_ok();
            let wanted = db.texts(&today).await.remove(0);
            let line = vestibule.log().pop().and_then(|line| serde_json::from_str(&line).ok())?;
            field(&line, "timestamp").starts_with(&wanted).then_some(())
        })
        .await;
        served(&requests).await;
    }
    let asked = statements(&db).await;
    assert_eq!(calls(&asked), 0, "{asked:#?}");
    assert_eq!(upstream.keys().len(), PEOPLE);
    let people = i64::try_from(PEOPLE).expect("small");
    assert_eq!((db.number(&made("session_made")).await, db.number(&made("session_renewed")).await), (people, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_whose_clock_jumps_over_a_keys_end_costs_each_person_one_key_and_none_is_for_ever() {
    let upstream = Upstream::json().await;
    let setup = Setup::new(&upstream.url, "").with("account.refresh", "1s").with("session.life", "24h");
    let clock = Clock::right(setup.folder());
    let server = Server::fresh(clock.environment()).await;
    let db = server.make_db("books").await;
    let vestibule = setup.with("litellm.database_url", db.url()).start().await;
    let requests = everybody(&vestibule);
    served(&requests).await;
    let people = i64::try_from(PEOPLE).expect("small");
    let minted = made("session_made");

    clock.jump("+25h");
    eventually("everybody to have another key", async || {
        served(&requests).await;
        (db.number(&minted).await >= 2 * people).then_some(())
    })
    .await;
    for offset in ["+0d", "-1d", "+0d"] {
        clock.jump(offset);
        let opened = "vestibule_registry_opens_total{result=\"opened\"";
        let before = vestibule.metric(opened).await;
        eventually("everybody to be read again", async || {
            served(&requests).await;
            (vestibule.metric(opened).await >= before + 2 * people).then_some(())
        })
        .await;
    }
    assert_eq!((db.number(&minted).await, db.number(&made("session_renewed")).await), (2 * people, 0));
    assert_eq!(upstream.keys().len(), 2 * PEOPLE);
    let lasting = r#"SELECT count(*) FROM "LiteLLM_VerificationToken"
        WHERE expires IS NULL OR expires > now() AT TIME ZONE 'UTC' + interval '50 hours'"#;
    assert_eq!(db.number(lasting).await, 0, "keys that live on for ever");
}
