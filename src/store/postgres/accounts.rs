//! Accounts and sessions, for the operator's commands.

use serde::de::DeserializeOwned;

use super::Postgres;
use crate::store::StoreError;
use crate::store::admin::{Account, AccountFilter, SecretUsage, SessionRecord, UserSelector};
use crate::store::rows::{Parameter, RowReader, Transaction};

/// Most candidates that are listed for an ambiguous name.
const CANDIDATES_MAX: i64 = 20;

// === impl Postgres ===

impl Postgres {
    /// Accounts, ordered by `user_id`.
    pub async fn accounts(&self, filter: &AccountFilter) -> Result<Vec<Account>, StoreError> {
        let query = format!(
            "{} WHERE ($1::text IS NULL OR a.issuer = $1) AND ($2::text IS NULL OR u.user_role = $2) \
             AND (NOT $3 OR a.blocked_at IS NOT NULL OR coalesce(u.metadata->'scim_active' = 'false'::jsonb, false) \
             OR coalesce(k.blocked, false)) ORDER BY a.user_id",
            self.select_accounts()
        );
        self.list(&query, &[&filter.issuer, &filter.role, &filter.blocked]).await
    }

    /// The accounts that the operator can mean: none, one, or several candidates.
    pub async fn find(&self, who: &UserSelector) -> Result<Vec<Account>, StoreError> {
        let (condition, one, two) = match who {
            UserSelector::Name(name) => ("a.user_id = $1 OR lower(u.user_email) = lower($2)", name, name),
            UserSelector::Identity { issuer, subject } => ("a.issuer = $1 AND a.subject = $2", issuer, subject),
        };
        let select = self.select_accounts();
        let query = format!("{select} WHERE {condition} ORDER BY a.user_id LIMIT {CANDIDATES_MAX}");
        self.list(&query, &[one, two]).await
    }

    /// Living sessions, of one account or of all.
    pub async fn sessions(&self, account_id: Option<&str>) -> Result<Vec<SessionRecord>, StoreError> {
        let query = format!(
            "SELECT s.id AS session_id, a.user_id, s.kind, CASE WHEN s.current THEN 'current' ELSE 'retiring' END AS state, \
             CASE WHEN k.token IS NULL THEN 'gone' WHEN k.blocked THEN 'blocked' ELSE 'there' END AS key, \
             {created} AS created_at, {expires} AS expires_at, s.secret_id, s.account_id \
             FROM {own}.session s JOIN {own}.account a ON a.id = s.account_id LEFT JOIN {key} k ON k.token = s.token \
             WHERE s.expires_at > now() AND ($1::text IS NULL OR s.account_id = $1) ORDER BY a.user_id, s.created_at, s.id",
            created = utc("s.created_at"),
            expires = utc("s.expires_at"),
            own = self.own,
            key = self.rules.statements.litellm.key,
        );
        self.list(&query, &[&account_id.map(str::to_owned)]).await
    }

    /// Which secrets the living sessions were made with.
    pub async fn secrets_in_use(&self) -> Result<Vec<SecretUsage>, StoreError> {
        let query = format!(
            "SELECT secret_id, count(*) AS sessions, {last} AS last_expires_at FROM {own}.session WHERE expires_at > now() \
             GROUP BY secret_id ORDER BY secret_id",
            last = utc("max(expires_at)"),
            own = self.own,
        );
        self.list(&query, &[]).await
    }

    /// The rows of a query, whose columns have the names of the fields.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        query: &str,
        parameters: &[&dyn Parameter],
    ) -> Result<Vec<T>, StoreError> {
        let statement = format!("SELECT to_json(r)::text AS found FROM ({query}) r");
        self.reading(async |on| {
            let rows = on.rows(&statement, parameters).await?;
            let read = |text: String| serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(error.into()));
            Ok(rows.iter().map(|row| row.column("found").and_then(read)).collect::<Result<_, _>>()?)
        })
        .await
    }

    fn select_accounts(&self) -> String {
        format!(
            "SELECT a.id AS account_id, a.issuer, a.subject, a.user_id, a.role AS mapped_role, \
             u.user_id IS NOT NULL AS in_litellm, u.user_role AS role, u.user_email AS email, u.user_alias AS name, \
             coalesce(u.metadata->'scim_active' = 'false'::jsonb, false) AS switched_off_in_litellm, \
             coalesce(k.blocked, false) AS key_blocked_in_litellm, \
             a.blocked_at IS NOT NULL AS blocked, {blocked} AS blocked_at, a.block->>'by' AS blocked_by, \
             a.block->>'reason' AS blocked_reason, coalesce(jsonb_array_length(a.block->'keys'), 0)::int8 AS blocked_keys, \
             {created} AS created_at, {lowered} AS lowered_at, \
             (SELECT count(*) FROM {own}.session l WHERE l.account_id = a.id AND l.expires_at > now()) AS sessions \
             FROM {own}.account a LEFT JOIN {user} u ON u.user_id = a.user_id \
             LEFT JOIN {own}.session s ON s.account_id = a.id AND s.current AND s.kind = 'api' \
             LEFT JOIN {key} k ON k.token = s.token",
            blocked = utc("a.blocked_at"),
            created = utc("a.created_at"),
            lowered = utc("a.lowered_at"),
            own = self.own,
            user = self.rules.statements.litellm.user,
            key = self.rules.statements.litellm.key,
        )
    }
}

/// A `timestamptz` as text, in UTC and to the second.
pub(super) fn utc(instant: &str) -> String {
    format!("to_char({instant} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
}
