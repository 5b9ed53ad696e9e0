//! Inspects the database for `vestibule check --connect`, and reports all problems at once. Each part is a read-only
//! transaction.

use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use super::Postgres;
use super::migrate::VERSION;
use super::schema::Missing;
use super::transaction::Work;
use crate::config::{AccountRules, Litellm, written};
use crate::diagnostic::{Diagnostic, DiagnosticState};
use crate::litellm::tables::NEEDS;
use crate::store::decide::{check_user_id, wanted_user_id};
use crate::store::retry::AttemptError;
use crate::store::rows::RowReader;
use crate::store::{StoreError, UserProfile};

const ABOUT: &str = "postgres";

/// The `user_id` that a new user would get, as far as it is known without the database: it differs where the plain one
/// belongs to another account.
pub fn planned_user_id(profile: &UserProfile, account: &AccountRules, litellm: &Litellm) -> Result<String, StoreError> {
    let wanted = wanted_user_id(profile, account)?;
    check_user_id(wanted, litellm.proxy_admin_id.as_slice())?;
    Ok(wanted.to_owned())
}

// === impl Postgres ===

impl Postgres {
    /// Inspects the server, LiteLLM's tables and ours, and changes nothing.
    pub async fn inspect(&self) -> Vec<Diagnostic> {
        // The pool's error would only say that it waited in vain, and not why.
        if let Err(why) = self.test_connection().await {
            return vec![why];
        }
        let mut diagnostics = match self.reading(async |on| server(on).await).await {
            Ok(diagnostics) => diagnostics,
            Err(error) => return vec![away(&error)],
        };
        let parts = [
            self.reading(async |on| self.litellm_tables(on).await).await,
            self.reading(async |on| self.own_tables(on).await).await,
        ];
        for part in parts {
            diagnostics.extend(part.unwrap_or_else(|error| vec![away(&error)]));
        }
        diagnostics
    }

    /// Opens one connection outside of the pool.
    async fn test_connection(&self) -> Result<(), Diagnostic> {
        let options = self.pool.as_ref().map_err(|words| from_words(words))?.connect_options();
        let connecting = timeout(self.connect_timeout, PgConnection::connect_with(&options));
        let late = || format!("no connection within {} (`database.connect_timeout`)", written(self.connect_timeout));
        let outcome = connecting.await.map_err(|_| unreachable(&late()))?;
        let connection = outcome.map_err(|error| unreachable(&error.to_string()))?;
        // That it could be opened is all that was asked.
        let _ = connection.close().await;
        Ok(())
    }

    async fn litellm_tables(&self, on: &mut Work<'_>) -> Result<Vec<Diagnostic>, AttemptError> {
        let schema = &self.litellm_schema;
        let missing = together(self.missing(on, schema, NEEDS).await?);
        if missing.is_empty() {
            return Ok(vec![Diagnostic::ok(
                ABOUT,
                format!("LiteLLM's tables are in schema `{schema}`, with every column and right that is needed"),
            )]);
        }
        Ok(missing.iter().map(|missing| from_words(&missing.words(schema))).collect())
    }

    async fn own_tables(&self, on: &mut Work<'_>) -> Result<Vec<Diagnostic>, AttemptError> {
        match self.own_version(on).await {
            Err(AttemptError::Refused(error)) => Ok(vec![from_words(&error.to_string())]),
            outcome => Ok(vec![outcome?]),
        }
    }

    async fn own_version(&self, on: &mut Work<'_>) -> Result<Diagnostic, AttemptError> {
        let had = self.version(on).await?;
        if had < VERSION {
            return self.to_be_made(on, had).await;
        }
        self.check_own_tables(on).await?;
        self.check_secrets(on).await?;
        let schema = &self.own_schema;
        Ok(Diagnostic::ok(ABOUT, format!("vestibule's own tables in schema `{schema}` are of version {had}")))
    }

