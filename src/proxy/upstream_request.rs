//! The one clean request that LiteLLM gets: strip first, inject last.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Uri, Version};

use super::sign_in_cookies::SignInCookies;
use crate::admin_ui::sign_in;
use crate::http::{cookies, forwarded, names, request_id};
use crate::identity::peer::Peer;
use crate::litellm::credentials::{self, KEY_PREFIX, UI_COOKIE};
use crate::litellm::routes;
use crate::refusal::Refusal;
use crate::request_info::{Known, RequestInfo, Route};
use crate::secret::CookieKey;
use crate::session::Session;
use crate::session::credential::Credential;

/// Room for the headers that vestibule adds.
const HEADERS_ADDED: usize = 4;

/// How requests are written; the same for all.
#[derive(Debug)]
pub struct RequestWriter {
    /// LiteLLM's configured key header.
    pub key_header: Option<HeaderName>,
    /// Path prefixes where Authorization is the far end's.
    pub keep_authorization: Vec<String>,
    /// Cookies that LiteLLM does not get.
    pub sign_in_cookies: SignInCookies,
    /// `http` or `https`, as users see it.
    pub public_scheme: &'static str,
    /// The Host of a request that came without one.
    pub upstream_host: HeaderValue,
    /// LiteLLM's root path.
    pub root_path: String,
    /// Signs the cookie for the pages of LiteLLM's that read it on the server; they take the master key's signature alone.
    pub cookie_key: Option<CookieKey>,
}

/// What a request to LiteLLM is written from, apart from its body.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// What came.
    pub info: &'a RequestInfo<'a>,
    /// What it goes on with.
    pub credential: &'a Credential,
    /// Whether the peer's `X-Forwarded-*` are kept.
    pub is_trusted: bool,
    /// Who holds the socket.
    pub peer: &'a Peer,
}

// === impl RequestWriter ===

impl RequestWriter {
    /// Writes the request anew: target in origin form, the headers that pass, what vestibule says itself, and last the key.
    /// Nothing that a client sent can take the key's place or take it away.
    pub fn write<B>(&self, out: Outgoing<'_>, body: B) -> Result<Request<B>, Refusal> {
        if !out.info.route().is_forwarded() {
            return Err(Refusal::impossible("a route that is answered here was to be forwarded"));
        }
        let mut request = Request::new(body);
        *request.headers_mut() = HeaderMap::with_capacity(out.info.count() + HEADERS_ADDED);
        *request.method_mut() = out.info.method().clone();
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = target(out.info.uri(), &self.root_path)?;
        let headers = request.headers_mut();
        let host = host(out.info);
        headers.insert(header::HOST, host.clone().unwrap_or_else(|| self.upstream_host.clone()));
        self.copy(out.info, headers);
        self.say(out, host, headers);
        self.inject(out, headers);
        Ok(request)
    }

    fn copy(&self, info: &RequestInfo<'_>, headers: &mut HeaderMap) {
        for (name, value, known) in info.passing() {
            let value = match known {
                Some(Known::Host) => None,
                Some(Known::Cookie) => self.cookies(value),
                Some(Known::SecWebsocketProtocol) => subprotocols(value),
                Some(_) | None => Some(value.clone()),
            };
            if let Some(value) = value {
                headers.append(name.clone(), value);
            }
        }
    }

    /// vestibule's own headers: forwarded, Via, request id, and what a hop says of itself.
    fn say(&self, out: Outgoing<'_>, host: Option<HeaderValue>, headers: &mut HeaderMap) {
        let info = out.info;
        let kept = |known: Known| info.one(known).ok().flatten().filter(|_| out.is_trusted).cloned();
        let chain = match out.peer.address() {
            Some(address) if out.is_trusted => forwarded::append(info.all(Known::ForwardedFor), address),
            Some(address) => Some(address.clone()),
            // A peer on a unix socket has no address to add.
            None if out.is_trusted => forwarded::joined(info.all(Known::ForwardedFor).filter(|line| !line.is_empty())),
            None => None,
        };
        if let Some(chain) = chain {
            headers.insert(forwarded::FOR, chain);
        }
        let proto = kept(Known::ForwardedProto).unwrap_or(HeaderValue::from_static(self.public_scheme));
        headers.insert(forwarded::PROTO, proto);
        if let Some(host) = kept(Known::ForwardedHost).or(host) {
            headers.insert(forwarded::HOST, host);
        }
        let hop = if info.version() == Version::HTTP_10 { forwarded::VIA_10 } else { forwarded::VIA_11 };
        if let Some(via) = forwarded::append(info.all(Known::Via), &hop) {
            headers.insert(header::VIA, via);
        }
        headers.insert(request_id::NAME, info.request_id().clone());
        if info.takes_trailers() {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if let Some(left) = info.max_forwards() {
            headers.insert(header::MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
        }
        if let Some(protocol) = info.websocket() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol.clone());
        }
    }

