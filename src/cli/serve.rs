//! `vestibule serve`.

use std::process::ExitCode;

use clap::Args;

use super::context::{CommandResult, loaded, say};
use super::flags::Flags;
use crate::config::LogFormat;
use crate::server;
use crate::telemetry::logs::{self, chain};

const EXAMPLES: &str = "\
Examples:
  vestibule serve --config vestibule.yaml
  vestibule check --config vestibule.yaml --connect        first: what is wrong, all of it at once

  Without a file, beside LiteLLM on this machine:
    vestibule secret new > session-secret
    vestibule serve --upstream http://127.0.0.1:4000 --database-url-file database-url --session-secret-file session-secret \\
      --trust-peer 127.0.0.1 --accept-shared-loopback --preset oauth2-proxy --reads user,email,groups \\
      --rule 'group=llm-admins:proxy_admin' --rule 'email_domain=example.com:internal_user' --default-role deny

Signals: HUP reads the configuration again, TERM drains and ends.
Documentation: docs/configuration.md has every key, docs/trust.md whom to trust, docs/refusals.md every refusal.";

/// Serves until SIGTERM or SIGINT. On SIGTERM it stays reachable for `drain.delay` while `/readyz` says no, then
/// finishes what runs.
///
/// The configuration is a file, over it the environment (`VESTIBULE_LITELLM__URL` is `litellm.url`), over it these flags.
/// Any of them may be enough.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(arguments: &ServeArgs) -> CommandResult {
    let source = arguments.flags.source()?;
    let (config, warnings) = loaded(&source)?;
    for warning in &warnings {
        say(&format!("{warning}\n"));
    }
    let as_text = match config.log.format {
        LogFormat::Auto => None,
        LogFormat::Text => Some(true),
        LogFormat::Json => Some(false),
    };
    let log = logs::start(&config.log.level, as_text)?;
    if let Err(error) = server::run(config, source, &log) {
        tracing::error!(cause = chain(&error), "vestibule could not start");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
