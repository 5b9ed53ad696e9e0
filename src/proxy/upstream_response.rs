//! LiteLLM's answer as the client gets it.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::upstream_request::RequestWriter;
use crate::admin_ui::{AdminUi, ResponseEdits};
use crate::http::request_id;
use crate::http1::ResponseBody;
use crate::refusal::{self, Code, Refusal};
use crate::request_info::RequestInfo;

/// Most bytes of an answer that is written anew. LiteLLM's own is below one.
const REWRITTEN_BYTES_MAX: u64 = 64 * 1024;

/// LiteLLM's answer.
pub(super) enum UpstreamResponse {
    /// Its body goes on as it comes.
    Streamed(Response<ResponseBody>),
    /// Its body has been read already.
    Whole(Response<Bytes>),
}

// === impl UpstreamResponse ===

impl UpstreamResponse {
    /// Its status.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Streamed(response) => response.status(),
            Self::Whole(response) => response.status(),
        }
    }

    /// Its headers.
    pub(super) fn headers_mut(&mut self) -> &mut HeaderMap {
        match self {
            Self::Streamed(response) => response.headers_mut(),
            Self::Whole(response) => response.headers_mut(),
        }
    }

    /// Reads the body where it is at most this long.
    pub(super) async fn read(self, bytes_max: u64) -> Result<Self, Refusal> {
        match self {
            Self::Streamed(response)
                if response.body().size_hint().exact().is_some_and(|length| length <= bytes_max) =>
            {
                let (head, body) = response.into_parts();
                let read = body.collect().await.map_err(|error| Refusal::from(Code::UpstreamFailed).because(error))?;
                Ok(Self::Whole(Response::from_parts(head, read.to_bytes())))
            }
            other @ (Self::Streamed(_) | Self::Whole(_)) => Ok(other),
        }
    }
}

/// The answer as vestibule gives it: in its own version (RFC 9110 2.5), without what is the upstream connection's, with what
/// the admin UI adds.
pub(super) async fn write(
    info: &RequestInfo<'_>,
    writer: &RequestWriter,
    admin_ui: &AdminUi,
    edits: ResponseEdits,
    response: UpstreamResponse,
) -> Result<UpstreamResponse, Refusal> {
    let mut response = if edits.rewrites_body() { rewritten(&edits, admin_ui, response).await? } else { response };
    match &mut response {
        UpstreamResponse::Streamed(response) => *response.version_mut() = Version::HTTP_11,
        UpstreamResponse::Whole(response) => *response.version_mut() = Version::HTTP_11,
    }
    let headers = response.headers_mut();
    info.site().headers().strip_answer(headers);
    writer.keep_sign_in_cookies(headers);
    // LiteLLM allows every site to read every answer.
    if headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_some() {
        headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
    }
    // Only vestibule refuses in this header.
    headers.remove(refusal::HEADER);
    headers.insert(request_id::NAME, info.request_id().clone());
    edits.headers(admin_ui, headers);
    Ok(response)
}

/// An answer whose body is written anew, where it is small and what it was known as.
async fn rewritten(
    edits: &ResponseEdits,
    admin_ui: &AdminUi,
    mut response: UpstreamResponse,
) -> Result<UpstreamResponse, Refusal> {
    if response.status() != StatusCode::OK || response.headers_mut().contains_key(header::CONTENT_ENCODING) {
        return Ok(response);
    }
    Ok(match response.read(REWRITTEN_BYTES_MAX).await? {
        UpstreamResponse::Whole(mut whole) => {
            if let Some(anew) = edits.body(admin_ui, whole.body()) {
                *whole.body_mut() = Bytes::from(anew);
            }
            let length = HeaderValue::from(whole.body().len());
            whole.headers_mut().insert(header::CONTENT_LENGTH, length);
            UpstreamResponse::Whole(whole)
        }
        too_long @ UpstreamResponse::Streamed(_) => too_long,
    })
}
