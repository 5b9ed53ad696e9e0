//! Listening, serving, ending: threads, sockets and signals around the gate.
//!
//! Each worker is a thread with a runtime, a listener and connections to LiteLLM of its own, so nothing on a request's way
//! crosses threads. The registry, the admin port, timers and signals live on one further runtime, the thread that calls
//! [`run`].

pub mod admin;
pub mod keeper;
pub mod listener;
pub mod wire;
pub mod worker;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{self, Config, Listen, UpstreamUrl};
use crate::face::outgoing::Rewriter;
use crate::gate::grant::Granter;
use crate::gate::identity::Reader;
use crate::gate::recognition::Recognition;
use crate::gate::session::{Ages, Sessions};
use crate::gate::trust::Trust;
use crate::gate::{self, Doors, Gate, ledger};
use crate::registry::Registry;
use crate::registry::postgres::Postgres;
use crate::secret;
use crate::telemetry::metrics::Metrics;
use keeper::Readiness;
use worker::Worker;

/// Why vestibule did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address can't be listened on.
    #[error(
        "can't listen on `{address}`; is it free, is its folder there, and may this user? See `listen` and `admin`"
    )]
    Listen {
        /// The address or path.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The operating system gave no thread, timer or signal.
    #[error("can't set up the runtime")]
    Runtime(#[source] io::Error),
}

/// Serves until a signal ends it.
pub fn run(config: Config) -> Result<(), StartError> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), StartError> {
    // The first random number of a process takes a while to gather: not at somebody's first sight.
    std::thread::spawn(secret::nonce);
    let metrics = Arc::new(Metrics::new());
    let readiness = Arc::new(Readiness::new(config.session.offline_grace));
    let books = Postgres::connect(&config.database, &config.litellm, &config.account, &config.session);
    let registry: Arc<dyn Registry> = Arc::new(books.with_audit(config.audit.retention, config.log.person_in_clear));
    let ending = Ending { stop: CancellationToken::new(), running: TaskTracker::new() };
    if let Some(address) = config.admin {
        let address = admin::listen(address, metrics.clone(), readiness.clone()).await?;
        tracing::info!(what = "admin", %address, "listening");
    }
    let drain = config.drain.clone();
    let keeping = keeper::Keeper { registry: registry.clone(), readiness: readiness.clone(), metrics: metrics.clone() };
    start_workers(config, registry, &metrics, &ending)?;
    tokio::spawn(keeping.keep());
    wait_for_the_end(&drain, &readiness, &ending).await
}

/// How the workers learn of the end, and how the end learns of them.
#[derive(Clone)]
pub struct Ending {
    /// Cancelled when no new connection is taken and open ones finish what they are at.
    pub stop: CancellationToken,
    /// Connections and tunnels.
    pub running: TaskTracker,
}

fn start_workers(
    config: Config,
    registry: Arc<dyn Registry>,
    metrics: &Arc<Metrics>,
    ending: &Ending,
) -> Result<(), StartError> {
    let sockets = listener::bind(&config.listen, config.workers)?;
    let address = sockets.address.clone();
    let upstream = config.litellm.url.clone();
    let limits = Arc::new(config.limits.clone());
    let is_person_in_clear = config.log.person_in_clear;
    let books = registry.clone();
    let (gate, rewriter) = assemble(config, registry, metrics);
    let connections = Arc::new(tokio::sync::Semaphore::new(limits.connections));
    let (gate, rewriter) = (Arc::new(gate), Arc::new(rewriter));
    let (ledger, notes) = ledger::ledger(metrics.clone());
    tokio::spawn(notes.write(books));
    let mut starting = Vec::new();
    for (number, socket) in sockets.each.into_iter().enumerate() {
        let worker = Worker {
            gate: gate.clone(),
            rewriter: rewriter.clone(),
            upstream: upstream.clone(),
            limits: limits.clone(),
            connections: connections.clone(),
            metrics: metrics.clone(),
            ending: ending.clone(),
            is_person_in_clear,
            ledger: ledger.clone(),
        };
        starting.push(worker.start(number, socket).map_err(StartError::Runtime)?);
    }
    for started in starting {
        let failed = |source| StartError::Listen { address: address.clone(), source };
        started.recv().map_err(|_| failed(io::Error::other("a worker ended while it started")))?.map_err(failed)?;
    }
    tracing::info!(what = "proxy", %address, "listening");
    Ok(())
}

fn assemble(config: Config, registry: Arc<dyn Registry>, metrics: &Arc<Metrics>) -> (Gate, Rewriter) {
    let Config { trust, identity, rules, account, session, litellm, .. } = config;
    let is_socket = matches!(config.listen, Listen::Unix { .. });
    let owned = Arc::new(gate::owned_names(&identity, &trust, &litellm));
    let doors = Doors {
        client_keys: config.client_keys,
        key_headers: gate::key_headers(&litellm),
        public_paths: config.public_paths,
        own_prefix: config.own_prefix,
        target_bytes: config.limits.target_bytes,
        in_flight_per_person: config.limits.in_flight_per_person,
    };
    let ages = Ages { refresh: account.refresh, offline_grace: session.offline_grace, cache_ttl: litellm.cache_ttl };
    let here = runtime::Handle::current();
    let sessions = Sessions::new(registry, here, ages, account.max_cached, session.secrets, metrics.clone());
    let recognition = Recognition::new(Reader::new(identity), Granter::new(rules), account.max_cached);
    let gate = Gate::new(Trust::new(trust, is_socket), recognition, sessions, owned.clone(), doors);
    let is_https = config.public_url.as_ref().is_some_and(|url| url.https);
    let rewriter = Rewriter {
        owned,
        key_header: litellm.key_header,
        keep_authorization: litellm.keep_authorization,
        sign_in_cookies: config.sign_in_cookies,
        public_scheme: if is_https { "https" } else { "http" },
        upstream_host: upstream_host(&litellm.url),
    };
    (gate, rewriter)
}

/// What a Host header calls LiteLLM.
fn upstream_host(url: &UpstreamUrl) -> HeaderValue {
    let named = match url {
        UpstreamUrl::Tcp { .. } => HeaderValue::try_from(url.to_string()).ok(),
        UpstreamUrl::Unix(_) => None,
    };
    named.unwrap_or(HeaderValue::from_static("localhost"))
}

/// SIGTERM: not ready, go on for the delay, then drain. SIGINT: drain at once. A second signal: end now.
async fn wait_for_the_end(drain: &config::Drain, readiness: &Readiness, ending: &Ending) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Runtime)?;
    let delay = tokio::select! {
        _ = terminate.recv() => drain.delay,
        _ = interrupt.recv() => Duration::ZERO,
    };
    readiness.drain();
    tracing::info!(delay_ms = millis(delay), timeout_ms = millis(drain.timeout), "ending");
    let finish = async {
        tokio::time::sleep(delay).await;
        ending.stop.cancel();
        ending.running.close();
        tokio::time::timeout(drain.timeout, ending.running.wait()).await.is_ok()
    };
    tokio::select! {
        is_done = finish => {
            if !is_done {
                tracing::warn!(cut = ending.running.len(), "the drain's time is over");
            }
        }
        _ = terminate.recv() => tracing::warn!(cut = ending.running.len(), "ended by a second signal"),
        _ = interrupt.recv() => tracing::warn!(cut = ending.running.len(), "ended by a second signal"),
    }
    tracing::info!("ended");
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
