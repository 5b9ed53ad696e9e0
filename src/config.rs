//! The checked configuration: what every other module may rely on.
//!
//! A [`Config`] exists only after `check` has found no problem, so nothing here is
//! validated a second time. The file's own shapes are in `raw`; the only file that knows YAML is `document`.

mod check;
pub mod document;
mod excerpt;
mod load;
mod pattern;
pub mod presets;
pub mod problem;
mod raw;
mod reload;
mod report;
mod shape;
#[cfg(test)]
mod tests;
mod variables;

#[cfg(test)]
pub(crate) use self::load::testing;
pub use self::load::{ConfigSource, admin, holds_secret, load};
pub use self::pattern::Pattern;
pub use self::problem::{Problem, Problems};
pub use self::reload::{NeedsRestart, StoreSettings};

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Uri};
use ipnet::IpNet;
use secrecy::SecretString;

use crate::litellm::client::LitellmClient;
use crate::litellm::role::Role;
use crate::secret::SessionSecrets;

/// A duration as the configuration writes it, such as `90m`; `None` for what is none.
pub fn duration(text: &str) -> Option<Duration> {
    check::parse_duration(text)
}

/// A duration as the configuration would write it.
pub fn written(duration: Duration) -> String {
    check::written(duration)
}

/// Everything that vestibule was told, checked as a whole.
#[derive(Debug)]
pub struct Config {
    /// Where the OAuth proxy reaches us.
    pub listen: Listen,
    /// `/livez`, `/readyz`, `/metrics`; `None` turns them off.
    pub admin: Option<SocketAddr>,
    /// What people type into the browser.
    pub public_url: Option<PublicUrl>,
    /// Further hosts that people and programs reach us by, as `Host` writes them, lower case.
    pub hosts: Vec<String>,
    /// Other sites whose pages may send requests in a person's name, as `Origin` writes them.
    pub allowed_origins: Vec<String>,
    /// Threads that serve requests, never 0.
    pub workers: usize,
    /// Who may say who somebody is.
    pub trust: TrustRules,
    /// How an assertion is read.
    pub identity: IdentityRules,
    /// Where it stands who somebody is.
    pub source: IdentitySource,
    /// The listener for gateways that ask about each request.
    pub forward_auth: Option<ForwardAuth>,
    /// Who may come in, and as what.
    pub rules: Rules,
    /// How a person becomes a row in LiteLLM.
    pub account: AccountRules,
    /// Life and secrets of session keys.
    pub session: SessionRules,
    /// LiteLLM's address and settings.
    pub litellm: Litellm,
    /// Postgres.
    pub database: Database,
    /// What becomes of a caller's own key.
    pub client_keys: ClientKeys,
    /// Paths that need no identity.
    pub public_paths: PublicPaths,
    /// Cookie names of the sign-in proxy, dropped on the way up.
    pub sign_in_cookies: Vec<CookieName>,
    /// Prefix of vestibule's own paths: begins with `/`, has no `/` at its end.
    pub own_prefix: String,
    /// Sign-in to LiteLLM's admin UI.
    pub ui: Ui,
    /// How somebody is signed out.
    pub logout: Logout,
    /// Every limit.
    pub limits: Limits,
    /// How an ending goes.
    pub drain: Drain,
    /// What is logged, and how.
    pub log: LogConfig,
    /// How long the audit is kept.
    pub audit: Audit,
    /// The files that it was read from: its own, and those of secrets and certificates.
    pub files: Vec<PathBuf>,
}

/// A listening address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A unix socket and its permission bits.
    Unix {
        /// The socket's path.
        path: PathBuf,
        /// Permission bits, such as 0o600.
        mode: u32,
    },
}

impl Listen {
    /// Whether it is a socket whose mode alone says who may connect: others than owner and group have no bits.
    pub fn is_closed_socket(&self) -> bool {
        matches!(self, Self::Unix { mode, .. } if mode.trailing_zeros() >= 3)
    }

