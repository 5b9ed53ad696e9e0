//! Counters in the OpenMetrics text form. Label values come from closed sets; no user, path or address is among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

type Label = [(&'static str, &'static str); 1];

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// LiteLLM answered.
    Forwarded,
    /// vestibule answered by itself.
    Answered,
    /// vestibule refused.
    Refused,
    /// A websocket was opened.
    Tunnelled,
    /// The client went away before there was an answer.
    Abandoned,
}

/// How a request found its user's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// Known, and younger than `account.refresh`: nothing was waited for.
    Fresh,
    /// Older, and served from memory since the store does not answer: at most 250 ms were waited for.
    Stale,
    /// The request waited for the registry.
    Waited,
}

/// Upper bounds of the buckets of [`Seconds`].
const BUCKETS: [f64; 11] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0, f64::INFINITY];

/// A histogram that workers share without a lock; `prometheus_client`'s has one.
#[derive(Debug, Clone, Default)]
pub struct Seconds(Arc<Observed>);

#[derive(Debug, Default)]
struct Observed {
    counts: [Counter; BUCKETS.len()],
    sum: Counter<f64, AtomicU64>,
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    page: Registry,
    forwarded: Counter,
    answered: Counter,
    refused: Counter,
    tunnelled: Counter,
    abandoned: Counter,
    refusals: Family<Label, Counter>,
    slot_fresh: Counter,
    slot_stale: Counter,
    slot_waited: Counter,
    opens: Family<Label, Counter>,
    /// Open downstream connections.
    pub connections: Gauge<i64, AtomicI64>,
    /// Requests in flight, tunnels among them.
    pub in_flight: Gauge<i64, AtomicI64>,
    /// Connections made to LiteLLM.
    pub upstream_connects: Counter,
    /// Requests sent a second time because a kept connection had gone.
    pub upstream_retries: Counter,
    /// Answers of LiteLLM that broke off.
    pub upstream_cuts: Counter,
    /// Seconds until LiteLLM's answer began.
    pub upstream_first_byte: Seconds,
    /// Sign-ins of one user that disagree within one refresh.
    pub role_flaps: Counter,
    /// 1 while the last contact with the database succeeded.
    pub database_up: Gauge<i64, AtomicI64>,
    /// Session rows swept.
    pub swept: Counter,
    /// Refusals that the audit has not got: the queue was full, or the database away.
    pub audit_dropped: Counter,
    reloads: Family<Label, Counter>,
    reload_succeeded: Gauge<i64, AtomicI64>,
}

// === impl Seconds ===

impl Seconds {
    /// Counts so many seconds.
    pub fn observe(&self, seconds: f64) {
        let at = BUCKETS.iter().position(|bound| seconds <= *bound);
        if let Some(count) = at.and_then(|at| self.0.counts.get(at)) {
            count.inc();
            self.0.sum.inc_by(seconds);
        }
    }
}

