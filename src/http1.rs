//! hyper, guarded: HTTP/1.1 to clients and to an upstream, where the bytes are judged before hyper reads them.
//!
//! hyper's parser is not enough for a proxy that injects credentials. It takes a bare LF for a line's end, drops a
//! Content-Length next to a Transfer-Encoding, takes `chunked, chunked`, and its user sees only a head that is fine. Another
//! server of the chain may have read the same bytes differently, and that difference is request smuggling (RFC 9112 11.2),
//! or on the way back one user's response to another (11.1). hyper also sends no interim response but 100, has no limit on
//! slow bodies and slow readers, and ends a connection with a reset that can destroy the last response.
//!
//! What a caller may rely on:
//!
//! - **Requests.** [`Server::serve`] calls its handler for each request that is well-formed and for one stand-in when bytes
//!   are not; [`Exchange::malformed`] tells them apart, and nothing after a stand-in is read. A request's body is framed in one
//!   way, or breaks with an error. The next request is not looked at before the response to the one before has ended.
//! - **Responses.** They reach the client in the order of the requests and as fast as the client takes them. One that breaks
//!   off is broken for the client too, with a reset where HTTP/1.0 has no other sign.
//! - **Interim responses** go between whole responses or not at all ([`Exchange::send_interim`], [`on_interim`]).
//! - **Trailers** pass if a `Trailer` field announced them, a client said `TE: trailers`, and the [`TrailerFilter`] does not
//!   name them. Others are dropped (RFC 9110 6.5).
//! - **Slowness.** Every wait for a client or an upstream has a limit ([`ServerLimits`], [`ClientLimits`]).
//! - **The upstream.** [`Client::send`] gives a response that is well-formed and belongs to the request. A GET, HEAD or
//!   OPTIONS without a body is sent once more where its kept connection ended instead of answering; no other request that may
//!   have been read is. A connection with anything unexpected on it is never used again.
//!
//! Nothing here knows identities, LiteLLM, the configuration or the metrics: limits, filters and counters are handed in.

mod buffers;
mod client;
mod conn_state;
mod exchange;
mod guard;
mod server;
mod stream;
mod timer;
mod tunnel;

use std::sync::Arc;

use http::header::{HeaderMap, HeaderName};

pub use client::{
    Client, ClientCounters, ClientError, ClientLimits, RequestBody, ResponseBody, ResponseError, UpstreamAddress,
    on_interim,
};
pub use exchange::Exchange;
pub use guard::{Malformed, TARGET_BYTES_MAX};
pub use hyper::body::Incoming;
pub use server::{Server, ServerLimits};
pub use stream::Stream;
pub use tunnel::{Upgrade, tunnel};

/// Decides which fields may not pass as trailers.
#[derive(Clone)]
pub struct TrailerFilter(Arc<dyn Fn(&HeaderName) -> bool + Send + Sync>);

// === impl TrailerFilter ===

impl TrailerFilter {
    /// Drops the trailers whose names `is_barred` says yes to.
    pub fn new(is_barred: impl Fn(&HeaderName) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_barred))
    }

    fn apply(&self, trailers: &mut HeaderMap) {
        let barred: Vec<_> = trailers.keys().filter(|name| (self.0)(name)).cloned().collect();
        for name in barred {
            trailers.remove(name);
        }
    }
}

/// The guards by themselves, for fuzzing, property tests and benchmarks.
#[doc(hidden)]
pub mod testing {
    pub use super::guard::{Malformed, MalformedResponse, RequestGuard, RequestKind, ResponseGuard, Scan};
}
