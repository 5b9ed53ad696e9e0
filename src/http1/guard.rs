//! The bytes of messages before hyper reads them: where a head ends, what frames its body, and whether both are written
//! as HTTP/1.1 requires.
//!
//! A head is held until it is whole, checked as bytes, and handed to hyper unchanged or not at all. Bodies pass as they
//! come; of chunks the size lines are checked and the data is skipped. The cost is one walk over the head: a head that
//! arrives in pieces is continued from its last whole line.
//!
//! [`RequestGuard`] checks what a client sends, [`ResponseGuard`] what the upstream answers.

mod chunks;
mod head;
mod request;
mod response;

pub use request::{RequestGuard, TARGET_BYTES_MAX};
pub use response::{RequestKind, ResponseGuard};

use chunks::Chunks;

/// What is wrong with the bytes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A head that is not HTTP/1.1: a bare line feed, a control character, an invalid name, an odd first line.
    #[error("a head that is not well-formed HTTP/1.1")]
    Head,
    /// A target that is not a URI.
    #[error("a target that is no URI")]
    Target,
    /// A target longer than `http::Uri` can hold.
    #[error("a target that is too long")]
    TargetTooLong,
    /// An upgrade to a protocol in which requests could no longer be seen, such as `h2c`.
    #[error("an upgrade that does not pass")]
    Upgrade,
    /// The body's framing is missing, doubled or contradictory, or its chunks are broken.
    #[error("doubtful framing")]
    Framing,
    /// A head with more bytes or more fields than the limits allow.
    #[error("a head that is too large")]
    TooLarge,
    /// A head that did not arrive in time.
    #[error("a head that did not come in time")]
    Late,
}

/// What is wrong with the bytes of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedResponse {
    /// What can be wrong with a request too.
    #[error(transparent)]
    Message(#[from] Malformed),
    /// More interim responses than any server needs.
    #[error("interim responses without end")]
    Interim,
    /// Bytes after a response's end, or without a request.
    #[error("bytes that no request asked for")]
    Unasked,
}

/// How many bytes may be handed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Scan<M = Malformed> {
    /// So many bytes are fine. What follows is the beginning of a head, to be shown again with more bytes after it.
    pub pass: usize,
    /// What is wrong with the bytes after them. None of those may be handed on.
    pub malformed: Option<M>,
}

/// How a body is framed, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyFraming {
    /// With so many bytes to come.
    Length(u64),
    Chunks(Chunks),
    UntilClose,
}

// === impl BodyFraming ===

impl BodyFraming {
    /// Takes what is there of the body, adds its length to `pass`, and returns whether the body has ended.
    fn advance(&mut self, bytes: &[u8], pass: &mut usize) -> Result<bool, Malformed> {
        match self {
            Self::UntilClose => {
                *pass += bytes.len();
                Ok(false)
            }
            Self::Length(left) => {
                *pass += taken(bytes, left);
                Ok(*left == 0)
            }
            Self::Chunks(chunks) => Self::advance_chunks(chunks, bytes, pass),
        }
    }

    fn advance_chunks(chunks: &mut Chunks, bytes: &[u8], pass: &mut usize) -> Result<bool, Malformed> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if let Chunks::Data { left } = chunks {
                let data = taken(rest, left);
                if *left == 0 {
                    *chunks = Chunks::DataCr;
                }
                *pass += data;
                rest = tail(rest, data)?;
                continue;
            }
            let next = chunks.after(byte)?;
            *pass += 1;
            rest = after;
            match next {
                Some(next) => *chunks = next,
                None => return Ok(true),
            }
        }
        Ok(false)
    }
}

/// Takes as many of the bytes that are left as are there.
fn taken(bytes: &[u8], left: &mut u64) -> usize {
    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= here as u64;
    here
}

/// The bytes from an offset on. An offset beyond them is a bug, and must not look like "nothing there".
fn tail(bytes: &[u8], at: usize) -> Result<&[u8], Malformed> {
    debug_assert!(at <= bytes.len(), "an offset beyond its bytes");
    bytes.get(at..).ok_or(Malformed::Framing)
}

/// Token characters (RFC 9110 5.6.2): a table, because every byte of every name is looked up.
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

/// How many bytes before the first that is not of a token; by fours, since all is there for most of a name.
fn token_length(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<4>();
    let whole =
        blocks.iter().take_while(|block| block.iter().fold(true, |all, byte| all & is_token(*byte))).count() * 4;
    let rest = bytes.get(whole..).unwrap_or_default();
    whole + rest.iter().take_while(|byte| is_token(**byte)).count()
}

/// How many bytes before the first that is not text. Most of a head's bytes pass through here, so they are taken together: by
/// 32 in a loop without an exit, which the compiler makes vector code of, then by 8.
fn text_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    let (blocks, _) = bytes.as_chunks::<32>();
    for block in blocks {
        if block.iter().fold(false, |any, byte| any | byte.is_ascii_control()) {
            break;
        }
        length += 32;
    }
    let mut rest = bytes.get(length..).unwrap_or_default();
    loop {
        let found = plain_length(rest);
        length += found;
        match rest.get(found..) {
            Some([b'\t', after @ ..]) => rest = after,
            _ => return length,
        }
        length += 1;
    }
}

/// How many bytes before the first control character, the tab among them.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, tail) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let no_del = word ^ (0x7f * ONES);
        // The high bit of each byte below 0x20, or 0x7f. Borrows can set others, but only above the first.
        let found = (word.wrapping_sub(0x20 * ONES) & !word | no_del.wrapping_sub(ONES) & !no_del) & (0x80 * ONES);
        if found != 0 {
            return number * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let found = tail.iter().position(u8::is_ascii_control);
    words.len() * 8 + found.unwrap_or(tail.len())
}

/// A byte of a field value (RFC 9110 5.5): no control except the tab. Bytes beyond ASCII are text.
fn is_text(byte: u8) -> bool {
    !matches!(byte, 0..=8 | 10..=0x1f | 0x7f)
}

#[cfg(test)]
mod tests;
