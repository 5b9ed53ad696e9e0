//! Sessions and their keys: made, kept for longer, retired and ended, inside `open`'s transaction.
//!
//! The session row is always written before the key row: the sweep locks in the same order.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::Postgres;
use super::retry::AttemptError;
use crate::secret::SessionKind;
use crate::store::audit::{AuditEvent, EventKind, event};
use crate::store::decide::{AccountState, IssuedKey, NewSession, SessionOwner, SessionPlan, TOKEN_MISMATCH};
use crate::store::rows::json_text;

// === impl Postgres ===

impl Postgres {
    /// Does what the plan says of the session.
    pub(super) async fn session(
        &self,
        on: &mut PgConnection,
        state: &AccountState,
        plan: SessionPlan,
        events: &mut Vec<AuditEvent>,
    ) -> Result<IssuedKey, AttemptError> {
        let Some(stored) = &state.stored else {
            return self.create_session(on, &SessionOwner::of(state), SessionKind::Api, json!({}), events).await;
        };
        let replaces = |reason: &str| json!({ "replaces": stored.id, "reason": reason });
        let detail = match plan {
            SessionPlan::Keep(key) => return Ok(IssuedKey { id: stored.id.clone(), key, left_seconds: stored.left() }),
            SessionPlan::Extend(key) => {
                let left_seconds = self.key_policy.extension(stored.age_seconds);
                let renewed = event(EventKind::SessionRenewed, json!({ "session": stored.id }));
                let done = sqlx::query(AssertSqlSafe(self.statements.extend_session.as_str()))
                    .bind(&stored.id)
                    .bind(left_seconds)
                    .bind(renewed.detail.to_string())
                    .persistent(false)
                    .execute(&mut *on)
                    .await?;
                one_key(done.rows_affected())?;
                events.push(renewed);
                return Ok(IssuedKey { id: stored.id.clone(), key, left_seconds });
            }
            SessionPlan::Rotate => {
                let done = sqlx::query(AssertSqlSafe(self.statements.retire_session.as_str()))
                    .bind(&stored.id)
                    .bind(self.key_policy.grace)
                    .persistent(false)
                    .execute(&mut *on)
                    .await?;
                one_key(done.rows_affected())?;
                replaces("age")
            }
            SessionPlan::Replace(reason) => {
                // A token that is not our key's may be somebody else's key's: that row is not ours to delete.
                let statement = if reason == TOKEN_MISMATCH {
                    &self.statements.forget_session
                } else {
                    &self.statements.end_session
                };
                sqlx::query(AssertSqlSafe(statement.as_str()))
                    .bind(&stored.id)
                    .persistent(false)
                    .execute(&mut *on)
                    .await?;
                replaces(reason)
            }
            SessionPlan::Open => json!({}),
        };
        self.create_session(on, &SessionOwner::of(state), SessionKind::Api, detail, events).await
    }

    /// Makes a session and its key. `detail` says of the audit's line which session it replaces, and why.
    pub(super) async fn create_session(
        &self,
        on: &mut PgConnection,
        owner: &SessionOwner<'_>,
        kind: SessionKind,
        mut detail: Value,
        events: &mut Vec<AuditEvent>,
    ) -> Result<IssuedKey, AttemptError> {
        let NewSession { issued, nonce, secret_id, row } = self.key_policy.new_session(owner, kind)?;
        if let Some(members) = detail.as_object_mut() {
            members.insert("session".to_owned(), issued.id.as_str().into());
        }
        sqlx::query(AssertSqlSafe(self.statements.create_session.as_str()))
            .bind(&issued.id)
            .bind(owner.account_id)
            .bind(kind.as_str())
            .bind(nonce.as_slice())
            .bind(secret_id)
            .bind(&row.token)
            .bind(issued.left_seconds)
            .bind(json_text(&row))
            .bind(detail.to_string())
            .persistent(false)
            .execute(on)
            .await?;
        events.push(event(EventKind::SessionMade, detail));
        Ok(issued)
    }
}

/// The key row must have been there still.
fn one_key(rows: u64) -> Result<(), AttemptError> {
    if rows == 1 { Ok(()) } else { Err(AttemptError::Again) }
}
