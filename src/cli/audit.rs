//! `vestibule audit`.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use super::context::{CommandContext, CommandResult, Configured, answer, answer_json, say};
use super::resolve_user::resolve_some;
use super::table::{or_dash, shown, table};
use crate::config;
use crate::store::audit::{AuditEntry, AuditFilter, EventKind};

/// Between two looks for new lines.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// Lines are numbered when they are written and seen when they are committed: a look goes so many numbers back for those
/// that others have overtaken.
const OVERTAKEN_MAX: i64 = 1000;

/// Shows what was done to whom, and by whom: the newest lines, oldest first.
///
/// Refusals are written once a person, code and minute. Lines are kept for `audit.retention`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vestibule audit alice@example.com --since 2h\n  \
                        vestibule audit --event blocked,unblocked --json")]
pub(super) struct AuditArgs {
    #[command(flatten)]
    configured: Configured,
    /// Only of this person: a `user_id`, an e-mail, or ISSUER and SUBJECT
    #[arg(num_args = 1..=2)]
    who: Vec<String>,
    /// Not older than this, such as `30m`, `2h`, `7d`
    #[arg(long, value_name = "DURATION", value_parser = since)]
    since: Option<Duration>,
    /// Only of this kind; several with commas
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(EventKind::ALL.map(EventKind::as_str)))]
    event: Vec<String>,
    /// The newest so many
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    limit: i64,
    /// Go on with what is written from now on
    #[arg(long)]
    follow: bool,
    /// One JSON document; with `--follow` one a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &AuditArgs) -> CommandResult {
    arguments.configured.run(async |context| arguments.show(context).await)
}

fn since(text: &str) -> Result<Duration, String> {
    config::duration(text).ok_or_else(|| "write a number and its unit, such as `30m`, `2h` or `7d`".to_owned())
}

// === impl AuditArgs ===

impl AuditArgs {
    async fn show(&self, context: &CommandContext) -> CommandResult {
        let account = resolve_some(context, &self.who).await?;
        let named = |event: &EventKind| self.event.iter().any(|name| name == event.as_str());
        let mut filter = AuditFilter {
            account_id: account.map(|account| account.account_id),
            events: EventKind::ALL.into_iter().filter(named).collect(),
            since_seconds: self.since.map(|since| since.as_secs_f64()),
            after: None,
            limit: self.limit,
        };
        let entries = context.store.audit(&filter).await?;
        let is_cut = entries.len() >= usize::try_from(self.limit).unwrap_or(usize::MAX);
        match (self.json, self.follow) {
            (true, false) => answer_json(&entries),
            (true, true) => answer(&lines(&entries)),
            (false, _) => answer(&table(["AT", "EVENT", "USER_ID", "ACTOR", "DETAIL"], entries.iter().map(row))),
        }
        if is_cut && !self.json {
            say(&format!("There may be more: these are the newest {} (`--limit`).\n", self.limit));
        }
        if !self.follow {
            return Ok(ExitCode::SUCCESS);
        }
        let first = entries.last().map_or(0, |entry| entry.id);
        let mut seen = BTreeSet::from([first]);
        // A burst is told as a whole.
        filter.limit = i64::MAX;
        loop {
            tokio::time::sleep(FOLLOW_EVERY).await;
            let after = seen.last().map_or(first, |last| (last - OVERTAKEN_MAX).max(first));
            seen = seen.split_off(&after);
            filter.after = Some(after);
            let mut entries = context.store.audit(&filter).await?;
            entries.retain(|entry| seen.insert(entry.id));
            if self.json {
                answer(&lines(&entries));
            } else {
                let lines = entries.iter().map(|entry| shown(row(entry).join("  ").trim_end()) + "\n");
                answer(&lines.collect::<String>());
            }
        }
    }
}

fn row(entry: &AuditEntry) -> [String; 5] {
    let detail = entry.detail.as_object().map(|members| members.iter().filter_map(member).collect::<Vec<_>>());
    [
        entry.at.clone(),
        entry.event.clone(),
        or_dash(entry.user_id.as_deref()),
        entry.actor.clone(),
        or_dash(Some(&detail.unwrap_or_default().join(" "))),
    ]
}

/// One particular as `name=value`; what is empty is left out.
fn member((name, value): (&String, &Value)) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.contains(char::is_whitespace) => Some(format!("{name}={text:?}")),
        Value::String(text) => Some(format!("{name}={text}")),
        Value::Object(members) => {
            let within: Vec<String> = members.iter().filter_map(member).collect();
            Some(format!("{name}=({})", within.join(" ")))
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => Some(format!("{name}={value}")),
    }
}

fn lines(entries: &[AuditEntry]) -> String {
    // Plain structs always serialize.
    entries.iter().map(|entry| serde_json::to_string(entry).unwrap_or_default() + "\n").collect()
}
