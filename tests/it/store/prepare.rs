//! Readiness: our own tables, LiteLLM's, and the rights on both.

use vestibule::litellm::role::Role;
use vestibule::store::{Store, StoreError};

use super::{OTHER_SECRET, Settings, person, ready, terms, viewer};
use crate::support::postgres::TestDatabase;

/// The least rights, as the module's documentation gives them.
pub(super) const LEAST: &str = r#"
GRANT USAGE ON SCHEMA public, vestibule TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA vestibule TO {role};
GRANT SELECT (user_id, sso_user_id, user_email, user_alias, user_role, metadata),
      INSERT (user_id, sso_user_id, user_email, user_alias, user_role, models, teams, metadata, max_budget, budget_duration,
              budget_reset_at, tpm_limit, rpm_limit, created_at, updated_at),
      UPDATE (sso_user_id, user_email, user_alias, user_role, metadata, models, max_budget, budget_duration, budget_reset_at,
              tpm_limit, rpm_limit, updated_at) ON "LiteLLM_UserTable" TO {role};
GRANT SELECT (token, user_id, expires, blocked, metadata), DELETE, UPDATE (expires, blocked, updated_at),
      INSERT (token, key_name, key_alias, user_id, team_id, models, expires, metadata, max_budget, created_at, updated_at, created_by)
      ON "LiteLLM_VerificationToken" TO {role};
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
"#;

fn not_ready(outcome: Result<(), StoreError>) -> String {
    match outcome {
        Err(StoreError::NotReady(words)) => words,
        other => panic!("not `NotReady`: {other:?}"),
    }
}

#[tokio::test]
async fn three_at_once_migrate_once() {
    let database = TestDatabase::fresh().await;
    let settings = Settings::new(database.url());
    let (a, b, c) = (settings.connect(), settings.connect(), settings.connect());
    let (a, b, c) = tokio::join!(a.prepare(), b.prepare(), c.prepare());
    assert!(a.is_ok() && b.is_ok() && c.is_ok(), "{a:?} {b:?} {c:?}");
    assert_eq!(database.one::<i64>("SELECT count(*) FROM vestibule._migrations").await, 3);
    settings.connect().prepare().await.unwrap();
}

#[tokio::test]
async fn tables_of_the_first_version_are_brought_to_this_one_with_what_is_in_them() {
    let database = TestDatabase::fresh().await;
    let first = include_str!("../../../src/store/migrations/0001_accounts.sql").replace("{schema}", "vestibule");
    database
        .run(&format!(
            "CREATE SCHEMA vestibule; CREATE TABLE vestibule._migrations (version int PRIMARY KEY, at timestamptz NOT NULL \
             DEFAULT now()); {first} INSERT INTO vestibule._migrations (version) VALUES (1); \
             INSERT INTO vestibule.account (id, issuer, subject, user_id, blocked_at) VALUES ('a', 'default', 'alice', 'alice', now()); \
             INSERT INTO vestibule.audit (account_id, event) VALUES ('a', 'created')"
        ))
        .await;
    let store = Settings::new(database.url()).connect();
    store.prepare().await.unwrap();
    assert_eq!(database.one::<i64>("SELECT count(*) FROM vestibule._migrations").await, 3);
    assert_eq!(database.one::<String>("SELECT actor FROM vestibule.audit").await, "vestibule");
    let refused = super::refused(store.open(&person("alice"), &viewer()).await);
    assert!(matches!(refused, StoreError::Blocked { .. }), "{refused:?}");
}

#[tokio::test]
async fn nothing_of_ours_is_in_litellms_schema() {
    let objects = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let database = TestDatabase::fresh().await;
    let before: i64 = database.one(objects).await;
    Settings::new(database.url()).connect().prepare().await.unwrap();
    assert_eq!(database.one::<i64>(objects).await, before);
    let triggers: i64 =
        database.one("SELECT count(*) FROM pg_trigger WHERE tgrelid::regclass::text LIKE '%LiteLLM%'").await;
    assert_eq!(triggers, 0);
}

