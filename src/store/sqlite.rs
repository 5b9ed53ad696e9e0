//! The store in SQLite, in this process's memory alone: for `vestibule demo`, which has no Postgres and no LiteLLM.
//!
//! It keeps to the same contract as the one in Postgres, and takes the same steps (`steps`); only the SQL is its own. One
//! connection does one transaction after the other, so there are no locks, no retries and no pool. It begins empty and ends
//! with the process, so there is one version of its tables. Nothing else writes to them, so no row is ever adopted:
//! `account.adopt` is not read, and a row that vestibule did not make is a conflict.

mod statements;

use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::sync::Mutex;

use self::statements as sql;
use super::audit::Denial;
use super::retry::AttemptError;
use super::rows::{Parameter, RowReader, Transaction};
use super::steps::{Steps, StoreRules};
use super::{OpenedSession, Store, StoreError, StoreFuture, SweepReport, UserProfile};
use crate::config::{AccountRules, Litellm, SessionRules, Terms};
use crate::secret;

/// The tables, made at the start.
const SCHEMA: &str = include_str!("sqlite/schema.sql");

/// The store in memory.
pub struct Sqlite {
    connection: Mutex<SqliteConnection>,
    address: String,
    rules: StoreRules,
}

/// The user of a key, as LiteLLM would find them.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// LiteLLM's `user_id`.
    pub user_id: String,
    /// The role in LiteLLM's row.
    pub role: String,
    /// LiteLLM's `user_email`.
    pub email: Option<String>,
    /// What may be shown of the key: `sk-...` and four characters.
    pub key_name: String,
    /// The key's SHA-256, which is its name in the table.
    pub token: String,
    /// Seconds until it expires.
    pub left_seconds: f64,
    /// The key, or the user, is blocked.
    pub blocked: bool,
}

// === impl Sqlite ===

impl Sqlite {
    /// Opens an empty one.
    pub async fn in_memory(
        litellm: &Litellm,
        account: &AccountRules,
        session: &SessionRules,
    ) -> Result<Self, StoreError> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // A name of its own, so that a second connection of this process can open it, as the tests do.
        let address =
            format!("sqlite:file:vestibule-{}?mode=memory&cache=shared", COUNT.fetch_add(1, Ordering::Relaxed));
        let options: SqliteConnectOptions = address.parse().map_err(away)?;
        let mut connection = options.disable_statement_logging().connect().await.map_err(away)?;
        sqlx::raw_sql("PRAGMA temp_store = MEMORY").execute(&mut connection).await.map_err(away)?;
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await.map_err(away)?;
        let account = AccountRules { adopt: Vec::new(), ..account.clone() };
        Ok(Self {
            connection: Mutex::new(connection),
            address,
            rules: StoreRules::new(sql::statements(), litellm, &account, session),
        })
    }

    /// The address by which this process finds it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The user of this key; `None` where the store made no such key.
    pub async fn holder(&self, key: &str) -> Result<Option<Holder>, StoreError> {
        let mut connection = self.connection.lock().await;
        let rows = connection.rows(sql::HOLDER, &[&secret::token(key)]).await.map_err(away)?;
        let holder = |row: &SqliteRow| {
            Ok(Holder {
                user_id: row.column("user_id")?,
                role: row.column("user_role")?,
                email: row.column("user_email")?,
                key_name: row.column("key_name")?,
                token: row.column("token")?,
                left_seconds: row.column("left_seconds")?,
                blocked: row.column("blocked")?,
            })
        };
        rows.first().map(holder).transpose().map_err(away)
    }

    /// A user's events in the audit, oldest first.
    pub async fn events(&self, user_id: &str) -> Result<Vec<String>, StoreError> {
        let rows = self.connection.lock().await.rows(sql::EVENTS, &[&user_id]).await.map_err(away)?;
        rows.iter().map(|row| row.column("event")).collect::<Result<_, _>>().map_err(away)
    }

    /// Runs the work in one transaction: all of it is written, or nothing is.
    async fn change<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, AttemptError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.lock().await;
        // Dropped halfway, it is rolled back before the connection's next use.
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(away)?;
        let outcome = work(&mut transaction).await;
        match &outcome {
            Ok(_) => transaction.commit().await.map_err(away)?,
            Err(_) => transaction.rollback().await.map_err(away)?,
        }
        outcome.map_err(AttemptError::into_error)
    }
}

impl Store for Sqlite {
    fn open<'a>(&'a self, profile: &'a UserProfile, terms: &'a Terms) -> StoreFuture<'a, OpenedSession> {
        Box::pin(self.change(async move |on| Steps::new(on, &self.rules).settle(profile, terms).await))
    }

    fn prepare(&self) -> StoreFuture<'_, ()> {
        // The tables were made when it was opened.
        Box::pin(async { Ok(()) })
    }

    fn sweep(&self) -> StoreFuture<'_, SweepReport> {
        Box::pin(self.change(async move |on| {
            let over = on.rows(sql::OVER, &[]).await?;
            for row in &over {
                on.rows(&self.rules.statements.end_session, &[&row.column::<String>("id")?]).await?;
            }
            Ok(SweepReport { sessions: over.len() as u64, audit: 0 })
        }))
    }

    fn record_denials<'a>(&'a self, denials: &'a [Denial]) -> StoreFuture<'a, ()> {
        Box::pin(self.change(async move |on| {
            for Denial { issuer, subject, code } in denials {
                on.rows(sql::TURNED_AWAY, &[issuer, subject, code]).await?;
            }
            Ok(())
        }))
    }
}

impl Transaction for SqliteConnection {
    type Row = SqliteRow;

    async fn rows(&mut self, statement: &str, parameters: &[&dyn Parameter]) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        for parameter in parameters {
            parameter.to_sqlite(&mut arguments).map_err(sqlx::Error::Encode)?;
        }
        sqlx::query_with(AssertSqlSafe(statement), arguments).fetch_all(self).await
    }
}

fn away(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}
