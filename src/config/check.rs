//! Raw → [`Config`]: what the values mean, and everything that is wrong with them, in one run.
//!
//! Each section has a file of its own. A section gives its part even where it found a problem, so that the sections
//! after it can be checked too; a [`Config`] leaves the house only when nobody found one.

mod forward_auth;
mod front;
mod headers;
mod identity;
mod limits;
mod litellm;
mod rules;
mod session;
mod trust;
mod ui;
mod values;

pub(super) use self::values::{parse_duration, written};

use crate::config::problem::KeyPath;
use crate::config::raw::RawConfig;
use crate::config::report::Report;
use crate::config::{ClientKeys, Config};

/// The address of the admin port, and of nothing else.
pub(super) fn admin_alone(raw: RawConfig, report: &mut Report) -> Option<std::net::SocketAddr> {
    let listen = front::listen(raw.listen.as_deref(), raw.listen_mode, report);
    front::admin(raw.admin, listen.as_ref(), report)
}

/// Checks everything. `None`, or a report with errors, means that there is no configuration.
pub(super) fn check(raw: RawConfig, report: &mut Report) -> Option<Config> {
    let mut headers = headers::Headers::default();
    let listen = front::listen(raw.listen.as_deref(), raw.listen_mode, report);
    let admin = front::admin(raw.admin, listen.as_ref(), report);
    let (litellm, database_address) =
        litellm::litellm(raw.litellm.unwrap_or_default(), listen.as_ref(), &mut headers, report);
    let (at, upstream) = (listen.as_ref(), litellm.url.as_ref());
    let trust = trust::trust(raw.trust.unwrap_or_default(), &trust::SPEAKERS, at, upstream, &mut headers, report);
    if trust.basic_auth_password.is_some() && !litellm.keep_authorization.is_empty() {
        report.error(
            KeyPath::parse("litellm.keep_authorization"),
            "`litellm.keep_authorization` would send the sign-in proxy's password on".to_owned(),
            "Authorization holds `trust.basic_auth_password`; prove the proxy with `trust.secret_header` instead",
        );
    }
    let mut said = raw.identity.unwrap_or_default();
    let source = forward_auth::source(said.source, said.check.take(), report);
    let (identity, preset) = identity::identity(said, &mut headers, report);
    forward_auth::answers(&source, preset, report);
    let reads = rules::Reads::new(&identity, report);
    let rules = rules::rules(raw.deny, raw.allow, raw.rules, raw.default_role.as_deref(), reads, report);
    let account = session::account(raw.account.unwrap_or_default(), &identity, report);
    let session = session::session(raw.session.unwrap_or_default(), &account, litellm.cache_ttl, report);
    let database = litellm::database(raw.database.unwrap_or_default(), &litellm.schema, report);
    let public_url = front::public_url(raw.public_url.as_deref(), report);
    let around = forward_auth::Around {
        listen: at,
        admin,
        upstream,
        public_url: public_url.as_ref(),
        identity: &identity,
        source: &source,
        root_path: &litellm.root_path,
    };
    forward_auth::host(&source, public_url.as_ref(), report);
    let has_gateways = raw.forward_auth.is_some();
    let forward_auth = forward_auth::forward_auth(raw.forward_auth, &around, &mut headers, report);
    headers.check(report);
    let public_paths = front::public_paths(raw.public_paths.unwrap_or_default(), report);
    if has_gateways {
        forward_auth::public_paths(&public_paths, report);
    }
    let own_prefix = front::own_prefix(raw.own_prefix, report);
    Some(Config {
        admin,
        hosts: ui::hosts(raw.hosts.unwrap_or_default(), public_url.as_ref(), report),
        allowed_origins: ui::allowed_origins(raw.allowed_origins.unwrap_or_default(), report),
        ui: ui::ui(&raw.ui.unwrap_or_default(), public_url.as_ref(), report),
        logout: ui::logout(raw.logout.unwrap_or_default(), preset, public_url.as_ref(), report),
        public_url,
        workers: front::workers(raw.workers, report),
        trust,
        identity,
        source,
        forward_auth,
        rules,
        account,
        database,
        client_keys: raw.client_keys.unwrap_or(ClientKeys::Strip),
        public_paths,
        sign_in_cookies: front::sign_in_cookies(raw.sign_in_cookies, preset, report),
        own_prefix,
        limits: limits::limits(raw.limits.unwrap_or_default(), report),
        drain: limits::drain(raw.drain.unwrap_or_default(), report),
        log: limits::log(raw.log.unwrap_or_default(), report),
        audit: limits::audit(raw.audit.unwrap_or_default(), report),
        files: report.files(),
        // What can be missing comes last: everything above is checked all the same.
        litellm: litellm.complete(database_address)?,
        listen: listen?,
        session: session?,
    })
}
