//! `kill -9` in the middle of a first sight: the next process heals what the last one left.

use crate::support::client::UserProfile;
use crate::support::db::TestDb;
use crate::support::proxy::{Hold, Proxy};
use crate::support::upstream::Upstream;
use crate::support::vestibule::Setup;

/// More messages than a first sight can take; reaching it is a failure of the test.
const MOST: usize = 200;

/// Kills a process at each place that `hold` counts, until a first sight passes without reaching it.
async fn kill_at_each(hold: impl Fn(usize) -> Hold) -> usize {
    let db = TestDb::fresh().await;
    let upstream = Upstream::json().await;
    let proxy = Proxy::postgres(db.url()).await;
    let setup = Setup::new(&upstream.url, &db.url_through(proxy.address)).with("database.pool", 2);
    let witness = Setup::new(&upstream.url, db.url()).start().await;
    for number in 1..MOST {
        let vestibule = setup.start().await;
        let name = format!("person-{number}");
        let request = vestibule.client().get("/v1/models").from(&UserProfile::named(&name));
        proxy.hold(hold(number));
        let mut asking = tokio::spawn(async move {
            let mut wire = vestibule.client().connect().await;
            wire.send(request.bytes()).await;
            let head = wire.read_head().await;
            (vestibule, head)
        });
        tokio::select! {
            () = proxy.held() => {}
            result = &mut asking => {
                let (_vestibule, head) = result.expect("the request is answered");
                assert_eq!(head.map(|head| head.status()), Some(200), "a first sight that nothing held");
                return number;
            }
        }
        // Dropping what waits for the answer kills the process with SIGKILL.
        asking.abort();
        let _ = asking.await;
        proxy.release();
        assert_eq!(db.orphan_keys().await, 0, "killed at {number} of {:#?}", proxy.statements());
        let answer = witness.client().get("/v1/models").from(&UserProfile::named(&name)).send().await;
        assert_eq!(answer.status, 200, "after a kill at {number} of {:#?}: {}", proxy.statements(), answer.text());
        let people = i64::try_from(number).expect("small");
        assert_eq!((db.user_count().await, db.key_count().await), (people, people), "killed at {number}");
        let key = upstream.last().head.value("x-litellm-api-key").expect("a key");
        assert_eq!(db.owner_of(&key).await, Some(name), "killed at {number}");
    }
    panic!("a first sight takes fewer than {MOST} messages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_any_message_of_a_first_sight_heals() {
    let messages = kill_at_each(Hold::Message).await;
    assert!(messages > 5, "{messages} messages cannot be a whole first sight");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_any_answer_of_a_first_sight_heals() {
    let answers = kill_at_each(Hold::Answer).await;
    assert!(answers > 3, "{answers} answers cannot be a whole first sight");
}
