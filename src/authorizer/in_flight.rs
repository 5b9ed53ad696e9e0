//! How many requests may be in flight.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::{Code, Refusal};

/// What clients are told to wait when all places are taken.
const OVERLOADED_RETRY: Duration = Duration::from_secs(1);

/// Places for the requests in flight of all listeners and workers together.
#[derive(Debug, Clone)]
pub struct InFlightLimit {
    most: usize,
    /// `None` = no limit.
    places: Option<Arc<Semaphore>>,
}

// === impl InFlightLimit ===

impl InFlightLimit {
    /// `most` requests; 0 = no limit.
    pub fn new(most: usize) -> Self {
        let places = (most > 0).then(|| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))));
        Self { most, places }
    }

    /// The limit after a reload: the same places while the limit is the same, so that requests under way count on.
    #[must_use]
    pub fn reloaded(&self, most: usize) -> Self {
        if self.most == most { self.clone() } else { Self::new(most) }
    }

    /// Takes a place, held until LiteLLM's answer has ended, or vestibule's own is handed on. Refuses with `overloaded` where
    /// all are taken.
    pub fn enter(&self) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        let Some(places) = &self.places else { return Ok(None) };
        let place = places.clone().try_acquire_owned();
        place.map(Some).map_err(|_| Refusal::from(Code::Overloaded).retry_after(OVERLOADED_RETRY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_and_outlive_a_reload_of_the_same_limit() {
        let limit = InFlightLimit::new(1);
        let place = limit.enter().unwrap();
        assert!(limit.enter().is_err() && limit.reloaded(1).enter().is_err() && limit.reloaded(2).enter().is_ok());
        drop(place);
        assert!(limit.enter().unwrap().is_some());
        assert!(InFlightLimit::new(0).enter().unwrap().is_none());
    }
}
