//! Claims about the real LiteLLM. `tests/run --litellm` starts two, with the default cache time and with one second.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Answer, Client, UserProfile};
use crate::support::db::TestDb;
use crate::support::operator::done;
use crate::support::vestibule::{Setup, Vestibule};
use crate::support::{PATIENCE, eventually, within};

pub(crate) const MASTER_KEY: &str = "sk-1234567890";

/// vestibule before a real LiteLLM, on LiteLLM's own database.
pub(crate) struct Real {
    pub(crate) vestibule: Vestibule,
    pub(crate) db: TestDb,
    litellm: Client,
    /// What started vestibule.
    pub(crate) setup: Setup,
}

/// Where a real LiteLLM is, once it is up, and its database. `name` is `DEFAULT` or `SHORT`, for its cache time.
pub(crate) async fn address(name: &str) -> (SocketAddr, String) {
    let variable = format!("VESTIBULE_TEST_LITELLM_{name}");
    let value =
        std::env::var(&variable).unwrap_or_else(|_| panic!("no real LiteLLM here: `tests/run --litellm` starts it"));
    let (url, database) = value.split_once(' ').expect("an address and a database");
    let address = url.trim_start_matches("http://").parse().expect("an address");
    let litellm = Client::tcp(address);
    let up = async {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            if tokio::net::TcpStream::connect(address).await.is_ok()
                && litellm.get("/health/readiness").send().await.status == 200
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(4), up).await.expect("LiteLLM comes up within four minutes");
    (address, database.to_owned())
}

impl Real {
    /// `name` is `DEFAULT` or `SHORT`, for LiteLLM's cache time, which vestibule is told.
    async fn start(name: &str, cache_ttl: &str) -> Self {
        Self::with(name, cache_ttl, |setup| setup).await
    }

    /// The same with a changed configuration.
    pub(crate) async fn with(name: &str, cache_ttl: &str, change: impl FnOnce(Setup) -> Setup) -> Self {
        let (address, database) = address(name).await;
        let setup = change(Setup::new(&format!("http://{address}"), &database).with("litellm.cache_ttl", cache_ttl));
        let vestibule = setup.start().await;
        Self { vestibule, db: TestDb::at(&database).await, litellm: Client::tcp(address), setup }
    }

    async fn chat(&self, person: &UserProfile, stream: bool) -> Answer {
        let body =
            json!({ "model": "gpt-4o-mini", "stream": stream, "messages": [{ "role": "user", "content": "hi" }] });
        self.vestibule.client().post("/v1/chat/completions", body.to_string()).from(person).send().await
    }

    /// A route that LiteLLM gives to admins alone.
    async fn admin_route(&self, person: &UserProfile) -> Answer {
        self.vestibule.client().get("/user/list?page=1&page_size=1").from(person).send().await
    }

    /// What LiteLLM itself says of a user.
    async fn info(&self, user_id: &str) -> Value {
        let request = self.litellm.get(&format!("/user/info?user_id={user_id}"));
        let answer = request.header("Authorization", format!("Bearer {MASTER_KEY}")).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["user_info"].clone()
    }

