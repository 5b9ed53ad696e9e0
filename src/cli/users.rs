//! `vestibule users`.

mod block;
mod link;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::errand::{Configured, Errand, Failure, answer, answer_json};
use super::table::{facts, or_dash, table};
use super::{sessions, who};
use crate::litellm::role::Role;
use crate::store::admin::{Account, AccountFilter};

/// Shows, blocks, links and moves people: the accounts that sign-ins have made.
///
/// WHO is a `user_id`, an e-mail, or ISSUER and SUBJECT as two words.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List everybody who has an account
    #[command(after_help = "Example: vestibule users list --blocked --json")]
    List(List),
    /// Show one person, with their sessions
    #[command(
        after_help = "Examples:\n  vestibule users show alice@example.com\n  vestibule users show default 00u1ab2cd"
    )]
    Show(Show),
    /// Keep somebody out
    Block(block::Block),
    /// Let somebody in again: undo what `block` did, and no more
    Unblock(block::Unblock),
    /// Give a row that LiteLLM has to a person who has not signed in yet
    Link(link::Link),
    /// Give an account to another issuer and subject
    Move(link::Move),
}

#[derive(Debug, Args)]
struct List {
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
struct Show {
    #[command(flatten)]
    configured: Configured,
    /// A `user_id`, an e-mail, or ISSUER and SUBJECT
    #[arg(required = true, num_args = 1..=2)]
    who: Vec<String>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::List(list) => list.configured.run(async |errand| list.run(errand).await),
        Command::Show(show) => show.configured.run(async |errand| show.run(errand).await),
        Command::Block(block) => block.run(),
        Command::Unblock(unblock) => unblock.run(),
        Command::Link(link) => link.run(),
        Command::Move(moving) => moving.run(),
    }
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| {
        "roles are `proxy_admin`, `proxy_admin_viewer`, `internal_user`, `internal_user_viewer`".to_owned()
    })
}

// === impl List ===

impl List {
    async fn run(&self, errand: &Errand) -> Result<ExitCode, Failure> {
        let filter = AccountFilter {
            issuer: self.issuer.clone(),
            blocked: self.blocked,
            role: self.role.map(|role| role.as_str().to_owned()),
        };
        let accounts = errand.store.accounts(&filter).await?;
        if self.json {
            answer_json(&accounts);
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<Vec<String>> = accounts
            .iter()
            .map(|one| {
                vec![
                    one.user_id.clone(),
                    one.issuer.clone(),
                    one.subject.clone(),
                    or_dash(one.email.as_deref()),
                    or_dash(one.role.as_deref()),
                    one.sessions.to_string(),
                    kept_out(one).to_owned(),
                ]
            })
            .collect();
        answer(&table(&["USER_ID", "ISSUER", "SUBJECT", "EMAIL", "ROLE", "SESSIONS", "BLOCKED"], &rows));
        Ok(ExitCode::SUCCESS)
    }
}

// === impl Show ===

impl Show {
    async fn run(&self, errand: &Errand) -> Result<ExitCode, Failure> {
        let account = who::one(errand, &self.who).await?;
        let living = errand.store.sessions(Some(&account.account_id)).await?;
        if self.json {
            answer_json(&json!({ "account": account, "sessions": living }));
            return Ok(ExitCode::SUCCESS);
        }
        let mut rows = vec![
            ("user_id", account.user_id.clone()),
            ("issuer", account.issuer.clone()),
            ("subject", account.subject.clone()),
            ("email", or_dash(account.email.as_deref())),
            ("name", or_dash(account.name.as_deref())),
            (
                "role",
                if account.in_litellm { or_dash(account.role.as_deref()) } else { "(no row in LiteLLM)".to_owned() },
            ),
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

/// Whether somebody is kept out, and by whom.
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
