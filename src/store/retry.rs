//! Which of the database's errors are worth a retry, and how long to wait before it.

use std::time::Duration;

use aws_lc_rs::rand;

use super::StoreError;
use super::admin::Conflict;

/// Attempts after the first.
pub(super) const RETRIES_MAX: u32 = 3;
/// The longest wait before the first retry; it doubles with each.
const JITTER_MS: u64 = 20;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// The database, or the connection to it.
    Database(sqlx::Error),
    /// The store refuses; the connection is sound.
    Refused(StoreError),
    /// The operator's change can't be made; the connection is sound.
    Conflict(Conflict),
    /// Another transaction was faster: start again.
    Again,
}

impl From<sqlx::Error> for AttemptError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for AttemptError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Conflict> for AttemptError {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(conflict)
    }
}

// === impl AttemptError ===

impl AttemptError {
    /// Whether the whole transaction may run again. A commit whose answer was lost is among these: the next attempt reads
    /// first, and finds what was written.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) => passing(error),
            Self::Again => true,
            Self::Refused(_) | Self::Conflict(_) => false,
        }
    }

    /// For the log: an SQLSTATE where there is one. Not the database's message, which can contain a user's values.
    pub(super) fn code(&self) -> String {
        match self {
            Self::Database(error) => {
                let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
                code.map_or_else(|| "connection".to_owned(), Into::into)
            }
            Self::Refused(_) | Self::Conflict(_) => "refused".to_owned(),
            Self::Again => "again".to_owned(),
        }
    }

    /// The error for the caller.
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Database(error) => StoreError::Unavailable(Box::new(error)),
            Self::Refused(error) => error,
            Self::Conflict(conflict) => StoreError::NotReady(conflict.0),
            Self::Again => StoreError::Unavailable("the rows changed at every try".into()),
        }
    }
}

/// A random wait before the retry of this number (from 1), so that transactions that collided do not collide again.
pub(super) fn pause(retry: u32) -> Duration {
    let mut byte = [0_u8; 1];
    // Without randomness the wait is the longest one, which is still a wait.
    let share = if rand::fill(&mut byte).is_ok() { u64::from(byte[0]) + 1 } else { 256 };
    Duration::from_millis((JITTER_MS << retry.min(6)) * share / 256)
}

fn passing(error: &sqlx::Error) -> bool {
    match error.as_database_error().and_then(sqlx::error::DatabaseError::code) {
        // Serialization, deadlock, an admin's shutdown, a crash, starting up, and: another transaction inserted first.
        Some(code) => {
            matches!(&*code, "40001" | "40P01" | "57P01" | "57P02" | "57P03" | "23505") || code.starts_with("08")
        }
        None => matches!(error, sqlx::Error::Io(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_worth_another_try_and_a_refusal_is_not() {
        let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(AttemptError::from(lost).is_transient());
        assert!(!AttemptError::from(sqlx::Error::PoolTimedOut).is_transient());
        assert!(!AttemptError::from(StoreError::ReservedId("x".into())).is_transient());
    }

    #[test]
    fn a_pause_is_never_longer_than_its_bound() {
        for retry in 1..=RETRIES_MAX {
            assert!(pause(retry) <= Duration::from_millis(JITTER_MS << retry));
        }
    }
}
