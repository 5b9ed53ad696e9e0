//! Session keys: renewal, replacement, secrets, and the sweep.

use std::time::Duration;

use vestibule::store::{Store, StoreError};

use super::{OTHER_SECRET, SECRET, person, ready, refused, viewer};

/// Makes the one session as old, and as near its end, as a test wants it.
fn aged(age: &str, left: &str) -> String {
    format!(
        "UPDATE vestibule.session SET created_at = now() - interval '{age}', expires_at = now() + interval '{left}'; \
         UPDATE \"LiteLLM_VerificationToken\" SET expires = now() AT TIME ZONE 'UTC' + interval '{left}'"
    )
}

/// Seconds left of session and key, and whether they are the same.
const LEFT: &str = "SELECT extract(epoch FROM s.expires_at - now())::float8 FROM vestibule.session s \
     JOIN \"LiteLLM_VerificationToken\" k ON k.token = s.token \
     AND abs(extract(epoch FROM (s.expires_at AT TIME ZONE 'UTC') - k.expires)) < 0.01 WHERE s.current";

fn near(seconds: f64, wanted: f64) -> bool {
    seconds <= wanted + 1.0 && seconds > wanted - 60.0
}

#[tokio::test]
async fn a_key_lives_its_life_and_is_the_same_until_the_renewal_window() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    let first = store.open(&person("alice"), &viewer()).await.unwrap();
    assert_eq!(first.expires_in, Duration::from_secs(86_400));
    assert!(near(database.one(LEFT).await, 86_400.0));
    // A quarter of a day is the window.
    database.run(&aged("17 hours", "7 hours")).await;
    let same = store.open(&person("alice"), &viewer()).await.unwrap();
    assert_eq!(same.key.token(), first.key.token());
    assert!(near(same.expires_in.as_secs_f64(), 7.0 * 3600.0));
}

#[tokio::test]
async fn renewal_extends_the_same_row_so_that_spend_stays_in_one_place() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    let first = store.open(&person("alice"), &viewer()).await.unwrap();
    database.run(&aged("19 hours", "5 hours")).await;
    database.run("UPDATE \"LiteLLM_VerificationToken\" SET spend = 4.5").await;
    let renewed = settings.connect().open(&person("alice"), &viewer()).await.unwrap();
    assert_eq!(renewed.key.token(), first.key.token());
    assert_eq!(renewed.expires_in, Duration::from_secs(86_400));
    assert!(near(database.one(LEFT).await, 86_400.0));
    assert!((database.one::<f64>("SELECT sum(spend) FROM \"LiteLLM_VerificationToken\"").await - 4.5).abs() < 1e-9);
}

#[tokio::test]
async fn renewal_never_goes_past_the_greatest_age() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    store.open(&person("alice"), &viewer()).await.unwrap();
    database.run(&aged("6 days 14 hours", "1 hour")).await;
    let renewed = store.open(&person("alice"), &viewer()).await.unwrap();
    assert!(near(renewed.expires_in.as_secs_f64(), 10.0 * 3600.0), "{:?}", renewed.expires_in);
    assert!(near(database.one(LEFT).await, 10.0 * 3600.0));
}

#[tokio::test]
async fn at_the_greatest_age_a_new_key_is_made_and_the_old_one_lives_on_for_the_grace() {
    for age in ["6 days 20 hours", "8 days"] {
        let (database, settings) = ready().await;
        let store = settings.connect();
        let first = store.open(&person("alice"), &viewer()).await.unwrap();
        database.run(&aged(age, "4 hours")).await;
        let second = store.open(&person("alice"), &viewer()).await.unwrap();
        assert_ne!(second.key.token(), first.key.token());
        assert_eq!(second.expires_in, Duration::from_secs(86_400));
        // 2 × (30 s refresh + 60 s of LiteLLM's cache).
        let old: f64 = database
            .one(&format!(
                "SELECT extract(epoch FROM k.expires - now() AT TIME ZONE 'UTC')::float8 FROM \"LiteLLM_VerificationToken\" k \
                 JOIN vestibule.session s ON s.token = k.token AND NOT s.current AND s.retire_at = s.expires_at \
                 WHERE k.token = '{}'",
                first.key.token()
            ))
            .await;
        assert!(near(old, 180.0), "{old}");
        assert_eq!(store.sweep().await.unwrap().sessions, 0);
        database.run("UPDATE vestibule.session SET expires_at = now() - interval '1 s' WHERE NOT current").await;
        assert_eq!(store.sweep().await.unwrap().sessions, 1);
        let left: String = database.one("SELECT string_agg(token, ',') FROM \"LiteLLM_VerificationToken\"").await;
        assert_eq!(left, second.key.token());
    }
}

