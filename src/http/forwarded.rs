//! `X-Forwarded-*` and `Via`: what the hops before us said, kept only from a trusted peer, and what we add.

use std::iter;

use bytes::BytesMut;
use http::header::{self, HeaderName, HeaderValue};

/// Our name in `Via`. The same for every replica: a request that comes round again is a loop whichever it meets.
pub const VIA_NAME: &str = "vestibule";
/// Our `Via` for a request that came by HTTP/1.1.
pub const VIA_11: HeaderValue = HeaderValue::from_static("1.1 vestibule");
/// Our `Via` for a request that came by HTTP/1.0.
pub const VIA_10: HeaderValue = HeaderValue::from_static("1.0 vestibule");

/// `X-Forwarded-For`.
pub const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`.
pub const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`.
pub const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Names that are dropped, or replaced by ours: a client's or an earlier hop's copy never passes as it came.
pub const OURS: [HeaderName; 13] = [
    FOR,
    PROTO,
    HOST,
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-uri"),
    HeaderName::from_static("x-forwarded-method"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-original-uri"),
];

/// Whether a request has been through vestibule already (RFC 9110 7.6.3).
pub fn is_loop<'a>(mut via: impl Iterator<Item = &'a HeaderValue>) -> bool {
    // As bytes: a line that is not ASCII, which any client can send, must not hide the hop that was added to it.
    via.any(|line| {
        line.as_bytes().split(|byte| *byte == b',').any(|hop| {
            // `1.1 name`, `HTTP/1.1 name:port (comment)`
            let mut parts = hop.split(|byte| matches!(byte, b' ' | b'\t')).filter(|part| !part.is_empty());
            parts.nth(1) == Some(VIA_NAME.as_bytes())
        })
    })
}

/// What was said so far and what we add, parted by a comma; ours alone where nothing is kept.
pub fn append<'a>(kept: impl Iterator<Item = &'a HeaderValue>, ours: &'a HeaderValue) -> Option<HeaderValue> {
    joined(kept.chain([ours]))
}

/// The lines of a list as one, parted by commas (RFC 9110 5.3); `None` where there is none.
pub fn joined<'a>(mut lines: impl Iterator<Item = &'a HeaderValue>) -> Option<HeaderValue> {
    let first = lines.next()?;
    let Some(second) = lines.next() else { return Some(first.clone()) };
    let mut text = BytesMut::with_capacity(64);
    text.extend_from_slice(first.as_bytes());
    for line in iter::once(second).chain(lines) {
        text.extend_from_slice(b", ");
        text.extend_from_slice(line.as_bytes());
    }
    HeaderValue::from_maybe_shared(text.freeze()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_via_is_a_loop_in_each_of_its_forms() {
        let via = |value| is_loop([HeaderValue::from_bytes(value).unwrap()].iter());
        assert!(via(b"1.1 vestibule"));
        assert!(via(b"1.0 nginx, HTTP/1.1  vestibule (x)"));
        assert!(via(b"1.1 caf\xe9, 1.1 vestibule"));
        assert!(!via(b"1.1 vestibule-of-others, 1.1 nginx"));
        assert!(!via(b""));
    }

    #[test]
    fn addresses_are_appended_in_order() {
        let kept = ["1.1.1.1", "2.2.2.2, 3.3.3.3"].map(HeaderValue::from_static);
        let ours = HeaderValue::from_static("4.4.4.4");
        assert_eq!(append(kept.iter(), &ours).unwrap(), "1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4");
        assert_eq!(append(iter::empty(), &ours).unwrap(), "4.4.4.4");
    }
}
