//! How slowly a request's body may come.

use std::time::Duration;

use tokio::time::Instant;

/// How long a body may keep us waiting: a bucket of time that waiting empties and bytes fill.
pub(super) struct Pace {
    /// What the bucket holds when full.
    full: Duration,
    /// Bytes that are worth a second; 0 = any byte fills the bucket.
    rate: u64,
    left: Duration,
    waits_since: Option<Instant>,
}

// === impl Pace ===

impl Pace {
    /// Full.
    pub(super) fn new(full: Duration, rate: u64) -> Self {
        Self { full, rate, left: full, waits_since: None }
    }

    /// Nothing is there; until when it may stay so. Time in which nobody wants to read is not waiting.
    pub(super) fn wait(&mut self) -> Instant {
        *self.waits_since.get_or_insert_with(Instant::now) + self.left
    }

    /// So many bytes came.
    pub(super) fn came(&mut self, bytes: usize) {
        if let Some(since) = self.waits_since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        if self.left < self.full {
            let worth = match self.rate {
                0 => self.full,
                rate => Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000) / rate),
            };
            self.left = self.left.saturating_add(worth).min(self.full);
        }
    }

    /// The next body begins with a full bucket.
    pub(super) fn refill(&mut self) {
        (self.left, self.waits_since) = (self.full, None);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const FULL: Duration = Duration::from_secs(30);

    async fn waits(pace: &mut Pace, seconds: u64) -> bool {
        let until = pace.wait();
        advance(Duration::from_secs(seconds)).await;
        Instant::now() < until
    }

    #[tokio::test(start_paused = true)]
    async fn one_silence_may_last_as_long_as_the_bucket() {
        let mut pace = Pace::new(FULL, 0);
        for _ in 0..3 {
            assert!(waits(&mut pace, 29).await);
            pace.came(1);
        }
        assert!(!waits(&mut pace, 31).await);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_below_the_rate_only_put_the_end_off() {
        let mut pace = Pace::new(FULL, 100);
        for _ in 0..5 {
            assert!(waits(&mut pace, 5).await);
            pace.came(10);
        }
        assert!(!waits(&mut pace, 6).await);
        pace.refill();
        for _ in 0..100 {
            assert!(waits(&mut pace, 5).await);
            pace.came(500);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_bytes_at_once_buy_no_silence_for_later() {
        let mut pace = Pace::new(FULL, 100);
        pace.came(1_000_000);
        assert!(!waits(&mut pace, 31).await);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_reads_does_not_count() {
        let mut pace = Pace::new(FULL, 100);
        pace.came(1);
        advance(Duration::from_hours(1)).await;
        assert!(waits(&mut pace, 29).await);
    }
}
