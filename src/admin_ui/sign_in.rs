//! Sign-in to the admin UI: a user who opens a page is in, as themselves, with a cookie that holds no key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{self, HeaderMap, HeaderValue};

use super::{AdminUi, CLEAR_SITE_DATA, ResponseEdits, UiAction, see_other};
use crate::config::{CookieKind, Litellm, PublicUrl};
use crate::http::cookies;
use crate::http::query::{decode, percent_decode};
use crate::litellm::credentials::UI_COOKIE;
use crate::litellm::routes::{Class, class};
use crate::litellm::ui::{Claimed, SessionClaims};
use crate::refusal::Refusal;
use crate::request_info::{Known, RequestInfo, Route};
use crate::secret::PLACEHOLDER_PREFIX;
use crate::session::{Session, Shown};

/// LiteLLM's own mark of a page that a user has just signed in to. A browser that comes back with it and still without a
/// cookie takes none: it is not redirected without end.
const ARRIVED: &str = "login=success";
/// A page that is opened with less than this of its session left gets a new one, so that it does not end during work.
const PAGE_LEFT_MIN: Duration = Duration::from_mins(30);

/// What a browser is to keep.
pub struct SignedIn {
    cookie: Option<HeaderValue>,
    /// What is left in the browser may be another user's.
    is_new_here: bool,
}

/// What the cookies that came say.
struct Found {
    /// A living session of the user's.
    living: Option<Session>,
    /// All that the page could read says the same as a new cookie would.
    is_right: bool,
    /// All of them are the user's.
    is_theirs: bool,
    /// A placeholder of the user's that is not known here.
    over: Option<String>,
}

// === impl AdminUi ===

impl AdminUi {
    /// A page was opened: on to it at once where the browser is signed in as this user, else by way of a new cookie.
    pub(super) async fn sign_in(&self, info: &RequestInfo<'_>, session: &Session) -> Result<UiAction, Refusal> {
        let mut found = self.find(info, session);
        if let (None, Some(over)) = (&found.living, &found.over) {
            // Another replica may have made it a moment ago.
            found.living = self.sessions.browse(session.clone(), over).await.ok();
        }
        let mut signed_in = None;
        if !found.is_right {
            let browsing = match found.living {
                Some(living) if self.lasts(&living) => living,
                Some(living) => self.sessions.open_browser(session).await.unwrap_or(living),
                None => self.sessions.open_browser(session).await?,
            };
            let cookie = self.session_cookie(&browsing);
            signed_in = Some(SignedIn { cookie, is_new_here: !found.is_theirs });
        }
        let is_shown = info.route() == Route::UiPage;
        let has_arrived = info.query().is_some_and(|query| query.split('&').any(|pair| pair == ARRIVED));
        if is_shown && (signed_in.is_none() || has_arrived) {
            return Ok(UiAction::Forward(ResponseEdits::Page(signed_in)));
        }
        let to = if is_shown {
            let query = info.query().map_or_else(|| ARRIVED.to_owned(), |query| format!("{query}&{ARRIVED}"));
            self.outside(&format!("{}?{query}", info.path()))
        } else {
            self.wanted(info)
        };
        let mut response = see_other(&to);
        if let Some(signed_in) = signed_in {
            signed_in.write(self, response.headers_mut());
        }
        Ok(UiAction::Answer(response))
    }

    /// Whether a page can be opened with a browser's session.
    fn lasts(&self, browsing: &Session) -> bool {
        browsing.browser_left() > PAGE_LEFT_MIN.min(self.config.session.life / 4)
    }

    /// All cookies count: the page takes the first of them, whichever that is.
    fn find(&self, info: &RequestInfo<'_>, session: &Session) -> Found {
        let mut found = Found { living: None, is_right: true, is_theirs: false, over: None };
        let mut has_foreign = false;
        for cookie in cookies::values(info.all(Known::Cookie), UI_COOKIE) {
            let claimed = Claimed::read(cookie);
            let shown = claimed.as_ref().map_or(Shown::Foreign, |claimed| self.sessions.shown(session, &claimed.key));
            let says_so = claimed.as_ref().is_some_and(|claimed| self.is_as_ours(claimed, session));
            match shown {
                Shown::Living(living) => {
                    found.is_right &= says_so && self.lasts(&living);
                    (found.living, found.is_theirs) = (Some(living), true);
                }
                Shown::Over(_) => {
                    (found.is_right, found.is_theirs) = (false, true);
                    found.over = claimed.map(|claimed| claimed.key);
                }
                Shown::Foreign => has_foreign = true,
            }
        }
        found.is_right &= found.living.is_some() && !has_foreign;
        found.is_theirs &= !has_foreign;
        found
    }

