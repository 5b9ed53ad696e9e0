//! LiteLLM and Postgres.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderName;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::check::front::socket_path;
use crate::config::check::headers::{Headers, Purpose};
use crate::config::check::ui::root_path;
use crate::config::check::values::{Zero, duration, number, path_fault, schema, secret};
use crate::config::problem::{KeyPath, literal};
use crate::config::raw::{List, RawDatabase, RawLitellm};
use crate::config::report::Report;
use crate::config::{Database, Listen, Litellm, UpstreamAddress};
use crate::litellm::database_url;

const POOL_MAX: u32 = 1000;

/// [`Litellm`] as far as it could be read.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) url: Option<UpstreamAddress>,
    pub(super) schema: String,
    pub(super) cache_ttl: Duration,
    key_header: Option<HeaderName>,
    pass_through_key_headers: Vec<HeaderName>,
    pub(super) keep_authorization: Vec<String>,
    proxy_admin_id: Option<String>,
    pub(super) root_path: String,
    master_key: Option<SecretString>,
}

impl Partial {
    pub(super) fn complete(self, database_url: Option<SecretString>) -> Option<Litellm> {
        Some(Litellm {
            url: self.url?,
            database_url: database_url?,
            schema: self.schema,
            cache_ttl: self.cache_ttl,
            key_header: self.key_header,
            pass_through_key_headers: self.pass_through_key_headers,
            keep_authorization: self.keep_authorization,
            proxy_admin_id: self.proxy_admin_id,
            root_path: self.root_path,
            master_key: self.master_key,
        })
    }
}

/// Everything under `litellm`, and the database's address as it is to be used.
pub(super) fn litellm(
    raw: RawLitellm,
    listen: Option<&Listen>,
    headers: &mut Headers,
    report: &mut Report,
) -> (Partial, Option<SecretString>) {
    let database = database_url(raw.database_url, raw.database_url_file, report);
    let (address, schema_of_address) = database.unzip();
    let schema = raw.schema.or(schema_of_address.flatten()).unwrap_or_else(|| "public".to_owned());
    let key = |name: &str| KeyPath::parse("litellm").key(name);
    let names = raw.pass_through_key_headers.unwrap_or_default();
    let partial = Partial {
        url: url(raw.url.as_deref(), listen, report),
        schema: self::schema("litellm.schema", schema, report),
        cache_ttl: duration("litellm.cache_ttl", raw.cache_ttl, Duration::from_mins(1), Zero::Allowed, report),
        key_header: raw.key_header.and_then(|name| headers.name(&key("key_header"), &name, Purpose::Key, report)),
        pass_through_key_headers: {
            let names = names.into_iter().enumerate().filter_map(|(at, name)| Some((at, name?)));
            let key = key("pass_through_key_headers");
            names.filter_map(|(at, name)| headers.name(&key.at(at), &name, Purpose::Key, report)).collect()
        },
        keep_authorization: keep_authorization(raw.keep_authorization.unwrap_or_default(), report),
        proxy_admin_id: raw.proxy_admin_id.filter(|id| !id.is_empty()),
        root_path: root_path(raw.root_path, report),
        master_key: master_key(raw.master_key, raw.master_key_file, report),
    };
    (partial, address)
}

fn url(raw: Option<&str>, listen: Option<&Listen>, report: &mut Report) -> Option<UpstreamAddress> {
    const KEY: &str = "litellm.url";
    let Some(text) = raw else {
        report.missing(
            KEY,
            "`litellm.url` is missing: where does LiteLLM listen?",
            "such as `url: http://127.0.0.1:4000`",
        );
        return None;
    };
    if let Some(path) = text.strip_prefix("unix:") {
        let path = socket_path(KEY, path, report)?;
        if matches!(listen, Some(Listen::Unix { path: ours, .. }) if *ours == path) {
            report.error(KEY, "`litellm.url` is the socket that vestibule listens on", "write the socket of LiteLLM");
        }
        return Some(UpstreamAddress::Unix(path));
    }
    let (message, remedy) = match tcp(text) {
        Ok((host, port)) => {
            let address = host.parse::<IpAddr>().ok();
            if let (Some(Listen::Tcp(ours)), Some(address)) = (listen, address)
                && ours.ip() == address
                && ours.port() == port
            {
                report.error(
                    KEY,
                    "`litellm.url` is the address that vestibule listens on",
                    "write the address of LiteLLM",
                );
            }
            return Some(UpstreamAddress::Tcp { host, port });
        }
        Err(fault) => fault,
    };
    if text.contains('@') {
        // What stands before it may be a password.
        report.keep_private(&KEY.into());
        report.error(KEY, format!("`{KEY}` {message}"), remedy);
    } else {
        report.error(KEY, format!("`{KEY}` {message}: {}", literal(text)), remedy);
    }
    None
}

