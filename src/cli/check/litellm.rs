//! What `check --connect` asks LiteLLM: a few GETs, of which `litellm::probe` reads the answers.

use secrecy::ExposeSecret;

use crate::config::{Config, Finding, State};
use crate::http::client::CallError;
use crate::litellm::client::LitellmClient;
use crate::litellm::credentials::KeyHeaders;
use crate::litellm::probe::{self, Answer};
use crate::secret;
use crate::telemetry::logs::chain;

/// Asks, and gives a finding for each thing that can be learnt, and for each that can't.
pub(super) async fn ask(config: &Config) -> Vec<Finding> {
    let address = config.litellm.url.to_string();
    let client = LitellmClient::new(&config.litellm);
    let live = match get(&client, probe::LIVE, None).await {
        Ok(live) => live,
        Err(error) => {
            let remedy = "see `litellm.url`: is it LiteLLM's address as seen from this machine, and does it run?";
            return vec![Finding::new(
                State::Problem,
                "litellm",
                format!("does not answer: {}", chain(&error)),
                remedy,
            )];
        }
    };
    let mut findings = vec![probe::live(&live, &address)];
    if findings.iter().any(|finding| finding.state == State::Problem) {
        // Whoever answers there is not LiteLLM, and its other answers say nothing.
        return findings;
    }
    match questions(&client, config).await {
        Ok(further) => findings.extend(further),
        Err(error) => findings.push(Finding::new(
            State::Problem,
            "litellm",
            format!("answers once and then not: {}", chain(&error)),
            "see LiteLLM's log; it may be overloaded, or starting",
        )),
    }
    findings.push(probe::cache_time(config.litellm.cache_ttl));
    findings
}

async fn questions(client: &LitellmClient, config: &Config) -> Result<Vec<Finding>, CallError> {
    let ready = get(client, probe::READY, None).await?;
    let details = match client.master_key() {
        Some(key) => Some(get(client, probe::DETAILS, Some(key)).await?),
        None => None,
    };
    let mut findings = vec![probe::version(&ready, details.as_ref()), probe::ready(&ready)];
    // A key of LiteLLM's form that nobody can have: 32 random bytes.
    let stranger = secret::fresh().and_then(|secret| KeyHeaders::new(&format!("sk-{}", secret.expose_secret())));
    findings.push(probe::stranger(&get(client, probe::KEY_INFO, stranger.as_ref()).await?));
    let mut dashboard = Answer::new(404, &[]);
    for path in probe::UI_CONFIG {
        if dashboard.status != 200 {
            dashboard = get(client, path, None).await?;
        }
    }
    findings.extend(probe::dashboard(&dashboard, config.public_url.as_ref()));
    Ok(findings)
}

async fn get(client: &LitellmClient, path: &str, key: Option<&KeyHeaders>) -> Result<Answer, CallError> {
    let (status, body) = client.get(path, key).await?;
    Ok(Answer::new(status, &body))
}
