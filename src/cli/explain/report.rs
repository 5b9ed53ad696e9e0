//! What `explain` tells: the stages in the order of the request's way, then the ending.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::HeaderName;
use http::request::Parts;
use serde_json::{Value, json};

use super::dry_run::PlannedUser;
use super::stages::Stages;
use crate::cli::table::facts;
use crate::refusal::Refusal;
use crate::telemetry::logs::chain;

/// What may pass.
pub(super) struct Admitted {
    pub(super) passage: &'static str,
    pub(super) rule: Option<usize>,
    /// What is sent to LiteLLM; `None` where vestibule answers itself.
    pub(super) sent: Option<Parts>,
}

/// The whole of it.
pub(super) struct ExplainReport {
    pub(super) stages: Stages,
    pub(super) head: Parts,
    pub(super) given: Vec<HeaderName>,
    pub(super) planned: Option<PlannedUser>,
    pub(super) decision: Result<Admitted, Refusal>,
}

// === impl ExplainReport ===

impl ExplainReport {
    /// What would stand in a new row, column by column.
    fn row(&self) -> Vec<(&'static str, String)> {
        let Some(PlannedUser { user_id, person, terms }) = &self.planned else { return Vec::new() };
        let mut row = vec![("user_id", user_id.clone()), ("user_role", terms.role.as_str().to_owned())];
        row.extend(person.email.clone().map(|email| ("user_email", email)));
        row.extend(person.display_name.clone().map(|name| ("user_alias", name)));
        row.push(("sso_user_id", person.subject.clone()));
        if let Some(allowance) = &terms.allowance {
            row.extend(allowance.models.as_ref().map(|models| ("models", models.join(", "))));
            row.extend(allowance.max_budget.map(|budget| ("max_budget", format!("{budget} USD"))));
            row.extend(allowance.budget_duration.as_ref().map(|duration| ("budget_duration", duration.text.clone())));
            row.extend(allowance.tpm_limit.map(|limit| ("tpm_limit", limit.to_string())));
            row.extend(allowance.rpm_limit.map(|limit| ("rpm_limit", limit.to_string())));
        }
        row
    }

    /// What is sent to LiteLLM, with keys by their names.
    fn sent(&self) -> Vec<(String, String)> {
        let Ok(Admitted { passage, sent: Some(sent), .. }) = &self.decision else { return Vec::new() };
        let key = if *passage == "own_key" { "the caller's own key" } else { "the person's session key" };
        let shown = |(name, value): (&HeaderName, &http::HeaderValue)| {
            let text = String::from_utf8_lossy(value.as_bytes()).replace(char::is_control, "?");
            let text = match (value.is_sensitive(), text.starts_with("Bearer ")) {
                (true, true) => format!("Bearer <{key}>"),
                (true, false) => format!("<{key}>"),
                (false, _) => text,
            };
            (name.to_string(), text)
        };
        sent.headers.iter().map(shown).collect()
    }

    /// Names that came and are not sent on.
    fn removed(&self) -> Vec<String> {
        let Ok(Admitted { sent: Some(sent), .. }) = &self.decision else { return Vec::new() };
        self.head.headers.keys().filter(|name| !sent.headers.contains_key(*name)).map(ToString::to_string).collect()
    }

    fn rule(&self) -> Option<String> {
        match self.decision.as_ref().ok()? {
            Admitted { rule: Some(at), .. } => {
                self.stages.rules.get(*at).map(|(place, when)| format!("{place}: {when}"))
            }
            Admitted { passage, .. } => (*passage == "as").then(|| "no rule matches: `default_role`".to_owned()),
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut rows = vec![("request", format!("{} {}, from {}", self.head.method, self.head.uri, self.stages.peer))];
        if !self.given.is_empty() {
            let names: Vec<_> = self.given.iter().map(|name| format!("`{name}`")).collect();
            rows.push(("put in", format!("{}, as the sign-in proxy would", names.join(", "))));
        }
        rows.push(match &self.stages.trust {
            Ok(why) => ("trusted", format!("yes: {why}")),
            Err(why_not) => ("trusted", format!("no: {why_not}")),
        });
        for (name, header, value) in &self.stages.identity {
            rows.extend(value.as_ref().map(|value| (*name, format!("{value} (from `{header}`)"))));
        }
        rows.extend(self.rule().map(|rule| ("rule", rule)));
        rows.extend(self.planned.as_ref().map(|planned| ("role", planned.terms.role.as_str().to_owned())));
        let mut text = facts(&rows);
        let Admitted { passage, sent, .. } = match &self.decision {
            Ok(admitted) => admitted,
            Err(refusal) => return text + &refused(refusal),
        };
        if self.planned.is_some() {
            text.push_str("\nWritten for a new person, into LiteLLM's user table, with a session key beside it:\n");
            text.push_str(&indented(&facts(&self.row())));
        }
        if let Some(sent) = sent {
            let _ = writeln!(text, "\nSent to LiteLLM: {} {}", sent.method, sent.uri);
            for (name, value) in self.sent() {
                let _ = writeln!(text, "  {name}: {value}");
            }
            if !self.removed().is_empty() {
                let _ = writeln!(text, "Not sent on: {}", self.removed().join(", "));
            }
        } else {
            text.push_str("\nNothing is sent to LiteLLM: vestibule answers this path itself.\n");
        }
        text + match *passage {
            "public" => "\nadmitted, as a path that needs no identity: no credential goes with it\n",
            "own_key" => "\nadmitted with the caller's own key, which LiteLLM judges\n",
            _ => "\nadmitted, unless the database knows of a block or a conflict\n",
        }
    }

    /// For scripts.
    pub(super) fn document(&self) -> Value {
        let identity = self.stages.identity.iter();
        let identity = identity.map(|(name, header, value)| (*name, json!({ "header": header, "value": value })));
        json!({
            "admitted": self.decision.is_ok(),
            "refusal": self.decision.as_ref().err().map(document),
            "peer": self.stages.peer,
            "trusted": self.stages.trust.is_ok(),
            "why": match &self.stages.trust { Ok(words) | Err(words) => words },
            "identity": identity.collect::<BTreeMap<_, _>>(),
            "rule": self.rule(),
            "role": self.planned.as_ref().map(|planned| planned.terms.role.as_str()),
            "passage": self.decision.as_ref().ok().map(|admitted| admitted.passage),
            "written": self.row().into_iter().collect::<BTreeMap<_, _>>(),
            "sent": self.sent(),
            "not_sent": self.removed(),
        })
    }
}

fn refused(refusal: &Refusal) -> String {
    let code = refusal.code();
    // What is behind the code: the header that it is about, the entry that matched.
    let behind = chain(refusal).get(code.as_str().len()..).unwrap_or_default().to_owned();
    let status = code.status().as_u16();
    format!("\nrefused: {status} `{}`{behind}\n  {}\n  = help: {}\n", code.as_str(), code.meaning(), code.remedy())
}

fn document(refusal: &Refusal) -> Value {
    let code = refusal.code();
    json!({
        "code": code.as_str(),
        "status": code.status().as_u16(),
        "cause": chain(refusal),
        "meaning": code.meaning(),
        "remedy": code.remedy(),
    })
}

fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["  ", line, "\n"]).collect()
}
