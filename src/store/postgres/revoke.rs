//! Sessions ended by an operator, with their keys in LiteLLM's table.

use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::Postgres;
use super::audit::LogSubject;
use super::change::ChangeResult;
use super::retry::AttemptError;
use crate::litellm::tables::quoted;
use crate::store::admin::{ChangeOptions, KeyTokens, RevocationReport, SessionSelector};
use crate::store::audit::{AuditEvent, EventKind, event};

/// Sessions of one transaction.
const REVOKE_BATCH: i64 = 500;

/// A session that was ended.
pub(super) struct RevokedSession {
    pub(super) id: String,
    pub(super) token: String,
    pub(super) account_id: String,
    issuer: String,
    subject: String,
    user_id: String,
}

// === impl RevokedSession ===

impl RevokedSession {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            token: row.try_get("token")?,
            account_id: row.try_get("account_id")?,
            issuer: row.try_get("issuer")?,
            subject: row.try_get("subject")?,
            user_id: row.try_get("user_id")?,
        })
    }

    /// Whose it was, for the log.
    pub(super) fn log_subject(&self) -> LogSubject<'_> {
        LogSubject { issuer: &self.issuer, subject: &self.subject, user_id: Some(&self.user_id) }
    }

    /// What the audit says of it.
    pub(super) fn revoked(&self) -> AuditEvent {
        event(EventKind::SessionRevoked, json!({ "session": self.id }))
    }
}

// === impl Postgres ===

impl Postgres {
    /// Ends sessions, in batches of their own transactions. Whoever comes again gets a new one: this is no block.
    pub async fn revoke(&self, selector: &SessionSelector, options: &ChangeOptions) -> ChangeResult<RevocationReport> {
        let mut ended = RevocationReport { in_litellm: true, ..RevocationReport::default() };
        loop {
            let batch = self
                .changing(&[], options.dry_run, async |on| {
                    let sessions = self.end_sessions(on, selector, options.keep_keys).await?;
                    for session in &sessions {
                        self.write_audit(on, Some(&session.account_id), &options.actor, &[session.revoked()]).await?;
                    }
                    Ok(Ok(sessions))
                })
                .await?;
            let batch = match batch {
                Ok(batch) => batch,
                Err(conflict) => return Ok(Err(conflict)),
            };
            let is_last = batch.len() < usize::try_from(REVOKE_BATCH).unwrap_or(usize::MAX);
            for session in batch {
                if !options.dry_run {
                    self.log_events(
                        &session.log_subject(),
                        Some(&session.account_id),
                        &options.actor,
                        &[session.revoked()],
                    );
                }
                ended.sessions.push(session.id);
                ended.keys.0.push(session.token);
            }
            // A dry run would meet the same batch for ever.
            if is_last || options.dry_run {
                return Ok(Ok(ended));
            }
        }
    }

    /// One batch of living sessions, ended inside a transaction. Their keys are deleted, or expired where they are to be
    /// kept for LiteLLM to delete; should it not, the sweep does. A key that an admin blocked in LiteLLM stays: its block keeps
    /// the person out, and would go with it.
    pub(super) async fn end_sessions(
        &self,
        on: &mut PgConnection,
        selector: &SessionSelector,
        keep_keys: bool,
    ) -> Result<Vec<RevokedSession>, AttemptError> {
        let own = quoted(&self.own_schema);
        let (condition, id) = match selector {
            SessionSelector::Account(id) => ("s.account_id = $1", id.as_str()),
            SessionSelector::Id(id) => ("s.id = $1", id.as_str()),
            SessionSelector::All => ("$1 = ''", ""),
        };
        let (sessions, keys) = if keep_keys {
            (
                format!(
                    "UPDATE {own}.session s SET current = false, expires_at = now(), retire_at = now() FROM over WHERE s.id = over.id"
                ),
                self.statements.litellm.end_keys("over"),
            )
        } else {
            (
                format!("DELETE FROM {own}.session s USING over WHERE s.id = over.id"),
                self.statements.litellm.delete_keys("over"),
            )
        };
        let statement = format!(
            "WITH over AS (SELECT s.id, s.token, s.account_id FROM {own}.session s WHERE {condition} AND s.expires_at > now() \
             AND NOT (s.current AND s.kind = 'api' AND EXISTS (SELECT FROM {key} b WHERE b.token = s.token AND b.blocked)) \
             ORDER BY s.id LIMIT {REVOKE_BATCH} FOR UPDATE), gone AS ({sessions}), k AS ({keys}) \
             SELECT over.id, over.token, over.account_id, a.issuer, a.subject, a.user_id \
             FROM over JOIN {own}.account a ON a.id = over.account_id ORDER BY over.id",
            key = self.statements.litellm.key
        );
        let rows = sqlx::query(AssertSqlSafe(statement)).bind(id).persistent(false).fetch_all(on).await?;
        Ok(rows.iter().map(RevokedSession::from_row).collect::<Result<_, _>>()?)
    }

    /// One try to remove ended sessions and what is left of their keys, once LiteLLM has been told.
    pub(super) async fn remove_ended_once(&self, keys: &KeyTokens) -> Result<(), AttemptError> {
        let own = quoted(&self.own_schema);
        let statement = format!(
            "WITH over AS (SELECT s.id, s.token FROM {own}.session s WHERE s.token = ANY ($1) AND s.expires_at <= now() \
             AND NOT s.current ORDER BY s.id FOR UPDATE), k AS ({}) DELETE FROM {own}.session s USING over WHERE s.id = over.id",
            self.statements.litellm.delete_keys("over")
        );
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin(self.begin_writing()).await?;
        sqlx::query(AssertSqlSafe(statement)).bind(&keys.0).persistent(false).execute(&mut *transaction).await?;
        transaction.commit().await?;
        connection.release();
        Ok(())
    }
}
