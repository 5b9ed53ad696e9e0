//! Users' accounts and keys in memory: one slot a user, so that a known user's request waits for nothing.
//!
//! A slot holds a snapshot of what the store last returned for a user, and the fingerprint of the identity and mapping that
//! it was asked with. Same fingerprint and fresh: no wait, no query. Another fingerprint, or no snapshot: the request waits
//! for one query of the store (a pending read), which all requests of the same fingerprint share. It is a task of its
//! own: a client that goes away does not cut a transaction short.
//!
//! Ages, with `refresh` as configured: from half of it a read runs in the background, from the whole of it requests wait
//! for the read, so that a block made elsewhere holds within `refresh`. They wait [`STALE_WAIT`] at most: when the
//! store does not answer, users last read within `offline_grace` are served from memory.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use quick_cache::Equivalent;
use quick_cache::sync::Cache;
use tokio::sync::watch;
use tokio::time::Instant;

use super::browser::Browser;
use super::slot::{InFlight, Look, Slot};
use crate::identity::read::Identity;
use crate::identity::rules::RoleMapping;
use crate::litellm::credentials::KeyHeaders;
use crate::refusal::{Code, Refusal};
use crate::request_info::Route;
use crate::secret::SessionSecrets;
use crate::store::{OpenedSession, Store, StoreError, UserProfile};
use crate::telemetry::logs::chain;
use crate::telemetry::metrics::{Metrics, SlotState};

/// Longest wait for a read of a user who is known and within the grace.
pub(super) const STALE_WAIT: Duration = Duration::from_millis(250);
/// What clients are told to wait while the store is away.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Added to LiteLLM's cache time: its entry may be made just after our write was committed, from a read just before.
const SETTLE_MARGIN: Duration = Duration::from_secs(2);

/// A user's account and key, for one request. [`Sessions::open`] makes a user's first, of an identity and a
/// mapping; every other is made of one.
#[derive(Clone)]
pub struct Session {
    pub(super) slot: Arc<Slot>,
    pub(super) snapshot: Arc<Snapshot>,
    /// Which of the user's browsers it is; `None` for a program.
    pub(super) browser: Option<usize>,
}

/// What the store returned for a user, and what it was asked with.
pub(super) struct Snapshot {
    pub(super) fingerprint: u64,
    pub(super) profile: UserProfile,
    pub(super) mapping: RoleMapping,
    pub(super) opened: OpenedSession,
    key: KeyHeaders,
    pub(super) browsers: Vec<Browser>,
    pub(super) read_at: Instant,
    settles_at: Option<Instant>,
}

/// The slots of all users.
#[derive(Clone)]
pub struct Sessions {
    pub(super) shared: Arc<SessionCache>,
}

/// Times that decide how a slot is used.
#[derive(Debug, Clone)]
pub struct Ages {
    /// How old a snapshot may be.
    pub refresh: Duration,
    /// How long it serves while the store is away.
    pub offline_grace: Duration,
    /// LiteLLM's cache time; zero turns the settling off.
    pub cache_ttl: Duration,
}

pub(super) struct SessionCache {
    slots: Cache<UserKey, Arc<Slot>>,
    pub(super) store: Arc<dyn Store>,
    /// The runtime that owns the store; pending reads run there.
    pub(super) runtime: tokio::runtime::Handle,
    ages: Ages,
    pub(super) secrets: SessionSecrets,
    hasher: RandomState,
    pub(super) metrics: Arc<Metrics>,
}

pub(super) type ReadOutcome = Result<Arc<Snapshot>, Arc<StoreError>>;
pub(super) type ReadReceiver = watch::Receiver<Option<ReadOutcome>>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct UserKey {
    issuer: Arc<str>,
    subject: String,
}

#[derive(Hash)]
struct UserRef<'a> {
    issuer: &'a str,
    subject: &'a str,
}

impl Equivalent<UserKey> for UserRef<'_> {
    fn equivalent(&self, key: &UserKey) -> bool {
        *self.issuer == *key.issuer && self.subject == key.subject
    }
}

// === impl Session ===

impl Session {
    pub(super) fn of(slot: &Arc<Slot>, snapshot: Arc<Snapshot>) -> Self {
        Self { slot: slot.clone(), snapshot, browser: None }
    }

    /// The key, in the forms in which it goes to LiteLLM.
    pub fn key(&self) -> &KeyHeaders {
        self.browser().map_or(&self.snapshot.key, |browser| &browser.key)
    }

    /// A stable name for logs that says nothing of the user.
    pub fn pseudonym(&self) -> &Arc<str> {
        &self.slot.pseudonym
    }

    /// LiteLLM's `user_id`.
    pub fn user_id(&self) -> &str {
        &self.snapshot.opened.user_id
    }

