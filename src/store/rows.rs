//! Running statements in either database: their parameters, and the columns of their rows.

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Decode, Encode, Postgres, Row, Sqlite, Type};

use super::decide::{AccountState, CandidateRow, LitellmKey, LitellmUser, StoredSession, StoredUiSession};

/// A transaction of either database.
pub(super) trait Transaction: Send {
    /// The type of its rows.
    type Row: RowReader;
    /// Runs a statement, and returns all its rows.
    async fn rows(&mut self, statement: &str, parameters: &[&dyn Parameter]) -> Result<Vec<Self::Row>, sqlx::Error>;
}

/// A parameter of a statement, in either database.
pub(super) trait Parameter: Sync {
    /// Adds it for Postgres.
    fn to_postgres(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError>;
    /// Adds it for SQLite.
    fn to_sqlite(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError>;
}

impl<T> Parameter for T
where
    T: Sync + for<'q> Encode<'q, Postgres> + Type<Postgres> + for<'q> Encode<'q, Sqlite> + Type<Sqlite>,
{
    fn to_postgres(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        arguments.add(self)
    }

    fn to_sqlite(&self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        arguments.add(self)
    }
}

/// A type that a column can be read as, in either database.
pub(super) trait Column:
    for<'r> Decode<'r, Postgres> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + Type<Sqlite>
{
}

impl<T> Column for T where T: for<'r> Decode<'r, Postgres> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + Type<Sqlite> {}

/// A row's columns by their names.
pub(super) trait RowReader: Send {
    /// A column; an `Option` where it can be NULL.
    fn column<T: Column>(&self, name: &str) -> Result<T, sqlx::Error>;
}

impl RowReader for PgRow {
    fn column<T: Column>(&self, name: &str) -> Result<T, sqlx::Error> {
        self.try_get(name)
    }
}

impl RowReader for SqliteRow {
    fn column<T: Column>(&self, name: &str) -> Result<T, sqlx::Error> {
        self.try_get(name)
    }
}

/// A row as the JSON text that the statements take.
pub(super) fn json_text(row: &impl serde::Serialize) -> String {
    // Plain structs and maps with text keys always serialize; `null` would make the statement insert nothing, or fail.
    serde_json::to_string(row).unwrap_or_else(|_| "null".to_owned())
}

// === impl AccountState ===

impl AccountState {
    pub(super) fn from_row(row: &impl RowReader) -> Result<Self, sqlx::Error> {
        let user = if row.column("has_user")? {
            Some(LitellmUser {
                role: row.column("user_role")?,
                email: row.column("user_email")?,
                alias: row.column("user_alias")?,
                sso_user_id: row.column("sso_user_id")?,
                scim_off: row.column("scim_off")?,
            })
        } else {
            None
        };
        let ui = row.column::<Option<String>>("ui")?.map(|text| serde_json::from_str::<Vec<StoredUiSession>>(&text));
        Ok(Self {
            account_id: row.column("account_id")?,
            user_id: row.column("user_id")?,
            role: row.column("role")?,
            allowance: row.column("allowance")?,
            email_refused: row.column("email_refused")?,
            blocked: row.column("account_blocked")?,
            lowered_seconds: row.column("lowered_seconds")?,
            user,
            email_taken: row.column("email_taken")?,
            sso_taken: row.column("sso_taken")?,
            stored: StoredSession::from_row(row)?,
            ui: ui.transpose().map_err(|error| sqlx::Error::Decode(error.into()))?.unwrap_or_default(),
        })
    }
}

// === impl StoredSession ===

impl StoredSession {
    fn from_row(row: &impl RowReader) -> Result<Option<Self>, sqlx::Error> {
        let Some(id) = row.column("session_id")? else { return Ok(None) };
        let key = if row.column("has_key")? {
            Some(LitellmKey {
                blocked: row.column("key_blocked")?,
                own: row.column("key_own")?,
                left_seconds: row.column("key_left_seconds")?,
            })
        } else {
            None
        };
        Ok(Some(Self {
            id,
            nonce: row.column("nonce")?,
            secret_id: row.column("secret_id")?,
            token: row.column("token")?,
            age_seconds: row.column("age_seconds")?,
            left_seconds: row.column("left_seconds")?,
            key,
        }))
    }
}

// === impl CandidateRow ===

impl CandidateRow {
    /// `None` for the row that only tells whether the id is taken.
    pub(super) fn from_row(row: &impl RowReader) -> Result<Option<Self>, sqlx::Error> {
        let Some(user_id) = row.column("user_id")? else { return Ok(None) };
        Ok(Some(Self {
            user_id,
            role: row.column("user_role")?,
            owned: row.column("owned")?,
            by_user_id: row.column("by_user_id")?,
            by_sso_user_id: row.column("by_sso_user_id")?,
            by_email: row.column("by_email")?,
            scim_off: row.column("scim_off")?,
        }))
    }
}
