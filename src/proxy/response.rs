//! Answers of vestibule's own, in the shape that the client's API expects, and the body type of all answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::access_log::RequestRecord;
use super::upstream_response::{UpstreamBody, UpstreamResponse};
use crate::admin_ui::html;
use crate::http::request_id;
use crate::http1::{ResponseBody, ResponseError};
use crate::litellm::routes;
use crate::refusal::{self, Code, Refusal};
use crate::request_info::RequestInfo;
use crate::session::InFlight;

/// How long a browser may use a preflight's answer, in seconds.
pub(super) const PREFLIGHT_SECONDS: u64 = 600;
/// Methods that clients may expect to pass.
pub(super) const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// A request's places in flight, given back when its answer has ended.
#[derive(Default)]
pub struct Permits {
    /// Among the user's requests.
    pub user: Option<InFlight>,
    /// Among all requests.
    pub all: Option<OwnedSemaphorePermit>,
}

/// An answer's body: LiteLLM's or vestibule's own, with the request's record, which ends when the body does.
pub struct AnswerBody {
    content: Content,
    record: Option<Box<RequestRecord>>,
    _permits: Permits,
}

enum Content {
    Upstream(Box<ResponseBody>),
    Own(Option<Bytes>),
}

/// The shape of an error, by what the client can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorShape {
    OpenAi,
    Anthropic,
    Page,
}

/// LiteLLM's answer on its way to the client.
pub(super) fn relay(
    response: UpstreamResponse,
    permits: Permits,
    mut record: Box<RequestRecord>,
) -> Response<AnswerBody> {
    record.relayed(response.status());
    response.map(|body| match body {
        UpstreamBody::Streamed(body) => {
            if body.is_end_stream() {
                record.finished();
            }
            AnswerBody { content: Content::Upstream(body), record: Some(record), _permits: permits }
        }
        UpstreamBody::Whole(bytes) => own_body(Some(bytes), record),
    })
}

/// A websocket's opening answer has no body; its record goes on with the tunnel.
pub(super) fn opening() -> AnswerBody {
    AnswerBody { content: Content::Own(None), record: None, _permits: Permits::default() }
}

/// The answer to an OPTIONS that may go no further (RFC 9110 7.6.2): what vestibule lets through.
pub(super) fn options() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    response.headers_mut().insert(header::ALLOW, ALLOW);
    response
}

/// An answer that was written here.
pub fn own(response: Response<Bytes>, is_head: bool, mut record: Box<RequestRecord>) -> Response<AnswerBody> {
    record.answered(response.status());
    let (mut head, body) = response.into_parts();
    // RFC 9110 8.6: no content has no length.
    if head.status != StatusCode::NO_CONTENT {
        let length = if body.is_empty() { HeaderValue::from_static("0") } else { HeaderValue::from(body.len()) };
        head.headers.insert(header::CONTENT_LENGTH, length);
    }
    head.headers.insert(request_id::NAME, record.request_id().clone());
    Response::from_parts(head, own_body(Some(body).filter(|_| !is_head), record))
}

fn own_body(bytes: Option<Bytes>, mut record: Box<RequestRecord>) -> AnswerBody {
    let bytes = bytes.filter(|bytes| !bytes.is_empty());
    if bytes.is_none() {
        record.finished();
    }
    AnswerBody { content: Content::Own(bytes), record: Some(record), _permits: Permits::default() }
}

/// The answer to a request that is refused.
pub(super) fn refused(refusal: &Refusal, info: &RequestInfo<'_>, id: &HeaderValue) -> Response<Bytes> {
    let (code, shape) = (refusal.code(), shape(info));
    let id = id.to_str().unwrap_or_default();
    let (content_type, text) = match shape {
        ErrorShape::OpenAi => ("application/json", openai(code, id)),
        ErrorShape::Anthropic => ("application/json", anthropic(code, id)),
        ErrorShape::Page => ("text/html; charset=utf-8", page(code, id)),
    };
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = code.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(refusal::HEADER, HeaderValue::from_static(code.as_str()));
    if let Some(wait) = refusal.wait() {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if code.status() == StatusCode::UNAUTHORIZED && shape != ErrorShape::Page {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if code == Code::MethodNotAllowed {
        headers.insert(header::ALLOW, ALLOW);
    }
    if shape == ErrorShape::Page {
        headers.insert(header::CONTENT_SECURITY_POLICY, html::POLICY);
    }
    // A client that waits for a word before it sends its body learns that the word will not come (RFC 9110 10.1.1).
    if code.closes() || info.awaits_continue() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn shape(info: &RequestInfo<'_>) -> ErrorShape {
    if matches!(*info.method(), Method::GET | Method::HEAD) && info.wants_html() {
        ErrorShape::Page
    } else if routes::is_anthropic(info.path()) {
        ErrorShape::Anthropic
    } else {
        ErrorShape::OpenAi
    }
}

/// As LiteLLM refuses a key that it does not know (`_types.py`, `ProxyErrorTypes`): its pages take it for the session's end.
fn unknown_key(code: Code, id: &str) -> String {
    let message = format!("{} Request id: {id}", code.message());
    json!({"error": {"message": message, "type": "token_not_found_in_db", "param": "key", "code": "401"}}).to_string()
}

fn openai(code: Code, id: &str) -> String {
    if code == Code::DeadPlaceholder {
        return unknown_key(code, id);
    }
    let kind = match code.status().as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    };
    let message = format!("{} Request id: {id}", code.message());
    json!({"error": {"message": message, "type": kind, "param": null, "code": code.as_str()}}).to_string()
}

/// Anthropic's kinds of error, as its API reference lists them by status.
fn anthropic(code: Code, id: &str) -> String {
    let kind = match code.status().as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    };
    let message = format!("{} ({})", code.message(), code.as_str());
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": id}).to_string()
}

fn page(code: Code, id: &str) -> String {
    let (name, status, id) = (code.as_str(), code.status().as_u16(), html::escape(id));
    let body = format!(
        "<p>Status {status}, <code>{name}</code>.</p>\n\
         <p>If this is not what you expect, tell your administrator this request id: <code>{id}</code></p>\n"
    );
    html::page(code.message(), &body)
}

// === impl AnswerBody ===

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = ResponseError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        let this = &mut *self;
        let polled = match &mut this.content {
            Content::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Upstream(body) => Pin::new(body).poll_frame(cx),
        };
        let Some(record) = &mut this.record else { return polled };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                record.sent(frame.data_ref().map_or(0, Bytes::len));
                // hyper does not ask again for a body whose length it knows, nor after trailers.
                let is_over = frame.is_trailers()
                    || match &this.content {
                        Content::Own(bytes) => bytes.is_none(),
                        Content::Upstream(body) => body.is_end_stream(),
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
            Content::Upstream(body) => body.is_end_stream(),
            Content::Own(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Upstream(body) => body.size_hint(),
            Content::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}
