//! One user's slot: what was last read of them, the pending read that brings it anew, and how many requests they have
//! running. Its lock is held for a few instructions and never across an await.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::cache::{Ages, ReadOutcome, ReadReceiver, STALE_WAIT, Snapshot, is_away};
use crate::litellm::role::Role;
use crate::store::StoreError;

/// How long a refusal of the store is repeated without asking again.
const REFUSED_FOR: Duration = Duration::from_secs(2);
/// How long the store is not asked again for a user who can be served from memory.
const AWAY_FOR: Duration = Duration::from_secs(1);

/// Least time between two new keys of one session that LiteLLM refused.
const RENEWED_FOR: Duration = Duration::from_mins(1);
/// Most browsers that one user is signed in with…
const OPENED_MOST: u32 = 15;
/// …within this time. A browser that keeps no cookie comes again and again.
pub(super) const OPENED_WITHIN: Duration = Duration::from_mins(1);
/// Least time between two queries about refused keys of one user.
const ASKED_FOR: Duration = Duration::from_secs(1);

/// One user's place in memory.
pub(super) struct Slot {
    pub(super) pseudonym: Arc<str>,
    in_flight: AtomicUsize,
    state: RwLock<State>,
}

/// A user's request in flight; dropping it gives the place back.
pub struct InFlight {
    slot: Arc<Slot>,
}

/// What a slot can answer without waiting.
pub(super) enum Look {
    /// Serve; nothing is to be done.
    Fresh(Arc<Snapshot>),
    /// Serve, and read again in the background.
    Aging(Arc<Snapshot>),
    /// Read again, and serve this should the store be away.
    Stale(Arc<Snapshot>),
    /// The store has just been found away: serve this.
    Away(Arc<Snapshot>),
    /// The store has just refused.
    Refused(Arc<StoreError>),
    /// No snapshot of this fingerprint.
    Unknown,
}

#[derive(Default)]
struct State {
    snapshot: Option<Arc<Snapshot>>,
    pending: Option<PendingRead>,
    /// When the read began that brought the snapshot.
    landed: Option<Instant>,
    refused: Option<(u64, Arc<StoreError>, Instant)>,
    away_until: Option<Instant>,
    renewed_at: Option<Instant>,
    asked_at: Option<Instant>,
    browser_asked_at: Option<Instant>,
    /// When the count of browsers began, and the count.
    opened: Option<(Instant, u32)>,
}

