//! What has befallen vestibule's neighbours and could have befallen it: one test an advisory, with its id. Each sends what the
//! advisory's attacker would, to the real binary's listener for the sign-in proxy or to the one for gateways. `SECURITY.md`
//! lists them, with those that can't be ours.

use serde_json::{Value, json};

use crate::support::client::{Answer, Request, UserProfile};
use crate::support::operator::operate;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::Setup;
use crate::verify;

fn alice(stage: &Stage, path: &str) -> Request {
    stage.client().get(path).from(&UserProfile::named("alice"))
}

/// Sends it, and fails unless it was refused so and nothing went on.
async fn refused(stage: &Stage, request: Request, status: u16, code: &str) {
    let before = stage.upstream.count();
    request.send().await.expect_refusal(status, code);
    assert_eq!(stage.upstream.count(), before, "it went on");
}

/// Who an answer of `/vestibule/whoami` is for.
fn who(answer: &Answer) -> Value {
    answer.expect_ok();
    answer.json()
}

/// A public path, for those whose advisory was a way round the sign-in.
async fn with_a_public_path() -> Stage {
    Stage::with(|setup| setup.with("public_paths", vec!["/health/liveliness"])).await
}

// --- oauth2-proxy ---------------------------------------------------------------

#[tokio::test]
async fn cve_2025_64484_twins_of_identity_headers_are_refused() {
    let stage = Stage::plain().await;
    for twin in
        ["X_Forwarded_Email", "X-Forwarded_Email", "x_forwarded-email", "X_FORWARDED_USER", "X_Auth_Request_Groups"]
    {
        refused(&stage, alice(&stage, "/v1/models").header(twin, "bob@example.com"), 400, "aliased_header").await;
    }
    let scene = verify::Scene::plain().await;
    for gateway in verify::GATEWAYS {
        let question = scene.ask(gateway, "GET", "/v1/models").header("Cookie", "_oauth2_proxy=alice");
        question.header("X_Auth_Request_User", "bob").send().await.expect_refusal(403, "aliased_header");
    }
}

#[tokio::test]
async fn cve_2025_54576_a_public_path_in_the_query_opens_nothing() {
    let stage = with_a_public_path().await;
    for target in
        ["/user/list?/health/liveliness", "/user/list?x=/health/liveliness", "/key/list?next=%2Fhealth%2Fliveliness"]
    {
        refused(&stage, stage.client().get(target), 401, "no_identity").await;
    }
    stage.client().get("/health/liveliness?x=1").send().await.expect_ok();
}

#[tokio::test]
async fn cve_2026_40575_a_forwarded_address_of_a_client_s_chooses_no_public_path() {
    let stage = with_a_public_path().await;
    for name in ["X-Forwarded-Uri", "X-Original-URI", "X-Original-URL", "X-Envoy-Original-Path", "X-Rewrite-URL"] {
        for client in [stage.client(), stage.stranger()] {
            refused(&stage, client.get("/user/list").header(name, "/health/liveliness"), 401, "no_identity").await;
        }
    }
    let scene = verify::Scene::with(|setup| setup.with("public_paths", vec!["/health/liveliness"])).await;
    let others = [("nginx", "X-Forwarded-Uri"), ("caddy", "X-Original-URI"), ("envoy", "X-Forwarded-Uri")];
    for (gateway, other) in others {
        let question = scene.ask(gateway, "GET", "/user/list").header(other, "/health/liveliness");
        question.send().await.expect_refusal(401, "no_identity");
    }
}

#[tokio::test]
async fn cve_2026_34457_no_user_agent_is_let_in() {
    let stage = Stage::plain().await;
    let scene = verify::Scene::plain().await;
    for agent in ["GoogleHC/1.0", "kube-probe/1.31", "ELB-HealthChecker/2.0", "Envoy/HC", "HAProxy"] {
        refused(&stage, stage.client().get("/v1/models").header("User-Agent", agent), 401, "no_identity").await;
        let question = scene.ask("nginx", "GET", "/v1/models").header("User-Agent", agent);
        question.send().await.expect_refusal(401, "no_identity");
    }
}

