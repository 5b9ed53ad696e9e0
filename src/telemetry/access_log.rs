//! The access log: one line per request. As JSON it is written field by field, because `tracing` takes ten times as long
//! for the same bytes; as text, and for other subscribers, it is a `tracing` event.

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use http::Method;
use tracing::Level;
use tracing_subscriber::filter::Targets;

use super::logs::Sink;

/// What `log.level` calls these lines.
const TARGET: &str = "vestibule::access";
/// The bytes of `2026-01-01T00:00:00.000000Z`.
const STAMP_LEN: usize = 27;
const SECONDS_PER_DAY: u64 = 86_400;

/// What a request's line says. A field that is `None` is left out.
#[derive(Debug, Clone, Copy)]
pub struct AccessLogEntry<'a> {
    /// As LiteLLM and the client see it.
    pub request_id: &'a str,
    /// The other end of the connection.
    pub peer: &'a str,
    /// The request's method.
    pub method: &'a Method,
    /// The target without its query.
    pub path: &'a str,
    /// With what the request passed: `as` (a user), `own_key`, `public`, or `none`.
    pub passage: &'static str,
    /// The user's pseudonym or id.
    pub person: Option<&'a str>,
    /// The index of the rule that gave the role.
    pub rule: Option<usize>,
    /// The answer's status.
    pub status: Option<u16>,
    /// The refusal's code.
    pub refusal: Option<&'static str>,
    /// Why it was refused, or why the answer broke off.
    pub cause: Option<&'a str>,
    /// Milliseconds until the upstream's answer began.
    pub first_byte_ms: Option<u64>,
    /// Milliseconds until the end.
    pub total_ms: u64,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// Whether the answer reached its end.
    pub whole: bool,
}

/// Where lines go in JSON, or `None` while the level leaves them out. Not set: `tracing` has them.
static JSON: OnceLock<Option<Arc<Sink>>> = OnceLock::new();

thread_local! {
    static LINE: Cell<LineWriter> = const { Cell::new(LineWriter::new()) };
}

/// Writes a request's line. It waits for nothing.
pub fn write(entry: &AccessLogEntry<'_>) {
    match JSON.get() {
        Some(Some(sink)) => {
            // While its thread ends there is none: then a new one serves.
            let mut line = LINE.try_with(Cell::take).unwrap_or_default();
            sink.take_later(line.fill(entry, SystemTime::now()));
            let _ = LINE.try_with(|kept| kept.set(line));
        }
        Some(None) => {}
        None => event(entry),
    }
}

/// Has lines written to the sink as JSON, if the filter lets them through.
pub(super) fn write_json(sink: &Arc<Sink>, filter: &Targets) {
    let sink = filter.would_enable(TARGET, &Level::INFO).then(|| Arc::clone(sink));
    // The log is started once in a process.
    let _ = JSON.set(sink);
}

/// The same line as an event.
fn event(entry: &AccessLogEntry<'_>) {
    tracing::info!(
        target: TARGET,
        request_id = entry.request_id,
        peer = %entry.peer,
        method = entry.method.as_str(),
        path = entry.path,
        passage = entry.passage,
        person = entry.person,
        rule = entry.rule,
        status = entry.status,
        refusal = entry.refusal,
        cause = entry.cause,
        first_byte_ms = entry.first_byte_ms,
        total_ms = entry.total_ms,
        bytes = entry.bytes,
        whole = entry.whole,
        "request"
    );
}

/// A thread's buffer for one line.
#[derive(Default)]
struct LineWriter {
    stamp: DateCache,
    text: Vec<u8>,
}

/// A time as `tracing-subscriber` shows it. The date is calculated once per second.
struct DateCache {
    second: u64,
    text: [u8; STAMP_LEN],
}

// === impl LineWriter ===

impl LineWriter {
    const fn new() -> Self {
        Self { stamp: DateCache::new(), text: Vec::new() }
    }

    fn fill(&mut self, entry: &AccessLogEntry<'_>, now: SystemTime) -> &[u8] {
        self.text.clear();
        append(&mut self.text, self.stamp.at(now), entry);
        &self.text
    }
}

// === impl DateCache ===

