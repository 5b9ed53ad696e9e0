use serde_json::json;

use super::{alice, claims, key, page, script, set_cookies, signed_in, stage, token};
use crate::support::client::UserProfile;
use crate::support::eventually;
use crate::support::vestibule::field;

const NOTHING: [&str; 0] = [];

fn bob() -> UserProfile {
    UserProfile::named("bob").in_groups("llm-admins")
}

#[tokio::test]
async fn whoever_opens_a_page_is_in_with_a_cookie_that_holds_no_key() {
    let stage = stage(|setup| setup).await;
    let answer = page(&stage, "/ui/teams?a=b", &alice()).send().await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.head.value("location").as_deref(), Some("/ui/teams?a=b&login=success"));
    assert_eq!(answer.head.value("cache-control").as_deref(), Some("no-store"));
    assert_eq!(stage.upstream.count(), 0, "LiteLLM has no part in it");
    let set = set_cookies(&answer);
    assert_eq!(set[0], "token=; Path=/ui; SameSite=Lax; Secure; Max-Age=0", "the twin goes");
    assert!(set[1].ends_with("; Path=/; SameSite=Lax; Secure"), "{}", set[1]);

    let token = token(&answer);
    let said = claims(&token);
    let wanted = json!({
        "user_id": "alice", "key": key(&token), "user_email": "alice@example.com", "user_role": "internal_user",
        "login_method": "sso", "premium_user": false, "auth_header_name": "Authorization", "server_root_path": "",
        "disabled_non_admin_personal_key_creation": false, "password_reset_required": false, "exp": said["exp"],
    });
    assert!(said["exp"].is_u64());
    assert_eq!(said, wanted);
    assert!(key(&token).starts_with("sk-vst-"));
    assert_eq!(stage.db.owner_of(&key(&token)).await, None, "LiteLLM knows no such key");
    let rows = r#"SELECT user_id || ' ' || coalesce(team_id, '-') || ' ' || coalesce(max_budget::text, '-')
        FROM "LiteLLM_VerificationToken" ORDER BY 1"#;
    assert_eq!(stage.db.texts(rows).await, ["alice - -", "alice litellm-dashboard 0.01"]);
    assert_eq!(stage.db.texts("SELECT kind FROM vestibule.session ORDER BY 1").await, ["api", "ui"]);
}

#[tokio::test]
async fn a_page_with_its_own_cookie_is_forwarded_and_framed_by_nobody() {
    let stage = stage(|setup| setup).await;
    let token = signed_in(&stage, &alice()).await;
    for _ in 0..2 {
        let answer = page(&stage, "/ui/", &alice()).header("Cookie", format!("a=1; token={token}")).send().await;
        answer.expect_ok();
        assert_eq!(set_cookies(&answer), NOTHING);
        assert_eq!(answer.head.value("content-security-policy").as_deref(), Some("frame-ancestors 'none'"));
        assert_eq!(answer.head.value("x-frame-options").as_deref(), Some("DENY"));
        assert_eq!(answer.head.value("cache-control").as_deref(), Some("no-cache"));
    }
    assert_eq!(stage.upstream.last().head.value("cookie").as_deref(), Some("a=1"));
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.session WHERE kind = 'ui'").await, 1);
    // A part of a page, or one that is fetched in advance, signs nobody in.
    for request in [
        stage.client().get("/ui/x.js").from(&alice()),
        stage.client().get("/ui/").from(&alice()),
        page(&stage, "/ui/", &alice()).header("Sec-Purpose", "prefetch"),
    ] {
        let answer = request.send().await;
        answer.expect_ok();
        assert_eq!(set_cookies(&answer), NOTHING);
    }
}

