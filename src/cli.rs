//! The command line: arguments in, exit code out.

mod audit;
mod consent;
mod demo;
mod errand;
mod forget;
mod migrate;
mod secret;
mod serve;
mod sessions;
mod table;
mod users;
mod who;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A wrong command line, as clap has it; and a change that nobody agreed to.
const EXIT_USAGE: u8 = 2;
/// `EX_NOUSER` of sysexits.h: nobody is known by that name.
const EXIT_NO_USER: u8 = 67;
/// `EX_CONFIG` of sysexits.h: the configuration has a problem, and nothing was started.
const EXIT_CONFIG: u8 = 78;

/// The room between an OAuth proxy and LiteLLM: whoever comes through signed in reaches LiteLLM as themselves, with the
/// role that their groups give them and a key of their own.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, max_term_width = 100, after_help = CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong command line or nobody agreed, 67 no such person, \
                     78 the configuration has a problem.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what it does, here and now, with nothing but this program
    Demo(demo::Arguments),
    /// Serve: stand between the OAuth proxy and LiteLLM
    Serve(serve::Arguments),
    /// Show, block, link and move people
    Users(users::Arguments),
    /// Show and end session keys
    Sessions(sessions::Arguments),
    /// Show what was done to whom, and by whom
    Audit(audit::Arguments),
    /// Make vestibule's own tables, or print the SQL for whoever may
    Migrate(migrate::Arguments),
    /// Make session secrets, and see which are in use
    Secret(secret::Arguments),
}

/// Runs what the arguments say.
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Users(arguments) => users::run(&arguments),
        Command::Sessions(arguments) => sessions::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Migrate(arguments) => migrate::run(&arguments),
        Command::Secret(arguments) => secret::run(&arguments),
    }
}
