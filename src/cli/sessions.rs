//! `vestibule sessions`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::confirm::{ChangeFlags, ChangePlan};
use super::context::{CommandContext, CommandResult, Configured, Exit, answer_as, say};
use super::invalidate::invalidate;
use super::resolve_user::{resolve_some, resolve_user};
use super::table::{count, shown, table};
use crate::store::admin::{SessionRecord, SessionSelector};

/// Sessions that a plan names one by one.
const NAMED_MAX: usize = 20;

/// Shows and ends the session keys that vestibule lends to people.
#[derive(Debug, Args)]
pub(super) struct SessionsArgs {
    #[command(subcommand)]
    command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// List living sessions
    #[command(after_help = "Example: vestibule sessions list alice@example.com")]
    List(ListSessions),
    /// End sessions and delete their keys in LiteLLM; this is no block
    Revoke(RevokeSessions),
}

#[derive(Debug, Args)]
struct ListSessions {
    #[command(flatten)]
    configured: Configured,
    /// Only of this person: a `user_id`, an e-mail, or ISSUER and SUBJECT
    #[arg(num_args = 1..=2)]
    who: Vec<String>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// Ends sessions and deletes their keys in LiteLLM. This is no block: whoever comes again gets a new session (`vestibule
/// users block` keeps somebody out).
///
/// A vestibule that has just lent a key goes on with it for `account.refresh` at most, and LiteLLM takes it for
/// `litellm.cache_ttl` at most; with `litellm.master_key` LiteLLM forgets it at once. Running answers are not cut off.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vestibule sessions revoke alice@example.com\n  vestibule sessions revoke --all --yes"
)]
struct RevokeSessions {
    #[command(flatten)]
    configured: Configured,
    /// All of this person's: a `user_id`, an e-mail, or ISSUER and SUBJECT
    #[arg(num_args = 1..=2, required_unless_present_any = ["all", "session"])]
    who: Vec<String>,
    /// Everybody's
    #[arg(long, conflicts_with_all = ["who", "session"])]
    all: bool,
    /// This one, by the id that `sessions list` shows
    #[arg(long, value_name = "ID", conflicts_with = "who")]
    session: Option<String>,
    #[command(flatten)]
    flags: ChangeFlags,
}

pub(super) fn run(arguments: &SessionsArgs) -> CommandResult {
    match &arguments.command {
        SessionsCommand::List(list) => list.configured.run(async |context| list.run(context).await),
        SessionsCommand::Revoke(revoke) => revoke.configured.run(async |context| revoke.run(context).await),
    }
}

/// Sessions as a table.
pub(super) fn listed(sessions: &[SessionRecord]) -> String {
    let row = |one: &SessionRecord| {
        [
            one.session_id.clone(),
            one.user_id.clone(),
            one.state.clone(),
            one.key.clone(),
            one.created_at.clone(),
            one.expires_at.clone(),
            one.secret_id.clone(),
        ]
    };
    table(["SESSION", "USER_ID", "STATE", "KEY", "CREATED", "EXPIRES", "SECRET"], sessions.iter().map(row))
}

// === impl ListSessions ===

impl ListSessions {
    async fn run(&self, context: &CommandContext) -> CommandResult {
        let account = resolve_some(context, &self.who).await?;
        let living = context.store.sessions(account.as_ref().map(|account| account.account_id.as_str())).await?;
        answer_as(self.json, &living, || listed(&living));
        Ok(ExitCode::SUCCESS)
    }
}

// === impl RevokeSessions ===

impl RevokeSessions {
    async fn run(&self, context: &CommandContext) -> CommandResult {
        let (which, would) = self.which(context).await?;
        if would.is_empty() {
            say("There is no living session: nothing was changed.\n");
            self.flags.answer_unchanged(|| document(&[]));
            return Ok(ExitCode::SUCCESS);
        }
        let ids = || would.iter().map(|session| session.session_id.clone()).collect::<Vec<_>>();
        self.flags.ask(&plan(&would), || document(&ids()))?;
        let done = context.store.revoke(&which, &context.change_options(false)).await??;
        let invalidation = invalidate(context, &done, None).await;
        self.flags.answer_changed(document(&done.sessions), Some(&invalidation), || {
            format!("{} ended. Whoever comes again gets a new one.\n", count(done.sessions.len(), "session"))
        });
        Ok(invalidation.exit_code())
    }

    /// Which sessions are meant, and those among them that live.
    async fn which(&self, context: &CommandContext) -> Result<(SessionSelector, Vec<SessionRecord>), Exit> {
        if let Some(id) = &self.session {
            let living =
                context.store.sessions(None).await?.into_iter().filter(|one| one.session_id == *id).collect::<Vec<_>>();
            if living.is_empty() {
                return Err(Exit::failure(format!(
                    "there is no living session `{}`\n  = help: `vestibule sessions list` shows them",
                    shown(id)
                )));
            }
            return Ok((SessionSelector::Id(id.clone()), living));
        }
        if self.all {
            return Ok((SessionSelector::All, context.store.sessions(None).await?));
        }
        let account = resolve_user(context, &self.who).await?;
        let living = context.store.sessions(Some(&account.account_id)).await?;
        Ok((SessionSelector::Account(account.account_id), living))
    }
}

fn plan(would: &[SessionRecord]) -> ChangePlan {
    let mut plan = ChangePlan::to(format!("End {}, and delete the keys in LiteLLM:", count(would.len(), "session")));
    for one in would.iter().take(NAMED_MAX) {
        plan.step(format!("{} of `{}`, made {}", one.session_id, shown(&one.user_id), one.created_at));
    }
    if would.len() > NAMED_MAX {
        plan.step(format!("and {} more (`vestibule sessions list` shows all)", would.len() - NAMED_MAX));
    }
    plan.note("This is no block: whoever comes again gets a new session.");
    plan
}

fn document(ended: &[String]) -> Value {
    json!({ "changed": false, "sessions_ended": ended, "litellm": "not_needed" })
}
