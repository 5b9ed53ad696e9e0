//! A look at the database for `vestibule check --connect`: everything that is not as it must be, at once. Each part of it
//! is a transaction that is read only and rolled back.

use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use super::Postgres;
use super::migrate::VERSION;
use super::retry::AttemptError;
use super::schema::{Missing, litellm_rights};
use crate::config::{AccountRules, Litellm, written};
use crate::diagnostic::{Diagnostic, DiagnosticState};
use crate::litellm::tables::quoted;
use crate::store::decide::{check_user_id, wanted_user_id};
use crate::store::{StoreError, UserProfile};

const ABOUT: &str = "postgres";

/// The `user_id` that a new person would get, as far as it can be said without the database: another one where the plain one
/// belongs to somebody else.
pub fn planned_user_id(profile: &UserProfile, account: &AccountRules, litellm: &Litellm) -> Result<String, StoreError> {
    let wanted = wanted_user_id(profile, account)?;
    check_user_id(wanted, litellm.proxy_admin_id.as_slice())?;
    Ok(wanted.to_owned())
}

// === impl Postgres ===

impl Postgres {
    /// Looks at the server, at LiteLLM's tables and at ours, and changes nothing.
    pub async fn inspect(&self) -> Vec<Diagnostic> {
        // The pool would say that it waited in vain, and not why.
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

    /// One connection beside the pool's.
    async fn test_connection(&self) -> Result<(), Diagnostic> {
        let options = self.pool().map_err(|error| from_words(&error.to_string()))?.connect_options();
        let connecting = timeout(self.connect_timeout, PgConnection::connect_with(&options));
        let late = || format!("no connection within {} (`database.connect_timeout`)", written(self.connect_timeout));
        let outcome = connecting.await.map_err(|_| unreachable(&late()))?;
        let connection = outcome.map_err(|error| unreachable(&error.to_string()))?;
        // What it was opened for is known.
        let _ = connection.close().await;
        Ok(())
    }

    async fn litellm_tables(&self, on: &mut PgConnection) -> Result<Vec<Diagnostic>, AttemptError> {
        let schema = &self.litellm_schema;
        let missing = together(self.missing(on, schema, &litellm_rights()).await?);
        if missing.is_empty() {
            return Ok(vec![Diagnostic::ok(
                ABOUT,
                format!("LiteLLM's tables are in schema `{schema}`, with every column and right that is needed"),
            )]);
        }
        Ok(missing.iter().map(|missing| from_words(&missing.words(schema))).collect())
    }

    async fn own_tables(&self, on: &mut PgConnection) -> Result<Vec<Diagnostic>, AttemptError> {
        let schema = &self.own_schema;
        let outcome = match self.version(on).await {
            Ok(had) => Ok((had, had < VERSION)),
            Err(AttemptError::Refused(error)) => Err(error),
            Err(fault) => return Err(fault),
        };
        let (had, is_behind) = match outcome {
            Ok(known) => known,
            Err(error) => return Ok(vec![from_words(&error.to_string())]),
        };
        if is_behind {
            return Ok(vec![self.to_be_made(on, had).await?]);
        }
        if let Err(fault) = self.check_own_tables(on).await {
            return refused(fault);
        }
        if let Err(fault) = self.check_secrets(on).await {
            return refused(fault);
        }
        Ok(vec![Diagnostic::ok(ABOUT, format!("vestibule's own tables in schema `{schema}` are of version {had}"))])
    }

    /// Our tables are not there, or of an older version: whether `serve` may make them.
    async fn to_be_made(&self, on: &mut PgConnection, had: usize) -> Result<Diagnostic, AttemptError> {
        let schema = &self.own_schema;
        let (there, may, owns): (bool, bool, bool) = sqlx::query_as(
            "SELECT s.oid IS NOT NULL, \
             coalesce(has_schema_privilege(s.oid, 'CREATE'), has_database_privilege(current_database(), 'CREATE')), \
             NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = s.oid AND c.relkind = 'r' \
             AND NOT pg_has_role(c.relowner, 'USAGE')) \
             FROM (SELECT $1::text AS name) n LEFT JOIN pg_catalog.pg_namespace s ON s.nspname = n.name",
        )
        .bind(schema)
        .persistent(false)
        .fetch_one(on)
        .await?;
        let state = if had == 0 { "are not there yet" } else { "are of an older version" };
        let what = format!("vestibule's own tables (schema `{schema}`) {state}");
        if may && owns {
            return Ok(Diagnostic::ok(ABOUT, format!("{what}: the first start of `vestibule serve` makes them")));
        }
        let right = if there {
            format!("GRANT USAGE, CREATE ON SCHEMA {} TO …, or run it as the tables' owner", quoted(schema))
        } else {
            "GRANT CREATE ON DATABASE … TO …".to_owned()
        };
        let remedy = format!(
            "`vestibule migrate --print` prints the {} steps that are missing, for whoever may run them; or: {right}",
            VERSION - had
        );
        Ok(Diagnostic::new(DiagnosticState::Problem, ABOUT, format!("{what}, and this role may not make them"), remedy))
    }
}

/// Who answers, and as whom we are there.
async fn server(on: &mut PgConnection) -> Result<Vec<Diagnostic>, AttemptError> {
    let (version, database, role, is_standby, is_read_only): (String, String, String, bool, bool) = sqlx::query_as(
        "SELECT current_setting('server_version'), current_database()::text, current_user::text, pg_is_in_recovery(), \
         current_setting('default_transaction_read_only') = 'on'",
    )
    .persistent(false)
    .fetch_one(on)
    .await?;
    let mut diagnostics =
        vec![Diagnostic::ok(ABOUT, format!("PostgreSQL {version} answers: database `{database}`, role `{role}`"))];
    if is_standby || is_read_only {
        let what = if is_standby { "this server is a standby" } else { "this role's transactions are read only" };
        let remedy = "`litellm.database_url` must lead to the database that is written to, the one that LiteLLM uses";
        diagnostics.push(Diagnostic::new(
            DiagnosticState::Problem,
            ABOUT,
            format!("{what}: nothing can be written"),
            remedy,
        ));
    }
    Ok(diagnostics)
}

/// Rights on one table of one kind become one; what is said of each column is said once.
fn together(missing: Vec<Missing>) -> Vec<Missing> {
    let mut kept: Vec<Missing> = Vec::new();
    for missing in missing {
        if let Some(known) = kept.iter_mut().find_map(|known| known.columns_of(&missing)) {
            known.extend(missing.into_columns());
        } else if !kept.contains(&missing) {
            kept.push(missing);
        }
    }
    kept
}

/// What a refusal of the store says; another fault stays one.
fn refused(fault: AttemptError) -> Result<Vec<Diagnostic>, AttemptError> {
    match fault {
        AttemptError::Refused(error) => Ok(vec![from_words(&error.to_string())]),
        AttemptError::Database(_) | AttemptError::Again => Err(fault),
    }
}

/// What the store says when it is not ready: what is wrong, a full stop, what to do.
fn from_words(words: &str) -> Diagnostic {
    let (what, remedy) = words.split_once(". ").unwrap_or((words, "see docs/database.md"));
    Diagnostic::new(DiagnosticState::Problem, ABOUT, what, remedy)
}

fn away(error: &StoreError) -> Diagnostic {
    // The driver's own words hold their cause already.
    unreachable(&std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string))
}

fn unreachable(cause: &str) -> Diagnostic {
    let remedy =
        "see `litellm.database_url` and `database.connect_timeout`; LiteLLM's own `DATABASE_URL` works here too";
    Diagnostic::new(
        DiagnosticState::Problem,
        ABOUT,
        format!("the database does not answer, or refuses: {cause}"),
        remedy,
    )
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
