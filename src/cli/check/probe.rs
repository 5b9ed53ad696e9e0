//! What `check --probe` does: it comes by the public address as clients do, with forged copies of everything that decides, and
//! looks whether one arrives.

use std::path::Path;
use std::time::Duration;

use http::Uri;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Scheme};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::config::{Config, Gateway};
use crate::diagnostic::{Diagnostic, DiagnosticState};
use crate::http::client::{Authorities, CallError, ClientResponse, ClientSettings, HttpClient, Transport};
use crate::litellm::credentials::{CREDENTIALS, X_LITELLM_API_KEY};
use crate::refusal::{self, Code};
use crate::secret;
use crate::telemetry::logs::chain;

const ABOUT: &str = "probe";
/// Time for a visit: gateways wait some seconds for the service that they ask.
const VISIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// A path that LiteLLM answers with a key, and refuses without a good one.
const MODELS: &str = "/v1/models";
/// A path on which it says whose key it was.
const INFO: &str = "/user/info";

/// Refusals of a forgery as such: they show that it was not believed.
const FORM: [Code; 5] =
    [Code::AliasedHeader, Code::NominatedHeader, Code::RepeatedHeader, Code::UnremovedHeader, Code::CallerKey];
/// Refusals of a path by a listener that has no endpoint for gateways: it looks at the path before all else.
const ELSEWHERE: [Code; 2] = [Code::UnknownPath, Code::BadTarget];

/// Header lines that a visit has besides the usual ones.
type HeaderLines = [(HeaderName, String)];

/// A client outside, with or without a user's sign-in.
struct Probe<'a> {
    config: &'a Config,
    client: HttpClient,
    /// `https://HOST[:PORT][/PREFIX]`, without a `/` at its end.
    base: Uri,
    cookie: Option<HeaderValue>,
    /// A name that no user has.
    nonce: String,
}

/// The user that vestibule takes the visitor for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Taken {
    subject: String,
    rest: String,
}

/// What becomes of a visit: compared with the same visit without a forgery.
#[derive(Debug, Clone, PartialEq, Eq)]
struct VisitOutcome {
    status: u16,
    /// Of vestibule's refusal, where the gateway lets it be seen.
    code: Option<String>,
    taken: Option<Taken>,
    /// LiteLLM's `user_id`, where it was asked for.
    user: Option<String>,
}

/// Probes, and gives a finding for each thing that was tried.
pub(super) async fn probe(
    config: &Config,
    address: &str,
    authorities: Option<&Path>,
    cookie: Option<&SecretString>,
) -> Vec<Diagnostic> {
    let probe = match Probe::new(config, address, authorities, cookie) {
        Ok(probe) => probe,
        Err(diagnostic) => return vec![diagnostic],
    };
    let mut diagnostics = Vec::new();
    if let Err(error) = probe.all(&mut diagnostics).await {
        diagnostics.push(away(address, &format!("it could not be asked: {}", chain(&error))));
    }
    diagnostics
}

/// `http://HOST` or `https://HOST`, with a port and a prefix where there are any.
fn public_address(text: &str) -> Option<Uri> {
    let base: Uri = text.trim_end_matches('/').parse().ok()?;
    let is_http = base.scheme() == Some(&Scheme::HTTP) || base.scheme() == Some(&Scheme::HTTPS);
    let is_host = base.authority().is_some_and(|host| !host.as_str().contains('@'));
    (is_http && is_host && base.query().is_none()).then_some(base)
}

fn away(address: &str, why: &str) -> Diagnostic {
    let remedy = "give the address that people type into the browser, from where they do; `--probe-ca FILE` for a private authority";
    problem(format!("{address}: {why}"), remedy)
}

fn problem(message: impl Into<String>, remedy: &str) -> Diagnostic {
    Diagnostic::problem(ABOUT, message, remedy)
}

fn unknown(message: impl Into<String>, remedy: &str) -> Diagnostic {
    Diagnostic::new(DiagnosticState::Unknown, ABOUT, message, remedy)
}

// === impl Probe ===

