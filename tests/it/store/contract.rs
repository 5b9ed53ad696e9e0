//! What every store keeps to, whichever database it is in: one body a claim, run on Postgres with LiteLLM's real
//! tables and on the demo's SQLite.
//!
//! What only Postgres has (rights, migrations, replicas, a database that goes away) is claimed beside this.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use vestibule::config::{Allowance, RoleSync, SessionRules, Terms};
use vestibule::litellm::role::Role;
use vestibule::secret::SessionSecrets;
use vestibule::store::audit::Denial;
use vestibule::store::sqlite::Sqlite;
use vestibule::store::{OpenedSession, Store, StoreError, UserProfile};

use super::{OTHER_SECRET, Settings, issuer, person, refused, terms, viewer};
use crate::support::postgres::TestDatabase;

/// A store, and a hand in its tables beside it.
trait Fixture {
    async fn fresh(change: impl FnOnce(&mut Settings)) -> Self;
    fn store(&self) -> Arc<dyn Store>;
    async fn run(&mut self, statement: &str);
    /// One text that a statement asks for.
    async fn one(&mut self, statement: &str) -> String;
    /// Our own tables' names begin so.
    const OWN: &'static str;
    /// An expression: now, and so many seconds from now, as LiteLLM's columns and as ours hold it.
    fn after(seconds: i64) -> (String, String);
}

struct OnPostgres {
    store: Arc<dyn Store>,
    database: TestDatabase,
}

struct OnSqlite {
    store: Arc<dyn Store>,
    hand: SqliteConnection,
}

impl Fixture for OnPostgres {
    const OWN: &'static str = "vestibule.";

    async fn fresh(change: impl FnOnce(&mut Settings)) -> Self {
        let database = TestDatabase::fresh().await;
        let mut settings = Settings::new(database.url());
        change(&mut settings);
        let store: Arc<dyn Store> = Arc::new(settings.connect());
        store.prepare().await.unwrap();
        Self { store, database }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    async fn run(&mut self, statement: &str) {
        self.database.run(statement).await;
    }

    async fn one(&mut self, statement: &str) -> String {
        self.database.one(statement).await
    }

    fn after(seconds: i64) -> (String, String) {
        let interval = format!("interval '{seconds} seconds'");
        (format!("now() AT TIME ZONE 'UTC' + {interval}"), format!("now() + {interval}"))
    }
}

impl Fixture for OnSqlite {
    const OWN: &'static str = "";

    async fn fresh(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new("postgres://nobody@127.0.0.1:1/unused".to_owned());
        change(&mut settings);
        let session = SessionRules {
            secrets: SessionSecrets::parse(&settings.secrets.clone().into()).unwrap(),
            life: settings.life,
            max_age: settings.max_age,
            offline_grace: std::time::Duration::from_secs(300),
        };
        let store = Sqlite::in_memory(&settings.litellm, &settings.account, &session).await.unwrap();
        store.prepare().await.unwrap();
        let hand = SqliteConnection::connect(store.address()).await.unwrap();
        Self { store: Arc::new(store), hand }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    async fn run(&mut self, statement: &str) {
        let ran = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.hand).await;
        ran.unwrap_or_else(|error| panic!("{error}: {statement}"));
    }

    async fn one(&mut self, statement: &str) -> String {
        let one = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut self.hand).await;
        one.unwrap_or_else(|error| panic!("{error}: {statement}"))
    }

    fn after(seconds: i64) -> (String, String) {
        let at = format!("unixepoch('now', 'subsec') + {seconds}");
        (at.clone(), at)
    }
}

/// Runs each body on both.
macro_rules! on_both {
    ($($name:ident)+) => {
        mod postgres {
            $(#[tokio::test] async fn $name() { super::$name::<super::OnPostgres>().await; })+
        }

        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name::<super::OnSqlite>().await; })+
        }
    };
}

