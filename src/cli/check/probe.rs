//! What `check --probe` does: it comes by the public address as clients do, with forged copies of everything that decides, and
//! looks whether one arrives.

use std::path::Path;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::config::{Config, Finding, Gateway, State};
use crate::gate::refusal;
use crate::litellm::credentials::{CREDENTIALS, X_LITELLM_API_KEY};
use crate::secret;
use crate::telemetry::logs::chain;
use crate::upstream::visit::{Answer, VisitError, Visitor};

const ABOUT: &str = "probe";
/// A path that LiteLLM answers with a key, and refuses without a good one.
const MODELS: &str = "/v1/models";

/// Somebody outside, with or without somebody's sign-in.
struct Probe<'a> {
    config: &'a Config,
    visitor: Visitor,
    cookie: Option<HeaderValue>,
    /// A name that nobody has.
    nonce: String,
}

/// Whom vestibule takes a visitor for.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    subject: String,
    rest: String,
}

/// Probes, and gives a finding for each thing that was tried.
pub(super) async fn probe(
    config: &Config,
    address: &str,
    authorities: Option<&Path>,
    cookie: Option<&SecretString>,
) -> Vec<Finding> {
    let visitor = match Visitor::new(address, authorities) {
        Ok(visitor) => visitor,
        Err(error) => return vec![away(address, &error)],
    };
    let cookie = cookie.and_then(|cookie| HeaderValue::try_from(cookie.expose_secret().trim()).ok());
    let random = secret::fresh().map(|secret| secret.expose_secret().chars().take(12).collect::<String>());
    let nonce = format!("vestibule-probe-{}", random.unwrap_or_default());
    let probe = Probe { config, visitor, cookie, nonce };
    match probe.all().await {
        Ok(findings) => findings,
        Err(error) => vec![away(address, &error)],
    }
}

fn away(address: &str, error: &VisitError) -> Finding {
    let remedy = "give the address that people type into the browser, from where they do; `--probe-ca FILE` for a private authority";
    Finding::new(State::Problem, ABOUT, format!("{address}: {}", chain(error)), remedy)
}

// === impl Probe ===

