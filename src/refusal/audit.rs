//! Refusals of users on their way to the audit: off the request's path, once per user, code and minute, through a bounded
//! queue. A flood of refusals makes neither a flood of rows nor a wait.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Refusal;
use crate::store::Store;
use crate::store::audit::Denial;
use crate::telemetry::logs::chain;
use crate::telemetry::metrics::Metrics;

/// The same refusal of the same user is not noted again for so long.
const TOLD_FOR: Duration = Duration::from_mins(1);
/// Refusals that are remembered as told.
const TOLD_MAX: usize = 10_000;
/// Refusals that wait to be written.
const QUEUE_MAX: usize = 1024;
/// Refusals of one transaction.
const BATCH_MAX: usize = 100;

/// Where refusals are noted.
#[derive(Clone)]
pub struct DenialAudit {
    told: Arc<Cache<u64, Instant>>,
    hasher: RandomState,
    queue: mpsc::Sender<Denial>,
    metrics: Arc<Metrics>,
}

/// A queue of denials, and its other end for [`write_denials`].
pub fn denial_audit(metrics: Arc<Metrics>) -> (DenialAudit, mpsc::Receiver<Denial>) {
    let (queue, denials) = mpsc::channel(QUEUE_MAX);
    let told = Arc::new(Cache::new(TOLD_MAX));
    (DenialAudit { told, hasher: RandomState::new(), queue, metrics }, denials)
}

/// Writes what is noted, until the last [`DenialAudit`] of the queue is gone.
pub async fn write_denials(mut denials: mpsc::Receiver<Denial>, store: Arc<dyn Store>, metrics: Arc<Metrics>) {
    let mut batch = Vec::new();
    while denials.recv_many(&mut batch, BATCH_MAX).await > 0 {
        if let Err(error) = store.record_denials(&batch).await {
            metrics.audit_dropped.inc_by(batch.len() as u64);
            tracing::warn!(lost = batch.len(), cause = chain(&error), "refusals were not written to the audit");
        }
        batch.clear();
    }
}

// === impl DenialAudit ===

impl DenialAudit {
    /// Notes a refusal that says something of a user. It never waits.
    pub fn note(&self, refusal: &Refusal) {
        let Some(person) = refusal.person().filter(|_| refusal.code().is_about_the_person()) else { return };
        let code = refusal.code().as_str();
        let key = self.hasher.hash_one((person, code));
        if self.told.get(&key).is_some_and(|at| at.elapsed() < TOLD_FOR) {
            return;
        }
        self.told.insert(key, Instant::now());
        let denial = Denial { issuer: person.issuer.to_string(), subject: person.subject.clone(), code };
        if self.queue.try_send(denial).is_err() {
            self.metrics.audit_dropped.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Code;

    fn refusal(code: Code, subject: &str) -> Refusal {
        Refusal::from(code).of(&"default".into(), subject)
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_noted_once_a_person_code_and_minute() {
        let (audit, mut denials) = denial_audit(Arc::new(Metrics::default()));
        for _ in 0..3 {
            audit.note(&refusal(Code::NoRole, "alice"));
            audit.note(&refusal(Code::AccountBlocked, "alice"));
            audit.note(&refusal(Code::NoRole, "bob"));
        }
        let mut all = Vec::new();
        assert_eq!(denials.recv_many(&mut all, 100).await, 3);
        tokio::time::advance(TOLD_FOR).await;
        audit.note(&refusal(Code::NoRole, "alice"));
        assert_eq!(denials.recv().await.unwrap(), all[0]);
    }

    #[tokio::test]
    async fn only_what_says_something_of_a_known_person_is_noted() {
        let (audit, mut denials) = denial_audit(Arc::new(Metrics::default()));
        audit.note(&Refusal::from(Code::NoRole));
        audit.note(&refusal(Code::StoreUnavailable, "alice"));
        audit.note(&refusal(Code::TooManyRequests, "alice"));
        assert!(denials.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_the_queue_has_no_room_for_is_counted() {
        let metrics = Arc::new(Metrics::default());
        let (audit, _denials) = denial_audit(metrics.clone());
        for number in 0..QUEUE_MAX + 7 {
            audit.note(&refusal(Code::NoRole, &number.to_string()));
        }
        assert_eq!(metrics.audit_dropped.get(), 7);
    }
}
