//! `vestibule secret`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::json;

use super::context::{CommandContext, CommandResult, Configured, Exit, answer, answer_as, say};
use super::table::{or_dash, table};
use crate::secret;

/// How to change the session secret, step by step.
const ROTATE: &str = "\
To change the session secret while everybody goes on working:

  1. Put a new one LAST in the `session.secret_file` of every replica:
       vestibule secret new >> session-secret
     Each reads the file again within seconds, and logs `reloaded`. All honour it now, and none makes keys with it. (One
     replica alone can go on to step 2 at once.)
  2. Put it FIRST in every file. From then on it makes the keys; the others (three in the file at most) are honoured.
  3. Wait until `vestibule secret id` says that the old one may go: `session.life` at most, since its keys are not renewed.
     `vestibule sessions revoke --all` ends them at once; everybody gets a new key without noticing.
  4. Take the old secret out.

If the old secret is known to somebody: steps 1 and 2, then `vestibule sessions revoke --all`, then step 4. A secret
alone makes no key: that needs the rows of vestibule's tables as well.
";

/// Makes session secrets, and shows which are in use. A secret that is configured is never printed.
#[derive(Debug, Args)]
pub(super) struct SecretArgs {
    #[command(subcommand)]
    command: SecretCommand,
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Make a session secret: 32 random bytes as hex digits
    #[command(after_help = "Example: (umask 077; vestibule secret new > session-secret)\n\n\
                            `vestibule secret rotate` tells how to put it in the place of another.")]
    New,
    /// Tell how to change the secret while everybody goes on working
    Rotate,
    /// Show the ids of the configured secrets, and how many living sessions each has made
    #[command(
        after_help = "Example: vestibule secret id\n\nA secret without living sessions may go, unless it is the first."
    )]
    Id(SecretIds),
}

#[derive(Debug, Args)]
struct SecretIds {
    #[command(flatten)]
    configured: Configured,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &SecretArgs) -> CommandResult {
    match &arguments.command {
        SecretCommand::New => {
            let secret = secret::fresh().ok_or_else(|| Exit::failure("the system has no randomness to give"))?;
            answer(&format!("{}\n", secret.expose_secret()));
        }
        SecretCommand::Rotate => answer(ROTATE),
        SecretCommand::Id(id) => return id.configured.run(async |context| id.run(context).await),
    }
    Ok(ExitCode::SUCCESS)
}

// === impl SecretIds ===

impl SecretIds {
    async fn run(&self, context: &CommandContext) -> CommandResult {
        let in_use = context.store.secrets_in_use().await?;
        let secrets = &context.config.session.secrets;
        let used = |id: &str| in_use.iter().find(|used| used.secret_id == id);
        let line = |id: &str, state: &'static str| {
            let sessions = used(id).map_or(0, |used| used.sessions);
            let last = used(id).and_then(|used| used.last_expires_at.clone());
            (id.to_owned(), state, sessions, last)
        };
        let ours = secrets.ids().enumerate().map(|(at, id)| {
            let state = match at {
                0 => "makes keys",
                _ if used(id.as_str()).is_some() => "honoured",
                _ => "may go",
            };
            line(id.as_str(), state)
        });
        let unknown = in_use.iter().filter(|used| !secrets.knows(&used.secret_id));
        let all: Vec<_> = ours.chain(unknown.map(|used| line(&used.secret_id, "NOT IN THE FILE"))).collect();
        let document = all.iter().map(|(id, state, sessions, last)| {
            let state = state.to_lowercase().replace(' ', "_");
            json!({ "secret_id": id, "state": state, "sessions": sessions, "last_expires_at": last })
        });
        let row = |(id, state, sessions, last): &(String, &str, i64, Option<String>)| {
            [id.clone(), (*state).to_owned(), sessions.to_string(), or_dash(last.as_deref())]
        };
        answer_as(self.json, &document.collect::<Vec<_>>(), || {
            table(["SECRET", "STATE", "SESSIONS", "LAST_EXPIRES"], all.iter().map(row))
        });
        if all.iter().any(|(_, state, ..)| *state == "NOT IN THE FILE") {
            say(
                "warning: living sessions were made with a secret that is not in the file: vestibule is not ready with it\n  \
                 = help: put it back into `session.secret_file`, or end those sessions: `vestibule sessions revoke --all`\n",
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
