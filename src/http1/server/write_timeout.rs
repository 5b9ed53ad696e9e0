//! How long a client may take nothing of what is there for it.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::http1::timer::Timer;

/// The deadline of a client that has something to take.
pub(super) struct WriteTimeout {
    /// Zero = for ever.
    timeout: Duration,
    /// Runs while the client takes nothing.
    timer: Timer,
}

// === impl WriteTimeout ===

impl WriteTimeout {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, timer: Timer::default() }
    }

    /// The outcome of a write: an error once it has been pending for too long.
    pub(super) fn timed(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.timer.clear();
        } else if self.timeout > Duration::ZERO {
            self.timer.run(|| Instant::now() + self.timeout);
            if self.timer.is_over(cx) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        written
    }
}
