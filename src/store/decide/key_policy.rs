//! Which key a session gets: kept, renewed, replaced or new; and LiteLLM's row of a new one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::state::{AccountState, StoredSession, StoredUiSession};
use crate::config::{AccountRules, Litellm, SessionRules};
use crate::litellm::tables::{KeyRow, mark};
use crate::litellm::ui::{UI_MAX_BUDGET, UI_TEAM};
use crate::secret::{self, NONCE_BYTES, SessionKey, SessionKind, SessionSecrets};
use crate::store::{IssuedKey, OpenedSession, StoreError};

/// A session is renewed when this much is left of it…
const RENEWAL_SECONDS: f64 = 300.0;
/// …or this share of its life, if that is more…
const RENEWAL_SHARE: f64 = 0.25;
/// …but never more than this share, so that a short life does not consist of renewals.
const RENEWAL_SHARE_MAX: f64 = 0.5;
/// A lowering of a role longer ago than this is not reported: LiteLLM no longer has the old role.
const LOWERED_TOLD_SECONDS: f64 = 600.0;
/// The session's token is not its key's: our tables were written to from outside.
pub(in crate::store) const TOKEN_MISMATCH: &str = "token_mismatch";

/// What is to be done about the session.
pub(in crate::store) enum SessionPlan {
    /// Keep it as it is.
    Keep(SessionKey),
    /// The same row and key, for longer.
    Extend(SessionKey),
    /// A new one; the old one lives on for a while.
    Rotate,
    /// A new one; the old one ends, for this reason.
    Replace(&'static str),
}

/// Life of sessions, in seconds, and their secrets.
#[derive(Debug)]
pub(in crate::store) struct KeyPolicy {
    pub(in crate::store) secrets: SessionSecrets,
    pub(in crate::store) life: f64,
    pub(in crate::store) max_age: f64,
    /// How long a replaced session lives on.
    pub(in crate::store) grace: f64,
    /// LiteLLM's cache time.
    settle_seconds: f64,
}

/// A session that is to be written.
pub(in crate::store) struct NewSession<'a> {
    pub(in crate::store) issued: IssuedKey,
    pub(in crate::store) nonce: [u8; NONCE_BYTES],
    pub(in crate::store) secret_id: &'a str,
    pub(in crate::store) row: KeyRow,
}

// === impl KeyPolicy ===

impl KeyPolicy {
    /// A replaced session lives on for twice the time in which every replica, and LiteLLM, reads the change.
    pub(in crate::store) fn new(litellm: &Litellm, account: &AccountRules, session: &SessionRules) -> Self {
        Self {
            secrets: session.secrets.clone(),
            life: session.life.as_secs_f64(),
            max_age: session.max_age.as_secs_f64(),
            grace: 2.0 * (account.refresh + litellm.cache_ttl).as_secs_f64(),
            settle_seconds: litellm.cache_ttl.as_secs_f64(),
        }
    }

    /// Seconds that a new session lives.
    pub(in crate::store) fn first_life(&self) -> f64 {
        self.life.min(self.max_age)
    }

    /// Seconds by which a session of this age can be extended.
    pub(in crate::store) fn extension(&self, age_seconds: f64) -> f64 {
        self.life.min(self.max_age - age_seconds)
    }

    /// A browser's session with its key derived again; `None` where a secret is missing, or the row is not what we wrote.
    pub(in crate::store) fn ui_session(&self, stored: &StoredUiSession, account_id: &str) -> Option<IssuedKey> {
        let nonce = STANDARD.decode(&stored.nonce).ok()?;
        let key = self.secrets.session_key(&stored.secret_id, SessionKind::Ui, account_id, &nonce)?;
        let expires_in = seconds(stored.left_seconds);
        (key.token() == stored.token).then(|| IssuedKey { session_id: stored.id.clone(), key, expires_in })
    }

    fn window(&self) -> f64 {
        RENEWAL_SECONDS.max(self.first_life() * RENEWAL_SHARE).min(self.first_life() * RENEWAL_SHARE_MAX)
    }

