//! What belongs to one connection only (RFC 9110 7.6.1), and the one upgrade that passes.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};

use super::names;

/// Names that never pass a hop, in either direction. `Trailer` is not among them: it speaks of the message.
pub const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Whether a request is a whole websocket handshake: a GET over HTTP/1.1 with `Connection: upgrade` and `Upgrade: websocket`.
/// Anything else is no upgrade and passes as an ordinary request, without the header.
pub fn is_websocket<'a>(
    method: &Method,
    version: Version,
    protocol: &HeaderValue,
    connection: impl Iterator<Item = &'a HeaderValue>,
) -> bool {
    *method == Method::GET
        && version == Version::HTTP_11
        && protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
        && has_item(connection, "upgrade")
}

/// Whether a response changes to the protocol that was asked for (RFC 9110 7.8).
pub fn is_switched_to(headers: &HeaderMap, asked: &HeaderValue) -> bool {
    has_item(headers.get_all(header::CONNECTION).iter(), "upgrade")
        && matches!(names::exactly_one(headers, &header::UPGRADE), Ok(Some(given)) if given.as_bytes().eq_ignore_ascii_case(asked.as_bytes()))
}

/// Whether the client takes trailers: the one `TE` that may pass.
pub fn takes_trailers<'a>(te: impl Iterator<Item = &'a HeaderValue>) -> bool {
    has_item(te, "trailers")
}

fn has_item<'a>(lines: impl Iterator<Item = &'a HeaderValue>, item: &str) -> bool {
    lines.filter_map(names::list).flatten().any(|other| other.eq_ignore_ascii_case(item))
}

/// How many hops more a request may make (RFC 9110 7.6.2: of TRACE, which is not proxied, and OPTIONS). `None` where it
/// does not say, or not in digits.
pub fn max_forwards(method: &Method, value: &HeaderValue) -> Option<u64> {
    if *method != Method::OPTIONS {
        return None;
    }
    let value = value.as_bytes();
    value.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_websocket_handshake_is_an_upgrade() {
        let ask = |method, version, connection, protocol| {
            let (connection, protocol) = (HeaderValue::from_static(connection), HeaderValue::from_static(protocol));
            is_websocket(method, version, &protocol, [connection].iter())
        };
        assert!(ask(&Method::GET, Version::HTTP_11, "keep-alive, Upgrade", "WebSocket"));
        assert!(!ask(&Method::POST, Version::HTTP_11, "upgrade", "websocket"));
        assert!(!ask(&Method::GET, Version::HTTP_10, "upgrade", "websocket"));
        assert!(!ask(&Method::GET, Version::HTTP_11, "", "websocket"));
        assert!(!ask(&Method::GET, Version::HTTP_11, "upgrade", "h2c"));
    }

    #[test]
    fn max_forwards_is_digits_on_an_options() {
        let ask = |method, value| max_forwards(&method, &HeaderValue::from_static(value));
        assert_eq!((ask(Method::OPTIONS, "0"), ask(Method::OPTIONS, "10")), (Some(0), Some(10)));
        assert_eq!(ask(Method::GET, "0"), None);
        for other in ["+3", "-1", "3, 3", "x", ""] {
            assert_eq!(ask(Method::OPTIONS, other), None, "{other}");
        }
    }
}
