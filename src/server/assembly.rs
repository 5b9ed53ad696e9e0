//! What a configuration makes, apart from sockets and threads: the gate, the rewriter, where LiteLLM is, the limits. A
//! reload makes another one; a request is served by the one that is current when it comes.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::runtime;

use crate::config::{Config, Drain, ForwardAuth, Gateway, IdentitySource, Limits, UpstreamUrl};
use crate::face::begin::SignIn;
use crate::face::outgoing::Rewriter;
use crate::face::pages::{self, Pages};
use crate::face::record::Desk;
use crate::face::verify::{self, Verify};
use crate::gate::grant::Granter;
use crate::gate::identity::Reader;
use crate::gate::ledger::Ledger;
use crate::gate::origin::Origins;
use crate::gate::recognition::Recognition;
use crate::gate::remains::Remains;
use crate::gate::session::{Ages, Sessions};
use crate::gate::source::Source;
use crate::gate::trust::Trust;
use crate::gate::{self, Doors, Gate, ledger};
use crate::litellm::doors;
use crate::secret::CookieKey;
use crate::store::Store;
use crate::store::postgres::Postgres;
use crate::telemetry::metrics::Metrics;

/// Most that must be left of a browser's session for a page to be opened with it.
const PAGE_LEFT_MIN: Duration = Duration::from_mins(30);

/// All that a worker needs to serve.
pub struct Assembly {
    /// Decides.
    pub gate: Arc<Gate>,
    /// Each kind of gateway that may ask, with the gate that decides for it.
    pub gates: Vec<(Gateway, Arc<Gate>)>,
    /// Where a gateway's browsers sign in.
    pub sign_in: Option<SignIn>,
    /// Writes heads.
    pub rewriter: Arc<Rewriter>,
    /// Answers for the admin UI.
    pub pages: Arc<Pages>,
    /// Where LiteLLM is.
    pub upstream: UpstreamUrl,
    /// Every limit.
    pub limits: Arc<Limits>,
    /// How an ending goes.
    pub drain: Drain,
    /// People's ids in clear in the log.
    pub is_person_in_clear: bool,
    /// Writes down who was turned away.
    pub ledger: Ledger,
}

/// The store, and what is remembered of it. A reload that changes nothing about it keeps it: people known before a
/// reload are served from memory after it, also while the database is away.
#[derive(Clone)]
pub struct StoreHandle {
    /// Where accounts and sessions are kept.
    pub store: Arc<dyn Store>,
    sessions: Sessions,
    ledger: Ledger,
}

// === impl StoreHandle ===

impl StoreHandle {
    /// Connects to nothing yet. To be called on the runtime that the store is to live on.
    pub fn new(config: &Config, metrics: &Arc<Metrics>) -> Self {
        let handle = Postgres::connect(&config.database, &config.litellm, &config.account, &config.session);
        Self::of(Arc::new(handle.with_audit(config.audit.retention, config.log.person_in_clear)), config, metrics)
    }

    /// The same over a store that is there already.
    pub fn of(store: Arc<dyn Store>, config: &Config, metrics: &Arc<Metrics>) -> Self {
        let (ledger, notes) = ledger::ledger(metrics.clone());
        // It ends with the last who notes: a reload's other store has a ledger of their own.
        tokio::spawn(notes.write(store.clone()));
        let ages = Ages {
            refresh: config.account.refresh,
            offline_grace: config.session.offline_grace,
            cache_ttl: config.litellm.cache_ttl,
        };
        let here = runtime::Handle::current();
        let secrets = config.session.secrets.clone();
        let sessions = Sessions::new(store.clone(), here, ages, config.account.max_cached, secrets, metrics.clone());
        Self { store, sessions, ledger }
    }
}

// === impl Assembly ===

