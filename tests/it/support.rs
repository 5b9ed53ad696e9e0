//! What the tests stand on: doubles for what is around vestibule, and the real binary between them.

pub(crate) mod client;
pub(crate) mod db;
pub(crate) mod operator;
pub(crate) mod peers;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod stage;
pub(crate) mod upstream;
pub(crate) mod vestibule;
pub(crate) mod wire;

use std::time::Duration;

/// How long any one thing may take before a test gives up on it. It decides nothing but the time until a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// Waits for the future, and fails with a clear message when it never ends.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(elapsed) => panic!("waited in vain for {what}: {elapsed} ({} s)", PATIENCE.as_secs()),
    }
}

/// Asks again and again, for things that nobody tells us about, such as a row in a table.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Some(found) = probe().await {
                return found;
            }
        }
    })
    .await
}

/// A gate that a test opens, once for each passage.
#[derive(Clone)]
pub(crate) struct Gate(std::sync::Arc<tokio::sync::Semaphore>);

impl Gate {
    /// A closed gate.
    pub(crate) fn closed() -> Self {
        Self(std::sync::Arc::new(tokio::sync::Semaphore::new(0)))
    }

    /// Lets one passage through.
    pub(crate) fn open(&self) {
        self.0.add_permits(1);
    }

    /// Waits to be let through.
    pub(crate) async fn pass(&self) {
        within("the test to open a gate", self.0.acquire()).await.expect("the gate is never taken down").forget();
    }
}
