//! A first sight, inside `open`'s transaction: a new person gets a row of their own, or one that was there is adopted.

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::Postgres;
use super::retry::AttemptError;
use crate::config::Terms;
use crate::litellm::tables::UserRow;
use crate::secret::{self, SessionKind};
use crate::store::audit::{AuditEvent, EventKind, SYSTEM_ACTOR, event};
use crate::store::decide::{
    AccountState, CandidateRow, LitellmUser, RowChoice, SessionOwner, allowance_text, check_user_id, choose,
    no_randomness, user_row, wanted_user_id,
};
use crate::store::rows::json_text;
use crate::store::{OpenedSession, UserProfile};

// === impl Postgres ===

impl Postgres {
    /// A first sight: makes user, account and session, or takes over a row that was there (`None`).
    pub(super) async fn create_account(
        &self,
        on: &mut PgConnection,
        profile: &UserProfile,
        terms: &Terms,
        events: &mut Vec<AuditEvent>,
    ) -> Result<Option<OpenedSession>, AttemptError> {
        let wanted = wanted_user_id(profile, &self.account)?;
        check_user_id(wanted, &self.reserved_ids)?;
        let account_id = secret::row_id().ok_or_else(no_randomness)?;
        let rows = sqlx::query(AssertSqlSafe(self.statements.find.as_str()))
            .bind(wanted)
            .bind(&profile.subject)
            .bind(&profile.email)
            .persistent(false)
            .fetch_all(&mut *on)
            .await?;
        let id_taken = rows.first().map(|row| row.try_get("id_taken")).transpose()?.unwrap_or(false);
        let found: Vec<CandidateRow> =
            rows.iter().filter_map(|row| CandidateRow::from_row(row).transpose()).collect::<Result<_, _>>()?;
        match choose(&found, id_taken, wanted, &profile.subject, &account_id, &self.account.adopt)? {
            RowChoice::Adopt { user_id, by } => {
                check_user_id(&user_id, &self.reserved_ids)?;
                self.adopt(on, profile, &account_id, &user_id, by, events).await?;
                Ok(None)
            }
            RowChoice::Create { user_id, sso_user_id } => {
                check_user_id(&user_id, &self.reserved_ids)?;
                let row = user_row(profile, terms, user_id, sso_user_id);
                let state = self.create(on, profile, terms, account_id, row, events).await?;
                let issued =
                    self.create_session(on, &SessionOwner::of(&state), SessionKind::Api, json!({}), events).await?;
                Ok(Some(self.key_policy.opened(&state, issued)))
            }
        }
    }

    async fn create(
        &self,
        on: &mut PgConnection,
        profile: &UserProfile,
        terms: &Terms,
        account_id: String,
        row: UserRow,
        events: &mut Vec<AuditEvent>,
    ) -> Result<AccountState, AttemptError> {
        let account = json!({
            "id": account_id,
            "issuer": profile.issuer.as_ref(),
            "subject": profile.subject,
            "role": terms.role.as_str(),
            "allowance": terms.allowance.as_ref().map(allowance_text),
        });
        let made = [event(EventKind::Created, json!({ "user_id": row.user_id, "role": row.user_role }))];
        let written = sqlx::query(AssertSqlSafe(self.statements.create_account.as_str()))
            .bind(json_text(&row))
            .bind(account.to_string())
            .bind(json_text(&made))
            .persistent(false)
            .execute(on)
            .await?;
        if written.rows_affected() == 0 {
            return Err(AttemptError::Again);
        }
        events.extend(made);
        let user = LitellmUser { role: Some(row.user_role.to_owned()), ..LitellmUser::default() };
        Ok(AccountState { account_id, user_id: row.user_id, user: Some(user), ..AccountState::default() })
    }

    async fn adopt(
        &self,
        on: &mut PgConnection,
        profile: &UserProfile,
        account_id: &str,
        user_id: &str,
        by: &str,
        events: &mut Vec<AuditEvent>,
    ) -> Result<(), AttemptError> {
        let written = sqlx::query(AssertSqlSafe(self.statements.adopt.as_str()))
            .bind(account_id)
            .bind(profile.issuer.as_ref())
            .bind(&profile.subject)
            .bind(user_id)
            .persistent(false)
            .execute(&mut *on)
            .await?;
        if written.rows_affected() == 0 {
            return Err(AttemptError::Again);
        }
        let adopted = event(EventKind::Adopted, json!({ "user_id": user_id, "by": by }));
        self.write_audit(on, Some(account_id), SYSTEM_ACTOR, std::slice::from_ref(&adopted)).await?;
        events.push(adopted);
        Ok(())
    }
}
