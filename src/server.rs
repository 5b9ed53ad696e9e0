//! Start, serving and shutdown: threads, sockets and signals around the proxy.
//!
//! Each worker is a thread with a runtime, a listener and connections to LiteLLM of its own, so nothing on a request's way
//! crosses threads. The store, the admin port, timers and signals live on one further runtime, the thread that calls
//! [`run`].

pub mod admin;
pub mod app;
pub mod health;
pub mod listener;
pub mod plain;
pub mod process;
pub mod reload;
pub mod worker;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, ConfigSource};
use crate::secret;
use crate::store::Store;
use crate::telemetry::logs::Log;
use crate::telemetry::metrics::Metrics;
use app::{App, StoreHandle};
use health::Readiness;
use listener::Sockets;
use reload::Reloader;
use worker::{ListenerKind, Worker};

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

/// Serves until a signal ends it. The source is where a reload reads the configuration again.
pub fn run(config: Config, source: ConfigSource, log: &Log) -> Result<(), StartError> {
    process::keep_memory_private();
    process::raise_descriptors(config.limits.connections);
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
    runtime.block_on(serve(config, source, Arc::new(Metrics::new(log.dropped()))))
}

async fn serve(config: Config, source: ConfigSource, metrics: Arc<Metrics>) -> Result<(), StartError> {
    // The first random number of a process takes a while to gather: that should not delay the first new user.
    std::thread::spawn(secret::nonce);
    let readiness = Arc::new(Readiness::new(config.session.offline_grace));
    if let Some(address) = config.admin {
        let address = admin::listen(address, metrics.clone(), readiness.clone()).await?;
        tracing::info!(what = "admin", %address, "listening");
    }
    let mut sockets = vec![(ListenerKind::Proxy, listener::bind(&config.listen, config.workers)?)];
    if let Some(forward_auth) = &config.forward_auth {
        sockets.push((ListenerKind::ForwardAuth, listener::bind(&forward_auth.listen, config.workers)?));
    }
    let reloader = Reloader::new(config, source, readiness.clone(), metrics)?;
    let running = Running::start(sockets, reloader.app(), reloader.store(), readiness)?;
    tokio::spawn(reloader.watch());
    running.until_the_end().await
}

/// Serves on a store of the caller's and on the present runtime, without an admin port and without reload: what `demo`
/// does, by the same workers and health checks. Also gives the address, with the port that the system chose.
pub fn start(config: Config, store: Arc<dyn Store>) -> Result<(Running, String), StartError> {
    let readiness = Arc::new(Readiness::new(config.session.offline_grace));
    let sockets = listener::bind(&config.listen, config.workers)?;
    let address = sockets.address.clone();
    let handle = StoreHandle::of(store, &config, Arc::default());
    let app = watch::Sender::new(Arc::new(App::new(Arc::new(config), &handle, None))).subscribe();
    let handle = watch::Sender::new(handle).subscribe();
    Ok((Running::start(vec![(ListenerKind::Proxy, sockets)], app, handle, readiness)?, address))
}

/// A service that listens, until a signal ends it.
pub struct Running {
    app: watch::Receiver<Arc<App>>,
    readiness: Arc<Readiness>,
    ending: Shutdown,
}

/// How workers are told to stop, and what of them still runs.
#[derive(Clone)]
pub struct Shutdown {
    /// Cancelled when no new connection is taken and open ones finish what they are at.
    pub stop: CancellationToken,
    /// Connections and tunnels.
    pub running: TaskTracker,
}

// === impl Running ===

impl Running {
    /// Starts the workers, and what looks after the store.
    fn start(
        listeners: Vec<(ListenerKind, Sockets)>,
        app: watch::Receiver<Arc<App>>,
        store: watch::Receiver<StoreHandle>,
        readiness: Arc<Readiness>,
    ) -> Result<Self, StartError> {
        let ending = Shutdown { stop: CancellationToken::new(), running: TaskTracker::new() };
        let addresses: Vec<_> = listeners.iter().map(|(role, sockets)| (*role, sockets.address.clone())).collect();
        let connections = Arc::new(Semaphore::new(app.borrow().config.limits.connections));
        let mut starting = Vec::new();
        for (number, sockets) in listener::by_worker(listeners).into_iter().enumerate() {
            let metrics = store.borrow().metrics.clone();
            let worker = Worker { app: app.clone(), connections: connections.clone(), metrics, ending: ending.clone() };
            starting.push(worker.start(number, sockets).map_err(StartError::Runtime)?);
        }
        for started in starting {
            let all = || addresses.iter().map(|(_, address)| address.as_str()).collect::<Vec<_>>().join(", ");
            let failed = |source| StartError::Listen { address: all(), source };
            started.recv().map_err(|_| failed(io::Error::other("a worker ended while it started")))?.map_err(failed)?;
        }
        for (role, address) in addresses {
            tracing::info!(what = role.name(), %address, "listening");
        }
        tokio::spawn(health::look_after(store, readiness.clone()));
        Ok(Self { app, readiness, ending })
    }

    /// SIGTERM: not ready, go on for the delay, then drain. SIGINT: drain at once. A second signal: end now.
    pub async fn until_the_end(self) -> Result<(), StartError> {
        let Self { app, readiness, ending: Shutdown { stop, running } } = self;
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Runtime)?;
        let is_gentle = tokio::select! {
            _ = terminate.recv() => true,
            _ = interrupt.recv() => false,
        };
        let drain = app.borrow().config.drain.clone();
        let delay = if is_gentle { drain.delay } else { Duration::ZERO };
        readiness.drain();
        tracing::info!(delay_ms = millis(delay), timeout_ms = millis(drain.timeout), "ending");
        let finish = async {
            tokio::time::sleep(delay).await;
            stop.cancel();
            running.close();
            tokio::time::timeout(drain.timeout, running.wait()).await.is_ok()
        };
        tokio::select! {
            is_done = finish => {
                if !is_done {
                    tracing::warn!(cut = running.len(), "the drain's time is over");
                }
            }
            _ = terminate.recv() => tracing::warn!(cut = running.len(), "ended by a second signal"),
            _ = interrupt.recv() => tracing::warn!(cut = running.len(), "ended by a second signal"),
        }
        tracing::info!("ended");
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
