//! What the two halves of a client's connection share: `ServerIo`, which has its bytes, and
//! [`Exchange`](super::Exchange), one for each of its requests.
//!
//! - Interim responses (1xx) on their way down. hyper's server sends `100 Continue` and no other. The others are queued
//!   here, and written when hyper has nothing of an earlier response left to write, and before it writes the final one.
//! - The refusal of bytes that never became a request. In their place hyper gets a stand-in request; its number is here, so
//!   that the refusal is answered in its turn.
//! - Whether an upgrade was granted, for the bytes that follow the request.
//! - Which response has ended: the next request waits for it.
//! - Whether a response broke off, and so how the connection must end.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};

use super::guard::Malformed;

/// Most bytes that wait to be written; further interim responses are dropped.
const QUEUE_BYTES_MAX: usize = 64 * 1024;
/// An interim response ends with its head, and speaks of no connection.
const NOT_IN_INTERIM: [HeaderName; 4] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE];

/// The shared state of one client connection. Requests are known by their number on it, counted from 1.
#[derive(Clone, Default)]
pub(super) struct ServerConn {
    shared: Arc<ConnShared>,
}

#[derive(Default)]
struct ConnShared {
    /// Given back when the last clone is gone, since a tunnel outlives hyper.
    _permit: Option<Box<dyn Any + Send + Sync>>,
    has_interim: AtomicBool,
    /// hyper holds bytes that are not written: an interim response could get between them.
    is_undrained: AtomicBool,
    has_malformed: AtomicBool,
    is_cut: AtomicBool,
    /// The reading side holds bytes until a response is there. Else a response wakes nothing: most requests have nothing
    /// behind them.
    is_awaited: AtomicBool,
    /// Twice the number of the request answered last, and 1 more where its upgrade was granted.
    upgrade: AtomicU64,
    /// The number of the request whose response ended last.
    last_ended: AtomicU64,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    interim: Vec<u8>,
    malformed: Option<(u64, Malformed)>,
    waker: Option<Waker>,
}

// === impl ServerConn ===

impl ServerConn {
    pub(super) fn holding(permit: impl Any + Send + Sync) -> Self {
        Self { shared: Arc::new(ConnShared { _permit: Some(Box::new(permit)), ..ConnShared::default() }) }
    }

