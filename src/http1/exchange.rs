//! One request's place on its client's connection, and its response's turn there.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};

use super::conn_state::ServerConn;
use super::{Malformed, TrailerFilter};

/// Bytes of a response that hyper may hold for a client that takes none. On its own it holds as many as a head may have.
const UNWRITTEN_BYTES_MAX: usize = 16 * 1024;

/// A request's place on its client's connection. A clone keeps the connection's permit, and so must live as long as a tunnel.
#[derive(Clone)]
pub struct Exchange {
    conn: ServerConn,
    /// The request's number on its connection, counted from 1.
    seq: u64,
}

/// A request's turn on its connection; what the client sent after it waits for the end.
struct ResponseTurn {
    exchange: Exchange,
    version: Version,
    /// Bytes handed to hyper since it last had nothing left to write.
    unwritten: usize,
}

/// A response's body in its turn: held back while the client takes none of it, its trailers filtered.
pub(super) struct PacedBody<B> {
    /// Dropped first: the response has ended.
    slot: ResponseTurn,
    body: B,
    trailers: TrailerFilter,
}

// === impl Exchange ===

impl Exchange {
    pub(super) fn new(conn: ServerConn, seq: u64) -> Self {
        Self { conn, seq }
    }

    /// What was wrong with the bytes for which this request is a stand-in. `None` for a real request.
    pub fn malformed(&self) -> Option<Malformed> {
        self.conn.malformed(self.seq)
    }

    /// Sends an interim response (1xx) before the final one. 100 and 101 are ignored, and so are fields that belong to a
    /// connection or frame a body; the caller removes other hop-by-hop fields.
    pub fn send_interim(&self, status: StatusCode, headers: &HeaderMap) {
        self.conn.push_interim(status, headers);
    }

    /// The final response, on its way to hyper.
    pub(super) fn answer<B>(
        self,
        response: Response<B>,
        version: Version,
        trailers: &TrailerFilter,
    ) -> Response<PacedBody<B>> {
        self.conn.begin_response();
        self.conn.answer_upgrade(self.seq, response.status() == StatusCode::SWITCHING_PROTOCOLS);
        let slot = ResponseTurn { exchange: self, version, unwritten: 0 };
        response.map(|body| PacedBody { slot, body, trailers: trailers.clone() })
    }
}

// === impl ResponseTurn ===

impl ResponseTurn {
    /// Whether hyper has enough to write. It polls again after a flush, so nothing needs to wake it.
    fn is_full(&mut self) -> bool {
        if self.exchange.conn.is_drained() {
            self.unwritten = 0;
        }
        self.unwritten >= UNWRITTEN_BYTES_MAX
    }
}

impl Drop for ResponseTurn {
    fn drop(&mut self) {
        self.exchange.conn.end(self.exchange.seq);
    }
}

// === impl PacedBody ===

impl<B: Body<Data = Bytes> + Unpin> Body for PacedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.slot.is_full() {
            return Poll::Pending;
        }
        let mut polled = Pin::new(&mut self.body).poll_frame(cx);
        match &mut polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.slot.unwritten += frame.data_ref().map_or(0, Bytes::len);
                if let Some(trailers) = frame.trailers_mut() {
                    self.trailers.apply(trailers);
                }
            }
            // Only the connection's end tells an HTTP/1.0 client where a response ends.
            Poll::Ready(Some(Err(_))) if self.slot.version < Version::HTTP_11 => self.slot.exchange.conn.cut(),
            Poll::Ready(_) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