    /// Sets the key, and says whether there is one. `is_websocket`: LiteLLM will read the request as a websocket's.
    pub fn inject_key(
        &self,
        info: &RequestInfo<'_>,
        credential: &Credential,
        is_websocket: bool,
        headers: &mut HeaderMap,
    ) -> bool {
        let Some(key) = credential.key() else { return false };
        let path = info.path();
        // On a websocket Authorization is all that LiteLLM reads; there, and where it could be a key of LiteLLM's, it is set.
        let is_far_ends = || {
            credential.user().is_some()
                && !is_websocket
                && self.keep_authorization.iter().any(|prefix| routes::is_at_or_below(path, prefix))
                && routes::is_plain(path)
        };
        let kept =
            info.one(Known::Authorization).ok().flatten().filter(|theirs| {
                is_far_ends() && memchr::memmem::find(theirs.as_bytes(), KEY_PREFIX.as_bytes()).is_none()
            });
        if let Some(theirs) = kept {
            headers.insert(header::AUTHORIZATION, theirs.clone());
        }
        key.inject(headers, self.key_header.as_ref(), kept.is_some());
        true
    }

    fn inject(&self, out: Outgoing<'_>, headers: &mut HeaderMap) {
        if !self.inject_key(out.info, out.credential, out.info.websocket().is_some(), headers) {
            return;
        }
        if let (Route::CookiePage { .. }, Some(user), Some(signature)) =
            (out.info.route(), out.credential.user(), &self.cookie_key)
            && let Some(cookie) = self.ui_cookie(user.session(), signature)
        {
            // In one line: LiteLLM's server reads the first alone.
            let lines: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
            let whole = [&[cookie.as_bytes()], lines.as_slice()].concat().join(&b"; "[..]);
            if let Ok(mut whole) = HeaderValue::from_bytes(&whole) {
                whole.set_sensitive(true);
                headers.insert(header::COOKIE, whole);
            }
        }
    }

    /// The admin UI's cookie with a real key in it, which no browser ever sees.
    fn ui_cookie(&self, session: &Session, signature: &CookieKey) -> Option<HeaderValue> {
        let exp = sign_in::now() + session.left().as_secs();
        let claims = sign_in::claims(session, session.key().clear()?, "Authorization", &self.root_path, exp);
        HeaderValue::try_from(format!("{UI_COOKIE}={}", claims.sign(signature))).ok()
    }

    /// The cookies without LiteLLM's own and the OAuth proxy's. A line that has none of them passes as it is.
    fn cookies(&self, line: &HeaderValue) -> Option<HeaderValue> {
        let unwanted = |cookie: &[u8]| {
            let name = cookies::name(cookie);
            credentials::is_ui_cookie(name) || self.sign_in_cookies.are_named(name)
        };
        let (mut kept, mut is_whole) = (Vec::new(), true);
        for cookie in cookies::parts(line.as_bytes()) {
            if unwanted(cookie) {
                is_whole = false;
            } else {
                kept.push(cookie.trim_ascii());
            }
        }
        match kept.as_slice() {
            _ if is_whole => Some(line.clone()),
            [] => None,
            [one] => HeaderValue::from_bytes(one).ok(),
            more => HeaderValue::from_bytes(&more.join(&b"; "[..])).ok(),
        }
    }
}

/// The host that was asked for, as a header. HTTP/1.0 may go without.
fn host(info: &RequestInfo<'_>) -> Option<HeaderValue> {
    let came = info.first(Known::Host).filter(|host| !host.is_empty()).cloned();
    came.or_else(|| HeaderValue::from_str(info.uri().authority()?.as_str()).ok())
}