#[tokio::test]
async fn cve_2026_41059_a_fragment_is_no_part_of_a_path() {
    let stage = with_a_public_path().await;
    for target in
        ["/user/list#/health/liveliness", "/health/liveliness#/../user/list", "/user/list%23/health/liveliness"]
    {
        let before = stage.upstream.count();
        let answer = stage.client().get(target).send().await;
        assert!(matches!(answer.status, 400 | 401), "{target}: {}", answer.text());
        assert_eq!(stage.upstream.count(), before, "{target} went on");
    }
    let scene = verify::Scene::plain().await;
    let question = scene.ask("nginx", "GET", "/user/list#/health/liveliness").header("Cookie", "_oauth2_proxy=alice");
    question.send().await.expect_refusal(403, "bad_target");
}

#[tokio::test]
async fn cve_2026_40574_an_address_with_two_at_signs_is_of_no_domain() {
    let stage = Stage::plain().await;
    for email in [
        "alice@evil.test@example.com",
        "alice@example.com@evil.test",
        "\"alice@evil.test\"@example.com",
        "@example.com",
    ] {
        let request = stage.client().get("/v1/models").header("X-Forwarded-User", "alice");
        refused(&stage, request.header("X-Forwarded-Email", email), 400, "malformed_email").await;
    }
}

#[tokio::test]
async fn cve_2026_34454_another_person_s_visit_ends_what_the_browser_held() {
    let stage = Stage::with(|setup| setup.with("public_url", "https://llm.example.com")).await;
    let page = |who: &str| stage.client().get("/ui/").from(&UserProfile::named(who)).header("Accept", "text/html");
    let first = crate::ui::token(&page("alice").send().await);
    let second = page("bob").header("Cookie", format!("token={first}")).send().await;
    assert_eq!(second.status, 303, "{}", second.text());
    assert_ne!(crate::ui::key(&crate::ui::token(&second)), crate::ui::key(&first));
    assert!(second.head.value("clear-site-data").is_some(), "{:#?}", second.head);
}

// --- what a Connection line takes away -----------------------------------------

#[tokio::test]
async fn cve_2024_45410_a_connection_line_takes_no_forwarded_header_away() {
    let stage = Stage::plain().await;
    for name in ["X-Forwarded-Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-User", "X-Forwarded-Groups"] {
        refused(
            &stage,
            alice(&stage, "/v1/models").header("Connection", format!("close, {name}")),
            400,
            "nominated_header",
        )
        .await;
    }
}

#[tokio::test]
async fn cve_2026_29054_nor_one_in_small_letters_or_among_others() {
    let stage = Stage::plain().await;
    for line in
        ["x-forwarded-host", "keep-alive,x-forwarded-user", "close ,\tX-FORWARDED-groups", "close, x_forwarded_user"]
    {
        refused(&stage, alice(&stage, "/v1/models").header("Connection", line), 400, "nominated_header").await;
    }
    let two = alice(&stage, "/v1/models").header("Connection", "close").header("connection", "x-forwarded-groups");
    refused(&stage, two, 400, "nominated_header").await;
}

#[tokio::test]
async fn cve_2025_48865_nor_one_that_tells_the_client_s_address() {
    let stage = Stage::plain().await;
    for name in ["X-Real-IP", "X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"] {
        refused(&stage, alice(&stage, "/v1/models").header("Connection", name), 400, "nominated_header").await;
    }
}

#[tokio::test]
async fn ghsa_w9mr_28mw_j8hg_nor_the_key_that_is_put_in() {
    let stage = Stage::plain().await;
    for name in ["Authorization", "x-litellm-api-key", "X-Api-Key"] {
        refused(&stage, alice(&stage, "/v1/models").header("Connection", name), 400, "nominated_header").await;
    }
    let scene = verify::Scene::plain().await;
    let question = scene.ask("haproxy", "GET", "/v1/models").header("Cookie", "_oauth2_proxy=alice");
    question.header("Connection", "x-litellm-api-key").send().await.expect_refusal(403, "nominated_header");
}

