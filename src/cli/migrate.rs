//! `vestibule migrate`.

use std::process::ExitCode;

use clap::Args;

use super::confirm::{ChangePlan, Confirmation};
use super::context::{CommandContext, CommandResult, Configured, answer};

/// Makes vestibule's own tables, or brings them to this program's version. LiteLLM's are left alone.
///
/// `vestibule serve` does it too where its database role may. Where it may not, run this once with a configuration whose role
/// may, or give what `--print` prints to whoever may; it holds the rights of the serving role as well.
#[derive(Debug, Args)]
#[command(after_help = "Example: vestibule migrate --print > for-the-dba.sql")]
pub(super) struct MigrateArgs {
    #[command(flatten)]
    configured: Configured,
    /// Print the SQL instead of running it, with the rights that the configuration's role needs
    #[arg(long, conflicts_with_all = ["yes", "dry_run"])]
    print: bool,
    #[command(flatten)]
    confirmation: Confirmation,
}

pub(super) fn run(arguments: &MigrateArgs) -> CommandResult {
    arguments.configured.run_early(async |context| arguments.migrate(context).await)
}

// === impl MigrateArgs ===

impl MigrateArgs {
    async fn migrate(&self, context: &CommandContext) -> CommandResult {
        let versions = context.store.versions().await?;
        if self.print {
            answer(&context.store.script(&versions));
            return Ok(ExitCode::SUCCESS);
        }
        let schema = &context.config.database.schema;
        if versions.had >= versions.wanted {
            answer(&format!(
                "vestibule's tables in schema `{schema}` are of version {}: nothing to do.\n",
                versions.had
            ));
            return Ok(ExitCode::SUCCESS);
        }
        let plan = if versions.had == 0 {
            format!(
                "Make vestibule's tables (version {}) in schema `{schema}`, as role `{}`.",
                versions.wanted, versions.role
            )
        } else {
            format!(
                "Bring vestibule's tables in schema `{schema}` from version {} to {}, as role `{}`. An older vestibule may not \
                 work with them any more.",
                versions.had, versions.wanted, versions.role
            )
        };
        self.confirmation.ask(&ChangePlan::to(plan))?;
        context.store.migrate().await?;
        answer(&format!("vestibule's tables in schema `{schema}` are of version {}.\n", versions.wanted));
        Ok(ExitCode::SUCCESS)
    }
}
