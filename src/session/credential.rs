//! What a request goes on with. Without a [`Credential`] nothing is forwarded, and only
//! [`Sessions::credential`] makes one; [`UserCredential::renewed`] makes another of one.

use std::sync::Arc;
use std::time::Duration;

use super::{InFlight, Session, Sessions, Shown};
use crate::config::CookieKind;
use crate::identity::{Principal, Requester};
use crate::litellm::credentials::{self, KeyHeaders};
use crate::refusal::{Code, Refusal};
use crate::request_info::{Known, RequestInfo, Route};
use crate::secret::PLACEHOLDER_PREFIX;

/// What a user with too many requests in flight is told to wait.
const CROWDED_RETRY: Duration = Duration::from_secs(1);

/// What a request goes on with.
pub enum Credential {
    /// A user's session key.
    User(UserCredential),
    /// The client's own key, which LiteLLM judges.
    ClientKey(KeyHeaders),
    /// None: the path needs no identity.
    Public,
}

/// A user with their session.
pub struct UserCredential {
    session: Session,
    principal: Arc<Principal>,
}

/// The configuration of sessions in requests.
#[derive(Debug, Clone, Copy)]
pub struct SessionPolicy {
    /// What the admin UI's cookie holds.
    pub cookie_key: CookieKind,
    /// Requests in flight of one user; 0 = no limit.
    pub in_flight_per_user: usize,
}

// === impl Credential ===

impl Credential {
    /// The key that goes to LiteLLM.
    pub fn key(&self) -> Option<&KeyHeaders> {
        match self {
            Self::User(user) => Some(user.session.key()),
            Self::ClientKey(key) => Some(key),
            Self::Public => None,
        }
    }

    /// The user, where there is one.
    pub fn user(&self) -> Option<&UserCredential> {
        match self {
            Self::User(user) => Some(user),
            Self::ClientKey(_) | Self::Public => None,
        }
    }

    /// What `passage` says of it in the log.
    pub fn passage(&self) -> &'static str {
        match self {
            Self::User(_) => "as",
            Self::ClientKey(_) => "own_key",
            Self::Public => "public",
        }
    }
}

// === impl UserCredential ===

impl UserCredential {
    /// Account and key.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The user, as this very request says.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The same user with another key, after LiteLLM refused this one.
    #[must_use]
    pub fn renewed(&self, session: Session) -> Credential {
        Credential::User(Self { session, principal: self.principal.clone() })
    }
}

// === impl Sessions ===

impl Sessions {
    /// What a request goes on with, and a user's place among their requests in flight. Waits for the store only for what is not
    /// in memory.
    pub async fn credential(
        &self,
        requester: Requester,
        info: &RequestInfo<'_>,
        policy: SessionPolicy,
    ) -> Result<(Credential, Option<InFlight>), Refusal> {
        let principal = match requester {
            Requester::Public(_) => return Ok((Credential::Public, None)),
            Requester::ClientKey(own) => return Ok((Credential::ClientKey(own.into_key()), None)),
            Requester::User(principal) => principal,
        };
        let session = self.open(&principal.identity, &principal.mapping).await?;
        session.settled_for(info.route())?;
        let session = self.browsing(session, info, policy.cookie_key).await?;
        let permit = session
            .enter(policy.in_flight_per_user)
            .ok_or_else(|| Refusal::from(Code::TooManyRequests).retry_after(CROWDED_RETRY))?;
        Ok((Credential::User(UserCredential { session, principal }), Some(permit)))
    }

    /// The session of the browser whose placeholder, or whose key, came with the request. On the models' routes the user's own
    /// budget counts, which LiteLLM does not apply to a browser's key.
    async fn browsing(
        &self,
        session: Session,
        info: &RequestInfo<'_>,
        cookie_key: CookieKind,
    ) -> Result<Session, Refusal> {
        let mut browsing = None;
        for key in credentials::keys_in(info.credentials(), info.all(Known::SecWebsocketProtocol)) {
            if key.starts_with(PLACEHOLDER_PREFIX) {
                browsing = Some(self.browse(session.clone(), key).await?);
            } else if cookie_key == CookieKind::Real {
                if let Shown::Living(living) = self.shown(&session, key) {
                    browsing = Some(living);
                } else if info.one(Known::SecFetchSite).is_ok_and(|site| site.is_some_and(|site| site == "same-origin"))
                {
                    // A script of one of vestibule's own pages sends it, as the browser says.
                    return Err(Code::DeadPlaceholder.into());
                }
            }
        }
        let session = browsing.unwrap_or(session);
        Ok(if info.route() == Route::Inference { session.with_api_key() } else { session })
    }
}
