//! Whether everything is there that vestibule needs, of its own and of LiteLLM's, and allowed.

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::Postgres;
use super::retry::AttemptError;
use crate::litellm::tables::{self, quoted};
use crate::store::StoreError;

/// Our tables, each of which the serving role reads and writes.
const OWN_TABLES: &[&str] = &["account", "session", "audit"];
/// SQLSTATE of a missing right.
const DENIED: &str = "42501";
/// Each right of a list, and what stands in its way: `$1` schema, `$2` tables, `$3` columns ('' = the table as a
/// whole), `$4` privileges. By the catalogue alone, which needs no right on what is asked about.
const LOOK: &str = "SELECT n.relation, n.attribute, n.privilege, s.oid IS NOT NULL AS has_schema, \
     coalesce(has_schema_privilege(s.oid, 'USAGE'), false) AS has_usage, c.oid IS NOT NULL AS has_table, \
     n.attribute = '' OR a.attnum IS NOT NULL AS has_column, \
     coalesce(CASE WHEN n.attribute = '' THEN has_table_privilege(c.oid, n.privilege) \
     ELSE has_column_privilege(c.oid, a.attnum, n.privilege) END, false) AS allowed, current_user::text AS role \
     FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS n(relation, attribute, privilege, place) \
     LEFT JOIN pg_catalog.pg_namespace s ON s.nspname = $1 \
     LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname = n.relation AND c.relkind IN ('r', 'p', 'v') \
     LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = n.attribute AND a.attnum > 0 \
     AND NOT a.attisdropped ORDER BY n.place";

/// One right that is asked about.
pub(super) struct RequiredRight {
    table: &'static str,
    column: &'static str,
    privilege: &'static str,
}

/// One thing that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// There is no such schema.
    Schema,
    /// There is no such table.
    Table(String),
    /// The table has no such column.
    Column { table: String, column: String },
    /// The role may not look into the schema.
    Usage { role: String },
    /// The role has not this right; without columns, on the table as a whole.
    Right { table: String, columns: Vec<String>, privilege: String, role: String },
}

// === impl Missing ===

impl Missing {
    /// What is wrong, and what to do, for LiteLLM's schema.
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

    /// Its columns, where the other is the same right on the same table.
    pub(super) fn columns_of(&mut self, other: &Self) -> Option<&mut Vec<String>> {
        let (Self::Right { table, columns, privilege, .. }, Self::Right { table: t, privilege: p, .. }) = (self, other)
        else {
            return None;
        };
        (table == t && privilege == p).then_some(columns)
    }

    /// The columns that it is about.
    pub(super) fn into_columns(self) -> Vec<String> {
        match self {
            Self::Right { columns, .. } => columns,
            Self::Column { column, .. } => vec![column],
            Self::Schema | Self::Table(_) | Self::Usage { .. } => Vec::new(),
        }
    }
}

// === impl Postgres ===

impl Postgres {
    /// One try to make everything ready.
    pub(super) async fn prepare_once(&self) -> Result<(), AttemptError> {
        self.migrate_once().await?;
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin(self.begin_reading()).await?;
        let outcome = self.check_everything(&mut transaction).await;
        match outcome {
            Err(AttemptError::Database(error)) => return Err(error.into()),
            _ => transaction.rollback().await?,
        }
        connection.release();
        outcome
    }

    /// Whether everything that `open` and `sweep` need is there and allowed, and every living session's secret known.
    async fn check_everything(&self, on: &mut PgConnection) -> Result<(), AttemptError> {
        self.check_own_tables(on).await?;
        if let Some(first_missing) = self.first_missing(on, &self.litellm_schema, &litellm_rights()).await? {
            return Err(StoreError::NotReady(first_missing).into());
        }
        self.check_secrets(on).await
    }

    /// Whether the role may use our own tables.
    pub(super) async fn check_own_tables(&self, on: &mut PgConnection) -> Result<(), AttemptError> {
        let own = ["SELECT", "INSERT", "UPDATE", "DELETE"];
        let rights: Vec<RequiredRight> = OWN_TABLES
            .iter()
            .flat_map(|table| own.map(|privilege| RequiredRight { table, column: "", privilege }))
            .collect();
        if self.missing(on, &self.own_schema, &rights).await?.is_empty() {
            return Ok(());
        }
        Err(self.not_granted("SELECT, INSERT, UPDATE, DELETE on all tables").into())
    }

    /// Whether every living session's secret is known.
    pub(super) async fn check_secrets(&self, on: &mut PgConnection) -> Result<(), AttemptError> {
        let living: Vec<(String,)> = sqlx::query_as(AssertSqlSafe(self.statements.living_secrets.as_str()))
            .persistent(false)
            .fetch_all(on)
            .await?;
        match living.into_iter().find(|(id,)| !self.key_policy.secrets.knows(id)) {
            Some((unknown,)) => Err(StoreError::SecretMismatch(unknown).into()),
            None => Ok(()),
        }
    }

    /// In words, the first thing of a list that is missing.
    async fn first_missing(
        &self,
        on: &mut PgConnection,
        schema: &str,
        rights: &[RequiredRight],
    ) -> Result<Option<String>, AttemptError> {
        Ok(self.missing(on, schema, rights).await?.first().map(|missing| missing.words(schema)))
    }

    /// Every thing of a list that is missing, in the list's order.
    pub(super) async fn missing(
        &self,
        on: &mut PgConnection,
        schema: &str,
        rights: &[RequiredRight],
    ) -> Result<Vec<Missing>, AttemptError> {
        let column = |of: fn(&RequiredRight) -> &'static str| {
            rights.iter().map(|rights| of(rights).to_owned()).collect::<Vec<_>>()
        };
        let rows = sqlx::query(LOOK)
            .bind(schema)
            .bind(column(|rights| rights.table))
            .bind(column(|rights| rights.column))
            .bind(column(|rights| rights.privilege))
            .persistent(false)
            .fetch_all(on)
            .await?;
        let mut missing = Vec::new();
        for row in rows {
            let (table, column): (String, String) = (row.try_get("relation")?, row.try_get("attribute")?);
            let (privilege, role): (String, String) = (row.try_get("privilege")?, row.try_get("role")?);
            if !row.try_get::<bool, _>("has_schema")? {
                missing.push(Missing::Schema);
            } else if !row.try_get::<bool, _>("has_table")? {
                missing.push(Missing::Table(table));
            } else if !row.try_get::<bool, _>("has_column")? {
                missing.push(Missing::Column { table, column });
            } else if !row.try_get::<bool, _>("has_usage")? {
                missing.push(Missing::Usage { role });
            } else if !row.try_get::<bool, _>("allowed")? {
                let columns = Vec::from_iter(Some(column).filter(|column| !column.is_empty()));
                missing.push(Missing::Right { table, columns, privilege, role });
            }
        }
        Ok(missing)
    }

    pub(super) fn not_granted(&self, right: &str) -> StoreError {
        let schema = quoted(&self.own_schema);
        StoreError::NotReady(format!(
            "this role lacks a right on vestibule's own tables: {right}. As their owner: GRANT USAGE ON SCHEMA {schema} TO …; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO …"
        ))
    }
}

pub(super) fn litellm_rights() -> Vec<RequiredRight> {
    let mut rights = Vec::new();
    for need in tables::NEEDS {
        let columns = if need.columns.is_empty() { &[""] } else { need.columns };
        rights.extend(columns.iter().map(|column| RequiredRight {
            table: need.table,
            column,
            privilege: need.privilege,
        }));
    }
    rights
}

pub(super) fn is_denied(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == DENIED)
}
