//! A borrowed connection that goes back to the pool only when its transaction has ended.

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Connection, PgPool, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A connection. Dropped halfway (an error, a time-out, a caller that went away), it is closed: the server then rolls
/// back, and no task waits for an answer that may never come.
pub(super) struct ConnectionGuard {
    connection: Option<PoolConnection<sqlx::Postgres>>,
    _place: OwnedSemaphorePermit,
}

// === impl ConnectionGuard ===

impl ConnectionGuard {
    /// Waits for one of as many permits as the pool has connections, then for a connection. So the pool's own time-out is for
    /// connecting alone: requests may queue for longer than is waited for a database that is not there.
    pub(super) async fn new(pool: &PgPool, permits: &Arc<Semaphore>, queue: Duration) -> Result<Self, sqlx::Error> {
        let place = timeout(queue, permits.clone().acquire_owned()).await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        Ok(Self { connection: Some(pool.acquire().await?), _place: place })
    }

    /// Begins a transaction; `statements` begin with `BEGIN` and go in one message.
    pub(super) async fn begin(&mut self, statements: String) -> Result<Transaction<'_, sqlx::Postgres>, sqlx::Error> {
        let connection = self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed)?;
        connection.begin_with(AssertSqlSafe(statements)).await
    }

    /// Gives the connection back to the pool.
    pub(super) fn release(mut self) {
        drop(self.connection.take());
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}