impl<'a> Probe<'a> {
    fn new(
        config: &'a Config,
        address: &str,
        authorities: Option<&Path>,
        cookie: Option<&SecretString>,
    ) -> Result<Self, Diagnostic> {
        let no_address = || away(address, "it is no address such as `https://llm.example.com`");
        let base = public_address(address).ok_or_else(no_address)?;
        let authorities = authorities.map_or_else(|| Ok(Authorities::public()), Authorities::read);
        let transport = Transport::Tls(authorities.map_err(|error| away(address, &chain(&error)))?);
        let server = base.authority().map_or_else(String::new, Authority::to_string);
        let no_cookie = |_| {
            let remedy = "give what the browser sends behind `Cookie:`, in one line";
            problem("the cookie is none that a header can hold", remedy)
        };
        let cookie = cookie.map(|cookie| HeaderValue::try_from(cookie.expose_secret().trim()));
        let mut cookie = cookie.transpose().map_err(no_cookie)?;
        if let Some(cookie) = &mut cookie {
            cookie.set_sensitive(true);
        }
        let random = secret::fresh().map(|secret| secret.expose_secret().chars().take(12).collect::<String>());
        let nonce = format!("vestibule-probe-{}", random.unwrap_or_default());
        // Each visit is on a connection of its own: a gateway can judge connections too.
        let client = HttpClient::new(ClientSettings::single(server, transport, VISIT_TIMEOUT, ANSWER_BYTES_MAX));
        Ok(Self { config, client, base, cookie, nonce })
    }

    /// What was found stays found when a later visit fails.
    async fn all(&self, diagnostics: &mut Vec<Diagnostic>) -> Result<(), CallError> {
        diagnostics.push(self.stranger().await?);
        diagnostics.push(self.endpoint().await?);
        if self.cookie.is_none() {
            let remedy = "sign in with a browser, and put the `Cookie` that it sends into VESTIBULE_PROBE_COOKIE, or into a file \
                          for --probe-cookie-file";
            let message = "what a signed-in person can forge was not tried: there is no sign-in to try it with";
            diagnostics.push(unknown(message, remedy));
            return Ok(());
        }
        let whoami = self.whoami();
        if self.outcome(&whoami, &[], true).await?.taken.is_none() {
            let message = format!(
                "what a signed-in person can forge was not tried: {whoami} does not say who the cookie's owner is"
            );
            let remedy = "is the cookie a living sign-in, and does the gateway send that page to vestibule?";
            diagnostics.push(unknown(message, remedy));
            return Ok(());
        }
        diagnostics.push(self.forged().await?);
        diagnostics.push(self.nominated().await?);
        if (200..300).contains(&self.outcome(MODELS, &[], true).await?.status) {
            diagnostics.push(self.cross_site().await?);
            diagnostics.push(self.keys().await?);
        } else {
            let message = format!(
                "whether another site's requests and a client's own keys pass was not tried: {MODELS} is not answered to the \
                 cookie's owner"
            );
            diagnostics.push(unknown(message, "may this person list models? See the answer in a browser"));
        }
        Ok(())
    }

    fn whoami(&self) -> String {
        format!("{}/whoami", self.config.own_prefix)
    }

    /// Without a sign-in, with forged identity.
    async fn stranger(&self) -> Result<Diagnostic, CallError> {
        let remedy = "let the sign-in proxy or the gateway turn away whoever is not signed in, and set or remove these headers \
                      itself; see docs/trust.md and docs/forward-auth.md";
        for path in [self.whoami(), MODELS.to_owned()] {
            let plain = self.outcome(&path, &[], false).await?;
            match plain.status {
                401 | 403 | 302 | 303 | 307 => {}
                200..300 => return Ok(problem(format!("{path} lets somebody in who is not signed in"), remedy)),
                status => {
                    let message =
                        format!("{path} answers {status} to a stranger, which is neither a no nor the way to sign in");
                    let remedy =
                        "is it the address that people type into the browser, with `https`, and does it work there?";
                    return Ok(unknown(message, remedy));
                }
            }
            for lines in self.forgeries() {
                if let Some(diagnostic) = judge(&plain, &self.outcome(&path, &lines, false).await?, &lines, remedy) {
                    return Ok(diagnostic);
                }
            }
        }
        Ok(Diagnostic::ok(ABOUT, "nobody comes in without a sign-in, whatever identity headers they send"))
    }

