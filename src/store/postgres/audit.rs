//! The audit trail: written in the transaction of what it tells, told to the log once that is committed, and read back.

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::Postgres;
use super::accounts::utc;
use super::retry::AttemptError;
use crate::litellm::tables::quoted;
use crate::store::audit::{AuditEntry, AuditEvent, AuditFilter, Denial, EventKind, SYSTEM_ACTOR, event};
use crate::store::rows::json_text;
use crate::store::{StoreError, UserProfile};

/// Whom the log is told about.
pub(super) struct LogSubject<'a> {
    pub(super) issuer: &'a str,
    pub(super) subject: &'a str,
    /// LiteLLM's `user_id`, where there is one.
    pub(super) user_id: Option<&'a str>,
}

// === impl LogSubject ===

impl<'a> LogSubject<'a> {
    pub(super) fn of(profile: &'a UserProfile, user_id: &'a str) -> Self {
        Self { issuer: &profile.issuer, subject: &profile.subject, user_id: Some(user_id) }
    }
}

// === impl Postgres ===

impl Postgres {
    /// Writes lines, in the transaction of what they tell.
    pub(super) async fn write_audit(
        &self,
        on: &mut PgConnection,
        account_id: Option<&str>,
        actor: &str,
        events: &[AuditEvent],
    ) -> Result<(), AttemptError> {
        if !events.is_empty() {
            sqlx::query(AssertSqlSafe(self.statements.audit.as_str()))
                .bind(account_id)
                .bind(actor)
                .bind(json_text(&events))
                .persistent(false)
                .execute(on)
                .await?;
        }
        Ok(())
    }

    /// Tells the log, after the commit. What could name somebody is told only where people are logged in clear.
    pub(super) fn log_events(
        &self,
        who: &LogSubject<'_>,
        account_id: Option<&str>,
        actor: &str,
        events: &[AuditEvent],
    ) {
        if events.is_empty() {
            return;
        }
        let person = match (self.is_person_in_clear, who.user_id) {
            (true, Some(user_id)) => user_id.to_owned(),
            (true, None) => who.subject.to_owned(),
            (false, _) => self.key_policy.secrets.pseudonym(who.issuer, who.subject),
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
                account = account_id,
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
        let own = quoted(&self.own_schema);
        let statement = format!(
            "SELECT * FROM (SELECT l.id, {at} AS at, l.event, l.actor, l.account_id, a.user_id, l.detail::text AS detail \
             FROM {own}.audit l LEFT JOIN {own}.account a ON a.id = l.account_id \
             WHERE ($1::text IS NULL OR l.account_id = $1) AND (cardinality($2::text[]) = 0 OR l.event = ANY ($2)) \
             AND ($3::float8 IS NULL OR l.at > now() - make_interval(secs => $3)) AND ($4::int8 IS NULL OR l.id > $4) \
             ORDER BY l.id DESC LIMIT $5) newest ORDER BY id",
            at = utc("l.at"),
        );
        let events: Vec<String> = filter.events.iter().map(|event| event.as_str().to_owned()).collect();
        self.reading(async |on| {
            let rows = sqlx::query(AssertSqlSafe(statement.as_str()))
                .bind(&filter.account_id)
                .bind(&events)
                .bind(filter.since_seconds)
                .bind(filter.after)
                .bind(filter.limit)
                .persistent(false)
                .fetch_all(on)
                .await?;
            let entry = |row: &sqlx::postgres::PgRow| -> Result<AuditEntry, sqlx::Error> {
                let detail: String = row.try_get("detail")?;
                Ok(AuditEntry {
                    id: row.try_get("id")?,
                    at: row.try_get("at")?,
                    event: row.try_get("event")?,
                    actor: row.try_get("actor")?,
                    account_id: row.try_get("account_id")?,
                    user_id: row.try_get("user_id")?,
                    detail: serde_json::from_str(&detail).unwrap_or_default(),
                })
            };
            Ok(rows.iter().map(entry).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// One try to write down who was turned away.
    pub(super) async fn record_denials_once(&self, people: &[Denial]) -> Result<(), AttemptError> {
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin(self.begin_writing()).await?;
        let written: Vec<(Option<String>, String, String, String)> =
            sqlx::query_as(AssertSqlSafe(self.statements.record_denials.as_str()))
                .bind(json_text(&people))
                .persistent(false)
                .fetch_all(&mut *transaction)
                .await?;
        transaction.commit().await?;
        connection.release();
        for (account_id, issuer, subject, code) in written {
            let who = LogSubject { issuer: &issuer, subject: &subject, user_id: None };
            let refused = event(EventKind::Refused, serde_json::json!({ "code": code }));
            self.log_events(&who, account_id.as_deref(), SYSTEM_ACTOR, &[refused]);
        }
        Ok(())
    }
}
