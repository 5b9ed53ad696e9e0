//! Sessions and their keys: made, kept for longer, retired and ended, inside `open`'s transaction.
//!
//! The session row is always written before the key row: the sweep locks in the same order.

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use super::Postgres;
use super::open::{no_randomness, text};
use super::plan::{self, Event, SessionPlan, TOKEN_MISMATCH};
use super::retry::Fault;
use super::standing::Standing;
use crate::litellm::tables::{KeyRow, mark};
use crate::registry::RegistryError;
use crate::secret::{self, SessionKey, SessionKind};

/// A session that was just made or found.
pub(super) struct Held {
    pub(super) id: String,
    pub(super) key: SessionKey,
    pub(super) left_seconds: f64,
}

// === impl Postgres ===

impl Postgres {
    /// Does what the plan says of the session.
    pub(super) async fn session(
        &self,
        on: &mut PgConnection,
        standing: &Standing,
        plan: SessionPlan,
        events: &mut Vec<Event>,
    ) -> Result<Held, Fault> {
        let Some(lent) = &standing.lent else {
            events.push(plan::event("session_opened", json!({})));
            return self.open_session(on, standing).await;
        };
        match plan {
            SessionPlan::Keep(key) => return Ok(Held { id: lent.id.clone(), key, left_seconds: lent.left() }),
            SessionPlan::Extend(key) => {
                let left_seconds = self.lending.longer(lent.age_seconds);
                self.on_session(on, &self.statements.extend_session, &lent.id, left_seconds).await?;
                return Ok(Held { id: lent.id.clone(), key, left_seconds });
            }
            SessionPlan::Rotate => {
                self.on_session(on, &self.statements.retire_session, &lent.id, self.lending.grace).await?;
                events.push(plan::event("session_rotated", json!({ "old": lent.id })));
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
                events.push(plan::event("session_replaced", json!({ "old": lent.id, "reason": reason })));
            }
            SessionPlan::Open => events.push(plan::event("session_opened", json!({}))),
        }
        self.open_session(on, standing).await
    }

    /// Sets the end of a session and of its key; the key row must be there still.
    async fn on_session(&self, on: &mut PgConnection, statement: &str, id: &str, seconds: f64) -> Result<(), Fault> {
        let done = sqlx::query(AssertSqlSafe(statement)).bind(id).bind(seconds).persistent(false).execute(on).await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(Fault::Again) }
    }

    /// Makes a session and its key.
    pub(super) async fn open_session(&self, on: &mut PgConnection, standing: &Standing) -> Result<Held, Fault> {
        let id = secret::row_id().ok_or_else(no_randomness)?;
        let nonce = secret::nonce().ok_or_else(no_randomness)?;
        let secret_id = self.lending.secrets.current().as_str();
        let key = self
            .lending
            .secrets
            .session_key(secret_id, SessionKind::Api, &standing.account_id, &nonce)
            .ok_or_else(|| RegistryError::SecretMismatch(secret_id.to_owned()))?;
        let left_seconds = self.lending.first();
        let row = KeyRow {
            token: key.token(),
            key_name: key.display_name(),
            key_alias: format!("vestibule-{id}"),
            user_id: standing.user_id.clone(),
            metadata: json!({ "vestibule": mark(Some(&id)) }),
            life_seconds: left_seconds,
        };
        sqlx::query(AssertSqlSafe(self.statements.open_session.as_str()))
            .bind(&id)
            .bind(&standing.account_id)
            .bind(SessionKind::Api.as_str())
            .bind(nonce.as_slice())
            .bind(secret_id)
            .bind(&row.token)
            .bind(left_seconds)
            .bind(text(&row))
            .persistent(false)
            .execute(on)
            .await?;
        Ok(Held { id, key, left_seconds })
    }
}
