//! A change made on one machine holds on every replica within `account.refresh`, and who was turned away is told.

use std::time::Duration;

use crate::support::client::UserProfile;
use crate::support::operator::{MASTER_KEY, done};
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::field;
use crate::support::{Gate, eventually, within};

/// Ten times `account.refresh`: a machine that is busy with other tests is no replica that forgets to look.
const LATE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_block_holds_on_every_replica_within_the_refresh_and_leaves_running_streams_alone() {
    let gate = Gate::closed();
    let passing = gate.clone();
    let upstream = Upstream::answering(move |mut exchange| {
        let gate = passing.clone();
        async move {
            if !exchange.head.line.contains("/stream") {
                return exchange.json("{}").await;
            }
            exchange.body().await;
            exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            exchange.send_chunk("before ").await;
            gate.pass().await;
            exchange.send_chunk("after").await;
            exchange.send("0\r\n\r\n").await.then_some(exchange)
        }
    })
    .await;
    let stage = Stage::of(upstream, |setup| setup.with("account.refresh", "1s")).await;
    let other = stage.setup.start().await;
    let alice = UserProfile::named("alice");
    let requests = [&stage.vestibule, &other].map(|replica| replica.client().get("/v1/models").from(&alice));
    for request in &requests {
        request.send().await.expect_ok();
    }
    let mut streaming = other.client().connect().await;
    streaming.send(other.client().get("/v1/stream").from(&alice).bytes()).await;
    stage.upstream.requests(3).await;

    done(&stage.setup, &["users", "block", "alice", "--yes"]).await;
    let blocked_at = tokio::time::Instant::now();
    for request in &requests {
        within("the block to hold", async {
            loop {
                let is_late = blocked_at.elapsed() > LATE;
                let answer = request.send().await;
                if answer.status != 200 {
                    return answer.expect_refusal(403, "account_blocked");
                }
                assert!(!is_late, "served {:?} after the block", blocked_at.elapsed());
            }
        })
        .await;
    }
    gate.open();
    let answer = streaming.answer("GET").await;
    assert_eq!((answer.text().as_str(), answer.complete), ("before after", true));

    done(&stage.setup, &["users", "unblock", "alice", "--yes"]).await;
    for request in &requests {
        eventually("alice to be let in again", async || (request.send().await.status == 200).then_some(())).await;
    }
}

#[tokio::test]
async fn a_revoked_session_is_replaced_on_every_replica_within_the_refresh() {
    let stage = Stage::with(|setup| setup.with("account.refresh", "1s")).await;
    let other = stage.setup.start().await;
    let requests =
        [&stage.vestibule, &other].map(|replica| replica.client().get("/v1/models").from(&UserProfile::named("alice")));
    for request in &requests {
        request.send().await.expect_ok();
    }
    assert_eq!(stage.upstream.keys().len(), 1);
    let old = stage.upstream.keys();
    done(&stage.setup, &["sessions", "revoke", "alice", "--yes"]).await;
    for request in &requests {
        eventually("another key", async || {
            request.send().await.expect_ok();
            let key = stage.upstream.last().head.value("x-litellm-api-key").expect("a key");
            (!old.contains(&key)).then_some(())
        })
        .await;
    }
    assert_eq!(stage.upstream.keys().len(), 2, "both replicas lend the same new key");
}

#[tokio::test]
async fn with_the_master_key_a_block_reaches_a_replica_that_still_trusts_its_memory() {
    // LiteLLM forgets the key when it is told, and refuses it then.
    let gone = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let upstream = Upstream::answering(move |exchange| {
        let gone = gone.clone();
        async move {
            use std::sync::atomic::Ordering::SeqCst;
            if exchange.head.line.contains("/key/delete") {
                gone.store(true, SeqCst);
            } else if exchange.head.line.starts_with("GET ") && gone.load(SeqCst) {
                let said = r#"{"error":{"type":"token_not_found_in_db"}}"#;
                return exchange.refuse("401 Unauthorized", said).await;
            }
            exchange.json("{}").await
        }
    })
    .await;
    let stage = Stage::of(upstream, |setup| {
        setup.with("account.refresh", "1h").with("session.life", "7d").with("litellm.master_key", MASTER_KEY)
    })
    .await;
    let request = stage.client().get("/v1/models").from(&UserProfile::named("alice"));
    request.send().await.expect_ok();
    done(&stage.setup, &["users", "block", "alice", "--yes"]).await;
    request.send().await.expect_refusal(403, "account_blocked");
}

#[tokio::test]
async fn who_is_turned_away_is_in_the_audit_once_a_minute_and_replica_or_not() {
    let stage = Stage::with(|setup| setup.with("default_role", "deny").with("account.refresh", "1s")).await;
    let other = stage.setup.start().await;
    stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    done(&stage.setup, &["users", "block", "alice", "--yes"]).await;
    let mallory = UserProfile::named("mallory").in_groups("none");
    let refused = "SELECT concat_ws(' ', detail->>'subject', detail->>'code', coalesce(a.user_id, '-')) FROM vestibule.audit l \
         LEFT JOIN vestibule.account a ON a.id = l.account_id WHERE event = 'refused' ORDER BY 1";
    for _ in 0..20 {
        stage.client().get("/v1/models").from(&mallory).send().await.expect_refusal(403, "no_role");
    }
    // Nobody is identified here: nobody is written down.
    stage.client().get("/v1/models").send().await.expect_refusal(401, "no_identity");
    eventually("the first refusal in the audit", async || (stage.db.texts(refused).await.len() == 1).then_some(()))
        .await;
    for _ in 0..5 {
        other.client().get("/v1/models").from(&mallory).send().await.expect_refusal(403, "no_role");
        other
            .client()
            .get("/v1/models")
            .from(&UserProfile::named("alice"))
            .send()
            .await
            .expect_refusal(403, "account_blocked");
    }
    let wanted = ["alice account_blocked alice", "mallory no_role -"];
    eventually("both in the audit", async || (stage.db.texts(refused).await == wanted).then_some(())).await;
    let is_it = |line: &serde_json::Value| line["target"] == "vestibule::audit" && field(line, "event") == "refused";
    let line = stage.vestibule.line("the refusal", |line| is_it(line).then(|| line.clone())).await;
    let lines = stage.vestibule.log().into_iter().filter_map(|line| serde_json::from_str(&line).ok());
    assert_eq!(lines.filter(is_it).count(), 1, "{:#?}", stage.vestibule.log());
    assert_eq!(field(&line, "code"), "no_role");
    assert!(!line.to_string().contains("mallory"), "{line}");
}

#[tokio::test]
async fn somebody_whose_groups_did_not_arrive_is_in_the_audit() {
    let stage = Stage::with(|setup| setup.with("identity.groups_required", true)).await;
    let alice = UserProfile::named("alice");
    let [user, email, _] = alice.headers();
    let request = stage.client().get("/v1/models").header(user.0, user.1).header(email.0, email.1);
    request.send().await.expect_refusal(403, "no_groups");
    let refused =
        "SELECT concat_ws(' ', detail->>'subject', detail->>'code') FROM vestibule.audit WHERE event = 'refused'";
    eventually("the refusal in the audit", async || {
        (stage.db.texts(refused).await == ["alice no_groups"]).then_some(())
    })
    .await;
}
