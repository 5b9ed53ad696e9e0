//! `vestibule users`.

mod block;
mod link;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{CommandContext, CommandResult, Configured, answer, answer_as, answer_json};
use super::resolve_user::resolve_user;
use super::sessions;
use super::table::{facts, or_dash, table};
use crate::litellm::role::Role;
use crate::store::admin::{Account, AccountFilter};

/// Shows, blocks, links and moves people: the accounts that sign-ins have made.
///
/// WHO is a `user_id`, an e-mail, or ISSUER and SUBJECT as two words.
#[derive(Debug, Args)]
pub(super) struct UsersArgs {
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Debug, Subcommand)]
enum UsersCommand {
    /// List everybody who has an account
    #[command(after_help = "Example: vestibule users list --blocked --json")]
    List(ListUsers),
    /// Show one person, with their sessions
    #[command(
        after_help = "Examples:\n  vestibule users show alice@example.com\n  vestibule users show default 00u1ab2cd"
    )]
    Show(ShowUser),
    /// Keep somebody out
    Block(block::BlockUser),
    /// Let somebody in again: undo what `block` did, and no more
    Unblock(block::UnblockUser),
    /// Give a row that LiteLLM has to a person who has not signed in yet
    Link(link::LinkUser),
    /// Give an account to another issuer and subject
    Move(link::MoveAccount),
}

#[derive(Debug, Args)]
struct ListUsers {
    #[command(flatten)]
    configured: Configured,
    /// Only of this sign-in source (`identity.issuer`)
    #[arg(long)]
    issuer: Option<String>,
    /// Only those who are kept out, by a block here or in LiteLLM
    #[arg(long)]
    blocked: bool,
    /// Only those with this role in LiteLLM
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ShowUser {
    #[command(flatten)]
    configured: Configured,
    /// A `user_id`, an e-mail, or ISSUER and SUBJECT
    #[arg(required = true, num_args = 1..=2)]
    who: Vec<String>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &UsersArgs) -> CommandResult {
    match &arguments.command {
        UsersCommand::List(list) => list.configured.run(async |context| list.run(context).await),
        UsersCommand::Show(show) => show.configured.run(async |context| show.run(context).await),
        UsersCommand::Block(block) => block.configured.run(async |context| block.run(context).await),
        UsersCommand::Unblock(unblock) => unblock.configured.run(async |context| unblock.run(context).await),
        UsersCommand::Link(link) => link.configured.run(async |context| link.run(context).await),
        UsersCommand::Move(moving) => moving.configured.run(async |context| moving.run(context).await),
    }
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| {
        "roles are `proxy_admin`, `proxy_admin_viewer`, `internal_user`, `internal_user_viewer`".to_owned()
    })
}

// === impl ListUsers ===

impl ListUsers {
    async fn run(&self, context: &CommandContext) -> CommandResult {
        let filter = AccountFilter {
            issuer: self.issuer.clone(),
            blocked: self.blocked,
            role: self.role.map(|role| role.as_str().to_owned()),
        };
        let accounts = context.store.accounts(&filter).await?;
        let row = |one: &Account| {
            [
                one.user_id.clone(),
                one.issuer.clone(),
                one.subject.clone(),
                or_dash(one.email.as_deref()),
                or_dash(one.role.as_deref()),
                one.sessions.to_string(),
                kept_out(one).to_owned(),
            ]
        };
        answer_as(self.json, &accounts, || {
            let heading = ["USER_ID", "ISSUER", "SUBJECT", "EMAIL", "ROLE", "SESSIONS", "BLOCKED"];
            table(heading, accounts.iter().map(row))
        });
        Ok(ExitCode::SUCCESS)
    }
}

// === impl ShowUser ===

impl ShowUser {
    async fn run(&self, context: &CommandContext) -> CommandResult {
        let account = resolve_user(context, &self.who).await?;
        let living = context.store.sessions(Some(&account.account_id)).await?;
        if self.json {
            answer_json(&json!({ "account": account, "sessions": living }));
            return Ok(ExitCode::SUCCESS);
        }
        let role = if account.in_litellm { or_dash(account.role.as_deref()) } else { "(no row in LiteLLM)".to_owned() };
        let mut rows = vec![
            ("user_id", account.user_id.clone()),
            ("issuer", account.issuer.clone()),
            ("subject", account.subject.clone()),
            ("email", or_dash(account.email.as_deref())),
            ("name", or_dash(account.name.as_deref())),
            ("role", role),
            ("mapped role", or_dash(account.mapped_role.as_deref())),
            ("blocked", kept_out(&account).to_owned()),
        ];
        if account.blocked {
            rows.push(("blocked at", or_dash(account.blocked_at.as_deref())));
            rows.push(("blocked by", or_dash(account.blocked_by.as_deref())));
            rows.push(("reason", or_dash(account.blocked_reason.as_deref())));
            rows.push(("keys blocked", account.blocked_keys.to_string()));
        }
        rows.push(("created at", account.created_at.clone()));
        rows.push(("lowered at", or_dash(account.lowered_at.as_deref())));
        rows.push(("account", account.account_id.clone()));
        answer(&facts(&rows));
        if !living.is_empty() {
            answer(&format!("\n{}", sessions::listed(&living)));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether a user is kept out, and by which block.
fn kept_out(account: &Account) -> &'static str {
    if account.blocked {
        "yes"
    } else if account.switched_off_in_litellm {
        "in LiteLLM (scim_active)"
    } else if account.key_blocked_in_litellm {
        "in LiteLLM (key)"
    } else {
        "-"
    }
}