#[tokio::test]
async fn ways_to_sign_in_lead_to_the_page_that_was_wanted_and_nowhere_else() {
    let stage = stage(|setup| setup).await;
    let home = "/ui/?login=success";
    for (path, location) in [
        ("/sso/key/generate", home),
        ("/sso/key/generate?redirect_to=%2Fui%2Fteams%3Fa%3Db", "/ui/teams?a=b"),
        ("/ui/login/?redirect_to=https%3A%2F%2Fllm.example.com%2Fui%2Fkeys", "/ui/keys"),
        ("/fallback/login?return_to=/ui/keys", "/ui/keys"),
        ("/ui/login/?redirect_to=https://evil.example/", home),
        ("/ui/login/?redirect_to=//evil.example/", home),
        ("/ui/login/?redirect_to=/%255cevil.example/", home),
        ("/ui/login/?redirect_to=/%252fevil.example/", home),
        ("/ui/login/?redirect_to=%2Fx%0d%0aSet-Cookie:%20a=b", home),
        ("/ui/login/?redirect_to=/ui/login/", home),
        ("/ui/login/?redirect_to=javascript:alert(1)", home),
    ] {
        let answer = page(&stage, path, &alice()).send().await;
        assert_eq!((answer.status, answer.head.value("location").as_deref()), (303, Some(location)), "{path}");
    }
    // A browser that takes no cookie is not sent round in circles.
    let answer = page(&stage, home, &alice()).send().await;
    answer.expect_ok();
    assert!(!token(&answer).is_empty());
}

#[tokio::test]
async fn a_placeholder_goes_up_as_the_browsers_key_and_to_models_as_the_persons() {
    let stage = stage(|setup| setup).await;
    let placeholder = key(&signed_in(&stage, &alice()).await);
    for (method, path, wanted) in [
        ("GET", "/key/list", "alice litellm-dashboard"),
        ("GET", "/management/v1/users/me", "alice litellm-dashboard"),
        ("GET", "/v1/models", "alice -"),
        ("POST", "/v1/chat/completions", "alice -"),
    ] {
        script(&stage, method, path, &alice(), &placeholder).send().await.expect_ok();
        let seen = stage.upstream.last();
        let sent = seen.head.value("authorization").expect("a key").trim_start_matches("Bearer ").to_owned();
        assert_eq!(seen.head.value("x-litellm-api-key").as_deref(), Some(sent.as_str()));
        let row = format!(
            r#"SELECT user_id || ' ' || coalesce(team_id, '-') FROM "LiteLLM_VerificationToken"
            WHERE token = encode(sha256('{sent}'), 'hex')"#
        );
        assert_eq!(stage.db.texts(&row).await, [wanted], "{path}");
    }
    // Wherever a page puts it.
    for header in ["x-api-key", "x-litellm-api-key", "api-key"] {
        stage.client().get("/key/list").from(&alice()).header(header, &placeholder).send().await.expect_ok();
    }
}

#[tokio::test]
async fn a_placeholder_of_somebody_else_or_of_nobody_is_refused_as_litellm_refuses() {
    let stage = stage(|setup| setup).await;
    let hers = key(&signed_in(&stage, &alice()).await);
    let before = stage.upstream.count();
    for placeholder in [hers.as_str(), "sk-vst-1-2", "sk-vst-x"] {
        let answer = script(&stage, "GET", "/key/list", &bob(), placeholder).send().await;
        answer.expect_refusal(401, "dead_placeholder");
        assert_eq!(answer.json()["error"]["type"], "token_not_found_in_db");
        assert_eq!(answer.json()["error"]["code"], "401");
        let chat = script(&stage, "POST", "/v1/chat/completions", &bob(), placeholder).send().await;
        chat.expect_refusal(401, "dead_placeholder");
    }
    let both = script(&stage, "GET", "/key/list", &alice(), &hers).header("x-api-key", "sk-vst-1-2").send().await;
    both.expect_refusal(401, "dead_placeholder");
    assert_eq!(stage.upstream.count(), before, "nothing of it was forwarded");
    script(&stage, "GET", "/key/list", &alice(), &hers).send().await.expect_ok();
}

