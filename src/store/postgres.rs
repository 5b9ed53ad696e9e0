//! The store in LiteLLM's own Postgres: accounts and sessions in a schema of ours, user and key rows in LiteLLM's.
//!
//! In go people and their terms, out come accounts and keys; a change is one transaction over both schemas. It refuses
//! what must be refused, and says `Unavailable` for whatever the database doesn't do in time. Who may come in, and
//! what is kept in memory, is decided elsewhere.
//!
//! Nothing here outlives a transaction on the server, so PgBouncer in transaction mode may stand between: no prepared
//! statement with a name, no session-level lock or setting.
//!
//! # Rights
//!
//! The serving role needs no more than this; `prepare` names what is missing. With `public` and `vestibule` for the two
//! schemas:
//!
//! ```sql
//! GRANT USAGE ON SCHEMA public, vestibule TO vestibule;
//! GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA vestibule TO vestibule;
//! GRANT SELECT (user_id, sso_user_id, user_email, user_alias, user_role, metadata),
//!       INSERT (user_id, sso_user_id, user_email, user_alias, user_role, models, teams, metadata, max_budget,
//!               budget_duration, budget_reset_at, tpm_limit, rpm_limit, created_at, updated_at),
//!       UPDATE (sso_user_id, user_email, user_alias, user_role, metadata, models, max_budget, budget_duration,
//!               budget_reset_at, tpm_limit, rpm_limit, updated_at) ON public."LiteLLM_UserTable" TO vestibule;
//! GRANT SELECT (token, user_id, expires, blocked, metadata), DELETE, UPDATE (expires, blocked, updated_at),
//!       INSERT (token, key_name, key_alias, user_id, team_id, models, expires, metadata, max_budget, created_at,
//!               updated_at, created_by) ON public."LiteLLM_VerificationToken" TO vestibule;
//! ```

mod accounts;
mod audit;
mod block;
mod change;
mod connect;
mod connection;
mod create_account;
mod inspect;
mod link;
mod migrate;
mod open;
mod retry;
mod revoke;
mod schema;
mod sessions;
mod statements;
mod ui;

pub use self::inspect::planned_user_id;
pub use self::migrate::Versions;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::Semaphore;

use self::connection::ConnectionGuard;
use self::retry::{AttemptError, RETRIES_MAX, pause};
use self::statements::Statements;
use crate::config::{AccountRules, Database, Litellm, SessionRules, Terms};
use crate::store::admin::KeyTokens;
use crate::store::audit::Denial;
use crate::store::decide::KeyPolicy;
use crate::store::{OpenedSession, Store, StoreError, StoreFuture, SweepReport, UiSession, UserProfile};

/// Rows of one sweeping transaction.
const SWEEP_BATCH: i64 = 500;
/// Batches of one sweep; what is left waits for the next.
const SWEEP_BATCHES_MAX: u32 = 200;

/// The store on Postgres.
#[derive(Debug)]
pub struct Postgres {
    /// In words, why there is no pool: the URL can't be read.
    pool: Result<PgPool, String>,
    /// As many as the pool has connections.
    permits: Arc<Semaphore>,
    statements: Statements,
    own_schema: String,
    litellm_schema: String,
    account: AccountRules,
    key_policy: KeyPolicy,
    reserved_ids: Vec<String>,
    connect_timeout: Duration,
    statement_timeout: Duration,
    /// Zero = for ever.
    audit_retention: Duration,
    is_person_in_clear: bool,
}

// === impl Postgres ===

impl Postgres {
    /// Takes the settings and connects to nothing yet: start-up never waits for the database. It is to be called in a
    /// tokio runtime, which the pool then lives on.
    pub fn connect(database: &Database, litellm: &Litellm, account: &AccountRules, session: &SessionRules) -> Self {
        let pool = connect::options(database, litellm).map(|options| {
            PgPoolOptions::new()
                .max_connections(database.pool.max(1))
                .acquire_timeout(database.connect_timeout)
                .connect_lazy_with(options)
        });
        Self {
            pool,
            permits: Arc::new(Semaphore::new(database.pool.max(1) as usize)),
            statements: Statements::new(&litellm.schema, &database.schema),
            own_schema: database.schema.clone(),
            litellm_schema: litellm.schema.clone(),
            account: account.clone(),
            key_policy: KeyPolicy::new(litellm, account, session),
            reserved_ids: litellm.proxy_admin_id.iter().cloned().collect(),
            connect_timeout: database.connect_timeout,
            statement_timeout: database.statement_timeout,
            audit_retention: Duration::ZERO,
            is_person_in_clear: false,
        }
    }

    /// With the audit's rules: how long its lines are kept (zero = for ever), and whether the log names people in clear.
    #[must_use]
    pub fn with_audit(self, retention: Duration, is_person_in_clear: bool) -> Self {
        Self { audit_retention: retention, is_person_in_clear, ..self }
    }

