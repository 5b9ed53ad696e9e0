use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Semaphore;

use super::*;
use crate::config::{Rules, Terms};
use crate::identity::rules::RoleMapper;
use crate::secret::{SessionKind, nonce};
use crate::store::audit::Denial;
use crate::store::{StoreFuture, SweepReport};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const AGES: Ages =
    Ages { refresh: Duration::from_secs(30), offline_grace: Duration::from_mins(5), cache_ttl: Duration::from_mins(1) };

/// Told this, the store panics.
const PANIC: &str = "panic";

/// A store that answers as told, and only when it is let.
struct Told {
    opens: Mutex<usize>,
    answers: Mutex<VecDeque<Result<Option<Duration>, StoreError>>>,
    gate: Semaphore,
}

impl Store for Told {
    fn open<'a>(&'a self, person: &'a UserProfile, _: &'a Terms) -> StoreFuture<'a, OpenedSession> {
        *self.opens.lock().unwrap() += 1;
        Box::pin(async {
            self.gate.acquire().await.unwrap().forget();
            let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Ok(None));
            assert!(!matches!(&answer, Err(StoreError::NotReady(why)) if why == PANIC), "as told");
            let lowered_ago = answer?;
            let secrets = SessionSecrets::parse(&SECRET.to_owned().into()).unwrap();
            let nonce = nonce().unwrap();
            let key = secrets.session_key(secrets.current().as_str(), SessionKind::Api, "acc", &nonce).unwrap();
            let session_id = key.token();
            let expires_in = Duration::from_hours(24);
            let account_id = "acc".to_owned();
            let user_id = person.subject.clone();
            Ok(OpenedSession { account_id, user_id, lowered_ago, session_id, key, expires_in, role: None, ui: vec![] })
        })
    }

    fn prepare(&self) -> StoreFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn sweep(&self) -> StoreFuture<'_, SweepReport> {
        Box::pin(async { Ok(SweepReport::default()) })
    }

    fn record_denials<'a>(&'a self, _: &'a [Denial]) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

fn told(answers: impl IntoIterator<Item = Result<Option<Duration>, StoreError>>) -> (Arc<Told>, Sessions) {
    let told = Arc::new(Told {
        opens: Mutex::new(0),
        answers: Mutex::new(answers.into_iter().collect()),
        gate: Semaphore::new(1000),
    });
    let secrets = SessionSecrets::parse(&SECRET.to_owned().into()).unwrap();
    let sessions = Sessions::new(
        told.clone(),
        tokio::runtime::Handle::current(),
        AGES,
        100,
        secrets,
        Arc::new(Metrics::default()),
    );
    (told, sessions)
}

fn somebody(email: &str) -> (Identity, RoleMapping) {
    let identity = Identity::of(UserProfile {
        issuer: "default".into(),
        subject: "alice".into(),
        email: Some(email.to_owned()),
        preferred_username: None,
        first_name: None,
        last_name: None,
        display_name: None,
        picture: None,
        provider: "test".into(),
        groups: vec![],
    });
    let rules = Rules {
        deny: vec![],
        allow: vec![],
        rules: vec![],
        default_role: Some(crate::litellm::role::Role::InternalUser),
    };
    let mapping = RoleMapper::new(rules).map(&identity).unwrap();
    (identity, mapping)
}

fn away() -> StoreError {
    StoreError::Unavailable("away".into())
}

fn code<T>(result: Result<T, Refusal>) -> Option<Code> {
    result.err().map(|refusal| refusal.code())
}