#[tokio::test]
async fn another_person_in_the_same_browser_gets_a_cookie_of_their_own_before_any_page() {
    let stage = stage(|setup| setup).await;
    let hers = signed_in(&stage, &alice()).await;
    let before = stage.upstream.count();
    let answer = page(&stage, "/ui/", &bob()).header("Cookie", format!("token={hers}")).send().await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.head.value("clear-site-data").as_deref(), Some("\"storage\""), "what her pages kept goes");
    let his = token(&answer);
    assert_eq!((&claims(&his)["user_id"], &claims(&his)["user_role"]), (&json!("bob"), &json!("proxy_admin")));
    assert_eq!(stage.upstream.count(), before);
    let own = page(&stage, "/ui/", &bob()).header("Cookie", format!("token={his}")).send().await;
    own.expect_ok();
    // A stale twin of hers, which the browser would list first; cookies of LiteLLM's own, or of nobody.
    let litellms = "eyJhbGciOiJIUzI1NiJ9.eyJrZXkiOiJzay0xMjM0In0.x";
    for foreign in [format!("{hers}; token={his}"), "x".to_owned(), litellms.to_owned(), String::new()] {
        let answer = page(&stage, "/ui/", &bob()).header("Cookie", format!("token={foreign}")).send().await;
        assert_eq!(answer.status, 303, "{foreign}");
    }
}

#[tokio::test]
async fn a_changed_role_shows_at_the_next_page() {
    let stage = stage(|setup| setup.with("litellm.cache_ttl", "0")).await;
    let cookie = signed_in(&stage, &alice()).await;
    let admin = alice().in_groups("llm-admins");
    let answer = page(&stage, "/ui/", &admin).header("Cookie", format!("token={cookie}")).send().await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.head.value("clear-site-data"), None, "it is the same person");
    assert_eq!(claims(&token(&answer))["user_role"], "proxy_admin");
    assert_eq!(key(&token(&answer)), key(&cookie), "the same session");
}

#[tokio::test]
async fn a_browser_signed_in_at_one_replica_is_signed_in_at_the_other() {
    let stage = stage(|setup| setup).await;
    let second = stage.setup.start().await;
    second.client().get("/v1/models").from(&alice()).send().await.expect_ok();
    let placeholder = key(&signed_in(&stage, &alice()).await);
    let there =
        second.client().get("/key/list").from(&alice()).header("Authorization", format!("Bearer {placeholder}"));
    there.send().await.expect_ok();
}

#[tokio::test]
async fn an_eleventh_browser_ends_the_first() {
    let stage = stage(|setup| setup).await;
    let first = key(&signed_in(&stage, &alice()).await);
    script(&stage, "GET", "/key/list", &alice(), &first).send().await.expect_ok();
    for _ in 0..10 {
        signed_in(&stage, &alice()).await;
    }
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.session WHERE kind = 'ui'").await, 10);
    assert_eq!(stage.db.key_count().await, 11);
    let answer = script(&stage, "GET", "/key/list", &alice(), &first).send().await;
    answer.expect_refusal(401, "dead_placeholder");
    let of_line = |line: &serde_json::Value| {
        (field(line, "reason") == "too_many_browsers").then(|| (field(line, "event"), field(line, "session")))
    };
    let (event, ended) = stage.vestibule.line("the ended session", of_line).await;
    assert_eq!(event, "session_revoked");
    let recorded = "SELECT detail->>'session' FROM vestibule.audit WHERE detail->>'reason' = 'too_many_browsers'";
    assert_eq!(stage.db.texts(recorded).await, [ended], "the log and the table tell the same");
}

