//! What a configuration makes, apart from sockets and threads. A reload makes another one; a request is served by the one that is
//! current when it comes.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::runtime;

use crate::admin_ui::AdminUi;
use crate::admin_ui::cross_site::CrossSitePolicy;
use crate::config::{self, Config, Drain, Gateway, IdentitySource, Limits, PublicUrl, UpstreamUrl};
use crate::forward_auth::unstripped::UnstrippedHeaders;
use crate::forward_auth::{ForwardAuthTarget, to_remove};
use crate::identity::read::IdentityReader;
use crate::identity::rules::RoleMapper;
use crate::identity::source::AssertionSource;
use crate::identity::trust::PeerTrust;
use crate::identity::{Identification, PrincipalCache};
use crate::litellm::routes;
use crate::proxy::access_log::RequestObserver;
use crate::proxy::limits::InFlightLimit;
use crate::proxy::sign_in_redirect::SignInRedirect;
use crate::proxy::upstream_request::RequestWriter;
use crate::proxy::{Authorizer, Rescue};
use crate::refusal::audit::{DenialAudit, denial_audit};
use crate::request_info::{Routes, Site, own_prefixes};
use crate::secret::CookieKey;
use crate::session::credential::SessionPolicy;
use crate::session::{Ages, Sessions};
use crate::store::Store;
use crate::store::postgres::Postgres;
use crate::telemetry::metrics::Metrics;

/// Most that must be left of a browser's session for a page to be opened with it.
const PAGE_LEFT_MIN: Duration = Duration::from_mins(30);

/// All that a worker needs to serve.
pub struct App {
    /// Decides who may pass, for the proxy.
    pub authorizer: Arc<Authorizer>,
    /// The same for gateways that ask, with the kinds of gateway that may.
    pub gateways: Gateways,
    /// How the proxy answers refusals.
    pub rescue: Rescue,
    /// Writes what LiteLLM gets.
    pub writer: Arc<RequestWriter>,
    /// Answers for the admin UI.
    pub admin_ui: Arc<AdminUi>,
    /// Where LiteLLM is.
    pub upstream: UpstreamUrl,
    /// Every limit.
    pub limits: Arc<Limits>,
    /// How an ending goes.
    pub drain: Drain,
    /// Users' ids in plain text in the log.
    pub logs_user_id: bool,
    /// Writes down which users were refused.
    pub audit: DenialAudit,
}

/// What answers gateways, apart from what observes.
#[derive(Clone)]
pub struct Gateways {
    authorizer: Arc<Authorizer>,
    kinds: Vec<(Gateway, UnstrippedHeaders)>,
    sign_in: Option<SignInRedirect>,
}

/// The store, and what is remembered of it. A reload that changes nothing about it keeps it: users known before a reload are
/// served from memory after it, also while the database is away.
#[derive(Clone)]
pub struct StoreHandle {
    /// Where accounts and sessions are kept.
    pub store: Arc<dyn Store>,
    sessions: Sessions,
    audit: DenialAudit,
}

// === impl StoreHandle ===

impl StoreHandle {
    /// Connects to nothing yet. To be called on the runtime that the store is to live on.
    pub fn new(config: &Config, metrics: &Arc<Metrics>) -> Self {
        let store = Postgres::connect(&config.database, &config.litellm, &config.account, &config.session);
        Self::of(Arc::new(store.with_audit(config.audit.retention, config.log.person_in_clear)), config, metrics)
    }

    /// The same over a store that is there already.
    pub fn of(store: Arc<dyn Store>, config: &Config, metrics: &Arc<Metrics>) -> Self {
        let (audit, writer) = denial_audit(metrics.clone());
        // It ends with the last that notes: another store after a reload has a queue of its own.
        tokio::spawn(writer.write(store.clone()));
        let ages = Ages {
            refresh: config.account.refresh,
            offline_grace: config.session.offline_grace,
            cache_ttl: config.litellm.cache_ttl,
        };
        let here = runtime::Handle::current();
        let secrets = config.session.secrets.clone();
        let sessions = Sessions::new(store.clone(), here, ages, config.account.max_cached, secrets, metrics.clone());
        Self { store, sessions, audit }
    }
}

// === impl App ===

