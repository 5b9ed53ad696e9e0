//! What a configuration makes, apart from sockets and threads. A reload makes another one; a request is served by the one that is
//! current when it comes.

use std::sync::Arc;

use http::HeaderValue;
use tokio::runtime;

use crate::admin_ui::AdminUi;
use crate::authorizer::Authorizer;
use crate::authorizer::in_flight::InFlightLimit;
use crate::config::{Config, ForwardAuth, Gateway, IdentitySource, PublicUrl, TrustRules, UpstreamAddress};
use crate::cross_site::CrossSitePolicy;
use crate::forward_auth::unstripped::UnstrippedHeaders;
use crate::forward_auth::{ForwardAuthTarget, to_remove};
use crate::identity::read::IdentityReader;
use crate::identity::rules::RoleMapper;
use crate::identity::source::AssertionSource;
use crate::identity::trust::PeerTrust;
use crate::identity::{Identification, PrincipalCache};
use crate::litellm::routes;
use crate::proxy::Rescue;
use crate::proxy::record::RequestObserver;
use crate::proxy::sign_in_cookies::SignInCookies;
use crate::proxy::sign_in_redirect::SignInRedirect;
use crate::proxy::upstream_request::RequestWriter;
use crate::refusal::audit::{DenialAudit, denial_audit, write_denials};
use crate::request_info::{ListenerRules, Routes, own_prefixes};
use crate::secret::CookieKey;
use crate::session::credential::SessionPolicy;
use crate::session::{Ages, Sessions};
use crate::store::Store;
use crate::store::postgres::Postgres;
use crate::telemetry::metrics::Metrics;

/// All that a worker needs to serve.
pub struct App {
    /// What it was made from.
    pub config: Arc<Config>,
    /// Decides who may pass, for the proxy.
    pub authorizer: Arc<Authorizer>,
    /// Answers gateways.
    pub forward_auth: ForwardAuthTarget,
    /// How the proxy answers refusals.
    pub rescue: Rescue,
    /// Writes what LiteLLM gets.
    pub writer: Arc<RequestWriter>,
    /// Answers for the admin UI.
    pub admin_ui: Arc<AdminUi>,
    /// Counts and logs requests, and notes refusals.
    pub observer: RequestObserver,
}

/// The store, and what is remembered of it. A reload that changes nothing about it keeps it: users known before a reload are
/// served from memory after it, also while the database is away.
#[derive(Clone)]
pub struct StoreHandle {
    /// Where accounts and sessions are kept.
    pub store: Arc<dyn Store>,
    /// Where its state is counted.
    pub metrics: Arc<Metrics>,
    sessions: Sessions,
    audit: DenialAudit,
}

// === impl StoreHandle ===

impl StoreHandle {
    /// Connects to nothing yet. To be called on the runtime that the store is to live on.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let store = Postgres::connect(&config.database, &config.litellm, &config.account, &config.session);
        Self::of(Arc::new(store.with_audit(config.audit.retention, config.log.person_in_clear)), config, metrics)
    }

    /// The same over a store that is there already.
    pub fn of(store: Arc<dyn Store>, config: &Config, metrics: Arc<Metrics>) -> Self {
        let (audit, denials) = denial_audit(metrics.clone());
        // Another store after a reload has a queue of its own, and the old queue's writer ends with its last sender.
        tokio::spawn(write_denials(denials, store.clone(), metrics.clone()));
        let ages = Ages {
            refresh: config.account.refresh,
            offline_grace: config.session.offline_grace,
            cache_ttl: config.litellm.cache_ttl,
        };
        let here = runtime::Handle::current();
        let secrets = config.session.secrets.clone();
        let sessions = Sessions::new(store.clone(), here, ages, config.account.max_cached, secrets, metrics.clone());
        Self { store, metrics, sessions, audit }
    }
}

// === impl App ===

