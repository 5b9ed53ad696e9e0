//! Where LiteLLM looks for a key and whom it believes (`proxy/auth/user_api_key_auth.py`, `get_api_key` and the
//! websocket variant; `types/proxy/auth/special_headers.py`; `constants.py`).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::http::names::{HeaderTable, Owner};
use crate::http::query;
use crate::litellm::routes;
use crate::secret::SessionKey;

/// The header that beats all others on plain HTTP.
pub const X_LITELLM_API_KEY: HeaderName = HeaderName::from_static("x-litellm-api-key");

/// Every header that LiteLLM takes a key from.
pub const CREDENTIALS: [HeaderName; 7] = [
    header::AUTHORIZATION,
    X_LITELLM_API_KEY,
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("ocp-apim-subscription-key"),
    HeaderName::from_static("litellm_user_api_key"),
];

/// Headers by which a caller could speak for another person, team or customer.
const CLAIMS: [HeaderName; 9] = [
    HeaderName::from_static("x-litellm-end-user-id"),
    HeaderName::from_static("x-litellm-customer-id"),
    HeaderName::from_static("x-litellm-user-id"),
    HeaderName::from_static("x-litellm-user-email"),
    HeaderName::from_static("x-litellm-user-role"),
    HeaderName::from_static("x-litellm-team-id"),
    HeaderName::from_static("x-litellm-agent-id"),
    HeaderName::from_static("litellm-changed-by"),
    HeaderName::from_static("x-litellm-changed-by"),
];

/// The chat front end `Open WebUI`'s headers, which `user_header_mappings` commonly names.
const CLAIM_PREFIX: &str = "x-openwebui-";

/// Those that it sends (`env.py`, `FORWARD_USER_INFO_HEADER_*`), for who must be told names.
const OPENWEBUI: [HeaderName; 6] = [
    HeaderName::from_static("x-openwebui-user-id"),
    HeaderName::from_static("x-openwebui-user-name"),
    HeaderName::from_static("x-openwebui-user-email"),
    HeaderName::from_static("x-openwebui-user-role"),
    HeaderName::from_static("x-openwebui-chat-id"),
    HeaderName::from_static("x-openwebui-message-id"),
];

/// The admin UI's cookie, which holds a key.
pub const UI_COOKIE: &str = "token";

/// A websocket subprotocol that carries a key.
const KEY_SUBPROTOCOL: &str = "openai-insecure-api-key.";

/// The beginning of every key (`_types.py`: else 401 "expected to start with 'sk-'").
pub const KEY_PREFIX: &str = "sk-";

/// A key in the forms in which it goes up, made once a session.
#[derive(Clone)]
pub struct KeyHeaders {
    bare: HeaderValue,
    bearer: HeaderValue,
}

/// Adds the names of credentials and claims, with what this LiteLLM has been configured to read besides.
pub fn own(table: &mut HeaderTable, configured: impl IntoIterator<Item = HeaderName>) {
    for name in CREDENTIALS.into_iter().chain(configured) {
        table.own(name, Owner::Credential);
    }
    for name in CLAIMS {
        table.own(name, Owner::Claim);
    }
    for name in OPENWEBUI {
        table.own(name, Owner::Claim);
    }
    table.own_prefix(CLAIM_PREFIX, Owner::Claim);
}

/// The key that a header carries in clear, where it looks like one of LiteLLM's: bare, or after `Bearer`.
pub fn key_in(value: &HeaderValue) -> Option<&str> {
    let text = value.as_bytes().trim_ascii();
    let key = match memchr::memchr(b' ', text).map(|at| text.split_at(at)) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer") => rest.trim_ascii(),
        Some(_) => return None,
        None => text,
    };
    // A comma would be two keys that something before vestibule joined.
    let is_one = |key: &[u8]| key.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',');
    let is_key = key.starts_with(KEY_PREFIX.as_bytes()) && key.len() > KEY_PREFIX.len() && is_one(key);
    if is_key { std::str::from_utf8(key).ok() } else { None }
}

/// The keys in clear in a request's credential lines and websocket subprotocols: wherever LiteLLM or its pages put them.
pub fn keys_in<'a>(
    lines: impl Iterator<Item = &'a HeaderValue>,
    subprotocols: impl Iterator<Item = &'a HeaderValue>,
) -> impl Iterator<Item = &'a str> {
    let protocols = subprotocols.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    lines.filter_map(key_in).chain(protocols.filter_map(|item| key_of_subprotocol(item.trim())))
}

