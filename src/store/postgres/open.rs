//! `open`: one read where the rows agree, else one transaction that makes them agree.
//!
//! Locks are taken in one order: the user's advisory lock, then account, user, session and key rows.

use aws_lc_rs::digest;

use super::Postgres;
use super::audit::{AuditLine, AuditSubject};
use crate::config::Terms;
use crate::store::audit::SYSTEM_ACTOR;
use crate::store::decide::SessionPlan;
use crate::store::retry::AttemptError;
use crate::store::steps::Steps;
use crate::store::{OpenedSession, UserProfile};

// === impl Postgres ===

impl Postgres {
    /// One attempt.
    pub(super) async fn open_once(&self, profile: &UserProfile, terms: &Terms) -> Result<OpenedSession, AttemptError> {
        if let Some(opened) = self.read_current(profile, terms).await? {
            return Ok(opened);
        }
        let (issuer, subject) = (&*profile.issuer, &*profile.subject);
        self.transaction("READ WRITE", &[lock_id(issuer, subject)], false, async |on| {
            let mut steps = Steps::new(on, &self.rules);
            let opened = steps.settle(profile, terms).await?;
            let events = steps.recorded;
            let whose = AuditSubject::of(issuer, subject, &opened.user_id, &opened.account_id);
            on.told.push(AuditLine { whose, actor: SYSTEM_ACTOR.to_owned(), events });
            Ok(opened)
        })
        .await
    }

    /// The read. `None` where something has to be written.
    async fn read_current(&self, profile: &UserProfile, terms: &Terms) -> Result<Option<OpenedSession>, AttemptError> {
        let read = &self.rules.statements.read;
        let state = self.reading_once(async |on| Steps::new(on, &self.rules).read(read, profile).await).await?;
        let Some(state) = state else { return Ok(None) };
        let (session, plan) = self.rules.plan(&state, profile, terms)?;
        Ok(match (plan.is_empty(), session, &state.stored) {
            (true, Some(SessionPlan::Keep(key)), Some(stored)) => {
                Some(self.rules.key_policy.opened(&state, stored.kept(key)))
            }
            _ => None,
        })
    }
}

/// The user's advisory lock: 64 bits of a digest over issuer and subject, each with its length before it. Two users with
/// the same lock only wait for each other.
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
