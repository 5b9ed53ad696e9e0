//! `vestibule users block` and `unblock`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::confirm::{ChangeFlags, ChangePlan};
use crate::cli::context::{CommandContext, CommandResult, Configured, say};
use crate::cli::invalidate::{call_litellm, invalidate};
use crate::cli::resolve_user::resolve_user;
use crate::cli::table::{count, shown};
use crate::config::written;
use crate::litellm::api;
use crate::store::admin::{Account, RevocationReport, UnblockReport};

/// Keeps somebody out: at vestibule, and in LiteLLM with every key that is theirs.
///
/// It sets the flag in vestibule's account, ends their sessions, blocks their other keys in LiteLLM, and sets
/// `metadata.scim_active` to false in LiteLLM's user row. Every vestibule goes by it within `account.refresh`; LiteLLM at
/// once where `litellm.master_key` is set, else within `litellm.cache_ttl`. Running answers are not cut off. `unblock` undoes
/// exactly this.
#[derive(Debug, Args)]
#[command(after_help = "Example: vestibule users block alice@example.com --reason 'left on Friday'")]
pub(super) struct BlockUser {
    #[command(flatten)]
    pub(super) configured: Configured,
    /// A `user_id`, an e-mail, or ISSUER and SUBJECT
    #[arg(required = true, num_args = 1..=2)]
    who: Vec<String>,
    /// Why, for the account and the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    flags: ChangeFlags,
}

/// Lets somebody in again: undoes what `block` did, and no more.
///
/// Keys that were blocked before stay blocked, and what somebody has changed since stays as it is. Ended sessions stay
/// ended: the next request makes a new one.
#[derive(Debug, Args)]
#[command(after_help = "Example: vestibule users unblock alice@example.com")]
pub(super) struct UnblockUser {
    #[command(flatten)]
    pub(super) configured: Configured,
    /// A `user_id`, an e-mail, or ISSUER and SUBJECT
    #[arg(required = true, num_args = 1..=2)]
    who: Vec<String>,
    #[command(flatten)]
    flags: ChangeFlags,
}

// === impl BlockUser ===

impl BlockUser {
    pub(super) async fn run(&self, context: &CommandContext) -> CommandResult {
        let account = resolve_user(context, &self.who).await?;
        let reason = self.reason.as_deref();
        let would = context.store.block(&account, reason, &context.change_options(true)).await??;
        self.flags.ask(&plan(&account, &would), || document(&account, &would))?;
        let done = context.store.block(&account, reason, &context.change_options(false)).await??;
        let invalidation = invalidate(context, &done, Some(&account.user_id)).await;
        self.flags.answer_changed(document(&account, &done), Some(&invalidation), || {
            format!(
                "{} is blocked. Every vestibule goes by it within {} (`account.refresh`).\n",
                shown(&account.user_id),
                written(context.config.account.refresh)
            )
        });
        Ok(invalidation.exit_code())
    }
}

fn plan(account: &Account, would: &RevocationReport) -> ChangePlan {
    let mut plan = ChangePlan::to(format!("Block {}:", named(account)));
    plan.step(if would.was_blocked { "is blocked already" } else { "refuse every request of theirs" });
    for session in &would.sessions {
        plan.step(format!("end session {session} and delete its key in LiteLLM"));
    }
    if !would.blocked.0.is_empty() {
        plan.step(format!("block {} of theirs in LiteLLM", count(would.blocked.0.len(), "other key")));
    }
    plan.step(match (would.in_litellm, would.switches_off) {
        (true, true) => "set `metadata.scim_active` to false in LiteLLM's user row",
        (true, false) => "`metadata.scim_active` is false in LiteLLM's user row already",
        (false, _) => "LiteLLM has no user row of theirs",
    });
    plan
}

fn named(account: &Account) -> String {
    let Account { user_id, issuer, subject, account_id, .. } = account;
    format!("`{}` ({} {}), account {account_id}", shown(user_id), shown(issuer), shown(subject))
}

fn document(account: &Account, ended: &RevocationReport) -> Value {
    json!({
        "changed": false,
        "user_id": account.user_id,
        "account_id": account.account_id,
        "was_blocked": ended.was_blocked,
        "sessions_ended": ended.sessions,
        "keys_blocked": ended.blocked.0.len(),
        "switched_off_in_litellm": ended.switches_off,
        "litellm": "not_needed",
    })
}

// === impl UnblockUser ===

impl UnblockUser {
    pub(super) async fn run(&self, context: &CommandContext) -> CommandResult {
        let account = resolve_user(context, &self.who).await?;
        let would = context.store.unblock(&account, &context.change_options(true)).await??;
        if !would.was_blocked {
            say(&format!("`{}` is not blocked by vestibule: nothing was changed.\n", shown(&account.user_id)));
            self.hint(&account, &would);
            self.flags.answer_unchanged(|| lifted_document(&account, &would));
            return Ok(ExitCode::SUCCESS);
        }
        self.flags.ask(&lifted_plan(&account, &would), || lifted_document(&account, &would))?;
        let done = context.store.unblock(&account, &context.change_options(false)).await??;
        let calls = if done.in_litellm { vec![api::touch_user(&account.user_id)] } else { Vec::new() };
        let invalidation = call_litellm(context, &calls).await;
        self.flags.answer_changed(lifted_document(&account, &done), Some(&invalidation), || {
            format!(
                "{} may come in again. Every vestibule goes by it within {} (`account.refresh`).\n",
                shown(&account.user_id),
                written(context.config.account.refresh)
            )
        });
        self.hint(&account, &done);
        Ok(invalidation.exit_code())
    }

    fn hint(&self, account: &Account, lifted: &UnblockReport) {
        if lifted.still_off && !self.flags.confirmation.dry_run {
            say(
                "warning: LiteLLM's user row says `metadata.scim_active: false`, which vestibule did not set: the person stays \
                 refused\n  = help: switch it on where it was switched off\n",
            );
        } else if account.key_blocked_in_litellm && !lifted.was_blocked {
            say(
                "warning: somebody has blocked the session's key in LiteLLM: the person stays refused\n  = help: unblock it in \
                 LiteLLM, or end the session: `vestibule sessions revoke`\n",
            );
        }
    }
}

fn lifted_plan(account: &Account, would: &UnblockReport) -> ChangePlan {
    let mut plan = ChangePlan::to(format!("Unblock {}:", named(account)));
    plan.step("let them in again");
    if would.keys > 0 {
        let keys = usize::try_from(would.keys).unwrap_or(usize::MAX);
        plan.step(format!("unblock {} in LiteLLM that the block had blocked", count(keys, "key")));
    }
    if would.switches_on {
        plan.step("give `metadata.scim_active` in LiteLLM's user row back what it was");
    }
    plan
}

fn lifted_document(account: &Account, lifted: &UnblockReport) -> Value {
    json!({
        "changed": false,
        "user_id": account.user_id,
        "account_id": account.account_id,
        "was_blocked": lifted.was_blocked,
        "keys_unblocked": lifted.keys,
        "switched_on_in_litellm": lifted.switches_on,
        "still_switched_off_in_litellm": lifted.still_off,
        "litellm": "not_needed",
    })
}
