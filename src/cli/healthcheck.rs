//! `vestibule healthcheck`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::HeaderMap;

use super::context::{Configured, Failure, answer, say};
use crate::config::{UpstreamUrl, admin};
use crate::telemetry::logs::chain;
use crate::upstream::call;

/// Time for the whole question: whoever asks gives up soon too (Docker: 30 s, Kubernetes: 1 s).
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks a running vestibule's admin port whether it serves: exit code 0 when it does, else 1. For a container's health
/// check, where there is no shell and no curl.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vestibule healthcheck                                  the `admin` of the configuration, or 127.0.0.1:4181\n  \
                        vestibule healthcheck --admin 127.0.0.1:9000 --live    a Dockerfile's HEALTHCHECK that must not fail \
                        while Postgres is away"
)]
pub(super) struct HealthcheckArgs {
    #[command(flatten)]
    configured: Configured,
    /// The admin port's address, where no configuration says it
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Ask /livez, whether the process works at all, in place of /readyz
    #[arg(long)]
    live: bool,
}

pub(super) fn run(arguments: &HealthcheckArgs) -> ExitCode {
    match arguments.ask() {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

// === impl HealthcheckArgs ===

impl HealthcheckArgs {
    fn ask(&self) -> Result<ExitCode, Failure> {
        let address = match self.admin {
            Some(address) => address,
            None => admin(&self.configured.source_or_none()?).ok_or_else(|| {
                Failure::from(
                    "the configuration names no admin port (`admin: off`), or can't be read\n  = help: name the port: `--admin \
                     127.0.0.1:4181`"
                        .to_owned(),
                )
            })?,
        };
        let path = if self.live { "/livez" } else { "/readyz" };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::from(chain(&error)))?;
        let address = reachable(address);
        let to = UpstreamUrl::Tcp { host: address.ip().to_string(), port: address.port() };
        let asked = async { tokio::time::timeout(TIMEOUT, call::get(&to, path, HeaderMap::new())).await };
        match runtime.block_on(asked) {
            Ok(Ok((status, body))) => {
                let said = String::from_utf8_lossy(&body).trim().replace(char::is_control, "?");
                if status == 200 {
                    answer(&format!("{said}\n"));
                    return Ok(ExitCode::SUCCESS);
                }
                say(&format!("error: {address} answers {status} at {path}: {said}\n"));
            }
            Ok(Err(error)) => say(&format!("error: nothing that answers at {address}: {}\n", cause(&error))),
            Err(_) => say(&format!("error: {address} does not answer within {} s\n", TIMEOUT.as_secs())),
        }
        Ok(ExitCode::FAILURE)
    }
}

/// The call's own words speak of LiteLLM.
fn cause(error: &call::CallError) -> String {
    std::error::Error::source(error).map_or_else(|| "it is not HTTP".to_owned(), |cause| chain(&cause))
}

/// Where a port that listens on every address is reached from the same machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}