#[tokio::test]
async fn a_life_of_ten_seconds_is_not_all_renewals() {
    let (database, mut settings) = ready().await;
    settings.life = Duration::from_secs(10);
    settings.max_age = Duration::from_secs(3600);
    let store = settings.connect();
    let first = store.open(&person("alice"), &viewer()).await.unwrap();
    assert_eq!(first.expires_in, Duration::from_secs(10));
    let xmin = "SELECT xmin::text FROM vestibule.session";
    let before: String = database.one(xmin).await;
    database.run(&aged("1 s", "9 s")).await;
    let aged_row: String = database.one(xmin).await;
    assert_ne!(before, aged_row);
    store.open(&person("alice"), &viewer()).await.unwrap();
    assert_eq!(database.one::<String>(xmin).await, aged_row);
    database.run(&aged("6 s", "4 s")).await;
    let renewed = store.open(&person("alice"), &viewer()).await.unwrap();
    assert_eq!((renewed.key.token(), renewed.expires_in), (first.key.token(), Duration::from_secs(10)));
}

#[tokio::test]
async fn a_hundred_renewals_at_once_are_one() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    store.open(&person("alice"), &viewer()).await.unwrap();
    database.run(&aged("8 days", "1 hour")).await;
    let (alice, terms) = (person("alice"), viewer());
    let mut opens: Vec<_> = (0..100).map(|_| store.open(&alice, &terms)).collect();
    let mut tokens = std::collections::HashSet::new();
    // All are polled at once: a future that waits lets the next one run.
    std::future::poll_fn(|context| {
        opens.retain_mut(|open| match open.as_mut().poll(context) {
            std::task::Poll::Ready(opened) => {
                tokens.insert(opened.unwrap().key.token());
                false
            }
            std::task::Poll::Pending => true,
        });
        if opens.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    assert_eq!(tokens.len(), 1);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM vestibule.session").await, 2);
}

#[tokio::test]
async fn a_retired_secrets_key_is_honoured_and_not_renewed() {
    let (database, mut settings) = ready().await;
    let first = settings.connect().open(&person("alice"), &viewer()).await.unwrap();
    settings.secrets = format!("{OTHER_SECRET}\n{SECRET}");
    let store = settings.connect();
    store.prepare().await.unwrap();
    assert_eq!(store.open(&person("alice"), &viewer()).await.unwrap().key.token(), first.key.token());
    database.run(&aged("19 hours", "5 hours")).await;
    let second = store.open(&person("alice"), &viewer()).await.unwrap();
    assert_ne!(second.key.token(), first.key.token());
    settings.secrets = OTHER_SECRET.to_owned();
    assert_eq!(settings.connect().open(&person("alice"), &viewer()).await.unwrap().key.token(), second.key.token());
}

#[tokio::test]
async fn a_living_session_of_an_unknown_secret_is_never_minted_over() {
    let (database, mut settings) = ready().await;
    let first = settings.connect().open(&person("alice"), &viewer()).await.unwrap();
    settings.secrets = OTHER_SECRET.to_owned();
    let error = refused(settings.connect().open(&person("alice"), &viewer()).await);
    assert!(matches!(error, StoreError::SecretMismatch(_)), "{error:?}");
    let token: String = database.one("SELECT string_agg(token, ',') FROM \"LiteLLM_VerificationToken\"").await;
    assert_eq!(token, first.key.token());
    // A dead one stands in nobody's way.
    database.run(&aged("2 days", "-1 hour")).await;
    assert_ne!(settings.connect().open(&person("alice"), &viewer()).await.unwrap().key.token(), first.key.token());
}

#[tokio::test]
async fn the_same_key_is_made_again_after_a_restart() {
    let (_database, settings) = ready().await;
    let first = settings.connect().open(&person("alice"), &viewer()).await.unwrap();
    let again = settings.connect().open(&person("alice"), &viewer()).await.unwrap();
    assert_eq!(first.key.expose(), again.key.expose());
}

#[tokio::test]
async fn a_sweep_takes_all_that_is_over_and_nothing_of_others() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    let alive = store.open(&person("alice"), &viewer()).await.unwrap();
    // More than one batch of dead sessions with their keys, and keys of others that are just as dead.
    database
        .run(
            "INSERT INTO vestibule.session (id, account_id, kind, nonce, secret_id, token, expires_at, current) \
             SELECT 's' || n, a.id, 'api', '', 'x', 'dead' || n, now() - interval '1 hour', false \
             FROM vestibule.account a, generate_series(1, 1234) n; \
             INSERT INTO \"LiteLLM_VerificationToken\" (token, models, expires, key_alias) \
             SELECT 'dead' || n, '{}', '2001-01-01', 'vestibule-s' || n FROM generate_series(1, 1234) n; \
             INSERT INTO \"LiteLLM_VerificationToken\" (token, models, expires, metadata) VALUES \
             ('hand', '{}', '2001-01-01', '{}'), ('marked', '{}', '2001-01-01', '{\"vestibule\": {\"session\": \"s1\"}}')",
        )
        .await;
    assert_eq!(store.sweep().await.unwrap().sessions, 1234);
    assert_eq!(store.sweep().await.unwrap().sessions, 0);
    let left: String =
        database.one("SELECT string_agg(token, ',' ORDER BY length(token)) FROM \"LiteLLM_VerificationToken\"").await;
    assert_eq!(left, format!("hand,marked,{}", alive.key.token()));
    assert_eq!(store.open(&person("alice"), &viewer()).await.unwrap().key.token(), alive.key.token());
}