impl EncodeMetric for Seconds {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let buckets: Vec<_> = BUCKETS.into_iter().zip(self.0.counts.iter().map(Counter::get)).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.0.sum.get(), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

// === impl Metrics ===

impl Default for Metrics {
    /// Without a log.
    fn default() -> Self {
        Self::new(Counter::default())
    }
}

impl Metrics {
    /// Fresh counters under their names, and that of the log. They stand on the page in the order of their registration.
    pub fn new(lines_dropped: Counter) -> Self {
        let mut page = Registry::with_prefix("vestibule");
        let requests: Family<Label, Counter> = metric(&mut page, "requests", "Requests by how they ended");
        let refusals = metric(&mut page, "refusals", "Refusals by code");
        let slots: Family<Label, Counter> =
            metric(&mut page, "slots", "Requests by how they found their person's slot");
        let of = |family: &Family<Label, Counter>, name, value| family.get_or_create(&[(name, value)]).clone();
        let mut metrics = Self {
            forwarded: of(&requests, "outcome", "forwarded"),
            answered: of(&requests, "outcome", "answered"),
            refused: of(&requests, "outcome", "refused"),
            tunnelled: of(&requests, "outcome", "tunnelled"),
            abandoned: of(&requests, "outcome", "abandoned"),
            refusals,
            slot_fresh: of(&slots, "state", "fresh"),
            slot_stale: of(&slots, "state", "stale"),
            slot_waited: of(&slots, "state", "waited"),
            opens: metric(&mut page, "registry_opens", "Reads and writes of the registry by result"),
            connections: metric(&mut page, "connections", "Open downstream connections"),
            in_flight: metric(&mut page, "in_flight", "Requests in flight"),
            upstream_connects: metric(&mut page, "upstream_connects", "Connections made to LiteLLM"),
            upstream_retries: metric(&mut page, "upstream_retries", "Requests repeated on a new connection"),
            upstream_cuts: metric(&mut page, "upstream_cuts", "Answers of LiteLLM that broke off"),
            upstream_first_byte: metric(&mut page, "upstream_first_byte_seconds", "Time until LiteLLM's answer began"),
            role_flaps: metric(&mut page, "role_flaps", "Sign-ins of one person that disagree"),
            database_up: metric(&mut page, "database_up", "1 while the last contact with the database succeeded"),
            swept: metric(&mut page, "swept_sessions", "Session rows swept"),
            audit_dropped: metric(&mut page, "audit_dropped", "Refusals that the audit has not got"),
            reloads: metric(&mut page, "config_reloads", "Reloads of the configuration by result"),
            reload_succeeded: metric(
                &mut page,
                "config_last_reload_succeeded",
                "0 while the configuration on disk is not the one that runs",
            ),
            page,
        };
        for result in ["done", "failed"] {
            // Both are on the page from the start.
            drop(metrics.reloads.get_or_create(&[("result", result)]));
        }
        metrics.reload_succeeded.set(1);
        let help = "Log lines dropped because stderr did not take them";
        metrics.page.register("log_lines_dropped", help, lines_dropped);
        metrics
    }

    /// Counts a request's end.
    pub fn request(&self, outcome: Outcome) {
        match outcome {
            Outcome::Forwarded => &self.forwarded,
            Outcome::Answered => &self.answered,
            Outcome::Refused => &self.refused,
            Outcome::Tunnelled => &self.tunnelled,
            Outcome::Abandoned => &self.abandoned,
        }
        .inc();
    }

    /// Counts a reload.
    pub fn reload(&self, is_done: bool) {
        self.reloads.get_or_create(&[("result", if is_done { "done" } else { "failed" })]).inc();
        self.reload_succeeded.set(i64::from(is_done));
    }

    /// Counts a refusal.
    pub fn refusal(&self, code: &'static str) {
        self.refusals.get_or_create(&[("code", code)]).inc();
    }

    /// Counts how a slot was found.
    pub fn slot(&self, state: SlotState) {
        match state {
            SlotState::Fresh => &self.slot_fresh,
            SlotState::Stale => &self.slot_stale,
            SlotState::Waited => &self.slot_waited,
        }
        .inc();
    }

    /// Counts an answer of the registry.
    pub fn open(&self, result: &'static str) {
        self.opens.get_or_create(&[("result", result)]).inc();
    }

    /// The page in the OpenMetrics text form.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a String does not fail; an empty page is an honest answer if it ever does.
        encode(&mut page, &self.page).map_or_else(|_| String::new(), |()| page)
    }
}

/// A metric that starts at nothing, with its place on the page.
fn metric<M: Metric + Clone + Default>(page: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    page.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::histogram::Histogram;

    use super::*;

    #[test]
    fn a_histogram_without_a_lock_shows_what_one_with_a_lock_shows() {
        let page = |register: &dyn Fn(&mut Registry)| {
            let (mut registry, mut page) = (Registry::default(), String::new());
            register(&mut registry);
            encode(&mut page, &registry).unwrap();
            page
        };
        let (ours, theirs) = (Seconds::default(), Histogram::new(BUCKETS));
        for seconds in [0.0, 0.001, 0.005, 0.0051, 0.3, 1.0, 2.0, 600.0, 601.0, 1e9] {
            ours.observe(seconds);
            theirs.observe(seconds);
        }
        let ours = page(&|registry| registry.register("seconds", "Some", ours.clone()));
        assert_eq!(ours, page(&|registry| registry.register("seconds", "Some", theirs.clone())));
        assert!(ours.contains("seconds_count 10\n"), "{ours}");
    }

    #[test]
    fn dropped_lines_are_on_the_page() {
        let dropped = Counter::default();
        let metrics = Metrics::new(dropped.clone());
        dropped.inc_by(7);
        assert!(metrics.page().contains("vestibule_log_lines_dropped_total 7\n"), "{}", metrics.page());
    }
}
