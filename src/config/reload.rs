//! What of a configuration a reload can't change in passing.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::ExposeSecret;

use super::{AccountRules, Config, Database, Listen, LogConfig};
use crate::secret::SecretId;

/// What the store, and what is remembered of it, are made of. As long as it is the same, a reload keeps both. It holds
/// digests and names of secrets, not secrets.
#[derive(PartialEq, Eq)]
pub struct StoreSettings {
    database: Database,
    account: AccountRules,
    secrets: Vec<SecretId>,
    life: Duration,
    max_age: Duration,
    offline_grace: Duration,
    litellm_schema: String,
    cache_ttl: Duration,
    proxy_admin_id: Option<String>,
    audit_retention: Duration,
    person_in_clear: bool,
    /// A digest of LiteLLM's database address.
    address: Vec<u8>,
}

/// What only a restart changes.
pub struct NeedsRestart {
    listen: Listen,
    gateways_listen: Option<Listen>,
    admin: Option<std::net::SocketAddr>,
    workers: usize,
    connections: usize,
    log: LogConfig,
}

// === impl Config ===

impl Config {
    /// What the store is made of.
    pub fn store_settings(&self) -> StoreSettings {
        let (session, litellm) = (&self.session, &self.litellm);
        StoreSettings {
            database: self.database.clone(),
            account: self.account.clone(),
            secrets: session.secrets.ids().cloned().collect(),
            life: session.life,
            max_age: session.max_age,
            offline_grace: session.offline_grace,
            litellm_schema: litellm.schema.clone(),
            cache_ttl: litellm.cache_ttl,
            proxy_admin_id: litellm.proxy_admin_id.clone(),
            audit_retention: self.audit.retention,
            person_in_clear: self.log.person_in_clear,
            address: digest(&SHA256, litellm.database_url.expose_secret().as_bytes()).as_ref().into(),
        }
    }

    /// What only a restart changes.
    pub fn needs_restart(&self) -> NeedsRestart {
        NeedsRestart {
            listen: self.listen.clone(),
            gateways_listen: self.forward_auth.as_ref().map(|forward_auth| forward_auth.listen.clone()),
            admin: self.admin,
            workers: self.workers,
            connections: self.limits.connections,
            log: self.log.clone(),
        }
    }
}

// === impl NeedsRestart ===

impl NeedsRestart {
    /// Has another configuration judge peers by the sockets that are open, whatever it says of where to listen.
    pub fn keep_listeners(&self, other: &mut Config) {
        other.listen = self.listen.clone();
        if let (Some(forward_auth), Some(listen)) = (&mut other.forward_auth, &self.gateways_listen) {
            forward_auth.listen = listen.clone();
        }
    }

    /// The keys that are different in the other.
    pub fn changed(&self, other: &Self) -> Vec<&'static str> {
        let differs = [
            ("listen", self.listen != other.listen),
            ("forward_auth.listen", self.gateways_listen != other.gateways_listen),
            ("admin", self.admin != other.admin),
            ("workers", self.workers != other.workers),
            ("limits.connections", self.connections != other.connections),
            ("log.level", self.log.level != other.log.level),
            ("log.format", self.log.format != other.log.format),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Listen, testing};

    #[test]
    fn peers_are_judged_by_the_socket_that_is_open() {
        let open = testing("listen: unix:/run/a.sock\nlisten_mode: \"0666\"\ntrust: { uids: [101] }\n");
        let mut closed = testing("listen: unix:/run/a.sock\nlisten_mode: \"0600\"\ntrust: {}\n");
        assert!(closed.listen.is_closed_socket());
        open.needs_restart().keep_listeners(&mut closed);
        assert!(!closed.listen.is_closed_socket(), "its mode is the old one");
        assert!(matches!(closed.listen, Listen::Unix { mode: 0o666, .. }));
    }
}
