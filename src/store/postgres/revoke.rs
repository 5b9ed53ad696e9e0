//! Sessions ended by an operator, with their keys in LiteLLM's table.

use serde_json::json;
use sqlx::postgres::PgRow;

use super::Postgres;
use super::audit::AuditSubject;
use super::transaction::{ChangeResult, Work};
use crate::store::admin::{ChangeOptions, KeyTokens, RevocationReport, SessionSelector};
use crate::store::audit::{EventKind, event};
use crate::store::retry::AttemptError;
use crate::store::rows::{RowReader, Transaction, json_text};

/// In the audit: the session's own user.
const USER_ACTOR: &str = "person";
/// Most sessions of one transaction.
const REVOKE_BATCH: usize = 500;

/// A session that was ended.
pub(super) struct RevokedSession {
    id: String,
    token: String,
    whose: AuditSubject,
}

// === impl RevocationReport ===

impl RevocationReport {
    pub(super) fn add(&mut self, ended: Vec<RevokedSession>) {
        for session in ended {
            self.sessions.push(session.id);
            self.keys.0.push(session.token);
        }
    }
}

// === impl Postgres ===

impl Postgres {
    /// Ends sessions, one transaction per batch. A user who comes again gets a new session: this is no block.
    pub async fn revoke(&self, selector: &SessionSelector, options: &ChangeOptions) -> ChangeResult<RevocationReport> {
        let mut ended = RevocationReport { in_litellm: true, ..RevocationReport::default() };
        loop {
            let batch = self
                .changing(&[], options.dry_run, async |on| {
                    self.revoke_batch(on, selector, options.keep_keys, &options.actor).await
                })
                .await?;
            let batch = match batch {
                Ok(batch) => batch,
                Err(conflict) => return Ok(Err(conflict)),
            };
            let is_last = batch.len() < REVOKE_BATCH;
            ended.add(batch);
            // A dry run would find the same batch for ever.
            if is_last || options.dry_run {
                return Ok(Ok(ended));
            }
        }
    }

    /// Ends one batch of living sessions, and records each.
    pub(super) async fn revoke_batch(
        &self,
        on: &mut Work<'_>,
        selector: &SessionSelector,
        keep_keys: bool,
        actor: &str,
    ) -> Result<Vec<RevokedSession>, AttemptError> {
        let ended = self.end_sessions(on, selector, keep_keys).await?;
        for session in &ended {
            let revoked = event(EventKind::SessionRevoked, json!({ "session": session.id }));
            self.record(on, session.whose.clone(), actor, revoked).await?;
        }
        Ok(ended)
    }

    /// Ends one batch of living sessions. Their keys are deleted, or only expired where LiteLLM is to delete them; if it does
    /// not, the sweep does. A key that an admin blocked in LiteLLM stays: its block keeps
    /// the user out, and would go with it.
    pub(super) async fn end_sessions(
        &self,
        on: &mut Work<'_>,
        selector: &SessionSelector,
        keep_keys: bool,
    ) -> Result<Vec<RevokedSession>, AttemptError> {
        let (own, litellm) = (&self.own, &self.rules.statements.litellm);
        let (condition, id) = match selector {
            SessionSelector::Account(id) => ("s.account_id = $1", id.as_str()),
            SessionSelector::Id(id) => ("s.id = $1", id.as_str()),
            SessionSelector::All => ("$1 = ''", ""),
        };
        let (sessions, keys) = if keep_keys {
            let expired = "SET current = false, expires_at = now(), retire_at = now() FROM over";
            (format!("UPDATE {own}.session s {expired}"), litellm.end_keys("over"))
        } else {
            (format!("DELETE FROM {own}.session s USING over"), litellm.delete_keys("over"))
        };
        let statement = format!(
            "WITH over AS (SELECT s.id, s.token, s.account_id FROM {own}.session s WHERE {condition} AND s.expires_at > now() \
             AND NOT (s.current AND s.kind = 'api' AND EXISTS (SELECT FROM {key} b WHERE b.token = s.token AND b.blocked)) \
             ORDER BY s.id LIMIT {REVOKE_BATCH} FOR UPDATE), gone AS ({sessions} WHERE s.id = over.id), k AS ({keys}) \
             SELECT over.id, over.token, over.account_id, a.issuer, a.subject, a.user_id \
             FROM over JOIN {own}.account a ON a.id = over.account_id ORDER BY over.id",
            key = litellm.key
        );
        let rows = on.rows(&statement, &[&id]).await?;
        let session = |row: &PgRow| {
            let whose = AuditSubject::from_row(row)?;
            Ok(RevokedSession { id: row.column("id")?, token: row.column("token")?, whose })
        };
        rows.iter().map(session).collect()
    }

    /// One attempt to end a user's own sessions.
    pub(super) async fn sign_out_once(
        &self,
        session_ids: &[String],
        keep_keys: bool,
    ) -> Result<KeyTokens, AttemptError> {
        self.writing(async |on| {
            let mut ended = RevocationReport::default();
            for id in session_ids {
                let selector = SessionSelector::Id(id.clone());
                ended.add(self.revoke_batch(on, &selector, keep_keys, USER_ACTOR).await?);
            }
            Ok(ended.keys)
        })
        .await
    }

    /// One attempt to remove ended sessions and what is left of their keys, once LiteLLM has been told.
    pub(super) async fn remove_ended_once(&self, keys: &KeyTokens) -> Result<(), AttemptError> {
        let (own, tokens) = (&self.own, json_text(&keys.0));
        let statement = format!(
            "WITH over AS (SELECT s.id, s.token FROM {own}.session s \
             WHERE s.token IN (SELECT jsonb_array_elements_text($1::jsonb)) AND s.expires_at <= now() \
             AND NOT s.current ORDER BY s.id FOR UPDATE), k AS ({}) DELETE FROM {own}.session s USING over WHERE s.id = over.id",
            self.rules.statements.litellm.delete_keys("over")
        );
        self.writing(async |on| Ok(on.rows(&statement, &[&tokens]).await.map(drop)?)).await
    }
}
