//! Connections to LiteLLM: a worker's own, kept while idle, given back when an answer has been read to its end.
//!
//! uvicorn closes a connection that was idle for 5 s (gunicorn's workers for 2 s), so ours are let go before
//! (`limits.upstream_idle_timeout`). A connection can still go in the instant of its use: a request of which nothing was
//! written, or a bodiless GET, HEAD or OPTIONS, is then sent once more on a new connection. Nothing else ever is: it may
//! have been read.

mod body;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::config::{Limits, UpstreamUrl};
use crate::http::body::{RequestBody, io_kind};
use crate::http::framing::Asked;
use crate::http::liveness;
use crate::telemetry::metrics::Metrics;
use body::Lease;
pub use body::{AnswerError, ResponseBody};
use wire::{Link, Wire};

/// Most bytes of an answer's head. It is hyper's limit for one read too, and so for what a stalled stream holds.
const RESPONSE_HEAD_BYTES_MAX: usize = 32 * 1024;
/// Most fields of an answer: hyper's limit where none is set (`DEFAULT_MAX_HEADERS`).
const RESPONSE_FIELDS_MAX: usize = 100;

/// Where requests go, and the connections of one worker.
#[derive(Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection.
    #[error("could not connect to LiteLLM at {address}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// No connection in time.
    #[error("LiteLLM at {0} did not accept a connection in time")]
    ConnectTimeout(String),
    /// No answer in time.
    #[error("LiteLLM did not begin to answer in time")]
    FirstByteTimeout,
    /// The connection broke, or the answer was not HTTP.
    #[error("LiteLLM's answer could not be read")]
    Answer(#[source] hyper::Error),
    /// The client's body broke off while it was sent.
    #[error("the request's body broke off")]
    ClientBody,
    /// The client's body did not come in time.
    #[error("the request's body did not come in time")]
    ClientBodyLate,
    /// The client's body was too long.
    #[error("the request's body was too long")]
    ClientBodyTooLarge,
}

struct Shared {
    address: UpstreamUrl,
    limits: Limits,
    idle: Mutex<Vec<Idle>>,
    metrics: Arc<Metrics>,
}

struct Idle {
    spare: Spare,
    since: Instant,
}

/// A connection, which ends with whoever holds it: half a request, half an answer, or what nobody asked for may be in it.
/// Nobody would wake hyper for an upload that stands still, so its task is ended from outside.
struct Spare {
    sender: SendRequest<RequestBody>,
    link: Arc<Link>,
    task: AbortHandle,
    is_detached: bool,
}

// === impl Upstream ===

impl Upstream {
    /// No connection is made before the first request.
    pub fn new(address: UpstreamUrl, limits: Limits, metrics: Arc<Metrics>) -> Self {
        let shared = Shared { address, limits, idle: Mutex::default(), metrics };
        Self { shared: Arc::new(shared) }
    }

    /// Sends a request. `again` makes the same request without its body, for the one repetition that is allowed.
    ///
    /// Dropping the future closes the connection: LiteLLM sees that nobody waits any more.
    pub async fn send(
        &self,
        request: Request<RequestBody>,
        again: impl Fn() -> Option<Request<RequestBody>>,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        let is_repeatable =
            request.body().is_end_stream() && matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let Some(kept) = self.shared.take_idle() else {
            return self.shared.exchange(self.shared.connect().await?, request).await.map_err(|(error, _)| error);
        };
        match self.shared.exchange(kept, request).await {
            Ok(answer) => Ok(answer),
            Err((UpstreamError::Answer(_), Some(unsent))) => {
                self.shared.metrics.upstream_retries.inc();
                self.shared.exchange(self.shared.connect().await?, *unsent).await.map_err(|(error, _)| error)
            }
            Err((UpstreamError::Answer(error), None)) if is_repeatable && is_gone(&error) => {
                let Some(again) = again() else { return Err(UpstreamError::Answer(error)) };
                self.shared.metrics.upstream_retries.inc();
                self.shared.exchange(self.shared.connect().await?, again).await.map_err(|(error, _)| error)
            }
            Err((error, _)) => Err(error),
        }
    }

    /// Lets go of connections that were idle for too long. Called now and then by the worker that owns them.
    pub fn sweep(&self) {
        let limit = self.shared.limits.upstream_idle_timeout;
        self.shared.idle().retain(|kept| kept.since.elapsed() < limit && !kept.spare.sender.is_closed());
    }
}

// === impl Spare ===

