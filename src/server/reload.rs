//! Another configuration without a restart: on SIGHUP, and when the file or a file of a secret changes. What is wrong
//! changes nothing: it is logged and counted, and what runs goes on. A store that is not ready yet is tried again by
//! itself, because the file will not change again for it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::StartError;
use super::app::{App, StoreHandle};
use super::health::Readiness;
use crate::config::{Config, ConfigSource, NeedsRestart, load};
use crate::telemetry::logs::chain;
use crate::telemetry::metrics::Metrics;

/// Between two looks at the files. Kubernetes swaps mounted secrets through symlinks, which a look by name follows.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Time for another database to show that it is ready.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest wait after it was not; it doubles with each try.
const RETRY_MIN: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_mins(1);

/// Makes an [`App`] of each configuration, and hands it to the workers.
pub struct Reloader {
    source: ConfigSource,
    /// What only a restart can change, as the process was started.
    fixed: NeedsRestart,
    app: watch::Sender<Arc<App>>,
    store: watch::Sender<StoreHandle>,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    hangup: Signal,
}

/// What tells a changed file from the same one: device, inode, size and times. `None` while it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("the configuration has problems")]
    Problems(#[from] crate::config::Problems),
    #[error("the registry that the configuration names is not ready")]
    Store(#[source] crate::store::StoreError),
    #[error("the registry that the configuration names did not answer in time")]
    StoreLate,
}

/// When a reload is tried again, and how long the wait for it was.
struct Retry {
    at: Instant,
    wait: Duration,
}

// === impl Reloader ===

impl Reloader {
    /// With the configuration that the process was started with.
    pub fn new(
        config: Config,
        source: ConfigSource,
        readiness: Arc<Readiness>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let hangup = signal(SignalKind::hangup()).map_err(StartError::Runtime)?;
        let handle = StoreHandle::new(&config, metrics.clone());
        let fixed = config.needs_restart();
        let app = watch::Sender::new(Arc::new(App::new(Arc::new(config), &handle, None)));
        let store = watch::Sender::new(handle);
        Ok(Self { source, fixed, app, store, readiness, metrics, hangup })
    }

    /// What workers serve with.
    pub fn app(&self) -> watch::Receiver<Arc<App>> {
        self.app.subscribe()
    }

    /// What the health monitor looks after.
    pub fn store(&self) -> watch::Receiver<StoreHandle> {
        self.store.subscribe()
    }

    /// The configuration that runs.
    fn config(&self) -> Arc<Config> {
        self.app.borrow().config.clone()
    }

    /// Reloads for as long as it is polled.
    pub async fn watch(mut self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut loaded = stamps(&self.config().files);
        let mut seen = loaded.clone();
        let mut retry: Option<Retry> = None;
        loop {
            let is_asked = tokio::select! {
                asked = self.hangup.recv() => asked.is_some(),
                _ = ticks.tick() => false,
            };
            let before = self.config();
            let now = stamps(&before.files);
            // A file that is being written is left alone until it has been the same for two looks.
            let is_settled = now == seen && now != loaded;
            seen.clone_from(&now);
            let is_due = retry.as_ref().is_some_and(|retry| retry.at <= Instant::now());
            if is_asked || is_settled || is_due {
                let wait = retry.filter(|_| is_due).map_or(RETRY_MIN, |retry| (retry.wait * 2).min(RETRY_MAX));
                retry = self.reload(wait).await;
                // As they were before they were read: what changed meanwhile is read again.
                loaded = if self.config().files == before.files { now } else { stamps(&self.config().files) };
                seen.clone_from(&loaded);
            }
        }
    }

    /// Returns when it is to be tried again, where that can help without a change of the files.
    async fn reload(&mut self, wait: Duration) -> Option<Retry> {
        let outcome = self.try_reload().await;
        self.metrics.reload(outcome.is_ok());
        match outcome {
            Ok(()) => {
                tracing::info!("reloaded");
                None
            }
            Err(ReloadError::Problems(problems)) => {
                tracing::error!(%problems, "not reloaded: what ran goes on");
                None
            }
            Err(error @ (ReloadError::Store(_) | ReloadError::StoreLate)) => {
                let (cause, retry_s) = (chain(&error), wait.as_secs());
                tracing::error!(cause, retry_s, "not reloaded: what ran goes on until the registry is ready");
                Some(Retry { at: Instant::now() + wait, wait })
            }
        }
    }

    async fn try_reload(&mut self) -> Result<(), ReloadError> {
        let (mut config, warnings) = load(&self.source)?;
        for warning in warnings {
            tracing::warn!(%warning, "the configuration");
        }
        if config.store_settings() != self.config().store_settings() {
            let handle = StoreHandle::new(&config, self.metrics.clone());
            let prepared = timeout(PREPARE_TIMEOUT, handle.store.prepare()).await;
            prepared.map_err(|_| ReloadError::StoreLate)?.map_err(ReloadError::Store)?;
            self.store.send_replace(handle);
        }
        let changed = self.fixed.changed(&config.needs_restart());
        if !changed.is_empty() {
            tracing::warn!(keys = changed.join(", "), "changed, and needs a restart");
        }
        self.fixed.keep_listeners(&mut config);
        self.readiness.set_grace(config.session.offline_grace);
        let app = App::new(Arc::new(config), &self.store.borrow(), Some(&self.app.borrow()));
        self.app.send_replace(Arc::new(app));
        Ok(())
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    };
    files.iter().map(stamp).collect()
}