    /// The role in LiteLLM's row, else the mapped one.
    pub fn role(&self) -> &str {
        self.snapshot.opened.role.as_deref().unwrap_or(self.snapshot.mapping.terms().role.as_str())
    }

    /// The user.
    pub fn person(&self) -> &UserProfile {
        &self.snapshot.profile
    }

    /// How long the key lives if it is not renewed.
    pub fn left(&self) -> Duration {
        self.snapshot.opened.expires_in.saturating_sub(self.snapshot.read_at.elapsed())
    }

    /// Our id of the session for the API.
    pub fn api_session_id(&self) -> &str {
        &self.snapshot.opened.session_id
    }

    /// Refuses with `role_settling` while LiteLLM may still use a higher role, unless the route asks for none.
    pub fn settled_for(&self, route: Route) -> Result<(), Refusal> {
        match self.settling() {
            Some(left) if route.is_refused_while_settling() => {
                let UserProfile { issuer, subject, .. } = &self.snapshot.profile;
                Err(Refusal::from(Code::RoleSettling).retry_after(left).of(issuer, subject))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// How long LiteLLM may still use a higher role. `None` once it has settled.
    fn settling(&self) -> Option<Duration> {
        self.snapshot.settles_at.map(|at| at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Takes one of the user's places for a request in flight; `None` when all `most` are taken. 0 = no limit.
    pub fn enter(&self, most: usize) -> Option<InFlight> {
        InFlight::enter(&self.slot, most)
    }
}

// === impl Sessions ===

impl Sessions {
    /// Slots for at most `max_cached` users. `runtime` is the one that the store lives on.
    pub fn new(
        store: Arc<dyn Store>,
        runtime: tokio::runtime::Handle,
        ages: Ages,
        max_cached: usize,
        secrets: SessionSecrets,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (slots, hasher) = (Cache::new(max_cached), RandomState::new());
        Self { shared: Arc::new(SessionCache { slots, store, runtime, ages, secrets, hasher, metrics }) }
    }

    /// The user's account and key. Waits only for what is not known.
    pub async fn open(&self, identity: &Identity, mapping: &RoleMapping) -> Result<Session, Refusal> {
        let SessionCache { ages, metrics, .. } = &*self.shared;
        let profile = identity.person();
        let fingerprint = self.fingerprint(profile, mapping);
        let slot = self.slot(profile);
        let join_read = || self.join_read(&slot, fingerprint, profile, mapping);
        let snapshot = match slot.look(fingerprint, ages) {
            Look::Fresh(snapshot) => {
                metrics.slot(SlotState::Fresh);
                snapshot
            }
            Look::Aging(snapshot) => {
                metrics.slot(SlotState::Fresh);
                join_read();
                snapshot
            }
            Look::Away(snapshot) => {
                metrics.slot(SlotState::Stale);
                snapshot
            }
            Look::Stale(known) => match tokio::time::timeout(STALE_WAIT, landed(join_read())).await {
                Ok(Ok(snapshot)) => {
                    metrics.slot(SlotState::Waited);
                    snapshot
                }
                Ok(Err(error)) if !is_away(&error) => return Err(refuse(&error, profile)),
                Ok(Err(_)) | Err(_) => {
                    metrics.slot(SlotState::Stale);
                    known
                }
            },
            Look::Refused(error) => return Err(refuse(&error, profile)),
            Look::Unknown => {
                metrics.slot(SlotState::Waited);
                landed(join_read()).await.map_err(|error| refuse(&error, profile))?
            }
        };
        Ok(Session::of(&slot, snapshot))
    }

    /// After LiteLLM did not know the session's key: `Some` with another session when the store agrees that the key is
    /// gone, `None` when it still has it, and LiteLLM's answer is to pass as it is. At most one new key a session and
    /// minute.
    pub async fn renew(&self, refused: &Session) -> Result<Option<Session>, Refusal> {
        let Session { slot, snapshot, .. } = refused;
        if refused.browser.is_some() {
            return self.renew_browser(refused).await;
        }
        let is_new = |current: &Arc<Snapshot>| current.opened.session_id != snapshot.opened.session_id;
        if let Some(current) = slot.current(snapshot.fingerprint).filter(is_new) {
            return Ok(Some(Session::of(slot, current)));
        }
        if !slot.claim_renewal() {
            return Ok(None);
        }
        let receiver = self.join_read(slot, snapshot.fingerprint, &snapshot.profile, &snapshot.mapping);
        let current = landed(receiver).await.map_err(|error| refuse(&error, &snapshot.profile))?;
        if !is_new(&current) {
            return Ok(None);
        }
        slot.renewed();
        Ok(Some(Session::of(slot, current)))
    }

    fn slot(&self, profile: &UserProfile) -> Arc<Slot> {
        let SessionCache { slots, secrets, .. } = &*self.shared;
        let UserProfile { issuer, subject, .. } = profile;
        if let Some(slot) = slots.get(&UserRef { issuer, subject }) {
            return slot;
        }
        let key = UserKey { issuer: issuer.clone(), subject: subject.clone() };
        let make = || Ok::<_, Infallible>(Arc::new(Slot::new(secrets.pseudonym(issuer, subject))));
        let Ok(slot) = slots.get_or_insert_with(&key, make);
        slot
    }

    /// A hash of all that decides what is written: the e-mail, and the terms, which contain the groups' effect.
    fn fingerprint(&self, profile: &UserProfile, mapping: &RoleMapping) -> u64 {
        self.shared.hasher.hash_one((&profile.email, mapping.digest()))
    }

    /// Joins the pending read of this fingerprint, or starts one.
    pub(super) fn join_read(
        &self,
        slot: &Arc<Slot>,
        fingerprint: u64,
        profile: &UserProfile,
        mapping: &RoleMapping,
    ) -> ReadReceiver {
        slot.pending_read(fingerprint, |started_at| {
            let (finish_read, receiver) = watch::channel(None);
            let shared = self.shared.clone();
            let (slot, profile, mapping) = (slot.clone(), profile.clone(), mapping.clone());
            self.shared.runtime.spawn(async move {
                let outcome = shared.ask(&slot, fingerprint, &profile, &mapping).await;
                slot.finish_read(fingerprint, started_at, &outcome);
                finish_read.send_replace(Some(outcome));
            });
            receiver
        })
    }
}

// === impl SessionCache ===

impl SessionCache {
    async fn ask(&self, slot: &Slot, fingerprint: u64, profile: &UserProfile, mapping: &RoleMapping) -> ReadOutcome {
        if slot.disagrees(fingerprint, mapping.terms().role, self.ages.refresh) {
            self.metrics.role_flaps.inc();
            tracing::warn!(person = %slot.pseudonym, code = "role_flap", "two sign-ins of one person disagree");
        }
        let opened = self.store.open(profile, mapping.terms()).await;
        match opened.and_then(|opened| self.snapshot(fingerprint, profile, mapping, opened)) {
            Ok(snapshot) => {
                self.metrics.open("opened");
                self.metrics.database_up.set(1);
                Ok(Arc::new(snapshot))
            }
            Err(error) => {
                let code = code_of(&error);
                self.metrics.open(code.as_str());
                if is_away(&error) {
                    self.metrics.database_up.set(0);
                }
                let cause = chain(&error);
                tracing::warn!(person = %slot.pseudonym, code = code.as_str(), cause, "the registry opened no session");
                Err(Arc::new(error))
            }
        }
    }

    fn snapshot(
        &self,
        fingerprint: u64,
        profile: &UserProfile,
        mapping: &RoleMapping,
        opened: OpenedSession,
    ) -> Result<Snapshot, StoreError> {
        let key = KeyHeaders::of(&opened.key)
            .ok_or_else(|| StoreError::NotReady("a session key can't stand in a header".into()))?;
        let cache_ttl = self.ages.cache_ttl;
        let left = opened
            .lowered_ago
            .filter(|_| !cache_ttl.is_zero())
            .and_then(|ago| (cache_ttl + SETTLE_MARGIN).checked_sub(ago));
        let read_at = Instant::now();
        let settles_at = left.map(|left| read_at + left);
        let browsers = opened.ui.iter().filter_map(|ui| Browser::new(ui.clone(), read_at)).collect();
        let (profile, mapping) = (profile.clone(), mapping.clone());
        Ok(Snapshot { fingerprint, profile, mapping, opened, key, browsers, read_at, settles_at })
    }
}

pub(super) fn is_away(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::NotReady(_))
}

fn code_of(error: &StoreError) -> Code {
    match error {
        StoreError::Blocked { .. } => Code::AccountBlocked,
        StoreError::Conflict { .. } => Code::AccountConflict,
        StoreError::ReservedId(_) | StoreError::NoId(_) => Code::ReservedId,
        StoreError::SecretMismatch(_) | StoreError::NotReady(_) | StoreError::Unavailable(_) => Code::StoreUnavailable,
    }
}

/// The cause was logged when it arose; a request's line names the code alone.
pub(super) fn refuse(error: &StoreError, profile: &UserProfile) -> Refusal {
    let code = code_of(error);
    let refusal = Refusal::from(code).of(&profile.issuer, &profile.subject);
    if code == Code::StoreUnavailable { refusal.retry_after(RETRY_AFTER) } else { refusal }
}

pub(super) async fn landed(mut receiver: ReadReceiver) -> ReadOutcome {
    let gone = || Err(Arc::new(StoreError::Unavailable("the read of the registry ended without an answer".into())));
    match receiver.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or_else(gone),
        Err(_) => gone(),
    }
}

#[cfg(test)]
mod tests;
