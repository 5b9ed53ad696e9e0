//! How long a client may take: for a head, for another request, for more of a body.

use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::ServerLimits;
use super::min_rate::MinRate;
use crate::http1::timer::Timer;

/// What the client must send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Nothing: a response is under way.
    Nothing,
    /// The first head, or the rest of a later one, by its number.
    Head(u64),
    /// Another request after so many, if it has one; for one to two times the keep-alive time.
    Request(u64),
    /// More of a body.
    Body,
}

/// One timer for whatever is awaited.
pub(super) struct ReadDeadlines {
    header_timeout: Duration,
    keep_alive_timeout: Duration,
    timer: Timer,
    awaited: Awaited,
    min_rate: MinRate,
}

// === impl ReadDeadlines ===

impl ReadDeadlines {
    /// The time for the first head begins now.
    pub(super) fn new(limits: &ServerLimits) -> Self {
        let mut timer = Timer::default();
        timer.run(|| Instant::now() + limits.header_timeout);
        Self {
            header_timeout: limits.header_timeout,
            keep_alive_timeout: limits.keep_alive_timeout,
            timer,
            awaited: Awaited::Head(0),
            min_rate: MinRate::new(limits.body_timeout, limits.body_rate),
        }
    }

    /// So many bytes came.
    pub(super) fn came(&mut self, count: usize) {
        if self.awaited == Awaited::Body {
            self.min_rate.came(count);
            self.turn_to(Awaited::Nothing);
        }
    }

    /// Nothing comes of what is awaited: whether that has lasted too long. If not, the task is woken then.
    pub(super) fn is_over(&mut self, awaited: Awaited, cx: &mut Context<'_>) -> bool {
        match awaited {
            Awaited::Nothing | Awaited::Request(_) => return self.is_idle(awaited, cx),
            Awaited::Head(_) => {
                self.turn_to(awaited);
                self.min_rate.refill();
                self.timer.run(|| Instant::now() + self.header_timeout);
            }
            Awaited::Body => {
                self.turn_to(awaited);
                self.timer.run(|| self.min_rate.wait());
            }
        }
        self.timer.is_over(cx)
    }

    /// Whether no request has come for too long. The timer is left running from one request to the next, since most
    /// connections have the next one soon; when it fires, what happened since is looked at.
    fn is_idle(&mut self, awaited: Awaited, cx: &mut Context<'_>) -> bool {
        self.min_rate.refill();
        if matches!(self.awaited, Awaited::Head(_) | Awaited::Body) {
            self.turn_to(awaited);
        }
        loop {
            self.timer.run(|| Instant::now() + self.keep_alive_timeout);
            if !self.timer.is_over(cx) {
                return false;
            }
            if self.awaited == awaited && awaited != Awaited::Nothing {
                return true;
            }
            self.turn_to(awaited);
            self.timer.clear();
        }
    }

    fn turn_to(&mut self, awaited: Awaited) {
        if self.awaited != awaited {
            self.awaited = awaited;
            self.timer.clear();
        }
    }
}
