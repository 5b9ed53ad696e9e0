//! Creates and migrates vestibule's own tables, where that is needed and allowed.
//!
//! The catalogue is read before any DDL: `IF NOT EXISTS` needs the right to create even where there is nothing to create,
//! so a role without that right would fail although nothing is left to do. The migrations run in one transaction under an
//! advisory lock, and the version is read again inside it: replicas start together.

use super::Postgres;
use super::schema::is_denied;
use super::transaction::Work;
use crate::litellm::tables::{self, quoted};
use crate::store::StoreError;
use crate::store::retry::AttemptError;
use crate::store::rows::{RowReader, Transaction};

/// One migration of our tables.
struct Migration {
    text: &'static str,
    /// The oldest program that works with the tables as they are after this migration, by the version it was built for: in a
    /// rolling update the older replicas keep serving. A migration that only adds keeps the number of the one before; one
    /// that breaks older programs has its own number.
    compatible_from: usize,
}

/// The migrations in order; the version of one is its position, from 1. Text that was released is never edited.
const MIGRATIONS: &[Migration] = &[
    Migration { text: include_str!("../migrations/0001_accounts.sql"), compatible_from: 1 },
    Migration { text: include_str!("../migrations/0002_blocks_and_audit.sql"), compatible_from: 1 },
    Migration { text: include_str!("../migrations/0003_compatible_from.sql"), compatible_from: 3 },
];
/// The version of our tables that this program makes.
pub(super) const VERSION: usize = MIGRATIONS.len();
/// The first version whose row says how old a program may be.
const TELLS_COMPATIBLE: usize = 3;
/// The migrations' advisory lock.
const LOCK: i64 = 0x7665_7374_6962;

/// The versions of our tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// What is there; 0 = nothing. More than `wanted` = a newer vestibule's, with which this program can work.
    pub had: usize,
    /// What this program works with.
    pub wanted: usize,
    /// The role that vestibule connects as.
    pub role: String,
}

// === impl Postgres ===

impl Postgres {
    /// One attempt to bring our own tables to this program's version.
    pub(super) async fn migrate_once(&self) -> Result<(), AttemptError> {
        if self.reading_once(async |on| self.version(on).await).await? >= VERSION {
            return Ok(());
        }
        self.transaction("READ WRITE", &[LOCK], false, async |on| {
            let version = self.version(on).await?;
            if version < VERSION {
                let there =
                    on.rows("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", &[&self.own_schema]).await;
                let batch = self.batch(version, !there.map_err(|error| self.denied(error))?.is_empty());
                on.batch(batch).await.map_err(|error| self.denied(error))?;
            }
            Ok(())
        })
        .await
    }

    /// The version of our tables, and the one that this program works with.
    pub async fn versions(&self) -> Result<Versions, StoreError> {
        self.reading(async |on| {
            let had = self.version(on).await?;
            let role = on.one("SELECT current_user::text AS role", &[]).await?.column("role")?;
            Ok(Versions { had, wanted: VERSION, role })
        })
        .await
    }

    /// The statements that bring our tables from that version to this program's.
    fn batch(&self, version: usize, is_schema_there: bool) -> String {
        let schema = &self.own;
        let mut batch = Vec::new();
        if !is_schema_there {
            batch.push(format!("CREATE SCHEMA {schema};"));
        }
        if version == 0 {
            batch.push(format!(
                "CREATE TABLE {schema}._migrations (version int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());"
            ));
        }
        for (version, Migration { text, compatible_from }) in (1..).zip(MIGRATIONS).skip(version) {
            batch.push(text.replace("{schema}", schema));
            batch.push(if version < TELLS_COMPATIBLE {
                format!("INSERT INTO {schema}._migrations (version) VALUES ({version});")
            } else {
                format!(
                    "INSERT INTO {schema}._migrations (version, compatible_from) VALUES ({version}, {compatible_from});"
                )
            });
        }
        batch.join("\n")
    }