impl Assembly {
    /// Puts the stages together.
    pub fn new(config: Config, handle: &StoreHandle) -> Self {
        let own_prefixes =
            pages::own_prefixes(&config.own_prefix, config.public_url.as_ref(), &config.litellm.root_path);
        let pages = own_pages(&config, &own_prefixes);
        let Config { trust, identity, rules, account, litellm, limits, forward_auth, .. } = config;
        let is_socket = config.listen.is_closed_socket();
        let proofs: Vec<_> = trust
            .secret_header
            .iter()
            .chain(forward_auth.iter().filter_map(|it| it.trust.secret_header.as_ref()))
            .collect();
        let owned = Arc::new(gate::owned_names(&identity, proofs, &litellm));
        let doors = Doors {
            client_keys: config.client_keys,
            key_headers: gate::key_headers(&litellm),
            public_paths: config.public_paths,
            closed: doors::closed(&litellm.root_path, config.ui.native_sign_in),
            cookie_key: config.ui.cookie_key,
            origins: Origins {
                public_url: config.public_url.clone(),
                hosts: config.hosts,
                allowed: config.allowed_origins,
                root_path: litellm.root_path.clone(),
                own_pages: pages::own(&own_prefixes),
                signs_in: config.ui.sign_in,
            },
            own_prefixes,
            target_bytes: limits.target_bytes,
            in_flight_per_person: limits.in_flight_per_person,
        };
        let source = Arc::new(Source::new(config.source, config.public_url.as_ref()));
        let recognition = Arc::new(Recognition::new(Reader::new(identity), Granter::new(rules), account.max_cached));
        let trust = Trust::new(trust, is_socket);
        let gate = Gate::new(trust, source, recognition, handle.sessions.clone(), owned.clone(), doors);
        let gates = forward_auth.as_ref().map_or_else(Vec::new, |forward_auth| gates(forward_auth, &gate));
        let is_https = config.public_url.as_ref().is_some_and(|url| url.https);
        let rewriter = Rewriter {
            owned,
            key_header: litellm.key_header,
            keep_authorization: litellm.keep_authorization,
            sign_in_cookies: config.sign_in_cookies,
            public_scheme: if is_https { "https" } else { "http" },
            upstream_host: upstream_host(&litellm.url),
            root_path: litellm.root_path,
            cookie_key: litellm.master_key.as_ref().map(CookieKey::of_master_key),
        };
        Self {
            gate: Arc::new(gate),
            gates,
            sign_in: forward_auth
                .and_then(|forward_auth| forward_auth.sign_in)
                .zip(config.public_url)
                .map(|(template, public_url)| SignIn { template, public_url }),
            rewriter: Arc::new(rewriter),
            pages: Arc::new(pages),
            upstream: litellm.url,
            limits: Arc::new(limits),
            drain: config.drain,
            is_person_in_clear: config.log.person_in_clear,
            ledger: handle.ledger.clone(),
        }
    }
}

// === impl Assembly ===

impl Assembly {
    /// What answers gateways.
    pub fn verify(&self, desk: Desk) -> Verify {
        Verify {
            gates: self.gates.clone(),
            rewriter: self.rewriter.clone(),
            own_prefix: self.pages.own_prefix.clone(),
            sign_in: self.sign_in.clone(),
            to_remove: verify::to_remove(&self.rewriter.owned, self.rewriter.key_header.as_ref()),
            desk,
        }
    }
}

/// The own pages, and what is added to LiteLLM's.
fn own_pages(config: &Config, own_prefixes: &[String]) -> Pages {
    let Config { litellm, identity, .. } = config;
    Pages {
        public_url: config.public_url.clone(),
        root_path: litellm.root_path.clone(),
        own_prefix: config.own_prefix.clone(),
        own_prefixes: own_prefixes.to_vec(),
        left_min: PAGE_LEFT_MIN.min(config.session.life / 4),
        signs_in: config.ui.sign_in,
        cookie_key: config.ui.cookie_key,
        signature: litellm
            .master_key
            .as_ref()
            .map_or_else(|| config.session.secrets.cookie_key(), CookieKey::of_master_key),
        logout: config.logout.location.clone(),
        api_session: config.logout.api_session,
        litellm: litellm.url.clone(),
        key_header: litellm.key_header.clone(),
        is_asked: matches!(config.source, IdentitySource::Check(_)),
        reads: identity.reads.iter().map(|(attribute, rule)| (attribute.name(), rule.name.clone())).collect(),
        master_key: litellm.master_key.clone(),
    }
}

/// The gates of the listener for gateways.
fn gates(forward_auth: &ForwardAuth, gate: &Gate) -> Vec<(Gateway, Arc<Gate>)> {
    let ForwardAuth { listen, trust, gateways, removes, overwrites, .. } = forward_auth;
    let is_socket = listen.is_closed_socket();
    let of = |gateway: Gateway| {
        // The proof stands on the question alone; Traefik has no other way than to set it on the request itself.
        let proof = trust.secret_header.iter().filter(|_| gateway != Gateway::Traefik).map(|proof| &proof.name);
        let handled = removes.iter().chain(overwrites).chain(proof).cloned().collect();
        let remains = Remains { handled, is_told: gateway == Gateway::Envoy };
        (gateway, Arc::new(gate.for_gateway(Trust::new(trust.clone(), is_socket), remains)))
    };
    gateways.iter().map(|gateway| of(*gateway)).collect()
}

/// What a Host header calls LiteLLM.
fn upstream_host(url: &UpstreamUrl) -> HeaderValue {
    let named = match url {
        UpstreamUrl::Tcp { .. } => HeaderValue::try_from(url.to_string()).ok(),
        UpstreamUrl::Unix(_) => None,
    };
    named.unwrap_or(HeaderValue::from_static("localhost"))
}
