//! Who made a browser send a request: its own user, one of our pages, or another site.
//!
//! The sign-in proxy's cookie leads to a key, so whatever another site's page can make a browser send would be done in its
//! user's name. Browsers say where a request comes from: `Sec-Fetch-Site` (Fetch Metadata; over https and on loopback),
//! `Origin` (RFC 6454; not with plain GETs), and `Referer`. None of the three can be set by a page's script.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, uri::Authority};

use super::refusal::{Code, Refusal};
use crate::config::PublicUrl;
use crate::http::forwarded;
use crate::http::names::exactly_one;
use crate::litellm::{routes, ui};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Where requests may come from.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// What people type into the browser. Without it only what a browser itself marks as coming from elsewhere is refused.
    pub public_url: Option<PublicUrl>,
    /// Further hosts, lower case.
    pub hosts: Vec<String>,
    /// Other sites whose pages may do as ours may.
    pub allowed: Vec<String>,
    /// LiteLLM's root path.
    pub root_path: String,
    /// Own pages that somebody may come to from anywhere.
    pub own_pages: Vec<String>,
    /// Pages of the admin UI sign people in.
    pub signs_in: bool,
}

// === impl Origins ===

impl Origins {
    /// Refuses what another site makes a browser send, and what came by a name that is not ours.
    pub fn check(&self, head: &Parts, is_from_trusted: bool) -> Result<(), Refusal> {
        self.check_host(head)?;
        if self.is_visit(head) {
            return Ok(());
        }
        let one = |name: &HeaderName| exactly_one(&head.headers, name).map_err(|_| foreign(name));
        let origin = one(&header::ORIGIN)?;
        if origin.is_some_and(|origin| self.allows(origin)) {
            return Ok(());
        }
        let site = one(&SEC_FETCH_SITE)?;
        if site.is_some_and(|site| site != "same-origin" && site != "none") {
            return Err(foreign(&SEC_FETCH_SITE));
        }
        if let Some(origin) = origin {
            // Without `public_url` nobody knows our origin but the browser, which has just said that it is the same.
            let is_known = self.public_url.is_none() && site.is_some();
            return if is_known || self.is_ours(origin, head, is_from_trusted) {
                Ok(())
            } else {
                Err(foreign(&header::ORIGIN))
            };
        }
        let (has_cookie, is_browser) = (head.headers.contains_key(header::COOKIE), is_browser(&head.headers));
        if site.is_some() || !(has_cookie || is_browser) {
            return Ok(());
        }
        match one(&header::REFERER)? {
            Some(referer) if self.is_ours(referer, head, is_from_trusted) => Ok(()),
            Some(_) => Err(foreign(&header::REFERER)),
            // Over http a browser that says nothing was told to by the page that sends it. Over https all of them say
            // `Sec-Fetch-Site`: this is a program by a browser's name, as it may be without a cookie.
            None if self.is_plain_http() && has_cookie && is_browser && !self.is_part_of_ui(head) => {
                Err(foreign(&header::REFERER))
            }
            None => Ok(()),
        }
    }

    fn is_plain_http(&self) -> bool {
        self.public_url.as_ref().is_some_and(|public| !public.https)
    }

    /// Answers a CORS preflight, which asks for no identity and carries none; `None` for any other request.
    pub fn preflight(&self, head: &Parts) -> Option<Result<HeaderValue, Refusal>> {
        let is_preflight = head.method == Method::OPTIONS
            && head.headers.contains_key(header::ORIGIN)
            && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        is_preflight.then(|| self.granted(&head.headers).ok_or_else(|| foreign(&header::ORIGIN)))
    }

    /// The other site that is allowed to read the answer.
    pub fn granted(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.allowed.is_empty() {
            return None;
        }
        exactly_one(headers, &header::ORIGIN).ok().flatten().filter(|origin| self.allows(origin)).cloned()
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        self.allowed.iter().any(|allowed| origin == allowed.as_str())
    }

    /// A name of ours: else a name that somebody else points at us (DNS rebinding) would be an origin of its own.
    fn check_host(&self, head: &Parts) -> Result<(), Refusal> {
        let Some(public) = &self.public_url else { return Ok(()) };
        let Some(host) = host(head) else { return Ok(()) };
        let is_ours = host.eq_ignore_ascii_case(&public.authority)
            || without_port(host, public.https).eq_ignore_ascii_case(&public.authority)
            || self.hosts.iter().any(|ours| host.eq_ignore_ascii_case(ours));
        if is_ours { Ok(()) } else { Err(Refusal::from(Code::UnknownHost).about(header::HOST)) }
    }

    /// Somebody comes to a page that another site may lead to and not frame: it does nothing by being shown.
    fn is_visit(&self, head: &Parts) -> bool {
        if head.method != Method::GET || !self.is_page(head.uri.path()) {
            return false;
        }
        let is = |name: HeaderName, wanted: &str| {
            exactly_one(&head.headers, &name).is_ok_and(|value| value.is_some_and(|value| value == wanted))
        };
        let says_nothing = !head.headers.contains_key(SEC_FETCH_DEST) && !head.headers.contains_key(SEC_FETCH_SITE);
        (is(SEC_FETCH_DEST, "document") && is(SEC_FETCH_MODE, "navigate"))
            || (says_nothing
                && !head.headers.contains_key(header::ORIGIN)
                && !head.headers.contains_key(header::UPGRADE))
    }