    /// The endpoint for gateways may not be asked from outside, in any spelling of its path. Where it can be, it answers with a key,
    /// or with a refusal of its own: on the other listener there is no such page.
    async fn endpoint(&self) -> Result<Diagnostic, CallError> {
        let own = &self.config.own_prefix;
        let asks = [("uri", MODELS), ("method", "GET"), ("host", self.base.authority().map_or("", Authority::as_str))];
        let kinds = |(what, value): (&str, &str)| {
            ["original", "forwarded"].map(|kind| (format!("x-{kind}-{what}"), value.to_owned()))
        };
        let lines = asks.into_iter().flat_map(kinds);
        let lines: Vec<_> = lines.filter_map(|(name, value)| Some((HeaderName::try_from(name).ok()?, value))).collect();
        let remedy = "route vestibule's own pages from outside by their exact paths, and nothing else below the prefix";
        for gateway in Gateway::ALL.map(Gateway::name) {
            for path in [
                format!("{own}/auth/{gateway}{MODELS}"),
                format!("{own}/auth/{gateway}"),
                format!("/{own}/auth/{gateway}"),
                format!("{own}//auth//{gateway}"),
                format!("{own}/./auth/{gateway}"),
                format!("/ui/..{own}/auth/{gateway}"),
                format!("{own}/whoami/../auth/{gateway}"),
                format!("{own}%2fauth%2f{gateway}"),
                format!("{own}/%61uth/{gateway}"),
                format!("{}/AUTH/{gateway}", own.to_ascii_uppercase()),
                format!("{own}/auth/{gateway};x=y"),
            ] {
                let answer = self.visit(&path, &lines, true).await?;
                if [header::AUTHORIZATION, X_LITELLM_API_KEY].iter().any(|name| answer.headers.contains_key(name)) {
                    return Ok(problem(format!("{path} answers somebody from outside with a key"), remedy));
                }
                if let Some(code) = code(&answer).filter(|code| !is_one_of(&ELSEWHERE, code)) {
                    let message = format!("{path} is answered by the endpoint for gateways, with `{code}`");
                    return Ok(problem(message, remedy));
                }
            }
        }
        Ok(Diagnostic::ok(ABOUT, "the endpoint for gateways can't be asked from outside"))
    }

    /// With a sign-in, and forged identity beside it: on vestibule's own page, and on a path of LiteLLM's, which may go another
    /// way.
    async fn forged(&self) -> Result<Diagnostic, CallError> {
        let remedy = "the sign-in proxy or the gateway must overwrite or remove this header on every request; until then take it \
                      out of `identity.reads`, or set `identity.source: check`";
        for path in [self.whoami(), INFO.to_owned()] {
            let plain = self.outcome(&path, &[], true).await?;
            for lines in self.forgeries() {
                if let Some(diagnostic) = judge(&plain, &self.outcome(&path, &lines, true).await?, &lines, remedy) {
                    return Ok(diagnostic);
                }
            }
        }
        let count = self.config.identity.reads.len();
        Ok(Diagnostic::ok(ABOUT, format!("forged copies of {count} identity headers and their twins change nothing")))
    }

    /// `Connection` may not take an identity header away.
    async fn nominated(&self) -> Result<Diagnostic, CallError> {
        let remedy = "have the sign-in proxy or the gateway drop what clients write into `Connection`; set \
                      `identity.groups_required` where rules hang on groups";
        for path in [self.whoami(), INFO.to_owned()] {
            let plain = self.outcome(&path, &[], true).await?;
            for rule in self.config.identity.reads.values() {
                let lines = [(header::CONNECTION, format!("close, {}", rule.name))];
                if judge(&plain, &self.outcome(&path, &lines, true).await?, &lines, remedy).is_some() {
                    let message = format!("a client can take the sign-in proxy's `{}` away by `Connection`", rule.name);
                    return Ok(problem(message, remedy));
                }
            }
        }
        Ok(Diagnostic::ok(ABOUT, "`Connection` takes no identity header away"))
    }

