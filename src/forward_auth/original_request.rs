//! How each kind of gateway says which request it asks about.
//!
//! Every gateway passes the client's copies of the names that it does not set itself, so one set of names is read for each,
//! and never "whichever is there" (CVE-2026-40575).

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Uri};

use crate::config::Gateway;
use crate::refusal::{Code, Refusal};
use crate::request_info::{Known, RequestInfo};

/// The request that a gateway asks about, as a client sent it to the gateway.
pub(super) struct OriginalRequest {
    method: Method,
    uri: Uri,
    names: &'static [Known],
}

/// The headers of a gateway that sets them: target, method, host.
fn names(gateway: Gateway) -> Option<&'static [Known; 3]> {
    match gateway {
        Gateway::Nginx => Some(&[Known::OriginalUri, Known::OriginalMethod, Known::OriginalHost]),
        Gateway::Traefik | Gateway::Caddy | Gateway::Haproxy => {
            Some(&[Known::ForwardedUri, Known::ForwardedMethod, Known::ForwardedHost])
        }
        // It asks with the request's own line, behind a prefix.
        Gateway::Envoy => None,
    }
}

// === impl OriginalRequest ===

impl OriginalRequest {
    /// Reads what the gateway says. `rest` is what follows the endpoint's path in the question's target.
    pub(super) fn read(gateway: Gateway, asked: &RequestInfo<'_>, rest: &str) -> Result<Self, Refusal> {
        let Some(names) = names(gateway) else {
            let uri = if rest.starts_with('/') { target(rest.as_bytes()) } else { None };
            return Ok(Self { method: asked.method().clone(), uri: uri.ok_or(Code::BadTarget)?, names: &[] });
        };
        let one = |name: Known| {
            let missing = || Refusal::from(Code::NoOriginal).about(name.name());
            asked.one(name).ok().flatten().map(HeaderValue::as_bytes).ok_or_else(missing)
        };
        let [uri_name, method_name, host_name] = *names;
        let (uri, method, _) = (one(uri_name)?, one(method_name)?, one(host_name)?);
        let method = Method::from_bytes(method).map_err(|_| Code::MethodNotAllowed)?;
        let uri = target(uri).ok_or_else(|| Refusal::from(Code::BadTarget).about(uri_name.name()))?;
        Ok(Self { method, uri, names })
    }

    /// What is true of it.
    pub(super) fn info<'a>(&'a self, asked: RequestInfo<'a>) -> RequestInfo<'a> {
        asked.described(&self.method, &self.uri, self.names)
    }
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
    use super::*;
    use crate::request_info::testing;

    fn ask(
        gateway: Gateway,
        rest: &str,
        lines: &[(&'static str, &'static str)],
    ) -> Result<(String, String, String), Code> {
        let rules = testing::rules(None);
        let mut parts = testing::parts("/vestibule/auth", lines);
        parts.method = Method::POST;
        let asked = RequestInfo::read(&parts, false, &rules);
        let original = OriginalRequest::read(gateway, &asked, rest).map_err(|refusal| refusal.code())?;
        let info = original.info(asked);
        Ok((info.method().to_string(), info.uri().to_string(), info.host().unwrap_or_default().to_owned()))
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
