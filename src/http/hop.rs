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

/// The protocol that a request asks to change to: a GET over HTTP/1.1 with `Connection: upgrade` and exactly one
/// `Upgrade: websocket`. Anything else is no upgrade and passes as an ordinary request, without the header.
pub fn websocket(method: &Method, version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    if *method != Method::GET || version != Version::HTTP_11 {
        return None;
    }
    let protocol = names::exactly_one(headers, &header::UPGRADE).ok().flatten()?;
    (connection_is_upgrade(headers) && protocol.as_bytes().eq_ignore_ascii_case(b"websocket")).then(|| protocol.clone())
}

fn connection_is_upgrade(headers: &HeaderMap) -> bool {
    let options = headers.get_all(header::CONNECTION).iter().filter_map(names::list).flatten();
    options.into_iter().any(|option| option.eq_ignore_ascii_case("upgrade"))
}

/// Whether a response changes to the protocol that was asked for (RFC 9110 7.8).
pub fn is_switched_to(headers: &HeaderMap, asked: &HeaderValue) -> bool {
    connection_is_upgrade(headers)
        && matches!(names::exactly_one(headers, &header::UPGRADE), Ok(Some(given)) if given.as_bytes().eq_ignore_ascii_case(asked.as_bytes()))
}

/// Whether the client takes trailers: the one `TE` that may pass.
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TE)
        .iter()
        .filter_map(names::list)
        .flatten()
        .any(|coding| coding.eq_ignore_ascii_case("trailers"))
}

/// How many hops more a request may make (RFC 9110 7.6.2: of TRACE, which we don't proxy, and OPTIONS). `None` where it
/// does not say, or not in digits.
pub fn max_forwards(method: &Method, headers: &HeaderMap) -> Option<u64> {
    if *method != Method::OPTIONS {
        return None;
    }
    let value = names::exactly_one(headers, &header::MAX_FORWARDS).ok().flatten()?.as_bytes();
    value.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn only_a_whole_websocket_handshake_is_an_upgrade() {
        let ask = |method, version, lines: &[(&'static str, &'static str)]| {
            websocket(method, version, &headers(lines)).is_some()
        };
        let good: &[_] = &[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert!(ask(&Method::GET, Version::HTTP_11, good));
        assert!(!ask(&Method::POST, Version::HTTP_11, good));
        assert!(!ask(&Method::GET, Version::HTTP_10, good));
        assert!(!ask(&Method::GET, Version::HTTP_11, &[("upgrade", "websocket")]));
        assert!(!ask(&Method::GET, Version::HTTP_11, &[("connection", "upgrade"), ("upgrade", "h2c")]));
        assert!(!ask(
            &Method::GET,
            Version::HTTP_11,
            &[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "websocket")]
        ));
    }

    #[test]
    fn max_forwards_is_digits_on_an_options() {
        let ask = |method, value| max_forwards(&method, &headers(&[("max-forwards", value)]));
        assert_eq!((ask(Method::OPTIONS, "0"), ask(Method::OPTIONS, "10")), (Some(0), Some(10)));
        assert_eq!(ask(Method::GET, "0"), None);
        for other in ["+3", "-1", "3, 3", "x", ""] {
            assert_eq!(ask(Method::OPTIONS, other), None, "{other}");
        }
    }
}
