//! Sessions in the admin UI: one per browser.

use serde_json::json;

use super::Postgres;
use super::audit::{AuditLine, AuditSubject};
use super::transaction::Work;
use crate::secret::SessionKind;
use crate::store::audit::{EventKind, SYSTEM_ACTOR, event};
use crate::store::retry::AttemptError;
use crate::store::rows::{RowReader, Transaction};
use crate::store::steps::Steps;
use crate::store::{IssuedKey, StoreError};

/// Most browsers of one user.
const UI_SESSIONS_MAX: usize = 10;

// === impl Postgres ===

impl Postgres {
    /// One attempt.
    pub(super) async fn open_ui_once(&self, account_id: &str) -> Result<IssuedKey, AttemptError> {
        let account = format!(
            "SELECT id AS account_id, issuer, subject, user_id, blocked_at IS NOT NULL AS blocked FROM {}.account \
             WHERE id = $1 FOR UPDATE",
            self.own
        );
        self.writing(async |on| {
            let rows = on.rows(&account, &[&account_id]).await?;
            // Moved or deleted since it was read: the next read finds or makes the user's account again.
            let row = rows.first().ok_or_else(|| StoreError::NotReady("the account is not there any more".into()))?;
            let user_id: String = row.column("user_id")?;
            if row.column("blocked")? {
                return Err(StoreError::Blocked { user_id }.into());
            }
            let whose = AuditSubject::from_row(row)?;
            self.make_room(on, account_id, &whose).await?;
            let mut steps = Steps::new(on, &self.rules);
            let made = steps.create_session(account_id, &user_id, SessionKind::Ui, json!({ "kind": "ui" })).await?;
            let events = steps.recorded;
            on.told.push(AuditLine { whose, actor: SYSTEM_ACTOR.to_owned(), events });
            Ok(made)
        })
        .await
    }

    /// Ends the oldest browsers' sessions, to make room for one more.
    async fn make_room(&self, on: &mut Work<'_>, account_id: &str, whose: &AuditSubject) -> Result<(), AttemptError> {
        let own = &self.own;
        let keep = UI_SESSIONS_MAX - 1;
        let statement = format!(
            "WITH over AS (SELECT s.id, s.token FROM {own}.session s WHERE s.account_id = $1 AND s.kind = 'ui' AND s.current \
             ORDER BY s.created_at DESC, s.id OFFSET {keep} FOR UPDATE), k AS ({}) \
             DELETE FROM {own}.session s USING over WHERE s.id = over.id RETURNING s.id",
            self.rules.statements.litellm.delete_keys("over")
        );
        for row in on.rows(&statement, &[&account_id]).await? {
            let detail = json!({ "session": row.column::<String>("id")?, "reason": "too_many_browsers" });
            self.record(on, whose.clone(), SYSTEM_ACTOR, event(EventKind::SessionRevoked, detail)).await?;
        }
        Ok(())
    }
}
