//! A row of LiteLLM's given to a person, and an account given to another issuer and subject: what no sign-in may do by
//! itself.

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::Postgres;
use super::audit::LogSubject;
use super::block::log_subject;
use super::change::{ChangeResult, gone};
use super::open::lock_id;
use super::retry::AttemptError;
use crate::litellm::tables::quoted;
use crate::secret;
use crate::store::admin::{Account, ChangeOptions, Conflict, LinkReport, RevocationReport, SessionSelector};
use crate::store::audit::{EventKind, event};
use crate::store::decide::check_user_id;
use crate::store::decide::no_randomness;
use crate::store::text;

// === impl Postgres ===

impl Postgres {
    /// Makes LiteLLM's row of that `user_id` the person's, whatever its role. It changes nothing of the row.
    pub async fn link(
        &self,
        issuer: &str,
        subject: &str,
        user_id: &str,
        options: &ChangeOptions,
    ) -> ChangeResult<LinkReport> {
        if let Err(conflict) = check_person(issuer, subject) {
            return Ok(Err(conflict));
        }
        if check_user_id(user_id, &self.reserved_ids).is_err() {
            return Ok(Err(Conflict(format!("`{user_id}` is an id that LiteLLM keeps for itself: nobody may be it"))));
        }
        let linked = event(EventKind::Linked, json!({ "user_id": user_id, "issuer": issuer, "subject": subject }));
        let outcome = self
            .changing(&[lock_id(issuer, subject)], options.dry_run, async |on| {
                if let Some(taken) = self.taken(on, issuer, subject).await? {
                    return Ok(Err(taken));
                }
                if let Some(owner) = self.owner(on, user_id).await? {
                    return Ok(Err(Conflict(format!(
                        "`{user_id}` belongs to the account of {owner}. `vestibule users move` gives an account to another person"
                    ))));
                }
                let row = sqlx::query(AssertSqlSafe(self.statements.litellm.look_at_user()))
                    .bind(user_id)
                    .persistent(false)
                    .fetch_optional(&mut *on)
                    .await?;
                let Some(row) = row else {
                    return Ok(Err(Conflict(format!(
                        "LiteLLM has no user `{user_id}`. Without one there is nothing to link: who signs in gets a row of their own"
                    ))));
                };
                let account_id = secret::row_id().ok_or_else(no_randomness)?;
                let made = sqlx::query(AssertSqlSafe(self.statements.adopt.as_str()))
                    .bind(&account_id)
                    .bind(issuer)
                    .bind(subject)
                    .bind(user_id)
                    .persistent(false)
                    .execute(&mut *on)
                    .await?;
                if made.rows_affected() == 0 {
                    return Err(AttemptError::Again);
                }
                self.write_audit(on, Some(&account_id), &options.actor, std::slice::from_ref(&linked)).await?;
                Ok(Ok(LinkReport {
                    account_id,
                    role: row.try_get("user_role")?,
                    email: row.try_get("user_email")?,
                    switched_off: row.try_get("scim_off")?,
                }))
            })
            .await?;
        if let Ok(done) = &outcome
            && !options.dry_run
        {
            let who = LogSubject { issuer, subject, user_id: Some(user_id) };
            self.log_events(&who, Some(&done.account_id), &options.actor, std::slice::from_ref(&linked));
        }
        Ok(outcome)
    }

    /// Gives an account to another issuer and subject. Its sessions end: they were lent to the one before.
    pub async fn move_account(
        &self,
        account: &Account,
        issuer: &str,
        subject: &str,
        options: &ChangeOptions,
    ) -> ChangeResult<RevocationReport> {
        if let Err(conflict) = check_person(issuer, subject) {
            return Ok(Err(conflict));
        }
        let locks = [lock_id(&account.issuer, &account.subject), lock_id(issuer, subject)];
        let detail = json!({
            "from": { "issuer": account.issuer, "subject": account.subject },
            "to": { "issuer": issuer, "subject": subject },
        });
        let moved = event(EventKind::Moved, detail);
        let outcome = self
            .changing(&locks, options.dry_run, async |on| {
                if let Some(taken) = self.taken(on, issuer, subject).await? {
                    return Ok(Err(taken));
                }
                let statement = format!(
                    "UPDATE {}.account SET issuer = $4, subject = $5 WHERE id = $1 AND issuer = $2 AND subject = $3",
                    quoted(&self.own_schema)
                );
                let done = sqlx::query(AssertSqlSafe(statement))
                    .bind(&account.account_id)
                    .bind(&account.issuer)
                    .bind(&account.subject)
                    .bind(issuer)
                    .bind(subject)
                    .persistent(false)
                    .execute(&mut *on)
                    .await?;
                if done.rows_affected() == 0 {
                    return Ok(Err(gone(account)));
                }
                sqlx::query(AssertSqlSafe(self.statements.litellm.move_user()))
                    .bind(&account.user_id)
                    .bind(&account.subject)
                    .bind(subject)
                    .persistent(false)
                    .execute(&mut *on)
                    .await?;
                let mut ended = RevocationReport { in_litellm: account.in_litellm, ..RevocationReport::default() };
                let selector = SessionSelector::Account(account.account_id.clone());
                for session in self.end_sessions(on, &selector, options.keep_keys).await? {
                    ended.sessions.push(session.id);
                    ended.keys.0.push(session.token);
                }
                self.write_audit(on, Some(&account.account_id), &options.actor, std::slice::from_ref(&moved)).await?;
                Ok(Ok(ended))
            })
            .await?;
        if outcome.is_ok() && !options.dry_run {
            self.log_events(&log_subject(account), Some(&account.account_id), &options.actor, &[moved]);
        }
        Ok(outcome)
    }

    /// Why a person can't be given an account: they have one.
    async fn taken(
        &self,
        on: &mut PgConnection,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<Conflict>, AttemptError> {
        let statement =
            format!("SELECT user_id FROM {}.account WHERE issuer = $1 AND subject = $2", quoted(&self.own_schema));
        let row: Option<(String,)> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(issuer)
            .bind(subject)
            .persistent(false)
            .fetch_optional(on)
            .await?;
        Ok(row.map(|(user_id,)| {
            Conflict(format!(
                "`{issuer}` `{subject}` has an account already: `{user_id}`. Move that one away first: \
                 vestibule users move {} {} {} {}",
                shell(issuer),
                shell(subject),
                shell(issuer),
                shell(&format!("{subject}.old"))
            ))
        }))
    }

    async fn owner(&self, on: &mut PgConnection, user_id: &str) -> Result<Option<String>, AttemptError> {
        let statement = format!("SELECT issuer, subject FROM {}.account WHERE user_id = $1", quoted(&self.own_schema));
        let row: Option<(String, String)> =
            sqlx::query_as(AssertSqlSafe(statement)).bind(user_id).persistent(false).fetch_optional(on).await?;
        Ok(row.map(|(issuer, subject)| format!("`{issuer}` `{subject}`")))
    }
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@:/+".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn check_person(issuer: &str, subject: &str) -> Result<(), Conflict> {
    for (what, id) in [("an issuer", issuer), ("a subject", subject)] {
        if !text::is_id(id) {
            return Err(Conflict(format!("{id:?} can't be {what}: no sign-in is ever of one that is so written")));
        }
    }
    Ok(())
}
