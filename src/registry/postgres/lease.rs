//! A borrowed connection that goes back to the pool only when the work on it came to its end.

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Transaction};

/// A connection. Dropped halfway (an error, a time-out, a caller who went away), it is closed: the server then rolls
/// back, and nobody waits for an answer that may never come.
pub(super) struct Lease(Option<PoolConnection<sqlx::Postgres>>);

// === impl Lease ===

impl Lease {
    /// Waits for a free connection, no longer than the pool's own time-out.
    pub(super) async fn new(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self(Some(pool.acquire().await?)))
    }

    /// Begins a transaction; `statements` begin with `BEGIN` and go in one message.
    pub(super) async fn begin(&mut self, statements: String) -> Result<Transaction<'_, sqlx::Postgres>, sqlx::Error> {
        self.connection()?.begin_with(AssertSqlSafe(statements)).await
    }

    /// Gives the connection back to the pool.
    pub(super) fn give_back(mut self) {
        drop(self.0.take());
    }

    fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.0.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}
