//! Which role, and what else, the rules give.

use serde_json::{Value, json};

use crate::support::client::UserProfile;
use crate::support::stage::Stage;
use crate::support::vestibule::field;

/// The role in LiteLLM's table after this person's first request, or the refusal's code.
async fn outcome(stage: &Stage, person: &UserProfile) -> String {
    let answer = stage.client().get("/v1/models").from(person).send().await;
    match answer.refusal() {
        Some(code) => code,
        None => stage.db.role(&person.user).await.unwrap_or_default(),
    }
}

fn person(user: &str, email: &str, groups: &str) -> UserProfile {
    UserProfile { user: user.to_owned(), email: email.to_owned(), groups: groups.to_owned() }
}

#[tokio::test]
async fn the_first_matching_rule_gives_the_role() {
    let stage = Stage::with(|setup| {
        setup.with("rules", json!([
            { "when": { "group": "outcasts" }, "role": "deny" },
            { "when": { "group": ["llm-admins", "root*"] }, "role": "proxy_admin" },
            { "when": { "user": "svc-*", "email_domain": "bots.example" }, "role": "proxy_admin_viewer" },
            { "when": { "email": "boss@example.com" }, "role": "proxy_admin_viewer" },
            { "when": { "email_domain": ["example.com", "corp.local"], "group": "llm-*" }, "role": "internal_user" },
            { "when": { "email_domain": "*.example.org" }, "role": "internal_user_view_only" },
        ]))
        .with("default_role", "deny")
    })
    .await;
    let cases = [
        (person("u1", "u1@else.example", "llm-admins"), "proxy_admin"),
        (person("u2", "u2@else.example", "x,root-of-all"), "proxy_admin"),
        (person("u3", "u3@else.example", "llm-admins,outcasts"), "not_admitted"),
        (person("svc-1", "svc-1@bots.example", ""), "proxy_admin_viewer"),
        (person("svc-2", "svc-2@else.example", ""), "no_role"),
        (person("x-svc-3", "x@bots.example", ""), "no_role"),
        (person("u4", "Boss@Example.com", ""), "proxy_admin_viewer"),
        (person("u5", "u5@example.com", "llm-x"), "internal_user"),
        (person("u6", "u6@corp.local", "a,llm-y,b"), "internal_user"),
        (person("u7", "u7@example.com", "users"), "no_role"),
        (person("u8", "u8@notexample.com", "llm-x"), "no_role"),
        (person("u9", "u9@example.com.evil.example", "llm-x"), "no_role"),
        (person("u10", "u10@a.example.org", ""), "internal_user_viewer"),
        (person("u11", "u11@example.org", ""), "no_role"),
        // Exact is exact: case, parts of words and other separators are other groups.
        (person("u12", "u12@else.example", "LLM-ADMINS"), "no_role"),
        (person("u13", "u13@else.example", "notllm-admins"), "no_role"),
        (person("u14", "u14@else.example", "llm-admins;x"), "no_role"),
        (person("u15", "u15@else.example", "x|llm-admins"), "no_role"),
        (person("u16", "u16@else.example", " llm-admins "), "proxy_admin"),
    ];
    for (person, expected) in &cases {
        assert_eq!(&outcome(&stage, person).await, expected, "{person:?}");
    }
    let admitted =
        cases.iter().filter(|(_, expected)| expected.contains("_user") || expected.starts_with("proxy_")).count();
    assert_eq!(stage.db.user_count().await, i64::try_from(admitted).expect("small"), "the refused have no row");
}

#[tokio::test]
async fn without_a_match_the_default_role_holds() {
    let stage = Stage::plain().await;
    assert_eq!(outcome(&stage, &person("u1", "u1@else.example", "")).await, "internal_user_viewer");
    let stage = Stage::with(|setup| setup.with("default_role", "internal_user")).await;
    assert_eq!(outcome(&stage, &person("u1", "u1@else.example", "")).await, "internal_user");
}

#[tokio::test]
async fn deny_comes_before_allow_and_allow_before_the_rules() {
    let stage = Stage::with(|setup| {
        setup
            .with("deny", json!([{ "email_domain": "contractors.example.com" }, { "user": "mallory" }]))
            .with("allow", json!([{ "email_domain": "*example.com" }, { "group": "guests" }]))
    })
    .await;
    let cases = [
        (person("u1", "u1@example.com", "llm-admins"), "proxy_admin"),
        (person("u2", "u2@contractors.example.com", "llm-admins"), "not_admitted"),
        (person("mallory", "m@example.com", "guests"), "not_admitted"),
        (person("u3", "u3@else.example", "llm-admins"), "not_admitted"),
        (person("u4", "u4@else.example", "guests"), "internal_user_viewer"),
    ];
    for (person, expected) in &cases {
        assert_eq!(&outcome(&stage, person).await, expected, "{person:?}");
    }
    assert_eq!(stage.db.user_count().await, 2);
}

