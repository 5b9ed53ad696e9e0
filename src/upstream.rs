//! Connections to LiteLLM: a worker's own, kept while idle, given back when an answer has been read to its end.
//!
//! uvicorn closes a connection that was idle for 5 s (gunicorn's workers for 2 s), so ours are let go before
//! (`limits.upstream_idle_timeout`). A connection can still go in the instant of its use: a request of which nothing was
//! written, or a bodiless GET, HEAD or OPTIONS, is then sent once more on a new connection. Nothing else ever is: it may
//! have been read.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use crate::config::{Limits, UpstreamUrl};
use crate::http::body::{Progress, RequestBody};
use crate::telemetry::metrics::Metrics;

/// Least size of hyper's read buffer; a smaller one panics.
const BUFFER_MIN: usize = 8192;
/// Most bytes of an answer's head; of headers there may be hyper's usual 100.
const RESPONSE_HEAD_BYTES_MAX: usize = 256 * 1024;

/// Where requests go, and the connections of one worker.
#[derive(Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

/// An answer's body, holding its connection until the end has been read.
pub struct ResponseBody {
    incoming: Incoming,
    lease: Option<Lease>,
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
    sender: SendRequest<RequestBody>,
    since: Instant,
}

/// The right to give a connection back.
struct Lease {
    sender: SendRequest<RequestBody>,
    upload: Arc<Progress>,
    shared: Arc<Shared>,
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
        again: impl Fn() -> Request<RequestBody>,
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
                self.shared.metrics.upstream_retries.inc();
                self.shared.exchange(self.shared.connect().await?, again()).await.map_err(|(error, _)| error)
            }
            Err((error, _)) => Err(error),
        }
    }

    /// Lets go of connections that were idle for too long. Called now and then by the worker that owns them.
    pub fn sweep(&self) {
        let limit = self.shared.limits.upstream_idle_timeout;
        self.shared.idle().retain(|kept| kept.since.elapsed() < limit && !kept.sender.is_closed());
    }
}

// === impl Shared ===

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // A push or a pop is whole even if a panic came while the lock was held.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, and so the likeliest to be alive.
    fn take_idle(&self) -> Option<SendRequest<RequestBody>> {
        let mut idle = self.idle();
        while let Some(kept) = idle.pop() {
            if kept.since.elapsed() >= self.limits.upstream_idle_timeout {
                idle.clear();
                return None;
            }
            if !kept.sender.is_closed() {
                return Some(kept.sender);
            }
        }
        None
    }

    async fn connect(&self) -> Result<SendRequest<RequestBody>, UpstreamError> {
        let limit = self.limits.upstream_connect_timeout;
        let failed = |source| UpstreamError::Connect { address: self.address.to_string(), source };
        let late = |_| UpstreamError::ConnectTimeout(self.address.to_string());
        self.metrics.upstream_connects.inc();
        match &self.address {
            UpstreamUrl::Tcp { host, port } => {
                let stream =
                    timeout(limit, TcpStream::connect((host.as_str(), *port))).await.map_err(late)?.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                self.handshake(stream).await
            }
            UpstreamUrl::Unix(path) => {
                let stream = timeout(limit, UnixStream::connect(path)).await.map_err(late)?.map_err(failed)?;
                self.handshake(stream).await
            }
        }
    }

    async fn handshake<S>(&self, stream: S) -> Result<SendRequest<RequestBody>, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_header_size(RESPONSE_HEAD_BYTES_MAX).max_buf_size(RESPONSE_HEAD_BYTES_MAX.max(BUFFER_MIN));
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(UpstreamError::Answer)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(cause = crate::telemetry::logs::chain(&error), "a connection to LiteLLM ended");
            }
        });
        Ok(sender)
    }

    /// One request, one answer. With the error comes the request, where nothing of it was written.
    async fn exchange(
        self: &Arc<Self>,
        mut sender: SendRequest<RequestBody>,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, (UpstreamError, Option<Box<Request<RequestBody>>>)> {
        let upload = request.body().progress();
        // A connection that has seen an upgrade, granted or not, is never used for another request.
        let is_reusable = !request.headers().contains_key(http::header::UPGRADE);
        if let Err(error) = sender.ready().await {
            return Err((UpstreamError::Answer(error), Some(Box::new(request))));
        }
        let answer = sender.try_send_request(request);
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
                let lease = is_reusable.then(|| Lease { sender, upload, shared: self.clone() });
                Ok(lend(lease, response))
            }
            Err(_) if upload.is_broken() => Err((UpstreamError::ClientBody, None)),
            Err(_) if upload.is_too_large() => Err((UpstreamError::ClientBodyTooLarge, None)),
            Err(mut failed) => {
                let unsent = failed.take_message().map(Box::new);
                Err((UpstreamError::Answer(failed.into_error()), unsent))
            }
        }
    }
}

fn lend(lease: Option<Lease>, response: Response<Incoming>) -> Response<ResponseBody> {
    response.map(|incoming| {
        let mut body = ResponseBody { incoming, lease };
        if body.incoming.is_end_stream() {
            body.give_back();
        }
        body
    })
}

// === impl ResponseBody ===

impl ResponseBody {
    fn give_back(&mut self) {
        let Some(Lease { sender, upload, shared }) = self.lease.take() else { return };
        // An answer that came before the upload's end leaves a connection with half a request in it.
        if !upload.is_done() {
            upload.abandon(); // else it would go on without anybody to count it
            return;
        }
        if sender.is_closed() {
            return;
        }
        let mut idle = shared.idle();
        if idle.len() < shared.limits.upstream_idle_connections {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        let is_over = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => self.incoming.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if is_over {
            self.give_back();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Whether the connection ended instead of an answer. A broken answer is something else: LiteLLM has read the request.
fn is_gone(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_closed() || error.is_canceled() || {
        let io = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        io.is_some_and(|io| {
            use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
            matches!(io.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
        })
    }
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
