//! A dry-run store: `explain` goes the request's whole way with it, and nothing is written or asked.

use std::sync::{Arc, OnceLock};

use crate::config::{Config, Terms};
use crate::secret::{self, SessionKind};
use crate::store::audit::Denial;
use crate::store::postgres::planned_user_id;
use crate::store::{OpenedSession, Store, StoreError, StoreFuture, SweepReport, UserProfile};

/// The user, and what a new row of theirs would hold.
#[derive(Debug, Clone)]
pub(super) struct PlannedUser {
    pub(super) user_id: String,
    pub(super) person: UserProfile,
    pub(super) terms: Terms,
}

/// A store without accounts: every user is new, without a conflict or a block.
pub(super) struct DryRunStore {
    pub(super) config: Arc<Config>,
    /// What would have been written, where the request came that far.
    pub(super) planned: OnceLock<PlannedUser>,
}

// === impl DryRunStore ===

impl DryRunStore {
    fn plan(&self, person: &UserProfile, terms: &Terms) -> Result<OpenedSession, StoreError> {
        let Config { account, litellm, session, .. } = &*self.config;
        let user_id = planned_user_id(person, account, litellm)?;
        // A key of the right form over a nonce that is thrown away: it opens nothing.
        let nonce = secret::nonce().unwrap_or_default();
        let key = session.secrets.session_key(session.secrets.current().as_str(), SessionKind::Api, "explain", &nonce);
        let key = key.ok_or_else(|| StoreError::NotReady("there is no session secret".to_owned()))?;
        let planned = PlannedUser { user_id: user_id.clone(), person: person.clone(), terms: terms.clone() };
        // One request opens one session; another would be the same user's.
        let _ = self.planned.set(planned);
        Ok(OpenedSession {
            account_id: "explain".to_owned(),
            user_id,
            lowered_ago: None,
            session_id: "explain".to_owned(),
            key,
            expires_in: session.life,
            role: None,
            ui: Vec::new(),
        })
    }
}

impl Store for DryRunStore {
    fn open<'a>(&'a self, person: &'a UserProfile, terms: &'a Terms) -> StoreFuture<'a, OpenedSession> {
        Box::pin(async { self.plan(person, terms) })
    }

    fn prepare(&self) -> StoreFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn sweep(&self) -> StoreFuture<'_, SweepReport> {
        Box::pin(async { Ok(SweepReport::default()) })
    }

    fn record_denials<'a>(&'a self, _people: &'a [Denial]) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}
