//! Who it is, as each sign-in proxy says it, and what is no identity.

use serde_json::json;

use crate::support::client::{Request, UserProfile};
use crate::support::stage::Stage;

fn with_headers(request: Request, headers: &[(&str, &str)]) -> Request {
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// One sign-in proxy: its preset, what it always sets, its headers as they come, and who that is.
struct Sample {
    preset: &'static str,
    reads: &'static [&'static str],
    headers: &'static [(&'static str, &'static str)],
    user_id: &'static str,
    alias: Option<&'static str>,
}

const SAMPLES: &[Sample] = &[
    Sample {
        preset: "oauth2-proxy",
        reads: &["user", "email", "groups", "preferred_username"],
        headers: &[
            ("X-Forwarded-User", "auth0|5f7c8ec7"),
            ("X-Forwarded-Email", "zoe@example.com"),
            ("X-Forwarded-Groups", "llm-users,the admins,role:litellm:x"),
            ("X-Forwarded-Preferred-Username", "zo\u{eb}"),
        ],
        user_id: "auth0|5f7c8ec7",
        alias: Some("zo\u{eb}"),
    },
    Sample {
        preset: "oauth2-proxy-auth-request",
        reads: &["user", "email", "groups"],
        headers: &[
            ("X-Auth-Request-User", "5f7c8ec7-0000"),
            ("X-Auth-Request-Email", "zoe@example.com"),
            ("X-Auth-Request-Groups", "the admins"),
        ],
        user_id: "5f7c8ec7-0000",
        alias: None,
    },
    Sample {
        preset: "vouch",
        reads: &["user", "email", "name", "groups"],
        headers: &[
            ("X-Vouch-User", "zoe@example.com"),
            ("X-Vouch-Success", "true"),
            ("X-Vouch-IdP-Claims-Email", "zoe@example.com"),
            ("X-Vouch-IdP-Claims-Name", "Zo\u{eb} \u{c5}ngstr\u{f6}m"),
            ("X-Vouch-IdP-Claims-Groups", "\"a,b\",\"the admins\""),
        ],
        user_id: "zoe@example.com",
        alias: Some("Zo\u{eb} \u{c5}ngstr\u{f6}m"),
    },
    Sample {
        preset: "gatekeeper",
        reads: &["user", "email", "name", "groups", "roles", "preferred_username"],
        headers: &[
            ("X-Auth-Subject", "0e9c4d7e-1111-2222-3333-444455556666"),
            ("X-Auth-Userid", "zoe"),
            ("X-Auth-Username", "zoe"),
            ("X-Auth-Email", "zoe@example.com"),
            ("X-Auth-Name", "=?UTF-8?b?Wm/DqyDDhW5nc3Ryw7Zt?="),
            ("X-Auth-Groups", "the admins,/staff"),
            ("X-Auth-Roles", "offline_access"),
            ("X-Auth-Token", "eyJ.canary.token"),
            ("X-Auth-Expiresin", "2026-01-01"),
        ],
        user_id: "0e9c4d7e-1111-2222-3333-444455556666",
        alias: Some("Zo\u{eb} \u{c5}ngstr\u{f6}m"),
    },
    Sample {
        preset: "authentik",
        reads: &["user", "email", "name", "groups", "preferred_username"],
        headers: &[
            ("X-authentik-username", "zoe"),
            ("X-authentik-uid", "b8f1c0ffee"),
            ("X-authentik-email", "zoe@example.com"),
            ("X-authentik-name", "\u{5bae}\u{5d0e} \u{99ff}"),
            ("X-authentik-groups", "Tech, Ops|the admins"),
            ("X-authentik-jwt", "eyJ.canary.token"),
            ("X-authentik-meta-jwks", "https://evil.example/jwks"),
        ],
        user_id: "b8f1c0ffee",
        alias: Some("\u{5bae}\u{5d0e} \u{99ff}"),
    },
    Sample {
        preset: "authelia",
        reads: &["user", "email", "name", "groups"],
        headers: &[
            ("Remote-User", "zoe"),
            ("Remote-Email", "zoe@example.com"),
            ("Remote-Name", "Zo\u{eb} \u{c5}."),
            ("Remote-Groups", "dev,the admins"),
        ],
        user_id: "zoe",
        alias: Some("Zo\u{eb} \u{c5}."),
    },
];

