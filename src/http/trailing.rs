//! Trailers on their way out. hyper writes only those that a `Trailer` field has announced and drops the rest, and many
//! senders announce none. So a body that ends in trailers leaves them here instead of giving them to hyper, which writes
//! an ordinary last chunk; whoever has the bytes puts them in behind it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use http::HeaderMap;

/// The end of a chunked body (RFC 9112 7.1) as hyper writes it.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The trailers of the one body that goes out on a connection.
#[derive(Debug, Default)]
pub struct Trailing {
    is_there: AtomicBool,
    lines: Mutex<Vec<u8>>,
}

// === impl Trailing ===

impl Trailing {
    /// The body says: these, and then it ends at once. What is still to be written ends with the last chunk.
    pub fn leave(&self, trailers: &HeaderMap) {
        if trailers.is_empty() {
            return;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clear();
        for (name, value) in trailers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                lines.extend_from_slice(part);
            }
        }
        self.is_there.store(true, Ordering::Release);
    }

    /// Whether the bytes of the body's end are to be gathered; costs one load.
    pub fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Acquire)
    }

    /// Puts the trailers into the gathered bytes. Without a last chunk there is no place for them.
    pub fn finish(&self, end: &mut Vec<u8>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_there.store(false, Ordering::Release);
        if end.ends_with(LAST_CHUNK) {
            end.truncate(end.len() - 2);
            end.append(&mut lines);
            end.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn trailers_stand_behind_the_last_chunk() {
        let trailing = Trailing::default();
        trailing.leave(&HeaderMap::new());
        assert!(!trailing.is_there());
        let mut trailers = HeaderMap::new();
        trailers.append("x-sum", HeaderValue::from_static("1"));
        trailers.append("x-sum", HeaderValue::from_static("2"));
        trailing.leave(&trailers);
        assert!(trailing.is_there());
        let mut end = b"2\r\nok\r\n0\r\n\r\n".to_vec();
        trailing.finish(&mut end);
        assert_eq!(end, b"2\r\nok\r\n0\r\nx-sum: 1\r\nx-sum: 2\r\n\r\n");
        assert!(!trailing.is_there());
        trailing.leave(&trailers);
        let mut cut = b"2\r\nok\r\n".to_vec();
        trailing.finish(&mut cut);
        assert_eq!(cut, b"2\r\nok\r\n", "without a last chunk there is no place for them");
    }
}
