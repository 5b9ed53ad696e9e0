//! Keeping somebody out and letting them in again. A block remembers what it did, and its lifting undoes that and no more.
//!
//! Locks in the order of `open`: the person's advisory lock, account, user row, sessions, keys.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::Postgres;
use super::audit::LogSubject;
use super::change::{ChangeResult, gone};
use super::open::lock_id;
use super::retry::AttemptError;
use crate::litellm::tables::quoted;
use crate::store::admin::{Account, ChangeOptions, KeyTokens, RevocationReport, SessionSelector, UnblockReport};
use crate::store::audit::{EventKind, event};
use crate::store::rows::json_text;

/// What a block did, as the account row remembers it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct BlockRecord {
    by: String,
    reason: Option<String>,
    /// It was this block that set `metadata.scim_active` to false…
    scim_set: bool,
    /// … and it was this before.
    scim_was: Value,
    keys: Vec<BlockedKey>,
}

#[derive(Debug, Serialize, Deserialize)]
struct BlockedKey {
    token: String,
    was: Option<bool>,
}

// === impl Postgres ===

impl Postgres {
    /// Blocks somebody: the flag in our account, the sessions, their other keys, and LiteLLM's own switch. Done once more
    /// it takes in keys that were made since.
    pub async fn block(
        &self,
        account: &Account,
        reason: Option<&str>,
        options: &ChangeOptions,
    ) -> ChangeResult<RevocationReport> {
        let lock = lock_id(&account.issuer, &account.subject);
        let outcome = self
            .changing(&[lock], options.dry_run, async |on| {
                let Some((was_blocked, mut block)) = self.lock_account(on, account).await? else {
                    return Ok(Err(gone(account)));
                };
                let mut report = RevocationReport { was_blocked, ..RevocationReport::default() };
                let litellm = &self.statements.litellm;
                report.in_litellm = self.is_switched_off(on, &account.user_id).await?.is_some();
                let was: Option<(Option<String>,)> = sqlx::query_as(AssertSqlSafe(litellm.switch_user_off()))
                    .bind(&account.user_id)
                    .persistent(false)
                    .fetch_optional(&mut *on)
                    .await?;
                if let Some((was,)) = was {
                    report.switches_off = true;
                    block.scim_set = true;
                    block.scim_was = was.and_then(|was| serde_json::from_str(&was).ok()).unwrap_or_default();
                }
                let selector = SessionSelector::Account(account.account_id.clone());
                for session in self.end_sessions(on, &selector, options.keep_keys).await? {
                    report.sessions.push(session.id);
                    report.keys.0.push(session.token);
                }
                let newly = self.block_keys(on, account).await?;
                report.blocked = KeyTokens(newly.iter().map(|key| key.token.clone()).collect());
                let is_news = !was_blocked || report.switches_off || !newly.is_empty() || !report.sessions.is_empty();
                block.keys.extend(newly);
                if !was_blocked {
                    block.by.clone_from(&options.actor);
                }
                if reason.is_some() {
                    block.reason = reason.map(str::to_owned);
                }
                self.write_block(on, account, Some(&block)).await?;
                if is_news {
                    let blocked = blocked_event(&block, &report);
                    self.write_audit(on, Some(&account.account_id), &options.actor, &[blocked]).await?;
                }
                Ok(Ok((report, block.reason, is_news)))
            })
            .await?;
        Ok(outcome.map(|(report, reason, is_news)| {
            if is_news && !options.dry_run {
                let block = BlockRecord { reason, ..BlockRecord::default() };
                self.log_events(
                    &log_subject(account),
                    Some(&account.account_id),
                    &options.actor,
                    &[blocked_event(&block, &report)],
                );
            }
            report
        }))
    }

    /// Lifts a block: what it did is undone where nobody has changed it since.
    pub async fn unblock(&self, account: &Account, options: &ChangeOptions) -> ChangeResult<UnblockReport> {
        let lock = lock_id(&account.issuer, &account.subject);
        let outcome = self
            .changing(&[lock], options.dry_run, async |on| {
                let Some((was_blocked, block)) = self.lock_account(on, account).await? else {
                    return Ok(Err(gone(account)));
                };
                let mut report = UnblockReport { was_blocked, ..UnblockReport::default() };
                if was_blocked {
                    self.undo(on, account, &block, &mut report).await?;
                    self.write_block(on, account, None).await?;
                    let events = [unblocked_event(&report)];
                    self.write_audit(on, Some(&account.account_id), &options.actor, &events).await?;
                }
                let off = self.is_switched_off(on, &account.user_id).await?;
                report.in_litellm = off.is_some();
                report.still_off = off == Some(true);
                Ok(Ok(report))
            })
            .await?;
        if let Ok(report) = &outcome
            && report.was_blocked
            && !options.dry_run
        {
            self.log_events(
                &log_subject(account),
                Some(&account.account_id),
                &options.actor,
                &[unblocked_event(report)],
            );
        }
        Ok(outcome)
    }

