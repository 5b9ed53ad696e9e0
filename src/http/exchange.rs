//! One request's place on its connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};

use super::conversation::Conversation;
use super::framing::Bad;

/// Bytes of an answer that hyper may hold for a client that takes none. By itself it holds as many as a head may have.
const UNWRITTEN_BYTES_MAX: usize = 16 * 1024;

/// One request's place on its connection.
#[derive(Clone)]
pub struct Exchange {
    talk: Conversation,
    number: u64,
}

/// An answer's body in its turn.
pub struct InTurn<B> {
    turn: Turn,
    body: B,
}

struct Turn {
    exchange: Exchange,
    version: Version,
    takes_trailers: bool,
    unwritten: usize,
}

impl Exchange {
    /// The request of this number.
    pub fn new(talk: Conversation, number: u64) -> Self {
        Self { talk, number }
    }

    /// What is wrong with bytes that never became a request, where this stands for them.
    pub fn malformed(&self) -> Option<Bad> {
        self.talk.bad(self.number)
    }

    /// Sends an interim answer.
    pub fn send_interim(&self, status: StatusCode, headers: &HeaderMap) {
        self.talk.push_interim(status, headers);
    }

    /// The answer, in its turn.
    pub fn answer<B>(self, response: Response<B>, version: Version, takes_trailers: bool) -> Response<InTurn<B>> {
        self.talk.answer();
        self.talk.answer_upgrade(self.number, response.status() == StatusCode::SWITCHING_PROTOCOLS);
        response.map(|body| InTurn { turn: Turn { exchange: self, version, takes_trailers, unwritten: 0 }, body })
    }
}

impl Turn {
    fn is_full(&mut self) -> bool {
        if self.exchange.talk.is_drained() {
            self.unwritten = 0;
        }
        self.unwritten >= UNWRITTEN_BYTES_MAX
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.exchange.talk.end(self.exchange.number);
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for InTurn<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if this.turn.is_full() {
            return Poll::Pending;
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => {
                if let Some(trailers) = frame.trailers_ref().filter(|_| this.turn.takes_trailers) {
                    this.turn.exchange.talk.trailing().leave(trailers);
                }
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.turn.unwritten += frame.data_ref().map_or(0, Bytes::len);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                // HTTP/1.0 tells an answer's end by the connection's alone.
                if this.turn.version < Version::HTTP_11 {
                    this.turn.exchange.talk.cut();
                }
                Poll::Ready(Some(Err(error)))
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