on_both! {
    a_first_sight_makes_one_of_each
    a_known_person_gets_the_same_key_and_nothing_is_written
    the_key_is_in_no_table
    people_who_come_at_once_are_one_row_each
    a_lowered_role_is_told_and_a_raised_one_is_not
    a_role_set_by_hand_is_put_back_or_left_as_the_setting_says
    a_block_holds_wherever_it_was_set_and_is_seen_when_lifted
    a_row_that_vestibule_did_not_make_is_a_conflict_and_nothing_is_written
    two_issuers_subjects_are_two_people
    a_reserved_id_is_refused
    a_deleted_key_or_user_is_made_again
    a_key_near_its_end_is_extended_and_an_old_one_replaced
    a_living_session_of_an_unknown_secret_is_never_minted_over
    an_email_that_another_row_has_stays_away_and_is_told_once
    an_allowance_is_written_on_creation_and_follows_where_it_is_kept
    a_sweep_takes_what_is_over_and_leaves_a_blocked_key
    who_is_turned_away_is_written_once_a_minute
    a_refusal_leaves_nothing_half_made
}

async fn open(fixture: &impl Fixture, person: &UserProfile, terms: &Terms) -> Result<OpenedSession, StoreError> {
    fixture.store().open(person, terms).await
}

/// Rows of users, accounts, sessions and keys.
async fn counts<B: Fixture>(fixture: &mut B) -> String {
    let own = B::OWN;
    let count = |table: String| format!("(SELECT count(*) FROM {table})");
    let tables = [
        "\"LiteLLM_UserTable\"".to_owned(),
        format!("{own}account"),
        format!("{own}session"),
        "\"LiteLLM_VerificationToken\"".to_owned(),
    ];
    let counts = tables.map(count).join(" || ',' || ");
    fixture.one(&format!("SELECT {counts}")).await
}

async fn events<B: Fixture>(fixture: &mut B) -> String {
    let own = B::OWN;
    let ordered =
        format!("SELECT coalesce(string_agg(event, ','), '') FROM (SELECT event FROM {own}audit ORDER BY id) e");
    fixture.one(&ordered).await
}

async fn role(fixture: &mut impl Fixture) -> String {
    fixture.one("SELECT user_role FROM \"LiteLLM_UserTable\"").await
}

/// Makes the one session as old, and as near its end, as a test wants it.
async fn aged<B: Fixture>(fixture: &mut B, age: i64, left: i64) {
    let (key, session) = B::after(left);
    let (_, made) = B::after(-age);
    let own = B::OWN;
    fixture.run(&format!("UPDATE {own}session SET created_at = {made}, expires_at = {session}")).await;
    fixture.run(&format!("UPDATE \"LiteLLM_VerificationToken\" SET expires = {key}")).await;
}

fn near(opened: &OpenedSession, seconds: f64) -> bool {
    (opened.expires_in.as_secs_f64() - seconds).abs() < 60.0
}

async fn a_first_sight_makes_one_of_each<B: Fixture>() {
    let mut fixture = B::fresh(|_| {}).await;
    let opened = open(&fixture, &person("alice"), &viewer()).await.unwrap();
    assert_eq!((opened.user_id.as_str(), opened.lowered_ago), ("alice", None));
    assert!(near(&opened, 86_400.0));
    let user = "SELECT user_id || ',' || sso_user_id || ',' || user_email || ',' || user_alias || ',' || user_role || ',' \
                || (metadata->>'auth_provider') FROM \"LiteLLM_UserTable\"";
    assert_eq!(
        fixture.one(user).await,
        "alice,alice,alice@example.com,alice of the tests,internal_user_viewer,oauth2-proxy"
    );
    let key = "SELECT token || ',' || user_id || ',' || key_name || ',' || key_alias || ',' || created_by \
               FROM \"LiteLLM_VerificationToken\"";
    let (token, shown, session) = (opened.key.token(), opened.key.display_name(), &opened.session_id);
    assert_eq!(fixture.one(key).await, format!("{token},alice,{shown},vestibule-{session},vestibule"));
    assert_eq!(counts(&mut fixture).await, "1,1,1,1");
    assert_eq!(events(&mut fixture).await, "created,session_made");
}

