//! What vestibule answers itself to somebody who was admitted: sign-in to the admin UI, sign-out, who they are; and what it
//! adds to LiteLLM's answers for it.

pub(super) mod sign_in;
mod sign_out;
mod whoami;

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use secrecy::SecretString;

use super::html;
use crate::config::{AtLogout, CookieKind, PublicUrl, UpstreamUrl};
use crate::gate::Gate;
use crate::gate::passage::{Admitted, Passage};
use crate::gate::refusal::{Code, Refusal};
use crate::gate::session::Session;
use crate::litellm::ui::{self, Page};
use crate::secret::CookieKey;
use sign_in::Signed;

const X_FRAME_OPTIONS: HeaderName = HeaderName::from_static("x-frame-options");
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// The page that ends a browser's session.
const LOGOUT: &str = "/logout";
/// The page that says who somebody is.
const WHOAMI: &str = "/whoami";
/// The page that signs in to the admin UI, for gateways that send nothing else of it here.
const UI: &str = "/ui";

/// The pages of one listener.
pub struct Pages {
    /// What people type into the browser.
    pub public_url: Option<PublicUrl>,
    /// LiteLLM's root path.
    pub root_path: String,
    /// Prefix of vestibule's own paths.
    pub own_prefix: String,
    /// The same as they may arrive.
    pub own_prefixes: Vec<String>,
    /// A page that is opened with less than this of its session left gets a new one, so that it does not end at work.
    pub left_min: Duration,
    /// Pages of the admin UI sign people in.
    pub signs_in: bool,
    /// What a browser holds.
    pub cookie_key: CookieKind,
    /// Signs the cookie.
    pub signature: CookieKey,
    /// Where a browser goes from here when it is signed out.
    pub logout: Option<String>,
    /// What becomes of the session for the API then.
    pub api_session: AtLogout,
    /// LiteLLM, to be told of a sign-out and asked for a budget.
    pub litellm: UpstreamUrl,
    /// Its key header.
    pub key_header: Option<HeaderName>,
    /// Its master key.
    pub master_key: Option<SecretString>,
    /// It is read from the sign-in proxy's answer, and not from the request.
    pub is_asked: bool,
    /// What is read of a person, and from which header.
    pub reads: Vec<(&'static str, HeaderName)>,
}

/// What is to be done with an admitted request.
pub enum Step {
    /// Answer it here.
    Answer(Response<Bytes>),
    /// Forward it, and do this to the answer.
    Forward(Touch),
}

/// What is done to LiteLLM's answer.
#[derive(Default)]
pub struct Touch {
    /// It is a page of the admin UI.
    is_page: bool,
    /// It says where the way out is.
    is_settings: bool,
    /// What a browser is to keep.
    signed: Option<Signed>,
}

/// The prefixes under which own paths may arrive: a gateway takes a public prefix off, or leaves it on.
pub fn own_prefixes(prefix: &str, public_url: Option<&PublicUrl>, root_path: &str) -> Vec<String> {
    let public = public_url.map_or("", |url| url.prefix.as_str());
    let mut prefixes: Vec<String> = ["", public, root_path].map(|before| format!("{before}{prefix}")).into();
    prefixes.sort();
    prefixes.dedup();
    prefixes
}

/// The own paths that there are.
pub fn own(prefixes: &[String]) -> Vec<String> {
    prefixes.iter().flat_map(|prefix| [LOGOUT, WHOAMI, UI].map(|page| format!("{prefix}{page}"))).collect()
}

// === impl Pages ===

impl Pages {
    /// Decides by the path. Only who was admitted as a person gets anything but the plain way up.
    pub async fn step(&self, head: &Parts, admitted: &Admitted, gate: &Gate) -> Result<Step, Refusal> {
        let path = head.uri.path();
        let own = self.own_prefixes.iter().find_map(|prefix| path.strip_prefix(prefix.as_str()));
        let Passage::As(session) = &admitted.passage else {
            return match own {
                Some(LOGOUT | WHOAMI | UI) => Err(Code::NoIdentity.into()),
                // Only people are signed in here; to anybody else it is a door of LiteLLM's.
                _ if gate.origins().signs_in(head) => Err(Code::ClosedDoor.into()),
                _ => Ok(Step::plain()),
            };
        };
        match own {
            Some(LOGOUT) => {
                return self.sign_out(head, session, admitted.is_from_trusted, gate).await.map(Step::Answer);
            }
            Some(UI) if !self.signs_in => return Err(Code::UnknownPath.into()),
            Some(UI) if head.method != Method::GET => return Err(Code::MethodNotAllowed.into()),
            Some(UI) => return self.enter(head, Page::SignIn, session, gate).await,
            Some(WHOAMI) => return self.whoami(head, session, admitted).await.map(Step::Answer),
            _ => {}
        }
        let path = gate.origins().below_root(path);
        if !self.signs_in {
            return Ok(Step::plain());
        }
        if path == ui::LOGOUT_PATH && head.method == Method::POST {
            return self.sign_out_by_button(head, session, gate).await.map(Step::Answer);
        }
        if head.method != Method::GET {
            return Ok(Step::plain());
        }
        if path == ui::SETTINGS_PATH {
            return Ok(Step::Forward(Touch { is_settings: true, ..Touch::default() }));
        }
        if ui::reads_cookie(path) {
            return Ok(Step::Forward(Touch { is_page: true, ..Touch::default() }));
        }
        match ui::page(path) {
            Some(page) => self.enter(head, page, session, gate).await,
            None => Ok(Step::plain()),
        }
    }