#[tokio::test]
async fn each_preset_reads_what_its_sign_in_proxy_sends() {
    for sample in SAMPLES {
        let stage = Stage::with(|setup| {
            setup
                .with("identity", json!({ "preset": sample.preset, "reads": sample.reads }))
                .with("rules", json!([{ "when": { "group": "the admins" }, "role": "proxy_admin_viewer" }]))
                .with("default_role", "deny")
        })
        .await;
        with_headers(stage.client().get("/v1/models"), sample.headers).send().await.expect_ok();
        let users = stage.db.users().await;
        assert_eq!(users.len(), 1, "{}", sample.preset);
        let user = &users[0];
        assert_eq!(user.user_id, sample.user_id, "{}", sample.preset);
        assert_eq!(user.user_email.as_deref(), Some("zoe@example.com"), "{}", sample.preset);
        assert_eq!(user.user_role.as_deref(), Some("proxy_admin_viewer"), "{}", sample.preset);
        if sample.alias.is_some() {
            assert_eq!(user.user_alias.as_deref(), sample.alias, "{}", sample.preset);
        }
        let seen = stage.upstream.only().head;
        for (name, _) in sample.headers {
            assert_eq!(seen.value(name), None, "{}: {name} goes no further", sample.preset);
        }
    }
}

#[tokio::test]
async fn a_preset_does_not_read_anothers_headers() {
    for sample in SAMPLES {
        let other = if sample.preset == "authelia" { "vouch" } else { "authelia" };
        let stage = Stage::with(|setup| {
            setup.with("identity", json!({ "preset": other, "reads": ["user", "email", "groups"] }))
        })
        .await;
        let answer = with_headers(stage.client().get("/v1/models"), sample.headers).send().await;
        answer.expect_refusal(401, "no_identity");
        stage.db.expect_nothing_written().await;
    }
}

#[tokio::test]
async fn every_header_can_be_named_and_decoded() {
    let stage = Stage::with(|setup| {
        setup.with(
            "identity",
            json!({
                "preset": "custom",
                "reads": ["user", "email", "name", "groups"],
                "headers": {
                    "user": { "name": "X-My-User" },
                    "email": { "name": "X-My-Mail", "decoding": "percent" },
                    "name": { "name": "X-My-Name", "decoding": "latin1" },
                    "groups": { "name": "X-My-Groups", "separator": "json", "decoding": "base64url" },
                },
            }),
        )
    })
    .await;
    let answer = stage
        .client()
        .get("/v1/models")
        .header("X-My-User", "zoe")
        .header("X-My-Mail", "zoe%40example.com")
        .header("X-My-Name", b"Zo\xeb")
        .header("X-My-Groups", "WyJsbG0tYWRtaW5zIiwiYSxiIl0")
        .send()
        .await;
    answer.expect_ok();
    let user = stage.db.user("zoe").await.expect("zoe has a row");
    assert_eq!(user.user_email.as_deref(), Some("zoe@example.com"));
    assert_eq!(user.user_alias.as_deref(), Some("Zo\u{eb}"));
    assert_eq!(user.user_role.as_deref(), Some("proxy_admin"));
}

