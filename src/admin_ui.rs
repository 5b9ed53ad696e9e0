//! LiteLLM's admin UI for users who are signed in at the OAuth proxy: signing in to it, signing out, who they are; and what is
//! added to LiteLLM's answers for it.

pub mod html;
pub mod sign_in;
mod sign_out;
mod whoami;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use serde::Serialize;

use crate::config::Config;
use crate::cross_site::CrossSitePolicy;
use crate::litellm::client::LitellmClient;
use crate::litellm::credentials::UI_COOKIE;
use crate::litellm::ui;
use crate::refusal::{Code, Refusal};
use crate::request_info::{OwnPage, RequestInfo, Route};
use crate::secret::CookieKey;
use crate::session::Sessions;
use crate::session::credential::Credential;
use sign_in::SignedIn;

const X_FRAME_OPTIONS: HeaderName = HeaderName::from_static("x-frame-options");
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// The admin UI's pages of one listener.
pub struct AdminUi {
    config: Arc<Config>,
    sessions: Sessions,
    cross_site: Arc<CrossSitePolicy>,
    /// Signs the cookie.
    signature: CookieKey,
    /// To be told of a sign-out and asked for a budget.
    litellm: LitellmClient,
}

/// What is to be done with a request.
pub enum UiAction {
    /// Answer it here.
    Answer(Response<Bytes>),
    /// Forward it, and edit the answer.
    Forward(ResponseEdits),
}

/// What is done to LiteLLM's answer.
#[derive(Default)]
pub enum ResponseEdits {
    /// Nothing.
    #[default]
    None,
    /// It tells the admin UI its settings, and so where sign-out is.
    Settings,
    /// It is a page of the admin UI; the browser is signed in with it where it was not.
    Page(Option<SignedIn>),
}

// === impl AdminUi ===

impl AdminUi {
    /// The pages for a configuration.
    pub fn new(config: Arc<Config>, sessions: Sessions, cross_site: Arc<CrossSitePolicy>) -> Self {
        let master_key = config.litellm.master_key.as_ref();
        let signature = master_key.map_or_else(|| config.session.secrets.cookie_key(), CookieKey::of_master_key);
        let litellm = config.litellm.client();
        Self { config, sessions, cross_site, signature, litellm }
    }

    /// Decides by the route. Only a user gets anything but the plain way to LiteLLM. Pages are boxed: they are rare, and every
    /// request's future would have room for them.
    pub async fn decide(
        &self,
        info: &RequestInfo<'_>,
        credential: &Credential,
        is_trusted: bool,
    ) -> Result<UiAction, Refusal> {
        let (is_get, is_post) = (*info.method() == Method::GET, *info.method() == Method::POST);
        let signs_in = self.config.ui.sign_in;
        match (info.route(), credential.user()) {
            (Route::OwnUnknown | Route::Closed, _) => Err(Refusal::impossible("a closed route was let through")),
            (Route::Own(_), None) => Err(Code::NoIdentity.into()),
            // Only users are signed in here; for any other client it is one of LiteLLM's closed logins.
            (Route::SignIn, None) => Err(Code::ClosedDoor.into()),
            (Route::Own(OwnPage::SignOut), Some(user)) => {
                Box::pin(self.sign_out(info, user.session(), is_trusted)).await.map(UiAction::Answer)
            }
            (Route::Own(OwnPage::Whoami), Some(user)) => Box::pin(self.whoami(info, user)).await.map(UiAction::Answer),
            (Route::Own(OwnPage::SignIn), _) if !signs_in => Err(Code::UnknownPath.into()),
            (Route::Own(OwnPage::SignIn), _) if !is_get => Err(Code::MethodNotAllowed.into()),
            (Route::Own(OwnPage::SignIn) | Route::SignIn, Some(user)) if info.is_navigation() => {
                Box::pin(self.sign_in(info, user.session())).await
            }
            // A client that does not look at the answer is shown the way and signed in by nothing.
            (Route::Own(OwnPage::SignIn) | Route::SignIn, Some(_)) => {
                Ok(UiAction::Answer(see_other(&self.wanted(info))))
            }
            (Route::UiSignOut, Some(user)) if signs_in && is_post => {
                Box::pin(self.sign_out_by_button(info, user.session())).await.map(UiAction::Answer)
            }
            (Route::UiSettings, Some(_)) if signs_in => Ok(UiAction::Forward(ResponseEdits::Settings)),
            (Route::CookiePage { is_get: true }, Some(_)) if signs_in => {
                Ok(UiAction::Forward(ResponseEdits::Page(None)))
            }
            (Route::UiPage, Some(user)) if signs_in && info.is_navigation() => {
                Box::pin(self.sign_in(info, user.session())).await
            }
            (
                Route::UiPage
                | Route::UiSettings
                | Route::UiSignOut
                | Route::CookiePage { .. }
                | Route::Asset
                | Route::Inference
                | Route::Other,
                _,
            ) => Ok(UiAction::Forward(ResponseEdits::None)),
        }
    }

