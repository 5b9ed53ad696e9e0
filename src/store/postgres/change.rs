//! An operator's transaction: done as a whole and told, or looked at and rolled back.

use sqlx::PgConnection;

use super::Postgres;
use super::retry::AttemptError;
use crate::store::StoreError;
use crate::store::admin::{Account, Conflict};

/// What an operator's work comes to: what was done, or why it can't be.
pub(super) type ChangeResult<T> = Result<Result<T, Conflict>, StoreError>;

// === impl Postgres ===

impl Postgres {
    /// Runs reads in one transaction that writes nothing.
    pub(super) async fn reading<T>(
        &self,
        work: impl AsyncFn(&mut PgConnection) -> Result<T, AttemptError>,
    ) -> Result<T, StoreError> {
        self.with_retry(|| async {
            let mut connection = self.connection().await?;
            let mut transaction = connection.begin(self.begin_reading()).await?;
            let outcome = work(&mut transaction).await?;
            transaction.rollback().await?;
            connection.release();
            Ok(outcome)
        })
        .await
    }

    /// Runs a change under advisory locks. Nothing stays of a dry run, nor of what can't be.
    pub(super) async fn changing<T>(
        &self,
        locks: &[i64],
        dry_run: bool,
        work: impl AsyncFn(&mut PgConnection) -> Result<Result<T, Conflict>, AttemptError>,
    ) -> ChangeResult<T> {
        // Sorted, so that two who take the same locks can't wait for each other.
        let mut locks = locks.to_vec();
        locks.sort_unstable();
        locks.dedup();
        let locks: Vec<String> = locks.iter().map(|lock| format!("; SELECT pg_advisory_xact_lock({lock})")).collect();
        let locks = locks.concat();
        self.with_retry(|| async {
            let mut connection = self.connection().await?;
            let mut transaction = connection.begin(self.begin_writing() + &locks).await?;
            let outcome = work(&mut transaction).await;
            match &outcome {
                Ok(Ok(_)) if !dry_run => transaction.commit().await?,
                Ok(_) | Err(AttemptError::Refused(_) | AttemptError::Again) => transaction.rollback().await?,
                Err(AttemptError::Database(_)) => return outcome,
            }
            connection.release();
            outcome
        })
        .await
    }
}

/// Why nothing can be done to an account that was there a moment ago.
pub(super) fn gone(account: &Account) -> Conflict {
    Conflict(format!("the account of `{}` has changed or gone since it was looked up: look again", account.user_id))
}
