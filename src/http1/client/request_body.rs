//! A request's body on its way up: counted, limited, its trailers filtered, its fate known to the sender.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{ClientError, io_kind};
use crate::http1::TrailerFilter;

// 0 while it runs.
const DONE: u8 = 1;
const BROKEN: u8 = 2;
const TOO_LARGE: u8 = 3;
const LATE: u8 = 4;

/// How far a request's body has come.
#[derive(Debug, Default)]
pub(super) struct UploadProgress {
    state: AtomicU8,
    bytes: AtomicU64,
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// The client's connection or framing broke.
    #[error("the request's body broke off")]
    Broken(#[source] hyper::Error),
    /// It is longer than the limit.
    #[error("the request's body is longer than the limit")]
    TooLarge,
}

/// A request's body.
pub struct RequestBody {
    incoming: Option<Incoming>,
    /// Bytes that may still come; `u64::MAX` = no limit.
    left: u64,
    progress: Arc<UploadProgress>,
    /// Without a filter no trailers go up.
    trailers: Option<TrailerFilter>,
}

// === impl UploadProgress ===

impl UploadProgress {
    /// All of the body was handed to hyper.
    pub(super) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Why the client's side ended it before its end.
    pub(super) fn failure(&self) -> Option<ClientError> {
        match self.state.load(Ordering::Acquire) {
            BROKEN => Some(ClientError::RequestBody),
            TOO_LARGE => Some(ClientError::RequestBodyTooLarge),
            LATE => Some(ClientError::RequestBodyLate),
            _ => None,
        }
    }

    /// Bytes handed to hyper so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn end(&self, state: u8) {
        self.state.store(state, Ordering::Release);
    }
}

// === impl RequestBody ===

impl RequestBody {
    /// The client's body, `limit` bytes at most; 0 = no limit.
    pub fn new(incoming: Incoming, limit: u64) -> Self {
        let progress = Arc::new(UploadProgress::default());
        if incoming.is_end_stream() {
            progress.end(DONE);
        }
        let left = if limit == 0 { u64::MAX } else { limit };
        Self { incoming: Some(incoming), left, progress, trailers: None }
    }

    /// No body, for a request that is sent again.
    pub fn empty() -> Self {
        let progress = Arc::new(UploadProgress::default());
        progress.end(DONE);
        Self { incoming: None, left: 0, progress, trailers: None }
    }

    /// Lets trailers go up, less those that the filter names.
    pub(super) fn send_trailers(&mut self, filter: TrailerFilter) {
        self.trailers = Some(filter);
    }

    pub(super) fn progress(&self) -> Arc<UploadProgress> {
        self.progress.clone()
    }

    /// Counts data; false = too much of it.
    fn count(&mut self, data: &Bytes) -> bool {
        let length = data.len() as u64;
        let Some(left) = self.left.checked_sub(length) else {
            self.progress.end(TOO_LARGE);
            return false;
        };
        if self.left != u64::MAX {
            self.left = left;
        }
        self.progress.bytes.fetch_add(length, Ordering::Relaxed);
        if self.incoming.as_ref().is_some_and(Body::is_end_stream) {
            // hyper does not poll again for a body whose length it knows.
            self.progress.end(DONE);
        }
        true
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let Some(incoming) = self.incoming.as_mut() else { return Poll::Ready(None) };
        let mut polled = ready!(Pin::new(incoming).poll_frame(cx));
        match &mut polled {
            None => self.progress.end(DONE),
            Some(Err(error)) => {
                // What the server side makes of a body that is late.
                let is_late = io_kind(error) == Some(io::ErrorKind::TimedOut);
                self.progress.end(if is_late { LATE } else { BROKEN });
            }
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    self.progress.end(DONE);
                    match &self.trailers {
                        Some(filter) => filter.apply(trailers),
                        None => trailers.clear(),
                    }
                } else if frame.data_ref().is_some_and(|data| !self.count(data)) {
                    return Poll::Ready(Some(Err(RequestBodyError::TooLarge)));
                }
            }
        }
        Poll::Ready(polled.map(|frame| frame.map_err(RequestBodyError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
