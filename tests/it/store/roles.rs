//! Roles: who wins, what is told, and how long a lowered one settles.

use std::time::Duration;

use vestibule::config::RoleSync;
use vestibule::litellm::role::Role;
use vestibule::store::Store;

use super::{Settings, person, ready, terms};
use crate::support::postgres::TestDatabase;

const ROLE: &str = "SELECT user_role FROM \"LiteLLM_UserTable\"";
const EVENTS: &str = "SELECT coalesce(string_agg(event || ':' || coalesce(detail->>'from', '-') || '>' || (detail->>'to'), ' ' \
     ORDER BY id), '') FROM vestibule.audit WHERE event LIKE 'role%'";

async fn with(role_sync: RoleSync) -> (TestDatabase, Settings) {
    let (database, mut settings) = ready().await;
    settings.account.role_sync = role_sync;
    (database, settings)
}

async fn by_hand(database: &TestDatabase, role: &str) {
    database.run(&format!("UPDATE \"LiteLLM_UserTable\" SET user_role = {role}")).await;
}

#[tokio::test]
async fn always_undoes_a_hand_made_role_and_tells_it_apart_from_a_changed_mapping() {
    let (database, settings) = with(RoleSync::Always).await;
    let store = settings.connect();
    let alice = person("alice");
    store.open(&alice, &terms(Role::InternalUser)).await.unwrap();
    by_hand(&database, "'proxy_admin'").await;
    let opened = store.open(&alice, &terms(Role::InternalUser)).await.unwrap();
    assert_eq!(database.one::<String>(ROLE).await, "internal_user");
    assert!(opened.lowered_ago.is_some());
    store.open(&alice, &terms(Role::ProxyAdminViewer)).await.unwrap();
    assert_eq!(database.one::<String>(ROLE).await, "proxy_admin_viewer");
    assert_eq!(
        database.one::<String>(EVENTS).await,
        "role_undone:proxy_admin>internal_user role_changed:internal_user>proxy_admin_viewer"
    );
}

#[tokio::test]
async fn on_change_leaves_a_hand_made_role_until_the_mapping_changes() {
    let (database, settings) = with(RoleSync::OnChange).await;
    let store = settings.connect();
    let alice = person("alice");
    store.open(&alice, &terms(Role::InternalUser)).await.unwrap();
    by_hand(&database, "'proxy_admin'").await;
    store.open(&alice, &terms(Role::InternalUser)).await.unwrap();
    assert_eq!(database.one::<String>(ROLE).await, "proxy_admin");
    let opened = store.open(&alice, &terms(Role::InternalUserViewer)).await.unwrap();
    assert_eq!(database.one::<String>(ROLE).await, "internal_user_viewer");
    assert!(opened.lowered_ago.is_some());
    assert_eq!(database.one::<String>(EVENTS).await, "role_changed:proxy_admin>internal_user_viewer");
}

#[tokio::test]
async fn create_writes_a_role_once() {
    let (database, settings) = with(RoleSync::Create).await;
    let store = settings.connect();
    let alice = person("alice");
    store.open(&alice, &terms(Role::ProxyAdmin)).await.unwrap();
    let opened = store.open(&alice, &terms(Role::InternalUserViewer)).await.unwrap();
    assert_eq!(database.one::<String>(ROLE).await, "proxy_admin");
    assert_eq!(opened.lowered_ago, None);
    assert_eq!(database.one::<String>(EVENTS).await, "");
}

#[tokio::test]
async fn lowering_is_measured_from_what_litellm_takes_the_old_role_for() {
    for (had, mapped, lowered) in [
        ("'proxy_admin'", Role::ProxyAdminViewer, true),
        ("NULL", Role::InternalUserViewer, true),
        ("NULL", Role::InternalUser, false),
        ("'org_admin'", Role::InternalUserViewer, true),
        ("'nonsense'", Role::InternalUser, false),
        ("'internal_user_viewer'", Role::ProxyAdmin, false),
    ] {
        let (database, settings) = ready().await;
        let store = settings.connect();
        // Another role than the mapped one stands in the account, so that both sides of the comparison are LiteLLM's.
        store.open(&person("alice"), &terms(mapped)).await.unwrap();
        by_hand(&database, had).await;
        let opened = store.open(&person("alice"), &terms(mapped)).await.unwrap();
        assert_eq!(opened.lowered_ago.is_some(), lowered, "{had} to {mapped:?}");
        assert_eq!(database.one::<String>(ROLE).await, mapped.as_str());
    }
}

#[tokio::test]
async fn a_lowering_is_told_to_every_replica_and_a_raise_does_not_hide_it() {
    let (database, settings) = ready().await;
    let alice = person("alice");
    settings.connect().open(&alice, &terms(Role::ProxyAdmin)).await.unwrap();
    let lowered = settings.connect().open(&alice, &terms(Role::InternalUserViewer)).await.unwrap();
    assert_eq!(lowered.lowered_ago, Some(Duration::ZERO));
    let elsewhere = settings.connect().open(&alice, &terms(Role::InternalUserViewer)).await.unwrap();
    assert!(elsewhere.lowered_ago.is_some_and(|ago| ago < Duration::from_secs(60)));
    // LiteLLM may still take them for an administrator, whatever they are raised to meanwhile.
    let raised = settings.connect().open(&alice, &terms(Role::InternalUser)).await.unwrap();
    assert!(raised.lowered_ago.is_some());
    database.run("UPDATE vestibule.account SET lowered_at = now() - interval '100 seconds'").await;
    let later = settings.connect().open(&alice, &terms(Role::InternalUser)).await.unwrap().lowered_ago.unwrap();
    assert!((100..160).contains(&later.as_secs()), "{later:?}");
    database.run("UPDATE vestibule.account SET lowered_at = now() - interval '11 minutes'").await;
    assert_eq!(settings.connect().open(&alice, &terms(Role::InternalUser)).await.unwrap().lowered_ago, None);
}

#[tokio::test]
async fn a_role_that_does_not_change_is_not_written() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    store.open(&person("alice"), &terms(Role::InternalUser)).await.unwrap();
    let xmin = "SELECT xmin::text FROM \"LiteLLM_UserTable\"";
    let before: String = database.one(xmin).await;
    // The session needs a renewal, so the writing transaction runs; the user row is none of its business.
    database.run("UPDATE vestibule.session SET expires_at = now() + interval '1 min'").await;
    store.open(&person("alice"), &terms(Role::InternalUser)).await.unwrap();
    assert_eq!(database.one::<String>(xmin).await, before);
}