async fn a_known_person_gets_the_same_key_and_nothing_is_written<B: Fixture>() {
    let mut fixture = B::fresh(|_| {}).await;
    let first = open(&fixture, &person("alice"), &viewer()).await.unwrap();
    let again = open(&fixture, &person("alice"), &viewer()).await.unwrap();
    assert_eq!(first.key.expose(), again.key.expose());
    assert_eq!((first.session_id, first.account_id), (again.session_id, again.account_id));
    assert_eq!(counts(&mut fixture).await, "1,1,1,1");
    assert_eq!(events(&mut fixture).await, "created,session_made");
}

async fn the_key_is_in_no_table<B: Fixture>() {
    let mut fixture = B::fresh(|_| {}).await;
    let opened = open(&fixture, &person("alice"), &viewer()).await.unwrap();
    let own = B::OWN;
    let key = opened.key.expose();
    let found = format!(
        "SELECT ((SELECT count(*) FROM \"LiteLLM_VerificationToken\" WHERE token || key_name || key_alias || CAST(metadata AS text) LIKE '%{key}%') \
         + (SELECT count(*) FROM {own}audit WHERE CAST(detail AS text) || event LIKE '%{key}%') \
         + (SELECT count(*) FROM {own}session WHERE id || secret_id || token LIKE '%{key}%')) || ''"
    );
    assert_eq!(fixture.one(&found).await, "0");
    assert_eq!(opened.key.token(), vestibule::secret::token(key));
}

async fn people_who_come_at_once_are_one_row_each<B: Fixture>() {
    let mut fixture = B::fresh(|_| {}).await;
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..60 {
        let store = fixture.store();
        tasks.spawn(async move {
            let name = format!("p{}", at % 3);
            store.open(&person(&name), &viewer()).await.map(|opened| opened.key.token())
        });
    }
    let tokens: BTreeSet<String> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(tokens.len(), 3);
    assert_eq!(counts(&mut fixture).await, "3,3,3,3");
}

async fn a_lowered_role_is_told_and_a_raised_one_is_not<B: Fixture>() {
    let mut fixture = B::fresh(|_| {}).await;
    open(&fixture, &person("alice"), &viewer()).await.unwrap();
    let raised = open(&fixture, &person("alice"), &terms(Role::ProxyAdmin)).await.unwrap();
    assert_eq!((raised.lowered_ago, role(&mut fixture).await.as_str()), (None, "proxy_admin"));
    let lowered = open(&fixture, &person("alice"), &viewer()).await.unwrap();
    assert!(lowered.lowered_ago.is_some_and(|ago| ago.as_secs() < 60));
    assert_eq!(role(&mut fixture).await, "internal_user_viewer");
    // It stays told, also after a raise: LiteLLM may still hold the role from before the lowering.
    let again = open(&fixture, &person("alice"), &terms(Role::InternalUser)).await.unwrap();
    assert!(again.lowered_ago.is_some());
    assert_eq!(again.key.token(), raised.key.token());
    let (_, long_ago) = B::after(-3600);
    fixture.run(&format!("UPDATE {}account SET lowered_at = {long_ago}", B::OWN)).await;
    assert_eq!(open(&fixture, &person("alice"), &terms(Role::InternalUser)).await.unwrap().lowered_ago, None);
    assert_eq!(events(&mut fixture).await, "created,session_made,role_changed,role_changed,role_changed");
}

