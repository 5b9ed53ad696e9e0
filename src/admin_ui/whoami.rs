//! Who the user is here, by which headers and which rule, and how long their session and budget go on. Nothing of it is
//! secret; it is shown to the user alone.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use super::{AdminUi, html, json_answer, page};
use crate::config::IdentitySource;
use crate::refusal::{Code, Refusal};
use crate::request_info::{OwnPage, RequestInfo};
use crate::session::Session;
use crate::session::credential::UserCredential;
use crate::telemetry::logs::chain;

/// How long the page waits for the budget.
const BUDGET_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
struct Whoami<'a> {
    user_id: &'a str,
    role: &'a str,
    /// `rules[0]`, or `default_role`.
    rule: String,
    issuer: &'a str,
    subject: &'a str,
    email: Option<&'a str>,
    name: Option<&'a str>,
    groups: &'a [String],
    /// Attribute → the header that said it; of the OAuth proxy's answer, where that is asked, the one that could.
    read_from: std::collections::BTreeMap<&'static str, &'a str>,
    /// Seconds until the key ends, unless it is renewed.
    session_ends_in: u64,
    budget: Option<Budget>,
}

/// The user's own budget, in USD.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Budget {
    spent: f64,
    max: Option<f64>,
    left: Option<f64>,
}

// === impl AdminUi ===

impl AdminUi {
    /// A page for people, JSON for programs.
    pub(super) async fn whoami(
        &self,
        info: &RequestInfo<'_>,
        user: &UserCredential,
    ) -> Result<Response<Bytes>, Refusal> {
        if !matches!(*info.method(), Method::GET | Method::HEAD) {
            return Err(Code::MethodNotAllowed.into());
        }
        // As this request says: what is kept of a user says what was last written.
        let (session, person) = (user.session(), user.principal().identity.person());
        let said = info.identity_values();
        let is_asked = matches!(self.config.source, IdentitySource::Check(_));
        let read = self.config.identity.reads.iter().enumerate().filter(|(at, _)| is_asked || said.has(*at));
        let whoami = Whoami {
            user_id: session.user_id(),
            role: session.role(),
            rule: user
                .principal()
                .mapping
                .rule()
                .map_or_else(|| "default_role".to_owned(), |at| format!("rules[{at}]")),
            issuer: &person.issuer,
            subject: &person.subject,
            email: person.email.as_deref(),
            name: person.display_name.as_deref(),
            groups: &person.groups,
            read_from: read.map(|(_, (attribute, rule))| (attribute.name(), rule.name.as_str())).collect(),
            session_ends_in: session.left().as_secs(),
            budget: self.budget(session).await,
        };
        Ok(if info.wants_html() { self.page(&whoami) } else { json_answer(&whoami) })
    }

    /// As LiteLLM tells the user themselves; `None` where it does not.
    async fn budget(&self, session: &Session) -> Option<Budget> {
        // Without the id LiteLLM tells administrators of all users.
        let path = format!("/user/info?user_id={}", utf8_percent_encode(session.user_id(), NON_ALPHANUMERIC));
        match timeout(BUDGET_TIMEOUT, self.litellm.get(&path, Some(session.key()))).await {
            Ok(Ok((200, body))) => Budget::read(&body),
            Ok(Err(error)) => {
                tracing::debug!(cause = chain(&error), "LiteLLM did not tell a budget");
                None
            }
            Ok(Ok(_)) | Err(_) => None,
        }
    }

    fn page(&self, whoami: &Whoami<'_>) -> Response<Bytes> {
        let mut rows = vec![
            ("LiteLLM user", whoami.user_id.to_owned()),
            ("Role", whoami.role.to_owned()),
            ("Given by", whoami.rule.clone()),
        ];
        rows.extend(whoami.email.map(|email| ("E-mail", email.to_owned())));
        rows.extend(whoami.name.map(|name| ("Name", name.to_owned())));
        if !whoami.groups.is_empty() {
            rows.push(("Groups", whoami.groups.join(", ")));
        }
        rows.push(("Signed in as", format!("{} at {}", whoami.subject, whoami.issuer)));
        let from: Vec<String> = whoami.read_from.iter().map(|(what, header)| format!("{what}: {header}")).collect();
        rows.push(("Read from", from.join(", ")));
        rows.push(("Session ends in", minutes(whoami.session_ends_in)));
        rows.push(("Budget", whoami.budget.map_or_else(|| "not known".to_owned(), Budget::words)));
        let row = |(name, value): &(&str, String)| format!("<dt>{name}</dt><dd>{}</dd>", html::escape(value));
        let rows = rows.iter().map(row).collect::<Vec<_>>().join("\n");
        let out = html::escape(&self.own_page(OwnPage::SignOut));
        let body =
            format!("<dl>\n{rows}\n</dl>\n<form method=\"post\" action=\"{out}\"><button>Sign out</button></form>\n");
        page("Who you are here", &body)
    }
}

// === impl Budget ===

impl Budget {
    /// Of LiteLLM's `/user/info` (`internal_user_endpoints.py`).
    fn read(body: &[u8]) -> Option<Self> {
        let told: Value = serde_json::from_slice(body).ok()?;
        let user = told.get("user_info")?;
        let spent = user.get("spend")?.as_f64()?;
        let max = user.get("max_budget").and_then(Value::as_f64);
        Some(Self { spent, max, left: max.map(|max| (max - spent).max(0.0)) })
    }

    fn words(self) -> String {
        match (self.max, self.left) {
            (Some(max), Some(left)) => format!("{left:.2} USD of {max:.2} left"),
            _ => format!("no limit; {:.2} USD spent", self.spent),
        }
    }
}

fn minutes(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds % 3600 / 60);
    if hours > 0 { format!("{hours} h {minutes} min") } else { format!("{minutes} min") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_budget_is_never_less_than_nothing() {
        let read = |text: &str| Budget::read(text.as_bytes()).map(Budget::words);
        assert_eq!(read(r#"{"user_info":{"spend":1.5,"max_budget":2}}"#).as_deref(), Some("0.50 USD of 2.00 left"));
        assert_eq!(read(r#"{"user_info":{"spend":3,"max_budget":2}}"#).as_deref(), Some("0.00 USD of 2.00 left"));
        assert_eq!(read(r#"{"user_info":{"spend":3,"max_budget":null}}"#).as_deref(), Some("no limit; 3.00 USD spent"));
        assert_eq!(read(r#"{"detail":"no"}"#), None);
    }
}
