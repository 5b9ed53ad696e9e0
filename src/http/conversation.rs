//! What the two halves of a downstream connection tell each other: the [`Wire`](crate::server::wire::Wire), which has its
//! bytes, and the service, which has its requests.
//!
//! - Interim answers (1xx) on their way down. hyper's server sends `100 Continue` by itself and no other. The rest are
//!   queued here by whoever has the upstream's, and written by the wire when hyper has nothing of an earlier answer left
//!   to write, and before it writes the final one.
//! - The refusal of bytes that never became a request. In their place the wire hands on a request of its own, and says
//!   here which one it is, so that the refusal is answered in its turn.
//! - Whether a request to change the protocol was granted, for the bytes that follow it.
//! - Whose turn it is: the wire leaves a request until the one before it has been answered.
//! - The trailers of an answer, and whether an answer broke off: how the answer's bytes must end.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};

use super::framing::Bad;
use super::hop::HOP_BY_HOP;
use super::trailing::Trailing;

/// Most bytes that wait to be written; an upstream that sends interim answers without end is not followed further.
const QUEUE_BYTES_MAX: usize = 64 * 1024;

/// The talk of one downstream connection.
#[derive(Clone, Default)]
pub struct Conversation {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The connection's place among all connections, given back when the last who talks has ended: a tunnel outlives hyper.
    _seat: Option<Box<dyn Any + Send + Sync>>,
    has_interim: AtomicBool,
    /// hyper holds bytes that are not written. An interim answer could get between them.
    is_undrained: AtomicBool,
    has_bad: AtomicBool,
    is_cut: AtomicBool,
    /// The wire holds bytes until a request is answered. Else an answer wakes nobody: most requests have nothing behind them.
    is_awaited: AtomicBool,
    /// The number of the request answered last, twice, and 1 more where its change of protocol was granted.
    upgrade: AtomicU64,
    /// The number of the request whose answer ended last.
    answered: AtomicU64,
    queue: Mutex<Queue>,
    /// The trailers of the answer that goes down.
    trailing: Trailing,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    bad: Option<(u64, Bad)>,
    waker: Option<Waker>,
}

// === impl Conversation ===

impl Conversation {
    /// The talk of a connection that holds a place as long as anybody talks.
    pub fn seated(seat: impl Any + Send + Sync) -> Self {
        Self { shared: Arc::new(Shared { _seat: Some(Box::new(seat)), ..Shared::default() }) }
    }

