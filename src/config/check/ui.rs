//! The admin UI, other sites, and the way out.

use http::Uri;

use crate::config::check::values::{flag, path_fault};
use crate::config::presets::Preset;
use crate::config::problem::{KeyPath, literal};
use crate::config::raw::{List, RawLogout, RawUi};
use crate::config::report::Report;
use crate::config::{AtLogout, CookieKind, Logout, PublicUrl, Ui};
use crate::http::query::encode;

/// Stands in a step of `logout.chain` for the address of the next.
const NEXT: &str = "{next}";
/// Stands in `logout.chain` for the sign-in proxy's sign-out.
const PROXY: &str = "proxy";

/// Sign-in to the admin UI is on where there is a `public_url`: cookies and redirects hang on it.
pub(super) fn ui(raw: &RawUi, public_url: Option<&PublicUrl>, report: &mut Report) -> Ui {
    let wanted = raw.sign_in.is_some() && flag("ui.sign_in", raw.sign_in.as_ref(), report);
    if wanted && public_url.is_none() && !report.is_doubtful("public_url") {
        let remedy = "set `public_url` to what people type into the browser: the cookie and the redirects hang on it";
        report.error("ui.sign_in", "`ui.sign_in` needs `public_url`", remedy);
    }
    Ui {
        sign_in: public_url.is_some() && (wanted || raw.sign_in.is_none()),
        cookie_key: raw.cookie_key.unwrap_or(CookieKind::Placeholder),
        native_sign_in: flag("ui.native_sign_in", raw.native_sign_in.as_ref(), report),
    }
}

/// `HOST[:PORT]`, beside that of `public_url`.
pub(super) fn hosts(raw: List<String>, public_url: Option<&PublicUrl>, report: &mut Report) -> Vec<String> {
    if !raw.is_empty() && public_url.is_none() && !report.is_doubtful("public_url") {
        report.warn("hosts", "`hosts` has no effect without `public_url`", "set `public_url`, or take `hosts` out");
    }
    let mut hosts = Vec::new();
    for (at, text) in raw.into_iter().enumerate() {
        let Some(text) = text else { continue };
        let is_host = text
            .parse::<http::uri::Authority>()
            .is_ok_and(|host| host.as_str() == text && !text.contains('@') && !host.host().is_empty());
        if is_host {
            hosts.push(text.to_ascii_lowercase());
        } else {
            let key = KeyPath::parse("hosts").at(at);
            let message = format!("`{key}` is not a host: {}", literal(&text));
            report.error(
                &key,
                message,
                "write what a `Host` header says: `llm.internal`, or with a port `llm.internal:8080`",
            );
        }
    }
    hosts
}

/// `https://HOST[:PORT]`, as browsers write it into `Origin`.
pub(super) fn allowed_origins(raw: List<String>, report: &mut Report) -> Vec<String> {
    let mut origins = Vec::new();
    for (at, text) in raw.into_iter().enumerate() {
        let Some(text) = text else { continue };
        match origin(&text) {
            Ok(origin) => origins.push(origin),
            Err(remedy) => {
                let key = KeyPath::parse("allowed_origins").at(at);
                report.error(&key, format!("`{key}` is not another site's origin: {}", literal(&text)), remedy);
            }
        }
    }
    origins
}

/// The scheme and host of an origin that is nothing else, in a browser's spelling.
fn origin(text: &str) -> Result<String, &'static str> {
    const FORM: &str =
        "write scheme and host, and the port where it is not the scheme's own: `https://chat.example.com`";
    if matches!(text, "*" | "null") {
        return Err("every site on the internet would act in your people's names. List the sites that may");
    }
    let uri = text.strip_suffix('/').unwrap_or(text).parse::<Uri>().map_err(|_| FORM)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(FORM) };
    if !matches!(scheme, "http" | "https") || uri.path().len() > 1 || uri.query().is_some() {
        return Err(FORM);
    }
    let authority = authority.as_str();
    if authority.contains(['@', '*']) {
        return Err("write each host by its name, without `*` and `@`");
    }
    let own_port = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.strip_suffix(own_port).unwrap_or(authority);
    Ok(format!("{scheme}://{}", authority.to_ascii_lowercase()))
}

/// The way out, by default the preset's own sign-out.
pub(super) fn logout(
    raw: RawLogout,
    preset: Option<Preset>,
    public_url: Option<&PublicUrl>,
    report: &mut Report,
) -> Logout {
    let api_session = raw.api_session.unwrap_or(AtLogout::Keep);
    let own = preset.and_then(Preset::sign_out);
    let Some(raw) = raw.chain else { return Logout { location: own.map(|step| filled(step, None)), api_session } };
    let last = raw.len().saturating_sub(1);
    let mut steps = Vec::new();
    for (at, text) in raw.into_iter().enumerate() {
        let Some(text) = text else { continue };
        let step = if text == PROXY { own.unwrap_or_default() } else { &text };
        if let Some((message, remedy)) = step_fault(step, at == last) {
            let key = KeyPath::parse("logout.chain").at(at);
            report.error(&key, format!("`{key}` {message}: {}", literal(&text)), remedy);
        } else {
            steps.push(step.to_owned());
        }
    }
    Logout { location: location(&steps, public_url), api_session }
}

