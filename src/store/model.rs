//! The store's input and output: plain data.

use std::sync::Arc;
use std::time::Duration;

use crate::secret::SessionKey;

/// A user in LiteLLM's own OpenID shape (`id, email, first_name, last_name, display_name, picture, provider`), with what
/// vestibule adds. Plain data: only `identity` can make an `Identity` of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserProfile {
    /// The operator's name for the sign-in source.
    pub issuer: Arc<str>,
    /// The stable id at that source.
    pub subject: String,
    /// Lower-case, exactly one `@`.
    pub email: Option<String>,
    /// A name to sign in with.
    pub preferred_username: Option<String>,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Full name, else made of what there is.
    pub display_name: Option<String>,
    /// An https address.
    pub picture: Option<String>,
    /// What LiteLLM shows as the provider.
    pub provider: String,
    /// Sorted, each once.
    pub groups: Vec<String>,
}

/// What the store has of a user, with their session key.
#[derive(Clone)]
pub struct OpenedSession {
    /// Our id of the account.
    pub account_id: String,
    /// LiteLLM's `user_id`.
    pub user_id: String,
    /// How long ago a role was lowered, by the database's clock.
    pub lowered_ago: Option<Duration>,
    /// Our id of the session.
    pub session_id: String,
    /// The key.
    pub key: SessionKey,
    /// How long the key lives if it is not renewed, by the database's clock.
    pub expires_in: Duration,
    /// The role in LiteLLM's row.
    pub role: Option<String>,
    /// The living sessions of their browsers.
    pub ui: Vec<IssuedKey>,
}

/// A session and its key.
#[derive(Clone)]
pub struct IssuedKey {
    /// Our id of the session.
    pub session_id: String,
    /// The key.
    pub key: SessionKey,
    /// How long it lives, by the database's clock.
    pub expires_in: Duration,
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Session rows with their keys.
    pub sessions: u64,
    /// Lines of the audit that were kept long enough.
    pub audit: u64,
}
