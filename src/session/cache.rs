//! Their account and key: one slot a person, so that a known person's request waits for nothing.
//!
//! A slot holds what the registry last said of a person, and the fingerprint of the identity and mapping that it was said
//! for. Same fingerprint and fresh: no wait, no question. Another fingerprint, or nobody known: the request waits for one
//! flight to the registry, which everybody of the same fingerprint shares. The flight is a task of its own: a client
//! that goes away does not cut a transaction short.
//!
//! Ages, with `refresh` as configured: from half of it a read runs in the background, from the whole of it requests wait
//! for the read, so that a block made elsewhere holds within `refresh`. They wait [`STALE_WAIT`] at most: when the
//! registry does not answer, people last seen within `offline_grace` are served from memory.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use quick_cache::Equivalent;
use quick_cache::sync::Cache;
use tokio::sync::watch;
use tokio::time::Instant;

use super::browser::{self, Browser};
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

/// Longest wait for a read of somebody who is known and within the grace.
pub(super) const STALE_WAIT: Duration = Duration::from_millis(250);
/// What callers are told to wait while the registry is away.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Added to LiteLLM's cache time: its entry may be made just after our write was committed, from a read just before.
const SETTLE_MARGIN: Duration = Duration::from_secs(2);

/// A person's account and key, lent for one request. Only [`Sessions::open`] makes one, of an identity and a mapping.
#[derive(Clone)]
pub struct Session {
    pub(super) slot: Arc<Slot>,
    pub(super) standing: Arc<Standing>,
    /// Which of the user's browsers it is; `None` for a program.
    pub(super) browser: Option<usize>,
}

/// What the registry said of a person, and what it was asked.
pub(super) struct Standing {
    pub(super) fingerprint: u64,
    pub(super) person: UserProfile,
    pub(super) mapping: RoleMapping,
    pub(super) opened: OpenedSession,
    key: KeyHeaders,
    pub(super) browsers: Vec<Browser>,
    pub(super) read_at: Instant,
    settles_at: Option<Instant>,
}

/// The slots of all people.
#[derive(Clone)]
pub struct Sessions {
    pub(super) shared: Arc<SessionCache>,
}

/// Times that decide over a slot.
#[derive(Debug, Clone)]
pub struct Ages {
    /// How old what is known may be.
    pub refresh: Duration,
    /// How long it serves while the registry is away.
    pub offline_grace: Duration,
    /// LiteLLM's cache time; zero turns the settling off.
    pub cache_ttl: Duration,
}

pub(super) struct SessionCache {
    slots: Cache<PersonKey, Arc<Slot>>,
    pub(super) registry: Arc<dyn Store>,
    /// The runtime that owns the registry; flights run there.
    pub(super) runtime: tokio::runtime::Handle,
    ages: Ages,
    pub(super) secrets: SessionSecrets,
    hasher: RandomState,
    pub(super) metrics: Arc<Metrics>,
}

pub(super) type FlightResult = Result<Arc<Standing>, Arc<StoreError>>;
pub(super) type Landing = watch::Receiver<Option<FlightResult>>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct PersonKey {
    issuer: Arc<str>,
    subject: String,
}

#[derive(Hash)]
struct PersonRef<'a> {
    issuer: &'a str,
    subject: &'a str,
}

impl Equivalent<PersonKey> for PersonRef<'_> {
    fn equivalent(&self, key: &PersonKey) -> bool {
        *self.issuer == *key.issuer && self.subject == key.subject
    }
}

// === impl Session ===

impl Session {
    /// The key, in the forms in which it goes up.
    pub fn key(&self) -> &KeyHeaders {
        let browser = self.browser.and_then(|at| self.standing.browsers.get(at));
        browser.map_or(&self.standing.key, Browser::key)
    }

    /// A stable name for logs that says nothing of the person.
    pub fn pseudonym(&self) -> &Arc<str> {
        &self.slot.pseudonym
    }

    /// LiteLLM's `user_id`.
    pub fn user_id(&self) -> &str {
        &self.standing.opened.user_id
    }

    /// The role in LiteLLM's row, else the mapped one.
    pub fn role(&self) -> &str {
        self.standing.opened.role.as_deref().unwrap_or(self.standing.mapping.terms().role.as_str())
    }

    /// Who it is.
    pub fn person(&self) -> &UserProfile {
        &self.standing.person
    }