fn granting(grants: &Value) -> Value {
    json!([{ "when": { "group": "llm-*" }, "role": "internal_user", "grants": grants }])
}

#[tokio::test]
async fn a_rule_writes_models_and_budgets_when_the_row_is_made() {
    let grants = json!({
        "models": ["gpt-4o-mini", "o3"], "max_budget": 50.5, "budget_duration": "30d", "tpm_limit": 100_000, "rpm_limit": 100,
    });
    let stage = Stage::with(|setup| setup.with("rules", granting(&grants))).await;
    let alice = UserProfile::named("alice");
    assert_eq!(outcome(&stage, &alice).await, "internal_user");
    let user = stage.db.user("alice").await.expect("alice has a row");
    assert_eq!(user.models, Some(vec!["gpt-4o-mini".to_owned(), "o3".to_owned()]));
    assert_eq!((user.max_budget, user.budget_duration.as_deref()), (Some(50.5), Some("30d")));
    assert_eq!((user.tpm_limit, user.rpm_limit), (Some(100_000), Some(100)));
    let reset = stage.db.number(
        r#"SELECT count(*) FROM "LiteLLM_UserTable" WHERE budget_reset_at > (now() AT TIME ZONE 'UTC')
           AND budget_reset_at <= (now() AT TIME ZONE 'UTC') + interval '31 days'"#,
    );
    assert_eq!(reset.await, 1, "a budget with a period has a time when it starts again");

    // What an admin then sets stays, also when the person comes with other groups.
    stage.db.run(r#"UPDATE "LiteLLM_UserTable" SET max_budget = 7, models = '{x}', spend = 3"#).await;
    assert_eq!(outcome(&stage, &alice.in_groups("llm-other")).await, "internal_user");
    let user = stage.db.user("alice").await.expect("alice has a row");
    assert_eq!((user.max_budget, user.models), (Some(7.0), Some(vec!["x".to_owned()])));
    assert_eq!(stage.db.number(r#"SELECT count(*) FROM "LiteLLM_UserTable" WHERE spend = 3"#).await, 1);
}

#[tokio::test]
async fn a_rule_that_always_grants_is_followed_from_rule_to_rule() {
    for (on, followed) in [("always", true), ("create", false)] {
        let rule = |group: &str, budget: f64| {
            let grants = json!({ "on": on, "max_budget": budget, "models": [group] });
            json!({ "when": { "group": group }, "role": "internal_user", "grants": grants })
        };
        let stage = Stage::with(|setup| setup.with("rules", json!([rule("small", 5.0), rule("large", 50.0)]))).await;
        let alice = UserProfile::named("alice");
        assert_eq!(outcome(&stage, &alice.clone().in_groups("small")).await, "internal_user");
        stage.db.run(r#"UPDATE "LiteLLM_UserTable" SET rpm_limit = 7"#).await;
        assert_eq!(outcome(&stage, &alice.in_groups("large")).await, "internal_user");
        let user = stage.db.user("alice").await.expect("alice has a row");
        let (budget, model) = if followed { (50.0, "large") } else { (5.0, "small") };
        assert_eq!((user.max_budget, user.models), (Some(budget), Some(vec![model.to_owned()])), "{on}");
        assert_eq!(user.rpm_limit, Some(7), "{on}: what the rule does not name is left alone");
    }
}

#[tokio::test]
async fn a_changed_group_changes_the_role_at_once() {
    let stage = Stage::with(|setup| setup.with("litellm.cache_ttl", 0)).await;
    let bob = UserProfile::named("bob");
    for (groups, role) in
        [("llm-users", "internal_user"), ("llm-admins", "proxy_admin"), ("nothing", "internal_user_viewer")]
    {
        assert_eq!(outcome(&stage, &bob.clone().in_groups(groups)).await, role);
    }
    assert_eq!(stage.upstream.keys().len(), 1, "the key stays");
}

#[tokio::test]
async fn a_lowered_role_settles_on_every_replica() {
    let stage = Stage::plain().await;
    let bob = UserProfile::named("bob");
    stage.client().get("/user/list").from(&bob.clone().in_groups("llm-admins")).send().await.expect_ok();
    let lowered = bob.in_groups("llm-users");
    stage.client().get("/user/list").from(&lowered).send().await.expect_refusal(503, "role_settling");
    // The time is in the account's row: a process that has never seen him knows it.
    let replica = stage.setup.start().await;
    replica.client().get("/user/list").from(&lowered).send().await.expect_refusal(503, "role_settling");
}

#[tokio::test]
async fn a_lowered_role_settles_before_management_calls_pass() {
    let stage = Stage::with(|setup| setup.with("litellm.cache_ttl", "2s")).await;
    let admin = UserProfile::named("bob").in_groups("llm-admins");
    let lowered = UserProfile::named("bob").in_groups("llm-users");
    stage.client().get("/user/list").from(&admin).send().await.expect_ok();
    let answer = stage.client().get("/user/list").from(&lowered).send().await;
    answer.expect_refusal(503, "role_settling");
    let wait: u64 =
        answer.head.value("retry-after").and_then(|value| value.parse().ok()).expect("Retry-After in seconds");
    assert!((1..=10).contains(&wait), "{wait}");
    // Model routes go on, and the role is written already.
    stage.client().post("/v1/chat/completions", "{}").from(&lowered).send().await.expect_ok();
    assert_eq!(stage.db.role("bob").await.as_deref(), Some("internal_user"));
    crate::support::eventually("the role to settle", async || {
        let answer = stage.client().get("/user/list").from(&lowered).send().await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_raised_role_need_not_settle() {
    let stage = Stage::plain().await;
    stage.client().get("/user/list").from(&UserProfile::named("bob")).send().await.expect_ok();
    stage.client().get("/user/list").from(&UserProfile::named("bob").in_groups("llm-admins")).send().await.expect_ok();
    assert_eq!(stage.db.role("bob").await.as_deref(), Some("proxy_admin"));
}

#[tokio::test]
async fn who_wins_over_a_role_is_a_setting() {
    for (sync, same_groups, other_groups) in [
        ("always", "internal_user", "proxy_admin"),
        ("on_change", "proxy_admin_viewer", "proxy_admin"),
        ("create", "proxy_admin_viewer", "proxy_admin_viewer"),
    ] {
        let stage = Stage::with(|setup| setup.with("account.role_sync", sync).with("litellm.cache_ttl", 0)).await;
        let bob = UserProfile::named("bob");
        assert_eq!(outcome(&stage, &bob).await, "internal_user");
        stage.db.run(r#"UPDATE "LiteLLM_UserTable" SET user_role = 'proxy_admin_viewer'"#).await;
        // The same role from the rules, seen by a process that knows nothing yet.
        let fresh = stage.setup.start().await;
        fresh.client().get("/v1/models").from(&bob).send().await.expect_ok();
        assert_eq!(stage.db.role("bob").await.as_deref(), Some(same_groups), "{sync}");
        fresh.client().get("/v1/models").from(&bob.in_groups("llm-admins")).send().await.expect_ok();
        assert_eq!(stage.db.role("bob").await.as_deref(), Some(other_groups), "{sync}");
    }
}

#[tokio::test]
async fn an_account_that_an_admin_blocked_stays_out() {
    let stage = Stage::plain().await;
    let alice = UserProfile::named("alice");
    stage.client().get("/v1/models").from(&alice).send().await.expect_ok();
    stage.db.run(r#"UPDATE "LiteLLM_VerificationToken" SET blocked = true"#).await;
    let fresh = stage.setup.start().await;
    fresh.client().get("/v1/models").from(&alice).send().await.expect_refusal(403, "account_blocked");
    assert_eq!(stage.db.key_count().await, 1, "no new key for a blocked one");
}

#[tokio::test]
async fn sign_ins_that_disagree_are_counted_and_logged() {
    let stage = Stage::plain().await;
    for groups in ["llm-users", "llm-admins", "llm-users", "llm-admins"] {
        let answer = stage.client().get("/v1/models").from(&UserProfile::named("bob").in_groups(groups)).send().await;
        answer.expect_ok();
    }
    assert!(stage.vestibule.metric("vestibule_role_flaps_total").await >= 1);
    stage.vestibule.line("a role_flap", |line| (field(line, "code") == "role_flap").then_some(())).await;
}
