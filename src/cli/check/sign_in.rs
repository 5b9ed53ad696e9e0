//! What `check --connect` asks the OAuth proxy, where vestibule asks it who a user is: a request without a sign-in.

use http::{Request, header};

use crate::config::{Config, IdentitySource};
use crate::diagnostic::{Diagnostic, DiagnosticState};
use crate::identity::source::{AssertionSource, SignInVerdict};
use crate::request_info::RequestInfo;
use crate::server::app::proxy_rules;
use crate::telemetry::logs::chain;

const ABOUT: &str = "sign-in";

/// A finding, where the OAuth proxy is asked at all.
pub(super) async fn ask(config: &Config) -> Option<Diagnostic> {
    let IdentitySource::Check(check) = &config.source else { return None };
    let host = config.public_url.as_ref().map_or("localhost", |url| url.authority.as_str());
    // A cookie that no browser has: without any, requests are not asked about.
    let request = Request::builder().uri("/v1/models").header(header::HOST, host);
    let (head, ()) = request.header(header::COOKIE, "vestibule-check=1").body(()).ok()?.into_parts();
    let url = &check.url;
    let site = proxy_rules(config);
    let info = RequestInfo::read(&head, false, &site);
    let source = AssertionSource::new(config.source.clone(), config.public_url.as_ref());
    let (status, headers) = match source.try_out(&info).await? {
        Ok(answer) => answer,
        Err(error) => {
            let remedy = "see `identity.check.url`: is it the sign-in proxy's address as seen from this machine, and does it run?";
            let message = format!("could not be asked: {}", chain(&error));
            return Some(Diagnostic::problem(ABOUT, message, remedy));
        }
    };
    let says_somebody = config.identity.reads.values().any(|rule| headers.contains_key(&rule.name));
    Some(match SignInVerdict::of(status) {
        SignInVerdict::Passes if says_somebody => {
            let remedy =
                "whatever answers there says somebody of everybody: it is no sign-in proxy's endpoint for being asked";
            Diagnostic::problem(ABOUT, format!("{url} says who it is without a sign-in"), remedy)
        }
        SignInVerdict::Passes => {
            let remedy = "requests without a person are refused here all the same; is it the right path, without an exemption from sign-in?";
            let message = format!("{url} lets a request pass without a sign-in");
            Diagnostic::new(DiagnosticState::Warning, ABOUT, message, remedy)
        }
        SignInVerdict::Unauthenticated | SignInVerdict::Forbidden => {
            Diagnostic::ok(ABOUT, format!("{url} knows nobody without a sign-in ({status})"))
        }
        SignInVerdict::Neither => {
            let remedy = "vestibule would answer 503 to everybody: see `identity.check.url`, above all its path";
            Diagnostic::problem(ABOUT, format!("{url} answers {status}, which is neither yes nor no"), remedy)
        }
    })
}