    /// Whether both can't be listened on, or one would take the other's connections.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                let is_same = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
                one.port() != 0 && one.port() == other.port() && is_same
            }
            (Self::Unix { path, .. }, Self::Unix { path: other, .. }) => path == other,
            (Self::Tcp(_), Self::Unix { .. }) | (Self::Unix { .. }, Self::Tcp(_)) => false,
        }
    }
}

/// The address that people see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// True for `https`.
    pub https: bool,
    /// Host, with the port where it is not the scheme's own.
    pub authority: String,
    /// Path prefix without a `/` at its end; empty for none.
    pub prefix: String,
}

impl PublicUrl {
    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// As `Origin` writes it (RFC 6454 section 6.2).
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority)
    }

    /// As people type it.
    pub fn whole(&self) -> String {
        format!("{}{}", self.origin(), self.prefix)
    }

    /// A path as the browser has to ask for it, whether what stands between takes the prefix off or leaves it on.
    pub fn outside(&self, path: &str) -> String {
        let is_there = path.strip_prefix(&self.prefix).is_some_and(|rest| rest.starts_with('/'));
        if self.prefix.is_empty() || is_there { path.to_owned() } else { format!("{}{path}", self.prefix) }
    }
}

/// Sign-in to LiteLLM's admin UI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ui {
    /// Pages of the UI sign people in; never without a `public_url`.
    pub sign_in: bool,
    /// What the browser holds.
    pub cookie_key: CookieKind,
    /// LiteLLM's own ways to sign in are open.
    pub native_sign_in: bool,
}

/// What the admin UI's cookie holds in place of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CookieKind {
    /// Something that is worth nothing anywhere but here, and here to this person alone.
    Placeholder,
    /// The key itself.
    Real,
}

/// How somebody is signed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logout {
    /// Where the browser goes next, with where it goes from there inside; `None` = it stays on our own page.
    pub location: Option<String>,
    /// What becomes of the person's session for the API.
    pub api_session: AtLogout,
}

/// What becomes of a session at sign-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AtLogout {
    /// It lives on: programs go on.
    Keep,
    /// It ends, and its key with it.
    End,
}

/// Who may assert an identity. All that is set must hold; at least one is, or `listen` is a unix socket that is closed to
/// other users by its mode.
#[derive(Debug, Clone)]
pub struct TrustRules {
    /// TCP peers; empty where the trust does not rest on addresses.
    pub peers: Vec<IpNet>,
    /// Uids on a unix socket; empty = not asked.
    pub uids: Vec<u32>,
    /// A header that only the sign-in proxy knows.
    pub secret_header: Option<SecretHeader>,
    /// The password of oauth2-proxy's basic auth.
    pub basic_auth_password: Option<SecretString>,
}

/// A proof in a header. One or two values are valid at once.
#[derive(Debug, Clone)]
pub struct SecretHeader {
    /// The header's name.
    pub name: HeaderName,
    /// The valid values.
    pub values: Vec<SecretString>,
}

/// Where it stands who somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentitySource {
    /// In the headers of the request, which the sign-in proxy sets on it.
    Headers,
    /// In the headers of the sign-in proxy's answer, which vestibule asks with the caller's cookies.
    Check(CheckUrl),
}

/// The sign-in proxy's own endpoint for being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckUrl {
    /// `http://HOST:PORT/PATH`, with a query where one was given.
    pub url: Uri,
    /// Time for its answer, the connection counted in.
    pub timeout: Duration,
}

/// The listener that gateways ask about each request.
#[derive(Debug, Clone)]
pub struct ForwardAuth {
    /// Where they reach it.
    pub listen: Listen,
    /// Which of them may.
    pub trust: TrustRules,
    /// Their kinds, each with an endpoint of its own.
    pub gateways: Vec<Gateway>,
    /// What they take off every request before it reaches LiteLLM.
    pub removes: Vec<HeaderName>,
    /// What they themselves set or remove on every request before they ask.
    pub overwrites: Vec<HeaderName>,
    /// Where a browser is sent that is not signed in: `{url}` stands for the address that was asked for.
    pub sign_in: Option<String>,
}

