//! What happens, as it is shown: the service's own log lines and the stand-in's arrivals, in the order in which they happen.

use std::collections::BTreeMap;
use std::fmt;

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::fake_litellm::Arrival;

/// Events that wait to be shown; further ones are dropped.
const EVENTS_MAX: usize = 1024;
/// What `proxy/access_log.rs` writes about requests.
const ACCESS: &str = "vestibule::access";

/// Something to show.
#[derive(Debug)]
pub(super) enum DemoEvent {
    /// A request was let in.
    Admitted(Line),
    /// The stand-in got a request.
    Arrived(Arrival),
    /// A request's answer has ended.
    Ended(Line),
    /// Something is wrong.
    Warned(Line),
}

/// The fields of one log line.
#[derive(Debug, Default)]
pub(super) struct Line(BTreeMap<&'static str, String>);

/// Starts to watch this process. Where events come out is the second.
pub(super) fn start() -> Result<(mpsc::Sender<DemoEvent>, mpsc::Receiver<DemoEvent>), TryInitError> {
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    tracing_subscriber::registry().with(Watch(sender.clone())).try_init()?;
    Ok((sender, events))
}

/// Sends an event without waiting. Only in a flood is there no room for it: then it is not shown.
pub(super) fn tell(events: &mpsc::Sender<DemoEvent>, event: DemoEvent) {
    let _ = events.try_send(event);
}

struct Watch(mpsc::Sender<DemoEvent>);

impl<S: Subscriber> Layer<S> for Watch {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() == ACCESS || (*metadata.level() <= Level::WARN && metadata.target().starts_with("vestibule"))
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let shown = match (event.metadata().target(), line.get("message")) {
            (ACCESS, Some("admitted")) => DemoEvent::Admitted(line),
            (ACCESS, _) => DemoEvent::Ended(line),
            _ => DemoEvent::Warned(line),
        };
        tell(&self.0, shown);
    }
}

// === impl Line ===

impl Line {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