impl Default for DateCache {
    fn default() -> Self {
        Self::new()
    }
}

impl DateCache {
    const fn new() -> Self {
        Self { second: u64::MAX, text: [b'0'; STAMP_LEN] }
    }

    /// The text of that time. A clock before 1970 shows 1970; years have four digits.
    fn at(&mut self, now: SystemTime) -> &[u8] {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.second != since.as_secs() {
            self.second = since.as_secs();
            self.show_second();
        }
        let mut rest = since.subsec_micros();
        for digit in self.text.iter_mut().rev().skip(1).take(6) {
            *digit = ascii(u64::from(rest % 10));
            rest /= 10;
        }
        &self.text
    }

    fn show_second(&mut self) {
        let (year, month, day) = date(self.second / SECONDS_PER_DAY);
        let second = self.second % SECONDS_PER_DAY;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let mut place = self.text.as_mut_slice();
        // It has room for every date of four digits.
        let _ = write!(place, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000000Z");
    }
}

/// Year, month and day, so many days after 1970-01-01: `civil_from_days` of
/// <https://howardhinnant.github.io/date_algorithms.html>, for days that are not negative.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (400 * era + year_of_era + u64::from(month <= 2), month, day)
}

/// Appends the line as `tracing-subscriber` writes it in JSON with `flatten_event`.
fn append(line: &mut Vec<u8>, stamp: &[u8], entry: &AccessLogEntry<'_>) {
    let &AccessLogEntry { request_id, peer, method, path, passage, person, rule, status, refusal, cause, .. } = entry;
    line.extend_from_slice(b"{\"timestamp\":\"");
    line.extend_from_slice(stamp);
    text(line, b"\",\"level\":\"INFO\",\"message\":\"request\",\"request_id\":", request_id);
    text(line, b",\"peer\":", peer);
    word(line, b",\"method\":", method.as_str());
    text(line, b",\"path\":", path);
    word(line, b",\"passage\":", passage);
    if let Some(person) = person {
        text(line, b",\"person\":", person);
    }
    if let Some(rule) = rule {
        number(line, b",\"rule\":", rule as u64);
    }
    if let Some(status) = status {
        number(line, b",\"status\":", status.into());
    }
    if let Some(refusal) = refusal {
        word(line, b",\"refusal\":", refusal);
    }
    if let Some(cause) = cause {
        text(line, b",\"cause\":", cause);
    }
    if let Some(first_byte_ms) = entry.first_byte_ms {
        number(line, b",\"first_byte_ms\":", first_byte_ms);
    }
    number(line, b",\"total_ms\":", entry.total_ms);
    number(line, b",\"bytes\":", entry.bytes);
    line.extend_from_slice(if entry.whole { b",\"whole\":true" } else { b",\"whole\":false" });
    word(line, b",\"target\":", TARGET);
    line.extend_from_slice(b"}\n");
}

/// Appends a key and a JSON string.
fn text(line: &mut Vec<u8>, key: &[u8], value: &str) {
    // Without a way out of the loop the compiler compares many bytes at a time.
    if value.bytes().fold(false, |found, byte| found | is_escaped(byte)) {
        line.extend_from_slice(key);
        // To a Vec it always succeeds.
        let _ = serde_json::to_writer(line, value);
    } else {
        word(line, key, value);
    }
}

/// Appends a key and a JSON string that is known to hold nothing that is escaped: a token (RFC 9110 5.6.2), or a name of ours.
fn word(line: &mut Vec<u8>, key: &[u8], value: &str) {
    debug_assert!(!value.bytes().any(is_escaped), "a word that is none");
    line.extend_from_slice(key);
    line.push(b'"');
    line.extend_from_slice(value.as_bytes());
    line.push(b'"');
}

/// What a JSON string must not hold as it is (RFC 8259, section 7).
fn is_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// Appends a key and a number in decimal.
fn number(line: &mut Vec<u8>, key: &[u8], value: u64) {
    line.extend_from_slice(key);
    // To a Vec it always succeeds.
    let _ = serde_json::to_writer(line, &value);
}

/// A digit from 0 to 9.
fn ascii(digit: u64) -> u8 {
    b'0' + u8::try_from(digit).unwrap_or_default()
}
