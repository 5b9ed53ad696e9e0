//! LiteLLM's two tables as vestibule writes them: names, SQL text, rows, and the rights that the text needs.
//!
//! In goes a schema name, out comes SQL text in which every name is qualified. A row travels as one JSON parameter, so
//! that a statement can hold several rows without counting columns. There is no pool here, and nothing is decided.
//!
//! Times are `timestamp(3)` without time zone and mean UTC (Prisma), so `now()` alone would be wrong in any session
//! whose time zone is another. Columns that a statement doesn't name keep LiteLLM's own defaults.

use serde::Serialize;

use crate::secret::SessionKind;

/// The table of people.
pub const USER_TABLE: &str = "LiteLLM_UserTable";
/// The table of keys.
pub const KEY_TABLE: &str = "LiteLLM_VerificationToken";
/// The instant of the transaction's beginning, as LiteLLM's columns hold it.
pub(super) const NOW: &str = "(now() AT TIME ZONE 'UTC')";

/// A right that vestibule needs on one of LiteLLM's tables.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    /// The table's name, without its schema.
    pub table: &'static str,
    /// `SELECT`, `INSERT`, `UPDATE` or `DELETE`.
    pub privilege: &'static str,
    /// The columns; empty for a right on the table as a whole.
    pub columns: &'static [&'static str],
}

/// The least rights: neither passwords nor spend are among them.
pub const NEEDS: &[Need] = &[
    Need {
        table: USER_TABLE,
        privilege: "SELECT",
        columns: &["user_id", "sso_user_id", "user_email", "user_alias", "user_role", "metadata"],
    },
    Need {
        table: USER_TABLE,
        privilege: "INSERT",
        columns: &[
            "user_id",
            "sso_user_id",
            "user_email",
            "user_alias",
            "user_role",
            "models",
            "teams",
            "metadata",
            "max_budget",
            "budget_duration",
            "budget_reset_at",
            "tpm_limit",
            "rpm_limit",
            "created_at",
            "updated_at",
        ],
    },
    Need {
        table: USER_TABLE,
        privilege: "UPDATE",
        columns: &[
            "sso_user_id",
            "user_email",
            "user_alias",
            "user_role",
            "metadata",
            "models",
            "max_budget",
            "budget_duration",
            "budget_reset_at",
            "tpm_limit",
            "rpm_limit",
            "updated_at",
        ],
    },
    Need { table: KEY_TABLE, privilege: "SELECT", columns: &["token", "user_id", "expires", "blocked", "metadata"] },
    Need {
        table: KEY_TABLE,
        privilege: "INSERT",
        columns: &[
            "token",
            "key_name",
            "key_alias",
            "user_id",
            "team_id",
            "models",
            "expires",
            "metadata",
            "max_budget",
            "created_at",
            "updated_at",
            "created_by",
        ],
    },
    Need { table: KEY_TABLE, privilege: "UPDATE", columns: &["expires", "blocked", "updated_at"] },
    Need { table: KEY_TABLE, privilege: "DELETE", columns: &[] },
];

/// A new row in the table of people.
#[derive(Debug, Clone, Serialize)]
pub struct UserRow {
    /// Primary key.
    pub user_id: String,
    /// Unique; what LiteLLM's own SSO looks a person up by.
    pub sso_user_id: String,
    /// Not unique in the table, though `/user/new` treats it so.
    pub user_email: Option<String>,
    /// What the dashboard shows.
    pub user_alias: Option<String>,
    /// LiteLLM's role string.
    pub user_role: &'static str,
    /// Free JSON; an object.
    pub metadata: serde_json::Value,
    /// Models and limits.
    #[serde(flatten)]
    pub allowance: AllowanceColumns,
}

/// Models and limits of a user row.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AllowanceColumns {
    /// Model names. A NULL breaks nothing on a user row, yet `{}` is what LiteLLM writes.
    pub models: Option<Vec<String>>,
    /// USD.
    pub max_budget: Option<f64>,
    /// LiteLLM's notation, such as `30d`.
    pub budget_duration: Option<String>,
    /// The same in seconds; the budget is reset so long after now. `None` leaves the time of the next reset as it is.
    pub budget_seconds: Option<u64>,
    /// Tokens a minute.
    pub tpm_limit: Option<i64>,
    /// Requests a minute.
    pub rpm_limit: Option<i64>,
}

