//! The bytes of requests before hyper reads them: where a head ends, what frames its body, and whether both are written
//! as HTTP/1.1 asks.
//!
//! hyper takes a bare LF for a line's end, drops a Content-Length that stands beside a Transfer-Encoding, takes
//! `chunked, chunked`, and never says so: its service sees a head that is fine. Another server in the chain may have read
//! the same bytes otherwise, and that difference is request smuggling (RFC 9112 11.2). So each head is held until it is
//! whole, looked at once as bytes, and handed on unchanged or not at all. Bodies pass as they come; of chunks the size
//! lines are followed, data is skipped. The cost is one walk over the head.

mod chunks;

use std::str;

use chunks::Chunks;

/// Empty lines before a request that are passed over (RFC 9112 2.2 asks for one at least).
const EMPTY_LINES_MAX: usize = 2;
/// Longest method.
const METHOD_BYTES_MAX: usize = 32;

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// The head is not written as HTTP/1.1 asks.
    Head,
    /// What frames the body is missing, doubled or contradictory; or the chunks are broken.
    Framing,
    /// More bytes or more fields than the limits allow.
    TooLarge,
    /// The head did not come in time.
    Late,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub struct Guard {
    head_bytes_max: usize,
    fields_max: usize,
    state: State,
    heads: u64,
}

/// How far the bytes may be handed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Scan {
    /// So many bytes are fine. What follows is the beginning of a head, to be shown again with more bytes after it.
    pub pass: usize,
    /// What is wrong with the bytes after them. Nothing of those may be handed on.
    pub bad: Option<Bad>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In or before a head, of which this many bytes have been searched for its end.
    Head { searched: usize },
    /// In a body, with so many bytes to come.
    Length(u64),
    /// In chunks.
    Chunks(Chunks),
    /// After a request to change the protocol: nothing is read before the answer.
    Upgrade,
    /// Another protocol: nothing is looked at.
    Raw,
}

struct Head {
    length: Option<u64>,
    is_chunked: bool,
    asks_upgrade: bool,
}

// === impl Guard ===

impl Guard {
    /// For a fresh connection.
    pub fn new(head_bytes_max: usize, fields_max: usize) -> Self {
        Self { head_bytes_max, fields_max, state: State::Head { searched: 0 }, heads: 0 }
    }

    /// How many heads have been handed on.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a head is awaited or in part there.
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head { .. })
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
        self.state = if is_raw { State::Raw } else { State::Head { searched: 0 } };
    }

    /// Looks at bytes that follow those handed on before. A head behind a request that is not `answered` yet, counted from
    /// 1, is left for later: with it in hand hyper would not read on, and not see the client go away.
    pub fn scan(&mut self, bytes: &[u8], answered: u64) -> Scan {
        let mut pass = 0;
        loop {
            let rest = bytes.get(pass..).unwrap_or_default();
            let stepped = match self.state {
                State::Raw => return Scan { pass: bytes.len(), bad: None },
                State::Upgrade => return Scan { pass, bad: None },
                _ if rest.is_empty() => return Scan { pass, bad: None },
                State::Head { .. } if self.heads > answered => return Scan { pass, bad: None },
                State::Head { searched } => self.head(rest, searched),
                State::Length(left) => Ok(self.length(rest, left)),
                State::Chunks(chunks) => self.chunks(rest, chunks),
            };
            match stepped {
                Ok(0) => return Scan { pass, bad: None },
                Ok(taken) => pass += taken,
                Err(bad) => return Scan { pass, bad: Some(bad) },
            }
        }
    }

    /// Takes a whole head, or nothing.
    fn head(&mut self, bytes: &[u8], searched: usize) -> Result<usize, Bad> {
        // Most heads come whole and are read in one walk. One that comes in pieces is read again with each line that is
        // whole, which the limit of fields bounds, and not with each byte.
        let is_worth_reading = memchr::memchr(b'\n', bytes.get(searched..).unwrap_or_default()).is_some();
        let whole = if is_worth_reading { Head::read(bytes, self.fields_max, self.head_bytes_max)? } else { None };
        let Some((head, end)) = whole else {
            if bytes.len() > self.head_bytes_max {
                return Err(Bad::TooLarge);
            }
            self.state = State::Head { searched: bytes.len() };
            return Ok(0);
        };
        self.state = match head {
            Head { asks_upgrade: true, is_chunked: false, length: None | Some(0) } => State::Upgrade,
            // A tunnel and a body would both claim the bytes that follow.
            Head { asks_upgrade: true, .. } => return Err(Bad::Framing),
            Head { is_chunked: true, .. } => State::Chunks(Chunks::START),
            Head { length: Some(length), .. } if length > 0 => State::Length(length),
            Head { .. } => State::Head { searched: 0 },
        };
        self.heads += 1;
        Ok(end)
    }

    fn length(&mut self, bytes: &[u8], left: u64) -> usize {
        let (here, left) = take(bytes, left);
        self.state = if left == 0 { State::Head { searched: 0 } } else { State::Length(left) };
        here
    }

    /// Takes what is there of one line or of one chunk's data.
    fn chunks(&mut self, bytes: &[u8], chunks: Chunks) -> Result<usize, Bad> {
        if let Chunks::Data { left } = chunks {
            let (here, left) = take(bytes, left);
            self.state = State::Chunks(if left == 0 { Chunks::DataCr } else { Chunks::Data { left } });
            return Ok(here);
        }
        let Some(&byte) = bytes.first() else { return Ok(0) };
        self.state = chunks.after(byte)?.map_or(State::Head { searched: 0 }, State::Chunks);
        Ok(1)
    }
}

