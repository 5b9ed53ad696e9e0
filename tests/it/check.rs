//! `vestibule check`: everything at once, with what to do; and with `--connect` what is around vestibule, left as it was.

use serde_json::Value;

use crate::support::db::TestDb;
use crate::support::operator::{MASTER_KEY, operate};
use crate::support::postgres::TestDatabase;
use crate::support::upstream::{Exchange, Upstream};
use crate::support::vestibule::{Ended, Setup};

/// LiteLLM as it should be, with that dashboard.
async fn litellm(dashboard: &'static str, stranger: (&'static str, &'static str)) -> Upstream {
    Upstream::answering(move |exchange| answer(exchange, dashboard, stranger)).await
}

const FINE: &str = r#"{"proxy_base_url":null,"sso_configured":false}"#;
const UNKNOWN_KEY: (&str, &str) = ("401 Unauthorized", r#"{"error":{"message":"no","type":"token_not_found_in_db"}}"#);

async fn answer(
    exchange: Exchange,
    dashboard: &'static str,
    (status, said): (&'static str, &'static str),
) -> Option<Exchange> {
    let path = exchange.head.line.split(' ').nth(1).unwrap_or_default().to_owned();
    let is_master = exchange.head.value("authorization").is_some_and(|key| key.contains(MASTER_KEY));
    match path.as_str() {
        "/health/liveliness" => exchange.json(r#""I'm alive!""#).await,
        "/health/readiness" => exchange.json(r#"{"status":"healthy","db":"connected"}"#).await,
        "/health/readiness/details" if is_master => exchange.json(r#"{"litellm_version":"1.109.1"}"#).await,
        "/.well-known/litellm-ui-config" => exchange.json(dashboard).await,
        _ => exchange.refuse(status, said).await,
    }
}

/// The findings of `check --json`, as `state about: message`.
pub(crate) fn findings(ended: &Ended) -> Vec<String> {
    let told: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let findings = told["findings"].as_array().expect("a list").iter();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    findings
        .map(|finding| format!("{} {}: {}", text(finding, "state"), text(finding, "about"), text(finding, "message")))
        .collect()
}

/// How many of the findings begin and go on so.
pub(crate) fn count(findings: &[String], start: &str, word: &str) -> usize {
    findings.iter().filter(|finding| finding.starts_with(start) && finding.contains(word)).count()
}

#[tokio::test]
async fn a_sound_configuration_is_a_0_and_nobody_is_asked_for_it() {
    let setup = Setup::new("http://127.0.0.1:1", "postgresql://nobody@127.0.0.1:1/nothing");
    let ended = operate(&setup, &["check"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.starts_with("ok       configuration: nothing is wrong with "), "{}", ended.stdout);
    assert!(ended.stdout.contains("0 problems, 0 warnings. Postgres and LiteLLM were not asked"), "{}", ended.stdout);
}

#[tokio::test]
async fn every_problem_has_its_place_its_line_and_its_remedy_and_is_a_78() {
    let setup = Setup::new("ftp://x", "postgresql://nobody@127.0.0.1:1/nothing")
        .with("acount", "x")
        .with("limits.headers", "many");
    let ended = operate(&setup, &["check", "--connect"]).await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    for words in
        ["did you mean `account`?", "limits.headers", "litellm.url", "^^^", "3 problems", "were not asked: first"]
    {
        assert!(ended.stdout.contains(words), "{words:?} is not in:\n{}", ended.stdout);
    }
    let ended = operate(&setup, &["check", "--json"]).await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    let told: Value = serde_json::from_str(&ended.stdout).expect("one JSON document");
    assert_eq!(told["ok"], false);
    let unknown = told["findings"].as_array().unwrap().iter().find(|finding| finding["key"] == "acount").unwrap();
    assert_eq!((&unknown["state"], &unknown["line"]), (&"problem".into(), &1.into()), "{unknown}");
    assert_eq!(unknown["remedy"], "did you mean `account`?", "{unknown}");
    assert!(unknown["column"].is_u64() && unknown["source"].is_string() && unknown["file"].is_string(), "{unknown}");
}

#[tokio::test]
async fn warnings_fail_a_strict_check_alone() {
    let setup = Setup::new("http://127.0.0.1:1", "postgresql://nobody@127.0.0.1:1/nothing")
        .with("rules", serde_json::json!([]))
        .with("default_role", "deny");
    let ended = operate(&setup, &["check"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("0 problems, 1 warning"), "{}", ended.stdout);
    assert_eq!(operate(&setup, &["check", "--strict"]).await.code, Some(78));
}

#[tokio::test]
async fn what_is_around_is_asked_and_found_as_it_must_be() {
    let (upstream, db) = (litellm(FINE, UNKNOWN_KEY).await, TestDb::fresh().await);
    let setup = Setup::new(&upstream.url, db.url()).with("litellm.master_key", MASTER_KEY);
    let ended = operate(&setup, &["check", "--connect", "--json"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let found = findings(&ended);
    for (state, word) in [
        ("ok postgres", "PostgreSQL"),
        ("ok postgres", "every column and right"),
        ("ok postgres", "the first start of `vestibule serve` makes them"),
        ("ok litellm", "answers at"),
        ("ok litellm", "1.109.1, and takes `litellm.master_key`"),
        ("ok litellm", "has its database"),
        ("ok litellm", "refuses one that nobody has"),
        ("ok litellm", "no `PROXY_BASE_URL`"),
        ("ok litellm", "no native SSO"),
        ("unknown litellm", "cache time"),
    ] {
        assert_eq!(count(&found, state, word), 1, "{state} {word}: {found:#?}");
    }
    assert!(upstream.seen().iter().all(|seen| seen.head.line.starts_with("GET ")), "{:#?}", upstream.seen());
    // Nothing was made, and nothing is different after the tables are there.
    assert_eq!(db.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'vestibule'").await, 0);
    operate(&setup, &["migrate", "--yes"]).await;
    let found = findings(&operate(&setup, &["check", "--connect", "--json"]).await);
    assert_eq!(count(&found, "ok postgres", "own tables in schema `vestibule` are of version"), 1, "{found:#?}");
}

#[tokio::test]
async fn a_litellm_that_believes_headers_or_sends_browsers_past_us_is_a_problem() {
    let db = TestDb::fresh().await;
    let said = r#"{"proxy_base_url":"http://litellm:4000","sso_configured":true,"auto_redirect_to_sso":true}"#;
    let upstream = litellm(said, ("200 OK", "{}")).await;
    let setup = Setup::new(&upstream.url, db.url()).with("public_url", "https://llm.example.com");
    let ended = operate(&setup, &["check", "--connect", "--json"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let found = findings(&ended);
    for (state, word) in [
        ("unknown litellm", "does not tell its version"),
        ("problem litellm", "answers 200 to a key that nobody has"),
        ("problem litellm", "another `PROXY_BASE_URL` than `public_url`: http://litellm:4000"),
        ("warning litellm", "native SSO is configured"),
    ] {
        assert_eq!(count(&found, state, word), 1, "{state} {word}: {found:#?}");
    }
    let headers =
        litellm(FINE, ("401 Unauthorized", r#"{"error":{"message":"Oauth2 config mappings not found"}}"#)).await;
    let found = findings(&operate(&Setup::new(&headers.url, db.url()), &["check", "--connect", "--json"]).await);
    assert_eq!(count(&found, "problem litellm", "`enable_oauth2_proxy_auth` is on"), 1, "{found:#?}");
}

#[tokio::test]
async fn a_master_key_that_is_another_is_a_problem() {
    let (upstream, db) = (litellm(FINE, UNKNOWN_KEY).await, TestDb::fresh().await);
    let setup = Setup::new(&upstream.url, db.url()).with("litellm.master_key", "sk-another-key-of-the-tests");
    let ended = operate(&setup, &["check", "--connect", "--json"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(count(&findings(&ended), "problem litellm", "does not take `litellm.master_key`"), 1, "{ended:?}");
}

#[tokio::test]
async fn every_right_that_is_missing_is_told_as_the_statement_that_gives_it() {
    let (upstream, database) = (litellm(FINE, UNKNOWN_KEY).await, TestDatabase::fresh().await);
    let url = database
        .url_as_role(
            "GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT (user_id) ON \"LiteLLM_UserTable\" TO {role}",
        )
        .await;
    let ended = operate(&Setup::new(&upstream.url, &url), &["check", "--connect"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for words in [
        "GRANT SELECT (sso_user_id, user_email, user_alias, user_role, metadata) ON \"public\".\"LiteLLM_UserTable\" TO",
        "GRANT DELETE ON \"public\".\"LiteLLM_VerificationToken\" TO",
        "this role may not make them",
        "GRANT CREATE ON DATABASE",
    ] {
        assert!(ended.stdout.contains(words), "{words:?} is not in:\n{}", ended.stdout);
    }
    assert!(!ended.stdout.contains("only-a-test"), "{}", ended.stdout);
    database.run("ALTER TABLE \"LiteLLM_UserTable\" RENAME TO elsewhere").await;
    let ended = operate(&Setup::new(&upstream.url, &database.url()), &["check", "--connect"]).await;
    assert_eq!(ended.stdout.matches("`public.LiteLLM_UserTable` is not there").count(), 1, "{}", ended.stdout);
}

#[tokio::test]
async fn who_does_not_answer_is_named_with_the_cause() {
    let setup = Setup::new("http://127.0.0.1:1", "postgresql://nobody@127.0.0.1:1/nothing");
    let ended = operate(&setup, &["check", "--connect"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stdout.matches("Connection refused").count(), 2, "{}", ended.stdout);
    let database = TestDatabase::fresh().await;
    let elsewhere = database
        .url()
        .replace(database.one::<String>("SELECT current_database()::text").await.as_str(), "nothing_here");
    let ended = operate(&setup.with("litellm.database_url", elsewhere), &["check", "--connect"]).await;
    assert!(ended.stdout.contains("database \"nothing_here\" does not exist"), "{}", ended.stdout);
}
