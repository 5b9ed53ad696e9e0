//! Rows deleted, changed or blocked by hand.

use vestibule::litellm::role::Role;
use vestibule::store::{Store, StoreError};

use super::{person, ready, refused, terms, user_by_hand, viewer};

const REASONS: &str = "SELECT coalesce(string_agg(coalesce(detail->>'reason', event), ',' ORDER BY id), '') FROM vestibule.audit \
     WHERE event <> 'created' AND (event <> 'session_made' OR detail ? 'reason')";

fn blocked(error: StoreError) -> String {
    match error {
        StoreError::Blocked { user_id } => user_id,
        other => panic!("not `Blocked`: {other:?}"),
    }
}

#[tokio::test]
async fn a_deleted_user_row_is_made_again_under_the_same_id() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    let first = store.open(&person("alice"), &terms(Role::ProxyAdmin)).await.unwrap();
    database.run("DELETE FROM \"LiteLLM_UserTable\"").await;
    let again = store.open(&person("alice"), &terms(Role::InternalUser)).await.unwrap();
    assert_eq!((again.user_id, again.session_id), (first.user_id, first.session_id));
    // LiteLLM may still hold the administrator in its cache.
    assert!(again.lowered_ago.is_some());
    let row: String = database
        .one("SELECT concat_ws(',', user_id, sso_user_id, user_email, user_role, models::text) FROM \"LiteLLM_UserTable\"")
        .await;
    assert_eq!(row, "alice,alice,alice@example.com,internal_user,{}");
    assert_eq!(database.one::<String>(REASONS).await, "remade");
    assert_eq!(database.one::<String>("SELECT role FROM vestibule.account").await, "internal_user");
}

#[tokio::test]
async fn a_row_made_again_takes_neither_the_email_nor_the_sso_id_of_another() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    let first = store.open(&person("alice"), &viewer()).await.unwrap();
    database.run("DELETE FROM \"LiteLLM_UserTable\"").await;
    database.run(&user_by_hand("thief", Some("alice"), Some("alice@example.com"), "internal_user")).await;
    store.open(&person("alice"), &viewer()).await.unwrap();
    let row: String = database
        .one("SELECT concat_ws(',', coalesce(user_email, '-'), sso_user_id) FROM \"LiteLLM_UserTable\" WHERE user_id = 'alice'")
        .await;
    assert_eq!(row, format!("-,alice~{}", first.account_id));
}

#[tokio::test]
async fn a_deleted_key_row_ends_the_session_and_a_new_one_is_made() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    let first = store.open(&person("alice"), &viewer()).await.unwrap();
    database.run("DELETE FROM \"LiteLLM_VerificationToken\"").await;
    let again = store.open(&person("alice"), &viewer()).await.unwrap();
    assert_ne!(again.key.token(), first.key.token());
    let token: String = database.one("SELECT string_agg(token, ',') FROM \"LiteLLM_VerificationToken\"").await;
    assert_eq!(token, again.key.token());
    assert_eq!(database.one::<i64>("SELECT count(*) FROM vestibule.session").await, 1);
    assert_eq!(database.one::<String>(REASONS).await, "key_deleted");
}

#[tokio::test]
async fn an_expired_or_given_away_key_row_is_replaced() {
    for (change, reason) in [
        ("expires = now() AT TIME ZONE 'UTC' - interval '1 min'", "key_expired"),
        ("user_id = 'eve'", "key_given_away"),
    ] {
        let (database, settings) = ready().await;
        let store = settings.connect();
        let first = store.open(&person("alice"), &viewer()).await.unwrap();
        database.run(&format!("UPDATE \"LiteLLM_VerificationToken\" SET {change}")).await;
        let again = store.open(&person("alice"), &viewer()).await.unwrap();
        assert_ne!(again.key.token(), first.key.token());
        let row: String =
            database.one("SELECT string_agg(token || user_id, ',') FROM \"LiteLLM_VerificationToken\"").await;
        assert_eq!(row, format!("{}alice", again.key.token()));
        assert_eq!(database.one::<String>(REASONS).await, reason);
    }
}

#[tokio::test]
async fn a_session_whose_token_was_changed_is_not_used_and_nobodys_key_is_deleted_for_it() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    let alice = store.open(&person("alice"), &viewer()).await.unwrap();
    database
        .run(
            "INSERT INTO \"LiteLLM_VerificationToken\" (token, user_id, models) VALUES ('an admins key', 'alice', '{}'); \
             UPDATE vestibule.session SET token = 'an admins key'",
        )
        .await;
    let again = store.open(&person("alice"), &viewer()).await.unwrap();
    assert_ne!(again.key.token(), alice.key.token());
    let kept: i64 =
        database.one("SELECT count(*) FROM \"LiteLLM_VerificationToken\" WHERE token = 'an admins key'").await;
    assert_eq!(kept, 1);
    assert_eq!(database.one::<String>(REASONS).await, "token_mismatch");
}

