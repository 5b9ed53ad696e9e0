//! The audit trail: written in the transaction of the change, logged once that is committed, and read back.

use serde_json::Value;
use sqlx::postgres::PgRow;

use super::Postgres;
use super::accounts::utc;
use super::transaction::Work;
use crate::store::StoreError;
use crate::store::admin::Account;
use crate::store::audit::{AuditEntry, AuditEvent, AuditFilter, Denial, EventKind, SYSTEM_ACTOR, event};
use crate::store::retry::AttemptError;
use crate::store::rows::{RowReader, Transaction, json_text};

/// The user and account that events are about.
#[derive(Clone)]
pub(super) struct AuditSubject {
    pub(super) issuer: String,
    pub(super) subject: String,
    /// LiteLLM's `user_id`, where there is one.
    pub(super) user_id: Option<String>,
    pub(super) account_id: Option<String>,
}

/// Events of one user, for the log.
pub(super) struct AuditLine {
    pub(super) whose: AuditSubject,
    pub(super) actor: String,
    pub(super) events: Vec<AuditEvent>,
}

impl From<&Account> for AuditSubject {
    fn from(account: &Account) -> Self {
        Self::of(&account.issuer, &account.subject, &account.user_id, &account.account_id)
    }
}

// === impl AuditSubject ===

impl AuditSubject {
    pub(super) fn of(issuer: &str, subject: &str, user_id: &str, account_id: &str) -> Self {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        Self { issuer, subject, user_id: Some(user_id.to_owned()), account_id: Some(account_id.to_owned()) }
    }

    pub(super) fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            issuer: row.column("issuer")?,
            subject: row.column("subject")?,
            user_id: row.column("user_id")?,
            account_id: row.column("account_id")?,
        })
    }
}

// === impl Postgres ===

impl Postgres {
    /// Writes an event in the transaction of the change, and has it logged after the commit.
    pub(super) async fn record(
        &self,
        on: &mut Work<'_>,
        whose: AuditSubject,
        actor: &str,
        event: AuditEvent,
    ) -> Result<(), AttemptError> {
        let events = vec![event];
        on.rows(&self.rules.statements.audit, &[&whose.account_id, &actor, &json_text(&events)]).await?;
        on.told.push(AuditLine { whose, actor: actor.to_owned(), events });
        Ok(())
    }

    /// Logs events, after the commit. What could name a user is logged only where users are logged in clear.
    pub(super) fn log(&self, AuditLine { whose, actor, events }: &AuditLine) {
        let person = match (self.is_person_in_clear, &whose.user_id) {
            (true, Some(user_id)) => user_id.clone(),
            (true, None) => whose.subject.clone(),
            (false, _) => self.rules.key_policy.secrets.pseudonym(&whose.issuer, &whose.subject),
        };
        for AuditEvent { event, detail } in events {
            let member = |name: &str| detail.get(name).and_then(Value::as_str);
            let role = |name: &str| if event.is_of_roles() { member(name) } else { None };
            let count = |name: &str| detail.get(name).and_then(Value::as_u64);
            let is_ours = !matches!(event, EventKind::Blocked);
            tracing::info!(
                target: "vestibule::audit",
                event = event.as_str(),
                person,
                account = whose.account_id,
                actor,
                from = role("from"),
                to = role("to"),
                code = member("code"),
                session = member("session"),
                replaces = member("replaces"),
                reason = member("reason").filter(|_| is_ours),
                sessions = count("sessions"),
                keys = count("keys"),
                detail = self.is_person_in_clear.then(|| detail.to_string()),
                "audit"
            );
        }
    }

    /// Lines of the audit, oldest first.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        let query = format!(
            "SELECT * FROM (SELECT l.id, {at} AS at, l.event, l.actor, l.account_id, a.user_id, l.detail \
             FROM {own}.audit l LEFT JOIN {own}.account a ON a.id = l.account_id \
             WHERE ($1::text IS NULL OR l.account_id = $1) AND ($2::jsonb = '[]' OR $2::jsonb ? l.event) \
             AND ($3::float8 IS NULL OR l.at > now() - make_interval(secs => $3)) AND ($4::int8 IS NULL OR l.id > $4) \
             ORDER BY l.id DESC LIMIT $5) newest ORDER BY id",
            own = self.own,
            at = utc("l.at"),
        );
        let AuditFilter { account_id, events, since_seconds, after, limit } = filter;
        self.list(&query, &[account_id, &json_text(events), since_seconds, after, limit]).await
    }

    /// One attempt to record refused users: once a user, code and minute, over all replicas.
    pub(super) async fn record_denials_once(&self, denials: &[Denial]) -> Result<(), AttemptError> {
        let own = &self.own;
        let statement = format!(
            "INSERT INTO {own}.audit (account_id, event, detail) SELECT a.id, 'refused', jsonb_build_object('code', r.code, \
             'issuer', r.issuer, 'subject', r.subject) \
             FROM jsonb_to_recordset($1::jsonb) AS r(issuer text, subject text, code text) \
             LEFT JOIN {own}.account a ON a.issuer = r.issuer AND a.subject = r.subject \
             WHERE NOT EXISTS (SELECT FROM {own}.audit l WHERE l.at > now() - interval '1 minute' AND l.event = 'refused' \
             AND l.detail->>'code' = r.code AND l.detail->>'issuer' = r.issuer AND l.detail->>'subject' = r.subject) \
             RETURNING account_id, NULL::text AS user_id, detail->>'issuer' AS issuer, detail->>'subject' AS subject, \
             detail->>'code' AS code"
        );
        self.writing(async |on| {
            for row in on.rows(&statement, &[&json_text(&denials)]).await? {
                let whose = AuditSubject::from_row(&row)?;
                let code: String = row.column("code")?;
                let events = vec![event(EventKind::Refused, serde_json::json!({ "code": code }))];
                on.told.push(AuditLine { whose, actor: SYSTEM_ACTOR.to_owned(), events });
            }
            Ok(())
        })
        .await
    }
}