    /// Whether it asks for LiteLLM's own way to sign in, which is answered here instead.
    pub fn signs_in(&self, head: &Parts) -> bool {
        self.signs_in
            && head.method == Method::GET
            && ui::page(self.below_root(head.uri.path())) == Some(ui::Page::SignIn)
    }

    /// Whether somebody came by themselves or from one of our own pages. Where a browser does not say, it is not so.
    pub fn is_own_visit(&self, head: &Parts, is_from_trusted: bool) -> bool {
        let one = |name: &HeaderName| exactly_one(&head.headers, name).ok().flatten();
        match one(&SEC_FETCH_SITE) {
            Some(site) => site == "same-origin" || site == "none",
            None => one(&header::REFERER).is_some_and(|referer| self.is_ours(referer, head, is_from_trusted)),
        }
    }

    /// Whether the browser says that a script of one of our own pages sends it.
    pub fn is_from_our_page(&self, head: &Parts) -> bool {
        exactly_one(&head.headers, &SEC_FETCH_SITE).is_ok_and(|site| site.is_some_and(|site| site == "same-origin"))
    }

    /// Whether a path is one of our own pages.
    pub fn is_own(&self, path: &str) -> bool {
        self.own_pages.iter().any(|page| page == path)
    }

    fn is_page(&self, path: &str) -> bool {
        let below_root = self.below_root(path);
        self.is_own(path) || ui::page(below_root).is_some() || ui::reads_cookie(below_root)
    }

    /// Pages, and their scripts, styles and pictures: they do nothing by being fetched.
    fn is_part_of_ui(&self, head: &Parts) -> bool {
        let path = self.below_root(head.uri.path());
        head.method == Method::GET && (ui::page(path).is_some() || ui::is_asset(path))
    }

    /// A path as LiteLLM sees it without its root path.
    pub fn below_root<'p>(&self, path: &'p str) -> &'p str {
        routes::below_root(path, &self.root_path)
    }

    /// Whether an origin, or an address, is at our own.
    fn is_ours(&self, value: &HeaderValue, head: &Parts, is_from_trusted: bool) -> bool {
        let Some((scheme, authority)) = value.to_str().ok().and_then(split) else { return false };
        if let Some(public) = &self.public_url {
            let wanted = if public.https { "https" } else { "http" };
            return scheme == wanted && without_port(authority, public.https).eq_ignore_ascii_case(&public.authority);
        }
        let said = exactly_one(&head.headers, &forwarded::HOST).ok().flatten().filter(|_| is_from_trusted);
        let said = said.and_then(|said| said.to_str().ok());
        [host(head), said].into_iter().flatten().any(|ours| {
            let is_https = scheme == "https";
            without_port(ours, is_https).eq_ignore_ascii_case(without_port(authority, is_https))
        })
    }
}

fn foreign(header: &HeaderName) -> Refusal {
    Refusal::from(Code::CrossSite).about(header.clone())
}

fn host(head: &Parts) -> Option<&str> {
    let said = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(|host| !host.is_empty());
    said.or_else(|| head.uri.authority().map(Authority::as_str))
}

/// Scheme and authority of an address; `null` and whatever has another scheme have none.
fn split(address: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = address.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let authority = rest.split(['/', '?', '#']).next().filter(|authority| !authority.contains('@'))?;
    Some((scheme, authority))
}

/// Without the port that is the scheme's own.
fn without_port(authority: &str, is_https: bool) -> &str {
    authority.strip_suffix(if is_https { ":443" } else { ":80" }).unwrap_or(authority)
}