#[tokio::test]
async fn a_role_with_the_least_rights_does_everything() {
    let (database, mut settings) = ready().await;
    settings.litellm.database_url = database.url_as_role(LEAST).await.into();
    let store = settings.connect();
    store.prepare().await.unwrap();
    store.open(&person("alice"), &terms(Role::ProxyAdmin)).await.unwrap();
    // A change of everything that can change, a renewal, an end, a remake and a sweep.
    database.run("UPDATE \"LiteLLM_UserTable\" SET sso_user_id = NULL, user_alias = NULL").await;
    database.run("UPDATE vestibule.session SET expires_at = now() + interval '1 min'").await;
    let mut alice = person("alice");
    alice.email = Some("other@example.com".to_owned());
    let mut lower = viewer();
    lower.allowance = Some(vestibule::config::Allowance {
        always: true,
        models: Some(vec!["m".to_owned()]),
        max_budget: Some(1.0),
        budget_duration: Some(vestibule::config::BudgetDuration { text: "1d".to_owned(), seconds: 86_400 }),
        tpm_limit: Some(1),
        rpm_limit: Some(1),
    });
    store.open(&alice, &lower).await.unwrap();
    database.run("UPDATE vestibule.session SET created_at = now() - interval '8 days'").await;
    store.open(&alice, &lower).await.unwrap();
    database.run("DELETE FROM \"LiteLLM_UserTable\"; DELETE FROM \"LiteLLM_VerificationToken\"").await;
    store.open(&alice, &lower).await.unwrap();
    database.run("UPDATE vestibule.session SET expires_at = now() - interval '1 min'").await;
    assert!(store.sweep().await.unwrap().sessions >= 1);
    database.run(&super::user_by_hand("bob", None, None, "internal_user")).await;
    super::adopting(&mut settings, &[vestibule::config::AdoptBy::UserId]);
    settings.connect().open(&person("bob"), &viewer()).await.unwrap();
}

#[tokio::test]
async fn a_role_that_may_not_make_tables_is_told_who_may() {
    let database = TestDatabase::fresh().await;
    let mut settings = Settings::new(database.url_as_role("GRANT USAGE ON SCHEMA public TO {role}").await);
    let words = not_ready(settings.connect().prepare().await);
    assert!(words.contains("Start vestibule once as a role that may") && words.contains("GRANT CREATE"), "{words}");
    // The owner makes them; the role is told what it still lacks, one thing after the other.
    settings.litellm.database_url = database.url().into();
    settings.connect().migrate().await.unwrap();
    settings.litellm.database_url = database.url_as_role("").await.into();
    let words = not_ready(settings.connect().prepare().await);
    assert!(words.contains("GRANT USAGE ON SCHEMA \"vestibule\""), "{words}");
    settings.litellm.database_url = database.url_as_role("GRANT USAGE ON SCHEMA vestibule TO {role}").await.into();
    let words = not_ready(settings.connect().prepare().await);
    assert!(words.contains("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES"), "{words}");
    let own = "GRANT ALL ON ALL TABLES IN SCHEMA vestibule TO {role}";
    settings.litellm.database_url = database.url_as_role(own).await.into();
    let words = not_ready(settings.connect().prepare().await);
    assert!(words.contains("GRANT SELECT (user_id) ON \"public\".\"LiteLLM_UserTable\""), "{words}");
    settings.litellm.database_url = database.url_as_role(LEAST).await.into();
    settings.connect().prepare().await.unwrap();
}

#[tokio::test]
async fn one_missing_right_is_named() {
    let (database, mut settings) = ready().await;
    let url = database.url_as_role(LEAST).await;
    database.url_as_role("REVOKE UPDATE (user_role) ON \"LiteLLM_UserTable\" FROM {role}").await;
    settings.litellm.database_url = url.clone().into();
    let words = not_ready(settings.connect().prepare().await);
    assert!(words.contains("GRANT UPDATE (user_role) ON \"public\".\"LiteLLM_UserTable\" TO"), "{words}");
    database.url_as_role("GRANT UPDATE (user_role) ON \"LiteLLM_UserTable\" TO {role}").await;
    database.url_as_role("REVOKE DELETE ON \"LiteLLM_VerificationToken\" FROM {role}").await;
    let words = not_ready(settings.connect().prepare().await);
    assert!(words.contains("GRANT DELETE ON \"public\".\"LiteLLM_VerificationToken\" TO"), "{words}");
}

#[tokio::test]
async fn litellms_tables_may_come_later() {
    let database = TestDatabase::fresh().await;
    let store = Settings::new(database.url()).connect();
    database.run("ALTER TABLE \"LiteLLM_VerificationToken\" RENAME TO later").await;
    let words = not_ready(store.prepare().await);
    assert!(words.contains("`public.LiteLLM_VerificationToken` is not there"), "{words}");
    database.run("ALTER TABLE later RENAME TO \"LiteLLM_VerificationToken\"").await;
    store.prepare().await.unwrap();
    store.open(&person("alice"), &viewer()).await.unwrap();
}