/// Host and port of `http://HOST[:PORT]`, or what is wrong and what to do.
fn tcp(text: &str) -> Result<(String, u16), (&'static str, &'static str)> {
    const FORM: &str = "write `http://HOST:PORT`, or `unix:/path/to/socket`";
    let not_a_url = ("is not the address of LiteLLM", FORM);
    if text.contains('@') {
        return Err(("has a user name", "write `http://HOST:PORT`; vestibule brings its own key"));
    }
    let url: http::Uri = text.parse().map_err(|_| not_a_url)?;
    match url.scheme_str() {
        Some("http") => {}
        Some("https") => {
            let remedy = "put vestibule beside LiteLLM, or something between them that speaks TLS, and write its `http://` address";
            return Err(("has https, which is not supported yet on the way up", remedy));
        }
        _ => return Err(not_a_url),
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || text.contains('#') {
        let remedy = "write `http://HOST:PORT`; paths go up as they came, and LiteLLM's `SERVER_ROOT_PATH` goes into `litellm.root_path`";
        return Err(("has a path", remedy));
    }
    let authority = url.authority().ok_or(not_a_url)?;
    let host = authority.host();
    let port = match authority.as_str().get(host.len()..).unwrap_or_default() {
        "" => 80,
        port => port.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port != 0).ok_or(not_a_url)?,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(not_a_url);
    }
    Ok((host.to_owned(), port))
}

/// The address without what only Prisma knows, and the schema that it names.
fn database_url(
    inline: Option<crate::config::raw::Secret>,
    file: Option<String>,
    report: &mut Report,
) -> Option<(SecretString, Option<String>)> {
    let given = inline.is_some() || file.is_some();
    let Some((secret, from)) = secret("litellm.database_url", inline, file, report) else {
        if !given {
            let remedy = "set `litellm.database_url_file` to a file with LiteLLM's own `DATABASE_URL`";
            report.missing("litellm.database_url", "there is no address of LiteLLM's database", remedy);
        }
        return None;
    };
    let text = secret.expose_secret().trim();
    let rest = text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.contains(char::is_whitespace)) {
        let message = format!("`{from}` gives no address of a Postgres database");
        report.error(&from, message, "write `postgresql://USER:PASSWORD@HOST:5432/DATABASE`");
        return None;
    }
    let (address, schema) = database_url::split(text);
    Some((address.into(), schema))
}

/// The master key as it stands in a header.
fn master_key(
    inline: Option<crate::config::raw::Secret>,
    file: Option<String>,
    report: &mut Report,
) -> Option<SecretString> {
    let (secret, from) = secret("litellm.master_key", inline, file, report)?;
    let key = secret.expose_secret().trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("`{from}` gives no key that can stand in a header");
        report.error(&from, message, "write LiteLLM's `LITELLM_MASTER_KEY`: one word of letters, digits and signs");
        return None;
    }
    Some(key.to_owned().into())
}

fn keep_authorization(raw: List<String>, report: &mut Report) -> Vec<String> {
    let mut kept = Vec::with_capacity(raw.len());
    for (at, path) in raw.into_iter().enumerate() {
        let Some(path) = path else { continue };
        let fault = if path == "/" {
            Some("`/` is every path: name those whose far end has a sign-in of its own")
        } else {
            path_fault(&path)
        };
        if let Some(fault) = fault {
            let key = KeyPath::parse("litellm.keep_authorization").at(at);
            report.error(&key, format!("`{key}` is not the prefix of a path: {}", literal(&path)), fault);
        } else {
            kept.push(path);
        }
    }
    kept
}

/// Everything under `database`.
pub(super) fn database(raw: RawDatabase, litellm_schema: &str, report: &mut Report) -> Database {
    const KEY: &str = "database.schema";
    // Where ours is the default, it is the other one that was chosen.
    let chosen = if raw.schema.is_some() { KEY } else { "litellm.schema" };
    let schema = schema(KEY, raw.schema.unwrap_or_else(|| "vestibule".to_owned()), report);
    if schema == litellm_schema {
        let remedy = "LiteLLM's migrations drop what they don't know: give vestibule a schema of its own";
        report.error(chosen, format!("`{KEY}` and `litellm.schema` are the same: `{schema}`"), remedy);
    } else if schema.starts_with("pg_") {
        report.error(
            KEY,
            format!("`{KEY}` is kept by Postgres for itself: `{schema}`"),
            "leave it out for `vestibule`",
        );
    }
    let seconds = Duration::from_secs;
    Database {
        schema,
        pool: number("database.pool", raw.pool, 8, 1..=POOL_MAX, report),
        connect_timeout: duration("database.connect_timeout", raw.connect_timeout, seconds(2), Zero::Refused, report),
        statement_timeout: duration(
            "database.statement_timeout",
            raw.statement_timeout,
            seconds(5),
            Zero::Refused,
            report,
        ),
        ca_file: raw.ca_file.filter(|path| !path.is_empty()).map(Into::into),
    }
}
