//! Accounts and sessions as an operator looks at them.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};

use super::Postgres;
use crate::litellm::tables::quoted;
use crate::store::StoreError;
use crate::store::admin::{Account, AccountFilter, SecretUsage, SessionRecord, UserSelector};

/// Candidates that are told of an ambiguous name.
const CANDIDATES_MAX: i64 = 20;

// === impl Postgres ===

impl Postgres {
    /// Accounts by their `user_id`.
    pub async fn accounts(&self, filter: &AccountFilter) -> Result<Vec<Account>, StoreError> {
        let statement = format!(
            "{} WHERE ($1::text IS NULL OR a.issuer = $1) AND ($2::text IS NULL OR u.user_role = $2) \
             AND (NOT $3 OR a.blocked_at IS NOT NULL OR coalesce(u.metadata->'scim_active' = 'false'::jsonb, false) \
             OR coalesce(k.blocked, false)) ORDER BY a.user_id",
            self.select_accounts()
        );
        self.reading(async |on| {
            let rows = sqlx::query(AssertSqlSafe(statement.as_str()))
                .bind(&filter.issuer)
                .bind(&filter.role)
                .bind(filter.blocked)
                .persistent(false)
                .fetch_all(on)
                .await?;
            Ok(rows.iter().map(account).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The accounts that somebody can mean: none, one, or the candidates among whom they must choose.
    pub async fn find(&self, who: &UserSelector) -> Result<Vec<Account>, StoreError> {
        let select = self.select_accounts();
        let (statement, one, two) = match who {
            UserSelector::Name(name) => (
                format!(
                    "{select} WHERE a.user_id = $1 OR lower(u.user_email) = lower($2) ORDER BY a.user_id LIMIT {CANDIDATES_MAX}"
                ),
                name,
                name,
            ),
            UserSelector::Identity { issuer, subject } => {
                (format!("{select} WHERE a.issuer = $1 AND a.subject = $2"), issuer, subject)
            }
        };
        self.reading(async |on| {
            let rows = sqlx::query(AssertSqlSafe(statement.as_str()))
                .bind(one)
                .bind(two)
                .persistent(false)
                .fetch_all(on)
                .await?;
            Ok(rows.iter().map(account).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Living sessions, of one account or of all.
    pub async fn sessions(&self, account_id: Option<&str>) -> Result<Vec<SessionRecord>, StoreError> {
        let statement = format!(
            "SELECT s.id, a.user_id, s.kind, s.current, k.token IS NOT NULL AS has_key, coalesce(k.blocked, false) AS blocked, \
             {created} AS created_at, {expires} AS expires_at, s.secret_id, s.account_id \
             FROM {own}.session s JOIN {own}.account a ON a.id = s.account_id LEFT JOIN {key} k ON k.token = s.token \
             WHERE s.expires_at > now() AND ($1::text IS NULL OR s.account_id = $1) ORDER BY a.user_id, s.created_at, s.id",
            created = utc("s.created_at"),
            expires = utc("s.expires_at"),
            own = quoted(&self.own_schema),
            key = self.statements.litellm.key,
        );
        self.reading(async |on| {
            let rows =
                sqlx::query(AssertSqlSafe(statement.as_str())).bind(account_id).persistent(false).fetch_all(on).await?;
            Ok(rows.iter().map(session).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Which secrets the living sessions were made with.
    pub async fn secrets_in_use(&self) -> Result<Vec<SecretUsage>, StoreError> {
        let statement = format!(
            "SELECT secret_id, count(*) AS sessions, {last} AS last FROM {own}.session WHERE expires_at > now() \
             GROUP BY secret_id ORDER BY secret_id",
            last = utc("max(expires_at)"),
            own = quoted(&self.own_schema),
        );
        self.reading(async |on| {
            let rows: Vec<(String, i64, Option<String>)> =
                sqlx::query_as(AssertSqlSafe(statement.as_str())).persistent(false).fetch_all(on).await?;
            let used = |(secret_id, sessions, last_expires_at)| SecretUsage { secret_id, sessions, last_expires_at };
            Ok(rows.into_iter().map(used).collect())
        })
        .await
    }

    fn select_accounts(&self) -> String {
        format!(
            "SELECT a.id, a.issuer, a.subject, a.user_id, a.role AS mapped_role, u.user_id IS NOT NULL AS has_user, u.user_role, \
             u.user_email, u.user_alias, coalesce(u.metadata->'scim_active' = 'false'::jsonb, false) AS scim_off, \
             coalesce(k.blocked, false) AS key_blocked, {blocked} AS blocked_at, a.block->>'by' AS blocked_by, \
             a.block->>'reason' AS blocked_reason, coalesce(jsonb_array_length(a.block->'keys'), 0)::int8 AS blocked_keys, \
             {created} AS created_at, {lowered} AS lowered_at, \
             (SELECT count(*) FROM {own}.session l WHERE l.account_id = a.id AND l.expires_at > now()) AS sessions \
             FROM {own}.account a LEFT JOIN {user} u ON u.user_id = a.user_id \
             LEFT JOIN {own}.session s ON s.account_id = a.id AND s.current AND s.kind = 'api' \
             LEFT JOIN {key} k ON k.token = s.token",
            blocked = utc("a.blocked_at"),
            created = utc("a.created_at"),
            lowered = utc("a.lowered_at"),
            own = quoted(&self.own_schema),
            user = self.statements.litellm.user,
            key = self.statements.litellm.key,
        )
    }
}

/// A `timestamptz` as text, in UTC and to the second.
pub(super) fn utc(instant: &str) -> String {
    format!("to_char({instant} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
}

fn account(row: &PgRow) -> Result<Account, sqlx::Error> {
    let blocked_at: Option<String> = row.try_get("blocked_at")?;
    Ok(Account {
        user_id: row.try_get("user_id")?,
        issuer: row.try_get("issuer")?,
        subject: row.try_get("subject")?,
        email: row.try_get("user_email")?,
        name: row.try_get("user_alias")?,
        role: row.try_get("user_role")?,
        mapped_role: row.try_get("mapped_role")?,
        blocked: blocked_at.is_some(),
        blocked_at,
        blocked_by: row.try_get("blocked_by")?,
        blocked_reason: row.try_get("blocked_reason")?,
        blocked_keys: row.try_get("blocked_keys")?,
        switched_off_in_litellm: row.try_get("scim_off")?,
        key_blocked_in_litellm: row.try_get("key_blocked")?,
        in_litellm: row.try_get("has_user")?,
        sessions: row.try_get("sessions")?,
        created_at: row.try_get("created_at")?,
        lowered_at: row.try_get("lowered_at")?,
        account_id: row.try_get("id")?,
    })
}

fn session(row: &PgRow) -> Result<SessionRecord, sqlx::Error> {
    let key = match (row.try_get("has_key")?, row.try_get("blocked")?) {
        (false, _) => "gone",
        (true, true) => "blocked",
        (true, false) => "there",
    };
    Ok(SessionRecord {
        session_id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        kind: row.try_get("kind")?,
        state: if row.try_get("current")? { "current" } else { "retiring" },
        key,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        secret_id: row.try_get("secret_id")?,
        account_id: row.try_get("account_id")?,
    })
}
