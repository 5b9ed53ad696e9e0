//! The store in SQLite, in this process's memory alone: for `vestibule demo`, which has no Postgres and no LiteLLM.
//!
//! It keeps the laws of the other one, and shares with it whatever is decided (`decide`); only the
//! SQL is its own. One connection does one transaction after the other, so there are no locks, no retries and no pool.
//! It begins empty and ends with the process, so there is one version of its tables. Nobody else writes to them, so no
//! row is ever adopted: `account.adopt` is not read, and a row that vestibule did not make is a conflict.

mod open;
mod statements;

use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::sync::{Mutex, MutexGuard};

use self::statements as sql;
use super::audit::{AuditEvent, Denial};
use super::decide::KeyPolicy;
use super::{OpenedSession, Store, StoreError, StoreFuture, SweepReport, UserProfile};
use crate::config::{AccountRules, Litellm, SessionRules, Terms};
use crate::secret;

/// The tables, made at the start.
const SCHEMA: &str = include_str!("sqlite/schema.sql");

/// The store in memory.
pub struct Sqlite {
    connection: Mutex<SqliteConnection>,
    address: String,
    account: AccountRules,
    key_policy: KeyPolicy,
    reserved_ids: Vec<String>,
}

/// Whose a key is, as LiteLLM would find it.
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
    /// The key, or the person, is blocked.
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
        // A name of its own, so that a second connection of this process can look into it, as the tests do.
        let address =
            format!("sqlite:file:vestibule-{}?mode=memory&cache=shared", COUNT.fetch_add(1, Ordering::Relaxed));
        let options: SqliteConnectOptions = address.parse().map_err(away)?;
        let mut connection = options.disable_statement_logging().connect().await.map_err(away)?;
        sqlx::raw_sql("PRAGMA temp_store = MEMORY").execute(&mut connection).await.map_err(away)?;
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await.map_err(away)?;
        Ok(Self {
            connection: Mutex::new(connection),
            address,
            account: account.clone(),
            key_policy: KeyPolicy::new(litellm, account, session),
            reserved_ids: litellm.proxy_admin_id.iter().cloned().collect(),
        })
    }

    /// Where this process finds it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whose key this is; `None` where the store made no such key.
    pub async fn holder(&self, key: &str) -> Result<Option<Holder>, StoreError> {
        let mut connection = self.connection.lock().await;
        let found = sqlx::query(sql::HOLDER).bind(secret::token(key)).fetch_optional(&mut *connection).await;
        let holder = |row: SqliteRow| -> Result<Holder, sqlx::Error> {
            Ok(Holder {
                user_id: row.try_get("user_id")?,
                role: row.try_get("user_role")?,
                email: row.try_get("user_email")?,
                key_name: row.try_get("key_name")?,
                token: row.try_get("token")?,
                left_seconds: row.try_get("left_seconds")?,
                blocked: row.try_get("blocked")?,
            })
        };
        found.map_err(away)?.map(holder).transpose().map_err(away)
    }

    /// What the audit tells of a person, oldest first.
    pub async fn events(&self, user_id: &str) -> Result<Vec<String>, StoreError> {
        let mut connection = self.connection.lock().await;
        sqlx::query_scalar(sql::EVENTS).bind(user_id).fetch_all(&mut *connection).await.map_err(away)
    }

    /// Runs the work in one transaction: all of it is written, or nothing is.
    async fn change<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection: MutexGuard<'_, SqliteConnection> = self.connection.lock().await;
        // Dropped halfway, it is rolled back before the connection's next use.
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(away)?;
        let outcome = work(&mut transaction).await;
        match &outcome {
            Ok(_) => transaction.commit().await.map_err(away)?,
            Err(_) => transaction.rollback().await.map_err(away)?,
        }
        outcome
    }

    async fn sweep_once(&self) -> Result<SweepReport, StoreError> {
        self.change(async |on| {
            let over = sqlx::query(sql::OVER).fetch_all(&mut *on).await.map_err(away)?;
            for row in &over {
                let (id, token): (String, String) =
                    (row.try_get("id").map_err(away)?, row.try_get("token").map_err(away)?);
                sqlx::query(sql::DELETE_SESSION).bind(id).execute(&mut *on).await.map_err(away)?;
                sqlx::query(sql::DELETE_KEY).bind(token).execute(&mut *on).await.map_err(away)?;
            }
            Ok(SweepReport { sessions: over.len() as u64, audit: 0 })
        })
        .await
    }

    async fn record_denials_once(&self, people: &[Denial]) -> Result<(), StoreError> {
        self.change(async |on| {
            for Denial { issuer, subject, code } in people {
                let statement = sqlx::query(sql::TURNED_AWAY).bind(issuer).bind(subject).bind(*code);
                statement.execute(&mut *on).await.map_err(away)?;
            }
            Ok(())
        })
        .await
    }
}

impl Store for Sqlite {
    fn open<'a>(&'a self, profile: &'a UserProfile, terms: &'a Terms) -> StoreFuture<'a, OpenedSession> {
        Box::pin(self.change(async move |on| self.settle(on, profile, terms).await))
    }

    fn prepare(&self) -> StoreFuture<'_, ()> {
        // The tables were made when it was opened.
        Box::pin(async { Ok(()) })
    }

    fn sweep(&self) -> StoreFuture<'_, SweepReport> {
        Box::pin(self.sweep_once())
    }

    fn record_denials<'a>(&'a self, people: &'a [Denial]) -> StoreFuture<'a, ()> {
        Box::pin(self.record_denials_once(people))
    }
}

async fn write_audit(on: &mut SqliteConnection, account_id: &str, events: &[AuditEvent]) -> Result<(), StoreError> {
    for AuditEvent { event, detail } in events {
        let statement = sqlx::query(sql::INSERT_AUDIT).bind(account_id).bind(event.as_str()).bind(detail.to_string());
        statement.execute(&mut *on).await.map_err(away)?;
    }
    Ok(())
}

fn away(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}
