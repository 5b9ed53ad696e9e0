//! What LiteLLM says of itself, and what follows for vestibule. Each question is a GET that changes nothing.
//!
//! Read in `health_endpoints/_health_endpoints.py`, `discovery_endpoints/ui_discovery_endpoints.py` and
//! `auth/user_api_key_auth.py` of 1.81 to 1.109. What no call tells is said as such.

use serde_json::Value;

use crate::diagnostic::{Diagnostic, DiagnosticState};

/// Answers without a key and without a database.
pub const LIVE: &str = "/health/liveliness";
/// Answers without a key, and says whether the database is there. Up to 1.90 or so it tells the version too.
pub const READY: &str = "/health/readiness";
/// The same with the version, for whoever has a key; newer versions alone.
pub const DETAILS: &str = "/health/readiness/details";
/// A route that needs a key, belongs to no model and changes nothing.
pub const KEY_INFO: &str = "/key/info";
/// What the dashboard goes by. The second where LiteLLM has a root path.
pub const UI_CONFIG: [&str; 2] = ["/.well-known/litellm-ui-config", "/litellm/.well-known/litellm-ui-config"];
/// The oldest version whose source was read.
const OLDEST: [u32; 2] = [1, 81];

const ABOUT: &str = "litellm";

/// What came back: the status and the JSON document, where it was one.
#[derive(Debug, Clone)]
pub struct ProbeResponse {
    /// The status.
    pub status: u16,
    /// The document; null where there is none.
    pub body: Value,
}

// === impl ProbeResponse ===

