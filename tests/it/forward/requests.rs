//! Requests and answers pass as they are, but for what a gateway must change.

use crate::support::client::UserProfile;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::within;

#[tokio::test]
async fn every_method_but_connect_and_trace_passes() {
    let stage = Stage::plain().await;
    let alice = UserProfile::named("alice");
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY"] {
        let answer =
            stage.client().request(method, "/v1/models").from(&alice).header("Content-Length", "0").send().await;
        answer.expect_ok();
        assert_eq!(stage.upstream.last().head.line, format!("{method} /v1/models HTTP/1.1"));
    }
    let seen = stage.upstream.count();
    // A server that folds case would take it for GET; nginx refuses it too.
    stage.client().request("get", "/v1/models").from(&alice).send().await.expect_refusal(400, "bad_head");
    for (method, target) in [("TRACE", "/v1/models"), ("CONNECT", "llm.example.com:443")] {
        let answer = stage.client().request(method, target).from(&alice).send().await;
        answer.expect_refusal(405, "method_not_allowed");
    }
    assert_eq!(stage.upstream.count(), seen, "CONNECT and TRACE stay here");
}

#[tokio::test]
async fn the_target_and_the_host_pass_unchanged() {
    let stage = Stage::plain().await;
    for target in ["/", "/v1/a%2Fb//c?x=1;y=%zz&x=2", "/ui/?a=b%20c&", "/v1/models?", "/a;b=c/../d", "/%E2%82%AC"] {
        let answer = stage
            .client()
            .get(target)
            .from(&UserProfile::named("alice"))
            .header("Host", "Llm.Example.com:8443")
            .send()
            .await;
        answer.expect_ok();
        let seen = stage.upstream.last().head;
        assert_eq!(seen.line, format!("GET {target} HTTP/1.1"));
        assert_eq!(seen.values("host"), ["Llm.Example.com:8443"]);
    }
}

#[tokio::test]
async fn the_upstream_gets_the_persons_key_and_nothing_of_the_sign_in() {
    let stage = Stage::plain().await;
    let answer = stage
        .client()
        .post("/v1/chat/completions", "{}")
        .from(&UserProfile::named("alice"))
        .header("Authorization", "Bearer sk-forged")
        .header("Cookie", "_oauth2_proxy=x; theme=dark; _oauth2_proxy_csrf=y")
        .header("X-Forwarded-Preferred-Username", "alice")
        .header("X-Forwarded-Access-Token", "token")
        .header("Accept", "application/json")
        .send()
        .await;
    answer.expect_ok();
    let seen = stage.upstream.only();
    let key = seen.head.value("x-litellm-api-key").expect("the key is injected");
    assert!(key.starts_with("sk-"), "{key}");
    assert_eq!(seen.head.value("authorization"), Some(format!("Bearer {key}")));
    assert_eq!(stage.db.owner_of(&key).await.as_deref(), Some("alice"));
    assert_eq!(seen.head.value("cookie").as_deref(), Some("theme=dark"));
    assert_eq!(seen.head.value("accept").as_deref(), Some("application/json"));
    assert_eq!(seen.body.bytes, b"{}");
    for name in [
        "x-forwarded-user",
        "x-forwarded-email",
        "x-forwarded-groups",
        "x-forwarded-preferred-username",
        "x-forwarded-access-token",
    ] {
        assert_eq!(seen.head.value(name), None, "{name}");
    }
}

