//! The audit trail: its events, its entries, and its queries.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The actor of what was not done by an operator.
pub const SYSTEM_ACTOR: &str = "vestibule";

/// What happened. The name in the table never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A first sight: user, account and session were made.
    Created,
    /// An existing row became the user's, by `account.adopt`.
    Adopted,
    /// An existing row became the user's, by an operator.
    Linked,
    /// An account was given to another issuer and subject.
    Moved,
    /// LiteLLM's user row was gone and was made again.
    Remade,
    /// The rules give another role than before.
    RoleChanged,
    /// A role changed by hand was put back.
    RoleUndone,
    /// The e-mail followed the user's.
    EmailChanged,
    /// Another row has the user's new e-mail; the old one stays.
    EmailRefused,
    /// Models and limits were written.
    AllowanceWritten,
    /// An operator blocked the user.
    Blocked,
    /// An operator lifted the block.
    Unblocked,
    /// The user was refused; once a user, code and minute.
    Refused,
    /// A session and its key were made.
    SessionMade,
    /// A session and its key were extended.
    SessionRenewed,
    /// A session was ended by an operator, by its user, or because the user had too many browsers.
    SessionRevoked,
}

/// One line of the audit.
#[derive(Debug, Clone, Serialize)]
pub struct AuditEvent {
    /// What happened.
    pub event: EventKind,
    /// The details; an object.
    pub detail: Value,
}

/// One line of the audit as it is read back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number.
    pub id: i64,
    /// When, in UTC.
    pub at: String,
    /// What happened.
    pub event: String,
    /// Who did it.
    pub actor: String,
    /// Our id of the account, where there is one.
    pub account_id: Option<String>,
    /// LiteLLM's `user_id`, while the account is there.
    pub user_id: Option<String>,
    /// The details.
    pub detail: Value,
}

/// Which lines of the audit are wanted.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this account.
    pub account_id: Option<String>,
    /// Of these kinds; empty = of all.
    pub events: Vec<EventKind>,
    /// Not older than so many seconds.
    pub since_seconds: Option<f64>,
    /// After the line of this number.
    pub after: Option<i64>,
    /// The newest so many.
    pub limit: i64,
}

/// A user who was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// The sign-in source.
    pub issuer: String,
    /// The id there.
    pub subject: String,
    /// The refusal's code.
    pub code: &'static str,
}

// === impl EventKind ===

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Created,
        Self::Adopted,
        Self::Linked,
        Self::Moved,
        Self::Remade,
        Self::RoleChanged,
        Self::RoleUndone,
        Self::EmailChanged,
        Self::EmailRefused,
        Self::AllowanceWritten,
        Self::Blocked,
        Self::Unblocked,
        Self::Refused,
        Self::SessionMade,
        Self::SessionRenewed,
        Self::SessionRevoked,
    ];

    /// The name in table and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Adopted => "adopted",
            Self::Linked => "linked",
            Self::Moved => "moved",
            Self::Remade => "remade",
            Self::RoleChanged => "role_changed",
            Self::RoleUndone => "role_undone",
            Self::EmailChanged => "email_changed",
            Self::EmailRefused => "email_refused",
            Self::AllowanceWritten => "allowance_written",
            Self::Blocked => "blocked",
            Self::Unblocked => "unblocked",
            Self::Refused => "refused",
            Self::SessionMade => "session_made",
            Self::SessionRenewed => "session_renewed",
            Self::SessionRevoked => "session_revoked",
        }
    }

    /// Whether `from` and `to` in the details are roles, not addresses.
    pub(crate) fn is_of_roles(self) -> bool {
        matches!(self, Self::RoleChanged | Self::RoleUndone)
    }
}

/// One line for the audit.
pub fn event(event: EventKind, detail: Value) -> AuditEvent {
    AuditEvent { event, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_as_it_is_named() {
        for one in EventKind::ALL {
            assert_eq!(serde_json::to_value(one).unwrap(), one.as_str());
        }
    }
}