#[tokio::test]
async fn a_panic_behind_a_request_refuses_that_one_and_no_other() {
    let (_, sessions) = told([Err(StoreError::NotReady(PANIC.into()))]);
    let (identity, mapping) = somebody("a@b");
    assert_eq!(code(sessions.open(&identity, &mapping).await), Some(Code::StoreUnavailable));
    assert!(sessions.open(&identity, &mapping).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_first_requests_are_one_flight_and_one_key() {
    let (told, sessions) = told([]);
    let (identity, mapping) = somebody("a@b");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (sessions, identity, mapping) = (sessions.clone(), identity.clone(), mapping.clone());
        tasks
            .spawn(async move { sessions.open(&identity, &mapping).await.unwrap().snapshot.opened.session_id.clone() });
    }
    let keys: std::collections::BTreeSet<_> = tasks.join_all().await.into_iter().collect();
    assert_eq!((keys.len(), *told.opens.lock().unwrap()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_fresh_slot_asks_nothing_and_an_aging_one_asks_behind_the_request() {
    let (told, sessions) = told([]);
    let (identity, mapping) = somebody("a@b");
    sessions.open(&identity, &mapping).await.unwrap();
    // From here the store does not answer: whatever waits for it would hang.
    told.gate.forget_permits(1000);
    tokio::time::advance(Duration::from_secs(14)).await;
    sessions.open(&identity, &mapping).await.unwrap();
    assert_eq!(*told.opens.lock().unwrap(), 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    sessions.open(&identity, &mapping).await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(*told.opens.lock().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_block_made_elsewhere_holds_within_one_refresh() {
    let (_, sessions) = told([Ok(None), Err(StoreError::Blocked { user_id: "alice".into() })]);
    let (identity, mapping) = somebody("a@b");
    sessions.open(&identity, &mapping).await.unwrap();
    tokio::time::advance(AGES.refresh).await;
    assert_eq!(code(sessions.open(&identity, &mapping).await), Some(Code::AccountBlocked));
    assert_eq!(code(sessions.open(&identity, &mapping).await), Some(Code::AccountBlocked));
}

#[tokio::test(start_paused = true)]
async fn known_people_are_served_for_the_grace_and_new_ones_not() {
    let (told, sessions) = told([Ok(None), Err(away()), Err(away()), Err(away()), Err(away())]);
    let (identity, mapping) = somebody("a@b");
    sessions.open(&identity, &mapping).await.unwrap();
    tokio::time::advance(Duration::from_mins(4)).await;
    sessions.open(&identity, &mapping).await.unwrap();
    let (changed, _) = somebody("new@b");
    assert_eq!(code(sessions.open(&changed, &mapping).await), Some(Code::StoreUnavailable));
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(code(sessions.open(&identity, &mapping).await), Some(Code::StoreUnavailable));
    told.answers.lock().unwrap().clear();
    sessions.open(&identity, &mapping).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_registry_costs_a_known_person_one_short_wait() {
    let (told, sessions) = told([]);
    let (identity, mapping) = somebody("a@b");
    sessions.open(&identity, &mapping).await.unwrap();
    told.gate.forget_permits(1000);
    tokio::time::advance(AGES.refresh).await;
    let before = Instant::now();
    sessions.open(&identity, &mapping).await.unwrap();
    assert!(before.elapsed() >= STALE_WAIT && before.elapsed() < STALE_WAIT * 2);
    tokio::time::advance(Duration::from_millis(10)).await;
    let before = Instant::now();
    sessions.open(&identity, &mapping).await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_lowered_role_settles_for_litellms_cache_time() {
    let (_, sessions) = told([Ok(Some(Duration::from_secs(20)))]);
    let (identity, mapping) = somebody("a@b");
    let session = sessions.open(&identity, &mapping).await.unwrap();
    assert_eq!(session.settling(), (AGES.cache_ttl + SETTLE_MARGIN).checked_sub(Duration::from_secs(20)));
    tokio::time::advance(Duration::from_secs(42)).await;
    assert_eq!(session.settling(), None);
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_is_replaced_once_a_minute_at_most() {
    let (told, sessions) = told([]);
    let (identity, mapping) = somebody("a@b");
    let first = sessions.open(&identity, &mapping).await.unwrap();
    let second = sessions.renew(&first).await.unwrap().unwrap();
    assert_ne!(first.snapshot.opened.session_id, second.snapshot.opened.session_id);
    // Another request that still had the first key gets the second without a further one being made.
    let again = sessions.renew(&first).await.unwrap().unwrap();
    assert_eq!(again.snapshot.opened.session_id, second.snapshot.opened.session_id);
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(sessions.renew(&second).await.unwrap().is_none());
    assert_eq!(*told.opens.lock().unwrap(), 2);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(sessions.renew(&second).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn places_in_flight_are_given_back() {
    let (_, sessions) = told([]);
    let (identity, mapping) = somebody("a@b");
    let session = sessions.open(&identity, &mapping).await.unwrap();
    let first = session.enter(1);
    assert!(first.is_some() && session.enter(1).is_none());
    drop(first);
    assert!(session.enter(1).is_some());
}
