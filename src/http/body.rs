//! The client's body on its way up: counted, limited, its trailers stripped, its fate known to the sender.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::names::HeaderTable;
use super::trailing::Trailing;

// 0 while it runs.
const DONE: u8 = 1;
const BROKEN: u8 = 2;
const TOO_LARGE: u8 = 3;
const LATE: u8 = 4;

/// How far a request's body has come.
#[derive(Debug, Default)]
pub struct Progress {
    state: AtomicU8,
    bytes: AtomicU64,
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client's connection or framing broke.
    #[error("the request's body broke off")]
    Client(#[source] hyper::Error),
    /// It is longer than the limit.
    #[error("the request's body is longer than the limit")]
    TooLarge,
}

/// A request's body.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Option<Incoming>,
    /// Bytes that may still come; 0 at the start means no limit, kept as `u64::MAX`.
    left: u64,
    owned: Arc<HeaderTable>,
    progress: Arc<Progress>,
    /// Where trailers go; without a place they are dropped.
    trailing: Option<Arc<Trailing>>,
}

// === impl Progress ===

impl Progress {
    /// All of the body has been handed on.
    pub fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    /// It did not come in time.
    pub fn is_late(&self) -> bool {
        self.state.load(Ordering::Acquire) == LATE
    }

    /// The client's side broke it.
    pub fn is_broken(&self) -> bool {
        self.state.load(Ordering::Acquire) == BROKEN
    }

    /// It broke off, came too late or was too long.
    pub fn has_failed(&self) -> bool {
        self.is_broken() || self.is_late() || self.is_too_large()
    }

    /// It was too long.
    pub fn is_too_large(&self) -> bool {
        self.state.load(Ordering::Acquire) == TOO_LARGE
    }

    /// Bytes handed on so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn end(&self, state: u8) {
        self.state.store(state, Ordering::Release);
    }
}

// === impl RequestBody ===

impl RequestBody {
    /// The client's body, `limit` bytes at most; 0 = no limit. Trailers that `owned` names are taken out.
    pub fn new(incoming: Incoming, limit: u64, owned: Arc<HeaderTable>) -> Self {
        let progress = Arc::new(Progress::default());
        if incoming.is_end_stream() {
            progress.end(DONE);
        }
        let left = if limit == 0 { u64::MAX } else { limit };
        Self { incoming: Some(incoming), left, owned, progress, trailing: None }
    }

    /// No body, for a request that is sent again.
    pub fn empty(owned: Arc<HeaderTable>) -> Self {
        let progress = Arc::new(Progress::default());
        progress.end(DONE);
        Self { incoming: None, left: 0, owned, progress, trailing: None }
    }

    /// Whoever writes the body takes its trailers from there.
    pub fn leave_trailers(&mut self, trailing: Arc<Trailing>) {
        self.trailing = Some(trailing);
    }

    /// The body's fate, for whoever sends it.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(incoming) = self.incoming.as_mut() else { return Poll::Ready(None) };
        match ready!(Pin::new(incoming).poll_frame(cx)) {
            None => {
                self.progress.end(DONE);
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                // What the wire makes of a body that keeps us waiting for too long.
                let is_late = io_kind(&error) == Some(io::ErrorKind::TimedOut);
                self.progress.end(if is_late { LATE } else { BROKEN });
                Poll::Ready(Some(Err(BodyError::Client(error))))
            }
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let length = data.len() as u64;
                    let Some(left) = self.left.checked_sub(length) else {
                        self.progress.end(TOO_LARGE);
                        return Poll::Ready(Some(Err(BodyError::TooLarge)));
                    };
                    if self.left != u64::MAX {
                        self.left = left;
                    }
                    self.progress.bytes.fetch_add(length, Ordering::Relaxed);
                    if self.incoming.as_ref().is_some_and(Body::is_end_stream) {
                        // hyper does not ask again for a body whose length it knows.
                        self.progress.end(DONE);
                    }
                }
                if let Some(trailers) = frame.trailers_ref() {
                    if let Some(trailing) = &self.trailing {
                        trailing.leave(&self.owned.strip_trailers(trailers));
                    }
                    self.incoming = None;
                    self.progress.end(DONE);
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What kind of error of the connection's hyper tells of, where it is one.
pub fn io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    error.source()?.downcast_ref::<io::Error>().map(io::Error::kind)
}