#[tokio::test]
async fn no_header_is_invented() {
    let stage = Stage::plain().await;
    stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    let mut names = stage.upstream.only().head.names();
    names.sort();
    let expected = ["authorization", "host", "via", "x-forwarded-for", "x-litellm-api-key", "x-request-id"];
    let optional = ["x-forwarded-host", "x-forwarded-proto"];
    names.retain(|name| !optional.contains(&name.as_str()));
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_configured_key_header_carries_the_key_too() {
    let stage = Stage::with(|setup| setup.with("litellm.key_header", "X-Litellm-Key")).await;
    stage
        .client()
        .get("/v1/models")
        .from(&UserProfile::named("alice"))
        .header("X-Litellm-Key", "sk-forged")
        .send()
        .await
        .expect_ok();
    let seen = stage.upstream.only().head;
    let key = seen.value("x-litellm-api-key");
    assert!(key.is_some());
    let named = seen.value("x-litellm-key").map(|value| value.trim_start_matches("Bearer ").to_owned());
    assert_eq!(named, key);
}

#[tokio::test]
async fn authorization_is_kept_where_the_far_end_reads_it() {
    let stage = Stage::with(|setup| setup.with("litellm.keep_authorization", vec!["/vertex_ai/"])).await;
    for (path, kept) in [
        ("/vertex_ai/v1/x", true),
        ("/vertex_aix", false),
        ("/v1/models", false),
        ("/vertex_ai/../v1/models", false),
        ("/vertex_ai/%2e%2e/v1/models", false),
    ] {
        let answer = stage
            .client()
            .get(path)
            .from(&UserProfile::named("alice"))
            .header("Authorization", "Bearer ya29.far-end")
            .send()
            .await;
        answer.expect_ok();
        let seen = stage.upstream.last().head;
        assert_eq!(seen.value("authorization").as_deref() == Some("Bearer ya29.far-end"), kept, "{path}");
        assert!(seen.value("x-litellm-api-key").is_some_and(|key| key.starts_with("sk-")), "{path}");
    }
}

#[tokio::test]
async fn a_key_of_litellms_is_never_kept_for_a_far_end() {
    let stage = Stage::with(|setup| setup.with("litellm.keep_authorization", vec!["/vertex_ai/"])).await;
    for value in ["Bearer sk-bobs", "sk-bobs", "Basic x Bearer sk-bobs"] {
        let request = stage.client().get("/vertex_ai/v1/x").from(&UserProfile::named("alice"));
        request.header("Authorization", value).send().await.expect_ok();
        let raw = stage.upstream.last().raw;
        assert!(!String::from_utf8_lossy(&raw).contains("sk-bobs"), "{value}");
    }
}

#[tokio::test]
async fn forwarded_headers_are_kept_from_a_trusted_peer_and_extended() {
    let stage = Stage::plain().await;
    let answer = stage
        .client()
        .get("/ui/")
        .from(&UserProfile::named("alice"))
        .header("X-Forwarded-For", "203.0.113.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "llm.example.com")
        .header("Forwarded", "for=198.51.100.1")
        .header("X-Real-IP", "198.51.100.1")
        .header("X-Forwarded-Prefix", "/x")
        .header("X-Forwarded-Port", "1")
        .header("X-Forwarded-Uri", "/x")
        .header("X-Forwarded-Method", "PUT")
        .send()
        .await;
    answer.expect_ok();
    let seen = stage.upstream.only().head;
    assert_eq!(seen.value("x-forwarded-for").as_deref(), Some("203.0.113.9, 127.0.0.1"));
    assert_eq!(seen.value("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(seen.value("x-forwarded-host").as_deref(), Some("llm.example.com"));
    for name in
        ["forwarded", "x-real-ip", "x-forwarded-prefix", "x-forwarded-port", "x-forwarded-uri", "x-forwarded-method"]
    {
        assert_eq!(seen.value(name), None, "{name}");
    }
}

#[tokio::test]
async fn forwarded_headers_of_a_stranger_are_replaced() {
    let stage = Stage::with(|setup| setup.with("public_paths", vec!["/health/*"])).await;
    let answer = stage
        .stranger()
        .get("/health/readiness")
        .header("X-Forwarded-For", "203.0.113.9")
        .header("X-Forwarded-Proto", "gopher")
        .header("X-Forwarded-Host", "evil.example")
        .send()
        .await;
    answer.expect_ok();
    let seen = stage.upstream.only();
    assert_eq!(seen.head.value("x-forwarded-for").as_deref(), Some("127.0.0.2"));
    let text = String::from_utf8_lossy(&seen.raw).into_owned();
    assert!(!text.contains("203.0.113.9") && !text.contains("gopher") && !text.contains("evil.example"), "{text}");
}

#[tokio::test]
async fn hop_by_hop_headers_stay_on_their_hop_both_ways() {
    let upstream = Upstream::saying(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x-inner\r\nX-Inner: secret\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Authenticate: Basic\r\nProxy-Connection: keep-alive\r\nX-Kept: yes\r\n\r\nok",
    );
    let stage = Stage::before(upstream.await).await;
    let answer = stage
        .client()
        .get("/v1/models")
        .from(&UserProfile::named("alice"))
        .header("Connection", "")
        .header("Connection", "keep-alive, X-Outer")
        .header("X-Outer", "secret")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic eDp5")
        .header("TE", "trailers, gzip")
        .header("Upgrade", "TLS/1.0")
        .header("X-Kept", "yes")
        .send()
        .await;
    answer.expect_ok();
    let seen = stage.upstream.only().head;
    for name in ["x-outer", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade", "connection"] {
        assert_eq!(seen.value(name), None, "up: {name}");
    }
    assert!(seen.value("te").is_none_or(|te| te == "trailers"), "TE carries nothing but trailers");
    assert_eq!(seen.value("x-kept").as_deref(), Some("yes"));
    for name in ["x-inner", "keep-alive", "proxy-authenticate", "proxy-connection"] {
        assert_eq!(answer.head.value(name), None, "down: {name}");
    }
    assert_eq!(answer.head.value("x-kept").as_deref(), Some("yes"));
}

#[tokio::test]
async fn two_cookies_stay_two_and_other_statuses_pass() {
    let upstream = Upstream::saying(
        "HTTP/1.1 418 I'm a teapot\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nX-Two: 1\r\nX-Two: 2\r\nContent-Length: 3\r\n\r\ntea",
    );
    let stage = Stage::before(upstream.await).await;
    let answer = stage.client().get("/tea").from(&UserProfile::named("alice")).send().await;
    assert_eq!((answer.status, answer.text().as_str(), answer.refusal()), (418, "tea", None));
    assert_eq!(answer.head.values("set-cookie"), ["a=1; Path=/", "b=2"]);
    assert_eq!(answer.head.values("x-two"), ["1", "2"]);
}

#[tokio::test]
async fn an_answer_cannot_speak_for_vestibule() {
    for said in [
        "HTTP/1.1 200 OK\r\nX-Vestibule-Refusal: no_identity\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX_Vestibule_Refusal: no_identity\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let stage = Stage::before(Upstream::saying(said).await).await;
        let answer = stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await;
        assert_eq!((answer.status, answer.refusal(), answer.head.value("x_vestibule_refusal")), (200, None, None));
    }
}

#[tokio::test]
async fn the_callers_request_id_goes_up_and_comes_back() {
    let stage = Stage::plain().await;
    let long = "x".repeat(128);
    for id in ["abc-123", "7f3b.2_x", long.as_str()] {
        let answer =
            stage.client().get("/v1/models").from(&UserProfile::named("alice")).header("X-Request-Id", id).send().await;
        answer.expect_ok();
        assert_eq!(answer.head.value("x-request-id").as_deref(), Some(id));
        assert_eq!(stage.upstream.last().head.value("x-request-id").as_deref(), Some(id));
    }
}

#[tokio::test]
async fn a_missing_or_bad_request_id_is_replaced() {
    let stage = Stage::plain().await;
    let long = "x".repeat(200);
    for bad in [None, Some(""), Some(long.as_str()), Some("a b"), Some("<script>"), Some("a\"b"), Some("é")] {
        let mut request = stage.client().get("/v1/models").from(&UserProfile::named("alice"));
        if let Some(bad) = bad {
            request = request.header("X-Request-Id", bad);
        }
        let answer = request.send().await;
        answer.expect_ok();
        let id = answer.head.value("x-request-id").expect("there is always one");
        assert!(!id.is_empty() && Some(id.as_str()) != bad, "{bad:?} became {id}");
        assert_eq!(stage.upstream.last().head.value("x-request-id"), Some(id));
    }
    let answer = stage.client().get("/v1/models").send().await;
    assert!(answer.head.value("x-request-id").is_some_and(|id| !id.is_empty()), "a refusal has one too");
}

#[tokio::test]
async fn head_and_answers_without_a_body_do_not_hang() {
    let upstream = Upstream::answering(|mut exchange| async move {
        let answer = match exchange.head.line.split(' ').nth(1).unwrap_or_default() {
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            _ => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99\r\n\r\n",
        };
        exchange.send(answer).await;
        Some(exchange)
    });
    let stage = Stage::before(upstream.await).await;
    let mut wire = stage.client().connect().await;
    for (method, path, status) in
        [("HEAD", "/head", 200), ("GET", "/204", 204), ("GET", "/304", 304), ("HEAD", "/head", 200)]
    {
        wire.send(stage.client().request(method, path).from(&UserProfile::named("alice")).bytes()).await;
        let answer = wire.answer(method).await;
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{path}");
        if method == "HEAD" {
            assert_eq!(answer.head.value("content-length").as_deref(), Some("12345"));
        }
    }
}

#[tokio::test]
async fn a_http_1_0_client_gets_a_body_it_can_read() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        exchange.send_chunk("hello").await;
        exchange.send("0\r\n\r\n").await;
        Some(exchange)
    });
    let stage = Stage::before(upstream.await).await;
    let mut wire = stage.client().connect().await;
    wire.send("GET /v1/models HTTP/1.0\r\nHost: llm.example.com\r\nX-Forwarded-User: alice\r\n\r\n").await;
    let head = wire.expect_head("an answer").await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.value("transfer-encoding"), None, "HTTP/1.0 knows no chunks");
    assert_eq!(within("the body", wire.read_to_end()).await, b"hello");
    assert_eq!(stage.upstream.only().head.line, "GET /v1/models HTTP/1.1");
}

