//! Gives a row of LiteLLM's to a user, and an account to another issuer and subject: what a sign-in alone must never do.

use serde_json::json;

use super::Postgres;
use super::audit::AuditSubject;
use super::open::lock_id;
use super::transaction::{ChangeResult, Work, gone};
use crate::secret;
use crate::store::admin::{Account, ChangeOptions, Conflict, LinkReport, RevocationReport, SessionSelector};
use crate::store::audit::{EventKind, event};
use crate::store::decide::{check_user_id, no_randomness};
use crate::store::retry::AttemptError;
use crate::store::rows::{RowReader, Transaction};
use crate::store::text;

// === impl Postgres ===

impl Postgres {
    /// Makes the user own LiteLLM's row of that `user_id`, whatever its role. The row itself does not change.
    pub async fn link(
        &self,
        issuer: &str,
        subject: &str,
        user_id: &str,
        options: &ChangeOptions,
    ) -> ChangeResult<LinkReport> {
        if let Err(conflict) = check_identity(issuer, subject) {
            return Ok(Err(conflict));
        }
        if check_user_id(user_id, &self.rules.reserved_ids).is_err() {
            return Ok(Err(Conflict(format!("`{user_id}` is an id that LiteLLM keeps for itself: nobody may be it"))));
        }
        self.changing(&[lock_id(issuer, subject)], options.dry_run, async |on| {
            self.check_free(on, issuer, subject).await?;
            let owner = format!("SELECT issuer, subject FROM {}.account WHERE user_id = $1", self.own);
            if let Some(owner) = on.rows(&owner, &[&user_id]).await?.first() {
                let (issuer, subject): (String, String) = (owner.column("issuer")?, owner.column("subject")?);
                return Err(Conflict(format!(
                    "`{user_id}` belongs to the account of `{issuer}` `{subject}`. \
                     `vestibule users move` gives an account to another person"
                ))
                .into());
            }
            let users = on.rows(&self.rules.statements.litellm.look_at_user(), &[&user_id]).await?;
            let user = users.first().ok_or_else(|| {
                Conflict(format!(
                    "LiteLLM has no user `{user_id}`. Without one there is nothing to link: who signs in gets a row of their own"
                ))
            })?;
            let account_id = secret::row_id().ok_or_else(no_randomness)?;
            let made = on.rows(&self.rules.statements.adopt, &[&account_id, &issuer, &subject, &user_id]).await?;
            made.first().ok_or(AttemptError::Again)?;
            let whose = AuditSubject::of(issuer, subject, user_id, &account_id);
            let detail = json!({ "user_id": user_id, "issuer": issuer, "subject": subject });
            self.record(on, whose, &options.actor, event(EventKind::Linked, detail)).await?;
            Ok(LinkReport {
                account_id,
                role: user.column("user_role")?,
                email: user.column("user_email")?,
                switched_off: user.column("scim_off")?,
            })
        })
        .await
    }

    /// Gives an account to another issuer and subject. Its sessions end: they belonged to the user before.
    pub async fn move_account(
        &self,
        account: &Account,
        issuer: &str,
        subject: &str,
        options: &ChangeOptions,
    ) -> ChangeResult<RevocationReport> {
        if let Err(conflict) = check_identity(issuer, subject) {
            return Ok(Err(conflict));
        }
        let locks = [lock_id(&account.issuer, &account.subject), lock_id(issuer, subject)];
        self.changing(&locks, options.dry_run, async |on| {
            self.check_free(on, issuer, subject).await?;
            let statement = format!(
                "UPDATE {}.account SET issuer = $4, subject = $5 WHERE id = $1 AND issuer = $2 AND subject = $3 \
                 RETURNING id",
                self.own
            );
            let moved = on
                .rows(&statement, &[&account.account_id, &account.issuer, &account.subject, &issuer, &subject])
                .await?;
            moved.first().ok_or_else(|| gone(account))?;
            let statement = self.rules.statements.litellm.move_user();
            on.rows(&statement, &[&account.user_id, &account.subject, &subject]).await?;
            let mut ended = RevocationReport { in_litellm: account.in_litellm, ..RevocationReport::default() };
            let selector = SessionSelector::Account(account.account_id.clone());
            ended.add(self.end_sessions(on, &selector, options.keep_keys).await?);
            let detail = json!({
                "from": { "issuer": account.issuer, "subject": account.subject },
                "to": { "issuer": issuer, "subject": subject },
            });
            self.record(on, account.into(), &options.actor, event(EventKind::Moved, detail)).await?;
            Ok(ended)
        })
        .await
    }

    /// A conflict where the issuer and subject have an account already.
    async fn check_free(&self, on: &mut Work<'_>, issuer: &str, subject: &str) -> Result<(), AttemptError> {
        let statement = format!("SELECT user_id FROM {}.account WHERE issuer = $1 AND subject = $2", self.own);
        let rows = on.rows(&statement, &[&issuer, &subject]).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        Err(Conflict(format!(
            "`{issuer}` `{subject}` has an account already: `{user_id}`. Move that one away first: \
             vestibule users move {from} {name} {from} {old}",
            user_id = row.column::<String>("user_id")?,
            from = shell(issuer),
            name = shell(subject),
            old = shell(&format!("{subject}.old"))
        ))
        .into())
    }
}

/// A word quoted for a shell.
fn shell(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@:/+".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn check_identity(issuer: &str, subject: &str) -> Result<(), Conflict> {
    for (what, id) in [("an issuer", issuer), ("a subject", subject)] {
        if !text::is_id(id) {
            return Err(Conflict(format!("{id:?} can't be {what}: no sign-in is ever of one that is so written")));
        }
    }
    Ok(())
}
