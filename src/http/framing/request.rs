//! What a client sends.

use std::str;

use http::Uri;

use super::chunks::Chunks;
use super::head::{Limits, Reading, Start};
use super::{Bad, Body, Scan, is_token};

/// Empty lines before a request that are passed over (RFC 9112 2.2 asks for one at least).
const EMPTY_LINES_MAX: usize = 2;
/// Longest method.
const METHOD_BYTES_MAX: usize = 32;
/// Longest target that `http::Uri` takes.
pub const TARGET_BYTES_MAX: usize = 65_534;

/// Follows the requests of one connection.
#[derive(Debug)]
pub struct Guard {
    limits: Limits,
    state: State,
    heads: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In or before a head.
    Head(Reading),
    Body(Body),
    /// After a request to change the protocol: nothing is read before the answer.
    Upgrade,
    /// Another protocol: nothing is looked at.
    Raw,
}

// === impl Guard ===

impl Guard {
    /// For a fresh connection.
    pub fn new(head_bytes_max: usize, fields_max: usize) -> Self {
        let limits = Limits { bytes: head_bytes_max, fields: fields_max, empty_lines: EMPTY_LINES_MAX };
        Self { limits, state: State::HEAD, heads: 0 }
    }

    /// How many heads have been handed on.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a head is awaited or in part there.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Whether more of a body is awaited.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body(_))
    }

    /// Whether the answer to a change of protocol is awaited.
    pub fn awaits_upgrade(&self) -> bool {
        self.state == State::Upgrade
    }

    /// Whether another protocol is spoken.
    pub fn is_raw(&self) -> bool {
        self.state == State::Raw
    }

    /// The protocol was changed, or not.
    pub fn upgraded(&mut self, is_raw: bool) {
        self.state = if is_raw { State::Raw } else { State::HEAD };
    }

    /// Looks at bytes that follow those handed on before. A head behind a request that is not `answered` yet, counted from
    /// 1, is left for later: with it in hand hyper would not read on, and not see the client go away.
    pub fn scan(&mut self, bytes: &[u8], answered: u64) -> Scan {
        let mut pass = 0;
        loop {
            let rest = bytes.get(pass..).unwrap_or_default();
            match &mut self.state {
                State::Raw => return Scan::good(bytes.len()),
                State::Upgrade => return Scan::good(pass),
                _ if rest.is_empty() => return Scan::good(pass),
                State::Head(_) if self.heads > answered => return Scan::good(pass),
                State::Head(reading) => match reading.read(rest, self.limits, request_line).and_then(State::after) {
                    Ok(None) => return Scan::good(pass),
                    Ok(Some((next, end))) => {
                        self.state = next;
                        self.heads += 1;
                        pass += end;
                    }
                    Err(bad) => return Scan { pass, bad: Some(bad) },
                },
                State::Body(body) => {
                    let advance = body.advance(rest);
                    pass += advance.bytes;
                    if advance.bad.is_some() {
                        return Scan { pass, bad: advance.bad };
                    }
                    if advance.is_over {
                        self.state = State::HEAD;
                    }
                }
            }
        }
    }
}

// === impl State ===

impl State {
    const HEAD: Self = Self::Head(Reading::NEW);

    /// What follows a head that was read, and where.
    fn after(read: Option<(super::head::Head, usize)>) -> Result<Option<(Self, usize)>, Bad> {
        let Some((head, end)) = read else { return Ok(None) };
        let has_body = head.is_chunked || head.length.is_some_and(|length| length > 0);
        let next = match (head.asks_upgrade, head.length) {
            _ if head.asks_http2 => return Err(Bad::Upgrade),
            // A tunnel and a body would both claim the bytes that follow.
            (true, _) if has_body => return Err(Bad::Framing),
            (true, _) => Self::Upgrade,
            _ if head.is_chunked => Self::Body(Body::Chunks(Chunks::START)),
            (false, Some(length)) if length > 0 => Self::Body(Body::Length(length)),
            (false, _) => Self::HEAD,
        };
        Ok(Some((next, end)))
    }
}

/// `METHOD target HTTP/1.1`
fn request_line(line: &[u8]) -> Result<Start, Bad> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Bad::Head);
    };
    let is_method = (1..=METHOD_BYTES_MAX).contains(&method.len())
        && method.iter().all(|byte| is_token(*byte) && !byte.is_ascii_lowercase());
    let is_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(Bad::Head),
    };
    if !is_method || target.is_empty() || !target.iter().all(|byte| (0x21..=0x7e).contains(byte)) {
        return Err(Bad::Head);
    }
    target_is_uri(target)?;
    Ok(Start { is_11, status: 0 })
}

/// hyper cuts a fragment off, so that we would forward another target than came, and answers what is no URI by itself.
fn target_is_uri(target: &[u8]) -> Result<(), Bad> {
    if target.len() > TARGET_BYTES_MAX {
        return Err(Bad::TargetTooLong);
    }
    if target.iter().any(|byte| matches!(byte, b'#' | b'<' | b'>' | b'`')) {
        return Err(Bad::Target);
    }
    // What is left makes a path, and a query but for the quote; other forms come seldom.
    let is_path = target.starts_with(b"/") && !target.contains(&b'"');
    if is_path || str::from_utf8(target).is_ok_and(|text| text.parse::<Uri>().is_ok()) {
        Ok(())
    } else {
        Err(Bad::Target)
    }
}
