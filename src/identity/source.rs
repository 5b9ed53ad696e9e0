//! Where it is said who the user is: in the request's own headers, which the OAuth proxy set on it, or in those of the OAuth
//! proxy's answer when it is asked about the client's cookies.
//!
//! When it is asked, nothing that a client sent is believed, whatever stands between: the one thing that counts is a cookie
//! that the OAuth proxy itself made. That it lets a request pass is not enough: it has to say whose it is (CVE-2026-25748).

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Uri};

use super::trust::TrustedPeer;
use crate::config::{CheckUrl, IdentitySource, PublicUrl};
use crate::http::client::{CallError, ClientSettings, HttpClient, Transport};
use crate::http::{cookies, forwarded};
use crate::litellm::credentials::UI_COOKIE;
use crate::refusal::{Code, Refusal};
use crate::request_info::{Known, RequestInfo};

const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// When a client may try again whose user could not be looked up.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// How long an idle connection to the OAuth proxy is kept: less than servers keep theirs (Go: 2 min, Node and uvicorn: 5 s).
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Most bytes of its answer's body, which says nothing here.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Where it is said who the user is.
pub enum AssertionSource {
    /// In the request.
    Headers,
    /// In the OAuth proxy's answer.
    Subrequest(Box<AuthSubrequest>),
}

/// The OAuth proxy, to be asked.
pub struct AuthSubrequest {
    client: HttpClient,
    url: Uri,
    /// `http` or `https`, as users see it.
    scheme: &'static str,
}

/// What an answer's status says of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInVerdict {
    /// They may pass; who it is, the headers say.
    Passes,
    /// No user is signed in.
    Unauthenticated,
    /// A user is signed in who may not pass.
    Forbidden,
    /// Neither yes nor no.
    Neither,
}

// === impl SignInVerdict ===

impl SignInVerdict {
    /// By the status alone.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            // oauth2-proxy says 202.
            200..=299 => Self::Passes,
            // To a browser it would show the way to sign in.
            401 | 301..=303 | 307 | 308 => Self::Unauthenticated,
            403 => Self::Forbidden,
            _ => Self::Neither,
        }
    }
}

// === impl AssertionSource ===

impl AssertionSource {
    /// Connects to nothing yet.
    pub fn new(source: IdentitySource, public_url: Option<&PublicUrl>) -> Self {
        match source {
            IdentitySource::Headers => Self::Headers,
            IdentitySource::Check(check) => Self::Subrequest(Box::new(AuthSubrequest {
                client: client(&check),
                url: check.url,
                scheme: public_url.map_or("http", PublicUrl::scheme),
            })),
        }
    }

    /// The headers of the OAuth proxy's answer; `None` where the request's own headers say who the user is. The OAuth proxy is
    /// asked only where the peer is trusted and the request has a cookie, without which there is nothing to ask about.
    pub async fn ask(
        &self,
        trusted: Option<&TrustedPeer>,
        info: &RequestInfo<'_>,
    ) -> Result<Option<HeaderMap>, Refusal> {
        match (self, trusted) {
            (Self::Headers, _) => Ok(None),
            // Boxed: else every request that asks nothing would carry the room for it.
            (Self::Subrequest(subrequest), Some(_)) => Box::pin(subrequest.ask(info)).await.map(Some),
            (Self::Subrequest(_), None) => Ok(Some(HeaderMap::new())),
        }
    }

    /// What the OAuth proxy answers to a question about this request; `None` where it is not asked.
    pub async fn try_out(&self, info: &RequestInfo<'_>) -> Option<Result<(StatusCode, HeaderMap), CallError>> {
        match self {
            Self::Headers => None,
            Self::Subrequest(subrequest) => subrequest.answer(info).await,
        }
    }

    /// The refusal of a request of which no user was said.
    pub fn unauthenticated(&self, trusted: Result<TrustedPeer, Refusal>, answer: Option<&HeaderMap>) -> Refusal {
        match (self, trusted) {
            // The OAuth proxy was not asked, which is not the client's fault.
            (Self::Subrequest(_), Err(untrusted)) => untrusted,
            (Self::Subrequest(_), Ok(_)) if answer.is_some_and(|answer| !answer.is_empty()) => {
                Refusal::from(Code::NoIdentity)
                    .because("the sign-in proxy let the request pass without saying whose it is: see `identity.preset`")
            }
            (Self::Headers | Self::Subrequest(_), _) => Code::NoIdentity.into(),
        }
    }
}

