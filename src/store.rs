//! The store: users' accounts and sessions, in LiteLLM's tables and our own, one transaction a change.
//!
//! It takes a [`UserProfile`] and the [`Terms`] that the rules gave the user, and returns the account and a session key. It
//! does not decide who may come in; it refuses where the database holds a block or a row that belongs to another user, or
//! does not answer.

pub mod admin;
pub mod audit;
mod decide;
mod model;
pub mod postgres;
mod retry;
mod rows;
pub mod sqlite;
mod steps;
pub(crate) mod text;

pub use self::model::{IssuedKey, OpenedSession, SweepReport, UserProfile};

use self::admin::KeyTokens;
use self::audit::Denial;
use crate::config::Terms;

/// Why the store returned nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An admin blocked the account or its key.
    #[error("the account, its user in LiteLLM or its key is blocked")]
    Blocked {
        /// LiteLLM's `user_id`.
        user_id: String,
    },
    /// There is a row that vestibule did not make.
    #[error("LiteLLM's user `{user_id}` is not this person's row: found by {found_by}. {remedy}")]
    Conflict {
        /// That row.
        user_id: String,
        /// The column it was found by.
        found_by: &'static str,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// The user's id is LiteLLM's own, or can't be one of its ids.
    #[error("the person's id is reserved in LiteLLM, or can't be an id there")]
    ReservedId(String),
    /// The user has no value for the configured `account.user_id`.
    #[error(
        "`account.user_id: {0}`, but the sign-in proxy sent none. Have it send the header, or choose another source"
    )]
    NoId(&'static str),
    /// A living session was made with a secret that is not known here.
    #[error(
        "a living session was made with the session secret `{0}`, which is not among ours. Add it to `session.secret_file`"
    )]
    SecretMismatch(String),
    /// LiteLLM's tables, or ours, are missing or not as vestibule needs them.
    #[error("{0}")]
    NotReady(String),
    /// The database did not answer, or refused.
    #[error("the database did not answer, or refused. See `litellm.database_url`")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A future of the store, boxed so that a test can provide another store.
pub type StoreFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Accounts and sessions, wherever they are kept.
pub trait Store: Send + Sync + 'static {
    /// Makes the rows agree with the user and their terms, and returns the key. It reads first and writes only what
    /// differs: a first sight makes user, account, session and key in one transaction; a known user costs one read.
    /// Rows removed by hand are made again, keys near their end renewed, blocks seen.
    fn open<'a>(&'a self, profile: &'a UserProfile, terms: &'a Terms) -> StoreFuture<'a, OpenedSession>;

    /// Makes a session for one more browser of an account, and ends the oldest where there are too many.
    fn open_ui<'a>(&'a self, account_id: &'a str) -> StoreFuture<'a, IssuedKey> {
        let _ = account_id;
        no_browsers()
    }

    /// Ends a user's own sessions; returns LiteLLM's names of their keys. With `keep_keys` the
    /// keys stay in LiteLLM's table, expired, for its own API to delete: it forgets only what it finds there.
    fn sign_out<'a>(&'a self, session_ids: &'a [String], keep_keys: bool) -> StoreFuture<'a, KeyTokens> {
        let _ = (session_ids, keep_keys);
        no_browsers()
    }

    /// Removes what is left of ended sessions, once LiteLLM has been told.
    fn remove_ended<'a>(&'a self, keys: &'a KeyTokens) -> StoreFuture<'a, ()> {
        let _ = keys;
        no_browsers()
    }

    /// Migrates our own tables where that is allowed and needed, and checks that LiteLLM's are there.
    fn prepare(&self) -> StoreFuture<'_, ()>;

    /// Removes vestibule's own sessions that are over, and what of the audit was kept long enough.
    fn sweep(&self) -> StoreFuture<'_, SweepReport>;

    /// Records refused users: at most once a user, code and minute, over all replicas.
    fn record_denials<'a>(&'a self, denials: &'a [Denial]) -> StoreFuture<'a, ()>;
}

/// Of a store that keeps no sessions of the admin UI.
fn no_browsers<'a, T: Send + 'a>() -> StoreFuture<'a, T> {
    Box::pin(async { Err(StoreError::NotReady("no browsers' sessions are kept here".into())) })
}