#[tokio::test]
async fn early_hints_come_before_the_answer() {
    let upstream = Upstream::saying(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let stage = Stage::before(upstream.await).await;
    let answer = stage.client().get("/ui/").from(&UserProfile::named("alice")).send().await;
    answer.expect_ok();
    assert_eq!(answer.text(), "ok");
    let hints: Vec<_> = answer.informational.iter().map(|head| (head.status(), head.value("link"))).collect();
    assert_eq!(hints, [(103, Some("</a.css>; rel=preload".to_owned()))]);
}

#[tokio::test]
async fn early_hints_are_stripped_like_the_answer() {
    let upstream = Upstream::saying(
        "HTTP/1.1 103 Early Hints\r\nX-Kept: yes\r\nSet-Cookie: _oauth2_proxy=x; Path=/\r\nAccess-Control-Allow-Origin: *\r\n\
         Access-Control-Allow-Credentials: true\r\nX-Vestibule-Refusal: no_identity\r\nX-Litellm-Api-Key: sk-1\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let stage = Stage::before(upstream.await).await;
    let answer = stage.client().get("/v1/models").from(&UserProfile::named("alice")).send().await;
    let [hints] = answer.informational.as_slice() else { panic!("{} interim responses", answer.informational.len()) };
    assert_eq!((hints.status(), hints.value("x-kept").as_deref()), (103, Some("yes")));
    for name in [
        "set-cookie",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "x-vestibule-refusal",
        "x-litellm-api-key",
    ] {
        assert_eq!(hints.value(name), None, "{name}");
    }
}

#[tokio::test]
async fn expect_100_continue_lets_the_client_send_its_body() {
    let stage = Stage::plain().await;
    let mut wire = stage.client().connect().await;
    let head = "POST /v1/files HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-User: alice\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    wire.send(head).await;
    assert_eq!(wire.expect_head("100 Continue").await.status(), 100);
    wire.send("hello").await;
    wire.answer("POST").await.expect_ok();
    assert_eq!(stage.upstream.only().body.bytes, b"hello");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let upstream = Upstream::answering(|mut exchange| async move {
        exchange.body().await;
        let path = exchange.head.line.split(' ').nth(1).unwrap_or_default().to_owned();
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len())).await;
        Some(exchange)
    });
    let stage = Stage::before(upstream.await).await;
    let mut wire = stage.client().connect().await;
    let (alice, bob) = (UserProfile::named("alice"), UserProfile::named("bob"));
    let mut bytes = stage.client().post("/1", "GET /evil HTTP/1.1").from(&alice).bytes();
    bytes.extend(stage.client().get("/2").from(&bob).bytes());
    bytes.extend(stage.client().get("/3").from(&alice).bytes());
    wire.send(bytes).await;
    for path in ["/1", "/2", "/3"] {
        assert_eq!(wire.answer("GET").await.text(), path);
    }
    let keys: Vec<_> = stage.upstream.seen().iter().filter_map(|seen| seen.head.value("x-litellm-api-key")).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys[0] == keys[2] && keys[0] != keys[1], "each request has its own person's key");
}
