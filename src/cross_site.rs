//! Which site made a browser send a request: the user's own, one of vestibule's pages, or another.
//!
//! The OAuth proxy's cookie leads to a key, so anything that another site's page can make a browser send would be
//! done in its user's name. Browsers say where a request comes from: `Sec-Fetch-Site` (Fetch Metadata; over https and on loopback),
//! `Origin` (RFC 6454; not with plain GETs), and `Referer`. None of the three can be set by a page's script.

use http::Method;
use http::header::{self, HeaderValue};

use crate::config::PublicUrl;
use crate::refusal::{Code, Refusal};
use crate::request_info::{Known, RequestInfo, Route};

/// Where requests may come from.
#[derive(Debug, Clone, Default)]
pub struct CrossSitePolicy {
    /// What users type into the browser. Without it only what a browser itself marks as coming from elsewhere is refused.
    pub public_url: Option<PublicUrl>,
    /// Further hosts, lower case.
    pub hosts: Vec<String>,
    /// Other sites whose pages may do as vestibule's own may.
    pub allowed: Vec<String>,
}

// === impl CrossSitePolicy ===

impl CrossSitePolicy {
    /// Refuses what another site makes a browser send, and what came by a name that is not vestibule's. A path that needs no
    /// identity gives nothing away that another site could not ask for itself.
    pub fn check(&self, info: &RequestInfo<'_>, is_trusted: bool) -> Result<(), Refusal> {
        if info.is_public() {
            return Ok(());
        }
        self.check_host(info)?;
        if is_visit(info) {
            return Ok(());
        }
        let one = |known: Known| info.one(known).map_err(|_| foreign(known));
        let origin = one(Known::Origin)?;
        if origin.is_some_and(|origin| self.allows(origin)) {
            return Ok(());
        }
        let site = one(Known::SecFetchSite)?;
        if site.is_some_and(|site| site != "same-origin" && site != "none") {
            return Err(foreign(Known::SecFetchSite));
        }
        if let Some(origin) = origin {
            // Without `public_url` only the browser knows the origin, which it has just said to be the same.
            let is_known = self.public_url.is_none() && site.is_some();
            return if is_known || self.is_own(origin, info, is_trusted) {
                Ok(())
            } else {
                Err(foreign(Known::Origin))
            };
        }
        let (has_cookie, is_browser) = (info.has(Known::Cookie), is_browser(info));
        if site.is_some() || !(has_cookie || is_browser) {
            return Ok(());
        }
        let is_plain_http = self.public_url.as_ref().is_some_and(|public| !public.https);
        match one(Known::Referer)? {
            Some(referer) if self.is_own(referer, info, is_trusted) => Ok(()),
            Some(_) => Err(foreign(Known::Referer)),
            // Over http a browser that says nothing was told to by the page that sends it. Over https all of them say
            // `Sec-Fetch-Site`: this is a program by a browser's name, as it may be without a cookie.
            None if is_plain_http && has_cookie && is_browser && !is_part_of_ui(info) => Err(foreign(Known::Referer)),
            None => Ok(()),
        }
    }

    /// The other site that is allowed to read the answer.
    pub fn granted(&self, info: &RequestInfo<'_>) -> Option<HeaderValue> {
        if self.allowed.is_empty() {
            return None;
        }
        info.one(Known::Origin).ok().flatten().filter(|origin| self.allows(origin)).cloned()
    }

