//! What a request's head must be before anything is made of it, beyond what hyper looks at.

use std::net::Ipv6Addr;

use http::uri::Scheme;
use http::{HeaderValue, Method, Uri, Version};

use super::names::Repeated;
use super::query::percent_decode;

/// What is wrong with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadHead {
    /// CONNECT, TRACE or PRI.
    Method,
    /// The target is no path that all servers read alike.
    Target,
    /// The target is too long.
    TargetTooLong,
    /// Host is missing, repeated, no host, or differs from the target's.
    Host,
    /// `Expect` asks for something other than `100-continue` (RFC 9110 10.1.1).
    Expectation,
}

/// What of a head is looked at.
#[derive(Debug)]
pub struct HeadFields<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub uri: &'a Uri,
    /// The version of the message.
    pub version: Version,
    /// The one Host.
    pub host: Result<Option<&'a [u8]>, Repeated>,
    /// The one Expect.
    pub expectation: Result<Option<&'a HeaderValue>, Repeated>,
    /// Most bytes of a path with its query.
    pub target_bytes: usize,
}

/// Looks at method, target, Host and Expect.
pub fn check(head: &HeadFields<'_>) -> Result<(), BadHead> {
    // RFC 9113 11.6 keeps PRI for its preface.
    if *head.method == Method::CONNECT || *head.method == Method::TRACE || head.method.as_str() == "PRI" {
        return Err(BadHead::Method);
    }
    let target = head.uri.path_and_query().ok_or(BadHead::Target)?.as_str();
    if target.len() > head.target_bytes {
        return Err(BadHead::TargetTooLong);
    }
    let is_form = target.starts_with('/') || (target == "*" && *head.method == Method::OPTIONS);
    if !is_form || !is_http(head.uri) || !is_well_escaped(head.uri.path()) || climbs(head.uri.path()) {
        return Err(BadHead::Target);
    }
    check_host(head)?;
    match head.expectation {
        Ok(None) => Ok(()),
        Ok(Some(value)) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        Ok(Some(_)) | Err(Repeated) => Err(BadHead::Expectation),
    }
}

/// An absolute target is one of ours.
fn is_http(uri: &Uri) -> bool {
    uri.scheme().is_none_or(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS)
}

/// Each `%` begins an escape (RFC 3986 2.1), none is a NUL: servers differ over both, nginx refuses them. The query is
/// left alone: there a bare `%` is common.
fn is_well_escaped(path: &str) -> bool {
    path.as_bytes().split(|byte| *byte == b'%').skip(1).all(|rest| match rest {
        [b'0', b'0', ..] => false,
        [high, low, ..] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        _ => false,
    })
}

