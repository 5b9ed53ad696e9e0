//! A database of its own for each test, as LiteLLM's migrations leave one.
//!
//! A template is made once on the server, named after the fixture's content; each test copies it and drops the copy
//! at its end. Several test processes may do this at once on the same server.

pub(crate) mod relay;
pub(crate) mod server;

use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

/// LiteLLM's tables, as its migrations leave them.
pub(crate) const SCHEMA: &str = include_str!("../../fixtures/litellm-schema.sql");
const URL: &str = "VESTIBULE_TEST_POSTGRES_URL";
/// `HOST:PORT` of a PgBouncer before that server, where the store under test is to go through one. The tests' own
/// looks and hands go straight to the server.
const VIA: &str = "VESTIBULE_TEST_POSTGRES_VIA";
/// The advisory lock around the making of the template.
const LOCK: i64 = 0x7465_6d70_6c61;

/// A database, dropped when this is.
pub(crate) struct TestDatabase {
    name: String,
    /// For the test's own looks and hands: a superuser's.
    pub(crate) pool: PgPool,
}

fn server_url() -> String {
    std::env::var(URL).unwrap_or_else(|_| panic!("{URL} names no Postgres to test on: run the tests with `tests/run`"))
}

/// The server's URL with another database in it.
fn url_of(database: &str) -> String {
    let server = server_url();
    let (address, query) = server.split_once('?').unwrap_or((&server, ""));
    let (scheme, rest) = address.split_once("://").unwrap();
    let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
    format!("{scheme}://{authority}/{database}?{query}")
}

async fn administer(statement: String) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(&server_url()).await?;
    connection.execute(AssertSqlSafe(statement)).await?;
    connection.close().await
}

/// The template's name; the template is there when this returns.
async fn template() -> String {
    // FNV-1a: another fixture gets another template, on whatever server.
    let hash = SCHEMA
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let name = format!("vestibule_template_{hash:016x}");
    let mut admin = PgConnection::connect(&server_url()).await.expect("the Postgres to test on answers");
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut admin).await.unwrap();
    let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    if !there {
        // Under another name until it is whole: a run that dies halfway leaves no half template.
        let unfinished = format!("{name}_unfinished");
        for statement in [
            format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)"),
            format!("CREATE DATABASE {unfinished} TEMPLATE template0 ENCODING 'UTF8'"),
        ] {
            admin.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        let mut inside = PgConnection::connect(&url_of(&unfinished)).await.unwrap();
        sqlx::raw_sql(SCHEMA).execute(&mut inside).await.expect("the fixture of LiteLLM's schema loads");
        inside.close().await.unwrap();
        admin.execute(AssertSqlSafe(format!("ALTER DATABASE {unfinished} RENAME TO {name}"))).await.unwrap();
    }
    admin.close().await.unwrap();
    name
}

// === impl TestDatabase ===

impl TestDatabase {
    /// A new database with LiteLLM's two tables, both empty.
    pub(crate) async fn fresh() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let template = template().await;
        let name = format!("vestibule_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        administer(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
        administer(format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
        let options: PgConnectOptions = url_of(&name).parse().unwrap();
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy_with(options);
        Self { name, pool }
    }

    /// The database's URL for the test's own looks and hands.
    pub(crate) fn direct_url(&self) -> String {
        url_of(&self.name)
    }

    /// The database's URL for what is tested, as a superuser.
    pub(crate) fn url(&self) -> String {
        let url = self.direct_url();
        let Ok(via) = std::env::var(VIA) else { return url };
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, path) = rest.split_once('/').unwrap();
        let user = authority.rsplit_once('@').map(|(user, _)| format!("{user}@")).unwrap_or_default();
        format!("{scheme}://{user}{via}/{path}")
    }

    /// The database's URL as a role that is made here, with no right but those that the statements give. `{role}`
    /// stands for its name.
    pub(crate) async fn url_as_role(&self, grants: &str) -> String {
        let role = format!("{}_role", self.name);
        let statements = format!(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN \
             CREATE ROLE {role} LOGIN PASSWORD 'only-a-test'; END IF; END $$;\n{}",
            grants.replace("{role}", &role)
        );
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&self.pool).await.unwrap();
        let url = self.url();
        let (scheme, rest) = url.split_once("://").unwrap();
        let host = rest.split_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}://{role}:only-a-test@{host}")
    }

    /// Runs statements as the superuser.
    pub(crate) async fn run(&self, statements: &str) {
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&self.pool).await.unwrap_or_else(|error| {
            panic!("{error}: {statements}");
        });
    }

    /// One value that a statement asks for.
    pub(crate) async fn one<T>(&self, statement: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&self.pool).await.unwrap_or_else(|error| {
            panic!("{error}: {statement}");
        })
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let name = self.name.clone();
        // On a thread of its own: the test's runtime may be on its way out.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                administer(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
                administer(format!("DROP ROLE IF EXISTS {name}_role")).await
            })
        })
        .join();
        if !std::thread::panicking() {
            dropped.unwrap().unwrap();
        }
    }
}
