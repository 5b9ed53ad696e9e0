//! What the upstream answers.

use super::chunks::Chunks;
use super::head::{Head, HeadLimits, Reading, Start};
use super::{BodyFraming, Malformed, MalformedResponse, Scan, tail};

/// Interim responses before a final one. Servers send a few at most; each costs a walk and a callback.
const INTERIM_MAX: usize = 100;

/// What of a request decides where its response ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// Any other request.
    Plain,
    /// HEAD: the response has no body, whatever it says.
    Head,
    /// An upgrade: 101 may come.
    Upgrade,
}

/// Follows the responses on one connection.
#[derive(Debug)]
pub struct ResponseGuard {
    limits: HeadLimits,
    state: ResponseState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResponseState {
    /// No request is open.
    Idle,
    /// Within or before a head, after so many interim ones.
    Head {
        kind: RequestKind,
        reading: Reading,
        interim: usize,
    },
    Body(BodyFraming),
    /// Another protocol: nothing is checked.
    Raw,
}

// === impl ResponseGuard ===

impl ResponseGuard {
    /// For a new connection.
    pub fn new(head_bytes_max: usize, fields_max: usize) -> Self {
        let limits = HeadLimits { bytes: head_bytes_max, fields: fields_max, empty_lines: 0 };
        Self { limits, state: ResponseState::Idle }
    }

    /// A request is being sent.
    pub fn expect(&mut self, kind: RequestKind) {
        self.state = ResponseState::Head { kind, reading: Reading::NEW, interim: 0 };
    }

    /// Whether no response is awaited and none is under way.
    pub fn is_idle(&self) -> bool {
        self.state == ResponseState::Idle
    }

    /// Whether the connection has changed to another protocol.
    pub fn is_raw(&self) -> bool {
        self.state == ResponseState::Raw
    }

    /// Whether an interim response has come and the final one is awaited.
    pub fn is_in_later_head(&self) -> bool {
        matches!(self.state, ResponseState::Head { interim: 1.., .. })
    }

    /// Checks bytes that follow those handed on before.
    pub fn scan(&mut self, bytes: &[u8]) -> Scan<MalformedResponse> {
        let mut pass = 0;
        let malformed = self.advance(bytes, &mut pass).err();
        Scan { pass, malformed }
    }

    fn advance(&mut self, bytes: &[u8], pass: &mut usize) -> Result<(), MalformedResponse> {
        loop {
            let rest = tail(bytes, *pass)?;
            match &mut self.state {
                ResponseState::Raw => {
                    *pass = bytes.len();
                    return Ok(());
                }
                _ if rest.is_empty() => return Ok(()),
                ResponseState::Idle => return Err(MalformedResponse::Unasked),
                ResponseState::Head { kind, reading, interim } => {
                    let Some((head, end)) = reading.read(rest, self.limits, status_line)? else { return Ok(()) };
                    self.state = ResponseState::after(head, *kind, *interim)?;
                    *pass += end;
                }
                ResponseState::Body(body) => {
                    if body.advance(rest, pass)? {
                        self.state = ResponseState::Idle;
                    }
                }
            }
        }
    }
}

// === impl ResponseState ===

impl ResponseState {
    /// What follows a head (RFC 9112 6.3).
    fn after(head: Head, kind: RequestKind, interim: usize) -> Result<Self, MalformedResponse> {
        match (head.start.status, kind) {
            (101, RequestKind::Upgrade) => Ok(Self::Raw),
            (101, _) => Err(MalformedResponse::Unasked),
            (100..=199, _) if interim >= INTERIM_MAX => Err(MalformedResponse::Interim),
            // Without a body, whatever they say (6.3, rule 1).
            (100..=199, _) => Ok(Self::Head { kind, reading: Reading::NEW, interim: interim + 1 }),
            (204 | 304, _) | (_, RequestKind::Head) => Ok(Self::Idle),
            _ if head.is_chunked => Ok(Self::Body(BodyFraming::Chunks(Chunks::START))),
            _ => Ok(match head.length {
                Some(0) => Self::Idle,
                Some(length) => Self::Body(BodyFraming::Length(length)),
                None => Self::Body(BodyFraming::UntilClose),
            }),
        }
    }
}

/// `HTTP/1.1 200 OK`; the reason may be missing, and the space before it too.
fn status_line(line: &[u8]) -> Result<Start, Malformed> {
    let (version, rest) = line.split_at_checked(9).ok_or(Malformed::Head)?;
    let is_11 = match version {
        b"HTTP/1.1 " => true,
        b"HTTP/1.0 " => false,
        _ => return Err(Malformed::Head),
    };
    let (code, reason) = rest.split_at_checked(3).ok_or(Malformed::Head)?;
    let status = code.iter().try_fold(0, |status, digit| {
        digit.is_ascii_digit().then(|| status * 10 + u16::from(digit - b'0')).ok_or(Malformed::Head)
    })?;
    let is_reason = reason.is_empty() || reason.starts_with(b" ");
    if status < 100 || !is_reason { Err(Malformed::Head) } else { Ok(Start { is_11, status }) }
}
