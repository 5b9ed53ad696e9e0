//! A database that is there and does not do what it should: it refuses for a moment, it refuses for good, it has too few
//! places, it answers a byte at a time.

use crate::herd::stampede;
use crate::support::client::UserProfile;
use crate::support::db::TestDb;
use crate::support::proxy::Proxy;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::Setup;

/// Has each of the first so many inserts of a user fail with that SQLSTATE; none but those.
async fn fail(db: &TestDb, code: &str, times: u32) {
    // A sequence counts on when its transaction is undone.
    db.run(&format!(
        "CREATE SEQUENCE failures;
             CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF nextval('failures') <= {times} THEN RAISE EXCEPTION 'canary-words' USING ERRCODE = '{code}'; END IF;
               RETURN NEW;
             END $$;
             CREATE TRIGGER fail BEFORE INSERT ON \"LiteLLM_UserTable\" FOR EACH ROW EXECUTE FUNCTION fail();"
    ))
    .await;
}

#[tokio::test]
async fn what_postgres_refuses_for_the_moment_is_tried_again_unseen() {
    // Serialization, a deadlock, somebody who was faster, an admin's shutdown, a lost connection.
    for code in ["40001", "40P01", "23505", "57P01", "08006"] {
        let stage = Stage::plain().await;
        fail(&stage.db, code, 2).await;
        stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
        assert_eq!(stage.db.number("SELECT last_value FROM failures").await, 3, "{code}: two failures and a success");
        assert_eq!((stage.db.user_count().await, stage.db.key_count().await), (1, 1), "{code}");
    }
}

#[tokio::test]
async fn what_postgres_refuses_for_good_is_a_503_in_words_of_our_own_and_heals() {
    // Read-only, no more connections, no right, a check of somebody's own, shutting down.
    for code in ["25006", "53300", "42501", "23514", "57P01"] {
        let stage = Stage::plain().await;
        fail(&stage.db, code, 1000).await;
        let request = stage.client().get("/v1/models").from(&UserProfile::named("alice"));
        let answer = request.send().await;
        answer.expect_refusal(503, "store_unavailable");
        assert!(answer.head.value("retry-after").is_some(), "{code}");
        assert!(!answer.text().contains("canary-words") && !answer.text().contains(code), "{code}: {}", answer.text());
        assert_eq!(stage.upstream.count(), 0, "{code}: nobody passes without a key");
        stage.db.run("DROP TRIGGER fail ON \"LiteLLM_UserTable\"").await;
        crate::support::eventually("the person to get in", async || (request.send().await.status == 200).then_some(()))
            .await;
        assert_eq!((stage.db.user_count().await, stage.db.orphan_keys().await), (1, 0), "{code}");
    }
}

#[tokio::test]
async fn a_backend_that_is_killed_within_each_write_of_a_first_sight_leaves_nothing_half_made() {
    let tables = [
        "\"LiteLLM_UserTable\"",
        "\"LiteLLM_VerificationToken\"",
        "vestibule.account",
        "vestibule.session",
        "vestibule.audit",
    ];
    for table in tables {
        let stage = Stage::plain().await;
        // It ends itself, twice, with what it wrote in this transaction in its hands.
        stage
            .db
            .run(&format!(
                "CREATE SEQUENCE deaths;
                 CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   IF nextval('deaths') <= 2 THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); END IF;
                   RETURN NULL;
                 END $$;
                 CREATE TRIGGER die AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION die();"
            ))
            .await;
        stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
        assert!(stage.db.number("SELECT last_value FROM deaths").await > 2, "{table}: two deaths");
        let rows = "SELECT concat_ws(' ', (SELECT count(*) FROM \"LiteLLM_UserTable\"), \
             (SELECT count(*) FROM \"LiteLLM_VerificationToken\"), (SELECT count(*) FROM vestibule.account), \
             (SELECT count(*) FROM vestibule.session), (SELECT count(*) FROM vestibule.audit))";
        assert_eq!(stage.db.texts(rows).await, ["1 1 1 1 2"], "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_of_two_serves_two_hundred_new_people_or_says_503() {
    let stage = Stage::with(|setup| setup.with("database.pool", 2).with("database.connect_timeout", "1s")).await;
    let people = (0..200).map(|number| UserProfile::named(&format!("person-{number}")));
    let requests: Vec<_> = people.map(|person| stage.client().get("/v1/models").from(&person)).collect();
    let answers = stampede(requests.clone()).await;
    for answer in &answers {
        let refusal = answer.refusal();
        assert!(
            answer.status == 200 || (answer.status, refusal.as_deref()) == (503, Some("store_unavailable")),
            "{} {refusal:?}",
            answer.status
        );
    }
    assert!(answers.iter().any(|answer| answer.status == 200));
    assert_eq!(stage.db.orphan_keys().await, 0);
    // Whoever was turned away gets in when the rush is over.
    for request in requests {
        crate::support::eventually("everybody to get in", async || (request.send().await.status == 200).then_some(()))
            .await;
    }
    assert_eq!((stage.db.user_count().await, stage.db.key_count().await), (200, 200));
}

#[tokio::test]
async fn a_database_that_answers_a_byte_at_a_time_is_served_by() {
    let (upstream, db) = (Upstream::json().await, TestDb::fresh().await);
    let database = Proxy::postgres(db.url()).await;
    let vestibule = Setup::new(&upstream.url, &db.url_through(database.address)).start().await;
    database.dribble();
    for name in ["alice", "bob"] {
        vestibule.client().get("/v1/models").from(&UserProfile::named(name)).send().await.expect_ok();
    }
    assert_eq!((db.user_count().await, db.orphan_keys().await), (2, 0));
}
