//! Sessions of browsers in the admin UI: one a browser, ended one by one.

use std::time::Duration;

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::Postgres;
use super::audit::LogSubject;
use super::retry::AttemptError;
use crate::litellm::tables::quoted;
use crate::secret::SessionKind;
use crate::store::admin::{KeyTokens, SessionSelector};
use crate::store::audit::{AuditEvent, EventKind, SYSTEM_ACTOR, event};
use crate::store::decide::SessionOwner;
use crate::store::{StoreError, UiSession};

/// Browsers of one person.
const UI_SESSIONS_MAX: usize = 10;
/// In the audit: the person whose session it is.
const USER_ACTOR: &str = "person";

// === impl Postgres ===

impl Postgres {
    /// One try.
    pub(super) async fn open_ui_once(&self, account_id: &str) -> Result<UiSession, AttemptError> {
        let own = quoted(&self.own_schema);
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin(self.begin_writing()).await?;
        let account = format!(
            "SELECT issuer, subject, user_id, blocked_at IS NOT NULL AS blocked FROM {own}.account WHERE id = $1 FOR UPDATE"
        );
        let row = sqlx::query(AssertSqlSafe(account))
            .bind(account_id)
            .persistent(false)
            .fetch_optional(&mut *transaction)
            .await?;
        // Moved or deleted since it was read: the next read finds the person anew.
        let row = row.ok_or_else(|| StoreError::NotReady("the account is not there any more".into()))?;
        let (issuer, subject, user_id): (String, String, String) =
            (row.try_get("issuer")?, row.try_get("subject")?, row.try_get("user_id")?);
        if row.try_get("blocked")? {
            return Err(StoreError::Blocked { user_id }.into());
        }
        self.make_room(&mut transaction, account_id).await?;
        let mut recorded = Vec::new();
        let owner = SessionOwner { account_id, user_id: &user_id };
        let made = self
            .create_session(&mut transaction, &owner, SessionKind::Ui, json!({ "kind": "ui" }), &mut recorded)
            .await?;
        transaction.commit().await?;
        connection.release();
        let who = LogSubject { issuer: &issuer, subject: &subject, user_id: Some(&user_id) };
        self.log_events(&who, Some(account_id), SYSTEM_ACTOR, &recorded);
        let expires_in = Duration::try_from_secs_f64(made.left_seconds).unwrap_or_default();
        Ok(UiSession { session_id: made.id, key: made.key, expires_in })
    }

    /// Ends the oldest browsers, so that one more is not too many.
    async fn make_room(&self, on: &mut PgConnection, account_id: &str) -> Result<(), AttemptError> {
        let own = quoted(&self.own_schema);
        let keep = UI_SESSIONS_MAX - 1;
        let statement = format!(
            "WITH over AS (SELECT s.id, s.token FROM {own}.session s WHERE s.account_id = $1 AND s.kind = 'ui' AND s.current \
             ORDER BY s.created_at DESC, s.id OFFSET {keep} FOR UPDATE), k AS ({}) \
             DELETE FROM {own}.session s USING over WHERE s.id = over.id RETURNING s.id",
            self.statements.litellm.delete_keys("over")
        );
        let gone: Vec<(String,)> =
            sqlx::query_as(AssertSqlSafe(statement)).bind(account_id).persistent(false).fetch_all(&mut *on).await?;
        let ended: Vec<AuditEvent> = gone
            .into_iter()
            .map(|(id,)| event(EventKind::SessionRevoked, json!({ "session": id, "reason": "too_many_browsers" })))
            .collect();
        self.write_audit(on, Some(account_id), SYSTEM_ACTOR, &ended).await
    }

    /// One try to end sessions for the person whose they are.
    pub(super) async fn sign_out_once(
        &self,
        session_ids: &[String],
        keep_keys: bool,
    ) -> Result<KeyTokens, AttemptError> {
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin(self.begin_writing()).await?;
        let mut ended = Vec::new();
        for id in session_ids {
            ended.extend(self.end_sessions(&mut transaction, &SessionSelector::Id(id.clone()), keep_keys).await?);
        }
        for session in &ended {
            self.write_audit(&mut transaction, Some(&session.account_id), USER_ACTOR, &[session.revoked()]).await?;
        }
        transaction.commit().await?;
        connection.release();
        for session in &ended {
            self.log_events(&session.log_subject(), Some(&session.account_id), USER_ACTOR, &[session.revoked()]);
        }
        Ok(KeyTokens(ended.into_iter().map(|session| session.token).collect()))
    }
}