fn step_fault(step: &str, is_last: bool) -> Option<(&'static str, &'static str)> {
    if step.is_empty() {
        let remedy = "write its address, such as `https://auth.example.com/logout?rd={next}`";
        return Some(("stands for a sign-out that this preset does not know", remedy));
    }
    let path = step.split('?').next().unwrap_or_default();
    let is_plain = step.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_url = step.parse::<Uri>().ok().is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
        || step
            .replace(['{', '}'], "")
            .parse::<Uri>()
            .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    if !is_plain || !(path_fault(path).is_none() || is_url) {
        return Some((
            "is not an address",
            "write a path, such as `/oauth2/sign_out?rd={next}`, or an address with `https://`",
        ));
    }
    (!is_last && !step.contains(NEXT)).then_some((
        "leads to no further step",
        "write `{next}` where it takes the address to go on to: `https://idp.example.com/logout?post_logout_redirect_uri={next}`",
    ))
}

/// The first step's address, with those after it inside.
fn location(steps: &[String], public_url: Option<&PublicUrl>) -> Option<String> {
    let mut next: Option<String> = None;
    for step in steps.iter().rev() {
        // A path says something only to a browser that is here.
        let absolute = match (&next, public_url) {
            (Some(path), Some(public)) if path.starts_with('/') && !step.starts_with('/') => {
                Some(format!("{}{path}", public.origin()))
            }
            _ => next,
        };
        next = Some(filled(step, absolute.as_deref()));
    }
    next
}

/// A step with the next one's address in it; without one, without the parameter that would take it.
fn filled(step: &str, next: Option<&str>) -> String {
    if let Some(next) = next {
        return step.replace(NEXT, &encode(next));
    }
    let Some((path, query)) = step.split_once('?') else { return step.to_owned() };
    let kept: Vec<&str> = query.split('&').filter(|parameter| !parameter.contains(NEXT)).collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

/// A path before all of LiteLLM's own (`SERVER_ROOT_PATH`); empty for none.
pub(super) fn root_path(raw: Option<String>, report: &mut Report) -> String {
    let Some(text) = raw else { return String::new() };
    let path = text.trim_end_matches('/');
    if !path.is_empty()
        && let Some(fault) = path_fault(path)
    {
        report.error("litellm.root_path", format!("`litellm.root_path` is not a path: {}", literal(&text)), fault);
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_of_the_way_out_holds_the_next() {
        let public = PublicUrl { https: true, authority: "llm.example.com".into(), prefix: String::new() };
        let to = |steps: &[&str]| {
            let steps: Vec<String> = steps.iter().map(|step| (*step).to_owned()).collect();
            location(&steps, Some(&public))
        };
        assert_eq!(to(&[]), None);
        assert_eq!(to(&["/oauth2/sign_out?rd={next}"]).as_deref(), Some("/oauth2/sign_out"));
        assert_eq!(to(&["/oauth2/sign_out?rd={next}", "/bye"]).as_deref(), Some("/oauth2/sign_out?rd=%2Fbye"));
        assert_eq!(
            to(&["/oauth2/sign_out?rd={next}", "https://idp/end?a=1&to={next}", "/bye"]).as_deref(),
            Some(
                "/oauth2/sign_out?rd=https%3A%2F%2Fidp%2Fend%3Fa%3D1%26to%3Dhttps%253A%252F%252Fllm.example.com%252Fbye"
            )
        );
    }

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        assert_eq!(origin("https://Chat.example.com:443/").as_deref(), Ok("https://chat.example.com"));
        assert_eq!(origin("http://localhost:3000").as_deref(), Ok("http://localhost:3000"));
        for text in [
            "*",
            "null",
            "chat.example.com",
            "https://",
            "https://a/b",
            "https://*.example.com",
            "https://u@a",
            "ftp://a",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_step_is_an_address_and_leads_on() {
        assert_eq!(step_fault("/oauth2/sign_out?rd={next}", false), None);
        assert_eq!(step_fault("https://idp/logout?id_token_hint={id_token}&to={next}", false), None);
        assert_eq!(step_fault("https://idp/bye", true), None);
        for step in ["", "//evil", "javascript:alert(1)", "/a b", "/\\evil", "idp/logout"] {
            assert!(step_fault(step, true).is_some(), "{step}");
        }
        assert!(step_fault("https://idp/logout", false).is_some());
    }
}
