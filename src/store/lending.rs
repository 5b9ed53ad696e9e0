//! A new session as it will be written: its id, nonce and key, and LiteLLM's row of the key.

use serde_json::json;

use super::StoreError;
use super::plan::Lending;
use super::standing::Standing;
use crate::litellm::tables::{KeyRow, mark};
use crate::litellm::ui::{UI_MAX_BUDGET, UI_TEAM};
use crate::secret::{self, NONCE_BYTES, SessionKey, SessionKind};

/// A session that was just made or found.
pub(super) struct Held {
    pub(super) id: String,
    pub(super) key: SessionKey,
    pub(super) left_seconds: f64,
}

/// A session that is to be written.
pub(super) struct Fresh<'a> {
    pub(super) held: Held,
    pub(super) nonce: [u8; NONCE_BYTES],
    pub(super) secret_id: &'a str,
    pub(super) row: KeyRow,
}

/// Whose session it is.
pub(super) struct Of<'a> {
    pub(super) account_id: &'a str,
    pub(super) user_id: &'a str,
}

// === impl Standing ===

impl Standing {
    pub(super) fn of(&self) -> Of<'_> {
        Of { account_id: &self.account_id, user_id: &self.user_id }
    }
}

// === impl Lending ===

impl Lending {
    /// A session with a key that nobody has had.
    pub(super) fn fresh(&self, of: &Of<'_>, kind: SessionKind) -> Result<Fresh<'_>, StoreError> {
        let id = secret::row_id().ok_or_else(no_randomness)?;
        let nonce = secret::nonce().ok_or_else(no_randomness)?;
        let secret_id = self.secrets.current().as_str();
        let key = self
            .secrets
            .session_key(secret_id, kind, of.account_id, &nonce)
            .ok_or_else(|| StoreError::SecretMismatch(secret_id.to_owned()))?;
        let left_seconds = self.first();
        let row = KeyRow {
            token: key.token(),
            key_name: key.display_name(),
            key_alias: format!("vestibule-{id}"),
            user_id: of.user_id.to_owned(),
            team_id: (kind == SessionKind::Ui).then_some(UI_TEAM),
            max_budget: (kind == SessionKind::Ui).then_some(UI_MAX_BUDGET),
            metadata: json!({ "vestibule": mark(Some((&id, kind))) }),
            life_seconds: left_seconds,
        };
        Ok(Fresh { held: Held { id, key, left_seconds }, nonce, secret_id, row })
    }
}

pub(super) fn no_randomness() -> StoreError {
    StoreError::Unavailable("the system has no randomness to give".into())
}
