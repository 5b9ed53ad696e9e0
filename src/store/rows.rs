//! From the columns of a row, whichever database it came from, to what is decided on; and from a row to what a statement takes.

use sqlx::{ColumnIndex, Database, Decode, Row, Type};

use super::decide::{AccountState, CandidateRow, LitellmKey, LitellmUser, StoredSession, StoredUiSession};

// === impl AccountState ===

impl AccountState {
    pub(super) fn from_row(row: &impl RowReader) -> Result<Self, sqlx::Error> {
        let user = if row.flag("has_user")? {
            Some(LitellmUser {
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
            stored: StoredSession::from_row(row)?,
            ui: StoredUiSession::from_row(row)?,
        })
    }
}

// === impl StoredUiSession ===

impl StoredUiSession {
    fn from_row(row: &impl RowReader) -> Result<Vec<Self>, sqlx::Error> {
        let read = row.text("ui")?.map(|text| serde_json::from_str(&text)).transpose();
        read.map(Option::unwrap_or_default).map_err(|error| sqlx::Error::Decode(error.into()))
    }
}

// === impl StoredSession ===

impl StoredSession {
    fn from_row(row: &impl RowReader) -> Result<Option<Self>, sqlx::Error> {
        let Some(id) = row.text("session_id")? else { return Ok(None) };
        let key = if row.flag("has_key")? {
            Some(LitellmKey {
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

// === impl CandidateRow ===

impl CandidateRow {
    /// `None` for the row that only tells whether the id is taken.
    pub(super) fn from_row(row: &impl RowReader) -> Result<Option<Self>, sqlx::Error> {
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

/// A row as the JSON text that the statements take.
pub(super) fn json_text(row: &impl serde::Serialize) -> String {
    // Plain structs and maps with text keys always serialize; `null` would make the statement insert nothing, or fail.
    serde_json::to_string(row).unwrap_or_else(|_| "null".to_owned())
}

/// A row's columns by their names, whichever database it came from.
pub(super) trait RowReader {
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

impl<D, R> RowReader for R
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
