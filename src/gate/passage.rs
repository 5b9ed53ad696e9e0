//! What is let through. Without a [`Passage`] nothing is forwarded, and only the gate makes one.

use std::sync::Arc;

use http::header::{HeaderMap, HeaderName};

use super::recognition::Recognised;
use super::refusal::{Code, Refusal};
use super::session::{InFlight, Session};
use crate::config::PublicPaths;
use crate::litellm::credentials::{self, CREDENTIALS, KeyHeaders};
use crate::litellm::routes;

/// What a request goes up as.
#[derive(Clone)]
pub enum Passage {
    /// As a person, with their session key.
    As(Session),
    /// With the caller's own key, which LiteLLM judges.
    OwnKey(OwnKey),
    /// To a public path, without any credential.
    Public(Public),
}

/// A caller's own key: the only credential of a request without an identity, beginning with `sk-`.
#[derive(Clone)]
pub struct OwnKey {
    key: KeyHeaders,
}

/// A request to a path that needs no identity.
#[derive(Debug, Clone, Copy)]
pub struct Public(());

/// A request that the gate let in.
pub struct Admitted {
    /// What it goes up as.
    pub passage: Passage,
    /// Whether the peer's `X-Forwarded-*` are kept.
    pub is_from_trusted: bool,
    /// The person's place among their requests in flight, held as long as the request runs.
    pub place: Option<InFlight>,
    /// Who it is for and what they were granted, as this very request says; `None` for requests without a person.
    pub recognised: Option<Arc<Recognised>>,
}

// === impl Admitted ===

impl Admitted {
    /// The rule that gave the role; `None` for the default role and for requests without a person.
    pub fn rule(&self) -> Option<usize> {
        self.recognised.as_ref().and_then(|recognised| recognised.grant.rule())
    }
}

// === impl Passage ===

impl Passage {
    /// The key that goes up with it.
    pub fn key(&self) -> Option<&KeyHeaders> {
        match self {
            Self::As(session) => Some(session.key()),
            Self::OwnKey(own) => Some(&own.key),
            Self::Public(_) => None,
        }
    }

    /// Its name in the log.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::As(_) => "as",
            Self::OwnKey(_) => "own_key",
            Self::Public(_) => "public",
        }
    }
}

// === impl OwnKey ===

impl OwnKey {
    /// Takes the one key of a request that asserts nobody: one header line of all that LiteLLM reads. Without any it is nobody.
    pub(super) fn take(headers: &HeaderMap, configured: &[HeaderName]) -> Result<Self, Refusal> {
        let usual = CREDENTIALS;
        let mut lines = usual.iter().chain(configured).flat_map(|name| headers.get_all(name));
        let Some(line) = lines.next() else { return Err(Code::NoIdentity.into()) };
        if lines.next().is_some() {
            return Err(Code::CallerKey.into());
        }
        let key = credentials::key_in(line).and_then(KeyHeaders::new).ok_or(Code::CallerKey)?;
        Ok(Self { key })
    }
}

// === impl Public ===

impl Public {
    /// Only a path in its plain spelling can be public: any other could be a different path to LiteLLM.
    pub(super) fn find(paths: &PublicPaths, path: &str) -> Option<Self> {
        let is_listed = paths.exact.iter().any(|exact| exact == path)
            || paths.prefixes.iter().any(|prefix| path.starts_with(prefix));
        (is_listed && routes::is_plain(path)).then_some(Self(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_listed_paths_in_plain_spelling_are_public() {
        let paths = PublicPaths { exact: vec!["/health/liveness".into()], prefixes: vec!["/public/".into()] };
        let is_public = |path| Public::find(&paths, path).is_some();
        assert!(is_public("/health/liveness") && is_public("/public/x"));
        for path in [
            "/health/liveness/",
            "/health",
            "/public",
            "/publicx",
            "/public/../key/generate",
            "/public//x",
            "/public/%2e%2e/x",
            "/Public/x",
        ] {
            assert!(!is_public(path), "{path}");
        }
    }

    #[test]
    fn an_own_key_is_the_only_credential_there_is() {
        let take = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            OwnKey::take(&headers, &[HeaderName::from_static("x-configured")]).is_ok()
        };
        assert!(
            take(&[("authorization", "Bearer sk-1")])
                && take(&[("x-api-key", "sk-1")])
                && take(&[("x-configured", "sk-1")])
        );
        assert!(!take(&[]));
        assert!(!take(&[("authorization", "Bearer eyJ")]));
        assert!(!take(&[("authorization", "Bearer sk-1"), ("x-api-key", "sk-1")]));
        assert!(!take(&[("authorization", "Bearer sk-1"), ("x-configured", "x")]));
        assert!(!take(&[("authorization", "Bearer sk-1"), ("authorization", "Bearer sk-2")]));
    }
}
