//! Answers of vestibule's own, refusals in the shape that the client's API expects.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use serde_json::json;

use super::answer_body::AnswerBody;
use super::record::RequestRecord;
use crate::admin_ui::html;
use crate::http::request_id;
use crate::litellm::routes;
use crate::refusal::{self, Code, Refusal};
use crate::request_info::RequestInfo;

/// How long a browser may use a preflight's answer, in seconds.
pub(super) const PREFLIGHT_SECONDS: u64 = 600;
/// Methods that clients may expect to pass.
pub(super) const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// The shape of an error, by what the client can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorShape {
    OpenAi,
    Anthropic,
    Page,
}

/// The answer to an OPTIONS that may go no further (RFC 9110 7.6.2): what vestibule lets through.
pub(super) fn options() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    response.headers_mut().insert(header::ALLOW, ALLOW);
    response
}

/// An answer that was written here.
pub fn own(response: Response<Bytes>, is_head: bool, mut record: Box<RequestRecord>) -> Response<AnswerBody> {
    record.answered_here(response.status());
    let (mut head, body) = response.into_parts();
    // RFC 9110 8.6: no content has no length.
    if head.status != StatusCode::NO_CONTENT {
        let length = if body.is_empty() { HeaderValue::from_static("0") } else { HeaderValue::from(body.len()) };
        head.headers.insert(header::CONTENT_LENGTH, length);
    }
    head.headers.insert(request_id::NAME, record.request_id().clone());
    Response::from_parts(head, AnswerBody::of_bytes(Some(body).filter(|_| !is_head), record))
}

/// The answer to a request that is refused.
pub(super) fn refused(refusal: &Refusal, info: &RequestInfo<'_>) -> Response<Bytes> {
    let (code, shape) = (refusal.code(), shape(info));
    let id = info.request_id().to_str().unwrap_or_default();
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
