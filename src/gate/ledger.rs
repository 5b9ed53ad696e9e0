//! Refusals of people on their way to the audit: behind the request, once a person, code and minute, through a queue that
//! ends somewhere. A flood of refusals makes neither a flood of rows nor a wait.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::refusal::Refusal;
use crate::store::Store;
use crate::store::audit::Denial;
use crate::telemetry::logs::chain;
use crate::telemetry::metrics::Metrics;

/// The same refusal of the same person is not told again for so long.
const TOLD_FOR: Duration = Duration::from_mins(1);
/// Refusals that are remembered as told.
const TOLD_MAX: usize = 10_000;
/// Refusals that wait to be written.
const QUEUE_MAX: usize = 1024;
/// Refusals of one transaction.
const BATCH_MAX: usize = 100;

/// Where refusals are noted.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

struct Shared {
    told: Cache<u64, Instant>,
    hasher: RandomState,
    queue: mpsc::Sender<Denial>,
    metrics: Arc<Metrics>,
}

/// The other end of the queue.
pub struct Notes {
    queue: mpsc::Receiver<Denial>,
    metrics: Arc<Metrics>,
}

/// A ledger and its other end.
pub fn ledger(metrics: Arc<Metrics>) -> (Ledger, Notes) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let shared =
        Shared { told: Cache::new(TOLD_MAX), hasher: RandomState::new(), queue: sender, metrics: metrics.clone() };
    (Ledger { shared: Arc::new(shared) }, Notes { queue, metrics })
}

// === impl Ledger ===

impl Ledger {
    /// Notes a refusal that says something of a person. It waits for nothing.
    pub fn note(&self, refusal: &Refusal) {
        let Some(person) = refusal.person().filter(|_| refusal.code().is_about_the_person()) else { return };
        let Shared { told, hasher, queue, metrics } = &*self.shared;
        let code = refusal.code().as_str();
        let key = hasher.hash_one((person, code));
        if told.get(&key).is_some_and(|at| at.elapsed() < TOLD_FOR) {
            return;
        }
        told.insert(key, Instant::now());
        let away = Denial { issuer: person.issuer.to_string(), subject: person.subject.clone(), code };
        if queue.try_send(away).is_err() {
            metrics.audit_dropped.inc();
        }
    }
}

// === impl Notes ===

impl Notes {
    /// Writes what is noted, for as long as anybody notes.
    pub async fn write(mut self, registry: Arc<dyn Store>) {
        let mut batch = Vec::new();
        while self.queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
            if let Err(error) = registry.record_denials(&batch).await {
                self.metrics.audit_dropped.inc_by(batch.len() as u64);
                tracing::warn!(lost = batch.len(), cause = chain(&error), "refusals were not written to the audit");
            }
            batch.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::refusal::Code;

    fn refusal(code: Code, subject: &str) -> Refusal {
        Refusal::from(code).of(&"default".into(), subject)
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_noted_once_a_person_code_and_minute() {
        let (ledger, mut notes) = ledger(Arc::new(Metrics::default()));
        for _ in 0..3 {
            ledger.note(&refusal(Code::NoRole, "alice"));
            ledger.note(&refusal(Code::AccountBlocked, "alice"));
            ledger.note(&refusal(Code::NoRole, "bob"));
        }
        let mut all = Vec::new();
        assert_eq!(notes.queue.recv_many(&mut all, 100).await, 3);
        tokio::time::advance(TOLD_FOR).await;
        ledger.note(&refusal(Code::NoRole, "alice"));
        assert_eq!(notes.queue.recv().await.unwrap(), all[0]);
    }

    #[tokio::test]
    async fn only_what_says_something_of_a_known_person_is_noted() {
        let (ledger, mut notes) = ledger(Arc::new(Metrics::default()));
        ledger.note(&Refusal::from(Code::NoRole));
        ledger.note(&refusal(Code::StoreUnavailable, "alice"));
        ledger.note(&refusal(Code::TooManyRequests, "alice"));
        assert!(notes.queue.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_the_queue_has_no_room_for_is_counted() {
        let metrics = Arc::new(Metrics::default());
        let (ledger, _notes) = ledger(metrics.clone());
        for number in 0..QUEUE_MAX + 7 {
            ledger.note(&refusal(Code::NoRole, &number.to_string()));
        }
        assert_eq!(metrics.audit_dropped.get(), 7);
    }
}
