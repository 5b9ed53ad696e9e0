//! A response's body: passed on as it comes, cut off when it is silent for too long, its connection given back at its end.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::pool::{Pool, PooledConn};
use super::request_body::UploadProgress;
use crate::http1::timer::Timer;

/// A response's body, holding its connection until the end was read.
pub struct ResponseBody {
    incoming: Incoming,
    lease: Option<ConnLease>,
    /// How long it may be silent; zero = for ever.
    read_timeout: Duration,
    /// The connection's.
    silence: Timer,
}

/// Why a response ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The connection or the framing broke.
    #[error("the upstream's answer broke off")]
    Broken(#[source] hyper::Error),
    /// The client broke its upload off while the response ran.
    #[error("the request's body broke off while the upstream answered")]
    Upload,
    /// Nothing came for too long.
    #[error("the upstream was silent within its answer")]
    Silent,
}

/// The right to give a connection back. One that is not given back ends.
pub(super) struct ConnLease {
    pub(super) conn: PooledConn,
    pub(super) upload: Arc<UploadProgress>,
    pub(super) pool: Arc<Pool>,
}

// === impl ResponseBody ===

impl ResponseBody {
    /// The timer runs for nothing else.
    pub(super) fn new(incoming: Incoming, lease: Option<ConnLease>, read_timeout: Duration, silence: Timer) -> Self {
        let mut body = Self { incoming, lease, read_timeout, silence };
        if body.incoming.is_end_stream() {
            body.give_back();
        }
        body
    }

    fn give_back(&mut self) {
        if let Some(ConnLease { mut conn, upload, pool }) = self.lease.take()
            && upload.is_done()
        {
            conn.timer = mem::take(&mut self.silence);
            pool.keep(conn);
        }
    }

    /// Whose fault it was: hyper ends the response too when an upload breaks.
    fn cause(&self, error: hyper::Error) -> ResponseError {
        if self.lease.as_ref().is_some_and(|lease| lease.upload.failure().is_some()) {
            ResponseError::Upload
        } else {
            ResponseError::Broken(error)
        }
    }

    /// Nothing is there: whether that has lasted too long.
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
    type Error = ResponseError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending if self.is_silent(cx) => {
                self.lease = None;
                Poll::Ready(Some(Err(ResponseError::Silent)))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(frame) => {
                self.silence.clear();
                let is_over = match &frame {
                    None => true,
                    // hyper's server does not poll again after trailers.
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
