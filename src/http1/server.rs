//! The server side: hyper's, on a connection whose bytes are checked first.

mod deadlines;
mod io;
mod linger;
mod min_rate;
mod write_timeout;

use std::any::Any;
use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::conn_state::ServerConn;
use super::exchange::Exchange;
use super::{Stream, TrailerFilter};
use io::ServerIo;

/// hyper's limit of fields where none is set (`DEFAULT_MAX_HEADERS`).
const HYPER_HEADERS_MAX: usize = 100;

/// What a client may send, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Bytes of a request's head; at least 8192, or hyper panics.
    pub header_bytes: usize,
    /// Fields of a request's head.
    pub headers: usize,
    /// Time for a request's head.
    pub header_timeout: Duration,
    /// How long a connection may be idle between requests.
    pub keep_alive_timeout: Duration,
    /// How long a request's body may keep vestibule waiting: in one silence, or on balance when slower than `body_rate`.
    pub body_timeout: Duration,
    /// Bytes of a request's body that make up for a second of waiting; 0 = any byte makes up for all.
    pub body_rate: u64,
    /// How long a client may take nothing of what is there for it; zero = for ever.
    pub send_timeout: Duration,
}

/// Serves connections. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    builder: Builder,
    limits: ServerLimits,
    trailers: TrailerFilter,
}

// === impl Server ===

impl Server {
    /// One for a configuration. Trailers that the filter names do not go down to clients.
    pub fn new(limits: ServerLimits, trailers: TrailerFilter) -> Self {
        let mut builder = Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(None) // hyper sees no head before it is whole: the deadline is `ServerIo`'s
            .max_header_size(limits.header_bytes)
            .max_buf_size(limits.header_bytes);
        // The guard has counted the fields. hyper's own limit is raised only where it would be lower: setting it costs an
        // allocation per request.
        if limits.headers > HYPER_HEADERS_MAX {
            builder.max_headers(limits.headers);
        }
        Self { builder, limits, trailers }
    }

    /// Serves a connection to its end, each request by `handler`. Once `stop` resolves, the request under way is finished and
    /// the connection closed. The permit is dropped with the connection's last [`Exchange`].
    ///
    /// # Errors
    ///
    /// The client broke off, was too slow, or sent a broken body.
    pub async fn serve<S, H, F, B>(
        &self,
        stream: S,
        permit: impl Any + Send + Sync,
        stop: impl Future<Output = ()>,
        handler: H,
    ) -> Result<(), hyper::Error>
    where
        S: Stream,
        H: Fn(Exchange, Request<Incoming>) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if let Err(error) = stream.keep_alive(self.limits.send_timeout) {
            tracing::debug!(cause = %error, "keep-alive can't be set on a connection");
        }
        let conn = ServerConn::holding(permit);
        let stream = ServerIo::new(stream, conn.clone(), &self.limits);
        let count = Cell::new(0);
        let service = service_fn(move |request: Request<Incoming>| {
            count.set(count.get() + 1);
            let exchange = Exchange::new(conn.clone(), count.get());
            let version = request.version();
            // hyper keeps room for a response's future as long as the connection lives. Boxed, it is there for a request alone.
            let answering = Box::pin(handler(exchange.clone(), request));
            async move { Ok::<_, Infallible>(exchange.answer(answering.await, version, &self.trailers)) }
        });
        let serving = self.builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::pin!(serving);
        tokio::select! {
            biased; // else each poll draws a random number
            served = serving.as_mut() => served,
            () = stop => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    }
}