impl Spare {
    /// Lets the connection go on by itself: it has seen a request to change the protocol, and may be a tunnel.
    fn detach(mut self) {
        self.is_detached = true;
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if !self.is_detached {
            self.task.abort();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // A push or a pop is whole even if a panic came while the lock was held.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, and so the likeliest to be alive.
    fn take_idle(&self) -> Option<Spare> {
        let mut idle = self.idle();
        while let Some(kept) = idle.pop() {
            if kept.since.elapsed() >= self.limits.upstream_idle_timeout {
                idle.clear();
                return None;
            }
            // Not `is_closed`: the end of an upload may still be unwritten, and hyper takes nothing before it is.
            if kept.spare.sender.is_ready() {
                return Some(kept.spare);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    fn keep(&self, spare: Spare) {
        if spare.sender.is_closed() || spare.link.is_spoilt() {
            return;
        }
        let mut idle = self.idle();
        if idle.len() < self.limits.upstream_idle_connections {
            idle.push(Idle { spare, since: Instant::now() });
        }
    }

    async fn connect(&self) -> Result<Spare, UpstreamError> {
        let limit = self.limits.upstream_connect_timeout;
        let failed = |source| UpstreamError::Connect { address: self.address.to_string(), source };
        let late = |_| UpstreamError::ConnectTimeout(self.address.to_string());
        self.metrics.upstream_connects.inc();
        match &self.address {
            UpstreamUrl::Tcp { host, port } => {
                let stream =
                    timeout(limit, TcpStream::connect((host.as_str(), *port))).await.map_err(late)?.map_err(failed)?;
                stream.set_nodelay(true).and_then(|()| liveness::watch(&stream)).map_err(failed)?;
                self.handshake(stream).await
            }
            UpstreamUrl::Unix(path) => {
                let stream = timeout(limit, UnixStream::connect(path)).await.map_err(late)?.map_err(failed)?;
                self.handshake(stream).await
            }
        }
    }

    async fn handshake<S>(&self, stream: S) -> Result<Spare, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_header_size(RESPONSE_HEAD_BYTES_MAX).max_buf_size(RESPONSE_HEAD_BYTES_MAX);
        let link = Arc::new(Link::default());
        let wire = TokioIo::new(Wire::new(stream, link.clone()));
        let (sender, connection) = builder.handshake(wire).await.map_err(UpstreamError::Answer)?;
        let running = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(cause = crate::telemetry::logs::chain(&error), "a connection to LiteLLM ended");
            }
        });
        Ok(Spare { sender, link, task: running.abort_handle(), is_detached: false })
    }

    /// One request, one answer. With the error comes the request, where nothing of it was written.
    async fn exchange(
        self: &Arc<Self>,
        mut spare: Spare,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, (UpstreamError, Option<Box<Request<RequestBody>>>)> {
        let upload = request.body().progress();
        // A connection that has seen an upgrade, granted or not, is never used for another request.
        let is_reusable = !request.headers().contains_key(http::header::UPGRADE);
        if let Err(error) = spare.sender.ready().await {
            return Err((UpstreamError::Answer(error), Some(Box::new(request))));
        }
        request.body_mut().leave_trailers(spare.link.trailing());
        spare.link.ask(match *request.method() {
            _ if !is_reusable => Asked::Upgrade,
            Method::HEAD => Asked::Head,
            _ => Asked::Plain,
        });
        let answer = spare.sender.try_send_request(request);
        tokio::pin!(answer);
        let result = loop {
            let (sent, was_done) = (upload.bytes(), upload.is_done());
            match timeout(self.limits.upstream_first_byte_timeout, &mut answer).await {
                Ok(result) => break result,
                // A window in which the upload went on, or ended, is followed by a whole one: a slow client is no fault of
                // LiteLLM's.
                Err(_) if !was_done && (upload.bytes() > sent || upload.is_done()) => {}
                Err(_) => return Err((UpstreamError::FirstByteTimeout, None)),
            }
        };
        match result {
            Ok(response) => {
                let lease = if is_reusable {
                    Some(Lease { spare, upload, shared: self.clone() })
                } else {
                    spare.detach();
                    None
                };
                Ok(ResponseBody::lend(lease, self.limits.upstream_read_timeout, response))
            }
            Err(_) if upload.is_broken() => Err((UpstreamError::ClientBody, None)),
            Err(_) if upload.is_late() => Err((UpstreamError::ClientBodyLate, None)),
            Err(_) if upload.is_too_large() => Err((UpstreamError::ClientBodyTooLarge, None)),
            Err(mut failed) => {
                let unsent = failed.take_message().map(Box::new);
                Err((UpstreamError::Answer(failed.into_error()), unsent))
            }
        }
    }
}

/// Whether the connection ended instead of an answer. A broken answer is something else: LiteLLM has read the request.
fn is_gone(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let is_end = |kind| matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof);
    error.is_incomplete_message() || error.is_closed() || error.is_canceled() || io_kind(error).is_some_and(is_end)
}

impl std::fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Sweeps a worker's idle connections for as long as it is polled.
pub async fn sweep_forever(upstream: Upstream, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        upstream.sweep();
    }
}

#[cfg(test)]
mod tests;