    /// Whether a cookie says what a new one would.
    fn is_as_ours(&self, claimed: &Claimed, session: &Session) -> bool {
        let is_placeholder = claimed.key.starts_with(PLACEHOLDER_PREFIX);
        claimed.user_role.as_deref() == Some(session.role())
            && claimed.exp.is_some_and(|end| end > now())
            && is_placeholder == (self.config.ui.cookie_key == CookieKind::Placeholder)
    }

    /// The cookie for a browser's session.
    fn session_cookie(&self, browsing: &Session) -> Option<HeaderValue> {
        let placeholder = self.sessions.placeholder(browsing)?;
        let key = match self.config.ui.cookie_key {
            CookieKind::Placeholder => placeholder.as_str(),
            CookieKind::Real => browsing.browser_key()?.expose(),
        };
        let Litellm { key_header, root_path, .. } = &self.config.litellm;
        let header = key_header.as_ref().map_or("Authorization", |name| name.as_str());
        let exp = now() + browsing.browser_left().as_secs();
        self.cookie(&claims(browsing, key, header, root_path, exp).sign(&self.signature), "/", false)
    }

    /// Where a browser that was sent to sign in is to go.
    pub(super) fn wanted(&self, info: &RequestInfo<'_>) -> String {
        let query = info.query().unwrap_or_default();
        let named = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut wanted =
            named.filter(|(name, _)| matches!(*name, "redirect_to" | "return_to")).map(|(_, value)| decode(value));
        let origin = self.config.public_url.as_ref().map(PublicUrl::origin).unwrap_or_default();
        let path = wanted.find_map(|to| own_path(to.strip_prefix(&origin).unwrap_or(&to)).map(str::to_owned));
        // Back to a page for signing in would be a circle.
        let path = path.filter(|path| class(path.split('?').next().unwrap_or_default()) != Class::SignInPage);
        path.unwrap_or_else(|| self.ui_path(&format!("/?{ARRIVED}")))
    }
}

/// All that LiteLLM's pages look for.
pub fn claims<'a>(
    session: &'a Session,
    key: &'a str,
    auth_header_name: &'a str,
    server_root_path: &'a str,
    exp: u64,
) -> SessionClaims<'a> {
    SessionClaims {
        user_id: session.user_id(),
        key,
        user_email: session.person().email.as_deref(),
        user_role: session.role(),
        login_method: "sso",
        premium_user: false,
        auth_header_name,
        server_root_path,
        disabled_non_admin_personal_key_creation: false,
        password_reset_required: false,
        exp,
    }
}

// === impl SignedIn ===

impl SignedIn {
    pub(super) fn write(self, admin_ui: &AdminUi, headers: &mut HeaderMap) {
        admin_ui.forget_twin(headers);
        headers.extend(self.cookie.map(|cookie| (header::SET_COOKIE, cookie)));
        if self.is_new_here {
            // What another user's page left in the browser's storage. Browsers do it over https and on loopback.
            headers.insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"storage\""));
        }
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A path of this very host, as every browser reads it: nothing that could be another host's name, or another header.
fn own_path(text: &str) -> Option<&str> {
    let decoded = percent_decode(text.as_bytes());
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !decoded.iter().any(|byte| byte.is_ascii_control() || *byte == b'\\');
    let leads_away = decoded.get(1).is_some_and(|second| *second == b'/');
    (text.starts_with('/') && is_plain && !leads_away).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_page_is_a_path_of_this_host() {
        for path in ["/", "/ui/teams?a=b#c", "/ui/?page=llm%20x"] {
            assert_eq!(own_path(path), Some(path));
        }
        for path in [
            "",
            "ui",
            "//evil",
            "/\\evil",
            "\\/evil",
            "/%2fevil",
            "/%2Fevil",
            "/%5cevil",
            "/x%0d%0aSet-Cookie:a",
            "/\tevil",
            "/ui/%5c",
            "https://evil",
            "javascript:alert(1)",
            "/ui\r\n",
            "/é",
        ] {
            assert_eq!(own_path(path), None, "{path}");
        }
    }
}
