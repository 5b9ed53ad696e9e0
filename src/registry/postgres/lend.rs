//! Sessions and their keys: made, kept for longer, retired and ended, inside `open`'s transaction.
//!
//! The session row is always written before the key row: the sweep locks in the same order.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::Postgres;
use super::open::{no_randomness, text};
use super::plan::{SessionPlan, TOKEN_MISMATCH};
use super::retry::Fault;
use super::standing::Standing;
use crate::litellm::tables::{KeyRow, mark};
use crate::litellm::ui::{UI_MAX_BUDGET, UI_TEAM};
use crate::registry::RegistryError;
use crate::registry::audit::{Event, Happening, event};
use crate::secret::{self, SessionKey, SessionKind};

/// A session that was just made or found.
pub(super) struct Held {
    pub(super) id: String,
    pub(super) key: SessionKey,
    pub(super) left_seconds: f64,
}

/// Whose session it is.
pub(super) struct Of<'a> {
    pub(super) account_id: &'a str,
    pub(super) user_id: &'a str,
}

// === impl Standing ===

impl Standing {
    pub(super) fn of(&self) -> Of<'_> {
        Of { account_id: &self.account_id, user_id: &self.user_id }
    }
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
            return self.open_session(on, &standing.of(), SessionKind::Api, json!({}), events).await;
        };
        let replaces = |reason: &str| json!({ "replaces": lent.id, "reason": reason });
        let detail = match plan {
            SessionPlan::Keep(key) => return Ok(Held { id: lent.id.clone(), key, left_seconds: lent.left() }),
            SessionPlan::Extend(key) => {
                let left_seconds = self.lending.longer(lent.age_seconds);
                let renewed = event(Happening::SessionRenewed, json!({ "session": lent.id }));
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
        events: &mut Vec<Event>,
    ) -> Result<Held, Fault> {
        let id = secret::row_id().ok_or_else(no_randomness)?;
        let nonce = secret::nonce().ok_or_else(no_randomness)?;
        let secret_id = self.lending.secrets.current().as_str();
        let key = self
            .lending
            .secrets
            .session_key(secret_id, kind, of.account_id, &nonce)
            .ok_or_else(|| RegistryError::SecretMismatch(secret_id.to_owned()))?;
        let left_seconds = self.lending.first();
        let row = KeyRow {
            token: key.token(),
            key_name: key.display_name(),
            key_alias: format!("vestibule-{id}"),
            user_id: of.user_id.to_owned(),
            team_id: (kind == SessionKind::Ui).then_some(UI_TEAM),
            max_budget: (kind == SessionKind::Ui).then_some(UI_MAX_BUDGET),
            metadata: json!({ "vestibule": mark(Some((&id, kind))) }),
            life_seconds: left_seconds,
        };
        if let Some(members) = detail.as_object_mut() {
            members.insert("session".to_owned(), id.as_str().into());
        }
        sqlx::query(AssertSqlSafe(self.statements.open_session.as_str()))
            .bind(&id)
            .bind(of.account_id)
            .bind(kind.as_str())
            .bind(nonce.as_slice())
            .bind(secret_id)
            .bind(&row.token)
            .bind(left_seconds)
            .bind(text(&row))
            .bind(detail.to_string())
            .persistent(false)
            .execute(on)
            .await?;
        events.push(event(Happening::SessionMade, detail));
        Ok(Held { id, key, left_seconds })
    }
}

/// The key row must have been there still.
fn one_key(rows: u64) -> Result<(), Fault> {
    if rows == 1 { Ok(()) } else { Err(Fault::Again) }
}
