//! How long a client may take nothing of what is there for it.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::http::clock::Clock;

/// The time of a client that is to take something.
pub(super) struct Sending {
    /// Zero = for ever.
    timeout: Duration,
    /// Runs while it takes nothing.
    clock: Clock,
}

impl Sending {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, clock: Clock::default() }
    }

    /// The outcome of a write, which may be awaited only so long.
    pub(super) fn timed(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.clock.clear();
        } else if self.timeout > Duration::ZERO {
            self.clock.run(|| Instant::now() + self.timeout);
            if self.clock.is_over(cx) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        written
    }
}
