//! The demo's configuration: YAML as an operator would write it, and the two secrets that it names, made for this run.

use std::net::SocketAddr;

use secrecy::{ExposeSecret, SecretString};

use crate::config::{Config, ConfigSource, Problems, load};
use crate::secret;

/// The header that proves a request to come from the sign-in proxy.
pub(super) const PROOF_HEADER: &str = "X-Vestibule-Proof";
/// Hex digits of the proof: the fewest that `trust.secret_header` takes, so that a `curl` line stays short.
const PROOF_DIGITS: usize = 32;

/// The configuration as text. What differs from one for real use says so.
const YAML: &str = "\
listen: {listen}
admin: off                       # /livez, /readyz and /metrics
workers: 1
trust:
  secret_header:                 # who shows it may say who somebody is
    name: X-Vestibule-Proof
    value: ${DEMO_PROOF}
identity:
  preset: oauth2-proxy           # its header names: X-Forwarded-User, ...
  reads: [user, email, groups]   # what it always sets, or removes
rules:                           # the first that matches decides
  - when: { group: llm-admins }
    role: proxy_admin
  - when: { group: llm-users }
    role: internal_user
default_role: deny               # nobody else comes in
litellm:
  url: {litellm}     # here a stand-in for LiteLLM
  # Here the rows are kept in SQLite, in memory, and this is not used:
  database_url: postgresql://nobody@127.0.0.1/nothing
session:
  secret: ${DEMO_SESSION_SECRET} # session keys are made from it
log: { person: id }              # names in clear; else pseudonyms
drain: { delay: 0s, timeout: 2s }
";

/// A configuration's text with the secrets for it.
pub(super) struct DemoConfig {
    pub(super) text: String,
    pub(super) proof: SecretString,
    session: SecretString,
}

/// The text, for those two addresses.
pub(super) fn text(listen: SocketAddr, litellm: &str) -> String {
    // A bracket would begin a list.
    let listen = if listen.is_ipv6() { format!("\"{listen}\"") } else { listen.to_string() };
    YAML.replace("{listen}", &listen).replace("{litellm}", litellm)
}

// === impl DemoConfig ===

impl DemoConfig {
    /// With fresh secrets. `None` when the system has no randomness to give.
    pub(super) fn fresh(listen: SocketAddr, litellm: &str) -> Option<Self> {
        let proof: String = secret::fresh()?.expose_secret().chars().take(PROOF_DIGITS).collect();
        Some(Self { text: text(listen, litellm), proof: proof.into(), session: secret::fresh()? })
    }

    /// The checked configuration, by the code that `serve` starts with.
    pub(super) fn load(&self) -> Result<Config, Problems> {
        let variable = |name: &str, value: &SecretString| (name.to_owned(), value.expose_secret().to_owned());
        let environment = vec![variable("DEMO_PROOF", &self.proof), variable("DEMO_SESSION_SECRET", &self.session)];
        let source = ConfigSource { text: Some(self.text.clone()), environment, ..ConfigSource::default() };
        load(&source).map(|(config, _)| config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listen;

    #[test]
    fn the_configuration_has_neither_problems_nor_warnings_nor_a_secret_in_its_text() {
        let six = "[::1]:0".parse().unwrap();
        assert_eq!(DemoConfig::fresh(six, "http://[::1]:4000").unwrap().load().unwrap().listen, Listen::Tcp(six));
        let listen = "127.0.0.1:4180".parse().unwrap();
        let demo_config = DemoConfig::fresh(listen, "http://127.0.0.1:4000").unwrap();
        let config = demo_config.load().unwrap();
        assert_eq!(config.listen, Listen::Tcp(listen));
        assert_eq!(config.rules.rules.iter().map(|rule| rule.line).collect::<Vec<_>>(), [Some(12), Some(14)]);
        assert!(!demo_config.text.contains(demo_config.proof.expose_secret()));
        assert!(demo_config.text.lines().all(|line| line.chars().count() <= 80));
        let environment =
            vec![("DEMO_PROOF".to_owned(), "x".repeat(32)), ("DEMO_SESSION_SECRET".to_owned(), "x".repeat(32))];
        let source = ConfigSource { text: Some(demo_config.text), environment, ..ConfigSource::default() };
        assert_eq!(load(&source).unwrap().1.len(), 0);
    }
}