// --- Traefik --------------------------------------------------------------------

#[tokio::test]
async fn cve_2026_33433_one_name_in_two_cases_is_twice() {
    let stage = Stage::plain().await;
    let request = alice(&stage, "/v1/models").header("x-forwarded-USER", "bob");
    refused(&stage, request, 400, "repeated_header").await;
    let request =
        stage.client().get("/v1/models").header("X-FORWARDED-USER", "bob").header("X-Forwarded-User", "alice");
    refused(&stage, request, 400, "repeated_header").await;
}

#[tokio::test]
async fn cve_2026_35051_a_client_s_prefix_reaches_nobody() {
    let stage = Stage::plain().await;
    let request =
        alice(&stage, "/v1/models").header("X-Forwarded-Prefix", "/mallory").header("X-Forwarded-Server", "mallory");
    request.send().await.expect_ok();
    assert!(!String::from_utf8_lossy(&stage.upstream.only().raw).contains("mallory"));
}

#[tokio::test]
async fn cve_2026_54764_a_client_s_port_and_scheme_reach_nobody() {
    let stage = with_a_public_path().await;
    let request = stage.stranger().get("/health/liveliness").header("X-Forwarded-Port", "6666");
    request.header("X-Forwarded-Proto", "mallory").send().await.expect_ok();
    let seen = stage.upstream.only();
    assert!(!String::from_utf8_lossy(&seen.raw).contains("mallory") && seen.head.value("x-forwarded-port").is_none());
}

#[tokio::test]
async fn cve_2026_39858_twins_of_forwarded_headers_reach_nobody() {
    let stage = Stage::plain().await;
    for twin in ["X_Forwarded_Proto", "X_Forwarded_For", "X_Forwarded_Host", "X_Forwarded_Prefix", "X_Real_Ip"] {
        alice(&stage, "/v1/models").header(twin, "mallory").send().await.expect_ok();
        assert!(!String::from_utf8_lossy(&stage.upstream.last().raw).contains("mallory"), "{twin}");
    }
}

#[tokio::test]
async fn cve_2026_54763_twins_of_what_a_gateway_copies_are_refused() {
    let scene = verify::Scene::plain().await;
    for gateway in verify::GATEWAYS {
        for twin in ["X_Litellm_Api_Key", "x-litellm-api_key", "X_Api_Key"] {
            let question = scene.ask(gateway, "GET", "/v1/models").header("Cookie", "_oauth2_proxy=alice");
            question.header(twin, "sk-mallory").send().await.expect_refusal(403, "aliased_header");
        }
    }
}

#[tokio::test]
async fn cve_2026_71326_parts_that_join_alike_are_two_people() {
    let stage = Stage::plain().await;
    let as_ = |user: &str, email: &str, groups: &str| {
        let request = stage.client().get("/vestibule/whoami").header("X-Forwarded-User", user);
        request.header("X-Forwarded-Email", email).header("X-Forwarded-Groups", groups)
    };
    // The same letters in the same order, parted elsewhere.
    let one = who(&as_("ab", "c@example.com", "llm-users").send().await);
    let other = who(&as_("a", "bc@example.com", "llm-users").send().await);
    assert_eq!((&one["user_id"], &other["user_id"]), (&json!("ab"), &json!("a")));
    let high = who(&as_("ab", "c@example.com", "llm-users,llm-admins").send().await);
    let low = who(&as_("ab", "c@example.com", "llm-users,llm-admin,s").send().await);
    assert_eq!((&high["role"], &low["role"]), (&json!("proxy_admin"), &json!("internal_user")));
}

// --- Caddy, APISIX, authentik, Oathkeeper, Heimdall ------------------------------