    /// How long the key goes on if nobody renews it.
    pub fn left(&self) -> Duration {
        self.standing.opened.expires_in.saturating_sub(self.standing.read_at.elapsed())
    }

    /// Our id of the session for the API.
    pub fn api_session_id(&self) -> &str {
        &self.standing.opened.session_id
    }

    /// Refuses with `role_settling` while LiteLLM may still use a higher role, unless the route asks for none.
    pub fn settled_for(&self, route: Route) -> Result<(), Refusal> {
        match self.settling() {
            Some(left) if route.waits_for_settling() => {
                let UserProfile { issuer, subject, .. } = &self.standing.person;
                Err(Refusal::from(Code::RoleSettling).retry_after(left).of(issuer, subject))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// How long LiteLLM may still go by a higher role. `None` once it has settled.
    fn settling(&self) -> Option<Duration> {
        self.standing.settles_at.map(|at| at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Takes one of the person's places for a request in flight; `None` when all `most` are taken. 0 = no limit.
    pub fn enter(&self, most: usize) -> Option<InFlight> {
        InFlight::enter(&self.slot, most)
    }
}

// === impl Sessions ===

impl Sessions {
    /// Slots for at most `max_cached` people. `runtime` is the one that the registry lives on.
    pub fn new(
        registry: Arc<dyn Store>,
        runtime: tokio::runtime::Handle,
        ages: Ages,
        max_cached: usize,
        secrets: SessionSecrets,
        metrics: Arc<Metrics>,
    ) -> Self {
        let slots = Cache::new(max_cached);
        Self {
            shared: Arc::new(SessionCache {
                slots,
                registry,
                runtime,
                ages,
                secrets,
                hasher: RandomState::new(),
                metrics,
            }),
        }
    }

    /// The person's account and key. Waits only for what is not known.
    pub async fn open(&self, identity: &Identity, mapping: &RoleMapping) -> Result<Session, Refusal> {
        let SessionCache { ages, metrics, .. } = &*self.shared;
        let fingerprint = self.fingerprint(identity.person(), mapping);
        let slot = self.slot(identity.person());
        let session = |standing| Session { slot: slot.clone(), standing, browser: None };
        match slot.look(fingerprint, ages) {
            Look::Fresh(standing) => {
                metrics.slot(SlotState::Fresh);
                Ok(session(standing))
            }
            Look::Aging(standing) => {
                metrics.slot(SlotState::Fresh);
                self.fly(&slot, fingerprint, identity.person(), mapping);
                Ok(session(standing))
            }
            Look::Away(standing) => {
                metrics.slot(SlotState::Stale);
                Ok(session(standing))
            }
            Look::Stale(standing) => {
                let landing = self.fly(&slot, fingerprint, identity.person(), mapping);
                match tokio::time::timeout(STALE_WAIT, landed(landing)).await {
                    Ok(Ok(standing)) => {
                        metrics.slot(SlotState::Waited);
                        Ok(session(standing))
                    }
                    Ok(Err(error)) if !is_away(&error) => Err(refuse(&error, identity.person())),
                    Ok(Err(_)) | Err(_) => {
                        metrics.slot(SlotState::Stale);
                        Ok(session(standing))
                    }
                }
            }
            Look::Refused(error) => Err(refuse(&error, identity.person())),
            Look::Unknown => {
                metrics.slot(SlotState::Waited);
                let landing = self.fly(&slot, fingerprint, identity.person(), mapping);
                landed(landing).await.map(session).map_err(|error| refuse(&error, identity.person()))
            }
        }
    }

    /// After LiteLLM did not know the session's key: `Some` with another session when the books agree that the key is
    /// gone, `None` when they know it still, and LiteLLM's answer is to pass as it is. At most one new key a session and
    /// minute.
    pub async fn renew(&self, refused: &Session) -> Result<Option<Session>, Refusal> {
        let Session { slot, standing, .. } = refused;
        if refused.browser.is_some() {
            return self.renew_browser(refused).await;
        }
        let current = slot.current(standing.fingerprint);
        if let Some(current) = current.filter(|current| current.opened.session_id != standing.opened.session_id) {
            return Ok(Some(Session { slot: slot.clone(), standing: current, browser: None }));
        }
        if !slot.may_renew() {
            return Ok(None);
        }
        let landing = self.fly(slot, standing.fingerprint, &standing.person, &standing.mapping);
        let current = landed(landing).await.map_err(|error| refuse(&error, &standing.person))?;
        let is_new = current.opened.session_id != standing.opened.session_id;
        if is_new {
            slot.renewed();
        }
        Ok(is_new.then(|| Session { slot: slot.clone(), standing: current, browser: None }))
    }

    fn slot(&self, person: &UserProfile) -> Arc<Slot> {
        let SessionCache { slots, secrets, .. } = &*self.shared;
        let key = PersonRef { issuer: &person.issuer, subject: &person.subject };
        if let Some(slot) = slots.get(&key) {
            return slot;
        }
        let make = || {
            let pseudonym = secrets.pseudonym(&person.issuer, &person.subject);
            Ok::<_, std::convert::Infallible>(Arc::new(Slot::new(pseudonym)))
        };
        match slots
            .get_or_insert_with(&PersonKey { issuer: person.issuer.clone(), subject: person.subject.clone() }, make)
        {
            Ok(slot) => slot,
            Err(never) => match never {},
        }
    }

    /// Over what decides what is written: the e-mail, and the terms in which the groups have had their say already.
    fn fingerprint(&self, person: &UserProfile, mapping: &RoleMapping) -> u64 {
        self.shared.hasher.hash_one((&person.email, mapping.digest()))
    }

    /// Joins the flight of this fingerprint, or starts one.
    pub(super) fn fly(
        &self,
        slot: &Arc<Slot>,
        fingerprint: u64,
        person: &UserProfile,
        mapping: &RoleMapping,
    ) -> Landing {
        slot.flight(fingerprint, |started_at| {
            let (land, landing) = watch::channel(None);
            let shared = self.shared.clone();
            let (slot, person, mapping) = (slot.clone(), person.clone(), mapping.clone());
            self.shared.runtime.spawn(async move {
                let outcome = shared.ask(&slot, fingerprint, &person, &mapping).await;
                slot.land(fingerprint, started_at, &outcome);
                land.send_replace(Some(outcome));
            });
            landing
        })
    }
}

// === impl SessionCache ===

impl SessionCache {
    async fn ask(&self, slot: &Slot, fingerprint: u64, person: &UserProfile, mapping: &RoleMapping) -> FlightResult {
        if slot.disagrees(fingerprint, mapping.terms().role, self.ages.refresh) {
            self.metrics.role_flaps.inc();
            tracing::warn!(person = %slot.pseudonym, code = "role_flap", "two sign-ins of one person disagree");
        }
        match self
            .registry
            .open(person, mapping.terms())
            .await
            .and_then(|opened| self.standing(fingerprint, person, mapping, opened))
        {
            Ok(standing) => {
                self.metrics.open("opened");
                self.metrics.database_up.set(1);
                Ok(Arc::new(standing))
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

    fn standing(
        &self,
        fingerprint: u64,
        person: &UserProfile,
        mapping: &RoleMapping,
        opened: OpenedSession,
    ) -> Result<Standing, StoreError> {
        let key = KeyHeaders::of(&opened.key)
            .ok_or_else(|| StoreError::NotReady("a session key can't stand in a header".into()))?;
        let cache_ttl = self.ages.cache_ttl;
        let left = opened
            .lowered_ago
            .filter(|_| !cache_ttl.is_zero())
            .and_then(|ago| (cache_ttl + SETTLE_MARGIN).checked_sub(ago));
        let read_at = Instant::now();
        let settles_at = left.map(|left| read_at + left);
        let browsers = browser::browsers(&opened.ui, read_at);
        let (person, mapping) = (person.clone(), mapping.clone());
        Ok(Standing { fingerprint, person, mapping, opened, key, browsers, read_at, settles_at })
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

/// The log has had the cause when it arose; a request's line names the code alone.
pub(super) fn refuse(error: &StoreError, person: &UserProfile) -> Refusal {
    let code = code_of(error);
    let refusal = Refusal::from(code).of(&person.issuer, &person.subject);
    if code == Code::StoreUnavailable { refusal.retry_after(RETRY_AFTER) } else { refusal }
}

pub(super) async fn landed(mut landing: Landing) -> FlightResult {
    let gone = || Err(Arc::new(StoreError::Unavailable("the flight to the registry ended without an answer".into())));
    match landing.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or_else(gone),
        Err(_) => gone(),
    }
}

#[cfg(test)]
mod tests;
