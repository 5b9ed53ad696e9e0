//! The flags that stand for keys of the configuration: enough to serve without a file.

use clap::Args;
use serde_json::{Map, Value, json};

use super::context::{Configured, Exit, NO_SECRETS};
use crate::config::ConfigSource;

const HEADING: &str = "Settings without a file (each is a key of the configuration)";
/// What a rule on the command line may ask for.
const MATCHERS: [&str; 4] = ["group", "email", "email_domain", "user"];

/// A configuration, and flags over it.
#[derive(Debug, Args)]
pub(super) struct Flags {
    #[command(flatten)]
    configured: Configured,
    /// Where the OAuth proxy reaches vestibule, ADDRESS:PORT or `unix:/path` (`listen`)
    #[arg(long, value_name = "ADDRESS", help_heading = HEADING, hide_short_help = true)]
    listen: Option<String>,
    /// Where /livez, /readyz and /metrics are, or `off` (`admin`)
    #[arg(long, value_name = "ADDRESS", help_heading = HEADING, hide_short_help = true)]
    admin: Option<String>,
    /// What people type into the browser (`public_url`)
    #[arg(long, value_name = "URL", help_heading = HEADING, hide_short_help = true)]
    public_url: Option<String>,
    /// LiteLLM's address (`litellm.url`)
    #[arg(long, value_name = "URL", help_heading = HEADING, hide_short_help = true)]
    upstream: Option<String>,
    /// LiteLLM's database; one with a password in it is not taken here (`litellm.database_url`)
    #[arg(long, value_name = "URL", help_heading = HEADING, hide_short_help = true)]
    database_url: Option<String>,
    /// A file with the address of LiteLLM's database (`litellm.database_url_file`)
    #[arg(long, value_name = "FILE", help_heading = HEADING, hide_short_help = true)]
    database_url_file: Option<String>,
    /// A file with one to three session secrets (`session.secret_file`)
    #[arg(long, value_name = "FILE", help_heading = HEADING, hide_short_help = true)]
    session_secret_file: Option<String>,
    /// A file with LiteLLM's master key, where it is wanted (`litellm.master_key_file`)
    #[arg(long, value_name = "FILE", help_heading = HEADING, hide_short_help = true)]
    master_key_file: Option<String>,
    /// An address or range of the OAuth proxy, as the TCP connection shows it; again for more (`trust.peers`)
    #[arg(long, value_name = "ADDRESS", help_heading = HEADING, hide_short_help = true)]
    trust_peer: Vec<String>,
    /// A user id that may connect to the unix socket; again for more (`trust.uids`)
    #[arg(long, value_name = "UID", help_heading = HEADING, hide_short_help = true)]
    trust_uid: Vec<String>,
    /// The header in which the OAuth proxy proves itself (`trust.secret_header.name`)
    #[arg(long, value_name = "NAME", help_heading = HEADING, hide_short_help = true)]
    proof_header: Option<String>,
    /// A file with that proof (`trust.secret_header.value_file`)
    #[arg(long, value_name = "FILE", help_heading = HEADING, hide_short_help = true)]
    proof_file: Option<String>,
    /// A file with the password of oauth2-proxy's basic auth (`trust.basic_auth_password_file`)
    #[arg(long, value_name = "FILE", help_heading = HEADING, hide_short_help = true)]
    basic_auth_password_file: Option<String>,
    /// Trust addresses alone although LiteLLM has such an address too (`trust.accept_shared_loopback`)
    #[arg(long, help_heading = HEADING, hide_short_help = true)]
    accept_shared_loopback: bool,
    /// Which OAuth proxy it is (`identity.preset`)
    #[arg(long, value_name = "NAME", help_heading = HEADING, hide_short_help = true)]
    preset: Option<String>,
    /// What it ALWAYS sets or removes, such as `user,email,groups` (`identity.reads`)
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = HEADING, hide_short_help = true)]
    reads: Vec<String>,
    /// A rule, MATCHER=TEXT[,MATCHER=TEXT]:ROLE, such as `group=llm-admins:proxy_admin`; again for more, the first that
    /// matches wins (`rules`)
    #[arg(long, value_name = "RULE", help_heading = HEADING, hide_short_help = true)]
    rule: Vec<String>,
    /// For those whom no rule matches: a role, or `deny` (`default_role`)
    #[arg(long, value_name = "ROLE", help_heading = HEADING, hide_short_help = true)]
    default_role: Option<String>,
    /// error, warn, info, debug or trace (`log.level`)
    #[arg(long, value_name = "LEVEL", help_heading = HEADING, hide_short_help = true)]
    log_level: Option<String>,
}

