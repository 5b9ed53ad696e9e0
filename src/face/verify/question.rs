//! How each kind of gateway says which request it asks about.
//!
//! Every gateway passes the client's copies of the names that it does not set itself, so one set of names is read for each,
//! and never "whichever is there" (CVE-2026-40575).

use http::header::{self, HeaderName};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};

use crate::config::Gateway;
use crate::gate::refusal::{Code, Refusal};
use crate::http::forwarded;
use crate::http::names::exactly_one;

/// The headers of a gateway that sets them.
struct Names {
    uri: HeaderName,
    method: HeaderName,
    host: HeaderName,
}

fn names(gateway: Gateway) -> Option<Names> {
    match gateway {
        Gateway::Nginx => Some(Names {
            uri: HeaderName::from_static("x-original-uri"),
            method: HeaderName::from_static("x-original-method"),
            host: HeaderName::from_static("x-original-host"),
        }),
        Gateway::Traefik | Gateway::Caddy | Gateway::Haproxy => Some(Names {
            uri: HeaderName::from_static("x-forwarded-uri"),
            method: HeaderName::from_static("x-forwarded-method"),
            host: forwarded::HOST,
        }),
        // It asks with the request's own line, behind a prefix.
        Gateway::Envoy => None,
    }
}

/// The request that a gateway asks about, as a client sent it to the gateway. `rest` is what follows the endpoint's path in
/// the question's target.
pub(super) fn original(gateway: Gateway, asked: &Parts, rest: &str) -> Result<Parts, Refusal> {
    let mut headers = asked.headers.clone();
    let (method, uri) = match names(gateway) {
        None => {
            let uri = if rest.starts_with('/') { target(rest.as_bytes()) } else { None };
            (asked.method.clone(), uri.ok_or(Code::BadTarget)?)
        }
        Some(names) => {
            let mut take = |name: &HeaderName| {
                let value = exactly_one(&headers, name).ok().flatten().cloned();
                headers.remove(name);
                value.ok_or_else(|| Refusal::from(Code::NoOriginal).about(name.clone()))
            };
            let (uri, method, host) = (take(&names.uri)?, take(&names.method)?, take(&names.host)?);
            headers.insert(header::HOST, host);
            let method = Method::from_bytes(method.as_bytes()).map_err(|_| Code::MethodNotAllowed)?;
            (method, target(uri.as_bytes()).ok_or_else(|| Refusal::from(Code::BadTarget).about(names.uri))?)
        }
    };
    // Of a client's: no gateway's word for where the request came.
    headers.remove(forwarded::HOST);
    let mut original = Request::new(()).into_parts().0;
    (original.method, original.uri, original.headers) = (method, uri, headers);
    // A 1.1 request must have a Host, a 1.0 one may; the gateway asks about either.
    original.version = Version::HTTP_11;
    Ok(original)
}

/// A path with its query, or `*`. What the parser would cut off is refused as it is on the wire.
fn target(text: &[u8]) -> Option<Uri> {
    if text.iter().any(|byte| matches!(byte, b'#' | b'<' | b'>' | b'`' | b'"') || !byte.is_ascii_graphic()) {
        return None;
    }
    let is_form = text.starts_with(b"/") || text == b"*";
    PathAndQuery::try_from(text).ok().filter(|_| is_form).map(Uri::from)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ask(
        gateway: Gateway,
        rest: &str,
        lines: &[(&'static str, &'static str)],
    ) -> Result<(String, String, String), Code> {
        let mut request = Request::builder().method("POST").uri("/vestibule/auth");
        for (name, value) in lines {
            request = request.header(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let original = original(gateway, &head, rest).map_err(|refusal| refusal.code())?;
        let host = original.headers.get(header::HOST).map_or(String::new(), |host| host.to_str().unwrap().into());
        Ok((original.method.to_string(), original.uri.to_string(), host))
    }

    const NGINX: [(&str, &str); 3] =
        [("x-original-uri", "/a?b"), ("x-original-method", "DELETE"), ("x-original-host", "llm.example.com")];
    const OTHERS: [(&str, &str); 3] =
        [("x-forwarded-uri", "/a?b"), ("x-forwarded-method", "DELETE"), ("x-forwarded-host", "llm.example.com")];

    #[test]
    fn each_gateway_is_read_in_its_own_words_alone() {
        let read = ("DELETE".to_owned(), "/a?b".to_owned(), "llm.example.com".to_owned());
        assert_eq!(ask(Gateway::Nginx, "", &NGINX), Ok(read.clone()));
        for gateway in [Gateway::Traefik, Gateway::Caddy, Gateway::Haproxy] {
            assert_eq!(ask(gateway, "/x", &OTHERS), Ok(read.clone()));
            assert_eq!(ask(gateway, "", &NGINX), Err(Code::NoOriginal));
        }
        assert_eq!(ask(Gateway::Nginx, "", &OTHERS), Err(Code::NoOriginal));
        // What a client adds of the other set decides nothing.
        let both: Vec<_> =
            NGINX.into_iter().chain([("x-forwarded-uri", "/evil"), ("x-forwarded-host", "evil")]).collect();
        assert_eq!(ask(Gateway::Nginx, "/evil", &both), Ok(read));
        let envoy = [("host", "llm.example.com"), ("x-forwarded-uri", "/evil"), ("x-original-method", "GET")];
        assert_eq!(
            ask(Gateway::Envoy, "/a?b", &envoy),
            Ok(("POST".to_owned(), "/a?b".to_owned(), "llm.example.com".to_owned()))
        );
    }

    #[test]
    fn what_is_missing_empty_or_said_twice_is_refused() {
        for (at, said) in NGINX.into_iter().enumerate() {
            let mut lines = NGINX.to_vec();
            let (name, _) = lines.remove(at);
            assert_eq!(ask(Gateway::Nginx, "", &lines), Err(Code::NoOriginal), "{name}");
            lines.push((name, ""));
            assert_eq!(ask(Gateway::Nginx, "", &lines), Err(Code::NoOriginal), "{name}");
            let mut lines = NGINX.to_vec();
            lines.push(said);
            assert_eq!(ask(Gateway::Nginx, "", &lines), Err(Code::NoOriginal), "{name}");
        }
    }

    #[test]
    fn a_target_that_is_no_path_is_refused() {
        for uri in ["a", "http://evil/", "/a#b", "/a\"b", "/a b", "?a", "/a\tb"] {
            let mut lines = NGINX.to_vec();
            lines[0] = ("x-original-uri", uri);
            assert_eq!(ask(Gateway::Nginx, "", &lines), Err(Code::BadTarget), "{uri}");
        }
        for rest in ["", "?a", "x"] {
            assert_eq!(ask(Gateway::Envoy, rest, &[("host", "a")]), Err(Code::BadTarget), "{rest}");
        }
    }
}