#[tokio::test]
async fn cve_2026_30851_a_yes_has_every_header_that_a_gateway_copies() {
    let scene = verify::Scene::plain().await;
    for gateway in verify::GATEWAYS {
        let answer = scene.asked_for("alice", gateway, "GET", "/v1/models").await;
        let key = verify::key(&answer);
        assert!(key.starts_with("sk-"), "{gateway}");
    }
    // Whoever has none gets no yes.
    let nobody = scene.ask("caddy", "GET", "/v1/models").header("Authorization", "Bearer sk-mallory");
    nobody.send().await.expect_refusal(401, "no_identity");
}

#[tokio::test]
async fn cve_2026_52845_a_twin_of_a_copied_header_is_refused() {
    let scene = verify::Scene::plain().await;
    let question = scene.ask("caddy", "GET", "/v1/models").header("Cookie", "_oauth2_proxy=alice");
    question.header("X_Litellm_Api_Key", "sk-mallory").send().await.expect_refusal(403, "aliased_header");
}

#[tokio::test]
async fn cve_2026_31908_a_value_with_a_line_in_it_makes_no_header() {
    let stage = Stage::plain().await;
    for line in [
        "X-Forwarded-User: alice\r\n X-Forwarded-Groups: llm-admins",
        "X-Forwarded-User: alice\nX-Forwarded-Groups: llm-admins",
    ] {
        let answer = stage.client().raw(format!("GET /v1/models HTTP/1.1\r\nHost: a.example\r\n{line}\r\n\r\n")).await;
        answer.expect_refusal(400, "bad_head");
    }
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test]
async fn cve_2026_39998_an_identity_header_that_no_gateway_takes_off_is_refused() {
    let scene = verify::Scene::plain().await;
    for gateway in ["nginx", "traefik", "caddy", "haproxy"] {
        for name in ["Remote-User", "X-authentik-uid", "x-litellm-end-user-id"] {
            let question = scene.ask(gateway, "GET", "/v1/models").header("Cookie", "_oauth2_proxy=alice");
            question.header(name, "bob").send().await.expect_refusal(403, "unremoved_header");
        }
    }
    let answer = scene.asked_for("alice", "envoy", "GET", "/v1/models").await;
    let told = answer.head.value("x-envoy-auth-headers-to-remove").unwrap_or_default();
    assert!(
        ["remote-user", "x-authentik-uid", "x-litellm-end-user-id"].iter().all(|name| told.contains(name)),
        "{told}"
    );
}

#[tokio::test]
async fn cve_2026_33495_a_forwarded_scheme_or_host_matches_no_rule() {
    let stage = Stage::with(|setup| {
        setup.with("public_url", "https://llm.example.com").with("public_paths", vec!["/health/liveliness"])
    })
    .await;
    let request =
        alice(&stage, "/v1/models").header("Host", "evil.example").header("X-Forwarded-Host", "llm.example.com");
    refused(&stage, request, 421, "unknown_host").await;
    for proto in ["http", "https", "mallory"] {
        refused(&stage, stage.client().get("/user/list").header("X-Forwarded-Proto", proto), 401, "no_identity").await;
    }
}

#[tokio::test]
async fn cve_2026_33496_one_listener_s_answer_is_not_the_other_s() {
    // With a check, what the proxy listener knows of somebody by a cookie is the endpoint's too; a header is neither's.
    let scene = verify::Scene::plain().await;
    verify::key(&scene.asked_for("bob", "nginx", "GET", "/v1/models").await);
    for (name, value) in UserProfile::named("bob").headers() {
        let question = scene.ask("nginx", "GET", "/v1/models").header(name, value);
        let answer = question.send().await;
        assert!(matches!(answer.status, 401 | 403), "{name}: {}", answer.text());
    }
    scene.asked_for("mallory", "nginx", "GET", "/v1/models").await.expect_refusal(401, "no_identity");
}

