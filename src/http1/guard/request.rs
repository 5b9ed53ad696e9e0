//! What a client sends.

use std::str;

use http::Uri;

use super::chunks::Chunks;
use super::head::{Head, HeadLimits, Reading, Start};
use super::{BodyFraming, Malformed, Scan, tail, token_length};

/// Empty lines before a request that are skipped (RFC 9112 2.2 asks for at least one).
const EMPTY_LINES_MAX: usize = 2;
/// Longest method.
const METHOD_BYTES_MAX: usize = 32;
/// Longest target that `http::Uri` takes.
pub const TARGET_BYTES_MAX: usize = 65_534;

/// Follows the requests of one connection.
#[derive(Debug)]
pub struct RequestGuard {
    limits: HeadLimits,
    state: RequestState,
    heads: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestState {
    /// Within or before a head.
    Head(Reading),
    Body(BodyFraming),
    /// After a request to change the protocol: nothing is read before its response.
    Upgrade,
    /// Another protocol: nothing is checked.
    Raw,
}

// === impl RequestGuard ===

impl RequestGuard {
    /// For a new connection.
    pub fn new(head_bytes_max: usize, fields_max: usize) -> Self {
        let limits = HeadLimits { bytes: head_bytes_max, fields: fields_max, empty_lines: EMPTY_LINES_MAX };
        Self { limits, state: RequestState::HEAD, heads: 0 }
    }

    /// Number of heads that were handed on.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a head is awaited or partly there.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, RequestState::Head(_))
    }

    /// Whether more of a body is awaited.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, RequestState::Body(_))
    }

    /// Whether the response to an upgrade request is awaited.
    pub fn awaits_upgrade(&self) -> bool {
        self.state == RequestState::Upgrade
    }

    /// Whether the connection has changed to another protocol.
    pub fn is_raw(&self) -> bool {
        self.state == RequestState::Raw
    }

    /// The upgrade was granted, or not.
    pub fn upgraded(&mut self, is_raw: bool) {
        self.state = if is_raw { RequestState::Raw } else { RequestState::HEAD };
    }

    /// Checks bytes that follow those handed on before. A head after a request that is not `answered` yet (counted from 1)
    /// is left for later: with it in hand hyper would stop reading, and not see the client go away.
    pub fn scan(&mut self, bytes: &[u8], answered: u64) -> Scan {
        let mut pass = 0;
        let malformed = self.advance(bytes, answered, &mut pass).err();
        Scan { pass, malformed }
    }

    fn advance(&mut self, bytes: &[u8], answered: u64, pass: &mut usize) -> Result<(), Malformed> {
        loop {
            let rest = tail(bytes, *pass)?;
            match &mut self.state {
                RequestState::Raw => {
                    *pass = bytes.len();
                    return Ok(());
                }
                RequestState::Upgrade => return Ok(()),
                _ if rest.is_empty() => return Ok(()),
                RequestState::Head(_) if self.heads > answered => return Ok(()),
                RequestState::Head(reading) => {
                    let Some((head, end)) = reading.read(rest, self.limits, request_line)? else { return Ok(()) };
                    self.state = RequestState::after(head)?;
                    self.heads += 1;
                    *pass += end;
                }
                RequestState::Body(body) => {
                    if body.advance(rest, pass)? {
                        self.state = RequestState::HEAD;
                    }
                }
            }
        }
    }
}

// === impl RequestState ===

impl RequestState {
    const HEAD: Self = Self::Head(Reading::NEW);

    /// What follows a head.
    fn after(head: Head) -> Result<Self, Malformed> {
        let has_body = head.is_chunked || head.length.is_some_and(|length| length > 0);
        match (head.asks_upgrade, head.length) {
            _ if head.asks_http2 => Err(Malformed::Upgrade),
            // A tunnel and a body would both claim the bytes that follow.
            (true, _) if has_body => Err(Malformed::Framing),
            (true, _) => Ok(Self::Upgrade),
            _ if head.is_chunked => Ok(Self::Body(BodyFraming::Chunks(Chunks::START))),
            (false, Some(length)) if length > 0 => Ok(Self::Body(BodyFraming::Length(length))),
            (false, _) => Ok(Self::HEAD),
        }
    }
}

/// `METHOD target HTTP/1.1`
fn request_line(line: &[u8]) -> Result<Start, Malformed> {
    let (asked, is_11) = if let Some(asked) = line.strip_suffix(b" HTTP/1.1") {
        (asked, true)
    } else {
        (line.strip_suffix(b" HTTP/1.0").ok_or(Malformed::Head)?, false)
    };
    let (method, target) = asked.split_at_checked(token_length(asked)).ok_or(Malformed::Head)?;
    let target = target.strip_prefix(b" ").ok_or(Malformed::Head)?;
    let is_method = (1..=METHOD_BYTES_MAX).contains(&method.len()) && !method.iter().any(u8::is_ascii_lowercase);
    if !is_method || target.is_empty() {
        return Err(Malformed::Head);
    }
    check_target(target)?;
    Ok(Start { is_11, status: 0 })
}

/// hyper drops a fragment, so that another target than the client's would be forwarded, and answers a target that is no URI
/// itself.
fn check_target(target: &[u8]) -> Result<(), Malformed> {
    let is_path = target.starts_with(b"/") && target.iter().fold(true, |all, byte| all & is_of_path(*byte));
    if !is_path && !target.iter().all(u8::is_ascii_graphic) {
        return Err(Malformed::Head);
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(Malformed::TargetTooLong);
    }
    // Other forms, and a quote in a query, are rare.
    let is_uri = |text: &str| !text.contains(['#', '<', '>', '`']) && text.parse::<Uri>().is_ok();
    if is_path || str::from_utf8(target).is_ok_and(is_uri) { Ok(()) } else { Err(Malformed::Target) }
}

/// A byte that `http::Uri` takes in a path and in a query.
fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'`')
}