async fn a_role_set_by_hand_is_put_back_or_left_as_the_setting_says<B: Fixture>() {
    for (role_sync, kept) in [
        (RoleSync::Always, "internal_user_viewer"),
        (RoleSync::OnChange, "proxy_admin"),
        (RoleSync::Create, "proxy_admin"),
    ] {
        let mut fixture = B::fresh(|settings| settings.account.role_sync = role_sync).await;
        open(&fixture, &person("alice"), &viewer()).await.unwrap();
        fixture.run("UPDATE \"LiteLLM_UserTable\" SET user_role = 'proxy_admin'").await;
        let again = open(&fixture, &person("alice"), &viewer()).await.unwrap();
        assert_eq!(role(&mut fixture).await, kept, "{role_sync:?}");
        assert_eq!(again.lowered_ago.is_some(), role_sync == RoleSync::Always);
        let undone = events(&mut fixture).await.ends_with("role_undone");
        assert_eq!(undone, role_sync == RoleSync::Always);
    }
}

async fn a_block_holds_wherever_it_was_set_and_is_seen_when_lifted<B: Fixture>() {
    let (_, now) = B::after(0);
    let own = B::OWN;
    let by_account =
        (format!("UPDATE {own}account SET blocked_at = {now}"), format!("UPDATE {own}account SET blocked_at = NULL"));
    let key = |to: &str| format!("UPDATE \"LiteLLM_VerificationToken\" SET blocked = {to}");
    let person_off = |to: &str| format!("UPDATE \"LiteLLM_UserTable\" SET metadata = '{{\"scim_active\": {to}}}'");
    for (set, lift) in [by_account, (key("true"), key("false")), (person_off("false"), person_off("true"))] {
        let mut fixture = B::fresh(|_| {}).await;
        let first = open(&fixture, &person("alice"), &viewer()).await.unwrap();
        fixture.run(&set).await;
        for terms in [viewer(), terms(Role::ProxyAdmin)] {
            let error = refused(open(&fixture, &person("alice"), &terms).await);
            assert!(matches!(&error, StoreError::Blocked { user_id } if user_id == "alice"), "{set}: {error:?}");
        }
        assert_eq!(role(&mut fixture).await, "internal_user_viewer");
        fixture.run(&lift).await;
        assert_eq!(open(&fixture, &person("alice"), &viewer()).await.unwrap().session_id, first.session_id);
    }
}

async fn a_row_that_vestibule_did_not_make_is_a_conflict_and_nothing_is_written<B: Fixture>() {
    for (columns, values, by) in [
        ("user_id", "'bob'", "user_id"),
        ("user_id, sso_user_id", "'1', 'bob'", "sso_user_id"),
        ("user_id, user_email", "'2', 'Bob@Example.com'", "user_email"),
    ] {
        let mut fixture = B::fresh(|_| {}).await;
        fixture
            .run(&format!(
                "INSERT INTO \"LiteLLM_UserTable\" ({columns}, user_role, metadata) VALUES ({values}, 'proxy_admin', '{{}}')"
            ))
            .await;
        let error = refused(open(&fixture, &person("bob"), &viewer()).await);
        assert!(matches!(&error, StoreError::Conflict { found_by, .. } if *found_by == by), "{error:?}");
        assert_eq!(counts(&mut fixture).await, "1,0,0,0");
        assert_eq!((role(&mut fixture).await.as_str(), events(&mut fixture).await.as_str()), ("proxy_admin", ""));
    }
}

async fn two_issuers_subjects_are_two_people<B: Fixture>() {
    let mut fixture = B::fresh(|_| {}).await;
    let one = open(&fixture, &person("alice"), &viewer()).await.unwrap();
    let mut other = person("alice");
    (other.issuer, other.email) = (issuer("elsewhere"), None);
    let two = open(&fixture, &other, &viewer()).await.unwrap();
    assert_eq!(one.user_id, "alice");
    assert_eq!(two.user_id, format!("alice~{}", two.account_id));
    assert_ne!(one.key.token(), two.key.token());
    assert_eq!(counts(&mut fixture).await, "2,2,2,2");
}

async fn a_reserved_id_is_refused<B: Fixture>() {
    let mut fixture = B::fresh(|settings| settings.litellm.proxy_admin_id = Some("root".to_owned())).await;
    for id in ["default_user_id", "LiteLLM-x", "Root"] {
        let error = refused(open(&fixture, &person(id), &viewer()).await);
        assert!(matches!(error, StoreError::ReservedId(_)), "{error:?}");
    }
    assert_eq!(counts(&mut fixture).await, "0,0,0,0");
}

