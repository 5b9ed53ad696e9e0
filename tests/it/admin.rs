//! What operators see: probes, metrics, logs; how it comes up, how it goes, and what it does while Postgres is away.

use serde_json::Value;

use crate::support::client::UserProfile;
use crate::support::db::TestDb;
use crate::support::proxy::Proxy;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::{SESSION_SECRET, Setup, field};
use crate::support::{Gate, eventually, within};

#[tokio::test]
async fn the_probes_and_the_metrics_are_on_the_admin_port_alone() {
    let stage = Stage::plain().await;
    assert_eq!(stage.vestibule.admin().get("/livez").send().await.status, 200);
    assert_eq!(stage.vestibule.readyz().await.status, 200);
    assert_eq!(stage.vestibule.admin().get("/metrics").send().await.status, 200);
    assert_eq!(stage.vestibule.admin().get("/v1/models").from(&UserProfile::named("alice")).send().await.status, 404);
    for path in ["/livez", "/readyz", "/metrics"] {
        stage.client().get(path).send().await.expect_refusal(401, "no_identity");
        stage.client().get(path).from(&UserProfile::named("alice")).send().await.expect_ok();
    }
    let paths: Vec<_> = stage.upstream.seen().into_iter().map(|seen| seen.head.line).collect();
    assert_eq!(
        paths,
        ["GET /livez HTTP/1.1", "GET /readyz HTTP/1.1", "GET /metrics HTTP/1.1"],
        "they are the upstream's there"
    );
}

#[tokio::test]
async fn requests_refusals_and_slots_are_counted_without_names() {
    let stage = Stage::plain().await;
    for name in ["alice", "bob", "alice"] {
        stage.client().get("/v1/models").from(&UserProfile::named(name)).send().await.expect_ok();
    }
    stage.client().get("/v1/models").send().await.expect_refusal(401, "no_identity");
    stage
        .stranger()
        .get("/v1/models")
        .from(&UserProfile::named("eve"))
        .send()
        .await
        .expect_refusal(403, "untrusted_peer");
    // A request is counted when it is over, which may be just after its answer.
    eventually("five counted requests", async || {
        (stage.vestibule.metric("vestibule_requests_total").await >= 5).then_some(())
    })
    .await;
    let metrics = stage.vestibule.metrics().await;
    let count = |name: &str| metrics.get(name).copied();
    assert_eq!(count("vestibule_refusals_total{code=\"no_identity\"}"), Some(1), "{metrics:#?}");
    assert_eq!(count("vestibule_refusals_total{code=\"untrusted_peer\"}"), Some(1), "{metrics:#?}");
    assert_eq!(count("vestibule_slots_total{state=\"waited\"}"), Some(2), "{metrics:#?}");
    assert_eq!(count("vestibule_slots_total{state=\"fresh\"}"), Some(1), "{metrics:#?}");
    assert!(stage.vestibule.metric("vestibule_registry_opens_total").await >= 2);
    let text = stage.vestibule.admin().get("/metrics").send().await.text();
    for name in ["alice", "bob", "eve", "example.com"] {
        assert!(!text.contains(name), "{name} is in the metrics");
    }
}

#[tokio::test]
async fn an_options_answered_here_is_no_answer_of_litellms() {
    let stage = Stage::plain().await;
    let request = stage.client().request("OPTIONS", "/v1/models").from(&UserProfile::named("alice"));
    let answer = request.header("Max-Forwards", "0").send().await;
    assert_eq!((answer.status, stage.upstream.count()), (200, 0));
    eventually("one counted request", async || {
        (stage.vestibule.metric("vestibule_requests_total{outcome=\"answered\"").await == 1).then_some(())
    })
    .await;
    assert_eq!(stage.vestibule.metric("vestibule_upstream_first_byte_seconds_count").await, 0);
}

