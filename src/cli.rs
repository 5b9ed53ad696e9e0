//! The command line: arguments in, exit code out.

mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// `EX_CONFIG` of sysexits.h: the configuration has a problem, and nothing was started.
const EXIT_CONFIG: u8 = 78;

/// The room between an OAuth proxy and LiteLLM: whoever comes through signed in reaches LiteLLM as themselves, with the
/// role that their groups give them and a key of their own.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: stand between the OAuth proxy and LiteLLM
    Serve(serve::Arguments),
}

/// Runs what the arguments say.
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
    }
}
