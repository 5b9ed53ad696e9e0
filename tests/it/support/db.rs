//! A database as a test reads and writes it: LiteLLM's two tables, and vestibule's own.

use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::postgres::TestDatabase;

/// A database with LiteLLM's tables.
pub(crate) struct TestDb {
    pool: PgPool,
    url: String,
    /// Dropped with it, where the test has a database of its own.
    database: Option<TestDatabase>,
}

/// What LiteLLM's user row says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UserRow {
    pub(crate) user_id: String,
    pub(crate) user_email: Option<String>,
    pub(crate) user_alias: Option<String>,
    pub(crate) user_role: Option<String>,
    pub(crate) sso_user_id: Option<String>,
    pub(crate) models: Option<Vec<String>>,
    pub(crate) max_budget: Option<f64>,
    pub(crate) budget_duration: Option<String>,
    pub(crate) tpm_limit: Option<i64>,
    pub(crate) rpm_limit: Option<i64>,
}

impl UserRow {
    fn read(row: &PgRow) -> Self {
        Self {
            user_id: row.get("user_id"),
            user_email: row.get("user_email"),
            user_alias: row.get("user_alias"),
            user_role: row.get("user_role"),
            sso_user_id: row.get("sso_user_id"),
            models: row.get("models"),
            max_budget: row.get("max_budget"),
            budget_duration: row.get("budget_duration"),
            tpm_limit: row.get("tpm_limit"),
            rpm_limit: row.get("rpm_limit"),
        }
    }
}

impl TestDb {
    /// A database of the test's own.
    pub(crate) async fn fresh() -> Self {
        let database = TestDatabase::fresh().await;
        let (pool, url) = (pool(&database.direct_url()).await, database.url());
        Self { pool, url, database: Some(database) }
    }

    /// A database that is there already.
    pub(crate) async fn at(url: &str) -> Self {
        Self { pool: pool(url).await, url: url.to_owned(), database: None }
    }

    /// For vestibule: through PgBouncer, where the run is one through it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// For a test's own programs.
    pub(crate) fn direct_url(&self) -> String {
        self.database.as_ref().map_or_else(|| self.url.clone(), TestDatabase::direct_url)
    }

    /// The same database through a proxy.
    pub(crate) fn url_through(&self, proxy: std::net::SocketAddr) -> String {
        let (before, rest) = self.url.split_once('@').expect("the URL has a user");
        let (_, database) = rest.split_once('/').expect("the URL has a database");
        format!("{before}@{proxy}/{database}")
    }

    pub(crate) async fn run(&self, sql: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await;
        done.unwrap_or_else(|error| panic!("{error} in {sql}"));
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let number = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await;
        number.unwrap_or_else(|error| panic!("{error} in {sql}"))
    }

    /// All texts of a column.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let texts = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&self.pool).await;
        texts.unwrap_or_else(|error| panic!("{error} in {sql}"))
    }

    /// All of LiteLLM's users, by id.
    pub(crate) async fn users(&self) -> Vec<UserRow> {
        let sql = r#"SELECT user_id, user_email, user_alias, user_role, sso_user_id, models, max_budget,
            budget_duration, tpm_limit, rpm_limit FROM "LiteLLM_UserTable" ORDER BY user_id"#;
        let rows = sqlx::query(sql).fetch_all(&self.pool).await.expect("LiteLLM's tables are there");
        rows.iter().map(UserRow::read).collect()
    }

    /// One user.
    pub(crate) async fn user(&self, user_id: &str) -> Option<UserRow> {
        self.users().await.into_iter().find(|user| user.user_id == user_id)
    }

    /// The role of one user, as LiteLLM would read it.
    pub(crate) async fn role(&self, user_id: &str) -> Option<String> {
        self.user(user_id).await.and_then(|user| user.user_role)
    }

    pub(crate) async fn user_count(&self) -> i64 {
        self.number(r#"SELECT count(*) FROM "LiteLLM_UserTable""#).await
    }

    pub(crate) async fn key_count(&self) -> i64 {
        self.number(r#"SELECT count(*) FROM "LiteLLM_VerificationToken""#).await
    }

    /// Keys that LiteLLM would take although nobody stands behind them.
    pub(crate) async fn orphan_keys(&self) -> i64 {
        self.number(
            r#"SELECT count(*) FROM "LiteLLM_VerificationToken" k
               WHERE NOT EXISTS (SELECT 1 FROM "LiteLLM_UserTable" u WHERE u.user_id = k.user_id)"#,
        )
        .await
    }

    /// Fails unless neither LiteLLM's tables nor our accounts have a row.
    pub(crate) async fn expect_nothing_written(&self) {
        assert_eq!((self.user_count().await, self.key_count().await), (0, 0), "rows in LiteLLM's tables");
        assert_eq!(self.number("SELECT count(*) FROM vestibule.account").await, 0, "accounts");
    }

    /// The user whose key this is.
    pub(crate) async fn owner_of(&self, key: &str) -> Option<String> {
        let sql = r#"SELECT user_id FROM "LiteLLM_VerificationToken" WHERE token = encode(sha256($1::bytea), 'hex')"#;
        sqlx::query_scalar(sql).bind(key.as_bytes()).fetch_optional(&self.pool).await.expect("the table is there")
    }

    /// A user row that somebody else made.
    pub(crate) async fn add_user(&self, user_id: &str, role: &str, sso_user_id: Option<&str>, email: Option<&str>) {
        let sql = r#"INSERT INTO "LiteLLM_UserTable" (user_id, user_role, sso_user_id, user_email, models)
            VALUES ($1, $2, $3, $4, '{}')"#;
        let query = sqlx::query(sql).bind(user_id).bind(role).bind(sso_user_id).bind(email);
        query.execute(&self.pool).await.expect("the user is new");
    }

    /// A key of somebody's that vestibule did not make.
    pub(crate) async fn add_key(&self, key: &str, user_id: &str) {
        let sql = r#"INSERT INTO "LiteLLM_VerificationToken" (token, key_name, user_id, models)
            VALUES (encode(sha256($1::bytea), 'hex'), 'sk-...', $2, '{}')"#;
        let query = sqlx::query(sql).bind(key.as_bytes()).bind(user_id);
        query.execute(&self.pool).await.expect("the key is new");
    }
}

async fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(2).connect(url).await.expect("the test's database answers")
}
