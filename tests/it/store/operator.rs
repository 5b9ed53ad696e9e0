//! What an operator does to accounts and sessions, and the trail of it.

use std::time::Duration;

use vestibule::litellm::role::Role;
use vestibule::store::admin::{Account, AccountFilter, ChangeOptions, SessionSelector, UserSelector};
use vestibule::store::audit::{AuditFilter, Denial, EventKind};
use vestibule::store::postgres::Postgres;
use vestibule::store::{Store, StoreError};

use super::{person, ready, refused, terms, user_by_hand, viewer};

fn change_options() -> ChangeOptions {
    ChangeOptions { actor: "operator:test@here".to_owned(), dry_run: false, keep_keys: false }
}

async fn account(store: &Postgres, name: &str) -> Account {
    let mut found = store.find(&UserSelector::Name(name.to_owned())).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn wanted(limit: i64) -> AuditFilter {
    AuditFilter { limit, ..AuditFilter::default() }
}

#[tokio::test]
async fn a_role_with_the_least_rights_does_all_that_an_operator_does() {
    let (database, mut settings) = ready().await;
    settings.litellm.database_url = database.url_as_role(super::prepare::LEAST).await.into();
    let store = settings.connect();
    store.open(&person("alice"), &viewer()).await.unwrap();
    database
        .run("INSERT INTO \"LiteLLM_VerificationToken\" (token, user_id, models) VALUES ('own', 'alice', '{}')")
        .await;
    database.run(&user_by_hand("carol", None, None, "proxy_admin")).await;
    for keep_keys in [false, true] {
        let change_options = ChangeOptions { keep_keys, ..change_options() };
        let alice = account(&store, "alice@example.com").await;
        let ended = store.block(&alice, Some("why"), &change_options).await.unwrap().unwrap();
        assert_eq!((ended.sessions.len(), ended.blocked.0.len(), ended.switches_off), (1, 1, true));
        store.remove_ended(&ended.keys).await.unwrap();
        let lifted = store.unblock(&alice, &change_options).await.unwrap().unwrap();
        assert_eq!((lifted.keys, lifted.switches_on, lifted.still_off), (1, true, false));
        store.open(&person("alice"), &viewer()).await.unwrap();
        let ended = store.revoke(&SessionSelector::All, &change_options).await.unwrap().unwrap();
        store.remove_ended(&ended.keys).await.unwrap();
        assert_eq!(database.one::<i64>("SELECT count(*) FROM \"LiteLLM_VerificationToken\"").await, 1);
        store.open(&person("alice"), &viewer()).await.unwrap();
    }
    let alice = account(&store, "alice").await;
    store.move_account(&alice, "default", "alice-2", &change_options()).await.unwrap().unwrap();
    store.link("default", "carol-1", "carol", &change_options()).await.unwrap().unwrap();
    store.record_denials(&[Denial { issuer: "default".into(), subject: "x".into(), code: "no_role" }]).await.unwrap();
    assert_eq!(store.accounts(&AccountFilter::default()).await.unwrap().len(), 2);
    assert_eq!(store.sessions(None).await.unwrap().len(), 0);
    assert!(store.secrets_in_use().await.unwrap().is_empty());
    assert!(store.audit(&wanted(1000)).await.unwrap().len() > 10);
    settings.connect().with_audit(Duration::from_nanos(1), false).sweep().await.unwrap();
    assert!(store.audit(&wanted(1000)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_does_nothing() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    store.open(&person("alice"), &viewer()).await.unwrap();
    let alice = account(&store, "alice").await;
    let dry = ChangeOptions { dry_run: true, ..change_options() };
    let rows = "SELECT concat((SELECT string_agg(a::text, '') FROM vestibule.account a), (SELECT string_agg(s::text, '') FROM \
                vestibule.session s), (SELECT count(*) FROM vestibule.audit), (SELECT string_agg(u::text, '') FROM \
                \"LiteLLM_UserTable\" u), (SELECT string_agg(k::text, '') FROM \"LiteLLM_VerificationToken\" k))";
    let before: String = database.one(rows).await;
    let would = store.block(&alice, None, &dry).await.unwrap().unwrap();
    store.revoke(&SessionSelector::All, &dry).await.unwrap().unwrap();
    store.move_account(&alice, "default", "a2", &dry).await.unwrap().unwrap();
    assert_eq!(database.one::<String>(rows).await, before);
    let did = store.block(&alice, None, &change_options()).await.unwrap().unwrap();
    assert_eq!(would.sessions, did.sessions);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_in_the_midst_of_requests_leaves_no_session_behind() {
    let (database, settings) = ready().await;
    let store = std::sync::Arc::new(settings.connect());
    store.open(&person("alice"), &viewer()).await.unwrap();
    let alice = account(&store, "alice").await;
    for round in 0..10 {
        let mut tasks = tokio::task::JoinSet::new();
        for at in 0..20 {
            let store = std::sync::Arc::clone(&store);
            // A change of role at each request, so that all of them write.
            let role = if at % 2 == 0 { Role::InternalUser } else { Role::ProxyAdmin };
            tasks.spawn(async move { store.open(&person("alice"), &terms(role)).await.map(drop) });
        }
        if round % 2 == 0 {
            store.block(&alice, None, &change_options()).await.unwrap().unwrap();
        } else {
            store
                .revoke(&SessionSelector::Account(alice.account_id.clone()), &change_options())
                .await
                .unwrap()
                .unwrap();
        }
        while let Some(done) = tasks.join_next().await {
            match done.unwrap() {
                Ok(()) | Err(StoreError::Blocked { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        let sessions: i64 = database.one("SELECT count(*) FROM vestibule.session WHERE current").await;
        let keys: i64 = database.one("SELECT count(*) FROM \"LiteLLM_VerificationToken\"").await;
        if round % 2 == 0 {
            assert_eq!((sessions, keys), (0, 0), "after the block nothing is lent");
            assert!(matches!(refused(store.open(&person("alice"), &viewer()).await), StoreError::Blocked { .. }));
            store.unblock(&alice, &change_options()).await.unwrap().unwrap();
        } else {
            assert_eq!(sessions, keys, "no key without its session");
        }
    }
}

#[tokio::test]
async fn keys_kept_for_litellm_are_expired_and_swept_where_it_never_deletes_them() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    let first = store.open(&person("alice"), &viewer()).await.unwrap();
    let keep = ChangeOptions { keep_keys: true, ..change_options() };
    store.revoke(&SessionSelector::All, &keep).await.unwrap().unwrap();
    let dead: bool =
        database.one("SELECT bool_and(expires <= now() AT TIME ZONE 'UTC') FROM \"LiteLLM_VerificationToken\"").await;
    assert!(dead);
    let second = store.open(&person("alice"), &viewer()).await.unwrap();
    assert_ne!(second.key.token(), first.key.token());
    assert_eq!(store.sweep().await.unwrap().sessions, 1);
    let left: String = database.one("SELECT string_agg(token, ',') FROM \"LiteLLM_VerificationToken\"").await;
    assert_eq!(left, second.key.token());
}

#[tokio::test]
async fn an_account_that_moved_since_it_was_looked_up_is_left_alone() {
    let (_database, settings) = ready().await;
    let store = settings.connect();
    store.open(&person("alice"), &viewer()).await.unwrap();
    let before = account(&store, "alice").await;
    store.move_account(&before, "default", "a2", &change_options()).await.unwrap().unwrap();
    let Err(cannot) = store.block(&before, None, &change_options()).await.unwrap() else { panic!("it was blocked") };
    assert!(cannot.to_string().contains("look again"), "{cannot}");
    assert!(store.unblock(&before, &change_options()).await.unwrap().is_err());
    assert!(store.move_account(&before, "default", "a3", &change_options()).await.unwrap().is_err());
}

#[tokio::test]
async fn a_renewed_and_a_replaced_session_are_told_with_their_ids() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    let first = store.open(&person("alice"), &viewer()).await.unwrap();
    let soon = "UPDATE vestibule.session SET expires_at = now() + interval '1 hour'";
    database.run(soon).await;
    store.open(&person("alice"), &viewer()).await.unwrap();
    database.run("UPDATE vestibule.session SET created_at = now() - interval '8 days'").await;
    let second = store.open(&person("alice"), &viewer()).await.unwrap();
    let told: String = database
        .one(
            "SELECT string_agg(concat_ws(' ', event, detail->>'session', detail->>'replaces', detail->>'reason'), ';' \
             ORDER BY id) FROM vestibule.audit WHERE event LIKE 'session%'",
        )
        .await;
    let (one, two) = (first.session_id, second.session_id);
    assert_eq!(told, format!("session_made {one};session_renewed {one};session_made {two} {one} age"));
}

#[tokio::test]
async fn the_audit_is_kept_as_long_as_it_says_and_no_longer() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    store.open(&person("alice"), &viewer()).await.unwrap();
    database
        .run(
            "INSERT INTO vestibule.audit (at, event) SELECT now() - interval '91 days', 'refused' FROM generate_series(1, 2500); \
             INSERT INTO vestibule.audit (at, event) VALUES (now() - interval '89 days', 'refused')",
        )
        .await;
    let days = Duration::from_secs(90 * 86_400);
    assert_eq!(settings.connect().with_audit(Duration::ZERO, false).sweep().await.unwrap().audit, 0);
    let keeping = settings.connect().with_audit(days, false);
    assert_eq!(keeping.sweep().await.unwrap().audit, 2500);
    assert_eq!(keeping.sweep().await.unwrap().audit, 0);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM vestibule.audit").await, 3);
}

#[tokio::test]
async fn the_audit_is_read_by_person_kind_age_and_number() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    for name in ["alice", "bob"] {
        store.open(&person(name), &viewer()).await.unwrap();
    }
    database.run("UPDATE vestibule.audit SET at = now() - interval '2 hours' WHERE id = 1").await;
    let ids = async |wanted: AuditFilter| -> Vec<i64> {
        store.audit(&wanted).await.unwrap().into_iter().map(|entry| entry.id).collect()
    };
    assert_eq!(ids(wanted(100)).await, [1, 2, 3, 4]);
    assert_eq!(ids(wanted(2)).await, [3, 4]);
    assert_eq!(ids(AuditFilter { after: Some(2), ..wanted(100) }).await, [3, 4]);
    assert_eq!(ids(AuditFilter { since_seconds: Some(3600.0), ..wanted(100) }).await, [2, 3, 4]);
    assert_eq!(ids(AuditFilter { events: vec![EventKind::Created], ..wanted(100) }).await, [1, 3]);
    let bob = account(&store, "bob").await.account_id;
    assert_eq!(ids(AuditFilter { account_id: Some(bob), ..wanted(100) }).await, [3, 4]);
}
