//! An answer's body: passed on as it comes, cut off when it is silent for too long, its connection given back at its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use tokio::time::Instant;

use super::{Shared, Spare};
use crate::http::body::Progress;
use crate::http::clock::Clock;

/// An answer's body, holding its connection until the end has been read.
pub struct ResponseBody {
    incoming: Incoming,
    lease: Option<Lease>,
    /// How long it may be silent; 0 = no limit.
    read_timeout: Duration,
    silence: Clock,
}

/// Why an answer ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The connection or the framing broke.
    #[error("LiteLLM's answer broke off")]
    Broken(#[source] hyper::Error),
    /// The client broke its upload off while the answer ran.
    #[error("the request's body broke off while LiteLLM answered")]
    Upload,
    /// Nothing came for too long.
    #[error("LiteLLM was silent within its answer")]
    Silent,
}

/// The right to give a connection back. One that is not given back ends.
pub(super) struct Lease {
    pub(super) spare: Spare,
    pub(super) upload: Arc<Progress>,
    pub(super) shared: Arc<Shared>,
}

// === impl ResponseBody ===

impl ResponseBody {
    pub(super) fn lend(lease: Option<Lease>, read_timeout: Duration, response: Response<Incoming>) -> Response<Self> {
        response.map(|incoming| {
            let mut body = Self { incoming, lease, read_timeout, silence: Clock::default() };
            if body.incoming.is_end_stream() {
                body.give_back();
            }
            body
        })
    }

    fn give_back(&mut self) {
        if let Some(Lease { spare, upload, shared }) = self.lease.take()
            && upload.is_done()
        {
            shared.keep(spare);
        }
    }

    /// Whose fault it was: hyper ends the answer too when an upload breaks.
    fn cause(&self, error: hyper::Error) -> AnswerError {
        if self.lease.as_ref().is_some_and(|lease| lease.upload.has_failed()) {
            AnswerError::Upload
        } else {
            AnswerError::Broken(error)
        }
    }

    /// Nothing is there: whether it has been so for too long.
    fn is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        if self.read_timeout.is_zero() {
            return false;
        }
        self.silence.run(|| Instant::now() + self.read_timeout);
        self.silence.is_over(cx)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending if self.is_silent(cx) => {
                self.lease = None;
                Poll::Ready(Some(Err(AnswerError::Silent)))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(frame) => {
                self.silence.clear();
                let is_over = match &frame {
                    None => true,
                    // hyper's server asks for nothing after trailers.
                    Some(Ok(frame)) => frame.is_trailers() || self.incoming.is_end_stream(),
                    Some(Err(_)) => false,
                };
                if is_over {
                    self.give_back();
                }
                Poll::Ready(frame.map(|frame| frame.map_err(|error| self.cause(error))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
