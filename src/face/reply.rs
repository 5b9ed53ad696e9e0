//! Answers of vestibule's own, in the shape that the caller's API expects, and the body type of all answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde_json::json;

use super::html;
use super::record::Record;
use crate::gate::refusal::{self, Code, Refusal};
use crate::gate::session::InFlight;
use crate::http::request_id;
use crate::http1::{Malformed, ResponseBody, ResponseError};
use crate::litellm::routes;

/// How long a browser may go by a preflight's answer, in seconds.
const PREFLIGHT_SECONDS: u64 = 600;
/// Methods that callers may expect to pass.
const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// An answer's body: LiteLLM's or our own, with the request's record, which ends when the body does.
pub struct ReplyBody {
    source: Source,
    record: Option<Record>,
    /// The person's place in flight, held until the body ends.
    _place: Option<InFlight>,
}

enum Source {
    Upstream(ResponseBody),
    Own(Option<Bytes>),
}

enum Shape {
    OpenAi,
    Anthropic,
    Page,
}

/// LiteLLM's answer on its way down.
pub fn relay(response: Response<ResponseBody>, place: Option<InFlight>, mut record: Record) -> Response<ReplyBody> {
    record.relayed(response.status());
    response.map(|body| {
        if body.is_end_stream() {
            record.finished();
        }
        ReplyBody { source: Source::Upstream(body), record: Some(record), _place: place }
    })
}

/// LiteLLM's answer whose body has been read already.
pub fn read(response: Response<Bytes>, mut record: Record) -> Response<ReplyBody> {
    record.relayed(response.status());
    response.map(|bytes| own(Some(bytes), record))
}

/// A websocket's opening answer has no body; its record goes on with the tunnel.
pub fn opening<B>(mut record: Record, answer: &Response<B>) -> (ReplyBody, Record) {
    record.relayed(answer.status());
    (ReplyBody { source: Source::Own(None), record: None, _place: None }, record)
}

/// The answer to an OPTIONS that may go no further (RFC 9110 7.6.2): what vestibule lets through.
pub fn options(request_id: &HeaderValue, mut record: Record) -> Response<ReplyBody> {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, ALLOW);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    headers.insert(request_id::NAME, request_id.clone());
    record.answered(response.status());
    response.map(|()| own(None, record))
}

/// An answer that was written here.
pub fn own_page(response: Response<Bytes>, is_head: bool, mut record: Record) -> Response<ReplyBody> {
    record.answered(response.status());
    let (mut head, body) = response.into_parts();
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    head.headers.insert(request_id::NAME, record.request_id().clone());
    Response::from_parts(head, own(Some(body).filter(|_| !is_head), record))
}

/// The answer to a CORS preflight of a site that is allowed (Fetch 4.8): what it asks for.
pub fn preflight(asked: &HeaderMap, mut record: Record) -> Response<ReplyBody> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOW);
    if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_SECONDS));
    headers.insert(request_id::NAME, record.request_id().clone());
    record.answered(response.status());
    response.map(|()| own(None, record))
}

fn own(bytes: Option<Bytes>, mut record: Record) -> ReplyBody {
    let bytes = bytes.filter(|bytes| !bytes.is_empty());
    if bytes.is_none() {
        record.finished();
    }
    ReplyBody { source: Source::Own(bytes), record: Some(record), _place: None }
}

/// What the caller hears of bytes that never became a request.
pub fn refuse_bytes(malformed: Malformed) -> Refusal {
    Refusal::from(match malformed {
        Malformed::Head => Code::BadHead,
        Malformed::Target => Code::BadTarget,
        Malformed::TargetTooLong => Code::TargetTooLong,
        Malformed::Upgrade => Code::BadUpgrade,
        Malformed::Framing => Code::BadFraming,
        Malformed::TooLarge => Code::HeaderTooLarge,
        Malformed::Late => Code::HeaderTimeout,
    })
}

/// The answer to a request that is refused.
pub fn refuse(refusal: &Refusal, head: &Parts, mut record: Record) -> Response<ReplyBody> {
    record.refused(refusal);
    let code = refusal.code();
    let shape = shape(head);
    let id = record.request_id().to_str().unwrap_or_default().to_owned();
    let (content_type, text) = match shape {
        Shape::OpenAi => ("application/json", openai(code, &id)),
        Shape::Anthropic => ("application/json", anthropic(code, &id)),
        Shape::Page => ("text/html; charset=utf-8", page(code, &id)),
    };
    let mut response = Response::new(());
    *response.status_mut() = code.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(refusal::HEADER, HeaderValue::from_static(code.as_str()));
    headers.insert(request_id::NAME, record.request_id().clone());
    if let Some(wait) = refusal.wait() {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if code.status() == StatusCode::UNAUTHORIZED && !matches!(shape, Shape::Page) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if code == Code::MethodNotAllowed {
        headers.insert(header::ALLOW, ALLOW);
    }
    if matches!(shape, Shape::Page) {
        headers.insert(header::CONTENT_SECURITY_POLICY, html::POLICY);
    }
    if code.closes() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    record.answered(code.status());
    let text = if head.method == Method::HEAD { None } else { Some(Bytes::from(text)) };
    response.map(|()| own(text, record))
}

fn shape(head: &Parts) -> Shape {
    let is_page = matches!(head.method, Method::GET | Method::HEAD) && html::is_wanted(&head.headers);
    if is_page {
        Shape::Page
    } else if routes::is_anthropic(head.uri.path()) {
        Shape::Anthropic
    } else {
        Shape::OpenAi
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

// === impl ReplyBody ===

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ResponseError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        let polled = match &mut self.source {
            Source::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Upstream(body) => Pin::new(body).poll_frame(cx),
        };
        let is_over = match &polled {
            Poll::Ready(None) => true,
            // hyper does not ask again after trailers, nor for a body whose length it knows.
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || self.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if let Some(record) = &mut self.record {
            match &polled {
                Poll::Ready(Some(Ok(frame))) => record.sent(frame.data_ref().map_or(0, Bytes::len)),
                Poll::Ready(Some(Err(error))) => record.broke(error),
                Poll::Ready(None) | Poll::Pending => {}
            }
            if is_over {
                record.finished();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Upstream(body) => body.is_end_stream(),
            Source::Own(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Upstream(body) => body.size_hint(),
            Source::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}
