//! Rows that were there before, and names that two people share.

use vestibule::config::{AdoptBy, UserIdFrom};
use vestibule::litellm::role::Role;
use vestibule::store::{Store, StoreError};

use super::{adopting, issuer, person, ready, refused, terms, user_by_hand, viewer};

fn conflict(error: StoreError) -> (String, &'static str, &'static str) {
    match error {
        StoreError::Conflict { user_id, found_by, remedy } => (user_id, found_by, remedy),
        other => panic!("not `Conflict`: {other:?}"),
    }
}

const ROWS: &str = "SELECT string_agg(u::text, ';' ORDER BY user_id) FROM \"LiteLLM_UserTable\" u";
const OURS: &str = "SELECT (SELECT count(*) FROM vestibule.account) + (SELECT count(*) FROM vestibule.session) \
     + (SELECT count(*) FROM \"LiteLLM_VerificationToken\")";

#[tokio::test]
async fn a_hand_made_admin_row_is_left_untouched_whatever_may_be_adopted() {
    let (database, mut settings) = ready().await;
    adopting(&mut settings, &[AdoptBy::UserId, AdoptBy::SsoUserId, AdoptBy::Email]);
    for (role, found) in
        [("proxy_admin", "user_id"), ("proxy_admin_viewer", "sso_user_id"), ("proxy_admin", "user_email")]
    {
        let (id, sso, email) = match found {
            "user_id" => ("bob", None, None),
            "sso_user_id" => ("1", Some("bob"), None),
            _ => ("2", None, Some("Bob@Example.com")),
        };
        database.run("DELETE FROM \"LiteLLM_UserTable\"").await;
        database.run(&user_by_hand(id, sso, email, role)).await;
        let before: String = database.one(ROWS).await;
        let (user_id, found_by, remedy) =
            conflict(refused(settings.connect().open(&person("bob"), &terms(Role::ProxyAdmin)).await));
        assert_eq!((user_id.as_str(), found_by), (id, found));
        assert!(remedy.contains("never taken over"), "{remedy}");
        assert_eq!(database.one::<String>(ROWS).await, before);
        assert_eq!(database.one::<i64>(OURS).await, 0);
    }
}

#[tokio::test]
async fn a_row_that_vestibule_did_not_make_is_a_conflict_unless_its_way_is_listed() {
    for (way, column) in
        [(AdoptBy::UserId, "user_id"), (AdoptBy::SsoUserId, "sso_user_id"), (AdoptBy::Email, "user_email")]
    {
        let (database, mut settings) = ready().await;
        let row = match way {
            AdoptBy::UserId => user_by_hand("bob", None, None, "internal_user"),
            AdoptBy::SsoUserId => user_by_hand("theirs", Some("bob"), None, "internal_user"),
            AdoptBy::Email => user_by_hand("theirs", None, Some("BOB@example.com"), "internal_user"),
        };
        database.run(&row).await;
        let before: String = database.one(ROWS).await;
        let others: Vec<AdoptBy> =
            [AdoptBy::UserId, AdoptBy::SsoUserId, AdoptBy::Email].into_iter().filter(|it| *it != way).collect();
        adopting(&mut settings, &others);
        let (_, found_by, remedy) = conflict(refused(settings.connect().open(&person("bob"), &viewer()).await));
        assert_eq!(found_by, column);
        assert!(remedy.contains("account.adopt"), "{remedy}");
        assert_eq!(database.one::<String>(ROWS).await, before);

        adopting(&mut settings, &[way]);
        let store = settings.connect();
        let opened = store.open(&person("bob"), &viewer()).await.unwrap();
        assert_eq!(opened.user_id, if way == AdoptBy::UserId { "bob" } else { "theirs" });
        // A lowering by adoption is one: LiteLLM may know the old role.
        assert!(opened.lowered_ago.is_some());
        let row: String = database
            .one("SELECT concat_ws(',', user_role, sso_user_id, lower(user_email), max_budget, metadata) FROM \"LiteLLM_UserTable\"")
            .await;
        assert_eq!(row, "internal_user_viewer,bob,bob@example.com,7,{}");
        let events: String = database.one("SELECT string_agg(event, ',' ORDER BY id) FROM vestibule.audit").await;
        assert!(events.starts_with("adopted,"), "{events}");
        // Found by the account from now on, whatever the settings.
        adopting(&mut settings, &[]);
        let again = settings.connect().open(&person("bob"), &viewer()).await.unwrap();
        assert_eq!(again.session_id, opened.session_id);
    }
}