    /// The same as a script that the owner runs by hand, with the rights that the serving role needs.
    pub fn script(&self, versions: &Versions) -> String {
        let (own, theirs, role) = (&self.own, quoted(&self.litellm_schema), quoted(&versions.role));
        let mut lines = vec!["BEGIN;".to_owned()];
        if versions.had < versions.wanted {
            lines.push(format!("SELECT pg_advisory_xact_lock({LOCK});"));
            lines.push(self.batch(versions.had, versions.had > 0));
        }
        lines.push("\n-- The rights of the role that vestibule connects as.".to_owned());
        lines.push(format!("GRANT USAGE ON SCHEMA {own}, {theirs} TO {role};"));
        lines.push(format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {own} TO {role};"));
        for need in tables::NEEDS {
            let columns =
                if need.columns.is_empty() { String::new() } else { format!(" ({})", need.columns.join(", ")) };
            lines.push(format!("GRANT {}{columns} ON {theirs}.{} TO {role};", need.privilege, quoted(need.table)));
        }
        lines.push("COMMIT;\n".to_owned());
        lines.join("\n")
    }

    /// The version of our tables; 0 = there are none. Refuses a standby, and tables that only a newer program can work
    /// with.
    pub(super) async fn version(&self, on: &mut Work<'_>) -> Result<usize, AttemptError> {
        let looked = "SELECT pg_catalog.pg_is_in_recovery() AS is_standby, c.oid IS NOT NULL AS there, \
             coalesce(has_schema_privilege(s.oid, 'USAGE'), false) AS usage \
             FROM (SELECT $1::text AS name) n LEFT JOIN pg_catalog.pg_namespace s ON s.nspname = n.name \
             LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname = '_migrations'";
        let looked = on.one(looked, &[&self.own_schema]).await?;
        if looked.column("is_standby")? {
            // Not `NotReady`: in a failover it may be promoted any moment, and known users are served until then.
            return Err(StoreError::Unavailable("it is a standby, which takes no writes".into()).into());
        }
        if !looked.column::<bool>("there")? {
            return Ok(0);
        }
        if !looked.column::<bool>("usage")? {
            return Err(self.not_granted("USAGE on the schema").into());
        }
        // Through JSON, because tables of an early version do not have the column.
        let newest = format!(
            "SELECT m.version, (to_jsonb(m)->>'compatible_from')::int AS compatible_from FROM {}._migrations m \
             ORDER BY m.version DESC LIMIT 1",
            self.own
        );
        let newest = on.rows(&newest, &[]).await.map_err(|error| {
            if is_denied(&error) {
                self.not_granted("SELECT on `_migrations`").into()
            } else {
                AttemptError::from(error)
            }
        })?;
        let Some(newest) = newest.first() else { return Ok(0) };
        let number = |number: i32| usize::try_from(number).unwrap_or(0);
        let version = number(newest.column("version")?);
        let compatible_from = newest.column::<Option<i32>>("compatible_from")?.map_or(version, number);
        if version > VERSION && compatible_from > VERSION {
            return Err(StoreError::NotReady(format!(
                "the tables in schema `{}` are of version {version}, made by a newer vestibule, for programs of version \
                 {compatible_from} and later; this one knows version {VERSION}. Run the newer one",
                self.own_schema,
            ))
            .into());
        }
        Ok(version)
    }

    fn denied(&self, error: sqlx::Error) -> AttemptError {
        if is_denied(&error) {
            return StoreError::NotReady(format!(
                "vestibule's own tables are not there or of an older version, and this role may not make them in schema \
                 `{}`. Start vestibule once as a role that may, have it run what `vestibule migrate --print` prints, or let \
                 this one do it: GRANT CREATE ON DATABASE … TO …",
                self.own_schema
            ))
            .into();
        }
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_grants_exactly_what_is_needed() {
        let pages = [include_str!("../../../docs/database.md"), include_str!("../postgres.rs")];
        for page in pages {
            let words = page.split_whitespace().filter(|word| *word != "//!").collect::<Vec<_>>().join(" ");
            for need in tables::NEEDS {
                let columns =
                    if need.columns.is_empty() { String::new() } else { format!(" ({})", need.columns.join(", ")) };
                let right = format!("{}{columns}", need.privilege);
                assert!(words.contains(&right), "not granted: {right}");
            }
        }
    }

    #[test]
    fn no_step_lets_in_a_program_that_the_step_before_shut_out() {
        let from: Vec<usize> = MIGRATIONS.iter().map(|migration| migration.compatible_from).collect();
        assert!(from.is_sorted() && from.iter().zip(1..).all(|(from, version)| *from <= version), "{from:?}");
    }

    #[test]
    fn every_line_of_the_migrations_stays_in_our_schema() {
        for migration in MIGRATIONS {
            for line in migration.text.lines().filter(|line| line.contains("TABLE") || line.contains(" ON ")) {
                let is_ours = line.contains("{schema}.") || line.trim_start().starts_with("--");
                assert!(is_ours, "{line}");
            }
        }
    }
}