impl App {
    /// Puts the parts together. `before` is the app that runs, at a reload.
    pub fn new(config: Arc<Config>, store: &StoreHandle, before: Option<&Self>) -> Self {
        let Config { litellm, limits, public_url, .. } = &*config;
        let rules = proxy_rules(&config);
        let cross_site = Arc::new(CrossSitePolicy {
            public_url: public_url.clone(),
            hosts: config.hosts.clone(),
            allowed: config.allowed_origins.clone(),
        });
        let in_flight = before.map_or_else(
            || InFlightLimit::new(limits.in_flight),
            |before| before.authorizer.in_flight.reloaded(limits.in_flight),
        );
        let source = Arc::new(AssertionSource::new(config.source.clone(), public_url.as_ref()));
        let principals = Arc::new(PrincipalCache::new(
            IdentityReader::new(config.identity.clone()),
            RoleMapper::new(config.rules.clone()),
            limits.identity_cache_bytes,
        ));
        let policy =
            SessionPolicy { cookie_key: config.ui.cookie_key, in_flight_per_user: limits.in_flight_per_person };
        let authorizer = |rules: ListenerRules, trust: TrustRules, is_closed_socket: bool| {
            Arc::new(Authorizer {
                rules,
                trust: PeerTrust::new(trust, is_closed_socket),
                cross_site: cross_site.clone(),
                identification: Identification::new(source.clone(), principals.clone(), config.client_keys),
                sessions: store.sessions.clone(),
                policy,
                in_flight: in_flight.clone(),
            })
        };
        let writer = Arc::new(request_writer(&config));
        let observer = RequestObserver {
            metrics: store.metrics.clone(),
            logs_user_id: config.log.person_in_clear,
            audit: store.audit.clone(),
        };
        // No public paths, which have no key to answer with, and none of vestibule's pages: a yes would lead to LiteLLM's.
        let gateway_rules = rules.with_routes(Routes {
            root_path: rules.routes.root_path.clone(),
            own_prefixes: rules.routes.own_prefixes.clone(),
            closed: rules.routes.closed.clone(),
            ..Routes::default()
        });
        let gateways = config.forward_auth.as_ref();
        // Where there are none any more, their listener may still be open until a restart: it trusts no peer.
        let no_trust = || TrustRules { peers: vec![], uids: vec![], secret_header: None, basic_auth_password: None };
        let gateway_trust = gateways.map_or_else(no_trust, |gateways| gateways.trust.clone());
        let is_closed_socket = gateways.is_some_and(|gateways| gateways.listen.is_closed_socket());
        let sign_in = gateways.and_then(|gateways| gateways.sign_in.clone()).zip(public_url.clone());
        let sign_in = sign_in.map(|(template, public_url)| SignInRedirect { template, public_url });
        let forward_auth = ForwardAuthTarget {
            to_remove: to_remove(gateway_rules.headers(), litellm.key_header.as_ref()),
            authorizer: authorizer(gateway_rules, gateway_trust, is_closed_socket),
            gateways: gateways.map_or_else(Vec::new, kinds),
            writer: writer.clone(),
            own_prefix: config.own_prefix.clone(),
            sign_in: sign_in.clone(),
            observer: observer.clone(),
        };
        let authorizer = authorizer(rules, config.trust.clone(), config.listen.is_closed_socket());
        Self {
            authorizer,
            forward_auth,
            // An OAuth proxy in front of vestibule sends browsers to sign in itself.
            rescue: Rescue {
                sign_in: sign_in.filter(|_| matches!(config.source, IdentitySource::Check(_))),
                ..Rescue::default()
            },
            writer,
            admin_ui: Arc::new(AdminUi::new(config.clone(), store.sessions.clone(), cross_site)),
            observer,
            config,
        }
    }
}

/// What is the same for all requests of the proxy's listener.
pub fn proxy_rules(config: &Config) -> ListenerRules {
    let Config { identity, trust, forward_auth, litellm, limits, .. } = config;
    let trusts = [Some(trust), forward_auth.as_ref().map(|forward_auth| &forward_auth.trust)];
    let proofs = trusts.into_iter().flatten().filter_map(|trust| trust.secret_header.as_ref());
    let root_path = litellm.root_path.clone();
    let routes = Routes {
        own_prefixes: own_prefixes(&config.own_prefix, config.public_url.as_ref(), &root_path),
        closed: routes::closed_paths(&root_path, config.ui.native_sign_in),
        root_path,
        has_pages: true,
        signs_in: config.ui.sign_in,
        public: config.public_paths.clone(),
    };
    ListenerRules::new(identity, proofs, litellm, routes, limits.target_bytes)
}

fn request_writer(config: &Config) -> RequestWriter {
    let Config { litellm, public_url, .. } = config;
    RequestWriter {
        key_header: litellm.key_header.clone(),
        keep_authorization: litellm.keep_authorization.clone(),
        sign_in_cookies: SignInCookies(config.sign_in_cookies.clone()),
        public_scheme: public_url.as_ref().map_or("http", PublicUrl::scheme),
        upstream_host: upstream_host(&litellm.url),
        root_path: litellm.root_path.clone(),
        cookie_key: litellm.master_key.as_ref().map(CookieKey::of_master_key),
    }
}

/// The kinds of gateway that may ask, with what each forwards by itself.
fn kinds(forward_auth: &ForwardAuth) -> Vec<(Gateway, UnstrippedHeaders)> {
    let ForwardAuth { trust, gateways, removes, overwrites, .. } = forward_auth;
    let of = |&gateway: &Gateway| {
        // The proof stands on the question alone; Traefik has no other way than to set it on the request itself.
        let proof = trust.secret_header.iter().filter(|_| gateway != Gateway::Traefik).map(|proof| &proof.name);
        let handled = removes.iter().chain(overwrites).chain(proof).cloned().collect();
        (gateway, UnstrippedHeaders { handled, removes_what_it_is_told: gateway == Gateway::Envoy })
    };
    gateways.iter().map(of).collect()
}

/// What a Host header calls LiteLLM.
fn upstream_host(url: &UpstreamAddress) -> HeaderValue {
    let named = matches!(url, UpstreamAddress::Tcp { .. }).then(|| HeaderValue::try_from(url.to_string()).ok());
    named.flatten().unwrap_or(HeaderValue::from_static("localhost"))
}
