//! `X-Forwarded-*` and `Via`: what the hops before us said, kept only from a trusted peer, and what we add.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::names;

/// Our name in `Via`. The same for every replica: a request that comes round again is a loop whichever it meets.
pub const VIA_NAME: &str = "vestibule";

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
pub fn is_loop(headers: &HeaderMap) -> bool {
    headers.get_all(header::VIA).iter().filter_map(names::list).flatten().any(|hop| {
        // `1.1 name`, `HTTP/1.1 name:port (comment)`
        hop.split([' ', '\t']).filter(|part| !part.is_empty()).nth(1) == Some(VIA_NAME)
    })
}

/// What was said so far and what we add, parted by a comma; ours alone where nothing may be kept.
pub fn append(kept: impl Iterator<Item = HeaderValue>, ours: &[u8]) -> Option<HeaderValue> {
    let mut text = Vec::with_capacity(64);
    for value in kept {
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b", ");
    }
    text.extend_from_slice(ours);
    HeaderValue::from_bytes(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_via_is_a_loop_in_each_of_its_forms() {
        let via = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(header::VIA, HeaderValue::from_static(value));
            is_loop(&headers)
        };
        assert!(via("1.1 vestibule"));
        assert!(via("1.0 nginx, HTTP/1.1  vestibule (x)"));
        assert!(!via("1.1 vestibule-of-others, 1.1 nginx"));
        assert!(!via(""));
    }

    #[test]
    fn addresses_are_appended_in_order() {
        let kept = ["1.1.1.1", "2.2.2.2, 3.3.3.3"].map(HeaderValue::from_static);
        assert_eq!(append(kept.into_iter(), b"4.4.4.4").unwrap(), "1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4");
        assert_eq!(append(std::iter::empty(), b"4.4.4.4").unwrap(), "4.4.4.4");
    }
}
