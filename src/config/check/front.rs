//! The front door: addresses, paths, cookies.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::check::values::{number, path_fault};
use crate::config::presets::Preset;
use crate::config::problem::{KeyPath, literal};
use crate::config::raw::{List, Scalar};
use crate::config::report::Report;
use crate::config::{CookieName, Listen, PublicPaths, PublicUrl};
use crate::litellm::public_paths;

const LISTEN: &str = "127.0.0.1:4180";
const ADMIN: &str = "127.0.0.1:4181";
const MODE: u32 = 0o600;
const OWN_PREFIX: &str = "/vestibule";
/// `sun_path` of `sockaddr_un` has 108 bytes with the zero at its end; a listener is bound under a longer name first.
const SOCKET_PATH_BYTES_MAX: usize = 96;
const WORKERS_MAX: usize = 1024;

/// Where the sign-in proxy reaches us.
pub(super) fn listen(raw: Option<&str>, mode: Option<Scalar>, report: &mut Report) -> Option<Listen> {
    listener("listen", raw, mode, report)
}

/// `ADDRESS:PORT` or `unix:/path`; the key's name with `_mode` behind it is the socket's permissions.
pub(super) fn listener(key: &str, raw: Option<&str>, mode: Option<Scalar>, report: &mut Report) -> Option<Listen> {
    let text = raw.unwrap_or(LISTEN);
    let unix = text.strip_prefix("unix:");
    let mode_key = format!("{key}_mode");
    if mode.is_some() && unix.is_none() {
        let message = format!("`{mode_key}` has no effect");
        report.warn(mode_key.as_str(), message, format!("it is for `{key}: unix:/path/to/socket`"));
    }
    let mode = socket_mode(&mode_key, mode, report);
    match unix {
        Some(path) => Some(Listen::Unix { path: socket_path(key, path, report)?, mode }),
        None => address(key, text, report).map(Listen::Tcp),
    }
}

/// An absolute path of a socket.
pub(super) fn socket_path(key: &str, path: &str, report: &mut Report) -> Option<PathBuf> {
    if !path.starts_with('/') || path.ends_with('/') || path.len() > SOCKET_PATH_BYTES_MAX {
        let remedy =
            format!("write `unix:` and an absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes: `unix:/run/x.sock`");
        report.error(key, format!("`{key}` is not the path of a socket: {}", literal(path)), remedy);
        return None;
    }
    Some(path.into())
}

fn socket_mode(key: &str, raw: Option<Scalar>, report: &mut Report) -> u32 {
    let Some(Scalar(text)) = raw else { return MODE };
    let mode = u32::from_str_radix(text.trim_start_matches("0o"), 8).ok().filter(|mode| *mode <= 0o777);
    mode.unwrap_or_else(|| {
        let message = format!("`{key}` is not a file's permission: {}", literal(&text));
        report.error(key, message, "write three octal digits in quotes, such as `\"0600\"`");
        MODE
    })
}

fn address(key: &str, text: &str, report: &mut Report) -> Option<SocketAddr> {
    let address = text.parse().ok();
    if address.is_none() {
        let remedy =
            format!("write an IP address and a port, such as `{LISTEN}` or `[::1]:4180`; names are not looked up");
        report.error(key, format!("`{key}` is not an address with a port: {}", literal(text)), remedy);
    }
    address
}

/// An address, or `off`.
pub(super) fn admin(raw: Option<Scalar>, listen: Option<&Listen>, report: &mut Report) -> Option<SocketAddr> {
    let text = raw.map_or_else(|| ADMIN.to_owned(), |Scalar(text)| text);
    // `off` is `false` to some YAML writers.
    if text == "off" || text == "false" {
        return None;
    }
    let admin = address("admin", &text, report)?;
    if listen.is_some_and(|listen| listen.overlaps(&Listen::Tcp(admin))) {
        report.error(
            "admin",
            format!("`admin` and `listen` have the same address: `{admin}`"),
            "give `admin` a port of its own",
        );
    }
    Some(admin)
}

/// Threads; 0 stands for one a core.
pub(super) fn workers(raw: Option<Scalar>, report: &mut Report) -> usize {
    match number("workers", raw, 0, 0..=WORKERS_MAX, report) {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => workers,
    }
}