    /// Our tables are not there, or of an older version: reports whether `serve` may make them.
    async fn to_be_made(&self, on: &mut Work<'_>, had: usize) -> Result<Diagnostic, AttemptError> {
        let schema = &self.own_schema;
        let looked = "SELECT s.oid IS NOT NULL AS there, coalesce(has_schema_privilege(s.oid, 'CREATE'), \
             has_database_privilege(current_database(), 'CREATE')) \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = s.oid AND c.relkind = 'r' \
             AND NOT pg_has_role(c.relowner, 'USAGE')) AS may \
             FROM (SELECT $1::text AS name) n LEFT JOIN pg_catalog.pg_namespace s ON s.nspname = n.name";
        let looked = on.one(looked, &[schema]).await?;
        let state = if had == 0 { "are not there yet" } else { "are of an older version" };
        let what = format!("vestibule's own tables (schema `{schema}`) {state}");
        if looked.column("may")? {
            return Ok(Diagnostic::ok(ABOUT, format!("{what}: the first start of `vestibule serve` makes them")));
        }
        let right = if looked.column("there")? {
            format!("GRANT USAGE, CREATE ON SCHEMA {} TO …, or run it as the tables' owner", self.own)
        } else {
            "GRANT CREATE ON DATABASE … TO …".to_owned()
        };
        let remedy = format!(
            "`vestibule migrate --print` prints the {} steps that are missing, for whoever may run them; or: {right}",
            VERSION - had
        );
        Ok(problem(format!("{what}, and this role may not make them"), remedy))
    }
}

/// Which server answers, and which role vestibule has there.
async fn server(on: &mut Work<'_>) -> Result<Vec<Diagnostic>, AttemptError> {
    let looked = "SELECT current_setting('server_version') AS version, current_database()::text AS database, \
         current_user::text AS role, pg_is_in_recovery() AS is_standby, \
         current_setting('default_transaction_read_only') = 'on' AS is_read_only";
    let looked = on.one(looked, &[]).await?;
    let word = |name| looked.column::<String>(name);
    let (version, database, role) = (word("version")?, word("database")?, word("role")?);
    let mut diagnostics =
        vec![Diagnostic::ok(ABOUT, format!("PostgreSQL {version} answers: database `{database}`, role `{role}`"))];
    let is_standby = looked.column("is_standby")?;
    if is_standby || looked.column("is_read_only")? {
        let what = if is_standby { "this server is a standby" } else { "this role's transactions are read only" };
        let remedy = "`litellm.database_url` must lead to the database that is written to, the one that LiteLLM uses";
        diagnostics.push(problem(format!("{what}: nothing can be written"), remedy));
    }
    Ok(diagnostics)
}

/// Merges the rights on one table of one kind, and removes duplicates.
fn together(missing: Vec<Missing>) -> Vec<Missing> {
    let mut kept: Vec<Missing> = Vec::new();
    for mut one in missing {
        if let Missing::Right { table, privilege, columns, .. } = &mut one
            && let Some(known) = kept.iter_mut().find_map(|known| known.columns_of(table, privilege))
        {
            known.append(columns);
        } else if !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

/// From the store's message when it is not ready: what is wrong, a full stop, what to do.
fn from_words(words: &str) -> Diagnostic {
    let (what, remedy) = words.split_once(". ").unwrap_or((words, "see docs/database.md"));
    problem(what, remedy)
}

fn problem(what: impl Into<String>, remedy: impl Into<String>) -> Diagnostic {
    Diagnostic::new(DiagnosticState::Problem, ABOUT, what, remedy)
}

fn away(error: &StoreError) -> Diagnostic {
    // The driver's own message includes its cause.
    unreachable(&std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string))
}

fn unreachable(cause: &str) -> Diagnostic {
    let remedy =
        "see `litellm.database_url` and `database.connect_timeout`; LiteLLM's own `DATABASE_URL` works here too";
    problem(format!("the database does not answer, or refuses: {cause}"), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rights_of_one_statement_are_one_finding() {
        let right = |table: &str, column: &str, privilege: &str| Missing::Right {
            table: table.into(),
            columns: vec![column.into()],
            privilege: privilege.into(),
            role: "r".into(),
        };
        let missing = vec![
            right("T", "a", "SELECT"),
            right("T", "b", "SELECT"),
            right("T", "a", "UPDATE"),
            Missing::Table("U".into()),
            Missing::Table("U".into()),
        ];
        let words: Vec<_> = together(missing).iter().map(|missing| from_words(&missing.words("s"))).collect();
        assert_eq!(words.len(), 3);
        assert_eq!(words[0].remedy.as_deref(), Some("As the owner: GRANT SELECT (a, b) ON \"s\".\"T\" TO \"r\""));
    }
}