    /// A path as the browser has to ask for it.
    fn outside(&self, path: &str) -> String {
        self.config.public_url.as_ref().map_or_else(|| path.to_owned(), |url| url.outside(path))
    }

    /// An own page's path as the browser has to ask for it.
    fn own_page(&self, page: OwnPage) -> String {
        self.outside(&format!("{}{}", self.config.own_prefix, page.path()))
    }

    fn ui_path(&self, below: &str) -> String {
        self.outside(&format!("{}/ui{below}", self.config.litellm.root_path))
    }

    /// The cookie at the browser's root, as LiteLLM's pages look for it (`set_session_token_cookie`): scripts must be able to
    /// read it.
    fn cookie(&self, value: &str, path: &str, is_over: bool) -> Option<HeaderValue> {
        let secure = if self.config.public_url.as_ref().is_some_and(|url| url.https) { "; Secure" } else { "" };
        let age = if is_over { "; Max-Age=0" } else { "" };
        let text = format!("{UI_COOKIE}={value}; Path={path}; SameSite=Lax{secure}{age}");
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Ends every cookie that the browser may hold.
    fn forget_cookies(&self, headers: &mut HeaderMap) {
        self.forget_twin(headers);
        headers.extend(self.cookie("", "/", true).map(|cookie| (header::SET_COOKIE, cookie)));
    }

    /// Ends the twin that LiteLLM's own page for signing in sets below `/ui`: browsers list it first.
    fn forget_twin(&self, headers: &mut HeaderMap) {
        headers.extend(self.cookie("", &self.ui_path(""), true).map(|cookie| (header::SET_COOKIE, cookie)));
    }
}

// === impl ResponseEdits ===

impl ResponseEdits {
    /// Whether the answer's body has to be read and written anew.
    pub fn rewrites_body(&self) -> bool {
        matches!(self, Self::Settings)
    }

    /// Writes the answer's body anew; `None` to leave it as it is.
    pub fn body(&self, admin_ui: &AdminUi, body: &[u8]) -> Option<Vec<u8>> {
        ui::with_logout(body, &admin_ui.own_page(OwnPage::SignOut))
    }

    /// Adds what is to be added to the answer's headers.
    pub fn headers(self, admin_ui: &AdminUi, headers: &mut HeaderMap) {
        let Self::Page(signed_in) = self else { return };
        let is_html = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        if is_html {
            // Policies add up (CSP Level 3 section 8.1), so LiteLLM's own stays.
            headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'"));
            headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
            // A page from the browser's memory would be shown to the next user, with any cookie that is there.
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        if let Some(signed_in) = signed_in {
            signed_in.write(admin_ui, headers);
        }
    }
}

/// A page of vestibule's own.
fn page(title: &str, body: &str) -> Response<Bytes> {
    answer(StatusCode::OK, "text/html; charset=utf-8", html::page(title, body))
}

/// JSON of vestibule's own.
fn json_answer(document: &impl Serialize) -> Response<Bytes> {
    // Text, numbers and lists always serialize.
    answer(StatusCode::OK, "application/json", serde_json::to_string(document).unwrap_or_default())
}

/// An answer of vestibule's own that no cache may keep.
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
    // A location made here is ASCII without spaces.
    let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, location);
    response
}