/// What a websocket subprotocol carries as a key, where it is named as one.
pub fn key_of_subprotocol(item: &str) -> Option<&str> {
    let (name, key) = item.split_at_checked(KEY_SUBPROTOCOL.len())?;
    name.eq_ignore_ascii_case(KEY_SUBPROTOCOL).then_some(key)
}

/// Whether LiteLLM's server could read a cookie of this name as the admin UI's. Python's `strip` takes more for blanks than
/// ASCII's are: `\u{a0}token` is `token` there.
pub fn is_ui_cookie(name: &[u8]) -> bool {
    name == UI_COOKIE.as_bytes() || !name.iter().all(u8::is_ascii_graphic)
}

/// The query without the parameters that carry a key to LiteLLM: any of its own, and whatever is there where LiteLLM reads
/// one. `None` where there is none; `path` without LiteLLM's root path.
pub fn query_without_keys(path: &str, query: &str) -> Option<String> {
    let is_key = |name: &str, value: &str| {
        name == "key" && (value.starts_with(KEY_PREFIX) || routes::reads_key_from_query(path))
    };
    query::without(query, is_key)
}

/// Whether the body of a 401 says that the key itself is unknown or expired: `error.type` is `token_not_found_in_db` or
/// `expired_key` (`_types.py`, `ProxyErrorTypes`). Any other 401 is not about the key.
pub fn is_refused_key(body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else { return false };
    matches!(
        body.pointer("/error/type").and_then(serde_json::Value::as_str),
        Some("token_not_found_in_db" | "expired_key")
    )
}

// === impl KeyHeaders ===

impl KeyHeaders {
    /// `None` where the key can't stand in a header.
    pub fn new(key: &str) -> Option<Self> {
        let sensitive = |text: &str| {
            let mut value = HeaderValue::from_str(text).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        Some(Self { bare: sensitive(key)?, bearer: sensitive(&format!("Bearer {key}"))? })
    }

    /// The key in clear.
    pub fn clear(&self) -> Option<&str> {
        self.bare.to_str().ok()
    }

    /// Of a session key, which is plain ASCII by its making.
    pub fn of(key: &SessionKey) -> Option<Self> {
        Self::new(key.expose())
    }

    /// Sets the key where LiteLLM looks first: `x-litellm-api-key` wins on plain HTTP and MCP, `Authorization` is all
    /// that websockets read, and the configured header overrides both. Where Authorization belongs to the far end it
    /// is left alone.
    pub fn inject(&self, headers: &mut HeaderMap, key_header: Option<&HeaderName>, keep_authorization: bool) {
        headers.insert(X_LITELLM_API_KEY, self.bare.clone());
        if !keep_authorization {
            headers.insert(header::AUTHORIZATION, self.bearer.clone());
        }
        if let Some(name) = key_header {
            headers.insert(name.clone(), self.bearer.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_bare_and_after_bearer_alone() {
        let key = |text| key_in(&HeaderValue::from_static(text)).map(str::to_owned);
        assert_eq!(key("Bearer sk-1").as_deref(), Some("sk-1"));
        assert_eq!(key("bearer  sk-1 ").as_deref(), Some("sk-1"));
        assert_eq!(key("sk-1").as_deref(), Some("sk-1"));
        for other in ["Basic c2stMQ==", "sk-", "Bearer eyJ", "Bearer", "", "sk-1,sk-2", "Bearer sk-1 sk-2"] {
            assert_eq!(key(other), None, "{other}");
        }
    }

    #[test]
    fn only_litellms_own_words_say_that_a_key_is_gone() {
        assert!(is_refused_key(
            br#"{"error":{"message":"","type":"token_not_found_in_db","param":"key","code":"401"}}"#
        ));
        assert!(is_refused_key(br#"{"error":{"type":"expired_key"}}"#));
        for other in
            ["", "{}", "[]", r#"{"error":{"type":"auth_error"}}"#, r#"{"type":"expired_key"}"#, r#""expired_key""#]
        {
            assert!(!is_refused_key(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn injected_values_are_marked_sensitive() {
        let mut headers = HeaderMap::new();
        KeyHeaders::new("sk-1").unwrap().inject(&mut headers, Some(&HeaderName::from_static("x-k")), false);
        assert_eq!(headers.len(), 3);
        assert!(headers.values().all(HeaderValue::is_sensitive));
        assert!(!format!("{headers:?}").contains("sk-1"));
    }
}