/// A kind of gateway. They differ in how they ask, and in what they make of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Gateway {
    /// `auth_request`.
    Nginx,
    /// `forwardAuth`.
    Traefik,
    /// `forward_auth`.
    Caddy,
    /// `ext_authz` over HTTP.
    Envoy,
    /// A Lua action.
    Haproxy,
}

impl Gateway {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nginx, Self::Traefik, Self::Caddy, Self::Envoy, Self::Haproxy];

    /// The name in the configuration and in the endpoint's path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
        }
    }
}

/// How the sign-in proxy's headers are read.
#[derive(Debug, Clone)]
pub struct IdentityRules {
    /// The operator's name for the sign-in source.
    pub issuer: Arc<str>,
    /// What LiteLLM shows as the provider.
    pub provider: String,
    /// The headers that are read; attributes that are not in `reads` are absent here.
    pub reads: BTreeMap<Attribute, HeaderRule>,
    /// Refuse a person without the groups header.
    pub groups_required: bool,
    /// The user header holds the e-mail.
    pub email_from_user: bool,
    /// Most groups of one person.
    pub max_groups: usize,
    /// Most bytes of one value.
    pub max_value_bytes: usize,
    /// All names of all presets and of this configuration: stripped on every path.
    pub all_names: Vec<HeaderName>,
}

/// What can be read of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// The stable id: the subject.
    User,
    /// The e-mail address.
    Email,
    /// A name to show, such as a login.
    PreferredUsername,
    /// Full name.
    Name,
    /// Given name.
    FirstName,
    /// Family name.
    LastName,
    /// Picture's address.
    Picture,
    /// Groups.
    Groups,
    /// Roles, which become groups named `role:NAME`.
    Roles,
}

impl Attribute {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::User,
        Self::Email,
        Self::PreferredUsername,
        Self::Name,
        Self::FirstName,
        Self::LastName,
        Self::Picture,
        Self::Groups,
        Self::Roles,
    ];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Email => "email",
            Self::PreferredUsername => "preferred_username",
            Self::Name => "name",
            Self::FirstName => "first_name",
            Self::LastName => "last_name",
            Self::Picture => "picture",
            Self::Groups => "groups",
            Self::Roles => "roles",
        }
    }
}

/// Name and encoding of one attribute's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderRule {
    /// The header's name.
    pub name: HeaderName,
    /// How its value is encoded.
    pub decoding: Decoding,
    /// How a list is written; `None` for single values.
    pub separator: Option<Separator>,
}

/// How a header's bytes become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Decoding {
    /// UTF-8 as it is.
    Utf8,
    /// ISO-8859-1.
    Latin1,
    /// RFC 2047 encoded words where there are any, else UTF-8.
    Rfc2047,
    /// Percent-encoded UTF-8.
    Percent,
    /// Base64 of UTF-8.
    Base64,
    /// Base64url of UTF-8, padded or not.
    Base64url,
}

/// How a list is written in one header value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separator {
    /// Items parted by one ASCII character, which no item can contain.
    Char(u8),
    /// `"a","b"`: each item in double quotes, parted by commas (Vouch).
    Quoted,
    /// A JSON list of strings.
    Json,
}

/// Rules, first match wins.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Refused before any rule is read.
    pub deny: Vec<Matcher>,
    /// Where not empty, only those who match one come in.
    pub allow: Vec<Matcher>,
    /// The rules in their order.
    pub rules: Vec<Rule>,
    /// For those whom no rule matches; `None` refuses them.
    pub default_role: Option<Role>,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Whom it is for.
    pub when: Matcher,
    /// What they get; `None` refuses them.
    pub terms: Option<Arc<Terms>>,
    /// Line in the file, for messages about the rule.
    pub line: Option<usize>,
}