// === impl Flags ===

impl Flags {
    /// Where the configuration is read.
    pub(super) fn source(&self) -> Result<ConfigSource, Exit> {
        self.configured.source_with(self.overrides()?)
    }

    fn overrides(&self) -> Result<Vec<(String, String)>, Exit> {
        if self.database_url.as_deref().is_some_and(has_password) {
            let words = format!("`--database-url` has a password in it, and is not taken\n  = help: {NO_SECRETS}");
            return Err(Exit::usage(words));
        }
        let texts = [
            ("listen", &self.listen),
            ("admin", &self.admin),
            ("public_url", &self.public_url),
            ("litellm.url", &self.upstream),
            ("litellm.database_url", &self.database_url),
            ("litellm.database_url_file", &self.database_url_file),
            ("litellm.master_key_file", &self.master_key_file),
            ("session.secret_file", &self.session_secret_file),
            ("trust.secret_header.name", &self.proof_header),
            ("trust.secret_header.value_file", &self.proof_file),
            ("trust.basic_auth_password_file", &self.basic_auth_password_file),
            ("identity.preset", &self.preset),
            ("default_role", &self.default_role),
            ("log.level", &self.log_level),
        ];
        let lists =
            [("trust.peers", &self.trust_peer), ("trust.uids", &self.trust_uid), ("identity.reads", &self.reads)];
        let texts = texts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        let mut overrides: Vec<(String, String)> = texts.collect();
        // A list in JSON is one in YAML too.
        let lists = lists.into_iter().filter(|(_, values)| !values.is_empty());
        overrides.extend(lists.map(|(key, values)| (key.to_owned(), json!(values).to_string())));
        if self.accept_shared_loopback {
            overrides.push(("trust.accept_shared_loopback".to_owned(), "true".to_owned()));
        }
        if !self.rule.is_empty() {
            let rules = self.rule.iter().map(|text| rule(text)).collect::<Result<Vec<_>, _>>()?;
            overrides.push(("rules".to_owned(), Value::from(rules).to_string()));
        }
        Ok(overrides)
    }
}

/// `group=a,email_domain=b:ROLE`. A role has no colon, a group may.
fn rule(text: &str) -> Result<Value, Exit> {
    let wrong = |why: &str| {
        let help = "write MATCHER=TEXT[,MATCHER=TEXT]:ROLE, such as `group=llm-admins:proxy_admin`; matchers are group, email, \
                    email_domain and user. What this can't say, a file can (`rules`)";
        Exit::usage(format!("`--rule {text}` can't be read: {why}\n  = help: {help}"))
    };
    let (matchers, role) = text.rsplit_once(':').ok_or_else(|| wrong("it has no `:` before a role"))?;
    let mut when = Map::new();
    for matcher in matchers.split(',') {
        let (name, value) = matcher.split_once('=').ok_or_else(|| wrong("a matcher has no `=`"))?;
        if !MATCHERS.contains(&name) {
            return Err(wrong(&format!("there is no matcher `{name}`")));
        }
        if when.insert(name.to_owned(), json!([value])).is_some() {
            return Err(wrong(&format!("`{name}` stands in it twice")));
        }
    }
    Ok(json!({ "when": when, "role": role }))
}

/// Whether an address holds a password: before the host, or among its parameters.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let userinfo = authority.rsplit_once('@').map(|(userinfo, _)| userinfo);
    userinfo.is_some_and(|userinfo| userinfo.contains(':'))
        || query
            .split('&')
            .any(|pair| pair.split('=').next().is_some_and(|name| name.to_ascii_lowercase().contains("password")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_up_to_its_last_colon() {
        let read = |text| rule(text).ok();
        let wanted =
            json!({ "when": { "group": ["role:admin"], "email_domain": ["example.com"] }, "role": "internal_user" });
        assert_eq!(read("group=role:admin,email_domain=example.com:internal_user"), Some(wanted));
        for text in ["llm-admins:proxy_admin", "group=a", "groups=a:b", "group=a,group=b:c", ":proxy_admin", ""] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_seen() {
        for url in ["postgres://u:p@h/d", "postgres://h/d?user=u&password=p", "u:p@h", "postgres://u:p@[::1]/d?x=1"] {
            assert!(has_password(url), "{url}");
        }
        for url in
            ["postgres://u@h:5432/d", "postgres://h/d", "postgresql:///d?host=/run/postgresql", "postgres://[::1]:1/d"]
        {
            assert!(!has_password(url), "{url}");
        }
    }
}