#[tokio::test]
async fn two_rows_that_could_be_the_person_are_a_conflict() {
    let (database, mut settings) = ready().await;
    adopting(&mut settings, &[AdoptBy::UserId, AdoptBy::Email]);
    database.run(&user_by_hand("bob", None, None, "internal_user")).await;
    database.run(&user_by_hand("other", None, Some("bob@example.com"), "internal_user")).await;
    let (user_id, found_by, _) = conflict(refused(settings.connect().open(&person("bob"), &viewer()).await));
    assert_eq!((user_id.as_str(), found_by), ("other", "user_email"));
    assert_eq!(database.one::<i64>(OURS).await, 0);
}

#[tokio::test]
async fn a_row_switched_off_by_scim_is_not_adopted() {
    let (database, mut settings) = ready().await;
    adopting(&mut settings, &[AdoptBy::UserId]);
    database.run(&user_by_hand("bob", None, None, "internal_user")).await;
    database.run("UPDATE \"LiteLLM_UserTable\" SET metadata = '{\"scim_active\": false}'").await;
    let error = refused(settings.connect().open(&person("bob"), &viewer()).await);
    assert!(matches!(error, StoreError::Blocked { .. }), "{error:?}");
    assert_eq!(database.one::<i64>(OURS).await, 0);
}

#[tokio::test]
async fn two_issuers_with_the_same_subject_are_two_rows() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    let first = store.open(&person("alice"), &viewer()).await.unwrap();
    let mut other = person("alice");
    other.issuer = issuer("corp");
    other.email = Some("alice@corp.example".to_owned());
    let second = store.open(&other, &viewer()).await.unwrap();
    assert_eq!(first.user_id, "alice");
    assert_eq!(second.user_id, format!("alice~{}", second.account_id));
    assert_ne!(first.key.token(), second.key.token());
    let sso: String = database
        .one("SELECT string_agg(sso_user_id, ' ' ORDER BY length(sso_user_id)) FROM \"LiteLLM_UserTable\"")
        .await;
    assert_eq!(sso, format!("alice {}", second.user_id));
    // A third who names themselves as the second gets neither of their rows.
    let mut third = person(&second.user_id);
    third.email = None;
    let third = store.open(&third, &viewer()).await.unwrap();
    assert_eq!(third.user_id, format!("{}~{}", second.user_id, third.account_id));
    assert_eq!(store.open(&other, &viewer()).await.unwrap().session_id, second.session_id);
    // The same holds when the first one's user row is away.
    database.run("DELETE FROM \"LiteLLM_UserTable\" WHERE user_id = 'alice'").await;
    let mut fourth = person("alice");
    fourth.issuer = issuer("fourth");
    fourth.email = None;
    let fourth = store.open(&fourth, &viewer()).await.unwrap();
    assert_eq!(fourth.user_id, format!("alice~{}", fourth.account_id));
}

#[tokio::test]
async fn two_people_with_one_new_username_at_once_are_two_rows() {
    let (database, mut settings) = ready().await;
    settings.account.user_id = UserIdFrom::Username;
    let store = settings.connect();
    for round in 0..20 {
        let mut people = [person(&format!("a{round}")), person(&format!("b{round}"))];
        for one in &mut people {
            one.preferred_username = Some(format!("u{round}"));
        }
        let terms = viewer();
        let (one, two) = tokio::join!(store.open(&people[0], &terms), store.open(&people[1], &terms));
        let (one, two) = (one.unwrap().user_id, two.unwrap().user_id);
        assert_ne!(one, two);
        assert!(one == format!("u{round}") || two == format!("u{round}"), "{one} {two}");
    }
    assert_eq!(database.one::<i64>("SELECT count(*) FROM \"LiteLLM_UserTable\"").await, 40);
}

