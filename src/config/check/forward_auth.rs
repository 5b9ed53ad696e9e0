//! Where it stands who somebody is, and the listener for gateways.

use std::time::Duration;

use http::{HeaderName, Uri};

use crate::config::check::front;
use crate::config::check::headers::Headers;
use crate::config::check::trust::{self, GATEWAYS};
use crate::config::check::values::{Zero, duration};
use crate::config::presets::Preset;
use crate::config::problem::{KeyPath, literal};
use crate::config::raw::{List, RawCheck, RawForwardAuth, RawSource, RawTrust};
use crate::config::report::Report;
use crate::config::{
    CheckUrl, ForwardAuth, Gateway, IdentityRules, IdentitySource, Listen, PublicPaths, PublicUrl, UpstreamAddress,
};

const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// Stands in `forward_auth.sign_in` for the address that was asked for.
const URL: &str = "{url}";
/// What a gateway that passes listed headers alone must pass: without the cookie nobody is anybody, and without the others
/// another site's requests are not told from people's own.
const NEEDED: [&str; 10] = [
    "cookie",
    "origin",
    "referer",
    "sec-fetch-site",
    "sec-fetch-mode",
    "sec-fetch-dest",
    "user-agent",
    "accept",
    // A key can stand in a subprotocol, and `litellm.keep_authorization` does not hold for a websocket.
    "sec-websocket-key",
    "sec-websocket-protocol",
];

/// What the section is checked against.
pub(super) struct Around<'a> {
    pub(super) listen: Option<&'a Listen>,
    pub(super) admin: Option<std::net::SocketAddr>,
    pub(super) upstream: Option<&'a UpstreamAddress>,
    pub(super) public_url: Option<&'a PublicUrl>,
    pub(super) identity: &'a IdentityRules,
    pub(super) source: &'a IdentitySource,
    pub(super) root_path: &'a str,
}

/// `identity.source` and `identity.check`.
pub(super) fn source(raw: Option<RawSource>, check: Option<RawCheck>, report: &mut Report) -> IdentitySource {
    // Who names an endpoint wants it asked.
    let is_check = raw.map_or(check.is_some(), |source| source == RawSource::Check);
    match (is_check, check) {
        (false, None) => IdentitySource::Headers,
        (false, Some(_)) => {
            let remedy = "set `source: check` to have the sign-in proxy asked; to believe the request's headers take `check` out";
            report.error(
                "identity.check",
                "`identity.check` and `identity.source: headers` contradict each other",
                remedy,
            );
            IdentitySource::Headers
        }
        (true, check) => {
            let check = check.unwrap_or_default();
            let timeout = duration("identity.check.timeout", check.timeout, CHECK_TIMEOUT, Zero::Refused, report);
            if check.url.is_none() {
                let remedy = "the sign-in proxy's own endpoint for it, such as `http://127.0.0.1:4190/oauth2/auth` \
                              (oauth2-proxy), `…/validate` (Vouch), `…/outpost.goauthentik.io/auth/nginx` (authentik) or \
                              `…/api/authz/auth-request` (Authelia)";
                report.missing("identity.check.url", "`identity.source: check` has nobody to ask", remedy);
            }
            let url = check.url.and_then(|text| check_url(&text, report));
            // Without an address a problem was found, and what is made here is never used.
            url.map_or(IdentitySource::Headers, |url| IdentitySource::Check(CheckUrl { url, timeout }))
        }
    }
}

/// The sign-in proxy hears the host that was asked for, and may have rules by it: it has to be one of ours.
pub(super) fn host(source: &IdentitySource, public_url: Option<&PublicUrl>, report: &mut Report) {
    if matches!(source, IdentitySource::Check(_)) && public_url.is_none() && !report.is_doubtful("public_url") {
        let message = "`identity.source: check` needs `public_url`: the sign-in proxy is told the host, and clients could name any";
        report.missing("public_url", message, "set it to what people type into the browser: `https://llm.example.com`");
    }
}

/// There is no key to answer with for whoever has no identity.
pub(super) fn public_paths(paths: &PublicPaths, report: &mut Report) {
    if !paths.exact.is_empty() || !paths.prefixes.is_empty() {
        let remedy = "have the gateway send these paths to LiteLLM without asking, and without credentials";
        report.warn("public_paths", "`public_paths` do not hold for what a gateway asks about", remedy);
    }
}