/// `https://HOST[:PORT][/PREFIX]`.
pub(super) fn public_url(raw: Option<&str>, report: &mut Report) -> Option<PublicUrl> {
    let text = raw?;
    let mut refuse = |why: &str| {
        // What stands before an `@` may be a password.
        let private = text.contains('@');
        if private {
            report.keep_private(&"public_url".into());
        }
        let value = if private { String::new() } else { format!(": {}", literal(text)) };
        let message = format!("`public_url` {why}{value}");
        report.error("public_url", message, "write what people type into the browser: `https://llm.example.com`");
        None
    };
    if text.contains(['?', '#']) {
        return refuse("has a query or a fragment");
    }
    let Ok(url) = text.parse::<http::Uri>() else { return refuse("is not a URL") };
    let https = match url.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return refuse("is neither http nor https"),
    };
    let Some(authority) = url.authority() else { return refuse("has no host") };
    if authority.as_str().contains('@') {
        return refuse("has a user name");
    }
    let host = authority.host().to_ascii_lowercase();
    let prefix = url.path().trim_end_matches('/');
    if host.is_empty() || (!prefix.is_empty() && path_fault(prefix).is_some()) {
        return refuse("is not plain");
    }
    // What is after the host is a port; one that can't be read must not vanish.
    let port = authority.as_str().get(host.len()..).unwrap_or_default().strip_prefix(':').map(str::parse::<u16>);
    let authority = match port {
        None => host,
        Some(Ok(port)) if port == if https { 443 } else { 80 } => host,
        Some(Ok(port)) => format!("{host}:{port}"),
        Some(Err(_)) => return refuse("has no such port"),
    };
    Some(PublicUrl { https, authority, prefix: prefix.to_owned() })
}

/// The prefix of vestibule's own paths.
pub(super) fn own_prefix(raw: Option<String>, report: &mut Report) -> String {
    let Some(text) = raw else { return OWN_PREFIX.to_owned() };
    let prefix = text.trim_end_matches('/');
    let fault = if prefix.is_empty() { Some("`/` alone would leave LiteLLM no path") } else { path_fault(prefix) };
    if let Some(fault) = fault {
        report.error("own_prefix", format!("`own_prefix` can't be the prefix of our paths: {}", literal(&text)), fault);
    }
    prefix.to_owned()
}

/// Exact paths, `/x/*`, and the named sets.
pub(super) fn public_paths(raw: List<String>, report: &mut Report) -> PublicPaths {
    let mut paths = PublicPaths::default();
    for (at, text) in raw.into_iter().enumerate() {
        match text.as_deref() {
            None => {}
            Some("health") => public_paths::HEALTH.iter().for_each(|path| public_path(path, &mut paths)),
            Some("mcp-discovery") => public_paths::MCP_DISCOVERY.iter().for_each(|path| public_path(path, &mut paths)),
            Some(text) => {
                let whole = text.strip_suffix("/*").unwrap_or(text);
                let fault = if text == "/*" || text == "*" {
                    Some("that is every path: nothing would need an identity. List the paths that may be open")
                } else {
                    path_fault(whole)
                };
                match fault {
                    None => public_path(text, &mut paths),
                    Some(fault) => {
                        let key = KeyPath::parse("public_paths").at(at);
                        let message = format!("`{key}` is neither a path nor a set of paths: {}", literal(text));
                        let sets = if text.starts_with(['/', '*']) {
                            ""
                        } else {
                            ", or take a set: `health`, `mcp-discovery`"
                        };
                        report.error(&key, message, format!("{fault}{sets}"));
                    }
                }
            }
        }
    }
    paths
}

fn public_path(text: &str, paths: &mut PublicPaths) {
    match text.strip_suffix('*') {
        Some(prefix) => paths.prefixes.push(prefix.to_owned()),
        None => paths.exact.push(text.to_owned()),
    }
}

/// Names of cookies, by default the preset's.
pub(super) fn sign_in_cookies(
    raw: Option<List<String>>,
    preset: Option<Preset>,
    report: &mut Report,
) -> Vec<CookieName> {
    let Some(raw) = raw else {
        return preset.map_or_else(Vec::new, |preset| preset.cookies().iter().map(|name| cookie(name)).collect());
    };
    let mut cookies = Vec::new();
    for (at, text) in raw.into_iter().enumerate() {
        let Some(text) = text else { continue };
        let name = text.strip_suffix('*').unwrap_or(&text);
        // RFC 6265 section 4.1.1: a cookie's name is a token, which is what a header's name is too.
        if name.contains('*') || http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            let key = KeyPath::parse("sign_in_cookies").at(at);
            let message = format!("`{key}` is not the name of a cookie: {}", literal(&text));
            report.error(&key, message, "write the name; only at its end a `*` stands for anything");
        } else {
            cookies.push(cookie(&text));
        }
    }
    cookies
}

fn cookie(text: &str) -> CookieName {
    match text.strip_suffix('*') {
        Some(prefix) => CookieName::Prefix(prefix.to_owned()),
        None => CookieName::Exact(text.to_owned()),
    }
}
