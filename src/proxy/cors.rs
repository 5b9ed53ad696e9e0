//! CORS (Fetch 4.8): LiteLLM allows every site, vestibule those that are listed.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};

use super::response::{ALLOW, PREFLIGHT_SECONDS};
use crate::cross_site::CrossSitePolicy;
use crate::refusal::{Code, Refusal};
use crate::request_info::{Known, RequestInfo};

/// Whether a request is a preflight, which asks for no identity and carries none.
pub fn is_preflight(info: &RequestInfo<'_>) -> bool {
    *info.method() == Method::OPTIONS && info.has(Known::Origin) && info.has(Known::AccessControlRequestMethod)
}

/// The answer to a preflight of a site that is allowed; `None` for any other request.
pub fn preflight(policy: &CrossSitePolicy, info: &RequestInfo<'_>) -> Result<Option<Response<Bytes>>, Refusal> {
    if !is_preflight(info) {
        return Ok(None);
    }
    if policy.granted(info).is_none() {
        return Err(Refusal::from(Code::CrossSite).about(header::ORIGIN));
    }
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOW);
    if let Some(wanted) = info.first(Known::AccessControlRequestHeaders) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_SECONDS));
    Ok(Some(response))
}

/// Lets the pages of a site that is allowed read the answer, in their visitor's name.
pub fn allow_origin(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}