#[tokio::test]
async fn a_browsers_key_that_is_gone_from_litellm_ends_its_session() {
    let stage = stage(|setup| setup.with("account.refresh", "1s")).await;
    let placeholder = key(&signed_in(&stage, &alice()).await);
    stage.db.run(r#"DELETE FROM "LiteLLM_VerificationToken" WHERE team_id = 'litellm-dashboard'"#).await;
    eventually("the placeholder to be refused", async || {
        let answer = script(&stage, "GET", "/key/list", &alice(), &placeholder).send().await;
        (answer.refusal().as_deref() == Some("dead_placeholder")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_real_key_in_the_cookie_is_for_those_who_ask_for_it() {
    let stage = stage(|setup| setup.with("ui.cookie_key", "real")).await;
    let token = signed_in(&stage, &alice()).await;
    let real = key(&token);
    assert_eq!(stage.db.owner_of(&real).await.as_deref(), Some("alice"));
    script(&stage, "GET", "/key/list", &alice(), &real).send().await.expect_ok();
    assert_eq!(stage.upstream.last().head.value("x-litellm-api-key").as_deref(), Some(real.as_str()));
    page(&stage, "/ui/", &alice()).header("Cookie", format!("token={token}")).send().await.expect_ok();
    script(&stage, "GET", "/key/list", &bob(), &real).send().await.expect_refusal(401, "dead_placeholder");
}

#[tokio::test]
async fn below_a_root_path_and_a_public_prefix_addresses_are_right() {
    let public = "https://llm.example.com/llm";
    let rooted = stage(|setup| setup.with("litellm.root_path", "/llm").with("public_url", public)).await;
    let answer = page(&rooted, "/llm/ui/teams", &alice()).send().await;
    assert_eq!(answer.head.value("location").as_deref(), Some("/llm/ui/teams?login=success"));
    assert_eq!(set_cookies(&answer)[0], "token=; Path=/llm/ui; SameSite=Lax; Secure; Max-Age=0");
    assert_eq!(claims(&token(&answer))["server_root_path"], "/llm");
    let answer = page(&rooted, "/llm/sso/key/generate", &alice()).send().await;
    assert_eq!(answer.head.value("location").as_deref(), Some("/llm/ui/?login=success"));
    rooted.client().post("/llm/v2/login", "{}").from(&alice()).send().await.expect_refusal(403, "closed_door");

    // A gateway that takes the prefix off.
    let stripped = stage(|setup| setup.with("public_url", public)).await;
    let answer = page(&stripped, "/ui/teams", &alice()).send().await;
    assert_eq!(answer.head.value("location").as_deref(), Some("/llm/ui/teams?login=success"));
}

#[tokio::test]
async fn without_a_public_url_nobody_is_signed_in() {
    let stage = stage(|setup| setup.without("public_url")).await;
    let answer = page(&stage, "/ui/", &alice()).send().await;
    answer.expect_ok();
    assert_eq!(set_cookies(&answer), NOTHING);
    page(&stage, "/sso/key/generate", &alice()).send().await.expect_refusal(403, "closed_door");
}

#[tokio::test]
async fn litellms_own_doors_are_closed_in_every_spelling() {
    let closed = stage(|setup| setup).await;
    for path in [
        "/login",
        "/v2/login",
        "/v3/login",
        "/v3/login/exchange",
        "/onboarding/get_token",
        "/sso/callback",
        "/sso/debug/login",
        "/sso/saml/acs",
        "/sso/cli/poll/x",
        "/.well-known/litellm-cli-auth",
        "/scim/v2/Users",
        "/config/yaml",
        "//login",
        "/%6cogin",
        "/./login",
        "/LOGIN",
        "/login/",
        "/scim%2fv2/Users",
    ] {
        for method in ["GET", "POST"] {
            let answer = closed.client().request(method, path).from(&bob()).header("Content-Length", "0").send().await;
            answer.expect_refusal(403, "closed_door");
        }
    }
    assert_eq!(closed.upstream.count(), 0);
    let open = stage(|setup| setup.with("ui.native_sign_in", true)).await;
    open.client().post("/v2/login", "{}").from(&bob()).send().await.expect_ok();
    open.client().get("/scim/v2/Users").from(&bob()).send().await.expect_refusal(403, "closed_door");
}

#[tokio::test]
async fn pages_that_read_the_cookie_get_one_that_the_master_key_has_signed() {
    let stage = stage(|setup| setup.with("litellm.master_key", "sk-master-0123456789")).await;
    let sign_in = "/v1/mcp/oauth/authorize?client_id=x";
    let request = stage.client().get(sign_in).from(&alice()).header("Cookie", "a=1; token=forged");
    request.send().await.expect_ok();
    let cookie = stage.upstream.last().head.value("cookie").expect("cookies");
    let (token, rest) = cookie.strip_prefix("token=").and_then(|rest| rest.split_once("; ")).expect("ours first");
    assert_eq!(rest, "a=1");
    assert_eq!(stage.db.owner_of(&key(token)).await.as_deref(), Some("alice"), "a real key, for LiteLLM alone");
    assert_eq!(claims(token)["login_method"], "sso");
    stage.client().get("/ui/x.js").from(&alice()).header("Cookie", "token=forged").send().await.expect_ok();
    assert_eq!(stage.upstream.last().head.value("cookie"), None);
}

#[tokio::test]
async fn pages_make_no_second_session_of_a_short_life_or_beside_somebody_elses_cookie() {
    let stage = stage(|setup| setup.with("session.life", "6m")).await;
    let token = signed_in(&stage, &alice()).await;
    page(&stage, "/ui/", &alice()).header("Cookie", format!("token={token}")).send().await.expect_ok();
    // Another application of the same domain has a cookie of that name: ours is set again, for the same session.
    let beside = page(&stage, "/ui/", &alice()).header("Cookie", format!("token=x; token={token}")).send().await;
    assert_eq!((beside.status, key(&super::token(&beside))), (303, key(&token)));
    // Nothing that does not look at a page is signed in by asking for one.
    let fetched = stage.client().get("/sso/key/generate").from(&alice()).send().await;
    assert_eq!(fetched.status, 303);
    assert_eq!(set_cookies(&fetched), NOTHING);
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.session WHERE kind = 'ui'").await, 1);
}

#[tokio::test]
async fn a_browser_that_keeps_no_cookie_does_not_sign_in_without_end() {
    let stage = stage(|setup| setup).await;
    for _ in 0..15 {
        signed_in(&stage, &alice()).await;
    }
    page(&stage, "/ui/", &alice()).send().await.expect_refusal(429, "too_many_requests");
    page(&stage, "/ui/", &bob()).send().await;
    stage.client().get("/v1/models").from(&alice()).send().await.expect_ok();
}

#[tokio::test]
async fn a_caller_with_a_key_of_their_own_gets_through_no_door() {
    let stage = stage(|setup| setup.with("client_keys", "pass")).await;
    for path in ["/sso/key/generate", "/fallback/login", "/v2/login"] {
        for method in ["GET", "HEAD", "POST"] {
            let request = stage.client().request(method, path).header("Authorization", "Bearer sk-own");
            request.header("Content-Length", "0").send().await.expect_refusal(403, "closed_door");
        }
    }
    assert_eq!(stage.upstream.count(), 0);
}

#[tokio::test]
async fn a_page_opened_at_the_other_replica_keeps_the_session_that_was_just_made() {
    let stage = stage(|setup| setup).await;
    let second = stage.setup.start().await;
    second.client().get("/v1/models").from(&alice()).send().await.expect_ok();
    let token = signed_in(&stage, &alice()).await;
    let there = second.client().get("/ui/").from(&alice()).header("Accept", "text/html");
    let answer = there.header("Cookie", format!("token={token}")).send().await;
    assert!(set_cookies(&answer).iter().all(|set| !set.contains("sk-")), "{:?}", set_cookies(&answer));
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.session WHERE kind = 'ui'").await, 1);
}