#[tokio::test]
async fn each_request_is_one_json_line_without_the_persons_name() {
    let stage = Stage::plain().await;
    let answer = stage.client().get("/v1/models?secret-query=1").from(&UserProfile::named("alice")).send().await;
    answer.expect_ok();
    // A line is written when its request is over, which may be just after its answer.
    stage.vestibule.request_lines(1).await;
    stage.client().get("/v1/models").send().await.expect_refusal(401, "no_identity");
    let lines = stage.vestibule.request_lines(2).await;
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert_eq!(Some(field(&lines[0], "request_id")), answer.head.value("x-request-id"));
    assert_eq!((field(&lines[0], "status"), field(&lines[1], "status")), ("200".to_owned(), "401".to_owned()));
    let refusal = lines[1].to_string();
    assert!(refusal.contains("no_identity"), "{refusal}");
    let log = stage.vestibule.log().join("\n");
    for name in ["alice", "example.com", "secret-query"] {
        assert!(!log.contains(name), "{name} is in the log:\n{log}");
    }
}

#[tokio::test]
async fn a_person_is_one_hash_in_the_log_or_an_id_where_that_is_asked_for() {
    let stage = Stage::plain().await;
    let mut people = Vec::new();
    for name in ["alice", "alice", "bob"] {
        stage.client().get("/v1/models").from(&UserProfile::named(name)).send().await.expect_ok();
        let lines = stage.vestibule.request_lines(people.len() + 1).await;
        people.push(field(lines.last().expect("its line"), "person"));
    }
    assert!(!people[0].is_empty() && people[0] == people[1] && people[1] != people[2], "{people:?}");

    let stage = Stage::with(|setup| setup.with("log.person", "id")).await;
    stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    let line = stage.vestibule.request_lines(1).await.remove(0);
    assert!(field(&line, "person").contains("alice"), "{line}");
}

#[tokio::test]
async fn hostile_bytes_stay_inside_one_line() {
    let stage = Stage::with(|setup| setup.with("log.person", "id")).await;
    let request = stage.client().get("/v1/%0a%1b[31m").header("X-Forwarded-User", "al\"}ice\\");
    let answer = request.header("User-Agent", "x\u{2028}\"}\t{").header("Referer", "\"}{").send().await;
    answer.expect_ok();
    stage.vestibule.request_lines(1).await;
    for line in stage.vestibule.log() {
        let parsed: Result<Value, _> = serde_json::from_str(&line);
        assert!(parsed.is_ok() && !line.contains('\x1b'), "{line}");
    }
}

#[tokio::test]
async fn without_a_database_it_is_up_but_not_ready_and_nobody_gets_in() {
    let db = TestDb::fresh().await;
    let upstream = Upstream::json().await;
    let database = Proxy::postgres(db.url()).await;
    database.cut();
    let vestibule = Setup::new(&upstream.url, &db.url_through(database.address)).start_unready().await;
    assert_eq!(vestibule.admin().get("/livez").send().await.status, 200);
    assert_eq!(vestibule.readyz().await.status, 503);
    let answer = vestibule.client().get("/v1/models").from(&UserProfile::named("alice")).send().await;
    answer.expect_refusal(503, "store_unavailable");
    assert!(answer.head.value("retry-after").is_some());
    assert_eq!(upstream.count(), 0);
    database.pass();
    vestibule.ready().await;
    vestibule.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
}

#[tokio::test]
async fn while_the_database_is_away_the_known_are_served_and_the_new_wait() {
    let db = TestDb::fresh().await;
    let upstream = Upstream::json().await;
    let database = Proxy::postgres(db.url()).await;
    let setup = Setup::new(&upstream.url, &db.url_through(database.address)).with("account.refresh", "1s");
    let vestibule = setup.start().await;
    let request = |name: &str| vestibule.client().get("/v1/models").from(&UserProfile::named(name));
    request("alice").send().await.expect_ok();
    database.cut();
    let answer = request("bob").send().await;
    answer.expect_refusal(503, "store_unavailable");
    assert!(answer.head.value("retry-after").is_some());
    // Well past the second in which her slot was fresh.
    eventually("a stale slot", async || {
        request("alice").send().await.expect_ok();
        (vestibule.metric("vestibule_slots_total{state=\"stale\"").await >= 3).then_some(())
    })
    .await;
    // The same person with other groups is something new.
    let changed =
        vestibule.client().get("/v1/models").from(&UserProfile::named("alice").in_groups("llm-admins")).send().await;
    changed.expect_refusal(503, "store_unavailable");
    eventually("readiness to say what is missing", async || {
        let ready = vestibule.readyz().await;
        assert_eq!(ready.status, 200, "within the grace it stays ready");
        ready.text().contains("database").then_some(())
    })
    .await;
    database.pass();
    eventually("bob to come in", async || (request("bob").send().await.status == 200).then_some(())).await;
    assert_eq!((db.user_count().await, db.key_count().await), (2, 2));
}

