//! The command line: arguments in, exit code out.

mod audit;
mod check;
mod completions;
mod confirm;
mod context;
mod demo;
mod explain;
mod flags;
mod healthcheck;
mod invalidate;
mod migrate;
mod resolve_user;
mod secret;
mod serve;
mod sessions;
mod table;
mod users;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A wrong command line, as clap has it; and a change that was not agreed to.
const EXIT_USAGE: u8 = 2;
/// `EX_NOUSER` of sysexits.h: no user is known by that name.
const EXIT_NO_USER: u8 = 67;
/// `EX_CONFIG` of sysexits.h: the configuration has a problem, and nothing was started.
const EXIT_CONFIG: u8 = 78;

/// The room between an OAuth proxy and LiteLLM: whoever comes through signed in reaches LiteLLM as themselves, with the
/// role that their groups give them and a key of their own.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, long_version = LONG_VERSION, max_term_width = 100, after_help = AFTER)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// `-V` prints the first line's version alone.
const LONG_VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), "\ncommit ", env!("BUILD_COMMIT"), "\ntarget ", env!("BUILD_TARGET"));

const AFTER: &str = "\
Begin with:
  vestibule secret new > session-secret                 keys are made from it
  vestibule check --config vestibule.yaml --connect     what is wrong, all of it at once
  vestibule explain --config vestibule.yaml --header 'X-Forwarded-User: alice'
                                                        what would become of a request, and why
  vestibule serve --config vestibule.yaml

Each command explains itself: `vestibule COMMAND --help`. Documentation: README.md; docs/configuration.md has every key,
docs/trust.md whom to trust, docs/operating.md these commands, docs/refusals.md every refusal and what to do.

Exit codes: 0 done, 1 failed (explain: refused), 2 wrong command line or nobody agreed, 67 no such person, 78 the
configuration has a problem.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what it does, here and now, with nothing but this program
    Demo(demo::DemoArgs),
    /// Serve: stand between the OAuth proxy and LiteLLM
    Serve(serve::ServeArgs),
    /// Tell everything that is wrong with the configuration, and with what it names
    Check(check::CheckArgs),
    /// Tell what would become of a request, and why; nothing is written, nobody is asked
    Explain(explain::ExplainArgs),
    /// Show, block, link and move people
    Users(users::UsersArgs),
    /// Show and end session keys
    Sessions(sessions::SessionsArgs),
    /// Show what was done to whom, and by whom
    Audit(audit::AuditArgs),
    /// Make vestibule's own tables, or print the SQL for whoever may
    Migrate(migrate::MigrateArgs),
    /// Make session secrets, and see which are in use
    Secret(secret::SecretArgs),
    /// Ask a running vestibule whether it serves, for a container's health check
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Print the completions of a shell
    Completions(completions::CompletionsArgs),
}

/// Runs what the arguments say.
pub fn run() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Users(arguments) => users::run(&arguments),
        Command::Sessions(arguments) => sessions::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Migrate(arguments) => migrate::run(&arguments),
        Command::Secret(arguments) => secret::run(&arguments),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        Command::Completions(arguments) => Ok(completions::run(&arguments)),
    };
    ended.unwrap_or_else(context::Exit::report)
}