/// All that is set must match; of each list, one.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    /// Groups, exact or with `*`.
    pub group: Vec<Pattern>,
    /// Whole e-mail addresses, lower case.
    pub email: Vec<Pattern>,
    /// Domains of e-mail addresses, lower case.
    pub email_domain: Vec<Pattern>,
    /// Subjects.
    pub user: Vec<Pattern>,
}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { group, email, email_domain, user } = self;
        let parts = [("group", group), ("email", email), ("email_domain", email_domain), ("user", user)];
        let written = parts.into_iter().filter(|(_, patterns)| !patterns.is_empty()).map(|(name, patterns)| {
            let patterns: Vec<_> = patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
            format!("{name} {}", patterns.join(" or "))
        });
        f.write_str(&written.collect::<Vec<_>>().join(" and "))
    }
}

/// What a rule gives: a role, and what LiteLLM's user row gets besides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Terms {
    /// The mapped role.
    pub role: Role,
    /// Models and limits, where the rule sets any.
    pub allowance: Option<Allowance>,
}

/// What a rule says of models and limits. A field that is `None` is never written.
#[derive(Debug, Clone, Default)]
pub struct Allowance {
    /// Written whenever it differs from what was last written, instead of at creation only.
    pub always: bool,
    /// LiteLLM's model names.
    pub models: Option<Vec<String>>,
    /// USD.
    pub max_budget: Option<f64>,
    /// LiteLLM's notation, such as `30d`.
    pub budget_duration: Option<BudgetDuration>,
    /// Tokens a minute.
    pub tpm_limit: Option<i64>,
    /// Requests a minute.
    pub rpm_limit: Option<i64>,
}

impl Allowance {
    /// Every field, the budget by its bits: equal allowances are the same bytes.
    fn key(&self) -> impl Eq + Hash + '_ {
        let Self { always, models, max_budget, budget_duration, tpm_limit, rpm_limit } = self;
        (always, models, max_budget.map(f64::to_bits), budget_duration, tpm_limit, rpm_limit)
    }
}

impl PartialEq for Allowance {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Allowance {}

impl Hash for Allowance {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// A budget's period in LiteLLM's notation: a number and one of `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BudgetDuration {
    /// As LiteLLM writes it.
    pub text: String,
    /// The same in seconds.
    pub seconds: u64,
}

/// How a person becomes a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRules {
    /// What becomes LiteLLM's `user_id` of a new person.
    pub user_id: UserIdFrom,
    /// By which column a row that vestibule did not make may be taken over.
    pub adopt: Vec<AdoptBy>,
    /// Who wins over a role.
    pub role_sync: RoleSync,
    /// How old what is known of a person may be.
    pub refresh: Duration,
    /// Most people kept in memory.
    pub max_cached: usize,
}

/// Source of a new person's `user_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum UserIdFrom {
    /// The subject.
    Subject,
    /// The preferred user name.
    Username,
    /// The e-mail.
    Email,
}

/// A column by which a row may be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AdoptBy {
    /// The same `user_id`.
    UserId,
    /// The same `sso_user_id`.
    SsoUserId,
    /// The same e-mail, lower-cased.
    Email,
}

/// When the mapped role is written over the one in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RoleSync {
    /// At each refresh.
    Always,
    /// When the mapped role differs from the one last written.
    OnChange,
    /// When the row is made.
    Create,
}

/// Life and secrets of session keys.
#[derive(Debug)]
pub struct SessionRules {
    /// The secrets that keys are made from.
    pub secrets: SessionSecrets,
    /// Life of a key without renewal.
    pub life: Duration,
    /// A key is replaced at this age.
    pub max_age: Duration,
    /// How long known people are served while Postgres is away.
    pub offline_grace: Duration,
}

