//! One person's slot: what was last read of them, the flight that reads it again, and how many requests they have
//! running. Its lock is held for a few instructions and never across an await.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::cache::{Ages, FlightResult, Landing, STALE_WAIT, Standing, is_away};
use crate::litellm::role::Role;
use crate::store::StoreError;

/// How long a "no" of the registry is repeated without asking again.
const REFUSED_FOR: Duration = Duration::from_secs(2);
/// How long the registry is not asked again for somebody who can be served from memory.
const AWAY_FOR: Duration = Duration::from_secs(1);

/// Least time between two new keys of one session that LiteLLM refused.
const RENEWED_FOR: Duration = Duration::from_mins(1);
/// Most browsers that one person is signed in with…
const OPENED_MOST: u32 = 15;
/// …within this time. A browser that keeps no cookie comes again and again.
pub(super) const OPENED_WITHIN: Duration = Duration::from_mins(1);
/// Least time between two questions about refused keys of one person.
const ASKED_FOR: Duration = Duration::from_secs(1);

/// One person's place in memory.
pub(super) struct Slot {
    pub(super) pseudonym: Arc<str>,
    in_flight: AtomicUsize,
    state: RwLock<State>,
}

/// A person's request in flight; leaving gives the place back.
pub struct InFlight {
    slot: Arc<Slot>,
}

/// What a slot can say at once.
pub(super) enum Look {
    /// Serve; nothing is to be done.
    Fresh(Arc<Standing>),
    /// Serve, and read again in the background.
    Aging(Arc<Standing>),
    /// Read again, and serve this should the registry be away.
    Stale(Arc<Standing>),
    /// The registry has just been found away: serve this.
    Away(Arc<Standing>),
    /// The registry has just said no.
    Refused(Arc<StoreError>),
    /// Nobody known by this fingerprint.
    Unknown,
}

#[derive(Default)]
struct State {
    standing: Option<Arc<Standing>>,
    flight: Option<Flight>,
    /// When the flight began that brought what is known.
    landed: Option<Instant>,
    refused: Option<(u64, Arc<StoreError>, Instant)>,
    away_until: Option<Instant>,
    renewed_at: Option<Instant>,
    asked_at: Option<Instant>,
    browser_asked_at: Option<Instant>,
    /// When the count of browsers began, and the count.
    opened: Option<(Instant, u32)>,
}

struct Flight {
    fingerprint: u64,
    started_at: Instant,
    landing: Landing,
}

// === impl Slot ===

impl Slot {
    pub(super) fn new(pseudonym: String) -> Self {
        Self { pseudonym: pseudonym.into(), in_flight: AtomicUsize::new(0), state: RwLock::default() }
    }

    /// What is known for a fingerprint, by its age.
    pub(super) fn look(&self, fingerprint: u64, ages: &Ages) -> Look {
        let now = Instant::now();
        let state = self.read();
        if let Some((refused, error, until)) = &state.refused
            && *refused == fingerprint
            && now < *until
        {
            return Look::Refused(error.clone());
        }
        let Some(standing) = state.standing.as_ref().filter(|standing| standing.fingerprint == fingerprint) else {
            return Look::Unknown;
        };
        let age = now.saturating_duration_since(standing.read_at);
        if age >= standing.opened.expires_in {
            return Look::Unknown;
        }
        let is_flying =
            |flight: &Flight| !flight.is_lost() && now.saturating_duration_since(flight.started_at) > STALE_WAIT;
        if age < ages.refresh / 2 {
            Look::Fresh(standing.clone())
        } else if age < ages.refresh {
            Look::Aging(standing.clone())
        } else if age >= ages.offline_grace {
            Look::Unknown
        } else if state.away_until.is_some_and(|until| now < until) || state.flight.as_ref().is_some_and(is_flying) {
            Look::Away(standing.clone())
        } else {
            Look::Stale(standing.clone())
        }
    }

    /// What was last read for a fingerprint, whatever its age.
    pub(super) fn current(&self, fingerprint: u64) -> Option<Arc<Standing>> {
        self.read().standing.clone().filter(|standing| standing.fingerprint == fingerprint)
    }

    /// The flight of this fingerprint, started by `start` when there is none.
    pub(super) fn flight(&self, fingerprint: u64, start: impl FnOnce(Instant) -> Landing) -> Landing {
        let mut state = self.write();
        let is_ours = |flight: &&Flight| flight.fingerprint == fingerprint && !flight.is_lost();
        if let Some(flight) = state.flight.as_ref().filter(is_ours) {
            return flight.landing.clone();
        }
        let started_at = Instant::now();
        let landing = start(started_at);
        state.flight = Some(Flight { fingerprint, started_at, landing: landing.clone() });
        landing
    }

