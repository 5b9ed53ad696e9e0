//! Sessions and their keys: made, kept for longer, retired and ended, inside `open`'s transaction.
//!
//! The session row is always written before the key row: the sweep locks in the same order.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::Postgres;
use super::open::text;
use super::retry::Fault;
use crate::secret::SessionKind;
use crate::store::audit::{AuditEvent, EventKind, event};
use crate::store::lending::{Fresh, Held, Of};
use crate::store::plan::{SessionPlan, TOKEN_MISMATCH};
use crate::store::standing::Standing;

// === impl Postgres ===

impl Postgres {
    /// Does what the plan says of the session.
    pub(super) async fn session(
        &self,
        on: &mut PgConnection,
        standing: &Standing,
        plan: SessionPlan,
        events: &mut Vec<AuditEvent>,
    ) -> Result<Held, Fault> {
        let Some(lent) = &standing.lent else {
            return self.open_session(on, &standing.of(), SessionKind::Api, json!({}), events).await;
        };
        let replaces = |reason: &str| json!({ "replaces": lent.id, "reason": reason });
        let detail = match plan {
            SessionPlan::Keep(key) => return Ok(Held { id: lent.id.clone(), key, left_seconds: lent.left() }),
            SessionPlan::Extend(key) => {
                let left_seconds = self.lending.longer(lent.age_seconds);
                let renewed = event(EventKind::SessionRenewed, json!({ "session": lent.id }));
                let done = sqlx::query(AssertSqlSafe(self.statements.extend_session.as_str()))
                    .bind(&lent.id)
                    .bind(left_seconds)
                    .bind(renewed.detail.to_string())
                    .persistent(false)
                    .execute(&mut *on)
                    .await?;
                one_key(done.rows_affected())?;
                events.push(renewed);
                return Ok(Held { id: lent.id.clone(), key, left_seconds });
            }
            SessionPlan::Rotate => {
                let done = sqlx::query(AssertSqlSafe(self.statements.retire_session.as_str()))
                    .bind(&lent.id)
                    .bind(self.lending.grace)
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
                    .bind(&lent.id)
                    .persistent(false)
                    .execute(&mut *on)
                    .await?;
                replaces(reason)
            }
            SessionPlan::Open => json!({}),
        };
        self.open_session(on, &standing.of(), SessionKind::Api, detail, events).await
    }

    /// Makes a session and its key. `detail` says of the audit's line which session it replaces, and why.
    pub(super) async fn open_session(
        &self,
        on: &mut PgConnection,
        of: &Of<'_>,
        kind: SessionKind,
        mut detail: Value,
        events: &mut Vec<AuditEvent>,
    ) -> Result<Held, Fault> {
        let Fresh { held, nonce, secret_id, row } = self.lending.fresh(of, kind)?;
        if let Some(members) = detail.as_object_mut() {
            members.insert("session".to_owned(), held.id.as_str().into());
        }
        sqlx::query(AssertSqlSafe(self.statements.open_session.as_str()))
            .bind(&held.id)
            .bind(of.account_id)
            .bind(kind.as_str())
            .bind(nonce.as_slice())
            .bind(secret_id)
            .bind(&row.token)
            .bind(held.left_seconds)
            .bind(text(&row))
            .bind(detail.to_string())
            .persistent(false)
            .execute(on)
            .await?;
        events.push(event(EventKind::SessionMade, detail));
        Ok(held)
    }
}

/// The key row must have been there still.
fn one_key(rows: u64) -> Result<(), Fault> {
    if rows == 1 { Ok(()) } else { Err(Fault::Again) }
}