struct PendingRead {
    fingerprint: u64,
    started_at: Instant,
    receiver: ReadReceiver,
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
        let Some(snapshot) = state.snapshot.as_ref().filter(|snapshot| snapshot.fingerprint == fingerprint) else {
            return Look::Unknown;
        };
        let age = now.saturating_duration_since(snapshot.read_at);
        if age >= snapshot.opened.expires_in {
            return Look::Unknown;
        }
        let is_overdue = |pending: &PendingRead| {
            !pending.is_abandoned() && now.saturating_duration_since(pending.started_at) > STALE_WAIT
        };
        if age < ages.refresh / 2 {
            Look::Fresh(snapshot.clone())
        } else if age < ages.refresh {
            Look::Aging(snapshot.clone())
        } else if age >= ages.offline_grace {
            Look::Unknown
        } else if state.away_until.is_some_and(|until| now < until) || state.pending.as_ref().is_some_and(is_overdue) {
            Look::Away(snapshot.clone())
        } else {
            Look::Stale(snapshot.clone())
        }
    }

    /// What was last read for a fingerprint, whatever its age.
    pub(super) fn current(&self, fingerprint: u64) -> Option<Arc<Snapshot>> {
        self.read().snapshot.clone().filter(|snapshot| snapshot.fingerprint == fingerprint)
    }

    /// The pending read of this fingerprint, started by `start` when there is none.
    pub(super) fn pending_read(&self, fingerprint: u64, start: impl FnOnce(Instant) -> ReadReceiver) -> ReadReceiver {
        let mut state = self.write();
        if let Some(receiver) = state.running(fingerprint) {
            return receiver;
        }
        let started_at = Instant::now();
        let receiver = start(started_at);
        state.pending = Some(PendingRead { fingerprint, started_at, receiver: receiver.clone() });
        receiver
    }

    /// Takes over the outcome of a read.
    pub(super) fn finish_read(&self, fingerprint: u64, started_at: Instant, outcome: &ReadOutcome) {
        let now = Instant::now();
        let mut state = self.write();
        if state.pending.as_ref().is_some_and(|pending| pending.started_at == started_at) {
            state.pending = None;
        }
        if state.landed.is_some_and(|later| later > started_at) {
            return;
        }
        state.landed = Some(started_at);
        match outcome {
            Ok(snapshot) => {
                state.snapshot = Some(snapshot.clone());
                state.refused = None;
                state.away_until = None;
            }
            Err(error) if is_away(error) => state.away_until = Some(now + AWAY_FOR),
            Err(error) => {
                state.snapshot = None;
                state.refused = Some((fingerprint, error.clone(), now + REFUSED_FOR));
            }
        }
    }

    /// Whether the user came with another role a moment ago.
    pub(super) fn disagrees(&self, fingerprint: u64, role: Role, within: Duration) -> bool {
        self.read().snapshot.as_ref().is_some_and(|snapshot| {
            snapshot.fingerprint != fingerprint
                && snapshot.mapping.terms().role != role
                && snapshot.read_at.elapsed() < within
        })
    }

    /// Whether the store may be asked about a key that LiteLLM refused: not within [`RENEWED_FOR`] of a new key, nor
    /// within [`ASKED_FOR`] of the last query.
    pub(super) fn claim_renewal(&self) -> bool {
        let mut state = self.write();
        state.renewed_at.is_none_or(|at| at.elapsed() >= RENEWED_FOR) && takes_turn(&mut state.asked_at, ASKED_FOR)
    }

    /// Whether the store may be asked about a browser that is not known here: not within [`ASKED_FOR`] of the last query.
    pub(super) fn claim_browser_look_up(&self) -> bool {
        takes_turn(&mut self.write().browser_asked_at, ASKED_FOR)
    }

    /// Whether the user may be signed in with one more browser now.
    pub(super) fn claim_browser_opening(&self) -> bool {
        let now = Instant::now();
        let mut state = self.write();
        let current = state.opened.filter(|(since, _)| now.saturating_duration_since(*since) < OPENED_WITHIN);
        let (since, count) = current.unwrap_or((now, 0));
        state.opened = Some((since, count.saturating_add(1)));
        count < OPENED_MOST
    }

    /// The pending read of a fingerprint.
    pub(super) fn running(&self, fingerprint: u64) -> Option<ReadReceiver> {
        self.read().running(fingerprint)
    }

    /// Forgets what was read and what is being read: it may be from before a change.
    pub(super) fn forget(&self) {
        let mut state = self.write();
        state.snapshot = None;
        state.pending = None;
        state.landed = Some(Instant::now());
    }

    /// Lets the next query start anew: the result of the running one may be from before a change.
    pub(super) fn forget_pending_read(&self) {
        self.write().pending = None;
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

// === impl State ===

impl State {
    fn running(&self, fingerprint: u64) -> Option<ReadReceiver> {
        let is_ours = |pending: &&PendingRead| pending.fingerprint == fingerprint && !pending.is_abandoned();
        self.pending.as_ref().filter(is_ours).map(|pending| pending.receiver.clone())
    }
}

// === impl PendingRead ===

impl PendingRead {
    /// A read that ended without an outcome: its task panicked.
    fn is_abandoned(&self) -> bool {
        self.receiver.has_changed().is_err()
    }
}

/// Whether the last time is long enough ago; if so, it is now.
fn takes_turn(last: &mut Option<Instant>, wait: Duration) -> bool {
    let may = last.is_none_or(|last| last.elapsed() >= wait);
    if may {
        *last = Some(Instant::now());
    }
    may
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