#[tokio::test]
async fn blocks_are_seen_wherever_they_were_set_and_lifted() {
    for (set, lift) in [
        ("UPDATE vestibule.account SET blocked_at = now()", "UPDATE vestibule.account SET blocked_at = NULL"),
        (
            "UPDATE \"LiteLLM_VerificationToken\" SET blocked = true",
            "UPDATE \"LiteLLM_VerificationToken\" SET blocked = false",
        ),
        (
            "UPDATE \"LiteLLM_UserTable\" SET metadata = metadata || '{\"scim_active\": false}'",
            "UPDATE \"LiteLLM_UserTable\" SET metadata = metadata || '{\"scim_active\": true}'",
        ),
    ] {
        let (database, settings) = ready().await;
        let store = settings.connect();
        let first = store.open(&person("alice"), &viewer()).await.unwrap();
        database.run(set).await;
        assert_eq!(blocked(refused(store.open(&person("alice"), &viewer()).await)), "alice", "{set}");
        // A block holds whatever else would have to be written.
        assert_eq!(blocked(refused(store.open(&person("alice"), &terms(Role::ProxyAdmin)).await)), "alice", "{set}");
        let role: String = database.one("SELECT user_role FROM \"LiteLLM_UserTable\"").await;
        assert_eq!(role, "internal_user_viewer");
        database.run(lift).await;
        assert_eq!(store.open(&person("alice"), &viewer()).await.unwrap().session_id, first.session_id);
    }
}

#[tokio::test]
async fn a_blocked_key_stays_a_block_when_its_life_is_over() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    store.open(&person("alice"), &viewer()).await.unwrap();
    database
        .run(
            "UPDATE \"LiteLLM_VerificationToken\" SET blocked = true, expires = '2001-01-01'; \
             UPDATE vestibule.session SET expires_at = now() - interval '1 day'",
        )
        .await;
    assert_eq!(store.sweep().await.unwrap().sessions, 0);
    assert_eq!(blocked(refused(store.open(&person("alice"), &viewer()).await)), "alice");
}

#[tokio::test]
async fn own_fields_only_are_touched() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    store.open(&person("alice"), &viewer()).await.unwrap();
    database
        .run(
            "UPDATE \"LiteLLM_UserTable\" SET spend = 1.5, max_budget = 9, models = '{m}', metadata = '{\"a\": 1}', \
             user_alias = 'Ally', user_role = 'proxy_admin', user_email = 'old@example.com', sso_user_id = NULL, teams = '{t}'",
        )
        .await;
    store.open(&person("alice"), &viewer()).await.unwrap();
    let row: String = database
        .one(
            "SELECT concat_ws(',', spend, max_budget, models::text, metadata, user_alias, user_role, user_email, sso_user_id, \
             teams::text) FROM \"LiteLLM_UserTable\"",
        )
        .await;
    assert_eq!(row, "1.5,9,{m},{\"a\": 1},Ally,internal_user_viewer,alice@example.com,alice,{t}");
    database.run("UPDATE \"LiteLLM_UserTable\" SET user_alias = ''").await;
    store.open(&person("alice"), &viewer()).await.unwrap();
    assert_eq!(database.one::<String>("SELECT user_alias FROM \"LiteLLM_UserTable\"").await, "alice of the tests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_killed_again_and_again_leave_nothing_half_made() {
    let (database, settings) = ready().await;
    let store = std::sync::Arc::new(settings.connect());
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..100 {
        let store = std::sync::Arc::clone(&store);
        tasks.spawn(async move { store.open(&person(&format!("p{at}")), &viewer()).await.map(drop) });
    }
    let mut killed = 0;
    while !tasks.is_empty() {
        killed += database
            .one::<i64>(
                "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'vestibule' AND xact_start IS NOT NULL",
            )
            .await;
        while let Some(done) = tasks.try_join_next() {
            match done.unwrap() {
                // More deaths than tries is an honest answer.
                Ok(()) | Err(StoreError::Unavailable(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        tokio::task::yield_now().await;
    }
    assert!(killed > 0);
    let half: i64 = database
        .one(
            "SELECT count(*) FROM \"LiteLLM_UserTable\" u FULL JOIN vestibule.account a ON a.user_id = u.user_id \
             FULL JOIN vestibule.session s ON s.account_id = a.id FULL JOIN \"LiteLLM_VerificationToken\" k ON k.token = s.token \
             WHERE u.user_id IS NULL OR a.id IS NULL OR s.id IS NULL OR k.token IS NULL",
        )
        .await;
    assert_eq!(half, 0);
    for at in 0..100 {
        store.open(&person(&format!("p{at}")), &viewer()).await.unwrap();
    }
    assert_eq!(database.one::<i64>("SELECT count(*) FROM \"LiteLLM_VerificationToken\"").await, 100);
}
