//! Accounts and sessions as an operator reads and changes them: plain data in which no key, and no key's hash, can be printed.

use serde::{Deserialize, Serialize};

/// One account, with what LiteLLM's user row says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own that scripts ask for")]
pub struct Account {
    /// LiteLLM's `user_id`.
    pub user_id: String,
    /// The sign-in source.
    pub issuer: String,
    /// The id there.
    pub subject: String,
    /// LiteLLM's `user_email`.
    pub email: Option<String>,
    /// LiteLLM's `user_alias`.
    pub name: Option<String>,
    /// The role in LiteLLM's row.
    pub role: Option<String>,
    /// The role that the rules gave last.
    pub mapped_role: Option<String>,
    /// Blocked by an operator.
    pub blocked: bool,
    /// Since when, in UTC.
    pub blocked_at: Option<String>,
    /// By whom.
    pub blocked_by: Option<String>,
    /// Why.
    pub blocked_reason: Option<String>,
    /// LiteLLM's keys that the block blocked.
    pub blocked_keys: i64,
    /// LiteLLM's row says `metadata.scim_active: false`: LiteLLM takes no key of the user.
    pub switched_off_in_litellm: bool,
    /// The current session's key is blocked in LiteLLM, which blocks the user.
    pub key_blocked_in_litellm: bool,
    /// LiteLLM's row is there.
    pub in_litellm: bool,
    /// Living sessions.
    pub sessions: i64,
    /// When the account was made, in UTC.
    pub created_at: String,
    /// When a role was last lowered, in UTC.
    pub lowered_at: Option<String>,
    /// Our id.
    pub account_id: String,
}

/// One living session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Our id.
    pub session_id: String,
    /// LiteLLM's `user_id`.
    pub user_id: String,
    /// The kind.
    pub kind: String,
    /// `current`, or `retiring` when another has replaced it.
    pub state: String,
    /// What LiteLLM has of its key: `there`, `blocked` or `gone`.
    pub key: String,
    /// When it was made, in UTC.
    pub created_at: String,
    /// When it is over, in UTC.
    pub expires_at: String,
    /// Which secret made its key.
    pub secret_id: String,
    /// Our id of the account.
    pub account_id: String,
}

/// Living sessions of one secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUsage {
    /// Which secret.
    pub secret_id: String,
    /// How many.
    pub sessions: i64,
    /// When the last of them is over, in UTC.
    pub last_expires_at: Option<String>,
}

/// Which user the operator means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserSelector {
    /// A `user_id` or an e-mail.
    Name(String),
    /// Exactly one identity.
    Identity {
        /// The sign-in source.
        issuer: String,
        /// The id there.
        subject: String,
    },
}

/// Which accounts are wanted; all that is set must hold.
#[derive(Debug, Clone, Default)]
pub struct AccountFilter {
    /// Of this sign-in source.
    pub issuer: Option<String>,
    /// Only those that are blocked, here or in LiteLLM.
    pub blocked: bool,
    /// With this role in LiteLLM's row.
    pub role: Option<String>,
}

/// Which sessions are to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionSelector {
    /// All of an account.
    Account(String),
    /// One.
    Id(String),
    /// All there are.
    All,
}

/// How a change is to be made.
#[derive(Debug, Clone)]
pub struct ChangeOptions {
    /// Who does it, for the audit.
    pub actor: String,
    /// Report what would be done, and do nothing.
    pub dry_run: bool,
    /// Leave the ended sessions' keys in LiteLLM's table, already expired: LiteLLM's own API is to delete them, since it
    /// forgets only what it finds there.
    pub keep_keys: bool,
}

/// LiteLLM's names for keys. They have neither Debug nor Serialize: no hash of a key is ever printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeyTokens(pub Vec<String>);

/// Why a change can't be made; a message for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Conflict(pub String);

/// What a block or a revocation did, or would do.
#[derive(Default)]
pub struct RevocationReport {
    /// Our ids of the sessions that end.
    pub sessions: Vec<String>,
    /// Their keys.
    pub keys: KeyTokens,
    /// Other keys of the user that are blocked by it.
    pub blocked: KeyTokens,
    /// `metadata.scim_active` is set to false by it.
    pub switches_off: bool,
    /// It was blocked before.
    pub was_blocked: bool,
    /// LiteLLM has a row of the user.
    pub in_litellm: bool,
}

/// What the lifting of a block did, or would do.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own that scripts ask for")]
pub struct UnblockReport {
    /// There was a block.
    pub was_blocked: bool,
    /// Keys that work again.
    pub keys: u64,
    /// `metadata.scim_active` gets its former value back.
    pub switches_on: bool,
    /// The user is still blocked in LiteLLM, by something that vestibule did not do.
    pub still_off: bool,
    /// LiteLLM has a row of the user.
    pub in_litellm: bool,
}

/// What a link did, or would do.
#[derive(Debug, Clone, Default)]
pub struct LinkReport {
    /// Our id of the new account.
    pub account_id: String,
    /// The row's role.
    pub role: Option<String>,
    /// The row's e-mail.
    pub email: Option<String>,
    /// The row says `metadata.scim_active: false`.
    pub switched_off: bool,
}
