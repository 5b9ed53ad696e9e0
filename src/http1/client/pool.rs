//! The connections to one upstream: made on demand, kept while idle.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::io::{ClientConn, ClientIo};
use super::{ClientCounters, ClientError, ClientLimits, RESPONSE_HEAD_BYTES_MAX, RequestBody, UpstreamAddress};
use crate::http1::stream;
use crate::http1::timer::Timer;

/// The idle connections to an upstream, and how to make others.
pub(super) struct Pool {
    pub(super) target: UpstreamAddress,
    pub(super) limits: ClientLimits,
    pub(super) counters: ClientCounters,
    idle: Mutex<Vec<IdleConn>>,
}

/// A connection, which ends when it is dropped: it may hold half a request, half a response, or unasked bytes. Nothing would
/// wake hyper for an upload that stands still, so its task is aborted from outside.
pub(super) struct PooledConn {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) state: Arc<ClientConn>,
    /// Of whatever is awaited of the upstream. It stays with the connection, so that a request sets none up.
    pub(super) timer: Timer,
    task: AbortHandle,
    is_detached: bool,
}

pub(super) struct IdleConn {
    conn: PooledConn,
    since: Instant,
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(target: UpstreamAddress, limits: ClientLimits, counters: ClientCounters) -> Self {
        Self { target, limits, counters, idle: Mutex::default() }
    }

    pub(super) fn idle(&self) -> MutexGuard<'_, Vec<IdleConn>> {
        // A push or a pop is whole even if a panic came while the lock was held.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The idle connection that was used last, and so the likeliest to be alive.
    pub(super) fn take(&self) -> Option<PooledConn> {
        let mut idle = self.idle();
        while let Some(kept) = idle.pop() {
            if kept.since.elapsed() >= self.limits.idle_timeout {
                idle.clear();
                return None;
            }
            // Not `is_closed`: the end of an upload may still be unwritten, and hyper takes nothing before it is.
            if kept.conn.sender.is_ready() {
                return Some(kept.conn);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, conn: PooledConn) {
        if conn.sender.is_closed() || conn.state.is_spoilt() {
            return;
        }
        let mut idle = self.idle();
        if idle.len() < self.limits.idle_connections {
            idle.push(IdleConn { conn, since: Instant::now() });
        }
    }

    /// Keeps a connection whose end is not noticed yet.
    #[cfg(test)]
    pub(super) fn keep_unseen(&self, conn: PooledConn) {
        self.idle().push(IdleConn { conn, since: Instant::now() });
    }

    /// Drops connections that were idle for too long.
    pub(super) fn sweep(&self) {
        self.idle().retain(|kept| kept.since.elapsed() < self.limits.idle_timeout && !kept.conn.sender.is_closed());
    }

    pub(super) async fn connect(&self) -> Result<PooledConn, ClientError> {
        let limit = self.limits.connect_timeout;
        let failed = |source| ClientError::Connect { target: self.target.clone(), source };
        let late = |_| ClientError::ConnectTimeout(self.target.clone());
        self.counters.connects.inc();
        match &self.target {
            UpstreamAddress::Tcp { host, port } => {
                let stream =
                    timeout(limit, TcpStream::connect((host.as_str(), *port))).await.map_err(late)?.map_err(failed)?;
                stream.set_nodelay(true).and_then(|()| stream::probe(&stream)).map_err(failed)?;
                Self::handshake(stream).await
            }
            UpstreamAddress::Unix(path) => {
                let stream = timeout(limit, UnixStream::connect(path)).await.map_err(late)?.map_err(failed)?;
                Self::handshake(stream).await
            }
        }
    }

    pub(super) async fn handshake<S>(stream: S) -> Result<PooledConn, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_header_size(RESPONSE_HEAD_BYTES_MAX).max_buf_size(RESPONSE_HEAD_BYTES_MAX);
        let state = Arc::new(ClientConn::default());
        let stream = TokioIo::new(ClientIo::new(stream, state.clone()));
        let (sender, connection) = builder.handshake(stream).await.map_err(ClientError::Response)?;
        let running = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(cause = ?error, "a connection to the upstream ended");
            }
        });
        Ok(PooledConn { sender, state, timer: Timer::default(), task: running.abort_handle(), is_detached: false })
    }
}

// === impl PooledConn ===

impl PooledConn {
    /// Lets the connection go on by itself: it has seen an upgrade request, and may be a tunnel.
    pub(super) fn detach(mut self) {
        self.is_detached = true;
    }
}

impl Drop for PooledConn {
    fn drop(&mut self) {
        if !self.is_detached {
            self.task.abort();
        }
    }
}
