//! A timer of a connection or a body: set when something is awaited, cleared when it comes, its memory kept.

use std::pin::Pin;
use std::task::{Context, Waker};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// One timer. Nothing is allocated before the first wait.
///
/// Most waits end long before their time, and each is followed by one that ends later. So the system's timer is left as it
/// is, and set anew when it fires early.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The end of the wait that is running.
    until: Option<Instant>,
    /// Who is woken when the sleep is over.
    waker: Option<Waker>,
}

// === impl Timer ===

impl Timer {
    /// Runs until then, unless it is running already.
    pub(super) fn run(&mut self, until: impl FnOnce() -> Instant) {
        self.until.get_or_insert_with(until);
    }

    /// What was awaited has come.
    pub(super) fn clear(&mut self) {
        self.until = None;
    }

    /// Whether the time has come; if not, the task is woken then.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(until) = self.until else { return false };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        let is_known = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_known && sleep.deadline() <= until && !sleep.is_elapsed() {
            return false;
        }
        if sleep.deadline() != until {
            sleep.as_mut().reset(until);
        }
        if !is_known {
            self.waker = Some(cx.waker().clone());
        }
        // A task that has used up its turn would be told to come again, and not be known to the timer.
        Pin::new(&mut unconstrained(sleep.as_mut())).poll(cx).is_ready()
    }
}
