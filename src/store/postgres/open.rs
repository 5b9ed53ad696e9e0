//! `open`: one read where the books agree, else one transaction that makes them agree.
//!
//! Locks are taken in one order: the person's advisory lock, then account, user, session and key rows.

use aws_lc_rs::digest;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use super::Postgres;
use super::audit::LogSubject;
use super::retry::Fault;
use crate::config::Terms;
use crate::store::audit::{AuditEvent, EventKind, SYSTEM_ACTOR, event};
use crate::store::lending::Held;
use crate::store::plan::{self, AccountPlan, SessionPlan, user_row};
use crate::store::standing::Standing;
use crate::store::{Opened, Person};

// === impl Postgres ===

impl Postgres {
    /// One try.
    pub(super) async fn open_once(&self, person: &Person, terms: &Terms) -> Result<Opened, Fault> {
        if let Some(opened) = self.look(person, terms).await? {
            return Ok(opened);
        }
        let mut lease = self.lease().await?;
        let mut transaction = lease.begin(self.begin_locked(person)).await?;
        let mut told = Vec::new();
        let outcome = self.settle(&mut transaction, person, terms, &mut told).await;
        match outcome {
            Ok(_) => transaction.commit().await?,
            Err(Fault::Refused(_) | Fault::Again) => transaction.rollback().await?,
            Err(Fault::Database(error)) => return Err(error.into()),
        }
        lease.give_back();
        if let Ok(opened) = &outcome {
            self.log_events(&LogSubject::of(person, &opened.user_id), Some(&opened.account_id), SYSTEM_ACTOR, &told);
        }
        outcome
    }

    /// The read. It answers only where nothing has to be written, or where the books refuse.
    async fn look(&self, person: &Person, terms: &Terms) -> Result<Option<Opened>, Fault> {
        let mut lease = self.lease().await?;
        let mut transaction = lease.begin(self.begin_reading()).await?;
        let standing = read(&mut transaction, &self.statements.read, person).await?;
        transaction.commit().await?;
        lease.give_back();
        let Some(standing) = standing else { return Ok(None) };
        if let Some(refusal) = plan::refusal(&standing) {
            return Err(refusal.into());
        }
        let session = self.lending.plan(standing.lent.as_ref(), &standing.account_id)?;
        let agreed = AccountPlan::new(&standing, person, terms, self.account.role_sync).is_empty();
        Ok(match (agreed, session, &standing.lent) {
            (true, SessionPlan::Keep(key), Some(lent)) => {
                let held = Held { id: lent.id.clone(), key, left_seconds: lent.left() };
                Some(self.opened(&standing, held))
            }
            _ => None,
        })
    }

    /// Makes account, user row and session as they must be, under the person's lock.
    async fn settle(
        &self,
        on: &mut PgConnection,
        person: &Person,
        terms: &Terms,
        told: &mut Vec<AuditEvent>,
    ) -> Result<Opened, Fault> {
        let mut standing = match read(on, &self.statements.read_locked, person).await? {
            Some(standing) => standing,
            None => match self.enrol(on, person, terms, told).await? {
                Some(opened) => return Ok(opened),
                // Adopted: now the account is there, and the rest is as for anybody known.
                None => read(on, &self.statements.read_locked, person).await?.ok_or(Fault::Again)?,
            },
        };
        if let Some(refusal) = plan::refusal(&standing) {
            return Err(refusal.into());
        }
        let session = self.lending.plan(standing.lent.as_ref(), &standing.account_id)?;
        let mut plan = AccountPlan::new(&standing, person, terms, self.account.role_sync);
        if plan.email_refused.is_some() {
            // The log names nobody: the account leads to the audit, which names both addresses.
            tracing::warn!(account = %standing.account_id, "another row of LiteLLM's has the e-mail: the old one stays");
        }
        if !plan.is_empty() {
            self.reconcile(on, &mut standing, &mut plan, person, terms).await?;
        }
        self.write_audit(on, Some(&standing.account_id), SYSTEM_ACTOR, &plan.events).await?;
        told.append(&mut plan.events);
        let held = self.session(on, &standing, session, told).await?;
        Ok(self.opened(&standing, held))
    }