#[tokio::test]
async fn what_is_no_identity_is_refused_and_written_nowhere() {
    const USER: &str = "X-Forwarded-User";
    const EMAIL: &str = "X-Forwarded-Email";
    const GROUPS: &str = "X-Forwarded-Groups";
    // Refused as HTTP, before anybody looks at headers.
    const NOT_HTTP: &str = "bad_head";
    let long = "x".repeat(8193);
    let many = (0..513).map(|number| format!("g{number}")).collect::<Vec<_>>().join(",");
    // What comes beside `X-Forwarded-User: alice`, or instead of it; the code must be one of these.
    let cases: Vec<(&str, &[u8], &[&str])> = vec![
        (USER, b"", &["no_identity"]),
        (USER, b"   ", &["no_identity"]),
        (USER, b"alice,bob", &["repeated_header"]),
        (USER, b"alice bob,carol", &["repeated_header"]),
        (USER, "alice\u{200b}".as_bytes(), &["malformed_user"]),
        (USER, "\u{202e}ecila".as_bytes(), &["malformed_user"]),
        (USER, "\u{feff}alice".as_bytes(), &["malformed_user"]),
        (USER, "alice\u{a0}".as_bytes(), &["malformed_user"]),
        (USER, "e\u{301}ve".as_bytes(), &["malformed_user"]),
        (USER, b"zo\xeb", &["malformed_user"]),
        (USER, b"a\x01b", &["malformed_user", NOT_HTTP]),
        (USER, b"a\x7fb", &["malformed_user", NOT_HTTP]),
        (USER, &long.as_bytes()[..600], &["malformed_user", "reserved_id"]),
        (USER, long.as_bytes(), &["malformed_user", "malformed_header", "reserved_id"]),
        (USER, b"default_user_id", &["reserved_id"]),
        (USER, b"Default_User_Id", &["reserved_id"]),
        (USER, b"litellm-proxy-admin", &["reserved_id"]),
        (USER, b"LiteLLM", &["reserved_id"]),
        (USER, b"__db_unavailable_fallback__", &["reserved_id"]),
        (EMAIL, b"alice", &["malformed_email"]),
        (EMAIL, b"a@evil@example.com", &["malformed_email"]),
        (EMAIL, b"@example.com", &["malformed_email"]),
        (EMAIL, b"alice@", &["malformed_email"]),
        (EMAIL, b"alice@example.com,eve@example.com", &["repeated_header", "malformed_email"]),
        (EMAIL, b"al ice@example.com", &["malformed_email"]),
        (EMAIL, "alice@example.com\u{200b}".as_bytes(), &["malformed_email"]),
        (EMAIL, b"alice\xff@example.com", &["malformed_email"]),
        (GROUPS, b"llm-users,\xff", &["malformed_groups"]),
        (GROUPS, many.as_bytes(), &["malformed_groups"]),
        (GROUPS, long.as_bytes(), &["malformed_groups", "malformed_header"]),
        (GROUPS, "llm-\u{202e}admins".as_bytes(), &["malformed_groups"]),
    ];
    let stage = Stage::plain().await;
    let mut wrong = Vec::new();
    for (name, value, codes) in cases {
        let mut request = stage.client().get("/v1/models").header(name, value);
        if name != USER {
            request = request.header(USER, "alice");
        }
        let answer = request.send().await;
        let refusal = answer.refusal().unwrap_or_else(|| format!("{} without a code", answer.status));
        if !codes.contains(&refusal.as_str()) {
            wrong.push(format!("{name}: {} gave {} {refusal}", value.escape_ascii(), answer.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(stage.upstream.count(), 0);
    stage.db.expect_nothing_written().await;
}

#[tokio::test]
async fn a_repeated_header_is_refused_in_either_order() {
    let stage = Stage::plain().await;
    for (name, first, second) in [
        ("X-Forwarded-User", "alice", "bob"),
        ("X-Forwarded-User", "bob", "alice"),
        ("X-Forwarded-User", "alice", "alice"),
        ("X-Forwarded-User", "alice", ""),
        ("X-Forwarded-Email", "a@example.com", "b@example.com"),
        ("X-Forwarded-Groups", "llm-users", "llm-admins"),
    ] {
        let mut request = stage.client().get("/v1/models").header(name, first).header(name, second);
        if name != "X-Forwarded-User" {
            request = request.header("X-Forwarded-User", "alice");
        }
        request.send().await.expect_refusal(400, "repeated_header");
    }
    assert_eq!(stage.upstream.count(), 0);
    stage.db.expect_nothing_written().await;
}

#[tokio::test]
async fn one_person_is_one_row_however_the_email_is_written() {
    let stage = Stage::plain().await;
    for email in ["alice@example.com", "Alice@Example.COM", " alice@example.com "] {
        let answer = stage
            .client()
            .get("/v1/models")
            .header("X-Forwarded-User", "alice")
            .header("X-Forwarded-Email", email)
            .send()
            .await;
        answer.expect_ok();
    }
    let users = stage.db.users().await;
    assert_eq!(users.len(), 1, "{users:?}");
    assert_eq!(users[0].user_email.as_deref(), Some("alice@example.com"));
    assert_eq!(stage.upstream.keys().len(), 1);
}

#[tokio::test]
async fn an_empty_email_is_no_email() {
    let stage = Stage::plain().await;
    let answer = stage
        .client()
        .get("/v1/models")
        .header("X-Forwarded-User", "alice")
        .header("X-Forwarded-Email", "")
        .send()
        .await;
    answer.expect_ok();
    assert_eq!(stage.db.user("alice").await.expect("alice has a row").user_email, None);
}

#[tokio::test]
async fn groups_can_be_required() {
    let stage = Stage::with(|setup| setup.with("identity.groups_required", true)).await;
    let request = stage.client().get("/v1/models").header("X-Forwarded-User", "alice");
    request.send().await.expect_refusal(403, "no_groups");
    stage.db.expect_nothing_written().await;
    request.header("X-Forwarded-Groups", "llm-admins").send().await.expect_ok();
}

#[tokio::test]
async fn the_user_header_can_hold_the_email() {
    let stage =
        Stage::with(|setup| setup.with("identity.email_from", "user").with("identity.reads", vec!["user", "groups"]))
            .await;
    let answer = stage
        .client()
        .get("/v1/models")
        .header("X-Forwarded-User", "alice@example.com")
        .header("X-Forwarded-Groups", "llm-x")
        .send()
        .await;
    answer.expect_ok();
    let user = stage.db.user("alice@example.com").await.expect("there is a row");
    assert_eq!(
        (user.user_email.as_deref(), user.user_role.as_deref()),
        (Some("alice@example.com"), Some("internal_user"))
    );
    let answer = stage.client().get("/v1/models").header("X-Forwarded-User", "alice").send().await;
    answer.expect_refusal(400, "malformed_email");
}

#[tokio::test]
async fn the_same_subject_of_two_issuers_is_two_people() {
    let stage = Stage::plain().await;
    let other = stage.setup.clone().with("identity.issuer", "partner").start().await;
    let here = UserProfile::named("alice");
    let there = UserProfile { email: "alice@partner.example".to_owned(), ..here.clone() }.in_groups("llm-admins");
    stage.client().get("/v1/models").from(&here).send().await.expect_ok();
    let row = stage.db.user("alice").await.expect("the first one has the plain id");
    other.client().get("/v1/models").from(&there).send().await.expect_ok();

    let seen = stage.upstream.seen();
    let key = |at: usize| seen[at].head.value("x-litellm-api-key").expect("a key");
    let (first, second) = (stage.db.owner_of(&key(0)).await, stage.db.owner_of(&key(1)).await);
    assert_eq!(first.as_deref(), Some("alice"));
    assert!(second.is_some() && second != first, "{second:?}");
    let second = stage.db.user(&second.unwrap_or_default()).await.expect("the second one has a row");
    assert_eq!(second.user_email.as_deref(), Some("alice@partner.example"));
    assert_eq!(second.user_role.as_deref(), Some("proxy_admin"));
    assert_eq!(stage.db.user("alice").await, Some(row), "the first one is what they were");
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.account WHERE subject = 'alice'").await, 2);
}

#[tokio::test]
async fn the_same_email_at_two_issuers_is_a_conflict() {
    let stage = Stage::plain().await;
    let other = stage.setup.clone().with("identity.issuer", "partner").start().await;
    stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    let before = stage.db.users().await;
    for user in ["alice", "somebody-else"] {
        let there = UserProfile { user: user.to_owned(), ..UserProfile::named("alice") };
        other.client().get("/v1/models").from(&there).send().await.expect_refusal(403, "account_conflict");
    }
    assert_eq!(stage.db.users().await, before);
    assert_eq!(stage.upstream.count(), 1);
}

#[tokio::test]
async fn a_row_that_somebody_else_made_is_left_alone() {
    let stage = Stage::plain().await;
    stage.db.add_user("bob", "proxy_admin", None, Some("root@corp.example")).await;
    stage.db.add_user("native-1", "internal_user", Some("carol"), None).await;
    stage.db.add_user("native-2", "internal_user", None, Some("Dave@Example.com")).await;
    stage.db.add_key("sk-bobs-own-key", "bob").await;
    let before = stage.db.users().await;
    for name in ["bob", "carol", "dave"] {
        let answer = stage.client().get("/v1/models").from(&UserProfile::named(name)).send().await;
        answer.expect_refusal(403, "account_conflict");
        assert!(
            !answer.text().contains("native-") && !answer.text().contains("root@"),
            "the caller learns nothing of the row"
        );
    }
    assert_eq!(stage.db.users().await, before);
    assert_eq!(stage.db.key_count().await, 1);
    assert_eq!(stage.db.owner_of("sk-bobs-own-key").await.as_deref(), Some("bob"));
    assert_eq!(stage.upstream.count(), 0);
    let names_it = |line: &serde_json::Value| line.to_string().contains("native-1").then_some(());
    stage.vestibule.line("the name of the row", names_it).await;
}

#[tokio::test]
async fn a_row_of_native_sign_in_is_adopted_where_the_setting_says_so() {
    let stage = Stage::with(|setup| setup.with("account.adopt", vec!["sso_user_id", "user_id", "email"])).await;
    stage.db.add_user("native-1", "internal_user_viewer", Some("carol"), None).await;
    stage.db.add_user("native-2", "internal_user_viewer", None, Some("Dave@Example.com")).await;
    stage.db.add_user("erin", "internal_user_viewer", None, None).await;
    stage.db.add_user("frank", "proxy_admin", None, None).await;
    for (name, user_id) in [("carol", "native-1"), ("dave", "native-2"), ("erin", "erin")] {
        stage.client().get("/v1/models").from(&UserProfile::named(name)).send().await.expect_ok();
        let key = stage.upstream.last().head.value("x-litellm-api-key").expect("a key");
        assert_eq!(stage.db.owner_of(&key).await.as_deref(), Some(user_id), "{name}");
        assert_eq!(stage.db.role(user_id).await.as_deref(), Some("internal_user"), "{name}");
    }
    // A row with an admin role is never taken over this way.
    stage
        .client()
        .get("/v1/models")
        .from(&UserProfile::named("frank"))
        .send()
        .await
        .expect_refusal(403, "account_conflict");
    assert_eq!(stage.db.role("frank").await.as_deref(), Some("proxy_admin"));
    assert_eq!(stage.db.user_count().await, 4);
}
