//! `X-Request-Id`: taken from the request where it is short and plain, else made.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{HeaderName, HeaderValue};

use super::names::Repeated;

/// The header's name.
pub const NAME: HeaderName = HeaderName::from_static("x-request-id");
/// Most bytes of an id that is taken over.
pub const BYTES_MAX: usize = 128;

/// The request's own id, or a new one: 16 hex digits, unique in this process and unlikely in any other.
pub fn take_or_make(came: Result<Option<&HeaderValue>, Repeated>) -> HeaderValue {
    match came {
        Ok(Some(id)) if is_plain(id.as_bytes()) => id.clone(),
        _ => make(),
    }
}

fn is_plain(id: &[u8]) -> bool {
    (1..=BYTES_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
}

fn make() -> HeaderValue {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut left = KEY.hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
    let digits: [u8; 16] = std::array::from_fn(|_| {
        left = left.rotate_left(4);
        b"0123456789abcdef".get(usize::from((left & 15) as u8)).copied().unwrap_or(b'0')
    });
    HeaderValue::from_bytes(&digits).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(value: &[u8]) -> HeaderValue {
        take_or_make(Ok(Some(&HeaderValue::from_bytes(value).unwrap())))
    }

    #[test]
    fn a_plain_id_is_kept_and_anything_else_replaced() {
        assert_eq!(id_for(b"abc-123_x.Y:/=@+"), "abc-123_x.Y:/=@+");
        for bad in [&b"a b"[..], b"\"", b"a,b", b"\xff", &[b'a'; 129], b"", b"<script>"] {
            let id = id_for(bad);
            assert!(id.len() == 16 && id.to_str().unwrap().bytes().all(|byte| byte.is_ascii_hexdigit()), "{bad:?}");
        }
        assert_ne!(make(), make());
    }
}