    /// Takes over what a flight brought.
    pub(super) fn land(&self, fingerprint: u64, started_at: Instant, outcome: &FlightResult) {
        let now = Instant::now();
        let mut state = self.write();
        if state.flight.as_ref().is_some_and(|flight| flight.started_at == started_at) {
            state.flight = None;
        }
        if state.landed.is_some_and(|later| later > started_at) {
            return;
        }
        state.landed = Some(started_at);
        match outcome {
            Ok(standing) => {
                state.standing = Some(standing.clone());
                state.refused = None;
                state.away_until = None;
            }
            Err(error) if is_away(error) => state.away_until = Some(now + AWAY_FOR),
            Err(error) => {
                state.standing = None;
                state.refused = Some((fingerprint, error.clone(), now + REFUSED_FOR));
            }
        }
    }

    /// Whether the person came with another role a moment ago.
    pub(super) fn disagrees(&self, fingerprint: u64, role: Role, within: Duration) -> bool {
        self.read().standing.as_ref().is_some_and(|standing| {
            standing.fingerprint != fingerprint
                && standing.mapping.terms().role != role
                && standing.read_at.elapsed() < within
        })
    }

    /// Whether the books may be asked about a key that LiteLLM refused: not within [`RENEWED_FOR`] of a new key, nor
    /// within [`ASKED_FOR`] of the last question.
    pub(super) fn may_renew(&self) -> bool {
        let now = Instant::now();
        let mut state = self.write();
        let is_past = |at: Option<Instant>, wait| at.is_none_or(|at| now.saturating_duration_since(at) >= wait);
        let may = is_past(state.renewed_at, RENEWED_FOR) && is_past(state.asked_at, ASKED_FOR);
        if may {
            state.asked_at = Some(now);
        }
        may
    }

    /// Whether the books may be asked about a browser that is not known here: not within [`ASKED_FOR`] of the last question.
    pub(super) fn may_look_for_browser(&self) -> bool {
        let now = Instant::now();
        let mut state = self.write();
        let may = state.browser_asked_at.is_none_or(|at| now.saturating_duration_since(at) >= ASKED_FOR);
        if may {
            state.browser_asked_at = Some(now);
        }
        may
    }

    /// Whether the person may be signed in with one more browser now.
    pub(super) fn may_open_browser(&self) -> bool {
        let now = Instant::now();
        let mut state = self.write();
        let current = state.opened.filter(|(since, _)| now.saturating_duration_since(*since) < OPENED_WITHIN);
        let (since, count) = current.unwrap_or((now, 0));
        state.opened = Some((since, count.saturating_add(1)));
        count < OPENED_MOST
    }

    /// The flight that is on its way for a fingerprint.
    pub(super) fn running(&self, fingerprint: u64) -> Option<Landing> {
        let state = self.read();
        let flight = state.flight.as_ref().filter(|flight| flight.fingerprint == fingerprint && !flight.is_lost())?;
        Some(flight.landing.clone())
    }

    /// Forgets all that was read, and whatever is being read: it is from before a change.
    pub(super) fn forget(&self) {
        let mut state = self.write();
        state.standing = None;
        state.flight = None;
        state.landed = Some(Instant::now());
    }

    /// Lets the next question be asked anew: what the one that is on its way will bring may be from before.
    pub(super) fn forget_flight(&self) {
        self.write().flight = None;
    }

    /// A new key was made for one that LiteLLM refused.
    pub(super) fn renewed(&self) {
        self.write().renewed_at = Some(Instant::now());
    }

    // A panic while the lock is held leaves the state whole: every write above is one assignment after another of
    // values that are made before.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Flight ===

impl Flight {
    /// A flight that ended without landing: its task panicked.
    fn is_lost(&self) -> bool {
        self.landing.has_changed().is_err()
    }
}

// === impl InFlight ===

impl InFlight {
    pub(super) fn enter(slot: &Arc<Slot>, most: usize) -> Option<Self> {
        let before = slot.in_flight.fetch_add(1, Ordering::Relaxed);
        // The guard is made first, so that a refusal gives the place back too.
        let guard = Self { slot: slot.clone() };
        (most == 0 || before < most).then_some(guard)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.slot.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
