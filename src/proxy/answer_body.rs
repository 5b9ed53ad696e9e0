//! The body of every answer, with what ends when it does.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};

use super::record::RequestRecord;
use super::upstream_response::{UpstreamBody, UpstreamResponse};
use crate::authorizer::Permits;
use crate::http1::{ResponseBody, ResponseError};

/// An answer's body: LiteLLM's or vestibule's own, with the request's record, which ends when the body does.
pub struct AnswerBody {
    content: Content,
    record: Option<Box<RequestRecord>>,
    _permits: Permits,
}

enum Content {
    Streamed(Box<ResponseBody>),
    Buffered(Option<Bytes>),
}

// === impl AnswerBody ===

impl AnswerBody {
    /// LiteLLM's answer on its way to the client. A body that has been read already needs no permits.
    pub(super) fn relay(
        response: UpstreamResponse,
        permits: Permits,
        mut record: Box<RequestRecord>,
    ) -> Response<Self> {
        record.relayed(response.status());
        response.map(|body| match body {
            UpstreamBody::Streamed(body) => {
                if body.is_end_stream() {
                    record.finished();
                }
                Self { content: Content::Streamed(body), record: Some(record), _permits: permits }
            }
            UpstreamBody::Buffered(bytes) => Self::of_bytes(Some(bytes), record),
        })
    }

    /// A body that is there as a whole.
    pub(super) fn of_bytes(bytes: Option<Bytes>, mut record: Box<RequestRecord>) -> Self {
        let bytes = bytes.filter(|bytes| !bytes.is_empty());
        if bytes.is_none() {
            record.finished();
        }
        Self { content: Content::Buffered(bytes), record: Some(record), _permits: Permits::default() }
    }

    /// The answer that opens a websocket has no body; its record goes on with the tunnel.
    pub(super) fn of_tunnel() -> Self {
        Self { content: Content::Buffered(None), record: None, _permits: Permits::default() }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = ResponseError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        let this = &mut *self;
        let polled = match &mut this.content {
            Content::Buffered(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Streamed(body) => Pin::new(body).poll_frame(cx),
        };
        let Some(record) = &mut this.record else { return polled };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                record.sent(frame.data_ref().map_or(0, Bytes::len));
                // hyper does not ask again for a body whose length it knows, nor after trailers.
                let is_over = frame.is_trailers()
                    || match &this.content {
                        Content::Buffered(bytes) => bytes.is_none(),
                        Content::Streamed(body) => body.is_end_stream(),
                    };
                if is_over {
                    record.finished();
                }
            }
            Poll::Ready(Some(Err(error))) => record.broke(error),
            Poll::Ready(None) => record.finished(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Streamed(body) => body.is_end_stream(),
            Content::Buffered(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Streamed(body) => body.size_hint(),
            Content::Buffered(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}
