//! Who sends a request: the peer that holds the socket, whether its word counts, and the user that it speaks for.
//!
//! ```text
//! Peer ─► TrustedPeer ─► IdentityValues ─► Principal
//! who is   may it speak    what is said      who the user is,
//! calling? for others?     of the user       and what the rules give
//! ```
//!
//! Nothing here asks the database: that is the session's part. [`Identification::read`] is the whole of it.

mod cache;
mod decode;
pub mod peer;
pub mod read;
pub mod rules;
pub mod source;
pub mod trust;

use std::sync::Arc;

use http::HeaderValue;

use crate::config::ClientKeys;
use crate::litellm::credentials::{self, KeyHeaders};
use crate::refusal::{Code, Refusal};
use crate::request_info::RequestInfo;
pub use cache::{Principal, PrincipalCache};
use source::AssertionSource;
use trust::TrustedPeer;

/// Reads who sends a request, by the configuration of one listener.
#[derive(Clone)]
pub struct Identification {
    source: Arc<AssertionSource>,
    principals: Arc<PrincipalCache>,
    client_keys: ClientKeys,
}

/// Who sends a request. Only [`Identification::read`] makes one.
pub enum Requester {
    /// A user, as a trusted proxy says.
    User(Arc<Principal>),
    /// A client with a key of its own, which LiteLLM judges.
    ClientKey(ClientKey),
    /// A request to a path that needs no identity.
    Public(Public),
}

/// A client's own key: the only credential of a request without an identity, beginning with `sk-`.
pub struct ClientKey(KeyHeaders);

/// The proof that a path needs no identity.
pub struct Public(());

// === impl Identification ===

impl Identification {
    /// `client_keys` says what becomes of a client's own key.
    pub fn new(source: Arc<AssertionSource>, principals: Arc<PrincipalCache>, client_keys: ClientKeys) -> Self {
        Self { source, principals, client_keys }
    }

    /// Who sends the request. `trusted` is the listener's word on the peer, or why its word does not count.
    pub async fn read(
        &self,
        trusted: Result<TrustedPeer, Refusal>,
        info: &RequestInfo<'_>,
    ) -> Result<Requester, Refusal> {
        if info.is_public() {
            return Ok(Requester::Public(Public(())));
        }
        let answer = self.source.ask(trusted.as_ref().ok(), info).await?;
        let said = match &answer {
            None => info.identity_values(),
            Some(headers) => info.rules().identity_values(headers),
        };
        let unauthenticated = |trusted| self.source.unauthenticated(trusted, answer.as_ref());
        if !said.is_asserted() {
            return match self.client_keys {
                ClientKeys::Pass => match ClientKey::take(info.credentials()) {
                    Ok(own) => Ok(Requester::ClientKey(own)),
                    Err(refusal) if refusal.code() == Code::NoIdentity => Err(unauthenticated(trusted)),
                    Err(refusal) => Err(refusal),
                },
                ClientKeys::Strip => Err(unauthenticated(trusted)),
            };
        }
        let proxy = trusted?;
        let principal = self
            .principals
            .principal(&proxy, &said)
            .map_err(|refusal| if refusal.code() == Code::NoIdentity { unauthenticated(Ok(proxy)) } else { refusal })?;
        Ok(Requester::User(principal))
    }
}

// === impl ClientKey ===

impl ClientKey {
    /// Takes the one key of a request that asserts no user: one header line of all that LiteLLM reads. Without any there is no
    /// identity.
    fn take<'a>(mut lines: impl Iterator<Item = &'a HeaderValue>) -> Result<Self, Refusal> {
        let Some(line) = lines.next() else { return Err(Code::NoIdentity.into()) };
        if lines.next().is_some() {
            return Err(Code::CallerKey.into());
        }
        Ok(Self(credentials::key_in(line).and_then(KeyHeaders::new).ok_or(Code::CallerKey)?))
    }

    /// The key as it goes on.
    pub fn into_key(self) -> KeyHeaders {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_key_is_the_only_credential_there_is() {
        let take = |lines: &[&'static str]| {
            let lines: Vec<_> = lines.iter().map(|line| HeaderValue::from_static(line)).collect();
            ClientKey::take(lines.iter()).is_ok()
        };
        assert!(take(&["Bearer sk-1"]) && take(&["sk-1"]));
        assert!(!take(&[]) && !take(&["Bearer eyJ"]));
        assert!(
            !take(&["Bearer sk-1", "sk-1"]) && !take(&["Bearer sk-1", "x"]) && !take(&["Bearer sk-1", "Bearer sk-2"])
        );
    }
}
