//! Where it stands who somebody is: in the request's own headers, which the sign-in proxy set on it, or in those of the
//! sign-in proxy's answer, which is asked about the caller's cookies.
//!
//! Asked, nothing that a client sent is believed, whatever stands between: the one thing that counts is a cookie that the
//! sign-in proxy itself made. That it lets somebody pass is not enough: it has to say whom (CVE-2026-25748).

use std::borrow::Cow;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{StatusCode, Uri};

use super::refusal::{Code, Refusal};
use super::trust::TrustedPeer;
use crate::config::{CheckUrl, IdentitySource, PublicUrl};
use crate::http::client::{ClientError, ClientSettings, HttpClient, Transport};
use crate::http::{cookies, forwarded};
use crate::litellm::credentials::UI_COOKIE;

const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// When callers may try again who could not be looked up.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// How long an idle connection to the OAuth proxy is kept: less than servers keep theirs (Go: 2 min, Node and uvicorn: 5 s).
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Most bytes of its answer's body, which says nothing here.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Where it stands.
pub enum Source {
    /// In the request.
    Headers,
    /// In the sign-in proxy's answer.
    Check(Box<Check>),
}

/// The sign-in proxy, to be asked.
pub struct Check {
    client: HttpClient,
    url: Uri,
    /// `http` or `https`, as people see it.
    scheme: &'static str,
}

/// What an answer's status says of the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They may pass; who it is, the headers say.
    Passes,
    /// Nobody is signed in.
    Nobody,
    /// Somebody is, who may not pass.
    Forbidden,
    /// Neither yes nor no.
    Neither,
}

// === impl Verdict ===

impl Verdict {
    /// By the status alone.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            // oauth2-proxy says 202.
            200..=299 => Self::Passes,
            // To a browser it would show the way to sign in.
            401 | 301..=303 | 307 | 308 => Self::Nobody,
            403 => Self::Forbidden,
            _ => Self::Neither,
        }
    }
}

// === impl Source ===

impl Source {
    /// Connects to nothing yet.
    pub fn new(source: IdentitySource, public_url: Option<&PublicUrl>) -> Self {
        match source {
            IdentitySource::Headers => Self::Headers,
            IdentitySource::Check(check) => Self::Check(Box::new(Check {
                client: client(&check),
                url: check.url,
                scheme: if public_url.is_some_and(|url| url.https) { "https" } else { "http" },
            })),
        }
    }

    /// The headers that say who somebody is, if any do. The sign-in proxy is asked for a peer that is trusted, and for
    /// requests with a cookie, without which there is nothing to ask.
    pub async fn said<'a>(
        &self,
        speaker: Option<&TrustedPeer<'_>>,
        head: &'a Parts,
    ) -> Result<Cow<'a, HeaderMap>, Refusal> {
        match (self, speaker) {
            (Self::Headers, _) => Ok(Cow::Borrowed(&head.headers)),
            // Boxed: else every request that asks nobody would carry the room for it.
            (Self::Check(check), Some(_)) => Box::pin(check.ask(head)).await.map(Cow::Owned),
            (Self::Check(_), None) => Ok(Cow::Owned(HeaderMap::new())),
        }
    }

    /// What the sign-in proxy answers to a question about a request with these headers; `None` where nobody is asked.
    pub async fn try_out(&self, head: &Parts) -> Option<Result<(StatusCode, HeaderMap), ClientError>> {
        match self {
            Self::Headers => None,
            Self::Check(check) => check.answer(head).await,
        }
    }

    /// The refusal of a request that nobody was said to have sent.
    pub fn nobody(&self, speaker: Result<TrustedPeer<'_>, Refusal>, said: &HeaderMap) -> Refusal {
        match (self, speaker) {
            // Nobody was asked, which is not the caller's fault.
            (Self::Check(_), Err(untrusted)) => untrusted,
            (Self::Check(_), Ok(_)) if !said.is_empty() => Refusal::from(Code::NoIdentity)
                .because("the sign-in proxy let the request pass without saying whose it is: see `identity.preset`"),
            (Self::Headers | Self::Check(_), _) => Code::NoIdentity.into(),
        }
    }
}

// === impl Check ===

impl Check {
    async fn ask(&self, head: &Parts) -> Result<HeaderMap, Refusal> {
        let unavailable = || Refusal::from(Code::SignInUnavailable).retry_after(UNAVAILABLE_RETRY);
        let Some(answer) = self.answer(head).await else { return Ok(HeaderMap::new()) };
        let (status, headers) = answer.map_err(|error| unavailable().because(error))?;
        match Verdict::of(status) {
            Verdict::Passes => Ok(headers),
            Verdict::Nobody => Ok(HeaderMap::new()),
            Verdict::Forbidden => {
                Err(Refusal::from(Code::NotAdmitted).because("the sign-in proxy refuses this person"))
            }
            Verdict::Neither => {
                let status = status.as_u16();
                Err(unavailable().because(format!("the sign-in proxy answered {status} when it was asked who it is")))
            }
        }
    }

    /// `None` for a request without a cookie: there is nothing to ask about.
    async fn answer(&self, head: &Parts) -> Option<Result<(StatusCode, HeaderMap), ClientError>> {
        let cookie = sign_in_cookies(&head.headers)?;
        Some(self.client.get_head(&self.url, self.question(head, cookie)).await)
    }

    /// As gateways ask, in the names of all of them: oauth2-proxy and Traefik's kind read `X-Forwarded-*`, Authelia and
    /// authentik's nginx endpoint `X-Original-*`. Nothing of it is the client's but the cookie, the program's name, and what
    /// was asked for.
    fn question(&self, head: &Parts, cookie: HeaderValue) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(header::COOKIE, cookie);
        let method = HeaderValue::from_str(head.method.as_str()).unwrap_or(HeaderValue::from_static("GET"));
        let uri = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let host = head.headers.get(header::HOST);
        if let (Ok(uri), Some(host)) = (HeaderValue::from_str(uri), host) {
            let url = [self.scheme.as_bytes(), b"://", host.as_bytes(), uri.as_bytes()].concat();
            headers.extend(HeaderValue::from_bytes(&url).ok().map(|url| (X_ORIGINAL_URL, url)));
            headers.insert(X_FORWARDED_URI, uri);
            headers.insert(forwarded::HOST, host.clone());
            // Sign-in proxies for several hosts tell them apart by it.
            headers.insert(header::HOST, host.clone());
        }
        headers.insert(forwarded::PROTO, HeaderValue::from_static(self.scheme));
        // As the trusted peer says: rules by network judge by it.
        for address in head.headers.get_all(forwarded::FOR) {
            headers.append(forwarded::FOR, address.clone());
        }
        // Should the question come back here, it is known.
        headers.insert(header::VIA, forwarded::VIA_11);
        headers.insert(X_ORIGINAL_METHOD, method.clone());
        headers.insert(X_FORWARDED_METHOD, method);
        // No page: a 401 instead of the way to sign in.
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(X_REQUESTED_WITH, HeaderValue::from_static("XMLHttpRequest"));
        // Some bind a session to the browser.
        headers.extend(head.headers.get(header::USER_AGENT).map(|agent| (header::USER_AGENT, agent.clone())));
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
fn sign_in_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(header::COOKIE).iter();
    let kept: Vec<&[u8]> = lines
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