/// What is to change of a user row; `None` leaves a column as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UserChange {
    /// Which row.
    pub user_id: String,
    /// See [`UserRow::sso_user_id`].
    pub sso_user_id: Option<String>,
    /// See [`UserRow::user_email`].
    pub user_email: Option<String>,
    /// See [`UserRow::user_alias`].
    pub user_alias: Option<String>,
    /// See [`UserRow::user_role`].
    pub user_role: Option<&'static str>,
}

/// A new row in the table of keys. LiteLLM applies the person's own budget only where it has no team
/// (`auth/auth_checks.py`).
#[derive(Debug, Clone, Serialize)]
pub struct KeyRow {
    /// Primary key: lower-case hex SHA-256 of the whole key (`proxy/utils.py`, `hash_token`).
    pub token: String,
    /// What is shown of the key.
    pub key_name: String,
    /// Unique among all keys as `/key/generate` sees it.
    pub key_alias: String,
    /// Whose key.
    pub user_id: String,
    /// LiteLLM's team; NULL for none.
    pub team_id: Option<&'static str>,
    /// USD that the key may spend; NULL for no limit of its own.
    pub max_budget: Option<f64>,
    /// Free JSON; an object.
    pub metadata: serde_json::Value,
    /// Seconds until the key expires.
    pub life_seconds: f64,
}

/// The qualified names in one schema, and the statements over them.
#[derive(Debug, Clone)]
pub struct Tables {
    /// The table of people, quoted.
    pub user: String,
    /// The table of keys, quoted.
    pub key: String,
}

// === impl Tables ===

impl Tables {
    /// The tables in a schema.
    pub fn in_schema(schema: &str) -> Self {
        let name = |table| format!("{}.{}", quoted(schema), quoted(table));
        Self { user: name(USER_TABLE), key: name(KEY_TABLE) }
    }

    /// Inserts a [`UserRow`], given as the JSON parameter named; gives back `user_id`, and no row where the id or the
    /// `sso_user_id` was there already. `models` is `{}`, never NULL.
    pub fn insert_user(&self, parameter: &str) -> String {
        format!(
            "INSERT INTO {user} (user_id, sso_user_id, user_email, user_alias, user_role, models, teams, metadata, \
             max_budget, budget_duration, budget_reset_at, tpm_limit, rpm_limit, created_at, updated_at) \
             SELECT r.user_id, r.sso_user_id, r.user_email, r.user_alias, r.user_role, coalesce(r.models, '{{}}'), '{{}}', \
             r.metadata, r.max_budget, r.budget_duration, {NOW} + make_interval(secs => r.budget_seconds), \
             r.tpm_limit, r.rpm_limit, {NOW}, {NOW} \
             FROM jsonb_to_record({parameter}::jsonb) AS r(user_id text, sso_user_id text, user_email text, user_alias text, \
             user_role text, models text[], metadata jsonb, max_budget float8, budget_duration text, \
             budget_seconds float8, tpm_limit int8, rpm_limit int8) \
             ON CONFLICT DO NOTHING RETURNING user_id",
            user = self.user
        )
    }

    /// Applies a [`UserChange`], given as `$1`; gives back `user_role` as it was before, read under the row's lock.
    pub fn update_user(&self) -> String {
        format!(
            "UPDATE {user} u SET sso_user_id = coalesce(r.sso_user_id, u.sso_user_id), \
             user_email = coalesce(r.user_email, u.user_email), user_alias = coalesce(r.user_alias, u.user_alias), \
             user_role = coalesce(r.user_role, u.user_role), updated_at = {NOW} \
             FROM jsonb_to_record($1::jsonb) AS r(user_id text, sso_user_id text, user_email text, user_alias text, \
             user_role text), \
             (SELECT o.user_id, o.user_role FROM {user} o WHERE o.user_id = $1::jsonb->>'user_id' FOR UPDATE) old \
             WHERE u.user_id = r.user_id AND u.user_id = old.user_id RETURNING old.user_role",
            user = self.user
        )
    }

