//! The bytes of messages before hyper reads them: where a head ends, what frames its body, and whether both are written
//! as HTTP/1.1 asks.
//!
//! hyper takes a bare LF for a line's end, drops a Content-Length that stands beside a Transfer-Encoding, takes
//! `chunked, chunked`, and never says so: its user sees a head that is fine. Another server in the chain may have read
//! the same bytes otherwise, and that difference is request smuggling (RFC 9112 11.2), or on the way back one person's
//! answer to another (11.1). So each head is held until it is whole, looked at as bytes, and handed on unchanged or not
//! at all. Bodies pass as they come; of chunks the size lines are followed, data is skipped. The cost is one walk over
//! the head: a head that comes in pieces is read on from its last whole line.
//!
//! [`Guard`] looks at what a client sends, [`AnswerGuard`] at what LiteLLM answers.

mod answer;
mod chunks;
mod head;
mod request;

pub use answer::{AnswerGuard, Asked};
pub use request::{Guard, TARGET_BYTES_MAX};

use chunks::Chunks;

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// The head is not written as HTTP/1.1 asks.
    #[error("a head that is not written as HTTP/1.1 asks")]
    Head,
    /// The target holds what no URI holds.
    #[error("a target that is no URI")]
    Target,
    /// The target is longer than any that is taken.
    #[error("a target that is too long")]
    TargetTooLong,
    /// A change to a protocol that hides requests from us, such as `h2c`.
    #[error("a change of protocol that does not pass")]
    Upgrade,
    /// What frames the body is missing, doubled or contradictory; or the chunks are broken.
    #[error("doubtful framing")]
    Framing,
    /// More bytes or more fields than the limits allow.
    #[error("a head that is too large")]
    TooLarge,
    /// The head did not come in time.
    #[error("a head that did not come in time")]
    Late,
}

/// What is wrong with an answer's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// As a request's can be.
    #[error(transparent)]
    Bytes(#[from] Bad),
    /// More interim answers than anybody needs.
    #[error("interim answers without end")]
    Interim,
    /// Bytes that answer nothing: after an answer's end, or without a request.
    #[error("bytes that nobody asked for")]
    Unasked,
}

/// How far bytes may be handed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Scan<B = Bad> {
    /// So many bytes are fine. What follows is the beginning of a head, to be shown again with more bytes after it.
    pub pass: usize,
    /// What is wrong with the bytes after them. Nothing of those may be handed on.
    pub bad: Option<B>,
}

/// In a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// With so many bytes to come.
    Length(u64),
    Chunks(Chunks),
    /// To the connection's end.
    UntilClose,
}

/// How far a body has come.
struct Advance {
    bytes: usize,
    is_over: bool,
    bad: Option<Bad>,
}

// === impl Scan ===

impl<B> Scan<B> {
    fn good(pass: usize) -> Self {
        Self { pass, bad: None }
    }
}

// === impl Body ===

impl Body {
    /// Takes what is there of the body.
    fn advance(&mut self, bytes: &[u8]) -> Advance {
        match self {
            Self::UntilClose => Advance { bytes: bytes.len(), is_over: false, bad: None },
            Self::Length(left) => {
                let here = here(bytes, *left);
                *left -= here as u64;
                Advance { bytes: here, is_over: *left == 0, bad: None }
            }
            Self::Chunks(chunks) => Self::advance_chunks(chunks, bytes),
        }
    }

    fn advance_chunks(chunks: &mut Chunks, bytes: &[u8]) -> Advance {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(&byte) = rest.first() else { return Advance { bytes: at, is_over: false, bad: None } };
            if let Chunks::Data { left } = chunks {
                let here = here(rest, *left);
                *left -= here as u64;
                at += here;
                if *left == 0 {
                    *chunks = Chunks::DataCr;
                }
                continue;
            }
            match chunks.after(byte) {
                Err(bad) => return Advance { bytes: at, is_over: false, bad: Some(bad) },
                Ok(None) => return Advance { bytes: at + 1, is_over: true, bad: None },
                Ok(Some(next)) => *chunks = next,
            }
            at += 1;
        }
    }
}

/// How many of so many bytes are there.
fn here(bytes: &[u8], left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
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