    /// Queues an interim answer. 100 is hyper's own and 101 is no interim answer to us; both are passed over.
    pub fn push_interim(&self, status: StatusCode, headers: &HeaderMap) {
        if !status.is_informational() || status == StatusCode::CONTINUE || status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let mut queue = self.queue();
        let before = queue.bytes.len();
        queue.bytes.extend_from_slice(
            format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("")).as_bytes(),
        );
        // RFC 9110 8.6: an interim answer has no length to tell.
        let passes = |name: &HeaderName| !HOP_BY_HOP.contains(name) && *name != header::CONTENT_LENGTH;
        for (name, value) in headers.iter().filter(|(name, _)| passes(name)) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                queue.bytes.extend_from_slice(part);
            }
        }
        queue.bytes.extend_from_slice(b"\r\n");
        if queue.bytes.len() > QUEUE_BYTES_MAX {
            queue.bytes.truncate(before);
        }
        self.shared.has_interim.store(true, Ordering::Release);
        queue.wake();
    }

    /// Whether an interim answer waits; costs one load.
    pub fn has_interim(&self) -> bool {
        self.shared.has_interim.load(Ordering::Acquire)
    }

    /// The interim answers that wait, for the wire to write.
    pub fn take_interim(&self) -> Vec<u8> {
        let mut queue = self.queue();
        self.shared.has_interim.store(false, Ordering::Release);
        std::mem::take(&mut queue.bytes)
    }

    /// The wire says whether all that hyper has to write is written.
    pub fn drained(&self, is_drained: bool) {
        self.shared.is_undrained.store(!is_drained, Ordering::Release);
    }

    /// Whether what is written now goes behind all that came before, and before all that is to come.
    pub fn is_drained(&self) -> bool {
        !self.shared.is_undrained.load(Ordering::Acquire)
    }

    /// The service says that the final answer goes to hyper now. Interim answers that wait behind an earlier answer's bytes
    /// would come after it: they are dropped, as any recipient may (RFC 9110 15.2).
    pub fn answer(&self) {
        if self.has_interim() && !self.is_drained() {
            self.take_interim();
        }
    }

    /// The wire says: the request of this number, counted from 1, stands for bytes that were refused.
    pub fn refuse(&self, number: u64, bad: Bad) {
        self.queue().bad = Some((number, bad));
        self.shared.has_bad.store(true, Ordering::Release);
    }

    /// The service asks whether the request of this number stands for refused bytes. No bytes of a client's can make the
    /// answer yes: the wire alone counts.
    pub fn bad(&self, number: u64) -> Option<Bad> {
        if !self.shared.has_bad.load(Ordering::Acquire) {
            return None;
        }
        self.queue().bad.filter(|(of, _)| *of == number).map(|(_, bad)| bad)
    }

    /// The service says whether the protocol changes after the request of this number.
    pub fn answer_upgrade(&self, number: u64, is_granted: bool) {
        self.shared.upgrade.store(number << 1 | u64::from(is_granted), Ordering::Release);
        self.wake_who_awaits();
    }

    /// The wire asks whether the protocol changes after the request of this number; `None` as long as nobody has said.
    /// What was said of an earlier request is no answer.
    pub fn upgrade(&self, number: u64) -> Option<bool> {
        let answered = self.shared.upgrade.load(Ordering::Acquire);
        (answered >> 1 == number).then_some(answered & 1 == 1)
    }

    /// Where an answer leaves its trailers.
    pub fn trailing(&self) -> &Trailing {
        &self.shared.trailing
    }

    /// The service says that an answer broke off.
    pub fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::Release);
    }

    /// Whether an answer broke off: the connection's end must not look like the answer's.
    pub fn is_cut(&self) -> bool {
        self.shared.is_cut.load(Ordering::Acquire)
    }

    /// The service says that the answer to the request of this number has ended.
    pub fn end(&self, number: u64) {
        self.shared.answered.store(number, Ordering::Release);
        self.wake_who_awaits();
    }

    /// The number of the request whose answer ended last.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Acquire)
    }

    /// The wire says whether it waits for an answer.
    pub fn await_answer(&self, awaits: bool) {
        self.shared.is_awaited.store(awaits, Ordering::SeqCst);
    }

    /// Whether the wire waits for an answer.
    #[cfg(test)]
    pub fn awaits_answer(&self) -> bool {
        self.shared.is_awaited.load(Ordering::SeqCst)
    }

    fn wake_who_awaits(&self) {
        if self.shared.is_awaited.load(Ordering::SeqCst) {
            self.queue().wake();
        }
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
    fn interim_answers_are_written_as_they_came_less_their_hop() {
        let talk = Conversation::default();
        let mut headers = HeaderMap::new();
        headers.insert("link", HeaderValue::from_static("</a>; rel=preload"));
        headers.insert("connection", HeaderValue::from_static("close"));
        headers.insert("content-length", HeaderValue::from_static("0"));
        for other in [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS, StatusCode::OK] {
            talk.push_interim(other, &headers);
            assert!(!talk.has_interim(), "{other}");
        }
        talk.push_interim(StatusCode::EARLY_HINTS, &headers);
        assert!(talk.has_interim());
        assert_eq!(talk.take_interim(), b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n");
        assert!(!talk.has_interim());
    }

    #[test]
    fn a_refusal_is_for_the_request_that_stands_for_it() {
        let talk = Conversation::default();
        assert_eq!(talk.bad(1), None);
        talk.refuse(2, Bad::Framing);
        assert_eq!((talk.bad(1), talk.bad(2)), (None, Some(Bad::Framing)));
    }

    #[test]
    fn an_upgrade_is_answered_for_its_own_request() {
        let talk = Conversation::default();
        assert_eq!(talk.upgrade(1), None);
        talk.answer_upgrade(1, false);
        assert_eq!((talk.upgrade(1), talk.upgrade(2)), (Some(false), None));
        talk.answer_upgrade(2, true);
        assert_eq!(talk.upgrade(2), Some(true));
    }

    #[test]
    fn the_queue_is_bounded() {
        let talk = Conversation::default();
        for _ in 0..10_000 {
            talk.push_interim(StatusCode::PROCESSING, &HeaderMap::new());
        }
        assert!(talk.take_interim().len() <= QUEUE_BYTES_MAX);
    }
}