    /// Writes what is there of an [`AllowanceColumns`], given as `$2`, to the row whose id is `$1`. A column that is
    /// `None` isn't named at all: neither its value nor the right to read it is needed. `None` when there is nothing
    /// to write.
    pub fn update_allowance(&self, columns: &AllowanceColumns) -> Option<String> {
        let set: Vec<&str> = [
            (columns.models.is_some(), "models = r.models"),
            (columns.max_budget.is_some(), "max_budget = r.max_budget"),
            (columns.budget_duration.is_some(), "budget_duration = r.budget_duration"),
            (
                columns.budget_seconds.is_some(),
                "budget_reset_at = (now() AT TIME ZONE 'UTC') + make_interval(secs => r.budget_seconds)",
            ),
            (columns.tpm_limit.is_some(), "tpm_limit = r.tpm_limit"),
            (columns.rpm_limit.is_some(), "rpm_limit = r.rpm_limit"),
        ]
        .into_iter()
        .filter_map(|(there, text)| there.then_some(text))
        .collect();
        (!set.is_empty()).then(|| {
            format!(
                "UPDATE {user} u SET {set}, updated_at = {NOW} FROM jsonb_to_record($2::jsonb) AS r(models text[], \
                 max_budget float8, budget_duration text, budget_seconds float8, tpm_limit int8, rpm_limit int8) \
                 WHERE u.user_id = $1",
                user = self.user,
                set = set.join(", ")
            )
        })
    }

    /// Inserts a [`KeyRow`], given as the JSON parameter named. `models` is `{}`: a NULL makes the key unusable.
    pub fn insert_key(&self, parameter: &str) -> String {
        format!(
            "INSERT INTO {key} (token, key_name, key_alias, user_id, team_id, max_budget, models, expires, metadata, created_at, \
             updated_at, created_by) SELECT r.token, r.key_name, r.key_alias, r.user_id, r.team_id, r.max_budget, '{{}}', \
             {NOW} + make_interval(secs => r.life_seconds), r.metadata, {NOW}, {NOW}, 'vestibule' \
             FROM jsonb_to_record({parameter}::jsonb) AS r(token text, key_name text, key_alias text, user_id text, \
             team_id text, max_budget float8, metadata jsonb, life_seconds float8)",
            key = self.key
        )
    }

    /// Sets when the key expires: `seconds` (a parameter) from now. `from` names a relation with a column `token`.
    pub fn expire_key(&self, seconds: &str, from: &str) -> String {
        format!(
            "UPDATE {key} k SET expires = {NOW} + make_interval(secs => {seconds}), updated_at = {NOW} \
             FROM {from} WHERE k.token = {from}.token",
            key = self.key
        )
    }

    /// Deletes keys by their tokens: `from` names a relation with a column `token`. By nothing else, because a
    /// condition on a column without the right to read it fails.
    pub fn delete_keys(&self, from: &str) -> String {
        format!("DELETE FROM {key} k USING {from} WHERE k.token = {from}.token", key = self.key)
    }
}

/// A name as SQL takes it whatever is in it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What the `vestibule` member of a row's metadata says: the row was made here.
pub fn mark(session: Option<(&str, SessionKind)>) -> serde_json::Value {
    session
        .map_or_else(|| serde_json::json!({}), |(id, kind)| serde_json::json!({ "session": id, "kind": kind.as_str() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_name_cannot_leave_its_quotes() {
        assert_eq!(Tables::in_schema("a\"b").user, "\"a\"\"b\".\"LiteLLM_UserTable\"");
    }

    #[test]
    fn only_columns_that_a_rule_sets_are_named() {
        let tables = Tables::in_schema("public");
        assert_eq!(tables.update_allowance(&AllowanceColumns::default()), None);
        let columns = AllowanceColumns { max_budget: Some(5.0), ..AllowanceColumns::default() };
        let text = tables.update_allowance(&columns).unwrap();
        assert!(text.contains("SET max_budget = r.max_budget, updated_at"), "{text}");
    }
}
