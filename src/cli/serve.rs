//! `vestibule serve`.

use std::process::ExitCode;

use clap::Args;

use super::errand::{Configured, say};
use crate::config::LogFormat;
use crate::server;
use crate::telemetry::logs::{self, chain};

/// Serves until SIGTERM or SIGINT. On SIGTERM it stays reachable for `drain.delay` while `/readyz` says no, then
/// finishes what runs.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configured: Configured,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let (config, warnings) = match arguments.configured.load() {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    for warning in &warnings {
        say(&format!("{warning}\n"));
    }
    let as_text = match config.log.format {
        LogFormat::Auto => None,
        LogFormat::Text => Some(true),
        LogFormat::Json => Some(false),
    };
    let log = match logs::start(&config.log.level, as_text) {
        Ok(log) => log,
        Err(error) => {
            say(&format!("error: {}\n", chain(&error)));
            return ExitCode::FAILURE;
        }
    };
    match server::run(config, arguments.configured.source(), &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(cause = chain(&error), "vestibule could not start");
            ExitCode::FAILURE
        }
    }
}