/// An endpoint that is asked answers in other names than the same proxy sends up.
pub(super) fn answers(source: &IdentitySource, preset: Option<Preset>, report: &mut Report) {
    if matches!(source, IdentitySource::Check(_)) && preset == Some(Preset::Oauth2Proxy) {
        let remedy =
            "set `preset: oauth2-proxy-auth-request`: its endpoint answers with `X-Auth-Request-User` and the like";
        let message = "`preset: oauth2-proxy` reads headers that oauth2-proxy does not answer with when it is asked";
        report.warn("identity.preset", message, remedy);
    }
}

/// `http://HOST:PORT/PATH`, without TLS: the sign-in proxy stands beside vestibule, or behind what speaks TLS for it.
fn check_url(text: &str, report: &mut Report) -> Option<Uri> {
    let is_private = text.contains('@');
    if is_private {
        report.keep_private(&"identity.check.url".into());
    }
    let mut refuse = |why: &str| {
        let value = if is_private { String::new() } else { format!(": {}", literal(text)) };
        let remedy = "write `http://HOST:PORT/PATH`, such as `http://127.0.0.1:4190/oauth2/auth`";
        report.error("identity.check.url", format!("`identity.check.url` {why}{value}"), remedy);
        None
    };
    let Ok(uri) = text.parse::<Uri>() else { return refuse("is not an address") };
    if uri.scheme_str() != Some("http") {
        return refuse("is not `http`");
    }
    let has_user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
    if has_user || uri.host().is_none_or(str::is_empty) || text.contains('#') {
        return refuse("is not plain");
    }
    Some(uri)
}

/// The listener for gateways, where there is to be one.
pub(super) fn forward_auth(
    raw: Option<RawForwardAuth>,
    around: &Around<'_>,
    headers: &mut Headers,
    report: &mut Report,
) -> Option<ForwardAuth> {
    let raw = raw?;
    let listen = listen(raw.listen.as_deref(), raw.listen_mode, around, report);
    let rules = RawTrust {
        peers: raw.peers,
        uids: raw.uids,
        secret_header: raw.secret_header,
        accept_shared_loopback: raw.accept_shared_loopback,
        ..RawTrust::default()
    };
    let trust = trust::trust(rules, &GATEWAYS, listen.as_ref(), around.upstream, headers, report);
    let gateways = gateways(raw.gateways, report);
    let removes = names("gateway_removes", raw.gateway_removes, report).unwrap_or_default();
    let overwrites = names("gateway_overwrites", raw.gateway_overwrites, report);
    let passes = names("gateway_passes", raw.gateway_passes, report);
    let overwrites = overwritten(overwrites, around, report);
    passed(passes, &gateways, &overwrites, report);
    let prefix = around.public_url.map_or("", |url| url.prefix.as_str());
    if !prefix.is_empty() && prefix != around.root_path {
        let message =
            "`forward_auth` needs paths as LiteLLM gets them, and `public_url` has a prefix that LiteLLM does not know";
        let remedy = format!(
            "set LiteLLM's SERVER_ROOT_PATH and `litellm.root_path` to `{prefix}`, and have the gateway leave it on"
        );
        report.error("public_url", message, remedy);
    }
    let is_cookie_removed = removes.contains(&http::header::COOKIE) || gateways == [Gateway::Envoy];
    if !is_cookie_removed && !gateways.is_empty() && !report.is_doubtful("forward_auth.gateway_removes") {
        let remedy = "LiteLLM has no use for it: have the gateway take `Cookie` off, and add `cookie` here";
        let message =
            "the sign-in proxy's cookie would go on to LiteLLM: `forward_auth.gateway_removes` does not list `cookie`";
        report.warn("forward_auth.gateway_removes", message, remedy);
    }
    let sign_in = raw.sign_in.and_then(|text| sign_in(text, around.public_url, report));
    Some(ForwardAuth { listen: listen?, trust, gateways, removes, overwrites, sign_in })
}

fn listen(
    raw: Option<&str>,
    mode: Option<crate::config::raw::Scalar>,
    around: &Around<'_>,
    report: &mut Report,
) -> Option<Listen> {
    if raw.is_none() {
        let remedy =
            "a port of its own, which the gateway alone can reach: `127.0.0.1:4182`, or `unix:/path/to/socket`";
        report.missing("forward_auth.listen", "`forward_auth` has no address to listen on", remedy);
        return None;
    }
    let listen = front::listener("forward_auth.listen", raw, mode, report)?;
    let admin = around.admin.map(Listen::Tcp);
    if around.listen.into_iter().chain(&admin).any(|other| other.overlaps(&listen)) {
        let message = "`forward_auth.listen` has the same address as another listener";
        report.error("forward_auth.listen", message, "give it an address of its own: it answers with keys");
    }
    Some(listen)
}

