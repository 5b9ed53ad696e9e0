//! `vestibule users link` and `move`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::confirm::{ChangeFlags, ChangePlan};
use crate::cli::context::{CommandContext, CommandResult, Configured, Exit};
use crate::cli::invalidate::invalidate;
use crate::cli::resolve_user::resolve_user;
use crate::cli::table::{or_dash, shown};
use crate::config::RoleSync;
use crate::store::admin::{Account, LinkReport, RevocationReport};

/// Gives a row that LiteLLM has to a person who has not signed in yet.
///
/// Whoever signs in as ISSUER and SUBJECT then has that row, with its spend, budgets and keys. It is the only way to take
/// over a row with an admin role: `account.adopt` never does. The row itself is left as it is; at the next request its role
/// follows the rules, as `account.role_sync` says.
#[derive(Debug, Args)]
#[command(after_help = "Example: vestibule users link default 00u1ab2cd alice-admin")]
pub(super) struct LinkUser {
    #[command(flatten)]
    pub(super) configured: Configured,
    /// The sign-in source (`identity.issuer`)
    issuer: String,
    /// The person's id there
    subject: String,
    /// LiteLLM's `user_id`
    user_id: String,
    #[command(flatten)]
    flags: ChangeFlags,
}

/// Gives an account to another issuer and subject: somebody whose id at the sign-in source has changed keeps user, spend and
/// keys.
///
/// Whoever had the old id has no account any more; their sessions end. The new id must not have an account yet.
#[derive(Debug, Args)]
#[command(
    override_usage = "vestibule users move [OPTIONS] --config <FILE> <WHO> <ISSUER> <SUBJECT>",
    after_help = "Examples:\n  vestibule users move alice@example.com default 00u9xy8zw\n  \
                  vestibule users move default 00u1ab2cd default 00u9xy8zw"
)]
pub(super) struct MoveAccount {
    #[command(flatten)]
    pub(super) configured: Configured,
    /// WHO (a `user_id`, an e-mail, or ISSUER and SUBJECT), then the new ISSUER and SUBJECT
    #[arg(required = true, num_args = 3..=4, value_name = "WORD")]
    words: Vec<String>,
    #[command(flatten)]
    flags: ChangeFlags,
}

// === impl LinkUser ===

impl LinkUser {
    pub(super) async fn run(&self, context: &CommandContext) -> CommandResult {
        let Self { issuer, subject, user_id, .. } = self;
        let would = context.store.link(issuer, subject, user_id, &context.change_options(true)).await??;
        self.flags.ask(&self.plan(context, &would), || self.document(&would, None))?;
        let done = context.store.link(issuer, subject, user_id, &context.change_options(false)).await??;
        self.flags.answer_changed(self.document(&done, Some(&done.account_id)), None, || {
            format!("{} {} is {} from now on.\n", shown(issuer), shown(subject), shown(user_id))
        });
        Ok(ExitCode::SUCCESS)
    }

    fn plan(&self, context: &CommandContext, would: &LinkReport) -> ChangePlan {
        let Self { issuer, subject, user_id, .. } = self;
        let mut plan = ChangePlan::to(format!(
            "Link {} {} to LiteLLM's user `{}` (e-mail {}, role {}):",
            shown(issuer),
            shown(subject),
            shown(user_id),
            shown(&or_dash(would.email.as_deref())),
            shown(&or_dash(would.role.as_deref()))
        ));
        plan.step("make an account; whoever signs in so has that user's row");
        plan.step(match context.config.account.role_sync {
            RoleSync::Always | RoleSync::OnChange => {
                "at the next request its role becomes the one that the rules give (`account.role_sync`)"
            }
            RoleSync::Create => "its role stays as it is (`account.role_sync: create`)",
        });
        if would.switched_off {
            plan.step("its `metadata.scim_active` is false: the person is refused until it is switched on");
        }
        foreign(context, issuer, &mut plan);
        plan
    }

    /// The id of a dry run's account would be another one each time: it is left out.
    fn document(&self, linked: &LinkReport, account_id: Option<&str>) -> Value {
        json!({
            "changed": false,
            "issuer": self.issuer,
            "subject": self.subject,
            "user_id": self.user_id,
            "account_id": account_id,
            "email": linked.email,
            "role": linked.role,
            "switched_off_in_litellm": linked.switched_off,
        })
    }
}

// === impl MoveAccount ===

impl MoveAccount {
    pub(super) async fn run(&self, context: &CommandContext) -> CommandResult {
        let [who @ .., issuer, subject] = self.words.as_slice() else {
            return Err(Exit::failure("whom, and to which issuer and subject?"));
        };
        let account = resolve_user(context, who).await?;
        let document = |ended: &RevocationReport| {
            json!({
                "changed": false,
                "user_id": account.user_id,
                "account_id": account.account_id,
                "from": { "issuer": account.issuer, "subject": account.subject },
                "to": { "issuer": issuer, "subject": subject },
                "sessions_ended": ended.sessions,
                "litellm": "not_needed",
            })
        };
        let would = context.store.move_account(&account, issuer, subject, &context.change_options(true)).await??;
        self.flags.ask(&move_plan(context, &account, issuer, subject, &would), || document(&would))?;
        let done = context.store.move_account(&account, issuer, subject, &context.change_options(false)).await??;
        let invalidation = invalidate(context, &done, None).await;
        self.flags.answer_changed(document(&done), Some(&invalidation), || {
            format!("{} is {} {} from now on.\n", shown(&account.user_id), shown(issuer), shown(subject))
        });
        Ok(invalidation.exit_code())
    }
}

fn move_plan(
    context: &CommandContext,
    account: &Account,
    issuer: &str,
    subject: &str,
    would: &RevocationReport,
) -> ChangePlan {
    let mut plan = ChangePlan::to(format!("Move `{}`, account {}:", shown(&account.user_id), account.account_id));
    plan.step(format!("from {} {}, who has no account then", shown(&account.issuer), shown(&account.subject)));
    plan.step(format!("to {} {}", shown(issuer), shown(subject)));
    for session in &would.sessions {
        plan.step(format!("end session {session} and delete its key in LiteLLM"));
    }
    foreign(context, issuer, &mut plan);
    plan
}

/// A sign-in of another issuer never comes here: most likely a slip.
fn foreign(context: &CommandContext, issuer: &str, plan: &mut ChangePlan) {
    let ours = &context.config.identity.issuer;
    if **ours != *issuer {
        plan.step(format!(
            "mind that this configuration's `identity.issuer` is `{ours}`: sign-ins here are never of `{}`",
            shown(issuer)
        ));
    }
}
