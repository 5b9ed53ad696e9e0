//! Blocking a user and lifting the block. A block records what it did; lifting it undoes that and no more.
//!
//! Locks are taken in the order of `open`: the user's advisory lock, account, user row, sessions, keys.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::PgRow;

use super::Postgres;
use super::open::lock_id;
use super::transaction::{ChangeResult, Work, gone};
use crate::store::admin::{Account, ChangeOptions, KeyTokens, RevocationReport, SessionSelector, UnblockReport};
use crate::store::audit::{EventKind, event};
use crate::store::retry::AttemptError;
use crate::store::rows::{RowReader, Transaction, json_text};

/// What a block did, as it is kept in the account row.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct BlockRecord {
    by: String,
    reason: Option<String>,
    /// This block set `metadata.scim_active` to false…
    scim_set: bool,
    /// …and this was its value before.
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
    /// Blocks a user: the flag in our account, the sessions, their other keys, and LiteLLM's own switch. Repeated,
    /// it covers keys that were made since.
    pub async fn block(
        &self,
        account: &Account,
        reason: Option<&str>,
        options: &ChangeOptions,
    ) -> ChangeResult<RevocationReport> {
        let lock = lock_id(&account.issuer, &account.subject);
        self.changing(&[lock], options.dry_run, async |on| {
            let (was_blocked, mut block) = self.lock_account(on, account).await?;
            let mut report = RevocationReport { was_blocked, ..RevocationReport::default() };
            report.in_litellm = self.is_switched_off(on, &account.user_id).await?.is_some();
            let switched = on.rows(&self.rules.statements.litellm.switch_user_off(), &[&account.user_id]).await?;
            if let Some(row) = switched.first() {
                let was: Option<String> = row.column("was")?;
                report.switches_off = true;
                block.scim_set = true;
                block.scim_was = was.and_then(|was| serde_json::from_str(&was).ok()).unwrap_or_default();
            }
            let selector = SessionSelector::Account(account.account_id.clone());
            report.add(self.end_sessions(on, &selector, options.keep_keys).await?);
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
                let detail = json!({
                    "reason": block.reason,
                    "sessions": report.sessions.len(),
                    "keys": report.blocked.0.len(),
                    "switched_off": report.switches_off,
                });
                self.record(on, account.into(), &options.actor, event(EventKind::Blocked, detail)).await?;
            }
            Ok(report)
        })
        .await
    }

    /// Lifts a block: undoes what it did, except where that was changed since.
    pub async fn unblock(&self, account: &Account, options: &ChangeOptions) -> ChangeResult<UnblockReport> {
        let lock = lock_id(&account.issuer, &account.subject);
        self.changing(&[lock], options.dry_run, async |on| {
            let (was_blocked, block) = self.lock_account(on, account).await?;
            let mut report = UnblockReport { was_blocked, ..UnblockReport::default() };
            if was_blocked {
                self.undo(on, account, &block, &mut report).await?;
                self.write_block(on, account, None).await?;
                let detail = json!({ "keys": report.keys, "switched_on": report.switches_on });
                self.record(on, account.into(), &options.actor, event(EventKind::Unblocked, detail)).await?;
            }
            let off = self.is_switched_off(on, &account.user_id).await?;
            report.in_litellm = off.is_some();
            report.still_off = off == Some(true);
            Ok(report)
        })
        .await
    }

    async fn undo(
        &self,
        on: &mut Work<'_>,
        account: &Account,
        block: &BlockRecord,
        report: &mut UnblockReport,
    ) -> Result<(), AttemptError> {
        let litellm = &self.rules.statements.litellm;
        if block.scim_set {
            let was = (!block.scim_was.is_null()).then(|| block.scim_was.to_string());
            let statement = litellm.switch_user_on() + " RETURNING u.user_id";
            report.switches_on = !on.rows(&statement, &[&account.user_id, &was]).await?.is_empty();
        }
        let statement = litellm.unblock_keys() + " RETURNING k.token";
        report.keys = on.rows(&statement, &[&account.user_id, &json_text(&block.keys)]).await?.len() as u64;
        Ok(())
    }

    /// Locks the account's row, and returns whether it is blocked and what the block did. A conflict when the account now
    /// belongs to another user.
    async fn lock_account(&self, on: &mut Work<'_>, account: &Account) -> Result<(bool, BlockRecord), AttemptError> {
        let statement = format!(
            "SELECT blocked_at IS NOT NULL OR block IS NOT NULL AS blocked, block::text AS block FROM {}.account \
             WHERE id = $1 AND issuer = $2 AND subject = $3 FOR UPDATE",
            self.own
        );
        let rows = on.rows(&statement, &[&account.account_id, &account.issuer, &account.subject]).await?;
        let row = rows.first().ok_or_else(|| gone(account))?;
        let block: Option<String> = row.column("block")?;
        let block = block.and_then(|block| serde_json::from_str(&block).ok()).unwrap_or_default();
        Ok((row.column("blocked")?, block))
    }

    /// Whether LiteLLM's row is switched off; `None` where there is none.
    async fn is_switched_off(&self, on: &mut Work<'_>, user_id: &str) -> Result<Option<bool>, AttemptError> {
        let rows = on.rows(&self.rules.statements.litellm.look_at_user(), &[&user_id]).await?;
        Ok(rows.first().map(|row| row.column("scim_off")).transpose()?)
    }

    async fn block_keys(&self, on: &mut Work<'_>, account: &Account) -> Result<Vec<BlockedKey>, AttemptError> {
        let statement = self.rules.statements.litellm.block_keys(&format!("{}.session", self.own));
        let rows = on.rows(&statement, &[&account.user_id]).await?;
        let key = |row: &PgRow| Ok(BlockedKey { token: row.column("token")?, was: row.column("blocked")? });
        rows.iter().map(key).collect()
    }

    async fn write_block(
        &self,
        on: &mut Work<'_>,
        account: &Account,
        block: Option<&BlockRecord>,
    ) -> Result<(), AttemptError> {
        let statement = format!(
            "UPDATE {}.account SET blocked_at = CASE WHEN $2::text IS NULL THEN NULL ELSE coalesce(blocked_at, now()) END, \
             block = $2::jsonb WHERE id = $1",
            self.own
        );
        Ok(on.rows(&statement, &[&account.account_id, &block.map(json_text)]).await.map(drop)?)
    }
}