    /// Decides about the current session.
    pub(in crate::store) fn plan(&self, stored: &StoredSession, account_id: &str) -> Result<SessionPlan, StoreError> {
        if stored.left_seconds <= 0.0 {
            return Ok(SessionPlan::Replace("expired"));
        }
        let Some(key) = self.secrets.session_key(&stored.secret_id, SessionKind::Api, account_id, &stored.nonce) else {
            return Err(StoreError::SecretMismatch(stored.secret_id.clone()));
        };
        if key.token() != stored.token {
            return Ok(SessionPlan::Replace(TOKEN_MISMATCH));
        }
        let Some(row) = &stored.key else { return Ok(SessionPlan::Replace("key_deleted")) };
        if !row.own {
            return Ok(SessionPlan::Replace("key_given_away"));
        }
        let rest_of_key = stored.left();
        if rest_of_key <= 0.0 {
            return Ok(SessionPlan::Replace("key_expired"));
        }
        let old_secret = stored.secret_id != self.secrets.current().as_str();
        let rest_of_age = self.max_age - stored.age_seconds;
        Ok(if rest_of_age <= 0.0 {
            SessionPlan::Rotate
        } else if rest_of_key >= self.window() {
            SessionPlan::Keep(key)
        } else if old_secret || rest_of_age <= self.window() {
            // A key of a retired secret is honoured, not renewed: after one life no key needs that secret.
            SessionPlan::Rotate
        } else {
            SessionPlan::Extend(key)
        })
    }

    /// A session with a new key.
    pub(in crate::store) fn new_session(
        &self,
        account_id: &str,
        user_id: &str,
        kind: SessionKind,
    ) -> Result<NewSession<'_>, StoreError> {
        let id = secret::row_id().ok_or_else(no_randomness)?;
        let nonce = secret::nonce().ok_or_else(no_randomness)?;
        let secret_id = self.secrets.current().as_str();
        let key = self
            .secrets
            .session_key(secret_id, kind, account_id, &nonce)
            .ok_or_else(|| StoreError::SecretMismatch(secret_id.to_owned()))?;
        let row = KeyRow {
            token: key.token(),
            key_name: key.display_name(),
            key_alias: format!("vestibule-{id}"),
            user_id: user_id.to_owned(),
            team_id: (kind == SessionKind::Ui).then_some(UI_TEAM),
            max_budget: (kind == SessionKind::Ui).then_some(UI_MAX_BUDGET),
            metadata: json!({ "vestibule": mark(Some((&id, kind))) }),
            life_seconds: self.first_life(),
        };
        let issued = IssuedKey { session_id: id, key, expires_in: seconds(row.life_seconds) };
        Ok(NewSession { issued, nonce, secret_id, row })
    }

    /// The result of `open`: the account, with the session that was kept or made.
    pub(in crate::store) fn opened(&self, state: &AccountState, issued: IssuedKey) -> OpenedSession {
        let told = LOWERED_TOLD_SECONDS.max(self.settle_seconds * 2.0);
        OpenedSession {
            account_id: state.account_id.clone(),
            user_id: state.user_id.clone(),
            lowered_ago: state.lowered_seconds.filter(|ago| *ago < told).map(seconds),
            session_id: issued.session_id,
            key: issued.key,
            expires_in: issued.expires_in,
            role: state.user.as_ref().and_then(|user| user.role.clone()),
            ui: state.ui.iter().filter_map(|stored| self.ui_session(stored, &state.account_id)).collect(),
        }
    }
}

// === impl StoredSession ===

impl StoredSession {
    /// Seconds until the key expires.
    pub(in crate::store) fn left(&self) -> f64 {
        let key = self.key.as_ref().and_then(|key| key.left_seconds);
        key.map_or(self.left_seconds, |key| key.min(self.left_seconds))
    }

    /// The unchanged session, with its key derived again.
    pub(in crate::store) fn kept(&self, key: SessionKey) -> IssuedKey {
        IssuedKey { session_id: self.id.clone(), key, expires_in: seconds(self.left()) }
    }
}

pub(in crate::store) fn no_randomness() -> StoreError {
    StoreError::Unavailable("the system has no randomness to give".into())
}

pub(in crate::store) fn seconds(count: f64) -> Duration {
    Duration::try_from_secs_f64(count.max(0.0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_renewal_window_fits_short_and_long_lives() {
        let life = |life: f64, max_age: f64| {
            let secrets = SessionSecrets::parse(&"0123456789abcdef0123456789abcdef".to_owned().into()).unwrap();
            KeyPolicy { secrets, life, max_age, grace: 0.0, settle_seconds: 0.0 }.window()
        };
        for (seconds, max_age, window) in [
            (10.0, 604_800.0, 5.0),
            (900.0, 604_800.0, 300.0),
            (86_400.0, 604_800.0, 21_600.0),
            (86_400.0, 400.0, 200.0),
        ] {
            assert!((life(seconds, max_age) - window).abs() < 1e-9, "{seconds} {max_age}");
        }
    }
}