#[tokio::test]
async fn tables_that_are_not_there_are_named_and_waited_for() {
    let db = TestDb::fresh().await;
    let upstream = Upstream::json().await;
    db.run(r#"ALTER TABLE "LiteLLM_UserTable" RENAME TO "Elsewhere""#).await;
    let vestibule = Setup::new(&upstream.url, db.url()).start_unready().await;
    eventually("readiness to name the table", async || {
        let ready = vestibule.readyz().await;
        assert_eq!(ready.status, 503);
        ready.text().contains("LiteLLM_UserTable").then_some(())
    })
    .await;
    vestibule
        .client()
        .get("/v1/models")
        .from(&UserProfile::named("alice"))
        .send()
        .await
        .expect_refusal(503, "store_unavailable");
    db.run(r#"ALTER TABLE "Elsewhere" RENAME TO "LiteLLM_UserTable""#).await;
    vestibule.ready().await;
    vestibule.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
}

#[tokio::test]
async fn another_session_secret_is_not_ready_and_mints_nothing() {
    let stage = Stage::plain().await;
    stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    let other =
        stage.setup.clone().with("session.secret", "another-secret-0123456789abcdef0123456789").start_unready().await;
    let answer = other.client().get("/v1/models").from(&UserProfile::named("alice")).send().await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(stage.db.key_count().await, 1);
    eventually("the log to say so", async || other.log().iter().any(|line| line.contains("secret")).then_some(()))
        .await;
    // The old secret beside the new one is honoured.
    let secrets = stage.setup.folder().join("secrets");
    std::fs::write(&secrets, format!("another-secret-0123456789abcdef0123456789\n{SESSION_SECRET}\n"))
        .expect("the folder can be written");
    let both = stage
        .setup
        .clone()
        .without("session.secret")
        .with("session.secret_file", secrets.display().to_string())
        .start()
        .await;
    both.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    assert_eq!(stage.upstream.keys().len(), 1);
}

#[tokio::test]
async fn a_restart_lends_the_same_key() {
    let Stage { vestibule, upstream, db, setup } = Stage::plain().await;
    vestibule.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    vestibule.kill().await;
    let again = setup.start().await;
    again.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    assert_eq!((upstream.keys().len(), db.key_count().await), (1, 1));
}

/// LiteLLM's own words for a key that it does not know.
const UNKNOWN_KEY: &str = r#"{"error":{"message":"Authentication Error, Invalid proxy server token passed.","type":"token_not_found_in_db","param":"key","code":"401"}}"#;

async fn forgetting_the_first_key() -> Upstream {
    let first = std::sync::Arc::new(std::sync::Mutex::new(None::<String>));
    Upstream::answering(move |exchange| {
        let key = exchange.head.value("x-litellm-api-key").unwrap_or_default();
        let known = exchange.head.line.contains("/known");
        let mut first = first.lock().expect("nobody panics with it");
        let refused = !known && first.get_or_insert_with(|| key.clone()) == &key;
        async move {
            if refused {
                exchange.refuse("401 Unauthorized", UNKNOWN_KEY).await
            } else {
                exchange.json(r#"{"ok":true}"#).await
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_key_whose_row_is_there_is_not_replaced() {
    let stage = Stage::before(forgetting_the_first_key().await).await;
    let alice = UserProfile::named("alice");
    for _ in 0..3 {
        let answer = stage.client().get("/v1/models").from(&alice).send().await;
        assert_eq!((answer.status, answer.refusal(), answer.text().as_str()), (401, None, UNKNOWN_KEY));
    }
    assert_eq!((stage.upstream.keys().len(), stage.upstream.count(), stage.db.key_count().await), (1, 3, 1));
}

#[tokio::test]
async fn a_key_whose_row_is_gone_is_replaced_and_the_request_sent_again() {
    let stage = Stage::before(forgetting_the_first_key().await).await;
    let alice = UserProfile::named("alice");
    stage.client().get("/known").from(&alice).send().await.expect_ok();
    stage.db.run(r#"DELETE FROM "LiteLLM_VerificationToken""#).await;
    stage.client().get("/v1/models").from(&alice).send().await.expect_ok();
    assert_eq!((stage.upstream.keys().len(), stage.upstream.count(), stage.db.key_count().await), (2, 3, 1));
}

#[tokio::test]
async fn a_key_that_is_refused_again_and_again_is_replaced_once() {
    let upstream = Upstream::answering(|exchange| async move {
        if exchange.head.line.contains("/known") {
            exchange.json(r#"{"ok":true}"#).await
        } else {
            exchange.refuse("401 Unauthorized", UNKNOWN_KEY).await
        }
    });
    let stage = Stage::before(upstream.await).await;
    let alice = UserProfile::named("alice");
    stage.client().get("/known").from(&alice).send().await.expect_ok();
    for _ in 0..5 {
        stage.db.run(r#"DELETE FROM "LiteLLM_VerificationToken""#).await;
        assert_eq!(stage.client().get("/v1/models").from(&alice).send().await.status, 401);
    }
    assert_eq!(stage.upstream.keys().len(), 2, "one new key, and no further one within the minute");
}

#[tokio::test]
async fn a_request_with_a_body_is_not_sent_again_with_the_new_key() {
    let stage = Stage::before(forgetting_the_first_key().await).await;
    let alice = UserProfile::named("alice");
    stage.client().get("/known").from(&alice).send().await.expect_ok();
    stage.db.run(r#"DELETE FROM "LiteLLM_VerificationToken""#).await;
    let post = stage.client().post("/v1/chat/completions", "{}").from(&alice);
    let answer = post.send().await;
    answer.expect_refusal(503, "session_renewed");
    assert_eq!(answer.head.value("retry-after").as_deref(), Some("0"));
    assert_eq!(stage.upstream.count(), 2);
    post.send().await.expect_ok();
}

#[tokio::test]
async fn any_other_401_passes_as_it_is() {
    for document in [
        r#"{"error":{"message":"no","type":"auth_error","param":"None","code":"401"}}"#,
        r#"{"error":{"message":"token_not_found_in_db","type":"x"}}"#,
        "not json",
    ] {
        let stage =
            Stage::before(Upstream::answering(move |exchange| exchange.refuse("401 Unauthorized", document)).await)
                .await;
        let answer = stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await;
        assert_eq!((answer.status, answer.refusal(), answer.text().as_str()), (401, None, document));
        assert_eq!((stage.upstream.count(), stage.db.key_count().await), (1, 1));
    }
}

#[tokio::test]
async fn a_401_that_is_long_or_does_not_say_how_long_passes_unread() {
    let body = format!("{UNKNOWN_KEY}{}", " ".repeat(16 * 1024));
    let chunks = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{UNKNOWN_KEY}\r\n0\r\n\r\n", UNKNOWN_KEY.len());
    for rest in [format!("Content-Length: {}\r\n\r\n{body}", body.len()), chunks] {
        let upstream = Upstream::answering(move |mut exchange| {
            let rest = rest.clone();
            async move {
                if exchange.head.line.contains("/known") {
                    return exchange.json(r#"{"ok":true}"#).await;
                }
                exchange.send(format!("HTTP/1.1 401 Unauthorized\r\n{rest}")).await.then_some(exchange)
            }
        });
        let stage = Stage::before(upstream.await).await;
        let alice = UserProfile::named("alice");
        stage.client().get("/known").from(&alice).send().await.expect_ok();
        stage.db.run(r#"DELETE FROM "LiteLLM_VerificationToken""#).await;
        let answer = stage.client().get("/v1/models").from(&alice).send().await;
        assert_eq!((answer.status, answer.text().trim_end()), (401, UNKNOWN_KEY));
        assert_eq!((stage.upstream.count(), stage.db.key_count().await), (2, 0), "nobody looked for another key");
    }
}

#[tokio::test]
async fn sigterm_lets_a_stream_finish_and_then_ends_with_0() {
    let gate = Gate::closed();
    let sending = gate.clone();
    let upstream = Upstream::answering(move |mut exchange| {
        let gate = sending.clone();
        async move {
            exchange.body().await;
            exchange
                .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            exchange.send_chunk("data: 1\n\n").await;
            gate.pass().await;
            exchange.send_chunk("data: 2\n\n").await;
            exchange.send("0\r\n\r\n").await;
            Some(exchange)
        }
    });
    let Stage { mut vestibule, upstream: _upstream, db: _books, setup: _setup } =
        Stage::of(upstream.await, |setup| setup.with("drain.timeout", "40s")).await;
    let (head, mut wire) = vestibule.client().get("/v1/stream").from(&UserProfile::named("alice")).open().await;
    assert_eq!(head.status(), 200);
    assert!(within("the first frame", wire.read_chunk()).await.is_ok());
    vestibule.terminate();
    eventually("readiness to end", async || (vestibule.readyz().await.status == 503).then_some(())).await;
    gate.open();
    assert_eq!(within("the second frame", wire.read_chunk()).await, Ok(Some(b"data: 2\n\n".to_vec())));
    assert_eq!(within("the end of the stream", wire.read_chunk()).await, Ok(None));
    assert_eq!(vestibule.wait().await.code(), Some(0));
}

#[tokio::test]
async fn sigterm_ends_a_connection_between_its_requests() {
    let Stage { mut vestibule, upstream: _upstream, db: _books, setup: _setup } =
        Stage::with(|setup| setup.with("drain.delay", "0").with("drain.timeout", "60s")).await;
    let mut wire = vestibule.client().connect().await;
    wire.send(vestibule.client().get("/v1/models").from(&UserProfile::named("alice")).bytes()).await;
    wire.answer("GET").await.expect_ok();
    vestibule.terminate();
    within("the end of the connection", wire.closed()).await;
    assert_eq!(vestibule.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_stream_that_outlives_the_drain_is_cut_and_the_process_ends_with_0() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        exchange.send_chunk("data: 1\n\n").await;
        exchange.wire.closed().await;
        None
    });
    let Stage { mut vestibule, upstream: _upstream, db: _books, setup: _setup } =
        Stage::of(upstream.await, |setup| setup.with("drain.timeout", "300ms")).await;
    let (_, mut wire) = vestibule.client().get("/v1/stream").from(&UserProfile::named("alice")).open().await;
    assert!(within("the first frame", wire.read_chunk()).await.is_ok());
    vestibule.terminate();
    assert_eq!(within("the end", wire.read_chunk()).await, Err(()), "cut off, not ended tidily");
    assert_eq!(vestibule.wait().await.code(), Some(0));
}

#[tokio::test]
async fn while_it_leaves_the_balancers_new_requests_are_still_served() {
    let Stage { mut vestibule, upstream: _upstream, db: _books, setup: _setup } =
        Stage::with(|setup| setup.with("drain.delay", "1s")).await;
    vestibule.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    vestibule.terminate();
    eventually("readiness to end", async || (vestibule.readyz().await.status == 503).then_some(())).await;
    assert_eq!(vestibule.admin().get("/livez").send().await.status, 200);
    vestibule.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    assert_eq!(vestibule.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_database_that_hangs_is_given_up() {
    let db = TestDb::fresh().await;
    let upstream = Upstream::json().await;
    let database = Proxy::postgres(db.url()).await;
    let setup = Setup::new(&upstream.url, &db.url_through(database.address))
        .with("database.statement_timeout", "500ms")
        .with("database.connect_timeout", "500ms");
    let vestibule = setup.start().await;
    database.stall();
    let answer = vestibule.client().get("/v1/models").from(&UserProfile::named("alice")).send().await;
    answer.expect_refusal(503, "store_unavailable");
    database.pass();
    eventually("alice to come in", async || {
        let answer = vestibule.client().get("/v1/models").from(&UserProfile::named("alice")).send().await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!((db.user_count().await, db.key_count().await), (1, 1));
}