    /// A request that a browser marks as another site's.
    async fn cross_site(&self) -> Result<Diagnostic, CallError> {
        let fetched = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")];
        for marks in [&fetched[..], &[("origin", "https://vestibule-probe.invalid")]] {
            let line = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), (*value).to_owned());
            let lines: Vec<_> = marks.iter().map(line).collect();
            if self.visit(MODELS, &lines, true).await?.status.is_success() {
                let message = format!("another site's request passes in a signed-in person's name{}", names(&lines));
                let remedy =
                    "hand `Origin`, `Referer`, `Sec-Fetch-Site`, `Sec-Fetch-Mode` and `Sec-Fetch-Dest` on to vestibule";
                return Ok(problem(message, remedy));
            }
        }
        Ok(Diagnostic::ok(ABOUT, "another site's requests are refused"))
    }

    /// A key that a client sends may not be the one that LiteLLM goes by: the user's own is, or the request is refused.
    async fn keys(&self) -> Result<Diagnostic, CallError> {
        let litellm = &self.config.litellm;
        for name in CREDENTIALS.iter().chain(&litellm.key_header).chain(&litellm.pass_through_key_headers) {
            let answer = self.visit(MODELS, &[(name.clone(), format!("Bearer sk-{}", self.nonce))], true).await?;
            // A gateway may keep vestibule's reason to itself.
            if !answer.status.is_success() && code(&answer).is_none() && says_key(&answer) {
                let message = format!("a client's own key reaches LiteLLM in `{name}`");
                let remedy = "have the gateway copy `Authorization` and `x-litellm-api-key` from vestibule's answer, and take \
                              every other header that carries keys off";
                return Ok(problem(message, remedy));
            }
        }
        Ok(Diagnostic::ok(ABOUT, "LiteLLM goes by no key that a client sends in a header"))
    }

    /// Each header that is read, and its twin with `_`, with a name that no user has; then all of them at once.
    fn forgeries(&self) -> Vec<Vec<(HeaderName, String)>> {
        let value = |is_email: bool| {
            if is_email { format!("{}@example.invalid", self.nonce) } else { self.nonce.clone() }
        };
        let reads = self.config.identity.reads.iter();
        let plain: Vec<_> =
            reads.map(|(attribute, rule)| (rule.name.clone(), value(attribute.name() == "email"))).collect();
        let twin = |(name, value): &(HeaderName, String)| {
            let twin = HeaderName::try_from(name.as_str().replace('-', "_")).ok()?;
            (twin != name).then(|| (twin, value.clone()))
        };
        let twins = plain.iter().filter_map(twin);
        let mut forgeries: Vec<_> = plain.iter().cloned().chain(twins).map(|line| vec![line]).collect();
        forgeries.push(plain);
        forgeries
    }

    async fn outcome(&self, path: &str, lines: &HeaderLines, signed_in: bool) -> Result<VisitOutcome, CallError> {
        let answer = self.visit(path, lines, signed_in).await?;
        let said: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let user = said.and_then(|said| Some(said.get("user_id")?.as_str()?.to_owned()));
        Ok(VisitOutcome { status: answer.status.as_u16(), code: code(&answer), taken: taken(&answer), user })
    }

    async fn visit(&self, path: &str, lines: &HeaderLines, signed_in: bool) -> Result<ClientResponse, CallError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(self.cookie.clone().filter(|_| signed_in).map(|cookie| (header::COOKIE, cookie)));
        for (name, value) in lines {
            headers.extend(HeaderValue::try_from(value).ok().map(|value| (name.clone(), value)));
        }
        let address = format!("{}{path}", self.base.to_string().trim_end_matches('/'));
        self.client.get(address, headers).await
    }
}

/// What a forgery has changed, if anything; a refusal of its form is as good as nothing.
fn judge(plain: &VisitOutcome, forged: &VisitOutcome, lines: &HeaderLines, remedy: &str) -> Option<Diagnostic> {
    let is_refused_as_such = match &forged.code {
        Some(code) => is_one_of(&FORM, code),
        None => forged.status == 400,
    };
    if forged == plain || is_refused_as_such {
        return None;
    }
    let what = match (&plain.taken, &forged.taken, &forged.code) {
        (Some(before), Some(after), _) if before.subject == after.subject => {
            "other groups or another e-mail".to_owned()
        }
        (_, Some(_), _) => "somebody else".to_owned(),
        (_, None, Some(code)) => format!("`{code}`"),
        (_, None, None) if forged.user.is_some() && forged.user != plain.user => "somebody else".to_owned(),
        // For its form, or believed and then refused: the gateway does not let us see which.
        (_, None, None) if forged.status == 403 => {
            let message = format!("{} where it was {}{}", forged.status, plain.status, names(lines));
            return Some(unknown(
                message,
                "have the gateway pass `x-vestibule-refusal` on, or see vestibule's log for the reason",
            ));
        }
        (_, None, None) => format!("{} where it was {}", forged.status, plain.status),
    };
    Some(problem(format!("a forged header arrives: {what}{}", names(lines)), remedy))
}

fn code(answer: &ClientResponse) -> Option<String> {
    answer.headers.get(refusal::HEADER)?.to_str().ok().map(str::to_owned)
}

fn is_one_of(codes: &[Code], code: &str) -> bool {
    codes.iter().any(|other| other.as_str() == code)
}

/// The user by the answer of our own page.
fn taken(answer: &ClientResponse) -> Option<Taken> {
    let said: Value = serde_json::from_slice(&answer.body).ok().filter(|_| answer.status.is_success())?;
    let subject = said.get("subject")?.as_str()?.to_owned();
    let rest = ["issuer", "email", "name", "groups", "role"].map(|name| said.get(name).map(Value::to_string));
    Some(Taken { subject, rest: format!("{rest:?}") })
}

/// Whether an answer is LiteLLM's about a key (`proxy/auth/user_api_key_auth.py`).
fn says_key(answer: &ClientResponse) -> bool {
    let text = String::from_utf8_lossy(&answer.body).to_ascii_lowercase();
    ["token_not_found_in_db", "invalid proxy server token", "authentication error", "api key", "auth_error"]
        .iter()
        .any(|word| text.contains(word))
}

fn names(lines: &HeaderLines) -> String {
    let names: Vec<_> = lines.iter().map(|(name, _)| format!("`{name}`")).collect();
    format!(", with {}", names.join(", "))
}