    /// Whether a user came by themselves or from one of vestibule's own pages. Where a browser does not say, it is not so.
    pub fn is_own_visit(&self, info: &RequestInfo<'_>, is_trusted: bool) -> bool {
        let one = |known: Known| info.one(known).ok().flatten();
        match one(Known::SecFetchSite) {
            Some(site) => site == "same-origin" || site == "none",
            None => one(Known::Referer).is_some_and(|referer| self.is_own(referer, info, is_trusted)),
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        self.allowed.iter().any(|allowed| origin == allowed.as_str())
    }

    /// A name of vestibule's: else a name that another site points at it (DNS rebinding) would be an origin of its own.
    fn check_host(&self, info: &RequestInfo<'_>) -> Result<(), Refusal> {
        let Some(public) = &self.public_url else { return Ok(()) };
        let Some(host) = info.host() else { return Ok(()) };
        let is_own = host.eq_ignore_ascii_case(&public.authority)
            || without_port(host, public.https).eq_ignore_ascii_case(&public.authority)
            || self.hosts.iter().any(|own| host.eq_ignore_ascii_case(own));
        if is_own { Ok(()) } else { Err(Refusal::from(Code::UnknownHost).about(header::HOST)) }
    }

    /// Whether an origin, or an address, is at vestibule's own.
    fn is_own(&self, value: &HeaderValue, info: &RequestInfo<'_>, is_trusted: bool) -> bool {
        let Some((scheme, authority)) = value.to_str().ok().and_then(split) else { return false };
        if let Some(public) = &self.public_url {
            return scheme == public.scheme()
                && without_port(authority, public.https).eq_ignore_ascii_case(&public.authority);
        }
        let said = info.one(Known::ForwardedHost).ok().flatten().filter(|_| is_trusted);
        let said = said.and_then(|said| said.to_str().ok());
        [info.host(), said].into_iter().flatten().any(|own| {
            let is_https = scheme == "https";
            without_port(own, is_https).eq_ignore_ascii_case(without_port(authority, is_https))
        })
    }
}

/// A user comes to a page that another site may lead to and not frame: it does nothing by being shown.
fn is_visit(info: &RequestInfo<'_>) -> bool {
    if *info.method() != Method::GET || !info.route().is_page() {
        return false;
    }
    let is = |known: Known, wanted: &str| info.one(known).is_ok_and(|value| value.is_some_and(|value| value == wanted));
    let says_nothing = !info.has(Known::SecFetchDest) && !info.has(Known::SecFetchSite);
    (is(Known::SecFetchDest, "document") && is(Known::SecFetchMode, "navigate"))
        || (says_nothing && !info.has(Known::Origin) && !info.has(Known::Upgrade))
}

/// Pages, and their scripts, styles and pictures: they do nothing by being fetched.
fn is_part_of_ui(info: &RequestInfo<'_>) -> bool {
    matches!(info.route(), Route::UiPage | Route::SignIn | Route::Asset)
}

fn foreign(known: Known) -> Refusal {
    Refusal::from(Code::CrossSite).about(known.name())
}

/// Scheme and authority of an address; `null` and addresses of another scheme have none.
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
fn is_browser(info: &RequestInfo<'_>) -> bool {
    info.first(Known::UserAgent).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_info::testing;

    fn policy() -> CrossSitePolicy {
        let public_url = Some(PublicUrl { https: true, authority: "llm.example.com".into(), prefix: String::new() });
        CrossSitePolicy {
            public_url,
            hosts: vec!["llm.internal:8080".into()],
            allowed: vec!["https://chat.example.com".into()],
        }
    }

    fn check(policy: &CrossSitePolicy, method: &str, path: &str, lines: &str) -> Result<(), &'static str> {
        let mut request = http::Request::builder().method(method).uri(path);
        for line in lines.split('|').filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let site = testing::rules_with_pages();
        policy.check(&RequestInfo::read(&parts, false, &site), true).map_err(|refusal| refusal.code().as_str())
    }

    const SDK: &str = "host: llm.example.com";
    const BROWSER: &str = "host: llm.example.com|user-agent: Mozilla/5.0|cookie: a=1";

    #[test]
    fn programs_and_our_own_pages_pass() {
        let ours = policy();
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
        let ours = policy();
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
        let over_http = CrossSitePolicy { public_url: http, ..policy() };
        assert_eq!(check(&over_http, "GET", "/health", BROWSER), Err("cross_site"));
        assert_eq!(check(&over_http, "GET", "/ui/x.js", BROWSER), Ok(()));
        assert_eq!(check(&over_http, "GET", "/health", SDK), Ok(()));
        assert_eq!(check(&ours, "GET", "/health", "host: evil.example"), Err("unknown_host"));
        assert_eq!(check(&ours, "GET", "/health", "host: 127.0.0.1"), Err("unknown_host"));
    }

    #[test]
    fn a_page_may_be_come_to_from_anywhere_and_framed_by_nobody() {
        let ours = policy();
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
        let ours = CrossSitePolicy { public_url: None, ..policy() };
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
}