// === impl AuthSubrequest ===

impl AuthSubrequest {
    async fn ask(&self, info: &RequestInfo<'_>) -> Result<HeaderMap, Refusal> {
        let unavailable = || Refusal::from(Code::SignInUnavailable).retry_after(UNAVAILABLE_RETRY);
        let Some(answer) = self.answer(info).await else { return Ok(HeaderMap::new()) };
        let (status, headers) = answer.map_err(|error| unavailable().because(error))?;
        match SignInVerdict::of(status) {
            SignInVerdict::Passes => Ok(headers),
            SignInVerdict::Unauthenticated => Ok(HeaderMap::new()),
            SignInVerdict::Forbidden => {
                Err(Refusal::from(Code::NotAdmitted).because("the sign-in proxy refuses this person"))
            }
            SignInVerdict::Neither => {
                let status = status.as_u16();
                Err(unavailable().because(format!("the sign-in proxy answered {status} when it was asked who it is")))
            }
        }
    }

    /// `None` for a request without a cookie: there is nothing to ask about.
    async fn answer(&self, info: &RequestInfo<'_>) -> Option<Result<(StatusCode, HeaderMap), CallError>> {
        let cookie = sign_in_cookies(info)?;
        Some(self.client.get_head(&self.url, self.question(info, cookie)).await)
    }

    /// As gateways ask, in the names of all of them: oauth2-proxy and Traefik's kind read `X-Forwarded-*`, Authelia and
    /// authentik's nginx endpoint `X-Original-*`. Nothing of it is the client's but the cookie, the program's name, and what
    /// was asked for.
    fn question(&self, info: &RequestInfo<'_>, cookie: HeaderValue) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(header::COOKIE, cookie);
        let method = HeaderValue::from_str(info.method().as_str()).unwrap_or(HeaderValue::from_static("GET"));
        let uri = info.uri().path_and_query().map_or("/", |target| target.as_str());
        if let (Ok(uri), Some(host)) = (HeaderValue::from_str(uri), info.first(Known::Host)) {
            let url = [self.scheme.as_bytes(), b"://", host.as_bytes(), uri.as_bytes()].concat();
            headers.extend(HeaderValue::from_bytes(&url).ok().map(|url| (X_ORIGINAL_URL, url)));
            headers.insert(Known::ForwardedUri.name(), uri);
            headers.insert(forwarded::HOST, host.clone());
            // OAuth proxies for several hosts tell them apart by it.
            headers.insert(header::HOST, host.clone());
        }
        headers.insert(forwarded::PROTO, HeaderValue::from_static(self.scheme));
        // As the trusted peer says: rules by network judge by it.
        for address in info.all(Known::ForwardedFor) {
            headers.append(forwarded::FOR, address.clone());
        }
        // Should the question come back here, it is known.
        headers.insert(header::VIA, forwarded::VIA_11);
        headers.insert(Known::OriginalMethod.name(), method.clone());
        headers.insert(Known::ForwardedMethod.name(), method);
        // No page: a 401 instead of the way to sign in.
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(X_REQUESTED_WITH, HeaderValue::from_static("XMLHttpRequest"));
        // Some bind a session to the browser.
        headers.extend(info.first(Known::UserAgent).map(|agent| (header::USER_AGENT, agent.clone())));
        headers
    }
}

fn client(check: &CheckUrl) -> HttpClient {
    HttpClient::new(ClientSettings {
        server: check.url.to_string(),
        transport: Transport::Tcp,
        timeout: check.timeout,
        connect_timeout: Some(check.timeout),
        idle_timeout: Some(IDLE_TIMEOUT),
        body_bytes_max: BODY_BYTES_MAX,
    })
}

/// All cookies but the admin UI's, in one line; `None` where there are none.
fn sign_in_cookies(info: &RequestInfo<'_>) -> Option<HeaderValue> {
    let kept: Vec<&[u8]> = info
        .all(Known::Cookie)
        .flat_map(|line| cookies::parts(line.as_bytes()))
        .map(<[u8]>::trim_ascii)
        .filter(|cookie| !cookie.is_empty() && cookies::name(cookie) != UI_COOKIE.as_bytes())
        .collect();
    if kept.is_empty() {
        return None;
    }
    let mut line = HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok()?;
    line.set_sensitive(true);
    Some(line)
}
