//! LiteLLM's admin UI: its pages, the cookie that signs somebody in there, and the answer that tells it where the way out
//! is (`types/proxy/ui_sso.py`, `management_endpoints/ui_sso.py`, and the compiled pages of 1.81 to 1.109).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::litellm::routes::Class;
use crate::secret::CookieKey;

/// `{"alg":"HS256","typ":"JWT"}`.
const JWT_HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// Most bytes of a cookie that is read.
const COOKIE_BYTES_MAX: usize = 4096;

/// The team of keys of the UI's own sessions: LiteLLM leaves them out of lists and counts, and sweeps them.
pub const UI_TEAM: &str = "litellm-dashboard";
/// USD. LiteLLM applies no personal budget to a key with a team, so such a key is not for models.
pub const UI_MAX_BUDGET: f64 = 0.01;
/// What the cookie says. All of LiteLLM's claims are there: its pages differ by version in which they need.
/// It has no Debug, nor has what is read of one: the key can be a real one.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct SessionClaims<'a> {
    /// LiteLLM's `user_id`.
    pub user_id: &'a str,
    /// The key, or what stands for it.
    pub key: &'a str,
    /// LiteLLM's `user_email`.
    pub user_email: Option<&'a str>,
    /// LiteLLM's role string; since 1.101 the pages ask the server instead.
    pub user_role: &'a str,
    /// `sso`.
    pub login_method: &'static str,
    /// Whether a licence was paid for.
    pub premium_user: bool,
    /// Header that the pages send the key in.
    pub auth_header_name: &'a str,
    /// `SERVER_ROOT_PATH`.
    pub server_root_path: &'a str,
    /// LiteLLM's setting of this name; the server has the last word.
    pub disabled_non_admin_personal_key_creation: bool,
    /// Whether the page leads to a change of password first.
    pub password_reset_required: bool,
    /// Seconds since 1970.
    pub exp: u64,
}

/// What a browser's cookie says of whom it was made for. Nothing of it is believed: the key is looked up.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Claimed {
    /// The key, or what stands for it.
    pub key: String,
    /// The role that the page shows.
    pub user_role: Option<String>,
    /// Seconds since 1970.
    pub exp: Option<u64>,
}

// === impl SessionClaims ===

impl SessionClaims<'_> {
    /// The JWT (RFC 7519), signed with HS256.
    pub fn sign(&self, key: &CookieKey) -> String {
        // Text and numbers always serialize.
        let payload = serde_json::to_vec(self).unwrap_or_default();
        let mut token = format!("{JWT_HEADER}.{}", URL_SAFE_NO_PAD.encode(payload));
        let signature = URL_SAFE_NO_PAD.encode(key.sign(&token));
        token.push('.');
        token.push_str(&signature);
        token
    }
}

// === impl Claimed ===

impl Claimed {
    /// Reads a cookie's claims, whoever signed them.
    pub fn read(cookie: &str) -> Option<Self> {
        let payload = cookie.split('.').nth(1).filter(|_| cookie.len() <= COOKIE_BYTES_MAX)?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }
}

/// What a path of the admin UI's tree (`/ui`) is; `path` in plain spelling, without LiteLLM's root path.
pub fn part(path: &str) -> Class {
    let below = path.strip_suffix('/').unwrap_or(path).strip_prefix("/ui").unwrap_or_default();
    let last = below.rsplit('/').next().unwrap_or_default();
    if last.rsplit_once('.').is_some_and(|(_, kind)| kind != "html") {
        // A script, a style, a picture, or what a page fetches of another (`index.txt`).
        Class::Asset
    } else if below == "/login" || below.starts_with("/login/") {
        Class::SignInPage
    } else {
        Class::UiPage
    }
}

/// The settings with another way out; `None` where they are not what they were known as.
pub fn with_logout(settings: &[u8], logout: &str) -> Option<Vec<u8>> {
    let mut settings = serde_json::from_slice::<Value>(settings).ok()?;
    let fields = settings.as_object_mut()?;
    fields.insert("PROXY_LOGOUT_URL".to_owned(), logout.into());
    serde_json::to_vec(&settings).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SessionSecrets;

    #[test]
    fn the_cookie_is_a_jwt_that_its_key_has_signed() {
        let key = CookieKey::of_master_key(&"your-256-bit-secret".to_owned().into());
        // The example of jwt.io: header, payload and signature over them.
        let text = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ";
        assert_eq!(URL_SAFE_NO_PAD.encode(key.sign(text)), "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c");
        assert!(text.starts_with(JWT_HEADER));
        let claims = SessionClaims {
            user_id: "alice",
            key: "sk-vst-1-2",
            user_email: None,
            user_role: "internal_user",
            login_method: "sso",
            premium_user: false,
            auth_header_name: "Authorization",
            server_root_path: "",
            disabled_non_admin_personal_key_creation: false,
            password_reset_required: false,
            exp: 7,
        };
        let read = Claimed::read(&claims.sign(&key)).unwrap();
        assert_eq!(
            (read.key.as_str(), read.user_role.as_deref(), read.exp),
            ("sk-vst-1-2", Some("internal_user"), Some(7))
        );
        assert!(Claimed::read("x.y.z").is_none() && Claimed::read("").is_none());
    }

    #[test]
    fn the_session_secret_signs_where_there_is_no_master_key() {
        let secrets = SessionSecrets::parse(&"0123456789abcdef0123456789abcdef".to_owned().into()).unwrap();
        let other = SessionSecrets::parse(&"fedcba9876543210fedcba9876543210".to_owned().into()).unwrap();
        assert_ne!(secrets.cookie_key().sign("x").as_ref(), other.cookie_key().sign("x").as_ref());
    }

    #[test]
    fn the_way_out_is_written_into_the_settings_and_the_rest_stays() {
        let told = with_logout(br#"{"PROXY_LOGOUT_URL":null,"a":[1]}"#, "/vestibule/logout").unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&told).unwrap(),
            serde_json::json!({"PROXY_LOGOUT_URL": "/vestibule/logout", "a": [1]})
        );
        assert_eq!(with_logout(b"[]", "/x"), None);
    }
}