/// The path leads above its root. Nobody means it, and nginx refuses it.
fn climbs(path: &str) -> bool {
    if !path.contains("..") && !path.contains('%') {
        return false;
    }
    let decoded = percent_decode(path.as_bytes());
    let mut depth = 0_usize;
    for segment in decoded.split(|byte| *byte == b'/').skip(1) {
        match segment {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

/// RFC 9112 3.2: one Host, also beside an absolute target, of which it is a copy. HTTP/1.0 may go without.
fn check_host(head: &HeadFields<'_>) -> Result<(), BadHead> {
    let host = match head.host {
        Ok(Some(host)) => host,
        Ok(None) if head.version < Version::HTTP_11 => return Ok(()),
        Ok(None) | Err(Repeated) => return Err(BadHead::Host),
    };
    if !is_host(host) {
        return Err(BadHead::Host);
    }
    match head.uri.authority() {
        Some(target) if !target.as_str().as_bytes().eq_ignore_ascii_case(host) => Err(BadHead::Host),
        Some(_) | None => Ok(()),
    }
}

/// A host with or without a port, and nothing else: no user, no path, no list.
fn is_host(text: &[u8]) -> bool {
    let (host, rest) = if text.starts_with(b"[") {
        let Some(end) = text.iter().position(|byte| *byte == b']') else { return false };
        let (host, rest) = text.split_at(end);
        let address = host.get(1..).and_then(|host| std::str::from_utf8(host).ok());
        (address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()), rest.get(1..).unwrap_or_default())
    } else {
        let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        let (host, rest) = text.split_at(end);
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        let is_name = !host.starts_with(b".") && !host.is_empty() && host.iter().all(plain);
        (is_name, rest)
    };
    match rest.split_first() {
        None => host,
        Some((b':', port)) => {
            let port = std::str::from_utf8(port).ok().filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
            host && port.is_some_and(|port| port.parse::<u16>().is_ok())
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, header};

    use super::*;
    use crate::http::names::exactly_one;

    fn ask(method: &str, target: &str, version: Version, headers: &[(&str, &str)]) -> Result<(), BadHead> {
        let mut request = Request::builder().method(method).uri(target).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        check(&HeadFields {
            method: &head.method,
            uri: &head.uri,
            version: head.version,
            host: exactly_one(&head.headers, &header::HOST).map(|host| host.map(HeaderValue::as_bytes)),
            expectation: exactly_one(&head.headers, &header::EXPECT),
            target_bytes: 64,
        })
    }

    #[test]
    fn one_host_is_asked_for() {
        let host = |hosts: &[(&str, &str)]| ask("GET", "/", Version::HTTP_11, hosts);
        for good in ["a", "a.b:80", "127.0.0.1:4180", "[::1]:80", "[::1]"] {
            assert_eq!(host(&[("host", good)]), Ok(()), "{good}");
        }
        for bad in [
            "", "a b", "u@a", "a/b", "a,b", "a:", "a:x", "a:99999", "a:80:80", "a?b", "ü", "a:+1", "[::1", "[a]",
            "[::1]x", ":80", ".", "..", ".a",
        ] {
            assert_eq!(host(&[("host", bad)]), Err(BadHead::Host), "{bad}");
        }
        assert_eq!(host(&[]), Err(BadHead::Host));
        assert_eq!(host(&[("host", "a"), ("host", "a")]), Err(BadHead::Host));
        assert_eq!(ask("GET", "/", Version::HTTP_10, &[]), Ok(()));
    }

    #[test]
    fn an_absolute_target_agrees_with_host() {
        assert_eq!(ask("GET", "http://a/x", Version::HTTP_11, &[("host", "A")]), Ok(()));
        assert_eq!(ask("GET", "http://a/x", Version::HTTP_11, &[("host", "b")]), Err(BadHead::Host));
    }

    #[test]
    fn targets_methods_and_expectations() {
        let host = [("host", "a")];
        assert_eq!(ask("TRACE", "/", Version::HTTP_11, &host), Err(BadHead::Method));
        assert_eq!(ask("CONNECT", "a:80", Version::HTTP_11, &host), Err(BadHead::Method));
        assert_eq!(ask("PRI", "/", Version::HTTP_11, &host), Err(BadHead::Method));
        assert_eq!(ask("GET", "a:80", Version::HTTP_11, &host), Err(BadHead::Target));
        assert_eq!(ask("OPTIONS", "*", Version::HTTP_11, &host), Ok(()));
        for target in ["/a/../b", "/...", "/a..b/%2e%2e%2f", "/x/..", "/%2F%7e", "/?%", "http://a/?%", "/%C3%BC"] {
            assert_eq!(ask("GET", target, Version::HTTP_11, &host), Ok(()), "{target}");
        }
        for target in [
            "/../x",
            "/a/../../b",
            "/%2e%2e/x",
            "/..",
            "/.%2E",
            "http://a?x",
            "/%",
            "/a%2",
            "/%zz",
            "/%u002f",
            "/a%00",
            "/%0",
            "ftp://a/",
        ] {
            assert_eq!(ask("GET", target, Version::HTTP_11, &host), Err(BadHead::Target), "{target}");
        }
        assert_eq!(ask("GET", "*", Version::HTTP_11, &host), Err(BadHead::Target));
        assert_eq!(ask("GET", &format!("/{}", "x".repeat(64)), Version::HTTP_11, &host), Err(BadHead::TargetTooLong));
        let expect = |value| ask("POST", "/", Version::HTTP_11, &[("host", "a"), ("expect", value)]);
        assert_eq!(expect("100-Continue"), Ok(()));
        assert_eq!(expect("200-ok"), Err(BadHead::Expectation));
        let twice = [("host", "a"), ("expect", "100-continue"), ("expect", "100-continue")];
        assert_eq!(ask("POST", "/", Version::HTTP_11, &twice), Err(BadHead::Expectation));
    }
}
