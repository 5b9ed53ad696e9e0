//! How long a client may keep us waiting: for a head, for another request, for more of a body.

use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::pace::Pace;
use crate::config::Limits;
use crate::http::clock::Clock;

/// What the client is to send, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// It is our turn.
    Nothing,
    /// The first head, or the rest of a later one, by its number.
    Head(u64),
    /// Another request after so many, if it has one; for once to twice the keep-alive time.
    Request(u64),
    /// More of a body.
    Body,
}

/// One clock for whatever is awaited.
pub(super) struct Patience {
    header_timeout: Duration,
    keep_alive_timeout: Duration,
    clock: Clock,
    awaited: Awaited,
    pace: Pace,
}

// === impl Patience ===

impl Patience {
    /// The first head is awaited from now on.
    pub(super) fn new(limits: &Limits) -> Self {
        let mut clock = Clock::default();
        clock.run(|| Instant::now() + limits.header_timeout);
        Self {
            header_timeout: limits.header_timeout,
            keep_alive_timeout: limits.keep_alive_timeout,
            clock,
            awaited: Awaited::Head(0),
            pace: Pace::new(limits.body_timeout, limits.body_rate),
        }
    }

    /// So many bytes came.
    pub(super) fn came(&mut self, count: usize) {
        if self.awaited == Awaited::Body {
            self.pace.came(count);
            self.turn_to(Awaited::Nothing);
        }
    }

    /// Nothing comes of what is awaited: whether it has been so for too long. If not, the task is woken then.
    pub(super) fn is_over(&mut self, awaited: Awaited, cx: &mut Context<'_>) -> bool {
        match awaited {
            Awaited::Nothing | Awaited::Request(_) => return self.is_idle(awaited, cx),
            Awaited::Head(_) => {
                self.turn_to(awaited);
                self.pace.refill();
                self.clock.run(|| Instant::now() + self.header_timeout);
            }
            Awaited::Body => {
                self.turn_to(awaited);
                self.clock.run(|| self.pace.wait());
            }
        }
        self.clock.is_over(cx)
    }

    /// Whether no request has come for too long. From one request to the next the clock is left running, for most
    /// connections have the next one soon; when its time comes it is looked whether something has happened since.
    fn is_idle(&mut self, awaited: Awaited, cx: &mut Context<'_>) -> bool {
        self.pace.refill();
        if matches!(self.awaited, Awaited::Head(_) | Awaited::Body) {
            self.turn_to(awaited);
        }
        loop {
            self.clock.run(|| Instant::now() + self.keep_alive_timeout);
            if !self.clock.is_over(cx) {
                return false;
            }
            if self.awaited == awaited && awaited != Awaited::Nothing {
                return true;
            }
            self.turn_to(awaited);
            self.clock.clear();
        }
    }

    fn turn_to(&mut self, awaited: Awaited) {
        if self.awaited != awaited {
            self.awaited = awaited;
            self.clock.clear();
        }
    }
}