impl App {
    /// Puts the parts together. `before` is the app that runs, at a reload.
    pub fn new(config: Config, store: &StoreHandle, before: Option<&Self>) -> Self {
        let site = proxy_site(&config);
        let cross_site = Arc::new(CrossSitePolicy {
            public_url: config.public_url.clone(),
            hosts: config.hosts.clone(),
            allowed: config.allowed_origins.clone(),
        });
        let admin_ui = admin_ui(&config, store.sessions.clone(), cross_site.clone());
        let Config { trust, identity, rules, litellm, limits, forward_auth, public_url, source, .. } = config;
        let is_asked = matches!(source, IdentitySource::Check(_));
        let in_flight = before.map_or_else(
            || InFlightLimit::new(limits.in_flight),
            |before| before.authorizer.in_flight.reloaded(limits.in_flight),
        );
        let source = Arc::new(AssertionSource::new(source, public_url.as_ref()));
        let principals = Arc::new(PrincipalCache::new(
            IdentityReader::new(identity),
            RoleMapper::new(rules),
            limits.identity_cache_bytes,
        ));
        let policy =
            SessionPolicy { cookie_key: config.ui.cookie_key, in_flight_per_user: limits.in_flight_per_person };
        let authorizer = |site: Site, trust: config::TrustRules, is_closed_socket: bool| {
            Arc::new(Authorizer {
                site,
                trust: PeerTrust::new(trust, is_closed_socket),
                cross_site: cross_site.clone(),
                identification: Identification::new(source.clone(), principals.clone(), config.client_keys),
                sessions: store.sessions.clone(),
                policy,
                in_flight: in_flight.clone(),
            })
        };
        // No public paths, which have no key to answer with, and none of vestibule's pages: a yes would lead to LiteLLM's.
        let gateway_site = site.with_routes(Routes {
            root_path: site.routes.root_path.clone(),
            own_prefixes: site.routes.own_prefixes.clone(),
            closed: site.routes.closed.clone(),
            ..Routes::default()
        });
        let gateways = match forward_auth {
            Some(forward_auth) => Gateways {
                kinds: kinds(&forward_auth),
                authorizer: authorizer(gateway_site, forward_auth.trust, forward_auth.listen.is_closed_socket()),
                sign_in: (forward_auth.sign_in.zip(public_url))
                    .map(|(template, public_url)| SignInRedirect { template, public_url }),
            },
            // Their listener may still be open, until a restart: it trusts no peer.
            None => Gateways { kinds: vec![], authorizer: authorizer(gateway_site, no_trust(), false), sign_in: None },
        };
        // An OAuth proxy in front of vestibule sends browsers to sign in itself.
        let sign_in = gateways.sign_in.clone().filter(|_| is_asked);
        Self {
            authorizer: authorizer(site, trust, config.listen.is_closed_socket()),
            gateways,
            rescue: Rescue { sign_in, ..Rescue::default() },
            writer: Arc::new(RequestWriter {
                key_header: litellm.key_header,
                keep_authorization: litellm.keep_authorization,
                sign_in_cookies: config.sign_in_cookies,
                public_scheme: cross_site.public_url.as_ref().map_or("http", PublicUrl::scheme),
                upstream_host: upstream_host(&litellm.url),
                root_path: litellm.root_path,
                cookie_key: litellm.master_key.as_ref().map(CookieKey::of_master_key),
            }),
            admin_ui: Arc::new(admin_ui),
            upstream: litellm.url,
            limits: Arc::new(limits),
            drain: config.drain,
            logs_user_id: config.log.person_in_clear,
            audit: store.audit.clone(),
        }
    }

    /// What answers gateways.
    pub fn forward_auth(&self, observer: RequestObserver) -> ForwardAuthTarget {
        let Gateways { authorizer, kinds, sign_in } = self.gateways.clone();
        let to_remove = to_remove(authorizer.site.headers(), self.writer.key_header.as_ref());
        ForwardAuthTarget {
            authorizer,
            gateways: kinds,
            writer: self.writer.clone(),
            own_prefix: self.admin_ui.own_prefix.clone(),
            sign_in,
            to_remove,
            observer,
        }
    }
}

/// What is the same for all requests of the proxy's listener.
pub fn proxy_site(config: &Config) -> Site {
    let Config { identity, trust, forward_auth, litellm, limits, .. } = config;
    let trusts = [Some(trust), forward_auth.as_ref().map(|forward_auth| &forward_auth.trust)];
    let proofs = trusts.into_iter().flatten().filter_map(|trust| trust.secret_header.as_ref());
    Site::new(identity, proofs, litellm, proxy_routes(config), limits.target_bytes)
}

/// The paths that mean something to the proxy.
fn proxy_routes(config: &Config) -> Routes {
    let root_path = config.litellm.root_path.clone();
    Routes {
        own_prefixes: own_prefixes(&config.own_prefix, config.public_url.as_ref(), &root_path),
        closed: routes::closed(&root_path, config.ui.native_sign_in),
        root_path,
        has_pages: true,
        signs_in: config.ui.sign_in,
        public: config.public_paths.clone(),
    }
}

fn admin_ui(config: &Config, sessions: Sessions, cross_site: Arc<CrossSitePolicy>) -> AdminUi {
    let Config { litellm, identity, .. } = config;
    AdminUi {
        sessions,
        cross_site,
        public_url: config.public_url.clone(),
        root_path: litellm.root_path.clone(),
        own_prefix: config.own_prefix.clone(),
        left_min: PAGE_LEFT_MIN.min(config.session.life / 4),
        signs_in: config.ui.sign_in,
        cookie_key: config.ui.cookie_key,
        signature: litellm
            .master_key
            .as_ref()
            .map_or_else(|| config.session.secrets.cookie_key(), CookieKey::of_master_key),
        logout: config.logout.location.clone(),
        api_session: config.logout.api_session,
        litellm: litellm.client(),
        key_header: litellm.key_header.clone(),
        is_asked: matches!(config.source, IdentitySource::Check(_)),
        reads: identity.reads.iter().map(|(attribute, rule)| (attribute.name(), rule.name.clone())).collect(),
    }
}

fn no_trust() -> config::TrustRules {
    config::TrustRules { peers: vec![], uids: vec![], secret_header: None, basic_auth_password: None }
}

/// The kinds of gateway that may ask, with what each forwards by itself.
fn kinds(forward_auth: &config::ForwardAuth) -> Vec<(Gateway, UnstrippedHeaders)> {
    let config::ForwardAuth { trust, gateways, removes, overwrites, .. } = forward_auth;
    let of = |gateway: Gateway| {
        // The proof stands on the question alone; Traefik has no other way than to set it on the request itself.
        let proof = trust.secret_header.iter().filter(|_| gateway != Gateway::Traefik).map(|proof| &proof.name);
        let handled = removes.iter().chain(overwrites).chain(proof).cloned().collect();
        (gateway, UnstrippedHeaders { handled, removes_what_it_is_told: gateway == Gateway::Envoy })
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
