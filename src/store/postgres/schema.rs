//! Checks that vestibule's and LiteLLM's tables are there, with the columns and rights that vestibule needs.

use serde_json::json;

use super::Postgres;
use super::transaction::Work;
use crate::litellm::tables::{self, Need, quoted};
use crate::store::StoreError;
use crate::store::retry::AttemptError;
use crate::store::rows::{RowReader, Transaction};

/// Looks up each right of a list, and what is missing for it: `$1` schema, `$2` the list as JSON, in which an empty
/// `attribute` is the table as a whole. It reads the catalogue alone, which needs no right on the tables.
const LOOK: &str = "SELECT n.relation, n.attribute, n.privilege, s.oid IS NOT NULL AS has_schema, \
     coalesce(has_schema_privilege(s.oid, 'USAGE'), false) AS has_usage, c.oid IS NOT NULL AS has_table, \
     n.attribute = '' OR a.attnum IS NOT NULL AS has_column, \
     coalesce(CASE WHEN n.attribute = '' THEN has_table_privilege(c.oid, n.privilege) \
     ELSE has_column_privilege(c.oid, a.attnum, n.privilege) END, false) AS allowed, current_user::text AS role \
     FROM ROWS FROM (jsonb_to_recordset($2::jsonb) AS (relation text, attribute text, privilege text)) WITH ORDINALITY \
     AS n(relation, attribute, privilege, place) \
     LEFT JOIN pg_catalog.pg_namespace s ON s.nspname = $1 \
     LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname = n.relation AND c.relkind IN ('r', 'p', 'v') \
     LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = n.attribute AND a.attnum > 0 \
     AND NOT a.attisdropped ORDER BY n.place";

/// One thing that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// There is no such schema.
    Schema,
    /// There is no such table.
    Table(String),
    /// The table has no such column.
    Column { table: String, column: String },
    /// The role may not use the schema.
    Usage { role: String },
    /// The role lacks this right; without columns, on the table as a whole.
    Right { table: String, columns: Vec<String>, privilege: String, role: String },
}

// === impl Missing ===

impl Missing {
    /// What is wrong with LiteLLM's schema, and what to do.
    pub(super) fn words(&self, schema: &str) -> String {
        match self {
            Self::Schema => {
                format!("there is no schema `{schema}`. Set `litellm.schema` to the one that LiteLLM's tables are in")
            }
            Self::Table(table) => format!(
                "LiteLLM's table `{schema}.{table}` is not there. LiteLLM makes it when it starts; \
                 `litellm.schema` says where it is"
            ),
            Self::Column { table, column } => format!(
                "LiteLLM's table `{schema}.{table}` has no column `{column}`: this LiteLLM is not one that vestibule knows"
            ),
            Self::Usage { role } => format!(
                "a right is missing. As the owner: GRANT USAGE ON SCHEMA {} TO {}",
                quoted(schema),
                quoted(role)
            ),
            Self::Right { table, columns, privilege, role } => {
                let columns = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
                format!(
                    "a right is missing. As the owner: GRANT {privilege}{columns} ON {}.{} TO {}",
                    quoted(schema),
                    quoted(table),
                    quoted(role)
                )
            }
        }
    }

    /// Its columns, if it is this right on this table.
    pub(super) fn columns_of(&mut self, of_table: &str, of_privilege: &str) -> Option<&mut Vec<String>> {
        let Self::Right { table, columns, privilege, .. } = self else { return None };
        (table == of_table && privilege == of_privilege).then_some(columns)
    }
}

// === impl Postgres ===

impl Postgres {
    /// One attempt to migrate, and to check that all that `open` and `sweep` need is there and allowed, and that every living
    /// session's secret is known.
    pub(super) async fn prepare_once(&self) -> Result<(), AttemptError> {
        self.migrate_once().await?;
        self.reading_once(async |on| {
            self.check_own_tables(on).await?;
            if let Some(first) = self.missing(on, &self.litellm_schema, tables::NEEDS).await?.first() {
                return Err(StoreError::NotReady(first.words(&self.litellm_schema)).into());
            }
            self.check_secrets(on).await
        })
        .await
    }

    /// Checks that the role may use our own tables.
    pub(super) async fn check_own_tables(&self, on: &mut Work<'_>) -> Result<(), AttemptError> {
        let all =
            |table| ["SELECT", "INSERT", "UPDATE", "DELETE"].map(|privilege| Need { table, privilege, columns: &[] });
        let needs: Vec<Need> = ["account", "session", "audit"].into_iter().flat_map(all).collect();
        if self.missing(on, &self.own_schema, &needs).await?.is_empty() {
            return Ok(());
        }
        Err(self.not_granted("SELECT, INSERT, UPDATE, DELETE on all tables").into())
    }

    /// Checks that every living session's secret is known.
    pub(super) async fn check_secrets(&self, on: &mut Work<'_>) -> Result<(), AttemptError> {
        let living = format!("SELECT DISTINCT secret_id FROM {}.session WHERE expires_at > now()", self.own);
        for row in on.rows(&living, &[]).await? {
            let id: String = row.column("secret_id")?;
            if !self.rules.key_policy.secrets.knows(&id) {
                return Err(StoreError::SecretMismatch(id).into());
            }
        }
        Ok(())
    }

    /// All that is missing of a list, in the list's order.
    pub(super) async fn missing(
        &self,
        on: &mut Work<'_>,
        schema: &str,
        needs: &[Need],
    ) -> Result<Vec<Missing>, AttemptError> {
        let rights = needs.iter().flat_map(|Need { table, privilege, columns }| {
            let columns = if columns.is_empty() { &[""] } else { *columns };
            columns.iter().map(move |name| json!({ "relation": table, "attribute": name, "privilege": privilege }))
        });
        let rights = rights.collect::<serde_json::Value>().to_string();
        let rows = on.rows(LOOK, &[&schema, &rights]).await?;
        let mut missing = Vec::new();
        for row in rows {
            let (table, column, role) = (row.column("relation")?, row.column("attribute")?, row.column("role")?);
            if !row.column::<bool>("has_schema")? {
                missing.push(Missing::Schema);
            } else if !row.column::<bool>("has_table")? {
                missing.push(Missing::Table(table));
            } else if !row.column::<bool>("has_column")? {
                missing.push(Missing::Column { table, column });
            } else if !row.column::<bool>("has_usage")? {
                missing.push(Missing::Usage { role });
            } else if !row.column::<bool>("allowed")? {
                let columns = Vec::from_iter(Some(column).filter(|column| !column.is_empty()));
                missing.push(Missing::Right { table, columns, privilege: row.column("privilege")?, role });
            }
        }
        Ok(missing)
    }

    pub(super) fn not_granted(&self, right: &str) -> StoreError {
        let schema = &self.own;
        StoreError::NotReady(format!(
            "this role lacks a right on vestibule's own tables: {right}. As their owner: GRANT USAGE ON SCHEMA {schema} TO …; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO …"
        ))
    }
}

/// Whether a right is missing (SQLSTATE 42501).
pub(super) fn is_denied(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "42501")
}
