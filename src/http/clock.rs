//! A timer of a connection or a body: set when something is awaited, cleared when it comes, its memory kept.

use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep, sleep_until};

/// One timer. Whoever never waits never makes one.
#[derive(Debug, Default)]
pub struct Clock {
    sleep: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

// === impl Clock ===

impl Clock {
    /// Runs until then, unless it runs already.
    pub fn run(&mut self, until: Instant) {
        if self.is_running {
            return;
        }
        self.is_running = true;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(until),
            None => self.sleep = Some(Box::pin(sleep_until(until))),
        }
    }

    /// What was awaited has come.
    pub fn clear(&mut self) {
        self.is_running = false;
    }

    /// Whether the time has come; if not, the task is woken then.
    pub fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_running && self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }
}
