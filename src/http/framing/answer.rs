//! What LiteLLM answers.

use super::chunks::Chunks;
use super::head::{Head, Limits, Reading, Start};
use super::{Bad, BadAnswer, Body, Scan, are_text};

/// Interim answers before one final answer. Nobody sends more than a few; each costs a walk and a callback.
const INTERIM_MAX: usize = 100;

/// What of a request decides over its answer's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Any other.
    Plain,
    /// HEAD: the answer has no body, whatever it says.
    Head,
    /// A change of protocol: 101 may come.
    Upgrade,
}

/// Follows the answers on one connection.
#[derive(Debug)]
pub struct AnswerGuard {
    limits: Limits,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was asked.
    Idle,
    /// In or before a head, after so many interim ones.
    Head {
        asked: Asked,
        reading: Reading,
        interim: usize,
    },
    Body(Body),
    /// Another protocol: nothing is looked at.
    Raw,
}

// === impl AnswerGuard ===

impl AnswerGuard {
    /// For a fresh connection.
    pub fn new(head_bytes_max: usize, fields_max: usize) -> Self {
        let limits = Limits { bytes: head_bytes_max, fields: fields_max, empty_lines: 0 };
        Self { limits, state: State::Idle }
    }

    /// A request goes up.
    pub fn expect(&mut self, asked: Asked) {
        self.state = State::Head { asked, reading: Reading::NEW, interim: 0 };
    }

    /// Whether no answer is awaited and none is under way.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Whether another protocol is spoken.
    pub fn is_raw(&self) -> bool {
        self.state == State::Raw
    }

    /// Whether an interim answer has come and the final one is awaited.
    pub fn is_in_later_head(&self) -> bool {
        matches!(self.state, State::Head { interim: 1.., .. })
    }

    /// Looks at bytes that follow those handed on before.
    pub fn scan(&mut self, bytes: &[u8]) -> Scan<BadAnswer> {
        let mut pass = 0;
        loop {
            let rest = bytes.get(pass..).unwrap_or_default();
            match &mut self.state {
                State::Raw => return Scan::good(bytes.len()),
                _ if rest.is_empty() => return Scan::good(pass),
                State::Idle => return Scan { pass, bad: Some(BadAnswer::Unasked) },
                State::Head { asked, reading, interim } => {
                    let (asked, interim) = (*asked, *interim);
                    let read = reading.read(rest, self.limits, status_line).map_err(BadAnswer::from);
                    let next = read.and_then(|read| match read {
                        Some((head, end)) => State::after(head, asked, interim).map(|next| Some((next, end))),
                        None => Ok(None),
                    });
                    match next {
                        Ok(None) => return Scan::good(pass),
                        Ok(Some((next, end))) => {
                            self.state = next;
                            pass += end;
                        }
                        Err(bad) => return Scan { pass, bad: Some(bad) },
                    }
                }
                State::Body(body) => {
                    let advance = body.advance(rest);
                    pass += advance.bytes;
                    if let Some(bad) = advance.bad {
                        return Scan { pass, bad: Some(bad.into()) };
                    }
                    if advance.is_over {
                        self.state = State::Idle;
                    }
                }
            }
        }
    }
}

// === impl State ===

impl State {
    /// What follows a head (RFC 9112 6.3).
    fn after(head: Head, asked: Asked, interim: usize) -> Result<Self, BadAnswer> {
        match (head.start.status, asked) {
            (101, Asked::Upgrade) => Ok(Self::Raw),
            (101, _) => Err(BadAnswer::Unasked),
            (100..=199, _) if interim >= INTERIM_MAX => Err(BadAnswer::Interim),
            // Without a body whatever they say (6.3, rule 1).
            (100..=199, _) => Ok(Self::Head { asked, reading: Reading::NEW, interim: interim + 1 }),
            (204 | 304, _) | (_, Asked::Head) => Ok(Self::Idle),
            _ if head.is_chunked => Ok(Self::Body(Body::Chunks(Chunks::START))),
            _ => Ok(match head.length {
                Some(0) => Self::Idle,
                Some(length) => Self::Body(Body::Length(length)),
                None => Self::Body(Body::UntilClose),
            }),
        }
    }
}

/// `HTTP/1.1 200 OK`; the reason may be missing, and its blank too.
fn status_line(line: &[u8]) -> Result<Start, Bad> {
    let (version, rest) = line.split_at_checked(9).ok_or(Bad::Head)?;
    let is_11 = match version {
        b"HTTP/1.1 " => true,
        b"HTTP/1.0 " => false,
        _ => return Err(Bad::Head),
    };
    let (code, reason) = rest.split_at_checked(3).ok_or(Bad::Head)?;
    let status = code.iter().try_fold(0, |status, digit| {
        digit.is_ascii_digit().then(|| status * 10 + u16::from(digit - b'0')).ok_or(Bad::Head)
    })?;
    let is_reason = reason.is_empty() || (reason.starts_with(b" ") && are_text(reason));
    if status < 100 || !is_reason { Err(Bad::Head) } else { Ok(Start { is_11, status }) }
}