/// Every browser's name begins so; programs that come with a cookie by hand are asked for no more.
fn is_browser(headers: &HeaderMap) -> bool {
    headers.get(header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins() -> Origins {
        let public_url = Some(PublicUrl { https: true, authority: "llm.example.com".into(), prefix: String::new() });
        Origins {
            public_url,
            hosts: vec!["llm.internal:8080".into()],
            allowed: vec!["https://chat.example.com".into()],
            root_path: String::new(),
            own_pages: vec!["/vestibule/whoami".into()],
            signs_in: true,
        }
    }

    fn check(origins: &Origins, method: &str, path: &str, lines: &str) -> Result<(), &'static str> {
        let mut request = http::Request::builder().method(method).uri(path);
        for line in lines.split('|').filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        origins.check(&head, true).map_err(|refusal| refusal.code().as_str())
    }

    const SDK: &str = "host: llm.example.com";
    const BROWSER: &str = "host: llm.example.com|user-agent: Mozilla/5.0|cookie: a=1";

    #[test]
    fn programs_and_our_own_pages_pass() {
        let ours = origins();
        for lines in [
            SDK,
            "host: llm.example.com:443",
            "host: LLM.internal:8080",
            "host: llm.example.com|cookie: a=1",
            "host: llm.example.com|sec-fetch-site: same-origin",
            "host: llm.example.com|sec-fetch-site: none",
            "host: llm.example.com|origin: https://llm.example.com",
            "host: llm.example.com|origin: https://chat.example.com|sec-fetch-site: cross-site",
            "host: llm.example.com|user-agent: Mozilla/5.0|cookie: a=1|referer: https://llm.example.com/ui/",
        ] {
            assert_eq!(check(&ours, "POST", "/v1/chat/completions", lines), Ok(()), "{lines}");
            assert_eq!(check(&ours, "GET", "/health", lines), Ok(()), "{lines}");
        }
    }

    #[test]
    fn another_site_s_requests_do_not() {
        let ours = origins();
        for more in [
            "sec-fetch-site: cross-site",
            "sec-fetch-site: same-site",
            "sec-fetch-site: cross-site|sec-fetch-dest: document|sec-fetch-mode: navigate",
            "sec-fetch-site: same-origin|origin: https://evil.example",
            "sec-fetch-site: same-origin|sec-fetch-site: none",
            "origin: null",
            "origin: http://llm.example.com",
            "origin: https://llm.example.com.evil.example",
            "origin: https://llm.example.com:444",
            "origin: https://x@llm.example.com",
            "origin: https://llm.example.com|origin: https://llm.example.com",
            "referer: https://evil.example/",
            "referer: https://evil.example/?https://llm.example.com/",
            "upgrade: websocket|origin: https://evil.example",
        ] {
            let lines = format!("{BROWSER}|{more}");
            for (method, path) in
                [("GET", "/health"), ("POST", "/v1/chat/completions"), ("POST", "/key/generate"), ("POST", "/ui/")]
            {
                assert_eq!(check(&ours, method, path, &lines), Err("cross_site"), "{method} {path} {more}");
            }
        }
        assert_eq!(check(&ours, "GET", "/health", BROWSER), Ok(()));
        let http = ours.public_url.clone().map(|public| PublicUrl { https: false, ..public });
        let over_http = Origins { public_url: http, ..origins() };
        assert_eq!(check(&over_http, "GET", "/health", BROWSER), Err("cross_site"));
        assert_eq!(check(&over_http, "GET", "/ui/x.js", BROWSER), Ok(()));
        assert_eq!(check(&over_http, "GET", "/health", SDK), Ok(()));
        assert_eq!(check(&ours, "GET", "/health", "host: evil.example"), Err("unknown_host"));
        assert_eq!(check(&ours, "GET", "/health", "host: 127.0.0.1"), Err("unknown_host"));
    }

    #[test]
    fn a_page_may_be_come_to_from_anywhere_and_framed_by_nobody() {
        let ours = origins();
        for path in ["/ui/", "/", "/vestibule/whoami", "/sso/key/generate"] {
            let visit =
                format!("{BROWSER}|sec-fetch-site: cross-site|sec-fetch-dest: document|sec-fetch-mode: navigate");
            assert_eq!(check(&ours, "GET", path, &visit), Ok(()), "{path}");
            assert_eq!(
                check(&ours, "GET", path, &format!("{BROWSER}|referer: https://wiki.example/")),
                Ok(()),
                "{path}"
            );
            assert_eq!(check(&ours, "POST", path, &visit), Err("cross_site"), "{path}");
            for dest in ["iframe", "image", "empty", "object"] {
                let framed =
                    format!("{BROWSER}|sec-fetch-site: cross-site|sec-fetch-dest: {dest}|sec-fetch-mode: navigate");
                assert_eq!(check(&ours, "GET", path, &framed), Err("cross_site"), "{path} {dest}");
            }
        }
    }

    #[test]
    fn without_a_public_url_what_a_browser_marks_as_foreign_is_refused() {
        let ours = Origins { public_url: None, ..origins() };
        for lines in [
            "host: a|sec-fetch-site: same-origin|origin: https://public.example",
            "host: a:80|origin: http://a",
            "host: inner|x-forwarded-host: llm.example.com|origin: https://llm.example.com",
            "host: anything",
        ] {
            assert_eq!(check(&ours, "POST", "/health", lines), Ok(()), "{lines}");
        }
        for lines in [
            "host: a|sec-fetch-site: cross-site",
            "host: a|origin: https://b",
            "host: a|origin: null",
            "host: a|cookie: x|referer: http://b/",
        ] {
            assert_eq!(check(&ours, "POST", "/health", lines), Err("cross_site"), "{lines}");
        }
    }

    #[test]
    fn a_preflight_is_granted_to_listed_sites_alone() {
        let ours = origins();
        let asks = |origin: &str| {
            let request = http::Request::builder().method("OPTIONS").uri("/v1/models").header("origin", origin);
            let (head, ()) = request.header("access-control-request-method", "POST").body(()).unwrap().into_parts();
            ours.preflight(&head).unwrap().is_ok()
        };
        assert!(asks("https://chat.example.com"));
        assert!(!asks("https://evil.example") && !asks("null") && !asks("https://llm.example.com"));
    }
}
