//! New people: what is written, how often, and by how many statements.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use vestibule::config::{Allowance, BudgetDuration, Terms};
use vestibule::litellm::role::Role;
use vestibule::store::Store;

use super::{person, ready, viewer};
use crate::support::postgres::relay::Relay;

#[tokio::test]
async fn a_first_sight_makes_user_account_session_and_key() {
    let (database, settings) = ready().await;
    let opened = settings.connect().open(&person("alice"), &viewer()).await.unwrap();
    assert_eq!(opened.user_id, "alice");
    assert_eq!(opened.lowered_ago, None);
    assert!(opened.key.expose().starts_with("sk-"));
    let user: String = database
        .one(
            "SELECT concat_ws(',', user_id, sso_user_id, user_email, user_alias, user_role, models::text, teams::text, \
             metadata->>'auth_provider', metadata ? 'vestibule', spend, max_budget, now() AT TIME ZONE 'UTC' - created_at < '1 min') \
             FROM \"LiteLLM_UserTable\"",
        )
        .await;
    assert_eq!(user, "alice,alice,alice@example.com,alice of the tests,internal_user_viewer,{},{},oauth2-proxy,t,0,t");
    let key: String = database
        .one(
            "SELECT concat_ws(',', token, user_id, models::text, team_id, max_budget, blocked, key_name, key_alias, \
             metadata->'vestibule'->>'session') FROM \"LiteLLM_VerificationToken\"",
        )
        .await;
    let session = &opened.session_id;
    let shown = opened.key.display_name();
    assert_eq!(key, format!("{},alice,{{}},{shown},vestibule-{session},{session}", opened.key.token()));
    let events: String = database.one("SELECT string_agg(event, ',' ORDER BY id) FROM vestibule.audit").await;
    assert_eq!(events, "created,session_made");
}

