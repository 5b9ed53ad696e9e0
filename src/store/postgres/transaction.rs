//! One transaction: committed as a whole and then logged, or rolled back.

use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgArguments, PgRow};

use super::Postgres;
use super::audit::AuditLine;
use super::connection::ConnectionGuard;
use crate::store::StoreError;
use crate::store::admin::{Account, Conflict};
use crate::store::retry::AttemptError;
use crate::store::rows::{Parameter, Transaction};

/// The result of an operator's change: what was done, or why it can't be.
pub(super) type ChangeResult<T> = Result<Result<T, Conflict>, StoreError>;

/// An open transaction.
pub(super) struct Work<'c> {
    begun: sqlx::Transaction<'c, sqlx::Postgres>,
    /// What is logged once it is committed.
    pub(super) told: Vec<AuditLine>,
}

impl Transaction for Work<'_> {
    type Row = PgRow;

    async fn rows(&mut self, statement: &str, parameters: &[&dyn Parameter]) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut arguments = PgArguments::default();
        for parameter in parameters {
            parameter.to_postgres(&mut arguments).map_err(sqlx::Error::Encode)?;
        }
        // PgBouncer in transaction mode knows no statement prepared under a name.
        let query = sqlx::query_with(AssertSqlSafe(statement), arguments).persistent(false);
        query.fetch_all(&mut *self.begun).await
    }
}

// === impl Work ===

impl Work<'_> {
    /// Runs a statement that always returns a row.
    pub(super) async fn one(&mut self, statement: &str, parameters: &[&dyn Parameter]) -> Result<PgRow, sqlx::Error> {
        self.rows(statement, parameters).await?.into_iter().next().ok_or(sqlx::Error::RowNotFound)
    }

    /// Runs several statements without parameters.
    pub(super) async fn batch(&mut self, statements: String) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *self.begun).await.map(drop)
    }
}

// === impl Postgres ===

impl Postgres {
    /// Runs reads in one transaction that writes nothing.
    pub(super) async fn reading<T>(
        &self,
        work: impl AsyncFn(&mut Work<'_>) -> Result<T, AttemptError>,
    ) -> Result<T, StoreError> {
        self.with_retry(|| self.reading_once(&work)).await
    }

    /// One attempt of [`Self::reading`].
    pub(super) async fn reading_once<T>(
        &self,
        work: impl AsyncFnOnce(&mut Work<'_>) -> Result<T, AttemptError>,
    ) -> Result<T, AttemptError> {
        self.transaction("READ ONLY", &[], false, work).await
    }

    /// One attempt of a transaction that writes.
    pub(super) async fn writing<T>(
        &self,
        work: impl AsyncFnOnce(&mut Work<'_>) -> Result<T, AttemptError>,
    ) -> Result<T, AttemptError> {
        self.transaction("READ WRITE", &[], false, work).await
    }

    /// One attempt of a transaction under advisory locks, which are taken in the message that begins it. It is committed when
    /// the work succeeds, unless `undo` is set.
    pub(super) async fn transaction<T>(
        &self,
        mode: &str,
        locks: &[i64],
        undo: bool,
        work: impl AsyncFnOnce(&mut Work<'_>) -> Result<T, AttemptError>,
    ) -> Result<T, AttemptError> {
        // The isolation level is explicit, because a database's default may differ. The time-outs are for a statement, its
        // waiting for locks included, and for a transaction whose client is gone.
        let ms = self.statement_timeout.as_millis().clamp(1, 3_600_000);
        let mut begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED {mode}; SET LOCAL statement_timeout = {ms}; \
             SET LOCAL idle_in_transaction_session_timeout = {ms}"
        );
        begin.extend(locks.iter().map(|lock| format!("; SELECT pg_advisory_xact_lock({lock})")));
        let pool = self.pool.as_ref().map_err(|words| StoreError::NotReady(words.clone()))?;
        // Behind other requests, a place is free again after a statement or two of theirs.
        let mut connection = ConnectionGuard::new(pool, &self.permits, self.statement_timeout).await?;
        let (outcome, told) = {
            let mut on = Work { begun: connection.begin(begin).await?, told: Vec::new() };
            let outcome = work(&mut on).await;
            match &outcome {
                Ok(_) if !undo => on.begun.commit().await?,
                Ok(_) | Err(AttemptError::Refused(_) | AttemptError::Conflict(_) | AttemptError::Again) => {
                    on.begun.rollback().await?;
                }
                Err(AttemptError::Database(_)) => return outcome,
            }
            (outcome, on.told)
        };
        connection.release();
        if outcome.is_ok() && !undo {
            for line in &told {
                self.log(line);
            }
        }
        outcome
    }

    /// Runs an operator's change under advisory locks. A dry run and a conflict leave nothing behind.
    pub(super) async fn changing<T>(
        &self,
        locks: &[i64],
        dry_run: bool,
        work: impl AsyncFn(&mut Work<'_>) -> Result<T, AttemptError>,
    ) -> ChangeResult<T> {
        // Sorted, so that two who take the same locks can't wait for each other.
        let mut locks = locks.to_vec();
        locks.sort_unstable();
        locks.dedup();
        let once = || async {
            match self.transaction("READ WRITE", &locks, dry_run, &work).await {
                Err(AttemptError::Conflict(conflict)) => Ok(Err(conflict)),
                outcome => outcome.map(Ok),
            }
        };
        self.with_retry(once).await
    }
}

/// The conflict when an account is not what it was when it was looked up.
pub(super) fn gone(account: &Account) -> Conflict {
    Conflict(format!("the account of `{}` has changed or gone since it was looked up: look again", account.user_id))
}
