//! The client side: requests to one upstream, on connections that are kept while idle and given back when a response was
//! read to its end.
//!
//! A server closes a connection that was idle for long, so connections are dropped before that
//! ([`ClientLimits::idle_timeout`]). One can still close in the instant of its use: a request of which nothing was written,
//! or a GET, HEAD or OPTIONS without a body, is then sent once more on a new connection. No other ever is: it may have been
//! read.

mod io;
mod pool;
mod request_body;
mod response_body;

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{self, HeaderMap};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

pub use request_body::RequestBody;
pub use response_body::{ResponseBody, ResponseError};

use super::TrailerFilter;
use super::guard::RequestKind;
use pool::{Pool, PooledConn};
use response_body::ConnLease;

/// Most bytes of a response's head. It is hyper's limit for one read too, and so for what a stalled stream holds.
const RESPONSE_HEAD_BYTES_MAX: usize = 32 * 1024;
/// Most fields of a response: hyper's limit where none is set (`DEFAULT_MAX_HEADERS`).
const RESPONSE_FIELDS_MAX: usize = 100;

/// Where an upstream listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// `http://HOST:PORT`; the host may be a name.
    Tcp {
        /// Host name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// `unix:/path`.
    Unix(PathBuf),
}

/// How long an upstream may take, and how many idle connections are kept.
#[derive(Debug, Clone, Copy)]
pub struct ClientLimits {
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time until a response begins.
    pub first_byte_timeout: Duration,
    /// How long the upstream may be silent within a response; zero = for ever.
    pub read_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Idle connections that are kept.
    pub idle_connections: usize,
}

/// What a client counts.
#[derive(Debug, Clone, Default)]
pub struct ClientCounters {
    /// Connections made.
    pub connects: Counter,
    /// Requests repeated on a new connection.
    pub retries: Counter,
}

