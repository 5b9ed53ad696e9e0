//! The OAuth proxy's cookies: LiteLLM neither gets nor sets them.

use http::header::{self, HeaderMap, HeaderValue};

use crate::config::CookieName;
use crate::http::cookies;

/// The names of the OAuth proxy's cookies.
#[derive(Debug, Default)]
pub struct SignInCookies(pub Vec<CookieName>);

// === impl SignInCookies ===

impl SignInCookies {
    /// Whether a cookie of this name is the OAuth proxy's.
    pub fn are_named(&self, name: &[u8]) -> bool {
        self.0.iter().any(|ours| match ours {
            CookieName::Exact(exact) => name == exact.as_bytes(),
            CookieName::Prefix(prefix) => name.starts_with(prefix.as_bytes()),
        })
    }

    /// Takes them out of an answer.
    pub fn strip_from_answer(&self, headers: &mut HeaderMap) {
        let is_theirs = |value: &HeaderValue| self.are_named(cookies::name(value.as_bytes()));
        if !headers.get_all(header::SET_COOKIE).iter().any(is_theirs) {
            return;
        }
        if let header::Entry::Occupied(entry) = headers.entry(header::SET_COOKIE) {
            let (name, values) = entry.remove_entry_mult();
            let kept: Vec<HeaderValue> = values.filter(|value| !is_theirs(value)).collect();
            for value in kept {
                headers.append(name.clone(), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn litellm_sets_none_of_them() {
        let names = vec![CookieName::Prefix("_oauth2_proxy".into()), CookieName::Exact("sid".into())];
        let mut answer = HeaderMap::new();
        for value in ["_oauth2_proxy=evil; Path=/", "a=1", "sid=x", "token=t"] {
            answer.append(header::SET_COOKIE, HeaderValue::from_static(value));
        }
        SignInCookies(names).strip_from_answer(&mut answer);
        let left: Vec<_> = answer.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(left, ["a=1", "token=t"]);
    }
}