// === impl Head ===

impl Head {
    /// Reads to the empty line; gives the head and where it ends. `None` when the end is not there yet.
    fn read(bytes: &[u8], fields_max: usize, bytes_max: usize) -> Result<Option<(Self, usize)>, Bad> {
        // What lies beyond the limit is not looked at: the verdict would hang on how much of it is there already.
        let mut lines = Lines { bytes: bytes.get(..bytes_max).unwrap_or(bytes), at: 0 };
        let mut first = b"".as_slice();
        for _ in 0..=EMPTY_LINES_MAX {
            let Some(line) = lines.next() else { return Ok(None) };
            first = line?;
            if !first.is_empty() {
                break;
            }
        }
        let is_11 = request_line(first).ok_or(Bad::Head)?;
        let mut read = Self { length: None, is_chunked: false, asks_upgrade: false };
        let mut fields = 0;
        loop {
            let Some(line) = lines.next() else { return Ok(None) };
            let line = line?;
            if line.is_empty() {
                break;
            }
            fields += 1;
            if fields > fields_max {
                return Err(Bad::TooLarge);
            }
            let colon = line.iter().position(|byte| !is_token(*byte)).ok_or(Bad::Head)?;
            let (name, value) = line.split_at(colon);
            let value = value.strip_prefix(b":").ok_or(Bad::Head)?;
            if name.is_empty() || !are_text(value) {
                return Err(Bad::Head);
            }
            read.field(name, value.trim_ascii(), is_11)?;
        }
        if read.is_chunked && read.length.is_some() {
            return Err(Bad::Framing); // RFC 9112 6.1
        }
        Ok(Some((read, lines.at)))
    }

    fn field(&mut self, name: &[u8], value: &[u8], is_11: bool) -> Result<(), Bad> {
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = length(value).ok_or(Bad::Framing)?;
                if self.length.replace(length).is_some() {
                    return Err(Bad::Framing); // twice, even the same: one of us may count the other
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.is_chunked || !is_11 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Bad::Framing);
                }
                self.is_chunked = true;
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.asks_upgrade = true,
            _ => {}
        }
        Ok(())
    }
}

/// How many of so many bytes are there, and how many are left to come.
fn take(bytes: &[u8], left: u64) -> (usize, u64) {
    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (here, left - here as u64)
}

/// Whole lines, without their CRLF. A bare LF is an error; a bare CR is left to who looks at the line's bytes.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Bad>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..)?;
        let end = memchr::memchr(b'\n', rest)?;
        self.at += end + 1;
        Some(rest.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Bad::Head))
    }
}

/// `METHOD target HTTP/1.1`; whether it is 1.1.
fn request_line(line: &[u8]) -> Option<bool> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    let is_method = (1..=METHOD_BYTES_MAX).contains(&method.len())
        && method.iter().all(|byte| is_token(*byte) && !byte.is_ascii_lowercase());
    let is_target = !target.is_empty() && target.iter().all(|byte| (0x21..=0x7e).contains(byte));
    let is_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return None,
    };
    (is_method && is_target && parts.next().is_none()).then_some(is_11)
}

/// Digits alone: no sign, no list, no blank (RFC 9110 8.6).
fn length(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok()
}

/// Which bytes are token characters (RFC 9110 5.6.2): a table, because every byte of every name is looked up.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x7f {
        let is_token = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        #[expect(clippy::indexing_slicing, reason = "a byte is less than 256, and this runs in the compiler")]
        {
            table[byte as usize] = is_token;
        }
        byte += 1;
    }
    table
};

fn is_token(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// All bytes are text. Written without a way out of the loop, so that many are looked at at once.
fn are_text(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, byte| all & is_text(*byte))
}

/// A field value's bytes (RFC 9110 5.5): no control but the tab. Bytes beyond ASCII are text.
fn is_text(byte: u8) -> bool {
    !matches!(byte, 0..=8 | 10..=0x1f | 0x7f)
}

#[cfg(test)]
mod tests;
