//! How slowly a request's body may come.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket of time that waiting empties and bytes fill.
pub(super) struct MinRate {
    /// What the bucket holds when full.
    full: Duration,
    /// Bytes that are worth a second; 0 = any byte fills the bucket.
    rate: u64,
    left: Duration,
    waits_since: Option<Instant>,
}

// === impl MinRate ===

impl MinRate {
    /// Begins with a full bucket.
    pub(super) fn new(full: Duration, rate: u64) -> Self {
        Self { full, rate, left: full, waits_since: None }
    }

    /// Nothing is there; returns until when that may last. Time in which hyper does not read is not waiting.
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

    async fn waits(rate: &mut MinRate, seconds: u64) -> bool {
        let until = rate.wait();
        advance(Duration::from_secs(seconds)).await;
        Instant::now() < until
    }

    #[tokio::test(start_paused = true)]
    async fn one_silence_may_last_as_long_as_the_bucket() {
        let mut rate = MinRate::new(FULL, 0);
        for _ in 0..3 {
            assert!(waits(&mut rate, 29).await);
            rate.came(1);
        }
        assert!(!waits(&mut rate, 31).await);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_below_the_rate_only_put_the_end_off() {
        let mut rate = MinRate::new(FULL, 100);
        for _ in 0..5 {
            assert!(waits(&mut rate, 5).await);
            rate.came(10);
        }
        assert!(!waits(&mut rate, 6).await);
        rate.refill();
        for _ in 0..100 {
            assert!(waits(&mut rate, 5).await);
            rate.came(500);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_bytes_at_once_buy_no_silence_for_later() {
        let mut rate = MinRate::new(FULL, 100);
        rate.came(1_000_000);
        assert!(!waits(&mut rate, 31).await);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_hyper_does_not_read_does_not_count() {
        let mut rate = MinRate::new(FULL, 100);
        rate.came(1);
        advance(Duration::from_hours(1)).await;
        assert!(waits(&mut rate, 29).await);
    }
}