/// LiteLLM's address and settings.
#[derive(Debug, Clone)]
pub struct Litellm {
    /// Where it listens.
    pub url: UpstreamAddress,
    /// Its database.
    pub database_url: SecretString,
    /// The schema of its tables.
    pub schema: String,
    /// Its cache time for keys and users; zero turns the settling of lowered roles off.
    pub cache_ttl: Duration,
    /// `general_settings.litellm_key_header_name`, where set.
    pub key_header: Option<HeaderName>,
    /// Further credential headers of pass-through endpoints.
    pub pass_through_key_headers: Vec<HeaderName>,
    /// Path prefixes where Authorization is left as it came.
    pub keep_authorization: Vec<String>,
    /// LiteLLM's `PROXY_ADMIN_ID`, where set: whoever has this id becomes administrator.
    pub proxy_admin_id: Option<String>,
    /// LiteLLM's `SERVER_ROOT_PATH`: begins with `/`, has no `/` at its end; empty for none.
    pub root_path: String,
    /// LiteLLM's master key, where its caches are to be told of blocks, revocations and sign-outs at once, and for the
    /// signature of the admin UI's cookie.
    pub master_key: Option<SecretString>,
}

impl Litellm {
    /// A client of its API.
    pub fn client(&self) -> LitellmClient {
        LitellmClient::new(&self.url, self.key_header.clone(), self.master_key.as_ref())
    }
}

/// An address of LiteLLM.
pub use crate::http1::UpstreamAddress;

/// Postgres, apart from its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The schema of vestibule's own tables.
    pub schema: String,
    /// Connections.
    pub pool: u32,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time for one statement.
    pub statement_timeout: Duration,
    /// Private certificate authorities.
    pub ca_file: Option<PathBuf>,
}

/// What becomes of a caller's own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ClientKeys {
    /// Removed; without an identity that is a 401.
    Strip,
    /// Let through where no identity came.
    Pass,
}

/// Paths that need no identity. A path that is not in its plain spelling never matches.
#[derive(Debug, Clone, Default)]
pub struct PublicPaths {
    /// Whole paths.
    pub exact: Vec<String>,
    /// What comes before the `/*`, with the `/` at its end.
    pub prefixes: Vec<String>,
}

/// A cookie's name, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CookieName {
    /// The whole name.
    Exact(String),
    /// Names that begin so.
    Prefix(String),
}

/// Every limit of the front door and of the way up. Zero means no limit where the field says so.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Number of a request's headers.
    pub headers: usize,
    /// Bytes of a request's target.
    pub target_bytes: usize,
    /// Bytes of a request's body; 0 = no limit.
    pub body_bytes: u64,
    /// Time for a request's head.
    pub header_timeout: Duration,
    /// How long a request's body may keep us waiting: in one silence, or on balance when it is slower than `body_rate`.
    pub body_timeout: Duration,
    /// Bytes of a request's body that make up for a second of waiting; 0 = any byte makes up for all.
    pub body_rate: u64,
    /// How long a client may take nothing of what is there for it; 0 = no limit.
    pub send_timeout: Duration,
    /// How long a downstream connection may be idle between requests.
    pub keep_alive_timeout: Duration,
    /// Open downstream connections.
    pub connections: usize,
    /// Requests in flight of one person; 0 = no limit.
    pub in_flight_per_person: usize,
    /// Requests in flight in all; 0 = no limit.
    pub in_flight: usize,
    /// Bytes that remembered sets of identity headers take together.
    pub identity_cache_bytes: u64,
    /// Time to connect to LiteLLM.
    pub upstream_connect_timeout: Duration,
    /// Time until LiteLLM's answer begins.
    pub upstream_first_byte_timeout: Duration,
    /// How long LiteLLM may be silent within an answer; 0 = no limit.
    pub upstream_read_timeout: Duration,
    /// How long an idle upstream connection is kept.
    pub upstream_idle_timeout: Duration,
    /// Idle upstream connections a worker.
    pub upstream_idle_connections: usize,
}

/// How an ending goes.
#[derive(Debug, Clone)]
pub struct Drain {
    /// Not ready, still serving.
    pub delay: Duration,
    /// What runs may finish.
    pub timeout: Duration,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// A level, or `level,target=level`.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
    /// True = a person's id is logged in clear.
    pub person_in_clear: bool,
}

/// The audit trail.
#[derive(Debug, Clone)]
pub struct Audit {
    /// How long its lines are kept; zero = for ever.
    pub retention: Duration,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// Text.
    Text,
    /// JSON.
    Json,
}
