//! What keeps the store ready: migrations at the start, periodic checks, the sweep; and what `/readyz` answers.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::app::StoreHandle;
use crate::store::{Store, StoreError, SweepReport};
use crate::telemetry::logs::chain;
use crate::telemetry::metrics::Metrics;

/// Between two checks while the store is ready.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// First and longest wait after a check that failed.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// Whether requests should be sent here.
pub struct Readiness {
    state: RwLock<ReadinessState>,
}

#[derive(Default)]
struct ReadinessState {
    grace: Duration,
    last_contact: Option<Instant>,
    trouble: Option<Trouble>,
    is_draining: bool,
}

/// Why the store is not ready.
struct Trouble {
    shown: String,
    /// As it was logged, causes included.
    logged: String,
    /// Users in memory are not served either.
    is_fatal: bool,
}

/// What `/readyz` answers.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadinessStatus {
    /// Every request is served.
    Ready,
    /// Known users are served; this is why no others.
    Degraded(String),
    /// Not now.
    NotReady(String),
}

// === impl Readiness ===

impl Readiness {
    /// Not ready until the first contact.
    pub fn new(grace: Duration) -> Self {
        Self { state: RwLock::new(ReadinessState { grace, ..ReadinessState::default() }) }
    }

    /// The present status.
    pub fn status(&self) -> ReadinessStatus {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.is_draining {
            return ReadinessStatus::NotReady("draining".into());
        }
        match (state.last_contact, &state.trouble) {
            (None, None) => ReadinessStatus::NotReady("starting".into()),
            (Some(_), None) => ReadinessStatus::Ready,
            (Some(at), Some(Trouble { shown, is_fatal: false, .. })) if at.elapsed() < state.grace => {
                ReadinessStatus::Degraded(shown.clone())
            }
            (_, Some(trouble)) => ReadinessStatus::NotReady(trouble.shown.clone()),
        }
    }

    /// Another grace, after a reload.
    pub fn set_grace(&self, grace: Duration) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).grace = grace;
    }

    /// From now on not ready.
    pub fn drain(&self) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).is_draining = true;
    }

    fn well(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.last_contact = Some(Instant::now());
        state.trouble = None;
    }

    /// Returns whether this trouble is new.
    fn trouble(&self, error: &StoreError) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let is_away = matches!(error, StoreError::Unavailable(_));
        let shown = if is_away { "database".to_owned() } else { error.to_string() };
        let logged = chain(error);
        let is_new = state.trouble.as_ref().is_none_or(|before| before.logged != logged);
        state.trouble = Some(Trouble { shown, logged, is_fatal: !is_away });
        is_new
    }
}

/// Looks after the store, also after a reload has replaced it, for as long as it is polled.
pub async fn look_after(handle: watch::Receiver<StoreHandle>, readiness: Arc<Readiness>) {
    let mut swept_at: Option<Instant> = None;
    let mut wait = RETRY_MIN;
    loop {
        let StoreHandle { store, metrics, .. } = handle.borrow().clone();
        match store.prepare().await {
            Ok(()) => {
                if readiness.status() != ReadinessStatus::Ready {
                    tracing::info!("the database is ready");
                }
                readiness.well();
                metrics.database_up.set(1);
                wait = RETRY_MIN;
                if swept_at.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
                    sweep(&*store, &metrics).await;
                    swept_at = Some(Instant::now());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => {
                if readiness.trouble(&error) {
                    tracing::error!(cause = chain(&error), "the database is not ready");
                }
                if matches!(error, StoreError::Unavailable(_)) {
                    metrics.database_up.set(0);
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
        }
    }
}

async fn sweep(store: &dyn Store, metrics: &Metrics) {
    match store.sweep().await {
        Ok(swept) => {
            metrics.swept.inc_by(swept.sessions);
            if swept != SweepReport::default() {
                tracing::info!(sessions = swept.sessions, audit = swept.audit, "swept");
            }
        }
        Err(error) => tracing::warn!(cause = chain(&error), "the sweep failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn readiness_lasts_for_the_grace_and_no_longer() {
        let readiness = Readiness::new(Duration::from_mins(5));
        assert_eq!(readiness.status(), ReadinessStatus::NotReady("starting".into()));
        readiness.well();
        assert_eq!(readiness.status(), ReadinessStatus::Ready);
        let away = StoreError::Unavailable("refused".into());
        assert!(readiness.trouble(&away) && !readiness.trouble(&away));
        assert_eq!(readiness.status(), ReadinessStatus::Degraded("database".into()));
        tokio::time::advance(Duration::from_mins(5)).await;
        assert_eq!(readiness.status(), ReadinessStatus::NotReady("database".into()));
        readiness.well();
        assert_eq!(readiness.status(), ReadinessStatus::Ready);
        readiness.trouble(&StoreError::SecretMismatch("00000000".into()));
        assert!(matches!(readiness.status(), ReadinessStatus::NotReady(_)));
        readiness.well();
        readiness.drain();
        assert_eq!(readiness.status(), ReadinessStatus::NotReady("draining".into()));
    }
}