async fn a_deleted_key_or_user_is_made_again<B: Fixture>() {
    let mut fixture = B::fresh(|_| {}).await;
    let first = open(&fixture, &person("alice"), &viewer()).await.unwrap();
    fixture.run("DELETE FROM \"LiteLLM_VerificationToken\"").await;
    let second = open(&fixture, &person("alice"), &viewer()).await.unwrap();
    assert_ne!(first.key.token(), second.key.token());
    fixture.run("DELETE FROM \"LiteLLM_UserTable\"").await;
    let third = open(&fixture, &person("alice"), &terms(Role::InternalUserViewer)).await.unwrap();
    assert_eq!((third.user_id.as_str(), third.key.token()), ("alice", second.key.token()));
    assert_eq!(counts(&mut fixture).await, "1,1,1,1");
    assert_eq!(events(&mut fixture).await, "created,session_made,session_made,remade");
}

async fn a_key_near_its_end_is_extended_and_an_old_one_replaced<B: Fixture>() {
    let mut fixture = B::fresh(|_| {}).await;
    let first = open(&fixture, &person("alice"), &viewer()).await.unwrap();
    aged(&mut fixture, 17 * 3600, 7 * 3600).await;
    assert!(near(&open(&fixture, &person("alice"), &viewer()).await.unwrap(), 7.0 * 3600.0));
    aged(&mut fixture, 19 * 3600, 5 * 3600).await;
    let renewed = open(&fixture, &person("alice"), &viewer()).await.unwrap();
    assert_eq!(renewed.key.token(), first.key.token());
    assert!(near(&renewed, 86_400.0));
    aged(&mut fixture, 8 * 86_400, 3600).await;
    let rotated = open(&fixture, &person("alice"), &viewer()).await.unwrap();
    assert_ne!(rotated.key.token(), first.key.token());
    // The old one is honoured for the grace.
    assert_eq!(counts(&mut fixture).await, "1,1,2,2");
    aged(&mut fixture, 2 * 86_400, -3600).await;
    let after = open(&fixture, &person("alice"), &viewer()).await.unwrap();
    assert_ne!(after.key.token(), rotated.key.token());
    assert_eq!(events(&mut fixture).await, "created,session_made,session_renewed,session_made,session_made");
}

async fn a_living_session_of_an_unknown_secret_is_never_minted_over<B: Fixture>() {
    let mut fixture = B::fresh(|_| {}).await;
    open(&fixture, &person("alice"), &viewer()).await.unwrap();
    let stranger = SessionSecrets::parse(&OTHER_SECRET.to_owned().into()).unwrap().current().as_str().to_owned();
    fixture.run(&format!("UPDATE {}session SET secret_id = '{stranger}'", B::OWN)).await;
    let error = refused(open(&fixture, &person("alice"), &viewer()).await);
    assert!(matches!(&error, StoreError::SecretMismatch(id) if *id == stranger), "{error:?}");
    assert_eq!(counts(&mut fixture).await, "1,1,1,1");
}

async fn an_email_that_another_row_has_stays_away_and_is_told_once<B: Fixture>() {
    let mut fixture = B::fresh(|_| {}).await;
    open(&fixture, &person("alice"), &viewer()).await.unwrap();
    open(&fixture, &person("bob"), &viewer()).await.unwrap();
    let mut alice = person("alice");
    alice.email = Some("bob@example.com".to_owned());
    for _ in 0..2 {
        open(&fixture, &alice, &viewer()).await.unwrap();
    }
    let email = "SELECT user_email FROM \"LiteLLM_UserTable\" WHERE user_id = 'alice'";
    assert_eq!(fixture.one(email).await, "alice@example.com");
    assert!(events(&mut fixture).await.ends_with("session_made,email_refused"));
    alice.email = Some("alice@elsewhere.example".to_owned());
    open(&fixture, &alice, &viewer()).await.unwrap();
    assert_eq!(fixture.one(email).await, "alice@elsewhere.example");
}

