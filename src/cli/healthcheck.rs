//! `vestibule healthcheck`.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::HeaderMap;

use super::context::{CommandResult, Configured, Exit, answer, runtime};
use crate::config::admin;
use crate::http::client::{CallError, ClientResponse, ClientSettings, HttpClient, Transport};
use crate::telemetry::logs::chain;

/// Time for the whole question: orchestrators give up soon too (Docker: 30 s, Kubernetes: 1 s).
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer, which is a line.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

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

pub(super) fn run(arguments: &HealthcheckArgs) -> CommandResult {
    let configured = || {
        admin(&arguments.configured.source_or_none()?).ok_or_else(|| {
        Exit::failure(
            "the configuration names no admin port (`admin: off`), or can't be read\n  = help: name the port: `--admin \
             127.0.0.1:4181`",
        )
    })
    };
    let address = reachable(arguments.admin.map_or_else(configured, Ok)?);
    let path = if arguments.live { "/livez" } else { "/readyz" };
    let client =
        HttpClient::new(ClientSettings::single(address.to_string(), Transport::Tcp, TIMEOUT, ANSWER_BYTES_MAX));
    match runtime()?.block_on(client.get(format!("http://{address}{path}"), HeaderMap::new())) {
        Ok(ClientResponse { status, body, .. }) => {
            let status = status.as_u16();
            let said = String::from_utf8_lossy(&body).trim().replace(char::is_control, "?");
            if status != 200 {
                return Err(Exit::failure(format!("{address} answers {status} at {path}: {said}")));
            }
            answer(&format!("{said}\n"));
            Ok(ExitCode::SUCCESS)
        }
        Err(CallError::Timeout(..)) => {
            Err(Exit::failure(format!("{address} does not answer within {} s", TIMEOUT.as_secs())))
        }
        Err(error) => {
            // The client's own words name the address once more.
            let cause = error.source().map_or_else(|| "it is not HTTP".to_owned(), |cause| chain(&cause));
            Err(Exit::failure(format!("nothing that answers at {address}: {cause}")))
        }
    }
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
