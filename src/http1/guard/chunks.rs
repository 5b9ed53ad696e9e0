//! The chunked coding (RFC 9112 7.1), byte by byte: sizes, extensions and trailers are checked, data is skipped.

use super::{Malformed, is_text, is_token};

/// Longest extension of a chunk (RFC 9112 7.1.1 requires a limit).
const CHUNK_LINE_BYTES_MAX: usize = 4096;
/// Most bytes of a trailer section.
const TRAILER_BYTES_MAX: usize = 16 * 1024;
/// Most hex digits of a chunk's size.
const CHUNK_DIGITS_MAX: usize = 15;

/// Where in the chunks the last byte was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    /// In the digits of a size.
    Size {
        digits: usize,
        size: u64,
    },
    /// In an extension.
    Extension {
        size: u64,
        bytes: usize,
    },
    /// After the CR of a size line.
    SizeLf {
        size: u64,
    },
    /// In data.
    Data {
        left: u64,
    },
    /// Before the CR, then the LF, after data.
    DataCr,
    DataLf,
    /// In the trailer section: bytes so far, and where in a line.
    Trailer {
        bytes: usize,
        part: FieldPart,
    },
    TrailerLf {
        bytes: usize,
        is_empty: bool,
    },
}

/// Where in a trailer's line the last byte was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldPart {
    Start,
    Name,
    Value,
}

// === impl Chunks ===

impl Chunks {
    /// Before the first chunk.
    pub(super) const START: Self = Self::Size { digits: 0, size: 0 };

    /// The state after one byte that is not data; `None` after the last. Only CRLF ends a line, only hex digits make a size.
    pub(super) fn after(self, byte: u8) -> Result<Option<Self>, Malformed> {
        if let Self::Size { digits, size } = self
            && digits < CHUNK_DIGITS_MAX
            && let Some(digit) = char::from(byte).to_digit(16)
        {
            return Ok(Some(Self::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }));
        }
        let next = match (self, byte) {
            (Self::Size { digits: 1.., size }, b';') => Self::Extension { size, bytes: 0 },
            (Self::Size { digits: 1.., size } | Self::Extension { size, .. }, b'\r') => Self::SizeLf { size },
            (Self::Extension { size, bytes }, _) if is_text(byte) && bytes < CHUNK_LINE_BYTES_MAX => {
                Self::Extension { size, bytes: bytes + 1 }
            }
            (Self::SizeLf { size: 0 }, b'\n') => Self::Trailer { bytes: 0, part: FieldPart::Start },
            (Self::SizeLf { size }, b'\n') => Self::Data { left: size },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::START,
            (Self::Trailer { bytes, part: FieldPart::Start }, b'\r') => Self::TrailerLf { bytes, is_empty: true },
            (Self::Trailer { bytes, part: FieldPart::Value }, b'\r') => Self::TrailerLf { bytes, is_empty: false },
            (Self::Trailer { bytes, part }, _) if bytes < TRAILER_BYTES_MAX => {
                Self::Trailer { bytes: bytes + 1, part: part.after(byte)? }
            }
            (Self::TrailerLf { is_empty: true, .. }, b'\n') => return Ok(None),
            (Self::TrailerLf { bytes, .. }, b'\n') => Self::Trailer { bytes, part: FieldPart::Start },
            _ => return Err(Malformed::Framing),
        };
        Ok(Some(next))
    }
}

// === impl FieldPart ===

impl FieldPart {
    /// A field line without its end: neither a fold nor a blank before the colon (RFC 9112 5.1, 5.2).
    fn after(self, byte: u8) -> Result<Self, Malformed> {
        match self {
            Self::Start | Self::Name if is_token(byte) => Ok(Self::Name),
            Self::Name if byte == b':' => Ok(Self::Value),
            Self::Value if is_text(byte) => Ok(Self::Value),
            Self::Start | Self::Name | Self::Value => Err(Malformed::Framing),
        }
    }
}