async fn an_allowance_is_written_on_creation_and_follows_where_it_is_kept<B: Fixture>() {
    for (always, kept) in [(false, "7.5/30d"), (true, "20.5/30d")] {
        let allowance = |max_budget| Terms {
            role: Role::InternalUser,
            allowance: Some(Allowance {
                always,
                max_budget: Some(max_budget),
                budget_duration: Some(vestibule::config::BudgetDuration {
                    text: "30d".to_owned(),
                    seconds: 30 * 86_400,
                }),
                ..Allowance::default()
            }),
        };
        let mut fixture = B::fresh(|_| {}).await;
        open(&fixture, &person("alice"), &allowance(12.5)).await.unwrap();
        let budget = "SELECT max_budget || '/' || budget_duration FROM \"LiteLLM_UserTable\"";
        assert_eq!(fixture.one(budget).await, "12.5/30d");
        fixture.run("UPDATE \"LiteLLM_UserTable\" SET max_budget = 7.5").await;
        open(&fixture, &person("alice"), &allowance(20.5)).await.unwrap();
        assert_eq!(fixture.one(budget).await, kept);
    }
}

async fn a_sweep_takes_what_is_over_and_leaves_a_blocked_key<B: Fixture>() {
    let mut fixture = B::fresh(|_| {}).await;
    open(&fixture, &person("alice"), &viewer()).await.unwrap();
    assert_eq!(fixture.store().sweep().await.unwrap().sessions, 0);
    aged(&mut fixture, 2 * 86_400, -3600).await;
    fixture.run("UPDATE \"LiteLLM_VerificationToken\" SET blocked = true").await;
    assert_eq!(fixture.store().sweep().await.unwrap().sessions, 0);
    fixture.run("UPDATE \"LiteLLM_VerificationToken\" SET blocked = false").await;
    assert_eq!(fixture.store().sweep().await.unwrap().sessions, 1);
    assert_eq!(counts(&mut fixture).await, "1,1,0,0");
}

async fn who_is_turned_away_is_written_once_a_minute<B: Fixture>() {
    let mut fixture = B::fresh(|_| {}).await;
    let away = |code| Denial { issuer: "default".to_owned(), subject: "mallory's \"x\"".to_owned(), code };
    for _ in 0..2 {
        fixture.store().record_denials(&[away("no_role"), away("not_admitted")]).await.unwrap();
    }
    assert_eq!(events(&mut fixture).await, "refused,refused");
    let own = B::OWN;
    let subject = format!("SELECT detail->>'subject' FROM {own}audit ORDER BY id LIMIT 1");
    assert_eq!(fixture.one(&subject).await, "mallory's \"x\"");
    let (_, before) = B::after(-61);
    fixture.run(&format!("UPDATE {own}audit SET at = {before}")).await;
    fixture.store().record_denials(&[away("no_role")]).await.unwrap();
    assert_eq!(events(&mut fixture).await, "refused,refused,refused");
}

async fn a_refusal_leaves_nothing_half_made<B: Fixture>() {
    let mut fixture = B::fresh(|_| {}).await;
    open(&fixture, &person("alice"), &viewer()).await.unwrap();
    // The last statements of a first sight can't be done.
    let own = B::OWN;
    fixture.run(&format!("ALTER TABLE {own}audit RENAME TO hidden")).await;
    let error = refused(open(&fixture, &person("bob"), &viewer()).await);
    assert!(matches!(error, StoreError::Unavailable(_) | StoreError::NotReady(_)), "{error:?}");
    assert_eq!(counts(&mut fixture).await, "1,1,1,1");
    fixture.run(&format!("ALTER TABLE {own}hidden RENAME TO audit")).await;
    open(&fixture, &person("bob"), &viewer()).await.unwrap();
    assert_eq!(counts(&mut fixture).await, "2,2,2,2");
}