#[tokio::test]
async fn cve_2026_25748_allowed_without_a_name_is_nobody() {
    let scene = verify::Scene::plain().await;
    for who in ["nameless", "empty"] {
        for gateway in verify::GATEWAYS {
            let answer = scene.asked_for(who, gateway, "GET", "/v1/models").await;
            answer.expect_refusal(401, "no_identity");
        }
    }
    for malformed in ["_oauth2_proxy", "=; ;;_oauth2_proxy=%", "_oauth2_proxy=\"alice"] {
        let question = scene.ask("traefik", "GET", "/v1/models").header("Cookie", malformed);
        let answer = question.send().await;
        assert!(answer.status >= 400, "{malformed}: {}", answer.status);
    }
}

#[tokio::test]
async fn cve_2023_36456_no_header_says_where_somebody_is() {
    let stage = Stage::plain().await;
    for name in ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "CF-Connecting-IP"] {
        let value = if name == "Forwarded" { "for=127.0.0.1" } else { "127.0.0.1" };
        let request = stage.stranger().get("/v1/models").from(&UserProfile::named("alice")).header(name, value);
        refused(&stage, request, 403, "untrusted_peer").await;
    }
}

#[tokio::test]
async fn cve_2024_21494_a_client_s_own_address_is_replaced() {
    let stage = with_a_public_path().await;
    stage.stranger().get("/health/liveliness").header("X-Forwarded-For", "6.6.6.6").send().await.expect_ok();
    assert_eq!(stage.upstream.only().head.value("x-forwarded-for").as_deref(), Some("127.0.0.2"));
}

#[tokio::test]
async fn cve_2024_21499_a_client_s_own_scheme_is_replaced() {
    let stage = with_a_public_path().await;
    stage.stranger().get("/health/liveliness").header("X-Forwarded-Proto", "gopher").send().await.expect_ok();
    assert!(!String::from_utf8_lossy(&stage.upstream.only().raw).contains("gopher"));
}

#[tokio::test]
async fn cve_2026_57210_a_list_of_addresses_that_is_none_decides_nothing() {
    let stage = Stage::plain().await;
    for list in [",,,", "unknown", "127.0.0.1\"", "[::1", "for=;by=\"", &"6.6.6.6,".repeat(500)] {
        let before = stage.upstream.count();
        let request =
            stage.stranger().get("/v1/models").from(&UserProfile::named("alice")).header("X-Forwarded-For", list);
        request.header("Forwarded", list).send().await.expect_refusal(403, "untrusted_peer");
        assert_eq!(stage.upstream.count(), before);
        alice(&stage, "/v1/models").header("Forwarded", list).send().await.expect_ok();
        assert_eq!(stage.upstream.last().head.value("forwarded"), None);
    }
}

#[tokio::test]
async fn cve_2026_42273_a_host_in_capitals_is_the_same_host() {
    let stage = Stage::with(|setup| setup.with("public_url", "https://llm.example.com")).await;
    let foreign = |host: &str| alice(&stage, "/key/list").header("Host", host).header("Origin", "https://evil.example");
    for host in ["llm.example.com", "LLM.EXAMPLE.COM", "Llm.Example.Com:443"] {
        refused(&stage, foreign(host), 403, "cross_site").await;
        alice(&stage, "/v1/models").header("Host", host).send().await.expect_ok();
    }
    refused(&stage, stage.client().get("/LOGIN").from(&UserProfile::named("alice")), 403, "closed_door").await;
}

#[tokio::test]
async fn cve_2026_32811_the_query_is_judged_behind_envoy_too() {
    let scene = verify::Scene::plain().await;
    let google = "/v1beta/models/g:generateContent";
    for query in ["?key=sk-mallory", "?x=%3F&key=sk-mallory", "?k%65y=sk-mallory"] {
        let answer = scene.asked_for("alice", "envoy", "POST", &format!("{google}{query}")).await;
        answer.expect_refusal(401, "caller_key");
    }
    verify::key(&scene.asked_for("alice", "envoy", "POST", &format!("{google}?alt=sse")).await);
}