    async fn undo(
        &self,
        on: &mut PgConnection,
        account: &Account,
        block: &BlockRecord,
        report: &mut UnblockReport,
    ) -> Result<(), AttemptError> {
        let litellm = &self.statements.litellm;
        if block.scim_set {
            let was = (!block.scim_was.is_null()).then(|| block.scim_was.to_string());
            let done = sqlx::query(AssertSqlSafe(litellm.switch_user_on()))
                .bind(&account.user_id)
                .bind(was)
                .persistent(false)
                .execute(&mut *on)
                .await?;
            report.switches_on = done.rows_affected() > 0;
        }
        report.keys = sqlx::query(AssertSqlSafe(litellm.unblock_keys()))
            .bind(&account.user_id)
            .bind(json_text(&block.keys))
            .persistent(false)
            .execute(on)
            .await?
            .rows_affected();
        Ok(())
    }

    /// Locks the account's row: whether it is blocked, and what that did. `None` when it is another person's by now.
    async fn lock_account(
        &self,
        on: &mut PgConnection,
        account: &Account,
    ) -> Result<Option<(bool, BlockRecord)>, AttemptError> {
        let statement = format!(
            "SELECT blocked_at IS NOT NULL OR block IS NOT NULL AS blocked, block::text AS block FROM {}.account \
             WHERE id = $1 AND issuer = $2 AND subject = $3 FOR UPDATE",
            quoted(&self.own_schema)
        );
        let row = sqlx::query(AssertSqlSafe(statement))
            .bind(&account.account_id)
            .bind(&account.issuer)
            .bind(&account.subject)
            .persistent(false)
            .fetch_optional(on)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let block: Option<String> = row.try_get("block")?;
        let block = block.and_then(|block| serde_json::from_str(&block).ok()).unwrap_or_default();
        Ok(Some((row.try_get("blocked")?, block)))
    }

    /// Whether LiteLLM's row is switched off; `None` where there is none.
    pub(super) async fn is_switched_off(
        &self,
        on: &mut PgConnection,
        user_id: &str,
    ) -> Result<Option<bool>, AttemptError> {
        let row = sqlx::query(AssertSqlSafe(self.statements.litellm.look_at_user()))
            .bind(user_id)
            .persistent(false)
            .fetch_optional(on)
            .await?;
        Ok(row.map(|row| row.try_get("scim_off")).transpose()?)
    }

    async fn block_keys(&self, on: &mut PgConnection, account: &Account) -> Result<Vec<BlockedKey>, AttemptError> {
        let ours = format!("{}.session", quoted(&self.own_schema));
        let rows: Vec<(String, Option<bool>)> =
            sqlx::query_as(AssertSqlSafe(self.statements.litellm.block_keys(&ours)))
                .bind(&account.user_id)
                .persistent(false)
                .fetch_all(on)
                .await?;
        Ok(rows.into_iter().map(|(token, was)| BlockedKey { token, was }).collect())
    }

    async fn write_block(
        &self,
        on: &mut PgConnection,
        account: &Account,
        block: Option<&BlockRecord>,
    ) -> Result<(), AttemptError> {
        let statement = format!(
            "UPDATE {}.account SET blocked_at = CASE WHEN $2::text IS NULL THEN NULL ELSE coalesce(blocked_at, now()) END, \
             block = $2::jsonb WHERE id = $1",
            quoted(&self.own_schema)
        );
        sqlx::query(AssertSqlSafe(statement))
            .bind(&account.account_id)
            .bind(block.map(json_text))
            .persistent(false)
            .execute(on)
            .await?;
        Ok(())
    }
}

fn blocked_event(block: &BlockRecord, report: &RevocationReport) -> crate::store::audit::AuditEvent {
    let detail = json!({
        "reason": block.reason,
        "sessions": report.sessions.len(),
        "keys": report.blocked.0.len(),
        "switched_off": report.switches_off,
    });
    event(EventKind::Blocked, detail)
}

fn unblocked_event(report: &UnblockReport) -> crate::store::audit::AuditEvent {
    event(EventKind::Unblocked, json!({ "keys": report.keys, "switched_on": report.switches_on }))
}

pub(super) fn log_subject(account: &Account) -> LogSubject<'_> {
    LogSubject { issuer: &account.issuer, subject: &account.subject, user_id: Some(&account.user_id) }
}
