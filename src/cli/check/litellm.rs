//! What `check --connect` asks LiteLLM: a few GETs, of which `litellm::probe` reads the answers.

use http::HeaderMap;
use secrecy::ExposeSecret;

use crate::config::{Config, PublicUrl, written};
use crate::diagnostic::{Diagnostic, DiagnosticState};
use crate::litellm::credentials::KeyHeaders;
use crate::litellm::probe::{self, ProbeResponse};
use crate::secret;
use crate::telemetry::logs::chain;
use crate::upstream::call::{self, CallError};

/// Asks, and gives a finding for each thing that can be learnt, and for each that can't.
pub(super) async fn ask(config: &Config) -> Vec<Diagnostic> {
    let address = config.litellm.url.to_string();
    let live = match get(config, probe::LIVE, None).await {
        Ok(live) => live,
        Err(error) => {
            let remedy = "see `litellm.url`: is it LiteLLM's address as seen from this machine, and does it run?";
            return vec![Diagnostic::new(
                DiagnosticState::Problem,
                "litellm",
                format!("does not answer: {}", chain(&error)),
                remedy,
            )];
        }
    };
    let mut diagnostics = vec![probe::live(&live, &address)];
    if diagnostics.iter().any(|diagnostic| diagnostic.state == DiagnosticState::Problem) {
        // Whoever answers there is not LiteLLM, and its other answers say nothing.
        return diagnostics;
    }
    match questions(config).await {
        Ok(further) => diagnostics.extend(further),
        Err(error) => diagnostics.push(Diagnostic::new(
            DiagnosticState::Problem,
            "litellm",
            format!("answers once and then not: {}", chain(&error)),
            "see LiteLLM's log; it may be overloaded, or starting",
        )),
    }
    diagnostics.push(probe::cache_time(&written(config.litellm.cache_ttl)));
    diagnostics
}

async fn questions(config: &Config) -> Result<Vec<Diagnostic>, CallError> {
    let ready = get(config, probe::READY, None).await?;
    let details = match &config.litellm.master_key {
        Some(key) => Some(get(config, probe::DETAILS, Some(key.expose_secret())).await?),
        None => None,
    };
    let mut diagnostics = vec![probe::version(&ready, details.as_ref()), probe::ready(&ready)];
    // A key of LiteLLM's form that nobody can have: 32 random bytes.
    let stranger = secret::fresh().map(|secret| format!("sk-{}", secret.expose_secret()));
    diagnostics.push(probe::stranger(&get(config, probe::KEY_INFO, stranger.as_deref()).await?));
    let mut dashboard = ProbeResponse::new(404, &[]);
    for path in probe::UI_CONFIG {
        if dashboard.status != 200 {
            dashboard = get(config, path, None).await?;
        }
    }
    diagnostics.extend(probe::dashboard(&dashboard, config.public_url.as_ref().map(PublicUrl::whole).as_deref()));
    Ok(diagnostics)
}

async fn get(config: &Config, path: &str, key: Option<&str>) -> Result<ProbeResponse, CallError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key.and_then(KeyHeaders::new) {
        key.inject(&mut headers, config.litellm.key_header.as_ref(), false);
    }
    let (status, body) = call::get(&config.litellm.url, path, headers).await?;
    Ok(ProbeResponse::new(status, &body))
}
