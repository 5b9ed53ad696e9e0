use super::{alice, litellm, stage};
use crate::support::client::Request;
use crate::support::stage::Stage;

type Lines = &'static [(&'static str, &'static str)];

const BROWSER: Lines = &[("User-Agent", "Mozilla/5.0"), ("Cookie", "_oauth2_proxy=x")];

fn sent(stage: &Stage, method: &str, path: &str, lines: Lines) -> Request {
    let request = stage.client().request(method, path).from(&alice()).header("Content-Length", "0");
    BROWSER.iter().chain(lines).fold(request, |request, (name, value)| request.header(name, value))
}

const CROSS: (&str, &str) = ("Sec-Fetch-Site", "cross-site");
const REFERER: (&str, &str) = ("Referer", "http://evil.example/");
const ORIGIN: (&str, &str) = ("Origin", "https://evil.example");
const PLAIN: (&str, &str) = ("Content-Type", "text/plain");

/// What a browser sends for another site's page, by what is in the page; over https, and over http, where there is no
/// `Sec-Fetch-*`.
const FOREIGN: &[(&str, Lines)] = &[
    ("img", &[CROSS, ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image"), ("Referer", "https://evil.example/")]),
    ("img, http", &[REFERER]),
    ("iframe", &[CROSS, ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")]),
    ("link", &[CROSS, ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]),
    ("link, http", &[REFERER, ("Accept", "text/html")]),
    ("form", &[ORIGIN, CROSS, PLAIN]),
    ("form, http", &[("Origin", "http://evil.example"), PLAIN]),
    ("form in a sandbox", &[("Origin", "null"), PLAIN]),
    ("fetch no-cors", &[ORIGIN, CROSS, ("Sec-Fetch-Mode", "no-cors")]),
    ("EventSource", &[ORIGIN, CROSS, ("Accept", "text/event-stream")]),
    ("a sister site", &[("Origin", "https://wiki.example.com"), ("Sec-Fetch-Site", "same-site")]),
];

#[tokio::test]
async fn nothing_that_another_site_makes_a_browser_send_is_forwarded() {
    let stage = stage(|setup| setup).await;
    for (what, lines) in FOREIGN {
        for (method, path) in [
            ("GET", "/health"),
            ("GET", "/v1/models"),
            ("POST", "/v1/chat/completions"),
            ("POST", "/key/generate"),
            ("POST", "/session/logout"),
            ("POST", "/vestibule/logout"),
        ] {
            let answer = sent(&stage, method, path, lines).send().await;
            assert_eq!(answer.refusal().as_deref(), Some("cross_site"), "{what}: {method} {path}");
            assert_eq!(answer.status, 403);
        }
    }
    let socket: Lines = &[
        ("Connection", "upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ORIGIN,
    ];
    let request = stage.client().get("/v1/realtime").from(&alice());
    let request = socket.iter().fold(request, |request, (name, value)| request.header(name, value));
    request.send().await.expect_refusal(403, "cross_site");
    assert_eq!(stage.upstream.count(), 0, "nothing of it was forwarded");
    stage.db.expect_nothing_written().await;
}

#[tokio::test]
async fn over_http_a_browser_that_does_not_say_where_it_comes_from_is_refused() {
    let stage = stage(|setup| setup.with("public_url", "http://llm.example.com")).await;
    let silent = sent(&stage, "GET", "/health", &[]).send().await;
    silent.expect_refusal(403, "cross_site");
    stage.client().get("/health").from(&alice()).header("Cookie", "a=1").send().await.expect_ok();
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_refused_before_anybody_is_looked_up() {
    let hosts = vec!["llm.internal:8080"];
    let stage = stage(|setup| setup.with("hosts", hosts).with("public_paths", vec!["health"])).await;
    let from = |host: &str| stage.client().get("/v1/models").from(&alice()).header("Host", host);
    for host in ["evil.example", "127.0.0.1", "llm.example.com.evil.example", "llm.internal"] {
        from(host).send().await.expect_refusal(421, "unknown_host");
    }
    stage.db.expect_nothing_written().await;
    for host in ["llm.example.com", "LLM.example.com:443", "llm.internal:8080"] {
        from(host).send().await.expect_ok();
    }
    // Probes come by addresses.
    stage.client().get("/health/liveness").header("Host", "10.0.0.7:4180").send().await.expect_ok();
}

#[tokio::test]
async fn other_sites_read_nothing_unless_they_are_listed() {
    let chat = "https://chat.example.com";
    let stage = stage(|setup| setup.with("allowed_origins", vec![chat])).await;
    let preflight = |origin: &str| {
        let request = stage.client().request("OPTIONS", "/v1/chat/completions").header("Origin", origin);
        request.header("Access-Control-Request-Method", "POST").header("Access-Control-Request-Headers", "content-type")
    };
    preflight("https://evil.example").send().await.expect_refusal(403, "cross_site");
    let granted = preflight(chat).send().await;
    assert_eq!(granted.status, 204);
    assert_eq!(granted.head.value("access-control-allow-origin").as_deref(), Some(chat));
    assert_eq!(granted.head.value("access-control-allow-headers").as_deref(), Some("content-type"));
    assert_eq!(granted.head.value("access-control-allow-credentials").as_deref(), Some("true"));
    assert_eq!(stage.upstream.count(), 0, "no preflight is forwarded");

    let lines: Lines = &[("Origin", "https://chat.example.com"), ("Sec-Fetch-Site", "same-site")];
    let read = sent(&stage, "POST", "/v1/chat/completions", lines).send().await;
    read.expect_ok();
    assert_eq!(read.head.value("access-control-allow-origin").as_deref(), Some(chat));
    assert_eq!(read.head.value("vary").as_deref(), Some("Origin"));
    // A listed site's script may read why it was refused.
    let refused = stage.client().get("/v1/models").header("Origin", chat).send().await;
    refused.expect_refusal(401, "no_identity");
    assert_eq!(refused.head.value("access-control-allow-origin").as_deref(), Some(chat));

    let program = stage.client().get("/v1/models").from(&alice()).send().await;
    program.expect_ok();
    assert_eq!(program.head.value("access-control-allow-origin"), None, "LiteLLM's `*` is taken out");
}

#[tokio::test]
async fn without_a_public_url_what_is_marked_as_foreign_is_refused() {
    let stage = Stage::before(litellm().await).await;
    let foreign: [Lines; 3] = [&[CROSS], &[ORIGIN], &[REFERER]];
    for lines in foreign {
        let answer = sent(&stage, "POST", "/v1/chat/completions", lines).send().await;
        assert_eq!(answer.refusal().as_deref(), Some("cross_site"), "{lines:?}");
    }
    let own: Lines = &[("Origin", "https://llm.example.com")];
    sent(&stage, "POST", "/v1/chat/completions", own).send().await.expect_ok();
}
