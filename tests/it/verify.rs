//! The forward-auth target, asked as gateways ask. Who is signed in says a double of a sign-in proxy, which misbehaves where a
//! test wants it; real gateways and a real sign-in proxy ask in `gateways`.

mod answers;
mod questions;
mod sign_in;

use serde_json::{Value, json};

use crate::support::client::{Answer, Client, Request};
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::Setup;

pub(crate) const PROOF: &str = "canary-proof-of-the-gateway-0123456789abcdef";
pub(crate) const GATEWAYS: [&str; 5] = ["nginx", "traefik", "caddy", "envoy", "haproxy"];

/// A sign-in proxy's endpoint: knows people by their cookie, in oauth2-proxy's words.
async fn sign_in_proxy() -> Upstream {
    Upstream::answering(|mut exchange| async move {
        let cookies = exchange.head.value("cookie").unwrap_or_default();
        let who = cookies.split("; ").find_map(|cookie| cookie.strip_prefix("_oauth2_proxy=")).unwrap_or_default();
        let of = |user: &str, groups: &str| {
            format!(
                "HTTP/1.1 202 Accepted\r\nX-Auth-Request-User: {user}\r\nX-Auth-Request-Email: {user}@example.com\r\n\
                 X-Auth-Request-Groups: {groups}\r\nContent-Length: 0\r\n\r\n"
            )
        };
        let answer = match who {
            "alice" => of("alice", "llm-users"),
            "bob" => of("bob", "llm-admins"),
            "nameless" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
            "empty" => "HTTP/1.1 200 OK\r\nX-Auth-Request-User: \r\nContent-Length: 0\r\n\r\n".to_owned(),
            "twice" => {
                "HTTP/1.1 200 OK\r\nX-Auth-Request-User: a\r\nX-Auth-Request-User: b\r\nContent-Length: 0\r\n\r\n"
                    .to_owned()
            }
            "forbidden" => "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "broken" => "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "away" => {
                "HTTP/1.1 302 Found\r\nLocation: /sign-in\r\nX-Auth-Request-User: mallory\r\nContent-Length: 0\r\n\r\n"
                    .to_owned()
            }
            "silent" => std::future::pending().await,
            _ => "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned(),
        };
        exchange.send(answer).await;
        Some(exchange)
    })
    .await
}

/// vestibule as a target for every kind of gateway, with a sign-in proxy to ask.
pub(crate) struct Scene {
    stage: Stage,
    sign_in: Upstream,
    questions: Client,
}

impl Scene {
    pub(crate) async fn plain() -> Self {
        Self::with(|setup| setup).await
    }

    pub(crate) async fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let sign_in = sign_in_proxy().await;
        let url = format!("{}/oauth2/auth", sign_in.url);
        let stage = Stage::with(|setup| change(asked(setup, &url))).await;
        let questions = stage.vestibule.questions().await;
        Self { stage, sign_in, questions }
    }

    /// A question about a request, in a gateway's own words.
    pub(crate) fn ask(&self, gateway: &str, method: &str, uri: &str) -> Request {
        ask(&self.questions, gateway, method, uri)
    }

    /// The same for somebody who is signed in.
    pub(crate) async fn asked_for(&self, who: &str, gateway: &str, method: &str, uri: &str) -> Answer {
        self.ask(gateway, method, uri).header("Cookie", format!("_oauth2_proxy={who}")).send().await
    }
}

pub(crate) fn asked(setup: Setup, check: &str) -> Setup {
    let proof = json!({ "name": "X-Vestibule-Proof", "value": PROOF });
    setup
        .with("public_url", "https://llm.example.com")
        .with("identity.source", "check")
        .with("identity.check", json!({ "url": check, "timeout": "2s" }))
        .with("identity.preset", "oauth2-proxy-auth-request")
        .with("forward_auth", forward_auth(&proof))
}

fn forward_auth(proof: &Value) -> Value {
    json!({
        "listen": "127.0.0.1:0",
        "peers": ["127.0.0.1"],
        "secret_header": proof,
        "gateways": GATEWAYS,
        "gateway_removes": ["cookie", "x-api-key", "x-vestibule-proof"],
        "gateway_passes": ["cookie", "origin", "referer", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "user-agent", "accept", "sec-websocket-key", "sec-websocket-protocol"],
        "sign_in": "https://llm.example.com/oauth2/start?rd={url}",
    })
}

fn ask(client: &Client, gateway: &str, method: &str, uri: &str) -> Request {
    let request = match gateway {
        "envoy" => client.request(method, &format!("/vestibule/auth/envoy{uri}")),
        "nginx" => client
            .get("/vestibule/auth/nginx")
            .header("Host", "127.0.0.1:4182")
            .header("X-Original-URI", uri)
            .header("X-Original-Method", method)
            .header("X-Original-Host", "llm.example.com"),
        other => client
            .get(&format!("/vestibule/auth/{other}"))
            .header("Host", "127.0.0.1:4182")
            .header("X-Forwarded-Uri", uri)
            .header("X-Forwarded-Method", method)
            .header("X-Forwarded-Host", "llm.example.com"),
    };
    request.header("X-Vestibule-Proof", PROOF)
}

/// The session key in an answer, in the two headers that a gateway copies.
#[track_caller]
pub(crate) fn key(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.refusal()), (200, None), "{}", answer.text());
    let [bearer, bare] = ["authorization", "x-litellm-api-key"].map(|name| answer.head.values(name));
    assert_eq!((bearer.len(), bare.len()), (1, 1));
    assert_eq!(bearer[0], format!("Bearer {}", bare[0]));
    bare[0].clone()
}