    /// How many successful calls LiteLLM has put down to a user.
    async fn logged_calls(&self, user_id: &str) -> i64 {
        self.db.number(&format!(r#"SELECT count(*) FROM "LiteLLM_SpendLogs" WHERE "user" = '{user_id}'"#)).await
    }
}

#[tokio::test]
#[ignore = "needs the real LiteLLM: tests/run --litellm"]
async fn alice_is_answered_streamed_and_not_and_pays_herself() {
    let real = Real::start("SHORT", "1s").await;
    let alice = UserProfile::named("alice-pays");
    let answer = real.chat(&alice, false).await;
    answer.expect_ok();
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "hello");
    let answer = real.chat(&alice, true).await;
    answer.expect_ok();
    assert!(
        answer.complete && answer.head.value("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
    );
    let said: String = answer
        .text()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|frame| frame["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(said, "hello");

    let info = real.info("alice-pays").await;
    assert_eq!(info["user_role"], "internal_user", "{info}");
    assert_eq!(info["user_email"], "alice-pays@example.com", "{info}");
    eventually("the two calls in her name", async || (real.logged_calls("alice-pays").await == 2).then_some(())).await;
    eventually("her spend", async || real.info("alice-pays").await["spend"].as_f64().filter(|spend| *spend > 0.0))
        .await;
}

#[tokio::test]
#[ignore = "needs the real LiteLLM: tests/run --litellm"]
async fn an_admin_by_group_may_what_others_may_not() {
    let real = Real::start("DEFAULT", "60s").await;
    let bob = UserProfile::named("bob-may").in_groups("llm-admins");
    real.admin_route(&bob).await.expect_ok();
    assert_eq!(real.info("bob-may").await["user_role"], "proxy_admin");
    let answer = real.admin_route(&UserProfile::named("alice-may-not")).await;
    assert_eq!((answer.status, answer.refusal()), (403, None), "LiteLLM's own refusal: {}", answer.text());
    assert_eq!(real.info("alice-may-not").await["user_role"], "internal_user");
}

/// Asks every 250 ms as somebody who was an admin a moment ago, until LiteLLM itself says no.
async fn lowered_at_once(name: &str, cache: &str, cache_ttl: &str) {
    let real = Real::start(cache, cache_ttl).await;
    let admin = UserProfile::named(name).in_groups("llm-admins");
    let lowered = UserProfile::named(name).in_groups("llm-users");
    // The role is in LiteLLM's cache from here on.
    real.admin_route(&admin).await.expect_ok();
    real.admin_route(&admin).await.expect_ok();
    let mut settling = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let over = async {
        let mut refused = 0;
        while refused < 8 {
            tick.tick().await;
            let answer = real.admin_route(&lowered).await;
            match (answer.status, answer.refusal().as_deref()) {
                (503, Some("role_settling")) => {
                    assert_eq!(refused, 0, "once it has settled it stays so");
                    assert!(answer.head.value("retry-after").is_some());
                    settling += 1;
                }
                (403, None) => refused += 1,
                other => panic!("a person who is no admin any more got {other:?}: {}", answer.text()),
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(2), over)
        .await
        .expect("the role settles within the cache time and a little");
    assert!(settling > 0, "the role had to settle first");
    real.chat(&lowered, false).await.expect_ok();
}

#[tokio::test]
#[ignore = "needs the real LiteLLM: tests/run --litellm"]
async fn a_lowered_admin_is_never_an_admin_again_at_the_default_cache_time() {
    lowered_at_once("bob-lowered-60", "DEFAULT", "60s").await;
}

#[tokio::test]
#[ignore = "needs the real LiteLLM: tests/run --litellm"]
async fn a_lowered_admin_is_never_an_admin_again_at_a_short_cache_time() {
    lowered_at_once("bob-lowered-1", "SHORT", "1s").await;
}

#[tokio::test]
#[ignore = "needs the real LiteLLM: tests/run --litellm"]
async fn a_second_persons_key_changes_neither_who_pays_nor_who_may() {
    let real = Real::start("SHORT", "1s").await;
    let owner = UserProfile::named("spoof-bob").in_groups("llm-admins");
    real.admin_route(&owner).await.expect_ok();
    // A live admin key of bob's that he made himself, so that the test can know it.
    let body = json!({ "user_id": "spoof-bob", "key_alias": "spoof-bob-own" }).to_string();
    let made = real.vestibule.client().post("/key/generate", body).from(&owner).send().await;
    made.expect_ok();
    let key = made.json()["key"].as_str().expect("a key").to_owned();
    let direct =
        real.litellm.get("/user/list?page=1&page_size=1").header("Authorization", format!("Bearer {key}")).send().await;
    assert_eq!(direct.status, 200, "the key is alive: {}", direct.text());

    let alice = UserProfile::named("spoof-alice");
    let places = [
        ("Authorization", format!("Bearer {key}")),
        ("x-litellm-api-key", key.clone()),
        ("api-key", key.clone()),
        ("x-api-key", key.clone()),
        ("x-goog-api-key", key.clone()),
        ("Ocp-Apim-Subscription-Key", key.clone()),
        ("litellm_user_api_key", key.clone()),
        ("Cookie", format!("token={key}")),
        ("x-litellm-end-user-id", "spoof-bob".to_owned()),
        ("X-Forwarded-Preferred-Username", "spoof-bob".to_owned()),
    ];
    let body = json!({ "model": "gpt-4o-mini", "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    let mut calls = 0;
    for (name, value) in &places {
        let client = real.vestibule.client();
        let answer = client.get("/user/list?page=1&page_size=1").from(&alice).header(name, value).send().await;
        assert_eq!((answer.status, answer.refusal()), (403, None), "{name}: {}", answer.text());
        let answer = client.post("/v1/chat/completions", body.clone()).from(&alice).header(name, value).send().await;
        answer.expect_ok();
        calls += 1;
        let google = format!("/v1beta/models/gpt-4o-mini:generateContent?key={key}");
        let answer = client
            .post(&google, r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#)
            .from(&alice)
            .header(name, value)
            .send()
            .await;
        assert_ne!(answer.status, 401, "{}", answer.text());
    }
    eventually("the calls in her name", async || (real.logged_calls("spoof-alice").await >= calls).then_some(())).await;
    let bobs = real
        .db
        .number(r#"SELECT count(*) FROM "LiteLLM_SpendLogs" WHERE "user" = 'spoof-bob' AND model LIKE '%gpt%'"#)
        .await;
    assert_eq!(bobs, 0, "nothing was put down to the key's owner");
    assert_eq!(real.info("spoof-bob").await["spend"].as_f64(), Some(0.0));
}

#[tokio::test]
#[ignore = "needs the real LiteLLM: tests/run --litellm"]
async fn a_key_deleted_by_hand_is_replaced_without_the_caller_noticing() {
    let real = Real::start("SHORT", "1s").await;
    let carol = UserProfile::named("carol-deleted");
    real.chat(&carol, false).await.expect_ok();
    real.db.run(r#"DELETE FROM "LiteLLM_VerificationToken" WHERE user_id = 'carol-deleted'"#).await;
    let models = real.vestibule.client().get("/v1/models").from(&carol);
    let healed = async {
        loop {
            models.send().await.expect_ok();
            let sql = r#"SELECT count(*) FROM "LiteLLM_VerificationToken" WHERE user_id = 'carol-deleted'"#;
            if real.db.number(sql).await == 1 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, healed).await.expect("LiteLLM forgets the key within its second");
    real.chat(&carol, false).await.expect_ok();
}

#[tokio::test]
#[ignore = "needs the real LiteLLM: tests/run --litellm"]
async fn a_budget_of_a_rule_holds_in_litellm() {
    let real = Real::start("SHORT", "1s").await;
    let rules = json!([{ "when": { "group": "llm-*" }, "role": "internal_user", "grants": { "max_budget": 0.0, "budget_duration": "30d", "models": ["gpt-4o-mini"] } }]);
    let (url, database) =
        (real.db.url().to_owned(), std::env::var("VESTIBULE_TEST_LITELLM_SHORT").expect("started above"));
    let upstream = database.split(' ').next().expect("an address");
    let vestibule = Setup::new(upstream, &url).with("rules", rules).start().await;
    let erin = UserProfile::named("erin-budget");
    let body = json!({ "model": "gpt-4o-mini", "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    let info =
        within("a first request", vestibule.client().post("/v1/chat/completions", body.clone()).from(&erin).send())
            .await;
    assert!(info.refusal().is_none(), "{}", info.text());
    let info = real.info("erin-budget").await;
    assert_eq!((info["max_budget"].as_f64(), info["models"][0].as_str()), (Some(0.0), Some("gpt-4o-mini")), "{info}");
    let other = body.replace("gpt-4o-mini", "gpt-4o");
    let answer = vestibule.client().post("/v1/chat/completions", other).from(&erin).send().await;
    assert!(answer.status >= 400 && answer.refusal().is_none(), "a model that is not hers: {}", answer.text());
}

/// A key that LiteLLM has in its cache, and how a call with it ends.
async fn called_with(real: &Real, key: &str) -> u16 {
    real.litellm.get("/v1/models").header("Authorization", format!("Bearer {key}")).send().await.status
}

#[tokio::test]
#[ignore = "needs the real LiteLLM: tests/run --litellm"]
async fn with_the_master_key_a_block_and_its_lifting_hold_in_litellm_at_once() {
    let real = Real::start("DEFAULT", "60s").await;
    let frank = UserProfile::named("frank-blocked");
    real.chat(&frank, false).await.expect_ok();
    // A key of his own, which works without vestibule, and which LiteLLM has in its cache for the next minute.
    let body = json!({ "user_id": "frank-blocked", "key_alias": "frank-own" }).to_string();
    let made = real.vestibule.client().post("/key/generate", body).from(&frank).send().await;
    made.expect_ok();
    let own = made.json()["key"].as_str().expect("a key").to_owned();
    assert_eq!(called_with(&real, &own).await, 200);
    let setup = real.setup.clone().with("litellm.master_key", MASTER_KEY);
    let told = done(&setup, &["users", "block", "frank-blocked", "--yes", "--json"]).await;
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["litellm"], &told["keys_blocked"]), (&json!("told"), &json!(1)), "{told}");
    assert_eq!(called_with(&real, &own).await, 401, "his own key, at once");
    let answer = real.vestibule.client().get("/v1/models").from(&frank).send().await;
    answer.expect_refusal(403, "account_blocked");
    let metadata = "SELECT metadata::text FROM \"LiteLLM_UserTable\" WHERE user_id = 'frank-blocked'";
    assert!(real.db.texts(metadata).await[0].contains("\"scim_active\": false"), "LiteLLM has not written over it");

    done(&setup, &["users", "unblock", "frank-blocked", "--yes"]).await;
    eventually("frank to be let in again", async || {
        (real.vestibule.client().get("/v1/models").from(&frank).send().await.status == 200).then_some(())
    })
    .await;
    assert!(!real.db.texts(metadata).await[0].contains("scim_active"));
    assert_eq!(real.info("frank-blocked").await["user_role"], "internal_user");
}

#[tokio::test]
#[ignore = "needs the real LiteLLM: tests/run --litellm"]
async fn with_the_master_key_a_revoked_session_is_replaced_without_the_caller_noticing() {
    let real = Real::start("DEFAULT", "60s").await;
    let gina = UserProfile::named("gina-revoked");
    let models = real.vestibule.client().get("/v1/models").from(&gina);
    models.send().await.expect_ok();
    let token = "SELECT token FROM \"LiteLLM_VerificationToken\" WHERE user_id = 'gina-revoked'";
    let before = real.db.texts(token).await;
    let setup = real.setup.clone().with("litellm.master_key", MASTER_KEY);
    done(&setup, &["sessions", "revoke", "gina-revoked", "--yes"]).await;
    assert!(real.db.texts(token).await.is_empty());
    models.send().await.expect_ok();
    let after = real.db.texts(token).await;
    assert!(after.len() == 1 && after != before, "LiteLLM had forgotten the old key");
}

#[tokio::test]
#[ignore = "needs the real LiteLLM: tests/run --litellm"]
async fn check_connect_learns_from_the_real_one_what_can_be_learnt_and_changes_nothing() {
    let real = Real::start("SHORT", "1s").await;
    let rows = r#"SELECT (SELECT count(*) FROM "LiteLLM_UserTable") + (SELECT count(*) FROM "LiteLLM_VerificationToken")
                  + (SELECT count(*) FROM "LiteLLM_ErrorLogs")"#;
    let before = real.db.number(rows).await;
    let told: Value = serde_json::from_str(&done(&real.setup, &["check", "--connect", "--json"]).await).expect("JSON");
    let findings = told["findings"].as_array().expect("a list").clone();
    let has = |findings: &[Value], state: &str, words: &str| {
        let is = |finding: &&Value| {
            finding["state"] == state && finding["message"].as_str().is_some_and(|message| message.contains(words))
        };
        assert_eq!(findings.iter().filter(is).count(), 1, "{state} {words}: {findings:#?}");
    };
    has(&findings, "ok", "every column and right");
    has(&findings, "ok", "own tables in schema `vestibule` are of version");
    has(&findings, "ok", "has its database");
    has(&findings, "ok", "refuses one that nobody has");
    has(&findings, "ok", "no `PROXY_BASE_URL`");
    has(&findings, "ok", "no native SSO");
    has(&findings, "unknown", "does not tell its version");
    has(&findings, "unknown", "cache time");
    let with_key = real.setup.clone().with("litellm.master_key", MASTER_KEY);
    let told: Value = serde_json::from_str(&done(&with_key, &["check", "--connect", "--json"]).await).expect("JSON");
    has(told["findings"].as_array().expect("a list"), "ok", "and takes `litellm.master_key`");
    let other = real.setup.clone().with("litellm.master_key", "sk-another-master-key-0123");
    let ended = crate::support::operator::operate(&other, &["check", "--connect"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("does not take `litellm.master_key`"), "{}", ended.stdout);
    assert_eq!(real.db.number(rows).await, before);
}

#[tokio::test]
#[ignore = "needs the real LiteLLM: tests/run --litellm"]
async fn over_their_budget_somebody_is_refused_in_the_playground_as_in_their_program() {
    let real = Real::with("SHORT", "1s", |setup| setup.with("public_url", "https://llm.example.com")).await;
    let olga = UserProfile::named("olga-over");
    real.chat(&olga, false).await.expect_ok();
    let page = real.vestibule.client().get("/ui/").from(&olga).header("Accept", "text/html").send().await;
    let placeholder = crate::ui::key(&crate::ui::token(&page));
    let body = json!({ "model": "gpt-4o-mini", "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    let playground = real.vestibule.client().post("/v1/chat/completions", body).from(&olga);
    let playground = playground.header("Authorization", format!("Bearer {placeholder}"));
    playground.send().await.expect_ok();

    real.db.run(r#"UPDATE "LiteLLM_UserTable" SET max_budget = 0.01, spend = 5 WHERE user_id = 'olga-over'"#).await;
    let refused = eventually("LiteLLM to see her budget", async || {
        let answer = real.chat(&olga, false).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!(refused.json()["error"]["type"], "budget_exceeded", "{}", refused.text());
    let answer = playground.send().await;
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (refused.status, &refused.json()["error"]["type"]));
    // Other routes go on: she can see why.
    let own =
        real.vestibule.client().get("/user/info").from(&olga).header("Authorization", format!("Bearer {placeholder}"));
    own.send().await.expect_ok();
}
