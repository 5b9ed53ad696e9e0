//! What one read finds: an account, LiteLLM's user row, the current session and its key row.

use serde::Deserialize;

/// An account with all that belongs to it. All durations are seconds by the database's clock.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct AccountState {
    pub(in crate::store) account_id: String,
    pub(in crate::store) user_id: String,
    /// The mapped role last written.
    pub(in crate::store) role: Option<String>,
    /// The models and limits last written.
    pub(in crate::store) allowance: Option<String>,
    /// The e-mail last refused because another row has it.
    pub(in crate::store) email_refused: Option<String>,
    pub(in crate::store) blocked: bool,
    pub(in crate::store) lowered_seconds: Option<f64>,
    /// LiteLLM's row; `None` when it was deleted.
    pub(in crate::store) user: Option<LitellmUser>,
    /// Another row has the e-mail that this one should get.
    pub(in crate::store) email_taken: bool,
    /// Another row has the subject as its `sso_user_id`.
    pub(in crate::store) sso_taken: bool,
    pub(in crate::store) stored: Option<StoredSession>,
    pub(in crate::store) ui: Vec<StoredUiSession>,
}

/// The session of one browser.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::store) struct StoredUiSession {
    pub(in crate::store) id: String,
    /// In base64.
    pub(in crate::store) nonce: String,
    pub(in crate::store) secret_id: String,
    pub(in crate::store) token: String,
    pub(in crate::store) left_seconds: f64,
}

/// LiteLLM's user row.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct LitellmUser {
    pub(in crate::store) role: Option<String>,
    pub(in crate::store) email: Option<String>,
    pub(in crate::store) alias: Option<String>,
    pub(in crate::store) sso_user_id: Option<String>,
    /// `metadata.scim_active` is false: LiteLLM refuses every key of the user (`auth/auth_checks.py`).
    pub(in crate::store) scim_off: bool,
}

/// The current session.
#[derive(Debug, Clone)]
pub(in crate::store) struct StoredSession {
    pub(in crate::store) id: String,
    pub(in crate::store) nonce: Vec<u8>,
    pub(in crate::store) secret_id: String,
    pub(in crate::store) token: String,
    pub(in crate::store) age_seconds: f64,
    pub(in crate::store) left_seconds: f64,
    /// LiteLLM's row; `None` when it was deleted.
    pub(in crate::store) key: Option<LitellmKey>,
}

/// LiteLLM's key row.
#[derive(Debug, Clone)]
pub(in crate::store) struct LitellmKey {
    pub(in crate::store) blocked: bool,
    /// It still belongs to the account's user.
    pub(in crate::store) own: bool,
    /// `None` = it never expires: an admin changed it.
    pub(in crate::store) left_seconds: Option<f64>,
}

/// A row of LiteLLM's that could belong to a new user.
#[expect(clippy::struct_excessive_bools, reason = "each is a column of one row")]
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct CandidateRow {
    pub(in crate::store) user_id: String,
    pub(in crate::store) role: Option<String>,
    /// An account of ours owns it.
    pub(in crate::store) owned: bool,
    pub(in crate::store) by_user_id: bool,
    pub(in crate::store) by_sso_user_id: bool,
    pub(in crate::store) by_email: bool,
    pub(in crate::store) scim_off: bool,
}
