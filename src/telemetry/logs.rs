//! Log lines on stderr: JSON for machines, text on a terminal. A thread of its own writes them, so that no request waits
//! for a full disk or for a pipe that is not read. Lines that find no room are dropped and counted.

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use memchr::{memchr, memchr_iter, memrchr};
use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, fmt};

use super::access_log;

/// Bytes of lines that wait, some ten thousand lines; as many may be on their way out.
const BYTES_MAX: usize = 4 << 20;
/// Room that a buffer keeps when it is emptied.
const BYTES_KEPT: usize = 64 << 10;
/// What the log's thread writes at once. Linux never splits a write to a pipe up to this size (`PIPE_BUF`), so lines stay
/// whole where several processes write to one.
const WRITE_MAX: usize = 4096;
/// How long the log's thread rests after a write while requests go on, so that their lines cost a wake-up per batch.
const REST: Duration = Duration::from_millis(5);
/// How long the end waits for the last lines, in case stderr takes none.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The log can't be started.
#[derive(Debug, thiserror::Error)]
pub enum LogStartError {
    /// The operating system gave no thread.
    #[error("can't start the log's thread")]
    Thread(#[source] io::Error),
    /// The process has a subscriber.
    #[error("the log was started before")]
    Twice(#[source] TryInitError),
}

/// The log. When it is dropped, lines that wait are still written, for a second at most.
pub struct Log {
    sink: Arc<Sink>,
}

/// Where lines wait for the log's thread, in the order in which they were logged.
#[derive(Default)]
pub(super) struct Sink {
    waiting: Mutex<Waiting>,
    /// Wakes the log's thread.
    wake: Condvar,
    /// Tells that the log's thread has ended.
    ended: Condvar,
    dropped: Counter,
}

#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    /// One of them must not wait for the thread's rest to end.
    is_urgent: bool,
    thread: ThreadState,
    is_closing: bool,
}

/// What the log's thread does.
#[derive(Default, PartialEq, Eq)]
enum ThreadState {
    /// It writes, and will look for more by itself.
    #[default]
    Busy,
    /// It has written, and lets lines gather.
    Resting,
    /// It waits for a line.
    Asleep,
    Ended,
}

/// Starts logging for the whole process. `as_text` is by default what stderr is: text on a terminal, else JSON. The level
/// has been checked; should it not parse, `info` is taken.
pub fn start(level: &str, as_text: Option<bool>) -> Result<Log, LogStartError> {
    let targets: Targets = level.parse().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let as_text = as_text.unwrap_or_else(|| io::stderr().is_terminal());
    let log = Log::to(io::stderr()).map_err(LogStartError::Thread)?;
    let lines = fmt::layer().with_writer(log.sink.clone());
    let lines = if as_text {
        lines.with_ansi(io::stderr().is_terminal()).boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    tracing_subscriber::registry().with(lines.with_filter(targets.clone())).try_init().map_err(LogStartError::Twice)?;
    if !as_text {
        access_log::write_json(&log.sink, &targets);
    }
    Ok(log)
}

// === impl Log ===

impl Log {
    /// A log whose thread writes there, unbuffered.
    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let sink = Arc::new(Sink::default());
        let writing = sink.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || writing.run(out))?;
        Ok(Self { sink })
    }

    /// Counts the lines that were dropped.
    pub fn dropped(&self) -> Counter {
        self.sink.dropped.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let mut waiting = self.sink.lock();
        waiting.is_closing = true;
        self.sink.wake.notify_one();
        let has_more = |waiting: &mut Waiting| waiting.thread != ThreadState::Ended;
        let _ = self.sink.ended.wait_timeout_while(waiting, LAST_LINES, has_more);
    }
}

// === impl Sink ===

impl Sink {
    /// Takes a line that may rest for a moment.
    pub(super) fn take_later(&self, line: &[u8]) {
        self.take(line, false);
    }

    fn take(&self, line: &[u8], is_urgent: bool) {
        let mut waiting = self.lock();
        if waiting.thread == ThreadState::Ended || waiting.text.len() + line.len() > BYTES_MAX {
            drop(waiting);
            self.dropped.inc();
            return;
        }
        waiting.text.extend_from_slice(line);
        waiting.is_urgent |= is_urgent;
        let wakes = match waiting.thread {
            ThreadState::Asleep => true,
            ThreadState::Resting => is_urgent,
            ThreadState::Busy | ThreadState::Ended => false,
        };
        if wakes {
            // Further lines need not wake it again.
            waiting.thread = ThreadState::Busy;
            drop(waiting);
            self.wake.notify_one();
        }
    }

    /// What the log's thread does until the log is closed.
    fn run(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        loop {
            if !self.wait_for_lines(&mut taken) {
                return;
            }
            self.write(&mut out, &taken);
            let needed = taken.len().max(BYTES_KEPT);
            taken.clear();
            // After a flood. A capacity near what is needed stays, or it would be shrunk and grown by turns.
            if taken.capacity() > 4 * needed {
                taken.shrink_to(2 * needed);
            }
            self.rest();
        }
    }

    /// Waits for lines and swaps them with the empty buffer. No: the log is closed, and all were written.
    fn wait_for_lines(&self, empty: &mut Vec<u8>) -> bool {
        let mut waiting = self.lock();
        if waiting.text.is_empty() {
            waiting.thread = ThreadState::Asleep;
            let is_asleep = |waiting: &mut Waiting| waiting.thread == ThreadState::Asleep && !waiting.is_closing;
            waiting = self.wake.wait_while(waiting, is_asleep).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.text.is_empty() {
            waiting.thread = ThreadState::Ended;
            self.ended.notify_all();
            return false;
        }
        waiting.thread = ThreadState::Busy;
        waiting.is_urgent = false;
        std::mem::swap(&mut waiting.text, empty);
        true
    }

    /// Lets lines gather.
    fn rest(&self) {
        let mut waiting = self.lock();
        if waiting.is_urgent {
            return;
        }
        waiting.thread = ThreadState::Resting;
        let is_resting = |waiting: &mut Waiting| waiting.thread == ThreadState::Resting && !waiting.is_closing;
        let _ = self.wake.wait_timeout_while(waiting, REST, is_resting);
    }

    fn write(&self, out: &mut impl Write, mut lines: &[u8]) {
        while !lines.is_empty() {
            let first = lines.get(..WRITE_MAX).unwrap_or(lines);
            let end = memrchr(b'\n', first).or_else(|| memchr(b'\n', lines)).map_or(lines.len(), |at| at + 1);
            let (whole, rest) = lines.split_at(end);
            if write_all(out, whole).is_err() {
                self.dropped.inc_by(memchr_iter(b'\n', whole).count() as u64);
            }
            lines = rest;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `tracing` writes: warnings and the like, a line at a time.
impl Write for &Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line, true);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As `Write::write_all`, also where stderr was set not to block by a process that shares it.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(REST),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// An error with its causes on one line: each level says its own part only.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