impl ProbeResponse {
    /// Reads an answer.
    pub fn new(status: u16, body: &[u8]) -> Self {
        Self { status, body: serde_json::from_slice(body).unwrap_or(Value::Null) }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.body.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// Its version, where it tells.
    fn version(&self) -> Option<&str> {
        self.text("litellm_version").filter(|version| version.starts_with(|c: char| c.is_ascii_digit()))
    }
}

/// Whether it lives.
pub fn live(answer: &ProbeResponse, address: &str) -> Diagnostic {
    if answer.status == 200 {
        return Diagnostic::ok(ABOUT, format!("answers at {address}"));
    }
    let what = format!("{address} answers {} at `{LIVE}`", answer.status);
    Diagnostic::new(DiagnosticState::Problem, ABOUT, what, "is this LiteLLM's own address? See `litellm.url`")
}

/// Whether it has its database.
pub fn ready(answer: &ProbeResponse) -> Diagnostic {
    match (answer.status, answer.text("db")) {
        (200, Some("connected")) => Diagnostic::ok(ABOUT, "has its database"),
        (200, Some(db)) if db.eq_ignore_ascii_case("not connected") => Diagnostic::new(
            DiagnosticState::Problem,
            ABOUT,
            "runs without a database",
            "set its `DATABASE_URL`: vestibule's people and keys are rows there",
        ),
        (status, _) => Diagnostic::new(
            DiagnosticState::Problem,
            ABOUT,
            format!("is not ready: it answers {status} at `{READY}`"),
            "see LiteLLM's log; it needs its database",
        ),
    }
}

/// What it says to a key that nobody has: whether keys count at all. Without a key's row no identity header may.
pub fn stranger(answer: &ProbeResponse) -> Diagnostic {
    let said = answer.body.to_string();
    let kind = answer.body.pointer("/error/type").and_then(Value::as_str).unwrap_or_default();
    if ["OAuth2 proxy auth", "Oauth2 config mappings", "trusted_proxy_ranges"].iter().any(|words| said.contains(words))
    {
        return by_headers("believes identity headers itself: `enable_oauth2_proxy_auth` is on");
    }
    match answer.status {
        401 if kind == "token_not_found_in_db" || said.contains("token_not_found_in_db") => Diagnostic::ok(
            ABOUT,
            "judges keys by its database, and refuses one that nobody has (so `enable_oauth2_proxy_auth` and `custom_auth` \
             are off)",
        ),
        503 => Diagnostic::new(
            DiagnosticState::Problem,
            ABOUT,
            "could not look a key up in its database",
            "see LiteLLM's log, and whether its Postgres answers",
        ),
        401 | 403 => Diagnostic::new(
            DiagnosticState::Warning,
            ABOUT,
            format!("refuses a key that nobody has, but not as one that is not in its database ({})", answer.status),
            "look whether `custom_auth`, `enable_jwt_auth` or `enable_oauth2_auth` is on: a session key must be looked up in \
             the database",
        ),
        status => by_headers(&format!("answers {status} to a key that nobody has")),
    }
}

fn by_headers(what: &str) -> Diagnostic {
    Diagnostic::new(
        DiagnosticState::Problem,
        ABOUT,
        what,
        "set a master key, and take `enable_oauth2_proxy_auth` and `custom_auth` out of its `general_settings`: where keys \
         do not count, everybody who reaches LiteLLM is whoever they say",
    )
}

/// What its dashboard goes by. `None` for a version without the page.
pub fn dashboard(answer: &ProbeResponse, public_url: Option<&str>) -> Vec<Diagnostic> {
    if answer.status != 200 || !answer.body.is_object() {
        let remedy = "look whether `PROXY_BASE_URL` in its environment is the address that people type";
        return vec![Diagnostic::new(
            DiagnosticState::Unknown,
            ABOUT,
            "does not tell what its dashboard goes by",
            remedy,
        )];
    }
    let mut diagnostics = vec![base_url(answer.text("proxy_base_url"), public_url)];
    if let Some(gateway) = answer.text("gateway_base_url") {
        let what = format!("sends the dashboard's calls to `LITELLM_GATEWAY_URL`: {gateway}");
        let remedy = "take it out, or have it lead through vestibule: a browser there comes without a key";
        diagnostics.push(Diagnostic::new(DiagnosticState::Warning, ABOUT, what, remedy));
    }
    let is = |key: &str| answer.body.get(key).and_then(Value::as_bool).unwrap_or(false);
    if is("sso_configured") {
        let redirects = if is("auto_redirect_to_sso") { ", and its sign-in page leads there by itself" } else { "" };
        let what = format!("has a sign-in of its own (native SSO is configured){redirects}");
        let remedy = "take `*_CLIENT_ID` and `AUTO_REDIRECT_UI_LOGIN_TO_SSO` out of its environment: people would sign in \
                      twice, and by its own rules for roles";
        diagnostics.push(Diagnostic::new(DiagnosticState::Warning, ABOUT, what, remedy));
    } else {
        diagnostics.push(Diagnostic::ok(ABOUT, "has no sign-in of its own beside vestibule's (no native SSO)"));
    }
    diagnostics
}

fn base_url(base: Option<&str>, public_url: Option<&str>) -> Diagnostic {
    match (base, public_url) {
        (None, _) => {
            Diagnostic::ok(ABOUT, "has no `PROXY_BASE_URL`: the dashboard calls the address that it was loaded from")
        }
        (Some(base), Some(public)) if base.trim_end_matches('/').eq_ignore_ascii_case(public) => {
            Diagnostic::ok(ABOUT, "has the `PROXY_BASE_URL` that `public_url` says")
        }
        (Some(base), Some(public)) => Diagnostic::new(
            DiagnosticState::Problem,
            ABOUT,
            format!("has another `PROXY_BASE_URL` than `public_url`: {base}"),
            format!("set it to {public}, or take it out: browsers would go past vestibule"),
        ),
        (Some(base), None) => Diagnostic::new(
            DiagnosticState::Warning,
            ABOUT,
            format!("has a `PROXY_BASE_URL`, and `public_url` is not set here: {base}"),
            "it must be the address that people type, which leads through vestibule; set `public_url` to have it compared",
        ),
    }
}

/// Its version: of the page that needs a key where there is a master key, else of the open one.
pub fn version(ready: &ProbeResponse, details: Option<&ProbeResponse>) -> Diagnostic {
    if let Some(ProbeResponse { status: 401 | 403, .. }) = details {
        let remedy = "`litellm.master_key` must be LiteLLM's own `master_key` (`LITELLM_MASTER_KEY`)";
        return Diagnostic::new(
            DiagnosticState::Problem,
            ABOUT,
            "does not take `litellm.master_key` for its master key",
            remedy,
        );
    }
    let told = details.and_then(ProbeResponse::version).or_else(|| ready.version());
    let Some(version) = told else {
        let remedy = match details {
            None => "with `litellm.master_key` it would tell",
            Some(_) => "look it up in its image; versions from 1.81 on are known",
        };
        return Diagnostic::new(DiagnosticState::Unknown, ABOUT, "does not tell its version", remedy);
    };
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let known = [parts.next().unwrap_or(0), parts.next().unwrap_or(0)];
    if known < OLDEST {
        let remedy = "vestibule knows versions from 1.81 on; in older ones anybody can name themselves by headers";
        return Diagnostic::new(DiagnosticState::Warning, ABOUT, format!("is of version {version}"), remedy);
    }
    let key = if details.is_some() { ", and takes `litellm.master_key`" } else { "" };
    Diagnostic::ok(ABOUT, format!("is of version {version}{key}"))
}

/// Its cache time, which no call tells.
pub fn cache_time(cache_ttl: &str) -> Diagnostic {
    let remedy = format!(
        "`litellm.cache_ttl` is {cache_ttl} here: it must not be less than `general_settings.user_api_key_cache_ttl` of LiteLLM's own \
         configuration (60 s where that is not set)"
    );
    Diagnostic::new(DiagnosticState::Unknown, ABOUT, "tells its cache time to nobody", remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> ProbeResponse {
        ProbeResponse::new(status, body.as_bytes())
    }

    #[test]
    fn a_key_that_nobody_has_must_be_looked_up_and_refused() {
        let state = |status, body| stranger(&answer(status, body)).state;
        assert_eq!(state(401, r#"{"error":{"message":"x","type":"token_not_found_in_db"}}"#), DiagnosticState::Ok);
        assert_eq!(state(200, "{}"), DiagnosticState::Problem);
        assert_eq!(state(404, "not found"), DiagnosticState::Problem);
        assert_eq!(state(401, r#"{"error":{"message":"Oauth2 config mappings not found"}}"#), DiagnosticState::Problem);
        assert_eq!(
            state(403, r#"{"detail":"OAuth2 proxy auth needs trusted_proxy_ranges"}"#),
            DiagnosticState::Problem
        );
        assert_eq!(state(401, r#"{"error":{"type":"auth_error"}}"#), DiagnosticState::Warning);
        assert_eq!(state(503, "{}"), DiagnosticState::Problem);
    }

    #[test]
    fn a_dashboard_that_calls_past_vestibule_is_a_problem() {
        let states = |body, url: Option<&str>| -> Vec<DiagnosticState> {
            dashboard(&answer(200, body), url).iter().map(|diagnostic| diagnostic.state).collect()
        };
        let url = "https://llm.example.com";
        assert_eq!(
            states(r#"{"proxy_base_url":null,"sso_configured":false}"#, None),
            [DiagnosticState::Ok, DiagnosticState::Ok]
        );
        assert_eq!(
            states(r#"{"proxy_base_url":"https://LLM.example.com/"}"#, Some(url)),
            [DiagnosticState::Ok, DiagnosticState::Ok]
        );
        assert_eq!(
            states(r#"{"proxy_base_url":"http://litellm:4000"}"#, Some(url)),
            [DiagnosticState::Problem, DiagnosticState::Ok]
        );
        assert_eq!(
            states(r#"{"proxy_base_url":"http://litellm:4000"}"#, None),
            [DiagnosticState::Warning, DiagnosticState::Ok]
        );
        assert_eq!(
            states(r#"{"sso_configured":true,"gateway_base_url":"x"}"#, None)[1..],
            [DiagnosticState::Warning; 2]
        );
        assert_eq!(dashboard(&answer(404, ""), None)[0].state, DiagnosticState::Unknown);
    }

    #[test]
    fn the_version_is_told_with_the_master_key_or_by_old_versions() {
        let open = answer(200, r#"{"status":"healthy","db":"connected"}"#);
        let old = answer(200, r#"{"db":"connected","litellm_version":"1.83.14"}"#);
        let details = answer(200, r#"{"litellm_version":"1.109.1"}"#);
        assert_eq!(version(&open, None).state, DiagnosticState::Unknown);
        assert_eq!(version(&old, None).state, DiagnosticState::Ok);
        assert!(version(&open, Some(&details)).message.contains("1.109.1"));
        assert_eq!(version(&open, Some(&answer(401, "{}"))).state, DiagnosticState::Problem);
        assert_eq!(version(&answer(200, r#"{"litellm_version":"1.79.0"}"#), None).state, DiagnosticState::Warning);
        assert_eq!(version(&open, Some(&answer(404, ""))).state, DiagnosticState::Unknown);
    }

    #[test]
    fn without_its_database_it_is_of_no_use() {
        assert_eq!(ready(&answer(200, r#"{"db":"connected"}"#)).state, DiagnosticState::Ok);
        assert_eq!(ready(&answer(200, r#"{"db":"Not connected"}"#)).state, DiagnosticState::Problem);
        assert_eq!(ready(&answer(503, "{}")).state, DiagnosticState::Problem);
        assert_eq!(live(&answer(404, ""), "a:1").state, DiagnosticState::Problem);
    }
}