    async fn enter(&self, head: &Parts, page: Page, session: &Session, gate: &Gate) -> Result<Step, Refusal> {
        match page {
            page if is_navigation(&head.headers) => self.sign_in(head, page, session, gate).await,
            // Whoever does not look at the answer is shown the way and signed in by nothing.
            Page::SignIn => Ok(Step::Answer(see_other(&self.wanted(head)))),
            Page::Shown => Ok(Step::plain()),
        }
    }

    /// A path as the browser has to ask for it.
    fn outside(&self, path: &str) -> String {
        self.public_url.as_ref().map_or_else(|| path.to_owned(), |url| url.outside(path))
    }

    /// An own page's path as the browser has to ask for it.
    fn own_page(&self, page: &str) -> String {
        self.outside(&format!("{}{page}", self.own_prefix))
    }

    fn ui_path(&self, below: &str) -> String {
        self.outside(&format!("{}/ui{below}", self.root_path))
    }

    /// The cookie at the browser's root, as LiteLLM's pages look for it (`set_session_token_cookie`): scripts must be able to
    /// read it.
    fn cookie(&self, value: &str, path: &str, is_over: bool) -> Option<HeaderValue> {
        let secure = if self.public_url.as_ref().is_some_and(|url| url.https) { "; Secure" } else { "" };
        let age = if is_over { "; Max-Age=0" } else { "" };
        let text =
            format!("{}={value}; Path={path}; SameSite=Lax{secure}{age}", crate::litellm::credentials::UI_COOKIE);
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Ends whatever the browser holds.
    fn forget_cookies(&self, headers: &mut HeaderMap) {
        self.forget_twin(headers);
        headers.extend(self.cookie("", "/", true).map(|cookie| (header::SET_COOKIE, cookie)));
    }

    /// Ends the twin that LiteLLM's own page for signing in sets below `/ui`: browsers list it first.
    fn forget_twin(&self, headers: &mut HeaderMap) {
        headers.extend(self.cookie("", &self.ui_path(""), true).map(|cookie| (header::SET_COOKIE, cookie)));
    }
}

// === impl Step ===

impl Step {
    fn plain() -> Self {
        Self::Forward(Touch::default())
    }
}

// === impl Touch ===

impl Touch {
    /// Whether the answer's body has to be read and written anew.
    pub fn rewrites_body(&self) -> bool {
        self.is_settings
    }

    /// Writes the answer's body anew; `None` to leave it as it is.
    pub fn body(&self, pages: &Pages, body: &[u8]) -> Option<Vec<u8>> {
        ui::with_logout(body, &pages.own_page(LOGOUT))
    }

    /// Adds what is to be added to the answer's headers.
    pub fn headers(self, pages: &Pages, headers: &mut HeaderMap) {
        let is_html = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        if self.is_page && is_html {
            // Policies add up (CSP Level 3 section 8.1), so LiteLLM's own stays.
            headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'"));
            headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
            // A page from the browser's memory would be shown to whoever sits there now, with whatever cookie is there.
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        if let Some(signed) = self.signed {
            signed.write(pages, headers);
        }
    }
}

/// Whether a browser is to show the answer as a page: not a part of one, nor fetched in advance.
pub(super) fn is_navigation(headers: &HeaderMap) -> bool {
    let says = |name: &'static str| headers.get(name).map(HeaderValue::as_bytes);
    let is_ahead = [says("sec-purpose"), says("purpose")].into_iter().flatten().any(|why| why.starts_with(b"prefetch"));
    !is_ahead && says("sec-fetch-dest").map_or_else(|| html::is_wanted(headers), |dest| dest == b"document")
}

/// An answer of ours that is nobody else's to keep.
fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::CONTENT_SECURITY_POLICY, html::POLICY);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// On to another address, by GET.
fn see_other(location: &str) -> Response<Bytes> {
    let mut response = answer(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", String::new());
    // A location of ours is ASCII without blanks.
    let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, location);
    response
}