impl Probe<'_> {
    async fn all(&self) -> Result<Vec<Finding>, VisitError> {
        let mut findings = vec![self.stranger().await?, self.endpoint().await?];
        let Some(person) = self.taken(&[], true).await?.filter(|_| self.cookie.is_some()) else {
            let (message, remedy) = if self.cookie.is_none() {
                (
                    "what a signed-in person can forge was not tried: there is no sign-in to try it with".to_owned(),
                    "sign in with a browser, and put the `Cookie` that it sends into VESTIBULE_PROBE_COOKIE, or into a file for \
                     --probe-cookie-file"
                        .to_owned(),
                )
            } else {
                let path = self.whoami();
                (
                    format!(
                        "what a signed-in person can forge was not tried: {path} does not say who the cookie's owner is"
                    ),
                    format!("is the cookie a living sign-in, and does {path} go to vestibule?"),
                )
            };
            findings.push(Finding::new(State::Unknown, ABOUT, message, remedy));
            return Ok(findings);
        };
        findings.push(self.forged(&person).await?);
        findings.push(self.nominated(&person).await?);
        findings.push(self.cross_site().await?);
        findings.push(self.keys().await?);
        Ok(findings)
    }

    fn whoami(&self) -> String {
        format!("{}/whoami", self.config.own_prefix)
    }

    /// Without a sign-in, with forged identity.
    async fn stranger(&self) -> Result<Finding, VisitError> {
        let mut tries: Vec<Vec<(HeaderName, String)>> =
            self.forgeries().into_iter().map(|forgery| vec![forgery]).collect();
        tries.push(Vec::new());
        tries.push(self.plain_forgeries());
        for lines in &tries {
            let named = names(lines);
            for path in [self.whoami(), MODELS.to_owned()] {
                let answer = self.visit(&path, lines, false).await?;
                if answer.status.is_success() && (path == MODELS || self.arrived(&answer)) {
                    let remedy = "let the sign-in proxy or the gateway turn away whoever is not signed in, and set or remove these headers \
                                  itself; see docs/trust.md and docs/forward-auth.md";
                    let message = format!("{path} lets somebody in who is not signed in{named}");
                    return Ok(Finding::new(State::Problem, ABOUT, message, remedy));
                }
            }
        }
        Ok(Finding::ok(ABOUT, "nobody comes in without a sign-in, whatever headers they send"))
    }

    /// The endpoint for gateways, by whatever spelling, may not be asked from outside.
    async fn endpoint(&self) -> Result<Finding, VisitError> {
        let own = &self.config.own_prefix;
        let lines: Vec<_> = ["uri", "method", "host"]
            .into_iter()
            .zip([MODELS, "GET", &self.host()])
            .flat_map(|(what, value)| {
                ["x-original-", "x-forwarded-"].map(|kind| (format!("{kind}{what}"), value.to_owned()))
            })
            .filter_map(|(name, value)| Some((HeaderName::try_from(name).ok()?, value)))
            .collect();
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
                    let remedy = "route vestibule's own pages from outside by their exact paths, and nothing else below the prefix";
                    let message = format!("{path} answers somebody from outside with a key");
                    return Ok(Finding::new(State::Problem, ABOUT, message, remedy));
                }
            }
        }
        Ok(Finding::ok(ABOUT, "the endpoint for gateways can't be asked from outside"))
    }

    /// With a sign-in, and forged identity beside it.
    async fn forged(&self, person: &Taken) -> Result<Finding, VisitError> {
        let mut tries: Vec<Vec<(HeaderName, String)>> =
            self.forgeries().into_iter().map(|forgery| vec![forgery]).collect();
        tries.push(self.plain_forgeries());
        for lines in &tries {
            if let Some(taken) = self.taken(lines, true).await?.filter(|taken| taken != person) {
                let who =
                    if taken.subject == person.subject { "other groups or another e-mail" } else { "somebody else" };
                let remedy = "the sign-in proxy or the gateway must overwrite or remove this header on every request; until then take it out \
                              of `identity.reads`, or set `identity.source: check`";
                let message = format!("a forged header arrives: {who}{}", names(lines));
                return Ok(Finding::new(State::Problem, ABOUT, message, remedy));
            }
        }
        Ok(Finding::ok(
            ABOUT,
            format!(
                "forged copies of {} identity headers and their twins change nothing",
                self.config.identity.reads.len()
            ),
        ))
    }

    /// `Connection` may not take an identity header away.
    async fn nominated(&self, person: &Taken) -> Result<Finding, VisitError> {
        for rule in self.config.identity.reads.values() {
            let lines = [(header::CONNECTION, format!("close, {}", rule.name))];
            if self.taken(&lines, true).await?.is_some_and(|taken| taken != *person) {
                let remedy = "have the sign-in proxy or the gateway drop what clients write into `Connection`; set \
                              `identity.groups_required` where rules hang on groups";
                let message = format!("a client can take the sign-in proxy's `{}` away by `Connection`", rule.name);
                return Ok(Finding::new(State::Problem, ABOUT, message, remedy));
            }
        }
        Ok(Finding::ok(ABOUT, "`Connection` takes no identity header away"))
    }

    /// A request that a browser marks as another site's.
    async fn cross_site(&self) -> Result<Finding, VisitError> {
        let line = |name: &'static str, value: &str| (HeaderName::from_static(name), value.to_owned());
        for lines in [
            vec![
                line("sec-fetch-site", "cross-site"),
                line("sec-fetch-mode", "no-cors"),
                line("sec-fetch-dest", "image"),
            ],
            vec![line("origin", "https://vestibule-probe.invalid")],
        ] {
            let answer = self.visit(MODELS, &lines, true).await?;
            if answer.status.is_success() {
                let remedy =
                    "hand `Origin`, `Referer`, `Sec-Fetch-Site`, `Sec-Fetch-Mode` and `Sec-Fetch-Dest` on to vestibule";
                let message = format!("another site's request passes in a signed-in person's name{}", names(&lines));
                return Ok(Finding::new(State::Problem, ABOUT, message, remedy));
            }
        }
        Ok(Finding::ok(ABOUT, "another site's requests are refused"))
    }

    /// A key that a client sends may not reach LiteLLM: the person's own is used, or the request is refused.
    async fn keys(&self) -> Result<Finding, VisitError> {
        if !self.visit(MODELS, &[], true).await?.status.is_success() {
            let remedy = "may this person list models? See LiteLLM's answer in a browser";
            let message = format!(
                "whether a client's own key passes was not tried: {MODELS} does not answer 2xx to the cookie's owner"
            );
            return Ok(Finding::new(State::Unknown, ABOUT, message, remedy));
        }
        let litellm = &self.config.litellm;
        for name in CREDENTIALS.iter().chain(&litellm.key_header).chain(&litellm.pass_through_key_headers) {
            let lines = [(name.clone(), format!("Bearer sk-{}", self.nonce))];
            let answer = self.visit(MODELS, &lines, true).await?;
            let is_ours = answer.headers.contains_key(refusal::HEADER);
            // A gateway may keep the reason to itself.
            if matches!(answer.status.as_u16(), 400 | 401 | 403) && !is_ours && says_key(&answer) {
                let remedy = "have the gateway copy `Authorization` and `x-litellm-api-key` from vestibule's answer, and take every other header \
                              that carries keys off";
                let message = format!("a client's own key reaches LiteLLM in `{name}`");
                return Ok(Finding::new(State::Problem, ABOUT, message, remedy));
            }
        }
        Ok(Finding::ok(ABOUT, "keys that clients send do not reach LiteLLM"))
    }

    /// Each header that is read, and its twin with `_`, with a name that nobody has.
    fn forgeries(&self) -> Vec<(HeaderName, String)> {
        let twin = |name: &HeaderName| HeaderName::try_from(name.as_str().replace('-', "_")).ok();
        let mut forgeries = Vec::new();
        for (name, value) in self.plain_forgeries() {
            forgeries.extend(twin(&name).filter(|twin| *twin != name).map(|twin| (twin, value.clone())));
            forgeries.push((name, value));
        }
        forgeries
    }

    fn plain_forgeries(&self) -> Vec<(HeaderName, String)> {
        let value =
            |is_email: bool| if is_email { format!("{}@example.invalid", self.nonce) } else { self.nonce.clone() };
        let reads = &self.config.identity.reads;
        reads.iter().map(|(attribute, rule)| (rule.name.clone(), value(attribute.name() == "email"))).collect()
    }

    fn host(&self) -> String {
        self.config.public_url.as_ref().map_or_else(String::new, |url| url.authority.clone())
    }

    fn arrived(&self, answer: &Answer) -> bool {
        memchr::memmem::find(&answer.body, self.nonce.as_bytes()).is_some() || taken(answer).is_some()
    }

    async fn taken(&self, lines: &[(HeaderName, String)], signed_in: bool) -> Result<Option<Taken>, VisitError> {
        let answer = self.visit(&self.whoami(), lines, signed_in).await?;
        Ok(taken(&answer).filter(|_| answer.status.is_success()))
    }

    async fn visit(&self, path: &str, lines: &[(HeaderName, String)], signed_in: bool) -> Result<Answer, VisitError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(self.cookie.clone().filter(|_| signed_in).map(|cookie| (header::COOKIE, cookie)));
        for (name, value) in lines {
            headers.extend(HeaderValue::try_from(value).ok().map(|value| (name.clone(), value)));
        }
        self.visitor.get(path, headers).await
    }
}

/// Who it is by the answer of our own page.
fn taken(answer: &Answer) -> Option<Taken> {
    let said: Value = serde_json::from_slice(&answer.body).ok()?;
    let subject = said.get("subject")?.as_str()?.to_owned();
    let rest = ["issuer", "email", "name", "groups", "role"].map(|name| said.get(name).map(Value::to_string));
    Some(Taken { subject, rest: format!("{rest:?}") })
}

/// Whether an answer is LiteLLM's about a key (`proxy/auth/user_api_key_auth.py`).
fn says_key(answer: &Answer) -> bool {
    let text = String::from_utf8_lossy(&answer.body).to_ascii_lowercase();
    ["token_not_found_in_db", "invalid proxy server token", "authentication error", "api key", "auth_error"]
        .iter()
        .any(|word| text.contains(word))
}

fn names(lines: &[(HeaderName, String)]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let names: Vec<_> = lines.iter().map(|(name, _)| format!("`{name}`")).collect();
    format!(", with {}", names.join(", "))
}