#[tokio::test]
async fn ghsa_4jgr_a_host_writes_into_no_other_header() {
    let stage = Stage::plain().await;
    for host in ["a.example;for=127.0.0.1", "a.example, b.example", "\"a.example\"", "a.example for=1"] {
        refused(&stage, alice(&stage, "/v1/models").header("Host", host), 400, "bad_host").await;
    }
}

// --- Authelia, Pomerium, Istio, Envoy -------------------------------------------

#[tokio::test]
async fn cve_2026_48794_a_domain_s_rule_ends_at_its_edges() {
    let rules = json!([{ "when": { "email_domain": "example.com" }, "role": "internal_user" }]);
    let stage = Stage::with(|setup| setup.with("rules", rules).with("default_role", "deny")).await;
    let of = |domain: &str| {
        let request = stage.client().get("/v1/models").header("X-Forwarded-User", "alice");
        request.header("X-Forwarded-Email", format!("alice@{domain}"))
    };
    for domain in [
        "sub.example.com",
        "example.com.evil.test",
        "evil-example.com",
        "xexample.com",
        "example.co",
        "example.com.test",
    ] {
        refused(&stage, of(domain), 403, "no_role").await;
    }
    of("EXAMPLE.com").send().await.expect_ok();
}

#[tokio::test]
async fn cve_2023_33189_a_crafted_path_is_decided_as_litellm_takes_it() {
    let stage = Stage::with(|setup| {
        setup.with("public_url", "https://llm.example.com").with("public_paths", vec!["/health/liveliness"])
    })
    .await;
    for path in [
        "/health/liveliness/../../user/list",
        "/health/liveliness/%2e%2e/%2e%2e/user/list",
        "/health/liveliness/..%2f..%2fuser/list",
        "/health/liveliness;/../user/list",
    ] {
        let before = stage.upstream.count();
        let answer = stage.client().get(path).send().await;
        assert!(matches!(answer.status, 400 | 401), "{path}: {}", answer.status);
        assert_eq!(stage.upstream.count(), before, "{path} went on");
    }
}

#[tokio::test]
async fn cve_2026_31838_a_second_value_is_not_overlooked() {
    let stage = Stage::plain().await;
    for (name, value) in
        [("X-Forwarded-User", "bob"), ("X-Forwarded-Email", "bob@example.com"), ("X-Forwarded-Groups", "llm-admins")]
    {
        refused(&stage, alice(&stage, "/v1/models").header(name, value), 400, "repeated_header").await;
    }
    // As a middle box would join them.
    let joined = stage.client().get("/v1/models").header("X-Forwarded-User", "alice,bob");
    refused(&stage, joined, 400, "repeated_header").await;
}

#[tokio::test]
async fn cve_2019_9900_a_nul_ends_no_value() {
    let stage = Stage::plain().await;
    for value in ["alice\0", "alice\0bob", "\0"] {
        let request = format!("GET /v1/models HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-User: {value}\r\n\r\n");
        stage.client().raw(request).await.expect_refusal(400, "bad_head");
    }
    assert_eq!(stage.upstream.count(), 0);
}

// --- applications that believe a proxy --------------------------------------------

#[tokio::test]
async fn cve_2026_25119_a_name_counts_from_the_trusted_peer_alone() {
    let stage = Stage::plain().await;
    refused(&stage, stage.stranger().get("/v1/models").from(&UserProfile::named("alice")), 403, "untrusted_peer").await;
    for name in ["X-WEBAUTH-USER", "Remote-User", "X-Remote-User"] {
        refused(&stage, stage.stranger().get("/v1/models").header(name, "alice"), 401, "no_identity").await;
        refused(&stage, stage.client().get("/v1/models").header(name, "alice"), 401, "no_identity").await;
    }
}