/// The target in origin form (or `*`), without a key in its query.
fn target(uri: &Uri, root: &str) -> Result<Uri, Refusal> {
    let Some(target) = uri.path_and_query() else {
        return Err(Refusal::impossible("a target without a path was let through"));
    };
    let below_root = || routes::below_root(target.path(), root);
    let Some(query) = target.query().and_then(|query| credentials::query_without_keys(below_root(), query)) else {
        return Ok(Uri::from(target.clone()));
    };
    let text = if query.is_empty() { target.path().to_owned() } else { format!("{}?{query}", target.path()) };
    // What is left of a valid target by whole parameters is valid.
    let left = PathAndQuery::try_from(text).map_err(|_| Refusal::impossible("a target without its keys is none"))?;
    Ok(Uri::from(left))
}

/// A websocket's subprotocols without the one that carries a key.
fn subprotocols(line: &HeaderValue) -> Option<HeaderValue> {
    let items: Vec<&str> = names::list(line)?.collect();
    let is_key = |item: &&str| credentials::key_of_subprotocol(item).is_some();
    if !items.iter().any(is_key) {
        return Some(line.clone());
    }
    let kept: Vec<&str> = items.into_iter().filter(|item| !is_key(item)).collect();
    if kept.is_empty() { None } else { HeaderValue::try_from(kept.join(", ")).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CookieName;

    fn writer() -> RequestWriter {
        RequestWriter {
            key_header: None,
            keep_authorization: vec![],
            sign_in_cookies: SignInCookies(vec![
                CookieName::Prefix("_oauth2_proxy".into()),
                CookieName::Exact("sid".into()),
            ]),
            public_scheme: "http",
            upstream_host: HeaderValue::from_static("localhost"),
            root_path: String::new(),
            cookie_key: None,
        }
    }

    #[test]
    fn keys_leave_the_query_and_nothing_else_does() {
        let clean = |text: &str| target(&text.parse().unwrap(), "/llm").unwrap().to_string();
        assert_eq!(
            clean("/v1beta/models/g:generateContent?key=AIza&alt=sse"),
            "/v1beta/models/g:generateContent?alt=sse"
        );
        assert_eq!(clean("/v1beta/models/g:generateContent?k%65y=x"), "/v1beta/models/g:generateContent");
        assert_eq!(
            clean("/llm/gemini/v1beta/models/g:embedContent?key=AIza"),
            "/llm/gemini/v1beta/models/g:embedContent"
        );
        assert_eq!(clean("/key/info?key=sk-other"), "/key/info");
        assert_eq!(clean("/key/info?key=hash&a=%2F;b"), "/key/info?key=hash&a=%2F;b");
        assert_eq!(clean("http://a/x%2F/..//y?q"), "/x%2F/..//y?q");
        assert_eq!(clean("*"), "*");
    }

    #[test]
    fn cookies_of_litellm_and_the_sign_in_proxy_stay_here() {
        let clean =
            |text| writer().cookies(&HeaderValue::from_static(text)).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(clean("a=1; b=2").as_deref(), Some("a=1; b=2"));
        assert_eq!(
            clean("token=x; a=1;_oauth2_proxy_0=y; _oauth2_proxy=z; sid=1; sidx=2").as_deref(),
            Some("a=1; sidx=2")
        );
        assert_eq!(clean("token=x"), None);
        assert_eq!(clean(" token =x; a").as_deref(), Some("a"));
        assert_eq!(clean("token"), None);
        for odd in [&b"\xa0token=x; a=1"[..], b"\x85token=x; a=1", b"a=1; _oauth2_proxy\xa0=y"] {
            let line = HeaderValue::from_bytes(odd).unwrap();
            assert_eq!(writer().cookies(&line).unwrap(), "a=1");
        }
    }

    #[test]
    fn a_subprotocol_with_a_key_goes_and_the_others_stay() {
        let clean =
            |text| subprotocols(&HeaderValue::from_static(text)).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(clean("realtime, openai-insecure-api-key.sk-1, x").as_deref(), Some("realtime, x"));
        assert_eq!(clean("OpenAI-Insecure-API-Key.sk-1"), None);
        assert_eq!(clean("realtime,x").as_deref(), Some("realtime,x"));
    }
}
