//! Where signing in begins: a browser that shows a page is sent there instead of being refused.

use std::error::Error as _;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};

use crate::config::PublicUrl;
use crate::http::query::encode;
use crate::refusal::{Code, Refusal};
use crate::request_info::{Known, RequestInfo};

/// An address to send browsers to, with the way back in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInRedirect {
    /// `{url}` stands for the address that was asked for.
    pub template: String,
    /// What that address begins with.
    pub public_url: PublicUrl,
}

// === impl SignInRedirect ===

impl SignInRedirect {
    /// The redirect for a page that was refused because no user is signed in. Where the OAuth proxy has let the request pass
    /// without naming a user, signing in again would be a circle: that refusal has a cause.
    pub fn answer(&self, refusal: &Refusal, info: &RequestInfo<'_>) -> Option<Response<Bytes>> {
        let is_page = *info.method() == Method::GET && info.is_navigation() && !info.has(Known::SecWebsocketKey);
        if refusal.code() != Code::NoIdentity || refusal.source().is_some() || !is_page {
            return None;
        }
        let url = format!("{}{}", self.public_url.origin(), self.public_url.outside(info.target()));
        let location = self.template.replacen("{url}", &encode(&url), 1);
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert(header::LOCATION, HeaderValue::try_from(location).ok()?);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }
}