    /// Queues an interim response. 100 is hyper's own and 101 is final here; both are ignored.
    pub(super) fn push_interim(&self, status: StatusCode, headers: &HeaderMap) {
        if !status.is_informational() || status == StatusCode::CONTINUE || status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let mut queue = self.queue();
        let before = queue.interim.len();
        queue.interim.extend_from_slice(
            format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("")).as_bytes(),
        );
        for (name, value) in headers.iter().filter(|(name, _)| !NOT_IN_INTERIM.contains(name)) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                queue.interim.extend_from_slice(part);
            }
        }
        queue.interim.extend_from_slice(b"\r\n");
        if queue.interim.len() > QUEUE_BYTES_MAX {
            queue.interim.truncate(before);
        }
        self.shared.has_interim.store(true, Ordering::Release);
        queue.wake();
    }

    /// Whether an interim response waits; costs one load.
    pub(super) fn has_interim(&self) -> bool {
        self.shared.has_interim.load(Ordering::Acquire)
    }

    pub(super) fn take_interim(&self) -> Vec<u8> {
        let mut queue = self.queue();
        self.shared.has_interim.store(false, Ordering::Release);
        std::mem::take(&mut queue.interim)
    }

    /// Whether all that hyper has to write is written.
    pub(super) fn set_drained(&self, is_drained: bool) {
        self.shared.is_undrained.store(!is_drained, Ordering::Release);
    }

    /// Whether what is written now comes after all earlier responses and before all later ones.
    pub(super) fn is_drained(&self) -> bool {
        !self.shared.is_undrained.load(Ordering::Acquire)
    }

    /// The final response goes to hyper now. Interim responses that wait behind an earlier response's bytes would come after
    /// it: they are dropped, as any proxy may (RFC 9110 15.2).
    pub(super) fn begin_response(&self) {
        if self.has_interim() && !self.is_drained() {
            self.take_interim();
        }
    }

    /// The request of this number is a stand-in for bytes that were refused.
    pub(super) fn refuse(&self, seq: u64, malformed: Malformed) {
        self.queue().malformed = Some((seq, malformed));
        self.shared.has_malformed.store(true, Ordering::Release);
    }

    /// Whether the request of this number is a stand-in. No client can fake one: only the reading side counts.
    pub(super) fn malformed(&self, seq: u64) -> Option<Malformed> {
        if !self.shared.has_malformed.load(Ordering::Acquire) {
            return None;
        }
        self.queue().malformed.filter(|(of, _)| *of == seq).map(|(_, malformed)| malformed)
    }

    pub(super) fn answer_upgrade(&self, seq: u64, is_granted: bool) {
        self.shared.upgrade.store(seq << 1 | u64::from(is_granted), Ordering::Release);
        self.wake_if_awaited();
    }

    /// Whether the protocol changes after the request of this number; `None` until that is known.
    pub(super) fn upgrade(&self, seq: u64) -> Option<bool> {
        let answered = self.shared.upgrade.load(Ordering::Acquire);
        (answered >> 1 == seq).then_some(answered & 1 == 1)
    }

    /// A response broke off, and only the connection's end can tell the client.
    pub(super) fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::Release);
    }

    /// Whether a response broke off: the connection's end must not look like the response's.
    pub(super) fn is_cut(&self) -> bool {
        self.shared.is_cut.load(Ordering::Acquire)
    }

    /// The response to the request of this number has ended.
    pub(super) fn end(&self, seq: u64) {
        self.shared.last_ended.store(seq, Ordering::Release);
        self.wake_if_awaited();
    }

    /// The number of the request whose response ended last.
    pub(super) fn last_ended(&self) -> u64 {
        self.shared.last_ended.load(Ordering::Acquire)
    }

    /// Whether the reading side waits for a response.
    pub(super) fn set_awaited(&self, is_awaited: bool) {
        self.shared.is_awaited.store(is_awaited, Ordering::SeqCst);
    }

    #[cfg(test)]
    pub(super) fn is_awaited(&self) -> bool {
        self.shared.is_awaited.load(Ordering::SeqCst)
    }

    fn wake_if_awaited(&self) {
        if self.shared.is_awaited.load(Ordering::SeqCst) {
            self.queue().wake();
        }
    }

    /// Registers the task to wake.
    pub(super) fn wake_by(&self, waker: &Waker) {
        let mut queue = self.queue();
        if !queue.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            queue.waker = Some(waker.clone());
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Queue ===

impl Queue {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn interim_responses_are_written_as_they_came_less_their_hop() {
        let conn = ServerConn::default();
        let mut headers = HeaderMap::new();
        headers.insert("link", HeaderValue::from_static("</a>; rel=preload"));
        headers.insert("connection", HeaderValue::from_static("close"));
        headers.insert("content-length", HeaderValue::from_static("0"));
        headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
        for other in [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS, StatusCode::OK] {
            conn.push_interim(other, &headers);
            assert!(!conn.has_interim(), "{other}");
        }
        conn.push_interim(StatusCode::EARLY_HINTS, &headers);
        assert!(conn.has_interim());
        assert_eq!(conn.take_interim(), b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n");
        assert!(!conn.has_interim());
    }

    #[test]
    fn a_refusal_is_for_the_request_that_stands_for_it() {
        let conn = ServerConn::default();
        assert_eq!(conn.malformed(1), None);
        conn.refuse(2, Malformed::Framing);
        assert_eq!((conn.malformed(1), conn.malformed(2)), (None, Some(Malformed::Framing)));
    }

    #[test]
    fn an_upgrade_is_answered_for_its_own_request() {
        let conn = ServerConn::default();
        assert_eq!(conn.upgrade(1), None);
        conn.answer_upgrade(1, false);
        assert_eq!((conn.upgrade(1), conn.upgrade(2)), (Some(false), None));
        conn.answer_upgrade(2, true);
        assert_eq!(conn.upgrade(2), Some(true));
    }

    #[test]
    fn the_queue_is_bounded() {
        let conn = ServerConn::default();
        for _ in 0..10_000 {
            conn.push_interim(StatusCode::PROCESSING, &HeaderMap::new());
        }
        assert!(conn.take_interim().len() <= QUEUE_BYTES_MAX);
    }
}