fn gateways(raw: Option<List<Gateway>>, report: &mut Report) -> Vec<Gateway> {
    let mut gateways = Vec::new();
    for gateway in raw.unwrap_or_default().into_iter().flatten() {
        if !gateways.contains(&gateway) {
            gateways.push(gateway);
        }
    }
    if gateways.is_empty() && !report.is_doubtful("forward_auth.gateways") {
        let all: Vec<_> = Gateway::ALL.iter().map(|gateway| format!("`{}`", gateway.name())).collect();
        let remedy = format!("list the kind that asks, such as `gateways: [nginx]`; of {}", all.join(", "));
        report.missing("forward_auth.gateways", "`forward_auth` knows no gateway: each asks in its own way", remedy);
    }
    gateways
}

/// `None` where the key is not there.
fn names(key: &str, raw: Option<List<String>>, report: &mut Report) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for (at, text) in raw?.into_iter().enumerate() {
        let Some(text) = text else { continue };
        if let Ok(name) = HeaderName::from_bytes(text.as_bytes()) {
            names.push(name);
        } else {
            let key = KeyPath::parse("forward_auth").key(key).at(at);
            let message = format!("`{key}` is not the name of a header: {}", literal(&text));
            report.error(&key, message, "letters, digits and `-`, such as `X-Api-Key`");
        }
    }
    Some(names)
}

/// Every gateway hands the client's own copies on, so headers of the request say nothing there unless the operator says
/// that something before makes them true.
fn overwritten(raw: Option<Vec<HeaderName>>, around: &Around<'_>, report: &mut Report) -> Vec<HeaderName> {
    let key = "forward_auth.gateway_overwrites";
    let is_check = matches!(around.source, IdentitySource::Check(_));
    if is_check || report.is_doubtful("identity") || report.is_doubtful(key) {
        if is_check && raw.is_some() {
            let remedy = "take it out: who somebody is comes from the sign-in proxy's answer alone";
            report.warn(key, format!("`{key}` has no effect with `identity.source: check`"), remedy);
        }
        return Vec::new();
    }
    let overwrites = raw.unwrap_or_default();
    let missing: Vec<_> = around
        .identity
        .reads
        .values()
        .filter(|rule| !overwrites.contains(&rule.name))
        .map(|rule| format!("`{}`", rule.name))
        .collect();
    if !missing.is_empty() {
        let message = format!(
            "a gateway hands the client's own copies on, and identity is read from them: {}",
            missing.join(", ")
        );
        let remedy = format!(
            "set `identity.source: check`, so that vestibule asks the sign-in proxy itself; or list them in `{key}`, if the \
             gateway always sets or removes them before it asks"
        );
        report.error(key, message, remedy);
    }
    overwrites
}

/// Envoy passes what it is told to pass, and what it does not pass can't be seen here.
fn passed(raw: Option<Vec<HeaderName>>, gateways: &[Gateway], overwrites: &[HeaderName], report: &mut Report) {
    let key = "forward_auth.gateway_passes";
    if !gateways.contains(&Gateway::Envoy) || report.is_doubtful(key) {
        return;
    }
    let passes = raw.unwrap_or_default();
    let needed = NEEDED.into_iter().chain(overwrites.iter().map(HeaderName::as_str));
    let missing: Vec<_> =
        needed.filter(|name| !passes.iter().any(|passed| passed == name)).map(|name| format!("`{name}`")).collect();
    if !missing.is_empty() {
        let message = format!("Envoy asks with listed headers alone, and `{key}` lacks {}", missing.join(", "));
        let remedy = "add them to `allowed_headers` of Envoy's ext_authz filter and say so here: without them another site's \
                      requests are not told from people's own";
        report.error(key, message, remedy);
    }
}

/// An address to send browsers to.
fn sign_in(text: String, public_url: Option<&PublicUrl>, report: &mut Report) -> Option<String> {
    let key = "forward_auth.sign_in";
    let is_address =
        text.starts_with('/') && !text.starts_with("//") || text.starts_with("https://") || text.starts_with("http://");
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if !is_address || !is_plain || text.replacen(URL, "", 1).contains(['{', '}']) {
        let remedy = "write the address where signing in begins, with `{url}` where it takes the one to come back to: \
                      `https://llm.example.com/oauth2/start?rd={url}`";
        report.error(key, format!("`{key}` is not an address: {}", literal(&text)), remedy);
        return None;
    }
    if public_url.is_none() && !report.is_doubtful("public_url") {
        let remedy =
            "set `public_url` to what people type into the browser: the address to come back to begins with it";
        report.error(key, format!("`{key}` needs `public_url`"), remedy);
        return None;
    }
    Some(text)
}
