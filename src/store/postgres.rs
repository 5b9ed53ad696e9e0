//! The store in LiteLLM's own Postgres: accounts and sessions in a schema of ours, user and key rows in LiteLLM's.
//!
//! A change is one transaction over both schemas. The store returns `Unavailable` where the database doesn't answer in time.
//! Who may come in, and what is kept in memory, is decided elsewhere.
//!
//! Nothing outlives a transaction on the server, so that PgBouncer in transaction mode may stand between: no named prepared
//! statement, no session-level lock or setting.
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
mod connect;
mod connection;
mod inspect;
mod link;
mod migrate;
mod open;
mod revoke;
mod schema;
mod statements;
mod transaction;
mod ui;

pub use self::inspect::planned_user_id;
pub use self::migrate::Versions;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::Semaphore;

use crate::config::{AccountRules, Database, Litellm, SessionRules, Terms};
use crate::litellm::tables::quoted;
use crate::store::admin::KeyTokens;
use crate::store::audit::Denial;
use crate::store::retry::{AttemptError, RETRIES_MAX, pause};
use crate::store::rows::{Parameter, Transaction};
use crate::store::steps::StoreRules;
use crate::store::{IssuedKey, OpenedSession, Store, StoreError, StoreFuture, SweepReport, UserProfile};

/// Rows of one sweeping transaction.
const SWEEP_BATCH: i64 = 500;
/// Batches of one sweep; what is left waits for the next.
const SWEEP_BATCHES_MAX: u32 = 200;

/// The store on Postgres.
#[derive(Debug)]
pub struct Postgres {
    /// The error is why there is no pool: the URL can't be read.
    pool: Result<PgPool, String>,
    /// As many as the pool has connections.
    permits: Arc<Semaphore>,
    rules: StoreRules,
    /// The name of our own schema, quoted.
    own: String,
    own_schema: String,
    litellm_schema: String,
    connect_timeout: Duration,
    statement_timeout: Duration,
    /// Zero = for ever.
    audit_retention: Duration,
    is_person_in_clear: bool,
}

// === impl Postgres ===

impl Postgres {
    /// Does not connect yet: start-up never waits for the database. Call it inside the tokio runtime that the pool is to live
    /// on.
    pub fn connect(database: &Database, litellm: &Litellm, account: &AccountRules, session: &SessionRules) -> Self {
        let pool = connect::options(database, litellm).map(|options| {
            PgPoolOptions::new()
                .max_connections(database.pool.max(1))
                .acquire_timeout(database.connect_timeout)
                .connect_lazy_with(options)
        });
        let own = quoted(&database.schema);
        let statements = statements::statements(&litellm.schema, &own);
        Self {
            pool,
            permits: Arc::new(Semaphore::new(database.pool.max(1) as usize)),
            rules: StoreRules::new(statements, litellm, account, session),
            own,
            own_schema: database.schema.clone(),
            litellm_schema: litellm.schema.clone(),
            connect_timeout: database.connect_timeout,
            statement_timeout: database.statement_timeout,
            audit_retention: Duration::ZERO,
            is_person_in_clear: false,
        }
    }

    /// With the audit's rules: how long its lines are kept (zero = for ever), and whether the log names users in clear.
    #[must_use]
    pub fn with_audit(self, retention: Duration, is_person_in_clear: bool) -> Self {
        Self { audit_retention: retention, is_person_in_clear, ..self }
    }

    /// Makes our own tables, or brings them to this program's version, and checks nothing else: what the owner runs.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.with_retry(|| self.migrate_once()).await
    }

    /// Repeats an attempt that failed for a transient reason, and gives up when the time is over.
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

    /// Runs `DELETE FROM … RETURNING` of at most `$1` rows that are older than `$2` seconds, batch by batch until one is not
    /// full.
    async fn sweep_all(&self, statement: &str, older_than: Duration) -> Result<u64, StoreError> {
        let mut all = 0;
        for _ in 0..SWEEP_BATCHES_MAX {
            let parameters: [&dyn Parameter; 2] = [&SWEEP_BATCH, &older_than.as_secs_f64()];
            let batch = self.with_retry(|| self.writing(async |on| Ok(on.rows(statement, &parameters).await?.len())));
            let gone = batch.await? as u64;
            all += gone;
            if gone < SWEEP_BATCH.unsigned_abs() {
                break;
            }
        }
        Ok(all)
    }

    /// A session that another transaction has locked is left for the next sweep. A blocked key stays, because its block
    /// keeps a user out and would go with it.
    async fn sweep_sessions(&self) -> Result<u64, StoreError> {
        let (own, litellm) = (&self.own, &self.rules.statements.litellm);
        let statement = format!(
            "WITH over AS (SELECT s.id, s.token FROM {own}.session s WHERE s.expires_at < now() - make_interval(secs => $2) \
             AND NOT (s.current AND EXISTS (SELECT FROM {key} b WHERE b.token = s.token AND b.blocked)) \
             ORDER BY s.expires_at LIMIT $1 FOR UPDATE OF s SKIP LOCKED), gone AS ({delete}) \
             DELETE FROM {own}.session s USING over WHERE s.id = over.id RETURNING s.id",
            key = litellm.key,
            delete = litellm.delete_keys("over")
        );
        self.sweep_all(&statement, Duration::ZERO).await
    }

    async fn sweep_audit(&self) -> Result<u64, StoreError> {
        if self.audit_retention.is_zero() {
            return Ok(0);
        }
        let own = &self.own;
        let statement = format!(
            "DELETE FROM {own}.audit WHERE id IN (SELECT id FROM {own}.audit \
             WHERE at < now() - make_interval(secs => $2) ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING id"
        );
        self.sweep_all(&statement, self.audit_retention).await
    }
}

impl Store for Postgres {
    fn open<'a>(&'a self, profile: &'a UserProfile, terms: &'a Terms) -> StoreFuture<'a, OpenedSession> {
        Box::pin(self.with_retry(|| self.open_once(profile, terms)))
    }

    fn open_ui<'a>(&'a self, account_id: &'a str) -> StoreFuture<'a, IssuedKey> {
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
        Box::pin(async { Ok(SweepReport { sessions: self.sweep_sessions().await?, audit: self.sweep_audit().await? }) })
    }

    fn record_denials<'a>(&'a self, denials: &'a [Denial]) -> StoreFuture<'a, ()> {
        Box::pin(self.with_retry(|| self.record_denials_once(denials)))
    }
}
