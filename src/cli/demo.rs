//! `vestibule demo`: the real service between two stand-ins, on this machine alone, with nothing kept.
//!
//! What `serve` runs is run here: the checked configuration, the proxy, the workers. In LiteLLM's place is `fake_litellm`, in
//! Postgres' place the store in memory, in the OAuth proxy's place `tour` and then the `curl` lines that it prints.

mod config;
mod fake_litellm;
mod screen;
mod tour;
mod tries;
mod watch;
mod words;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::context::{CommandResult, answer, runtime};
use crate::config::Problems;
use crate::secret;
use crate::server::{self, StartError, process};
use crate::store::StoreError;
use crate::store::sqlite::Sqlite;
use config::DemoConfig;
use screen::Screen;
use tour::Tour;

/// Where LiteLLM listens by default, for the configuration that is only printed.
const LITELLM: &str = "http://127.0.0.1:4000";

/// Shows vestibule at work: it sends itself a request as an OAuth proxy would, tells what becomes of it, and then waits for
/// yours. A stand-in plays LiteLLM. It is for this machine alone, and keeps nothing.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where to listen: an address of this machine alone; port 0 is a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0", value_parser = loopback)]
    listen: SocketAddr,
    /// Print the demo's configuration, and end
    #[arg(long)]
    print_config: bool,
}

/// Why the demo ended by itself.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("the demo's own configuration has a problem")]
    Config(#[from] Problems),
    #[error("the registry in memory could not be opened")]
    Store(#[from] StoreError),
    #[error("the stand-in for LiteLLM can't listen")]
    FakeLitellm(#[source] std::io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("what happens here can't be watched")]
    Watch(#[from] tracing_subscriber::util::TryInitError),
    #[error("the system has no randomness to give")]
    Randomness,
    #[error("the demo's own request could not be sent")]
    Call(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the demo's own request was not answered as it should be: {0}")]
    Answer(String),
}

pub(super) fn run(arguments: &DemoArgs) -> CommandResult {
    let began = Instant::now();
    if arguments.print_config {
        answer(&config::text(arguments.listen, LITELLM));
    } else {
        process::keep_memory_private();
        runtime().map_err(StartError::Runtime)?.block_on(demo(arguments.listen, began))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn demo(listen: SocketAddr, began: Instant) -> Result<(), DemoError> {
    let (events, happening) = watch::start()?;
    let litellm = TcpListener::bind((listen.ip(), 0)).await.map_err(DemoError::FakeLitellm)?;
    let litellm_address = litellm.local_addr().map_err(DemoError::FakeLitellm)?;
    let demo_config = DemoConfig::fresh(listen, &format!("http://{litellm_address}")).ok_or(DemoError::Randomness)?;
    let config = demo_config.load()?;
    let store = Arc::new(Sqlite::in_memory(&config.litellm, &config.account, &config.session).await?);
    tokio::spawn(fake_litellm::serve(litellm, store.clone(), events));
    let lines = config.rules.rules.iter().map(|rule| rule.line).collect();
    let (running, address) = server::start(config, store.clone())?;
    let id = secret::row_id().ok_or(DemoError::Randomness)?;
    let vestibule = address.parse().map_err(|_| DemoError::Answer(format!("it listens on `{address}`")))?;
    let mut tour = Tour {
        screen: Screen::default(),
        happening,
        id,
        vestibule,
        litellm: litellm_address,
        demo_config,
        lines,
        store,
        began,
    };
    tokio::select! {
        ended = running.until_the_end() => ended?,
        fault = show(&mut tour) => return Err(fault),
    }
    tour.screen.ended();
    Ok(())
}

/// The tour, then every request that comes; it ends by a fault alone.
async fn show(tour: &mut Tour) -> DemoError {
    if let Err(fault) = tour.lead().await {
        return fault;
    }
    tour.screen.tries(&tries::all(tour.vestibule, tour.litellm, &tour.demo_config));
    tour.follow().await
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "write an IP address and a port, such as `127.0.0.1:4180`".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("the demo is for this machine alone: write `127.0.0.1:PORT` or `[::1]:PORT`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_taken() {
        for good in ["127.0.0.1:0", "127.8.9.1:80", "[::1]:4180"] {
            assert!(loopback(good).is_ok(), "{good}");
        }
        for bad in [
            "0.0.0.0:0",
            "[::]:0",
            "10.0.0.1:80",
            "192.168.1.2:80",
            "[fe80::1]:80",
            "[::ffff:127.0.0.1]:80",
            "localhost:80",
            "127.0.0.1",
            "4180",
            "unix:/tmp/x",
        ] {
            assert!(loopback(bad).is_err(), "{bad}");
        }
    }
}
