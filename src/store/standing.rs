//! What one read finds: an account, LiteLLM's user row, the current session and its key row.

use std::time::Duration;

use serde::Deserialize;
use sqlx::{ColumnIndex, Database, Decode, Row, Type};

use super::Opened;
use super::lending::Held;
use super::plan::{AccountPlan, Lending};
use crate::config::Terms;

/// A lowering longer ago than this is not told: LiteLLM has forgotten the old role.
const LOWERED_TOLD_SECONDS: f64 = 600.0;

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
    pub(super) fn from_row(row: &impl Cells) -> Result<Self, sqlx::Error> {
        let user = if row.flag("has_user")? {
            Some(User {
                role: row.text("user_role")?,
                email: row.text("user_email")?,
                alias: row.text("user_alias")?,
                sso_user_id: row.text("sso_user_id")?,
                scim_off: row.flag("scim_off")?,
            })
        } else {
            None
        };
        Ok(Self {
            account_id: row.needed_text("account_id")?,
            user_id: row.needed_text("user_id")?,
            role: row.text("role")?,
            allowance: row.text("allowance")?,
            email_refused: row.text("email_refused")?,
            blocked: row.flag("account_blocked")?,
            lowered_seconds: row.number("lowered_seconds")?,
            user,
            email_taken: row.flag("email_taken")?,
            sso_taken: row.flag("sso_taken")?,
            lent: Lent::from_row(row)?,
            ui: LentUi::from_row(row)?,
        })
    }

    /// Takes over what was written of the role.
    pub(super) fn wrote(&mut self, plan: &AccountPlan, terms: &Terms) {
        if plan.remake {
            self.user = Some(User { role: Some(terms.role.as_str().to_owned()), ..User::default() });
        } else if let (Some(user), Some(role)) = (&mut self.user, plan.change.as_ref().and_then(|it| it.user_role)) {
            user.role = Some(role.to_owned());
        }
    }

    /// What the caller is told, with the session that is lent.
    pub(super) fn opened(&self, held: Held, settle_seconds: f64, lending: &Lending) -> Opened {
        let told = LOWERED_TOLD_SECONDS.max(settle_seconds * 2.0);
        Opened {
            account_id: self.account_id.clone(),
            user_id: self.user_id.clone(),
            lowered_ago: self.lowered_seconds.filter(|ago| *ago < told).map(seconds),
            session_id: held.id,
            key: held.key,
            expires_in: seconds(held.left_seconds),
            role: self.user.as_ref().and_then(|user| user.role.clone()),
            ui: self.ui.iter().filter_map(|lent| lending.ui(lent, &self.account_id)).collect(),
        }
    }
}

fn seconds(count: f64) -> Duration {
    Duration::try_from_secs_f64(count.max(0.0)).unwrap_or_default()
}

// === impl LentUi ===

impl LentUi {
    fn from_row(row: &impl Cells) -> Result<Vec<Self>, sqlx::Error> {
        let read = row.text("ui")?.map(|text| serde_json::from_str(&text)).transpose();
        read.map(Option::unwrap_or_default).map_err(|error| sqlx::Error::Decode(error.into()))
    }
}

// === impl Lent ===

impl Lent {
    fn from_row(row: &impl Cells) -> Result<Option<Self>, sqlx::Error> {
        let Some(id) = row.text("session_id")? else { return Ok(None) };
        let key = if row.flag("has_key")? {
            Some(Key {
                blocked: row.flag("key_blocked")?,
                own: row.flag("key_own")?,
                left_seconds: row.number("key_left_seconds")?,
            })
        } else {
            None
        };
        Ok(Some(Self {
            id,
            nonce: row.bytes("nonce")?,
            secret_id: row.needed_text("secret_id")?,
            token: row.needed_text("token")?,
            age_seconds: row.needed_number("age_seconds")?,
            left_seconds: row.needed_number("left_seconds")?,
            key,
        }))
    }
}

// === impl Found ===

impl Found {
    /// `None` for the row that only tells whether the id is taken.
    pub(super) fn from_row(row: &impl Cells) -> Result<Option<Self>, sqlx::Error> {
        let Some(user_id) = row.text("user_id")? else { return Ok(None) };
        Ok(Some(Self {
            user_id,
            role: row.text("user_role")?,
            owned: row.flag("owned")?,
            by_user_id: row.flag("by_user_id")?,
            by_sso_user_id: row.flag("by_sso_user_id")?,
            by_email: row.flag("by_email")?,
            scim_off: row.flag("scim_off")?,
        }))
    }
}

/// A row's columns by their names, whichever database it came from.
pub(super) trait Cells {
    /// True or false.
    fn flag(&self, name: &str) -> Result<bool, sqlx::Error>;
    /// Text, or NULL.
    fn text(&self, name: &str) -> Result<Option<String>, sqlx::Error>;
    /// Text that is never NULL.
    fn needed_text(&self, name: &str) -> Result<String, sqlx::Error>;
    /// A number, or NULL.
    fn number(&self, name: &str) -> Result<Option<f64>, sqlx::Error>;
    /// A number that is never NULL.
    fn needed_number(&self, name: &str) -> Result<f64, sqlx::Error>;
    /// Bytes.
    fn bytes(&self, name: &str) -> Result<Vec<u8>, sqlx::Error>;
}

impl<D, R> Cells for R
where
    D: Database,
    R: Row<Database = D>,
    for<'n> &'n str: ColumnIndex<R>,
    bool: for<'r> Decode<'r, D> + Type<D>,
    f64: for<'r> Decode<'r, D> + Type<D>,
    String: for<'r> Decode<'r, D> + Type<D>,
    Vec<u8>: for<'r> Decode<'r, D> + Type<D>,
{
    fn flag(&self, name: &str) -> Result<bool, sqlx::Error> {
        self.try_get(name)
    }

    fn text(&self, name: &str) -> Result<Option<String>, sqlx::Error> {
        self.try_get(name)
    }

    fn needed_text(&self, name: &str) -> Result<String, sqlx::Error> {
        self.try_get(name)
    }

    fn number(&self, name: &str) -> Result<Option<f64>, sqlx::Error> {
        self.try_get(name)
    }

    fn needed_number(&self, name: &str) -> Result<f64, sqlx::Error> {
        self.try_get(name)
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, sqlx::Error> {
        self.try_get(name)
    }
}
