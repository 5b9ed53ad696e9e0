//! What one read finds: an account, LiteLLM's user row, the current session and its key row.

use serde::Deserialize;
use sqlx::Row;
use sqlx::postgres::PgRow;

/// One person's standing. All durations are seconds by the database's clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    pub(super) account_id: String,
    pub(super) user_id: String,
    /// The mapped role last written.
    pub(super) role: Option<String>,
    /// What was last written of models and limits.
    pub(super) allowance: Option<String>,
    /// The e-mail last kept out.
    pub(super) email_refused: Option<String>,
    pub(super) blocked: bool,
    pub(super) lowered_seconds: Option<f64>,
    /// LiteLLM's row; `None` when somebody deleted it.
    pub(super) user: Option<User>,
    /// Another row has the e-mail that this one is to get.
    pub(super) email_taken: bool,
    /// Another row has the subject as its `sso_user_id`.
    pub(super) sso_taken: bool,
    pub(super) lent: Option<Lent>,
    pub(super) ui: Vec<LentUi>,
}

/// The session of one browser.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct LentUi {
    pub(super) id: String,
    /// In base64.
    pub(super) nonce: String,
    pub(super) secret_id: String,
    pub(super) token: String,
    pub(super) left_seconds: f64,
}

/// LiteLLM's user row.
#[derive(Debug, Clone, Default)]
pub(super) struct User {
    pub(super) role: Option<String>,
    pub(super) email: Option<String>,
    pub(super) alias: Option<String>,
    pub(super) sso_user_id: Option<String>,
    /// `metadata.scim_active` is false: LiteLLM refuses every key of the person (`auth/auth_checks.py`).
    pub(super) scim_off: bool,
}

/// The current session.
#[derive(Debug, Clone)]
pub(super) struct Lent {
    pub(super) id: String,
    pub(super) nonce: Vec<u8>,
    pub(super) secret_id: String,
    pub(super) token: String,
    pub(super) age_seconds: f64,
    pub(super) left_seconds: f64,
    /// LiteLLM's row; `None` when somebody deleted it.
    pub(super) key: Option<Key>,
}

/// LiteLLM's key row.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) blocked: bool,
    /// It still belongs to the account's user.
    pub(super) own: bool,
    /// `None` = it never expires, as somebody must have made it.
    pub(super) left_seconds: Option<f64>,
}

/// A row of LiteLLM's that could be a new person's.
#[expect(clippy::struct_excessive_bools, reason = "each is a column of one row")]
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) user_id: String,
    pub(super) role: Option<String>,
    /// An account of ours owns it.
    pub(super) owned: bool,
    pub(super) by_user_id: bool,
    pub(super) by_sso_user_id: bool,
    pub(super) by_email: bool,
    pub(super) scim_off: bool,
}

// === impl Standing ===

impl Standing {
    pub(super) fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let user = if row.try_get("has_user")? {
            Some(User {
                role: row.try_get("user_role")?,
                email: row.try_get("user_email")?,
                alias: row.try_get("user_alias")?,
                sso_user_id: row.try_get("sso_user_id")?,
                scim_off: row.try_get("scim_off")?,
            })
        } else {
            None
        };
        Ok(Self {
            account_id: row.try_get("account_id")?,
            user_id: row.try_get("user_id")?,
            role: row.try_get("role")?,
            allowance: row.try_get("allowance")?,
            email_refused: row.try_get("email_refused")?,
            blocked: row.try_get("account_blocked")?,
            lowered_seconds: row.try_get("lowered_seconds")?,
            user,
            email_taken: row.try_get("email_taken")?,
            sso_taken: row.try_get("sso_taken")?,
            lent: Lent::from_row(row)?,
            ui: LentUi::from_row(row)?,
        })
    }
}

// === impl Lent ===

impl Lent {
    fn from_row(row: &PgRow) -> Result<Option<Self>, sqlx::Error> {
        let Some(id) = row.try_get("session_id")? else { return Ok(None) };
        let key = if row.try_get("has_key")? {
            Some(Key {
                blocked: row.try_get("key_blocked")?,
                own: row.try_get("key_own")?,
                left_seconds: row.try_get("key_left_seconds")?,
            })
        } else {
            None
        };
        Ok(Some(Self {
            id,
            nonce: row.try_get("nonce")?,
            secret_id: row.try_get("secret_id")?,
            token: row.try_get("token")?,
            age_seconds: row.try_get("age_seconds")?,
            left_seconds: row.try_get("left_seconds")?,
            key,
        }))
    }
}

// === impl LentUi ===

impl LentUi {
    fn from_row(row: &PgRow) -> Result<Vec<Self>, sqlx::Error> {
        let text: Option<String> = row.try_get("ui")?;
        let read = text.map(|text| serde_json::from_str(&text)).transpose();
        read.map(Option::unwrap_or_default).map_err(|error| sqlx::Error::Decode(error.into()))
    }
}

// === impl Found ===

impl Found {
    /// `None` for the row that only tells whether the id is taken.
    pub(super) fn from_row(row: &PgRow) -> Result<Option<Self>, sqlx::Error> {
        let Some(user_id) = row.try_get("user_id")? else { return Ok(None) };
        Ok(Some(Self {
            user_id,
            role: row.try_get("user_role")?,
            owned: row.try_get("owned")?,
            by_user_id: row.try_get("by_user_id")?,
            by_sso_user_id: row.try_get("by_sso_user_id")?,
            by_email: row.try_get("by_email")?,
            scim_off: row.try_get("scim_off")?,
        }))
    }
}