#[tokio::test]
async fn cve_2022_35957_an_address_that_litellm_shares_is_no_trust() {
    let upstream = Upstream::json().await;
    let setup = Setup::new(&upstream.url, "postgresql://nobody@127.0.0.1:1/nothing");
    let ended = setup.clone().without("trust.accept_shared_loopback").give_up().await;
    assert!(ended.code == Some(78) && ended.stderr.contains("accept_shared_loopback"), "{ended:?}");
    let asked = verify::asked(setup, "http://127.0.0.1:1/oauth2/auth");
    let ended = asked.without("forward_auth.secret_header").give_up().await;
    assert!(ended.code == Some(78) && ended.stderr.contains("accept_shared_loopback"), "{ended:?}");
    // And what LiteLLM is made to send comes round as a loop.
    let stage = Stage::plain().await;
    refused(&stage, alice(&stage, "/v1/models").header("Via", "1.1 vestibule"), 508, "loop_detected").await;
}

#[tokio::test]
async fn cve_2026_33376_a_bare_ipv6_address_is_that_address_alone() {
    let setup = Setup::new("http://127.0.0.1:1", "postgresql://nobody@127.0.0.1:1/nothing");
    let setup = setup.with("trust.peers", vec!["2001:db8::1"]);
    for (peer, code) in [("2001:db8::1", 0), ("2001:db8::2", 1), ("2001:db8:1::1", 1)] {
        let ended = operate(&setup, &["explain", "-H", "X-Forwarded-User: alice", "--peer", peer]).await;
        assert_eq!(ended.code, Some(code), "{peer}: {ended:?}");
    }
}

#[tokio::test]
async fn cve_2022_39306_an_e_mail_of_a_row_that_is_there_links_nobody_to_it() {
    let stage = Stage::plain().await;
    stage.db.add_user("the-owner", "proxy_admin", None, Some("alice@example.com")).await;
    stage.db.add_user("mallory", "internal_user", None, Some("owner@example.com")).await;
    refused(&stage, alice(&stage, "/v1/models"), 403, "account_conflict").await;
    let by_name = stage.client().get("/v1/models").from(&UserProfile::named("mallory"));
    refused(&stage, by_name, 403, "account_conflict").await;
}

#[tokio::test]
async fn open_webui_14775_a_held_session_is_of_the_person_who_is_there_now() {
    let stage = Stage::with(|setup| setup.with("public_url", "https://llm.example.com")).await;
    let page = stage.client().get("/ui/").from(&UserProfile::named("alice")).header("Accept", "text/html").send().await;
    let placeholder = crate::ui::key(&crate::ui::token(&page));
    let call = |who: &str| {
        let request = stage.client().get("/key/list").from(&UserProfile::named(who));
        request.header("Authorization", format!("Bearer {placeholder}"))
    };
    call("alice").send().await.expect_ok();
    refused(&stage, call("bob"), 401, "dead_placeholder").await;
}

#[tokio::test]
async fn cve_2019_19844_letters_that_fold_onto_others_make_no_address() {
    let stage = Stage::plain().await;
    for email in
        ["al\u{131}ce@example.com", "ali\u{17f}e@example.com", "alice@example.\u{212a}om", "alice@exa\u{fb03}le.com"]
    {
        let request = stage.client().get("/v1/models").header("X-Forwarded-User", "mallory");
        refused(&stage, request.header("X-Forwarded-Email", email), 400, "malformed_email").await;
    }
}

#[tokio::test]
async fn an_empty_identity_header_is_nobody() {
    // Vouch with `publicAccess`, Pomerium with a missing claim, Authelia without an e-mail: each sends the header, empty.
    let stage = Stage::plain().await;
    for value in ["", " ", "\t"] {
        let request = stage.client().get("/v1/models").header("X-Forwarded-User", value);
        refused(&stage, request.header("X-Forwarded-Email", "alice@example.com"), 401, "no_identity").await;
    }
}
