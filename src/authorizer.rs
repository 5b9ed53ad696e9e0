//! The decision over a request: who may pass, and with what. The proxy and forward-auth share it.

pub mod in_flight;

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::cross_site::CrossSitePolicy;
use crate::identity::Identification;
use crate::identity::peer::Peer;
use crate::identity::trust::PeerTrust;
use crate::refusal::Refusal;
use crate::request_info::{ListenerRules, RequestInfo};
use crate::session::credential::{Credential, SessionPolicy};
use crate::session::{InFlight, Sessions};
use in_flight::InFlightLimit;

/// What decides over the requests of one listener.
pub struct Authorizer {
    /// What is the same for all of them.
    pub rules: ListenerRules,
    /// Which peers' word counts.
    pub trust: PeerTrust,
    /// Where requests may come from.
    pub cross_site: Arc<CrossSitePolicy>,
    /// Who sends them.
    pub identification: Identification,
    /// Accounts and keys.
    pub sessions: Sessions,
    /// What decides over sessions besides the store.
    pub policy: SessionPolicy,
    /// Requests in flight.
    pub in_flight: InFlightLimit,
}

/// What [`Authorizer::authorize`] allows.
pub struct Authorized {
    /// What the request goes on with.
    pub credential: Credential,
    /// Whether the peer is trusted: its `X-Forwarded-*` are kept and believed.
    pub is_trusted: bool,
    /// The request's places in flight.
    pub permits: Permits,
}

/// A request's places in flight, given back when its answer has ended.
#[derive(Default)]
pub struct Permits {
    /// Among the user's requests.
    pub user: Option<InFlight>,
    /// Among all requests.
    pub all: Option<OwnedSemaphorePermit>,
}

// === impl Authorizer ===

impl Authorizer {
    /// Who may pass, and with what. Waits for the store only where memory does not know the user, and for the OAuth proxy at
    /// each request that it is asked about (`identity.source: check`).
    pub async fn authorize(&self, peer: &Peer, info: &RequestInfo<'_>) -> Result<Authorized, Refusal> {
        let all = self.in_flight.enter()?;
        // Not refused yet: public paths and clients with a key of their own need no trusted peer. `Identification::read` refuses
        // a peer that speaks for a user.
        let trusted = self.trust.check(peer, info);
        let is_trusted = trusted.is_ok();
        self.cross_site.check(info, is_trusted)?;
        let requester = self.identification.read(trusted, info).await?;
        let (credential, user) = self.sessions.credential(requester, info, self.policy).await?;
        Ok(Authorized { credential, is_trusted, permits: Permits { user, all } })
    }
}