    /// Writes what the plan says of user row and account.
    async fn reconcile(
        &self,
        on: &mut PgConnection,
        standing: &mut Standing,
        plan: &mut AccountPlan,
        person: &Person,
        terms: &Terms,
    ) -> Result<(), Fault> {
        let mut lowered = false;
        if plan.remake {
            self.remake(on, standing, plan, person, terms).await?;
            lowered = standing.role.as_deref().is_some_and(|had| plan::lowers(Some(had), terms.role));
        } else {
            if let Some(change) = &plan.change {
                let had: Option<(Option<String>,)> =
                    sqlx::query_as(AssertSqlSafe(self.statements.litellm.update_user()))
                        .bind(text(change))
                        .persistent(false)
                        .fetch_optional(&mut *on)
                        .await?;
                // No row: deleted since the read.
                let (had,) = had.ok_or(Fault::Again)?;
                lowered = change.user_role.is_some() && plan::lowers(had.as_deref(), terms.role);
            }
            if let Some((columns, _)) = &plan.allowance
                && let Some(statement) = self.statements.litellm.update_allowance(columns)
            {
                sqlx::query(AssertSqlSafe(statement))
                    .bind(&standing.user_id)
                    .bind(text(columns))
                    .persistent(false)
                    .execute(&mut *on)
                    .await?;
            }
        }
        standing.wrote(plan, terms);
        if lowered {
            standing.lowered_seconds = Some(0.0);
        }
        if lowered || plan.role.is_some() || plan.allowance.is_some() || plan.email_refused.is_some() {
            sqlx::query(AssertSqlSafe(self.statements.update_account.as_str()))
                .bind(&standing.account_id)
                .bind(plan.role.map(crate::config::Role::as_str))
                // A raise clears nothing: LiteLLM may still hold the role from before the lowering.
                .bind(lowered)
                .bind(plan.allowance.as_ref().map(|(_, text)| text))
                .bind(plan.email_refused.as_ref().or(standing.email_refused.as_ref()))
                .persistent(false)
                .execute(on)
                .await?;
        }
        Ok(())
    }

    /// Makes a user row again that somebody deleted: the same id, so spend and keys elsewhere still fit.
    async fn remake(
        &self,
        on: &mut PgConnection,
        standing: &Standing,
        plan: &mut AccountPlan,
        person: &Person,
        terms: &Terms,
    ) -> Result<(), Fault> {
        let mut row = user_row(person, terms, standing.user_id.clone(), plan::sso_user_id(standing, person));
        if standing.email_taken {
            row.user_email = None;
        }
        let made = sqlx::query(AssertSqlSafe(self.statements.litellm.insert_user("$1")))
            .bind(text(&row))
            .persistent(false)
            .fetch_optional(on)
            .await?;
        if made.is_none() {
            return Err(Fault::Again);
        }
        plan.events.push(event(EventKind::Remade, json!({ "user_id": row.user_id, "role": row.user_role })));
        Ok(())
    }

    pub(super) fn opened(&self, standing: &Standing, held: Held) -> Opened {
        standing.opened(held, self.settle_seconds, &self.lending)
    }

    /// Begins the transaction that writes, and takes the person's lock with the same message.
    fn begin_locked(&self, person: &Person) -> String {
        format!("{}; SELECT pg_advisory_xact_lock({})", self.begin_writing(), lock_id(&person.issuer, &person.subject))
    }
}

async fn read(on: &mut PgConnection, statement: &str, person: &Person) -> Result<Option<Standing>, Fault> {
    let row = sqlx::query(AssertSqlSafe(statement))
        .bind(person.issuer.as_ref())
        .bind(&person.subject)
        .bind(&person.email)
        .persistent(false)
        .fetch_optional(on)
        .await?;
    Ok(row.as_ref().map(Standing::from_row).transpose()?)
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

/// A row as the JSON text that the statements take.
pub(super) fn text(row: &impl serde::Serialize) -> String {
    // Plain structs and maps with text keys always serialize; `null` would make the statement insert nothing.
    serde_json::to_string(row).unwrap_or_else(|_| "null".to_owned())
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
