//! LiteLLM's answer as the client gets it.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::sign_in_cookies::SignInCookies;
use crate::admin_ui::{AdminUi, ResponseEdits};
use crate::http::names::HeaderTable;
use crate::http::request_id;
use crate::http1::ResponseBody;
use crate::refusal::{Code, Refusal};
use crate::request_info::RequestInfo;

/// Most bytes of an answer that is written anew. LiteLLM's own is below 1 KiB.
const REWRITTEN_BYTES_MAX: u64 = 64 * 1024;

/// LiteLLM's answer.
pub(super) type UpstreamResponse = Response<UpstreamBody>;

/// The body of LiteLLM's answer.
pub(super) enum UpstreamBody {
    /// It goes on as it comes.
    Streamed(Box<ResponseBody>),
    /// It has been read already.
    Buffered(Bytes),
}

/// Reads an answer's body where its length is known and at most this.
pub(super) async fn read(response: UpstreamResponse, bytes_max: u64) -> Result<UpstreamResponse, Refusal> {
    let (head, body) = response.into_parts();
    let body = match body {
        UpstreamBody::Streamed(body) if body.size_hint().exact().is_some_and(|length| length <= bytes_max) => {
            let read = body.collect().await.map_err(|error| Refusal::from(Code::UpstreamFailed).because(error))?;
            UpstreamBody::Buffered(read.to_bytes())
        }
        other @ (UpstreamBody::Streamed(_) | UpstreamBody::Buffered(_)) => other,
    };
    Ok(Response::from_parts(head, body))
}

/// The answer's head as vestibule gives it: in its own version (RFC 9110 2.5), stripped, with what the admin UI adds.
pub(super) fn write_head<B>(
    info: &RequestInfo<'_>,
    sign_in_cookies: &SignInCookies,
    admin_ui: &AdminUi,
    edits: ResponseEdits,
    response: &mut Response<B>,
) {
    *response.version_mut() = Version::HTTP_11;
    let headers = response.headers_mut();
    strip(headers, info.rules().headers(), sign_in_cookies);
    headers.insert(request_id::NAME, info.request_id().clone());
    edits.headers(admin_ui, headers);
}

/// Takes out of a response, interim or final, what LiteLLM has no say in: its connection, names that say who the user is, keys,
/// refusals, the OAuth proxy's cookies, and which sites may read it.
pub(super) fn strip(headers: &mut HeaderMap, table: &HeaderTable, sign_in_cookies: &SignInCookies) {
    table.strip_answer(headers);
    sign_in_cookies.strip_from_answer(headers);
    // LiteLLM allows every site to read every answer.
    if headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_some() {
        headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
    }
}

/// An answer whose body is written anew, where it is small and what it was known as.
pub(super) async fn rewritten(
    edits: &ResponseEdits,
    admin_ui: &AdminUi,
    response: UpstreamResponse,
) -> Result<UpstreamResponse, Refusal> {
    if response.status() != StatusCode::OK || response.headers().contains_key(header::CONTENT_ENCODING) {
        return Ok(response);
    }
    let mut response = read(response, REWRITTEN_BYTES_MAX).await?;
    if let UpstreamBody::Buffered(body) = response.body_mut() {
        if let Some(anew) = edits.body(admin_ui, body) {
            *body = Bytes::from(anew);
        }
        let length = HeaderValue::from(body.len());
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    Ok(response)
}
