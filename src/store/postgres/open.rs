//! `open`: one read where the rows agree, else one transaction that makes them agree.
//!
//! Locks are taken in one order: the person's advisory lock, then account, user, session and key rows.

use aws_lc_rs::digest;
use sqlx::{AssertSqlSafe, PgConnection};

use super::Postgres;
use super::audit::LogSubject;
use super::retry::AttemptError;
use crate::config::Terms;
use crate::store::audit::{AuditEvent, SYSTEM_ACTOR};
use crate::store::decide::{AccountPlan, AccountState, IssuedKey, SessionPlan, refusal};
use crate::store::rows::json_text;
use crate::store::{OpenedSession, UserProfile};

// === impl Postgres ===

impl Postgres {
    /// One try.
    pub(super) async fn open_once(&self, profile: &UserProfile, terms: &Terms) -> Result<OpenedSession, AttemptError> {
        if let Some(opened) = self.read_current(profile, terms).await? {
            return Ok(opened);
        }
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin(self.begin_locked(profile)).await?;
        let mut recorded = Vec::new();
        let outcome = self.settle(&mut transaction, profile, terms, &mut recorded).await;
        match outcome {
            Ok(_) => transaction.commit().await?,
            Err(AttemptError::Refused(_) | AttemptError::Again) => transaction.rollback().await?,
            Err(AttemptError::Database(error)) => return Err(error.into()),
        }
        connection.release();
        if let Ok(opened) = &outcome {
            self.log_events(
                &LogSubject::of(profile, &opened.user_id),
                Some(&opened.account_id),
                SYSTEM_ACTOR,
                &recorded,
            );
        }
        outcome
    }

    /// The read. It answers only where nothing has to be written, or where the store refuses.
    async fn read_current(&self, profile: &UserProfile, terms: &Terms) -> Result<Option<OpenedSession>, AttemptError> {
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin(self.begin_reading()).await?;
        let state = read(&mut transaction, &self.statements.read, profile).await?;
        transaction.commit().await?;
        connection.release();
        let Some(state) = state else { return Ok(None) };
        if let Some(refused) = refusal(&state) {
            return Err(refused.into());
        }
        let session = self.key_policy.plan(state.stored.as_ref(), &state.account_id)?;
        let agreed = AccountPlan::new(&state, profile, terms, self.account.role_sync).is_empty();
        Ok(match (agreed, session, &state.stored) {
            (true, SessionPlan::Keep(key), Some(stored)) => {
                let issued = IssuedKey { id: stored.id.clone(), key, left_seconds: stored.left() };
                Some(self.key_policy.opened(&state, issued))
            }
            _ => None,
        })
    }

    /// Makes account, user row and session as they must be, under the person's lock.
    async fn settle(
        &self,
        on: &mut PgConnection,
        profile: &UserProfile,
        terms: &Terms,
        recorded: &mut Vec<AuditEvent>,
    ) -> Result<OpenedSession, AttemptError> {
        let mut state = match read(on, &self.statements.read_locked, profile).await? {
            Some(state) => state,
            None => match self.create_account(on, profile, terms, recorded).await? {
                Some(opened) => return Ok(opened),
                // Adopted: now the account is there, and the rest is as for anybody known.
                None => read(on, &self.statements.read_locked, profile).await?.ok_or(AttemptError::Again)?,
            },
        };
        if let Some(refused) = refusal(&state) {
            return Err(refused.into());
        }
        let session = self.key_policy.plan(state.stored.as_ref(), &state.account_id)?;
        let mut plan = AccountPlan::new(&state, profile, terms, self.account.role_sync);
        if plan.email_refused.is_some() {
            // The log names nobody: the account leads to the audit, which names both addresses.
            tracing::warn!(account = %state.account_id, "another row of LiteLLM's has the e-mail: the old one stays");
        }
        if !plan.is_empty() {
            self.reconcile(on, &mut state, &mut plan, profile, terms).await?;
        }
        self.write_audit(on, Some(&state.account_id), SYSTEM_ACTOR, &plan.events).await?;
        recorded.append(&mut plan.events);
        let issued = self.session(on, &state, session, recorded).await?;
        Ok(self.key_policy.opened(&state, issued))
    }

    /// Writes what the plan says of user row and account.
    async fn reconcile(
        &self,
        on: &mut PgConnection,
        state: &mut AccountState,
        plan: &mut AccountPlan,
        profile: &UserProfile,
        terms: &Terms,
    ) -> Result<(), AttemptError> {
        let mut had = None;
        if let Some(row) = plan.recreated(state, profile, terms) {
            let made = sqlx::query(AssertSqlSafe(self.statements.litellm.insert_user("$1")))
                .bind(json_text(&row))
                .persistent(false)
                .fetch_optional(&mut *on)
                .await?;
            made.ok_or(AttemptError::Again)?;
        } else {
            if let Some(change) = &plan.change {
                let before: Option<(Option<String>,)> =
                    sqlx::query_as(AssertSqlSafe(self.statements.litellm.update_user()))
                        .bind(json_text(change))
                        .persistent(false)
                        .fetch_optional(&mut *on)
                        .await?;
                // No row: deleted since the read.
                (had,) = before.ok_or(AttemptError::Again)?;
            }
            if let Some((columns, _)) = &plan.allowance
                && let Some(statement) = self.statements.litellm.update_allowance(columns)
            {
                sqlx::query(AssertSqlSafe(statement))
                    .bind(&state.user_id)
                    .bind(json_text(columns))
                    .persistent(false)
                    .execute(&mut *on)
                    .await?;
            }
        }
        if let Some(update) = plan.settle(state, had.as_deref(), terms) {
            sqlx::query(AssertSqlSafe(self.statements.update_account.as_str()))
                .bind(&state.account_id)
                .bind(update.role)
                .bind(update.lowered)
                .bind(update.allowance)
                .bind(update.email_refused)
                .persistent(false)
                .execute(on)
                .await?;
        }
        Ok(())
    }

    /// Begins the transaction that writes, and takes the person's lock with the same message.
    fn begin_locked(&self, profile: &UserProfile) -> String {
        format!(
            "{}; SELECT pg_advisory_xact_lock({})",
            self.begin_writing(),
            lock_id(&profile.issuer, &profile.subject)
        )
    }
}

async fn read(
    on: &mut PgConnection,
    statement: &str,
    profile: &UserProfile,
) -> Result<Option<AccountState>, AttemptError> {
    let row = sqlx::query(AssertSqlSafe(statement))
        .bind(profile.issuer.as_ref())
        .bind(&profile.subject)
        .bind(&profile.email)
        .persistent(false)
        .fetch_optional(on)
        .await?;
    Ok(row.as_ref().map(AccountState::from_row).transpose()?)
}

/// The person's advisory lock: 64 bits of a digest over issuer and subject, each with its length before it. Two people
/// who share it wait for each other, which is all.
pub(super) fn lock_id(issuer: &str, subject: &str) -> i64 {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in ["vestibule/person", issuer, subject] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    digest.as_ref().iter().take(8).fold(0, |id, byte| (id << 8) | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuer_and_subject_cannot_be_shifted_into_each_other() {
        assert_ne!(lock_id("ab", "c"), lock_id("a", "bc"));
        assert_eq!(lock_id("ab", "c"), lock_id("ab", "c"));
    }
}