    /// Makes our own tables, or brings them to this program's version, and looks at nothing else: the owner's part.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.with_retry(|| self.migrate_once()).await
    }

    /// Works until it is done, tries again what may pass, and gives up when the time is over.
    async fn with_retry<T, F>(&self, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, AttemptError>>,
    {
        let tries = async {
            let mut retry = 0;
            loop {
                match work().await {
                    Err(fault) if retry < RETRIES_MAX && fault.is_transient() => {
                        retry += 1;
                        tracing::debug!(retry, cause = %fault.code(), "the database is asked again");
                        tokio::time::sleep(pause(retry)).await;
                    }
                    outcome => return outcome.map_err(AttemptError::into_error),
                }
            }
        };
        // The server bounds a statement; a network that swallows everything is bounded only here.
        let patience = self.connect_timeout + 2 * self.statement_timeout;
        tokio::time::timeout(patience, tries)
            .await
            .unwrap_or_else(|elapsed| Err(StoreError::Unavailable(Box::new(elapsed))))
    }

    fn pool(&self) -> Result<&PgPool, StoreError> {
        self.pool.as_ref().map_err(|words| StoreError::NotReady(words.clone()))
    }

    async fn connection(&self) -> Result<ConnectionGuard, AttemptError> {
        // Behind others, a place is free again after a statement or two of theirs.
        Ok(ConnectionGuard::new(self.pool()?, &self.permits, self.statement_timeout).await?)
    }

    /// Begins a transaction that writes nothing.
    fn begin_reading(&self) -> String {
        format!("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; {}", self.bounds())
    }

    /// Begins a transaction that writes. Isolation is said, because a database's default may be another.
    fn begin_writing(&self) -> String {
        format!("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {}", self.bounds())
    }

    /// Bounds for a statement, its waiting for locks included, and for a transaction whose client is gone.
    fn bounds(&self) -> String {
        let ms = self.statement_timeout.as_millis().clamp(1, 3_600_000);
        format!("SET LOCAL statement_timeout = {ms}; SET LOCAL idle_in_transaction_session_timeout = {ms}")
    }

    /// Removes what is older, batch by batch until one is not full.
    async fn sweep_all(&self, statement: &str, older_than: Duration) -> Result<u64, StoreError> {
        let mut all = 0;
        for _ in 0..SWEEP_BATCHES_MAX {
            let gone = self.with_retry(|| self.sweep_batch(statement, older_than)).await?;
            all += gone;
            if gone < SWEEP_BATCH.unsigned_abs() {
                break;
            }
        }
        Ok(all)
    }

    async fn sweep_batch(&self, statement: &str, older_than: Duration) -> Result<u64, AttemptError> {
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin(self.begin_writing()).await?;
        let gone = sqlx::query(AssertSqlSafe(statement))
            .bind(SWEEP_BATCH)
            .bind(older_than.as_secs_f64())
            .persistent(false)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        transaction.commit().await?;
        connection.release();
        Ok(gone)
    }
}

impl Store for Postgres {
    fn open<'a>(&'a self, profile: &'a UserProfile, terms: &'a Terms) -> StoreFuture<'a, OpenedSession> {
        Box::pin(self.with_retry(|| self.open_once(profile, terms)))
    }

    fn open_ui<'a>(&'a self, account_id: &'a str) -> StoreFuture<'a, UiSession> {
        Box::pin(self.with_retry(move || self.open_ui_once(account_id)))
    }

    fn sign_out<'a>(&'a self, session_ids: &'a [String], keep_keys: bool) -> StoreFuture<'a, KeyTokens> {
        Box::pin(self.with_retry(move || self.sign_out_once(session_ids, keep_keys)))
    }

    fn remove_ended<'a>(&'a self, keys: &'a KeyTokens) -> StoreFuture<'a, ()> {
        Box::pin(self.with_retry(move || self.remove_ended_once(keys)))
    }

    fn prepare(&self) -> StoreFuture<'_, ()> {
        Box::pin(self.with_retry(|| self.prepare_once()))
    }

    fn sweep(&self) -> StoreFuture<'_, SweepReport> {
        Box::pin(async {
            let sessions = self.sweep_all(&self.statements.sweep, Duration::ZERO).await?;
            let audit = if self.audit_retention.is_zero() {
                0
            } else {
                self.sweep_all(&self.statements.sweep_audit, self.audit_retention).await?
            };
            Ok(SweepReport { sessions, audit })
        })
    }

    fn record_denials<'a>(&'a self, people: &'a [Denial]) -> StoreFuture<'a, ()> {
        Box::pin(self.with_retry(|| self.record_denials_once(people)))
    }
}