/// Sends requests to one upstream. Clones share their idle connections.
#[derive(Clone)]
pub struct Client {
    pool: Arc<Pool>,
    trailers: TrailerFilter,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("could not connect to the upstream at {target}")]
    Connect {
        /// Where to.
        target: UpstreamAddress,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// No connection in time.
    #[error("the upstream at {0} did not accept a connection in time")]
    ConnectTimeout(UpstreamAddress),
    /// No response in time.
    #[error("the upstream did not begin to answer in time")]
    FirstByteTimeout,
    /// The connection broke, or the response was not HTTP.
    #[error("the upstream's answer could not be read")]
    Response(#[source] hyper::Error),
    /// The client's body broke off while it was sent.
    #[error("the request's body broke off")]
    RequestBody,
    /// The client's body did not come in time.
    #[error("the request's body did not come in time")]
    RequestBodyLate,
    /// The client's body was too long.
    #[error("the request's body was too long")]
    RequestBodyTooLarge,
}

/// An error, with the request where nothing of it was written.
type Unanswered = (ClientError, Option<Box<Request<RequestBody>>>);

/// Calls back for each interim response (1xx) to the request.
pub fn on_interim(request: &mut Request<RequestBody>, f: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static) {
    hyper::ext::on_informational(request, move |response| f(response.status(), response.headers()));
}

// === impl UpstreamAddress ===

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

// === impl Client ===

impl Client {
    /// No connection is made before the first request. Trailers that the filter names do not go up.
    pub fn new(
        target: UpstreamAddress,
        limits: ClientLimits,
        counters: ClientCounters,
        trailers: TrailerFilter,
    ) -> Self {
        Self { pool: Arc::new(Pool::new(target, limits, counters)), trailers }
    }

    /// Sends a request; it is boxed, since it is handed on from step to step. `again` makes the same request without its body,
    /// for the one repetition that is allowed, or says that it can't.
    ///
    /// Dropping the future closes the connection: the upstream sees that the response is not awaited any more.
    ///
    /// # Errors
    ///
    /// There is no response, by the fault of the upstream or of the client whose body was sent.
    pub async fn send(
        &self,
        request: Box<Request<RequestBody>>,
        again: impl Fn() -> Option<Box<Request<RequestBody>>>,
    ) -> Result<Response<Box<ResponseBody>>, ClientError> {
        let is_repeatable =
            request.body().is_end_stream() && matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let Some(kept) = self.pool.take() else { return self.send_anew(request).await };
        match self.exchange(kept, request).await {
            Ok(response) => Ok(response),
            Err((ClientError::Response(_), Some(unsent))) => {
                self.pool.counters.retries.inc();
                self.send_anew(unsent).await
            }
            Err((ClientError::Response(error), None)) if is_repeatable && is_gone(&error) => {
                let Some(again) = again() else { return Err(ClientError::Response(error)) };
                self.pool.counters.retries.inc();
                self.send_anew(again).await
            }
            Err((error, _)) => Err(error),
        }
    }

    /// Drops connections that were idle for too long.
    pub fn sweep(&self) {
        self.pool.sweep();
    }

    /// Sweeps again and again for as long as it is polled.
    pub async fn sweep_forever(self, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        loop {
            ticks.tick().await;
            self.sweep();
        }
    }

    /// On a new connection. Boxed, since it is rare, and its room would be in every request's future.
    fn send_anew(
        &self,
        request: Box<Request<RequestBody>>,
    ) -> Pin<Box<impl Future<Output = Result<Response<Box<ResponseBody>>, ClientError>>>> {
        Box::pin(async move {
            let conn = self.pool.connect().await?;
            self.exchange(conn, request).await.map_err(|(error, _)| error)
        })
    }

    /// One request, one response.
    async fn exchange(
        &self,
        mut conn: PooledConn,
        mut request: Box<Request<RequestBody>>,
    ) -> Result<Response<Box<ResponseBody>>, Unanswered> {
        let upload = request.body().progress();
        // A connection that has seen an upgrade, granted or not, is never used for another request.
        let is_upgrade = request.headers().contains_key(header::UPGRADE);
        if let Err(error) = conn.sender.ready().await {
            return Err((ClientError::Response(error), Some(request)));
        }
        request.body_mut().send_trailers(self.trailers.clone());
        conn.state.expect(match *request.method() {
            _ if is_upgrade => RequestKind::Upgrade,
            Method::HEAD => RequestKind::Head,
            _ => RequestKind::Plain,
        });
        let mut response = pin!(conn.sender.try_send_request(*request));
        let mut timer = mem::take(&mut conn.timer);
        let result = loop {
            let (sent, was_done) = (upload.bytes(), upload.is_done());
            timer.run(|| Instant::now() + self.pool.limits.first_byte_timeout);
            let answered = poll_fn(|cx| match response.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending if timer.is_over(cx) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            let answered = answered.await;
            timer.clear();
            match answered {
                Some(result) => break result,
                // A window in which the upload went on, or ended, is followed by a whole one: the upstream is not to blame
                // for a slow client.
                None if !was_done && (upload.bytes() > sent || upload.is_done()) => {}
                None => return Err((ClientError::FirstByteTimeout, None)),
            }
        };
        match result {
            Ok(response) => {
                let lease = if is_upgrade {
                    conn.detach();
                    None
                } else {
                    Some(ConnLease { conn, upload, pool: self.pool.clone() })
                };
                let read_timeout = self.pool.limits.read_timeout;
                // Boxed, since a response is handed on from step to step.
                Ok(response.map(|incoming| Box::new(ResponseBody::new(incoming, lease, read_timeout, timer))))
            }
            Err(mut failed) => {
                if let Some(error) = upload.failure() {
                    return Err((error, None));
                }
                let unsent = failed.take_message().map(Box::new);
                Err((ClientError::Response(failed.into_error()), unsent))
            }
        }
    }
}

/// Whether the connection ended instead of a response. A broken response is another case: the upstream has read the request.
fn is_gone(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let is_end = |kind| matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof);
    error.is_incomplete_message() || error.is_closed() || error.is_canceled() || io_kind(error).is_some_and(is_end)
}

/// The kind of the connection's own error behind hyper's, where there is one.
fn io_kind(error: &hyper::Error) -> Option<std::io::ErrorKind> {
    error.source()?.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
}

#[cfg(test)]
mod tests;
