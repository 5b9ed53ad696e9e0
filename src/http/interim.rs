//! Interim answers (1xx) on their way down.
//!
//! hyper's server sends `100 Continue` by itself and no other. The rest are written beside it: queued here by whoever
//! has the upstream's interim answer, written by the connection's [`Wire`](crate::server::wire::Wire) when hyper has
//! nothing of an earlier answer left to write and before it writes the final one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use http::{HeaderMap, StatusCode};

use super::hop::HOP_BY_HOP;

/// Most bytes that wait to be written; an upstream that sends interim answers without end is not followed further.
const QUEUE_BYTES_MAX: usize = 64 * 1024;

/// The interim answers of one downstream connection.
#[derive(Debug, Clone, Default)]
pub struct Interim {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_waiting: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    waker: Option<Waker>,
}

// === impl Interim ===

impl Interim {
    /// Queues an interim answer. 100 is hyper's own and 101 is no interim answer to us; both are passed over.
    pub fn push(&self, status: StatusCode, headers: &HeaderMap) {
        if !status.is_informational() || status == StatusCode::CONTINUE || status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let mut queue = self.queue();
        let before = queue.bytes.len();
        queue.bytes.extend_from_slice(
            format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("")).as_bytes(),
        );
        for (name, value) in headers.iter().filter(|(name, _)| !HOP_BY_HOP.contains(name)) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                queue.bytes.extend_from_slice(part);
            }
        }
        queue.bytes.extend_from_slice(b"\r\n");
        if queue.bytes.len() > QUEUE_BYTES_MAX {
            queue.bytes.truncate(before);
        }
        self.shared.is_waiting.store(true, Ordering::Release);
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }

    /// Whether something waits; costs one load.
    pub fn is_waiting(&self) -> bool {
        self.shared.is_waiting.load(Ordering::Acquire)
    }

    /// What waits, for the connection to write.
    pub fn take(&self) -> Vec<u8> {
        let mut queue = self.queue();
        self.shared.is_waiting.store(false, Ordering::Release);
        std::mem::take(&mut queue.bytes)
    }

    /// Who is to be woken when something comes.
    pub fn wake_by(&self, waker: &Waker) {
        let mut queue = self.queue();
        if !queue.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            queue.waker = Some(waker.clone());
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn interim_answers_are_written_as_they_came_less_their_hop() {
        let interim = Interim::default();
        let mut headers = HeaderMap::new();
        headers.insert("link", HeaderValue::from_static("</a>; rel=preload"));
        headers.insert("connection", HeaderValue::from_static("close"));
        interim.push(StatusCode::CONTINUE, &headers);
        assert!(!interim.is_waiting());
        interim.push(StatusCode::EARLY_HINTS, &headers);
        assert!(interim.is_waiting());
        assert_eq!(interim.take(), b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n");
        assert!(!interim.is_waiting());
    }

    #[test]
    fn the_queue_is_bounded() {
        let interim = Interim::default();
        for _ in 0..10_000 {
            interim.push(StatusCode::PROCESSING, &HeaderMap::new());
        }
        assert!(interim.take().len() <= QUEUE_BYTES_MAX);
    }
}