#[tokio::test]
async fn a_missing_column_is_named() {
    let (database, settings) = ready().await;
    database.run("ALTER TABLE \"LiteLLM_UserTable\" DROP COLUMN sso_user_id").await;
    let words = not_ready(settings.connect().prepare().await);
    assert!(words.contains("`public.LiteLLM_UserTable` has no column `sso_user_id`"), "{words}");
}

#[tokio::test]
async fn both_schemas_may_have_other_names() {
    let database = TestDatabase::fresh().await;
    database.run("ALTER SCHEMA public RENAME TO \"the \"\"Proxy\"").await;
    let mut settings = Settings::new(database.url());
    let words = not_ready(settings.connect().prepare().await);
    assert!(words.contains("no schema `public`"), "{words}");
    settings.litellm.schema = "the \"Proxy".to_owned();
    settings.database.schema = "Our-Own".to_owned();
    let store = settings.connect();
    store.prepare().await.unwrap();
    store.open(&person("alice"), &viewer()).await.unwrap();
    assert_eq!(database.one::<i64>("SELECT count(*) FROM \"Our-Own\".account").await, 1);
}

#[tokio::test]
async fn tables_of_a_newer_vestibule_are_left_alone() {
    for row in ["(version) VALUES (999)", "(version, compatible_from) VALUES (999, 4)"] {
        let (database, settings) = ready().await;
        database.run(&format!("INSERT INTO vestibule._migrations {row}")).await;
        let words = not_ready(settings.connect().prepare().await);
        assert!(words.contains("version 999") && words.contains("newer"), "{words}");
    }
}

#[tokio::test]
async fn in_a_rolling_update_the_older_goes_on_with_newer_tables_that_it_can_work_with() {
    let (database, settings) = ready().await;
    let older = settings.connect();
    older.open(&person("alice"), &viewer()).await.unwrap();
    database
        .run(
            "ALTER TABLE vestibule.account ADD COLUMN of_a_newer_one text; \
             INSERT INTO vestibule._migrations (version, compatible_from) VALUES (4, 3)",
        )
        .await;
    older.prepare().await.unwrap();
    older.open(&person("bob"), &viewer()).await.unwrap();
    older.sweep().await.unwrap();
    // One that starts now, and the commands of the operator, who is on an older machine.
    settings.connect().prepare().await.unwrap();
    let versions = settings.connect().versions().await.unwrap();
    assert_eq!((versions.had, versions.wanted), (4, 3));
    settings.connect().migrate().await.unwrap();
    assert_eq!(database.one::<i64>("SELECT count(*) FROM vestibule._migrations").await, 4);
}

#[tokio::test]
async fn a_living_session_of_an_unknown_secret_is_not_ready_until_it_is_over() {
    let (database, mut settings) = ready().await;
    settings.connect().open(&person("alice"), &viewer()).await.unwrap();
    settings.secrets = OTHER_SECRET.to_owned();
    let outcome = settings.connect().prepare().await;
    assert!(matches!(outcome, Err(StoreError::SecretMismatch(_))), "{outcome:?}");
    database.run("UPDATE vestibule.session SET expires_at = now()").await;
    settings.connect().prepare().await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unavailable_in_time_and_says_why() {
    let mut settings = Settings::new("postgresql://nobody@127.0.0.1:1/nothing".to_owned());
    settings.database.connect_timeout = std::time::Duration::from_millis(200);
    settings.database.statement_timeout = std::time::Duration::from_millis(200);
    let store = settings.connect();
    let Err(StoreError::Unavailable(cause)) = store.prepare().await else { panic!("not `Unavailable`") };
    assert!(!cause.to_string().is_empty());
    let outcome = store.open(&person("alice"), &viewer()).await.map(|opened| opened.user_id);
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
}

#[tokio::test]
async fn an_url_that_cannot_be_read_is_told_without_repeating_it() {
    let settings = Settings::new("mysql://user:hush@host/db".to_owned());
    let words = not_ready(settings.connect().prepare().await);
    assert!(!words.contains("hush"), "{words}");
    let settings = Settings::new("postgresql://user:hush@host:notaport/db".to_owned());
    let words = not_ready(settings.connect().prepare().await);
    assert!(!words.contains("hush") && !words.contains("notaport"), "{words}");
}