#[tokio::test]
async fn an_email_of_another_person_is_a_conflict_at_creation() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    store.open(&person("alice"), &viewer()).await.unwrap();
    let mut eve = person("eve");
    eve.email = Some("ALICE@example.com".to_owned());
    let (user_id, found_by, _) = conflict(refused(store.open(&eve, &viewer()).await));
    assert_eq!((user_id.as_str(), found_by), ("alice", "user_email"));
    assert_eq!(database.one::<i64>("SELECT count(*) FROM \"LiteLLM_UserTable\"").await, 1);
}

#[tokio::test]
async fn an_email_follows_the_person_unless_another_has_it() {
    let (database, settings) = ready().await;
    let store = settings.connect();
    store.open(&person("alice"), &viewer()).await.unwrap();
    store.open(&person("eve"), &viewer()).await.unwrap();
    let mut eve = person("eve");
    eve.email = Some("eve@new.example".to_owned());
    store.open(&eve, &viewer()).await.unwrap();
    let email = "SELECT user_email FROM \"LiteLLM_UserTable\" WHERE user_id = 'eve'";
    assert_eq!(database.one::<String>(email).await, "eve@new.example");
    eve.email = Some("alice@example.com".to_owned());
    for _ in 0..3 {
        store.open(&eve, &viewer()).await.unwrap();
    }
    assert_eq!(database.one::<String>(email).await, "eve@new.example");
    // Told once, not at each request.
    let told: i64 = database.one("SELECT count(*) FROM vestibule.audit WHERE event = 'email_refused'").await;
    assert_eq!(told, 1);
    eve.email = None;
    store.open(&eve, &viewer()).await.unwrap();
    assert_eq!(database.one::<String>(email).await, "eve@new.example");
}

#[tokio::test]
async fn the_user_id_is_chosen_once_and_for_good() {
    for (from, wanted) in [
        (UserIdFrom::Subject, "alice"),
        (UserIdFrom::Username, "alice-login"),
        (UserIdFrom::Email, "alice@example.com"),
    ] {
        let (_database, mut settings) = ready().await;
        settings.account.user_id = from;
        let opened = settings.connect().open(&person("alice"), &viewer()).await.unwrap();
        assert_eq!(opened.user_id, wanted);
        settings.account.user_id = UserIdFrom::Subject;
        let mut alice = person("alice");
        alice.preferred_username = None;
        alice.email = Some("other@example.com".to_owned());
        assert_eq!(settings.connect().open(&alice, &viewer()).await.unwrap().user_id, wanted);
    }
}

#[tokio::test]
async fn reserved_ids_and_missing_ones_make_no_row() {
    let (database, mut settings) = ready().await;
    settings.litellm.proxy_admin_id = Some("Root".to_owned());
    let store = settings.connect();
    for subject in
        ["default_user_id", "DEFAULT_USER_ID", "__db_unavailable_fallback__", "litellm-x", "root", "a\u{200b}b", ""]
    {
        let error = refused(store.open(&person(subject), &viewer()).await);
        assert!(matches!(error, StoreError::ReservedId(_)), "{subject:?}: {error:?}");
    }
    settings.account.user_id = UserIdFrom::Email;
    let mut alice = person("alice");
    alice.email = None;
    let error = refused(settings.connect().open(&alice, &viewer()).await);
    assert!(matches!(error, StoreError::NoId("email")), "{error:?}");
    // Nor is such a row adopted by another column.
    adopting(&mut settings, &[AdoptBy::Email]);
    database.run(&user_by_hand("default_user_id", None, Some("bob@example.com"), "internal_user")).await;
    let error = refused(settings.connect().open(&person("bob"), &viewer()).await);
    assert!(matches!(error, StoreError::ReservedId(_)), "{error:?}");
    assert_eq!(database.one::<i64>(OURS).await, 0);
    assert_eq!(database.one::<i64>("SELECT count(*) FROM \"LiteLLM_UserTable\"").await, 1);
}
