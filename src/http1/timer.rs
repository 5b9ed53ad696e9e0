//! A timer of a connection or a body: set when something is awaited, cleared when it comes, its memory kept.

use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep, sleep_until};

/// One timer. Nothing is allocated before the first wait.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    is_running: bool,
    /// The task to wake is registered.
    is_polled: bool,
}

// === impl Timer ===

impl Timer {
    /// Runs until then, unless it is running already.
    pub(super) fn run(&mut self, until: impl FnOnce() -> Instant) {
        if self.is_running {
            return;
        }
        (self.is_running, self.is_polled) = (true, false);
        let until = until();
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(until),
            None => self.sleep = Some(Box::pin(sleep_until(until))),
        }
    }

    /// What was awaited has come.
    pub(super) fn clear(&mut self) {
        self.is_running = false;
    }

    /// Whether the time has come; if not, the task is woken then. From one `run` to the next it must be the same task.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(sleep) = self.sleep.as_mut().filter(|_| self.is_running) else { return false };
        if self.is_polled {
            return sleep.is_elapsed();
        }
        self.is_polled = true;
        sleep.as_mut().poll(cx).is_ready()
    }
}
