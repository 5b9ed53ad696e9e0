//! Where signing in begins: a browser that shows somebody a page is sent there instead of told no.

use std::error::Error as _;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::pages::is_navigation;
use crate::config::PublicUrl;
use crate::gate::refusal::{Code, Refusal};
use crate::http::query::encode;

/// An address to send browsers to, with the way back in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// `{url}` stands for the address that was asked for.
    pub template: String,
    /// What that address begins with.
    pub public_url: PublicUrl,
}

// === impl SignIn ===

impl SignIn {
    /// The way to sign in, for a page that was refused because nobody is signed in. Where the sign-in proxy has let the
    /// request pass and said nobody, signing in again would be a circle: that refusal has a cause.
    pub fn way(&self, refusal: &Refusal, head: &Parts) -> Option<Response<Bytes>> {
        let is_page = head.method == Method::GET
            && is_navigation(&head.headers)
            && !head.headers.contains_key(header::SEC_WEBSOCKET_KEY);
        if refusal.code() != Code::NoIdentity || refusal.source().is_some() || !is_page {
            return None;
        }
        let url =
            format!("{}{}", self.public_url.origin(), self.public_url.outside(head.uri.path_and_query()?.as_str()));
        let location = self.template.replacen("{url}", &encode(&url), 1);
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert(header::LOCATION, HeaderValue::try_from(location).ok()?);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }
}
