//! `vestibule serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::EXIT_CONFIG;
use crate::config::{LogFormat, Source, load};
use crate::server;
use crate::telemetry::logs::{self, chain};

/// Serves until SIGTERM or SIGINT. On SIGTERM it stays reachable for `drain.delay` while `/readyz` says no, then
/// finishes what runs.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file; `config.example.yaml` explains every key
    #[arg(long, short, value_name = "FILE", env = "VESTIBULE_CONFIG")]
    config: PathBuf,
}

#[expect(clippy::print_stderr, reason = "the start's problems are for the person at the terminal")]
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let source = Source { file: Some(arguments.config.clone()), environment: environment(), ..Source::default() };
    let (config, warnings) = match load(&source) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    for warning in &warnings {
        eprintln!("{warning}");
    }
    let as_text = match config.log.format {
        LogFormat::Auto => None,
        LogFormat::Text => Some(true),
        LogFormat::Json => Some(false),
    };
    let log = match logs::start(&config.log.level, as_text) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    match server::run(config, source, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(cause = chain(&error), "vestibule could not start");
            ExitCode::FAILURE
        }
    }
}

/// The environment's variables that are text; others can't be settings.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