#[tokio::test]
async fn the_key_is_written_down_nowhere() {
    let (database, settings) = ready().await;
    let opened = settings.connect().open(&person("alice"), &viewer()).await.unwrap();
    let everything: String = database
        .one(
            "SELECT concat((SELECT string_agg(s::text, '') FROM vestibule.session s), \
             (SELECT string_agg(a::text, '') FROM vestibule.account a), (SELECT string_agg(a::text, '') FROM vestibule.audit a), \
             (SELECT string_agg(k::text, '') FROM \"LiteLLM_VerificationToken\" k), \
             (SELECT string_agg(u::text, '') FROM \"LiteLLM_UserTable\" u))",
        )
        .await;
    assert!(everything.contains(&opened.key.token()));
    assert!(!everything.contains(opened.key.expose().trim_start_matches("sk-")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_first_requests_of_one_person_make_one_of_each() {
    let (database, settings) = ready().await;
    let replicas = [Arc::new(settings.connect()), Arc::new(settings.connect())];
    let barrier = Arc::new(Barrier::new(1000));
    let mut tasks = JoinSet::new();
    for at in 0..1000 {
        let (replica, barrier) = (Arc::clone(&replicas[at % 2]), Arc::clone(&barrier));
        tasks.spawn(async move {
            barrier.wait().await;
            replica.open(&person("alice"), &viewer()).await.map(|opened| opened.key.token())
        });
    }
    let tokens: HashSet<String> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(tokens.len(), 1);
    let rows: String = database
        .one(
            "SELECT concat_ws(',', (SELECT count(*) FROM \"LiteLLM_UserTable\"), (SELECT count(*) FROM vestibule.account), \
             (SELECT count(*) FROM vestibule.session), (SELECT string_agg(token, '') FROM \"LiteLLM_VerificationToken\"))",
        )
        .await;
    assert_eq!(rows, format!("1,1,1,{}", tokens.iter().next().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_people_at_once_are_a_thousand_rows() {
    let (database, settings) = ready().await;
    let replicas = [Arc::new(settings.connect()), Arc::new(settings.connect())];
    let mut tasks = JoinSet::new();
    for at in 0..1000 {
        let replica = Arc::clone(&replicas[at % 2]);
        tasks.spawn(async move {
            replica.open(&person(&format!("p{at}")), &viewer()).await.map(|opened| opened.key.token())
        });
    }
    let tokens: HashSet<String> = tasks.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(tokens.len(), 1000);
    let pairs: i64 = database
        .one(
            "SELECT count(DISTINCT u.user_id) FROM \"LiteLLM_UserTable\" u JOIN \"LiteLLM_VerificationToken\" k \
             ON k.user_id = u.user_id JOIN vestibule.account a ON a.user_id = u.user_id \
             JOIN vestibule.session s ON s.account_id = a.id AND s.token = k.token",
        )
        .await;
    assert_eq!(pairs, 1000);
}

#[tokio::test]
async fn a_known_person_costs_no_write_and_no_row_lock() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    let first = store.open(&person("alice"), &viewer()).await.unwrap();
    // A tuple's xmin changes when it is written, its xmax when it is locked.
    let tuples = "SELECT string_agg(t, ';' ORDER BY t) FROM (\
         SELECT 'a' || concat_ws(',', ctid, xmin, xmax) AS t FROM vestibule.account UNION ALL \
         SELECT 's' || concat_ws(',', ctid, xmin, xmax) FROM vestibule.session UNION ALL \
         SELECT 'l' || concat_ws(',', ctid, xmin, xmax) FROM vestibule.audit UNION ALL \
         SELECT 'u' || concat_ws(',', ctid, xmin, xmax) FROM \"LiteLLM_UserTable\" UNION ALL \
         SELECT 'k' || concat_ws(',', ctid, xmin, xmax) FROM \"LiteLLM_VerificationToken\") t";
    let before: String = database.one(tuples).await;
    for _ in 0..3 {
        let again = store.open(&person("alice"), &viewer()).await.unwrap();
        assert_eq!(again.key.token(), first.key.token());
        assert_eq!(again.session_id, first.session_id);
    }
    assert_eq!(database.one::<String>(tuples).await, before);
}

#[tokio::test]
async fn statements_of_a_first_sight_and_of_a_known_person_are_few() {
    let (database, mut settings) = ready().await;
    let relay = Relay::before(&database).await;
    settings.litellm.database_url = relay.url(&database).into();
    let store = settings.connect();
    let mark = relay.statements();
    store.open(&person("alice"), &viewer()).await.unwrap();
    let first: Vec<String> = relay.statements().split_off(mark.len());
    let mark = relay.statements();
    store.open(&person("alice"), &viewer()).await.unwrap();
    let warm: Vec<String> = relay.statements().split_off(mark.len());
    let names = |statements: &[String]| -> Vec<String> {
        statements.iter().map(|text| text.split_whitespace().next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names(&warm), ["BEGIN", "SET", "SET", "SELECT", "COMMIT"], "{warm:#?}");
    // The read that found nothing, then the transaction: lock, account, whose row, user + account + audit, session + key.
    assert_eq!(
        names(&first),
        [
            "BEGIN", "SET", "SET", "SELECT", "COMMIT", "BEGIN", "SET", "SET", "SELECT", "SELECT", "SELECT", "WITH",
            "WITH", "COMMIT"
        ],
        "{first:#?}"
    );
    assert!(relay.statement_names().is_empty(), "PgBouncer knows no named statement: {:?}", relay.statement_names());
}

#[tokio::test]
async fn an_address_that_mail_libraries_refuse_is_taken_as_it_is() {
    let (database, settings) = ready().await;
    let mut alice = person("alice");
    alice.email = Some("alice@corp.local".to_owned());
    settings.connect().open(&alice, &viewer()).await.unwrap();
    assert_eq!(database.one::<String>("SELECT user_email FROM \"LiteLLM_UserTable\"").await, "alice@corp.local");
}

#[tokio::test]
async fn hostile_text_is_only_text() {
    let (database, settings) = ready().await;
    let mut bobby = person("bobby");
    bobby.subject = "x'; DROP TABLE \"LiteLLM_UserTable\"; -- $1 {schema} \\u0041 \"".trim().to_owned();
    bobby.display_name = Some("\\\"},{\"user_role\":\"proxy_admin\"".to_owned());
    let opened = settings.connect().open(&bobby, &viewer()).await.unwrap();
    assert_eq!(opened.user_id, bobby.subject);
    let row: (String, String, String) =
        sqlx::query_as("SELECT user_id, user_alias, user_role FROM \"LiteLLM_UserTable\"")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert_eq!(row, (bobby.subject, bobby.display_name.unwrap(), "internal_user_viewer".to_owned()));
}

fn allowance(always: bool, max_budget: f64) -> Terms {
    Terms {
        role: Role::InternalUser,
        allowance: Some(Allowance {
            always,
            models: Some(vec!["gpt-x".to_owned(), "a \"quoted\" one".to_owned()]),
            max_budget: Some(max_budget),
            budget_duration: Some(BudgetDuration { text: "30d".to_owned(), seconds: 30 * 86_400 }),
            tpm_limit: Some(9_000_000_000),
            rpm_limit: None,
        }),
    }
}

const ALLOWANCE: &str = "SELECT concat_ws(',', array_to_string(models, '|'), max_budget, budget_duration, tpm_limit, \
     coalesce(rpm_limit::text, '-'), budget_reset_at - now() AT TIME ZONE 'UTC' BETWEEN '29 days 23 hours' AND '30 days') \
     FROM \"LiteLLM_UserTable\"";

#[tokio::test]
async fn an_allowance_on_creation_is_written_once_and_an_admins_edit_stands() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    store.open(&person("alice"), &allowance(false, 12.5)).await.unwrap();
    assert_eq!(database.one::<String>(ALLOWANCE).await, "gpt-x|a \"quoted\" one,12.5,30d,9000000000,-,t");
    database.run("UPDATE \"LiteLLM_UserTable\" SET max_budget = 99, rpm_limit = 5").await;
    store.open(&person("alice"), &allowance(false, 1.0)).await.unwrap();
    assert_eq!(database.one::<String>(ALLOWANCE).await, "gpt-x|a \"quoted\" one,99,30d,9000000000,5,t");
}

#[tokio::test]
async fn an_allowance_kept_always_follows_the_rule_and_touches_nothing_else() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    store.open(&person("alice"), &allowance(true, 12.5)).await.unwrap();
    database
        .run("UPDATE \"LiteLLM_UserTable\" SET spend = 3.5, rpm_limit = 5, budget_reset_at = '2001-02-03', metadata = '{\"team\":1}'")
        .await;
    store.open(&person("alice"), &allowance(true, 20.0)).await.unwrap();
    let row: String = database
        .one(
            "SELECT concat_ws(',', max_budget, spend, rpm_limit, budget_reset_at, metadata) FROM \"LiteLLM_UserTable\"",
        )
        .await;
    // The duration is the same, so the running period goes on.
    assert_eq!(row, "20,3.5,5,2001-02-03 00:00:00,{\"team\": 1}");
    let mut longer = allowance(true, 20.0);
    longer.allowance.as_mut().unwrap().budget_duration =
        Some(BudgetDuration { text: "60d".to_owned(), seconds: 60 * 86_400 });
    store.open(&person("alice"), &longer).await.unwrap();
    let reset: bool = database
        .one("SELECT budget_reset_at > now() AT TIME ZONE 'UTC' + interval '59 days' FROM \"LiteLLM_UserTable\"")
        .await;
    assert!(reset);
}

#[tokio::test]
async fn a_session_time_zone_other_than_utc_shifts_no_time() {
    let (database, _) = ready().await;
    let tables = vestibule::litellm::tables::Tables::in_schema("public");
    let key = r#"{"token":"t","key_name":"n","key_alias":"a","user_id":"u","metadata":{},"life_seconds":3600}"#;
    let user =
        r#"{"user_id":"u","user_role":"internal_user","metadata":{},"budget_seconds":3600,"budget_duration":"1h"}"#;
    let mut connection = database.pool.acquire().await.unwrap();
    sqlx::raw_sql("SET TIME ZONE 'Pacific/Kiritimati'").execute(&mut *connection).await.unwrap();
    for (statement, row) in [(tables.insert_key("$1"), key), (tables.insert_user("$1"), user)] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).bind(row).execute(&mut *connection).await.unwrap();
    }
    sqlx::raw_sql("SET TIME ZONE 'UTC'").execute(&mut *connection).await.unwrap();
    drop(connection);
    let right: bool = database
        .one(
            "SELECT bool_and(abs(extract(epoch FROM t - now()::timestamp)) < 60) FROM (\
             SELECT expires - interval '1 hour' FROM \"LiteLLM_VerificationToken\" UNION ALL \
             SELECT created_at FROM \"LiteLLM_VerificationToken\" UNION ALL \
             SELECT updated_at FROM \"LiteLLM_UserTable\" UNION ALL SELECT created_at FROM \"LiteLLM_UserTable\" UNION ALL \
             SELECT budget_reset_at - interval '1 hour' FROM \"LiteLLM_UserTable\") AS times(t)",
        )
        .await;
    assert!(right);
}
