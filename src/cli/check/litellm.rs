//! What `check --connect` asks LiteLLM: a few GETs, of which `litellm::probe` reads the answers.

use secrecy::ExposeSecret;

use crate::config::{Config, PublicUrl, written};
use crate::diagnostic::{Diagnostic, DiagnosticState};
use crate::http::client::CallError;
use crate::litellm::client::LitellmClient;
use crate::litellm::credentials::KeyHeaders;
use crate::litellm::probe::{self, ProbeResponse};
use crate::secret;
use crate::telemetry::logs::chain;

/// Asks, and gives a finding for each thing that can be learnt, and for each that can't.
pub(super) async fn ask(config: &Config) -> Vec<Diagnostic> {
    let address = config.litellm.url.to_string();
    let client = config.litellm.client();
    let live = match get(&client, probe::LIVE, None).await {
        Ok(live) => live,
        Err(error) => {
            let remedy = "see `litellm.url`: is it LiteLLM's address as seen from this machine, and does it run?";
            return vec![Diagnostic::problem("litellm", format!("does not answer: {}", chain(&error)), remedy)];
        }
    };
    let mut diagnostics = vec![probe::live(&live, &address)];
    if diagnostics.iter().any(|diagnostic| diagnostic.state == DiagnosticState::Problem) {
        // What answers there is not LiteLLM, and its other answers say nothing.
        return diagnostics;
    }
    match questions(&client, config).await {
        Ok(further) => diagnostics.extend(further),
        Err(error) => diagnostics.push(Diagnostic::problem(
            "litellm",
            format!("answers once and then not: {}", chain(&error)),
            "see LiteLLM's log; it may be overloaded, or starting",
        )),
    }
    diagnostics.push(probe::cache_time(&written(config.litellm.cache_ttl)));
    diagnostics
}

async fn questions(client: &LitellmClient, config: &Config) -> Result<Vec<Diagnostic>, CallError> {
    let ready = get(client, probe::READY, None).await?;
    let mut details = None;
    if let Some(key) = client.master_key() {
        details = Some(get(client, probe::DETAILS, Some(key)).await?);
    }
    let mut diagnostics = vec![probe::version(&ready, details.as_ref()), probe::ready(&ready)];
    // A key of LiteLLM's form that no user can have: 32 random bytes.
    let stranger = secret::fresh().and_then(|secret| KeyHeaders::new(&format!("sk-{}", secret.expose_secret())));
    diagnostics.push(probe::stranger(&get(client, probe::KEY_INFO, stranger.as_ref()).await?));
    let mut dashboard = ProbeResponse::new(404, &[]);
    for path in probe::UI_CONFIG {
        if dashboard.status != 200 {
            dashboard = get(client, path, None).await?;
        }
    }
    diagnostics.extend(probe::dashboard(&dashboard, config.public_url.as_ref().map(PublicUrl::whole).as_deref()));
    Ok(diagnostics)
}

async fn get(client: &LitellmClient, path: &str, key: Option<&KeyHeaders>) -> Result<ProbeResponse, CallError> {
    let (status, body) = client.get(path, key).await?;
    Ok(ProbeResponse::new(status, &body))
}
