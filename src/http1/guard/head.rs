//! A head, read line by line as its bytes arrive: what frames the body, and whether another protocol is asked for.

use std::str;

use super::{Malformed, tail, text_length, token_length};

/// What a head may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadLimits {
    pub(super) bytes: usize,
    pub(super) fields: usize,
    /// Before the first line.
    pub(super) empty_lines: usize,
}

/// What the first line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) is_11: bool,
    /// Of an answer; 0 of a request.
    pub(super) status: u16,
}

/// What of a head decides how the bytes after it are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) start: Start,
    pub(super) length: Option<u64>,
    pub(super) is_chunked: bool,
    pub(super) asks_upgrade: bool,
    /// `Upgrade` names HTTP/2.
    pub(super) asks_http2: bool,
}

/// How far a head has been read. The same bytes are shown again, with more after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// Where the first unfinished line begins, and how far it is known to be text.
    at: usize,
    searched: usize,
    empty_lines: usize,
    fields: usize,
    head: Option<Head>,
}

// === impl Reading ===

impl Reading {
    /// Nothing read yet.
    pub(super) const NEW: Self = Self { at: 0, searched: 0, empty_lines: 0, fields: 0, head: None };

    /// Reads on to the empty line; returns the head and where it ends, `None` when the end is not there yet.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        limits: HeadLimits,
        start_line: fn(&[u8]) -> Result<Start, Malformed>,
    ) -> Result<Option<(Head, usize)>, Malformed> {
        // Bytes beyond the limit are ignored, so that the verdict does not depend on how the network cut them.
        let allowed = bytes.get(..limits.bytes).unwrap_or(bytes);
        while let Some(line) = self.line(allowed)? {
            match &mut self.head {
                None if line.is_empty() && self.empty_lines < limits.empty_lines => self.empty_lines += 1,
                None => self.head = Some(Head::begun(start_line(line)?)),
                Some(head) if line.is_empty() => return head.ended().map(|head| Some((head, self.at))),
                Some(head) => {
                    self.fields += 1;
                    if self.fields > limits.fields {
                        return Err(Malformed::TooLarge);
                    }
                    head.line(line)?;
                }
            }
        }
        if bytes.len() > limits.bytes { Err(Malformed::TooLarge) } else { Ok(None) }
    }

    /// The next whole line, without its CRLF: text and nothing else. Its end is the first control character; where that is not
    /// a CR before an LF, the head is malformed, whether its line is whole or not.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
        let rest = tail(bytes, self.searched)?;
        let found = text_length(rest);
        let end = self.searched + found;
        match rest.get(found..) {
            Some([b'\r', b'\n', ..]) => {
                let line = bytes.get(self.at..end).ok_or(Malformed::Head)?;
                self.at = end + 2;
                self.searched = self.at;
                Ok(Some(line))
            }
            None | Some([] | [b'\r']) => {
                self.searched = end;
                Ok(None)
            }
            Some(_) => Err(Malformed::Head),
        }
    }
}

// === impl Head ===

impl Head {
    fn begun(start: Start) -> Self {
        Self { start, length: None, is_chunked: false, asks_upgrade: false, asks_http2: false }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let (name, value) = line.split_at_checked(token_length(line)).ok_or(Malformed::Head)?;
        let value = value.strip_prefix(b":").ok_or(Malformed::Head)?;
        if name.is_empty() {
            return Err(Malformed::Head);
        }
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = length(value.trim_ascii()).ok_or(Malformed::Framing)?;
                if self.length.replace(length).is_some() {
                    return Err(Malformed::Framing); // twice, even if equal: two readers may take different ones
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.is_chunked || !self.start.is_11 || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed::Framing);
                }
                self.is_chunked = true;
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.asks_upgrade = true;
                self.asks_http2 |= value.split(|byte| *byte == b',').any(is_http2);
            }
            _ => {}
        }
        Ok(())
    }

    fn ended(self) -> Result<Self, Malformed> {
        // RFC 9112 6.1
        if self.is_chunked && self.length.is_some() { Err(Malformed::Framing) } else { Ok(self) }
    }
}

/// `h2c`, and the names that its drafts had.
fn is_http2(protocol: &[u8]) -> bool {
    protocol.trim_ascii().get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"h2"))
}

/// Digits only: no sign, no list, no space (RFC 9110 8.6).
fn length(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok()
}
