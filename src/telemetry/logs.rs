//! Log lines on stderr: JSON for machines, text on a terminal. A thread of their own writes them: whoever logs never waits
//! for a full disk or a pipe that nobody reads. Lines that find no place are dropped and counted.

use std::io::{self, IsTerminal};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, fmt};

/// Lines that wait to be written; some hundred bytes each.
const LINES_MAX: usize = 8192;

/// The log. When it is dropped, lines that wait are still written, for a moment at most.
pub struct Log {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

/// Starts logging for the whole process. `as_text` is by default what stderr is: text on a terminal, else JSON. The level
/// has been checked; should it not parse, `info` is taken.
pub fn start(level: &str, as_text: Option<bool>) -> Result<Log, TryInitError> {
    let targets: Targets = level.parse().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let as_text = as_text.unwrap_or_else(|| io::stderr().is_terminal());
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(LINES_MAX).lossy(true).finish(io::stderr());
    let dropped = writer.error_counter();
    let lines = fmt::layer().with_writer(writer);
    let lines = if as_text {
        lines.with_ansi(io::stderr().is_terminal()).boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    tracing_subscriber::registry().with(lines.with_filter(targets)).try_init()?;
    Ok(Log { dropped, _writer: guard })
}

// === impl Log ===

impl Log {
    /// Counts the lines that were dropped.
    pub fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// An error with its causes on one line: each level says its own part only.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
