//! Real sign-in proxies before vestibule, and asked by it, each in its own encodings: Apache's `mod_auth_openidc`, and Envoy's
//! `oauth2` and `jwt_authn` filters. `tests/run --gateways` installs what they need.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::client::{Answer, Client, Request};
use crate::support::db::TestDb;
use crate::support::peers::{Peer, apache, free_port, program, provider, tests};
use crate::support::upstream::Upstream;
use crate::support::vestibule::{Setup, Vestibule};
use crate::wire::address_of;

/// A person at a browser of few wits: keeps cookies, goes where it is sent, fills in the provider's form.
struct Browser {
    /// By host and port, since cookies know no ports and our hosts share one.
    cookies: BTreeMap<String, BTreeMap<String, String>>,
    name: &'static str,
}

impl Browser {
    fn of(name: &'static str) -> Self {
        Self { cookies: BTreeMap::new(), name }
    }

    fn cookie(&self, host: &str) -> String {
        let jar = self.cookies.get(host).cloned().unwrap_or_default();
        jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn request(&self, host: &str, method: &str, path: &str) -> Request {
        let port = host.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let client = Client::tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        let request = if method == "POST" { client.post(path, self.form()) } else { client.get(path) };
        request.header("Host", host).header("Accept", "text/html").header("Cookie", self.cookie(host))
    }

    fn form(&self) -> String {
        format!("login={}&password={}-pw", self.name, self.name)
    }

    fn keep(&mut self, host: &str, answer: &Answer) {
        let jar = self.cookies.entry(host.to_owned()).or_default();
        for line in answer.head.values("set-cookie") {
            let (name, rest) = line.split_once('=').expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default();
            if value.is_empty() || rest.to_lowercase().contains("max-age=0") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Opens a page and signs in on the way: the last answer, once nobody sends it on.
    async fn open(&mut self, base: &str, path: &str) -> Answer {
        let (mut host, mut path, mut method) = (base.to_owned(), path.to_owned(), "GET");
        for _ in 0..20 {
            let answer = self.request(&host, method, &path).send().await;
            self.keep(&host, &answer);
            method = "GET";
            if let Some(location) = answer.head.value("location") {
                let location = location.strip_prefix("http://").map_or(format!("{host}{location}"), str::to_owned);
                let (to, below) = location.split_once('/').expect("a path");
                (host, path) = (to.to_owned(), format!("/{below}"));
            } else if answer.text().contains("name=\"password\"") {
                method = "POST";
            } else {
                return answer;
            }
        }
        panic!("sent in circles, last to {host}{path}");
    }
}

fn openid(issuer: &str, upstream: &Vestibule) -> [(&'static str, String); 4] {
    [
        ("UPSTREAM_PORT", address_of(upstream).port().to_string()),
        ("ISSUER", issuer.to_owned()),
        ("CLIENT_ID", "gateway".to_owned()),
        ("CLIENT_SECRET", "gateway-secret".to_owned()),
    ]
}

async fn envoy(folder: &Path, port: u16, values: &[(&str, String)]) -> Peer {
    #[expect(clippy::disallowed_methods, reason = "a test's own files need no path in the error")]
    let text = std::fs::read_to_string(tests().join("peers/envoy/oauth2.yaml.in")).expect("it is there");
    let text = values.iter().fold(text, |text, (name, value)| text.replace(&format!("@{name}@"), value));
    let config = folder.join("envoy.yaml");
    std::fs::write(&config, text.replace("@LISTEN_PORT@", &port.to_string())).expect("the folder can be written");
    let mut command = Command::new(program("envoy"));
    command.arg("-c").arg(config).args(["--disable-hot-restart", "--concurrency", "1", "-l", "warning"]);
    Peer::start("Envoy", command, port).await
}

fn rules(setup: Setup, base: &str) -> Setup {
    let rules = json!([
        { "when": { "group": "llm-admins" }, "role": "proxy_admin" },
        { "when": { "group": "team-a" }, "role": "internal_user" },
    ]);
    setup.with("rules", rules).with("default_role", "deny").with("public_url", format!("http://{base}"))
}

struct Scene {
    base: String,
    upstream: Upstream,
    db: TestDb,
    vestibule: Vestibule,
    setup: Setup,
    idp: (Peer, String),
}

impl Scene {
    async fn start(base: String, change: impl FnOnce(Setup) -> Setup) -> Self {
        let upstream = Upstream::json().await;
        let db = TestDb::fresh().await;
        let setup = change(rules(Setup::new(&upstream.url, db.url()), &base));
        let vestibule = setup.start().await;
        let idp = provider(&format!("http://{base}")).await;
        Self { base, upstream, db, vestibule, setup, idp }
    }

    /// alice and bob sign in and are who they are; a client's headers change nothing. Ends with alice's browser.
    async fn everybody_is_themselves(&self) -> Browser {
        let mut bob = Browser::of("bob");
        bob.open(&self.base, "/v1/models").await.expect_ok();
        let mut alice = Browser::of("alice");
        alice.open(&self.base, "/v1/models").await.expect_ok();
        for (person, role) in [("alice", "internal_user"), ("bob", "proxy_admin")] {
            assert_eq!(self.db.role(person).await.as_deref(), Some(role), "{person}");
        }
        let forged = alice.request(&self.base, "GET", "/v1/models");
        let forged = forged.header("X-Forwarded-User", "bob").header("X-Forwarded-Groups", "llm-admins").send().await;
        forged.expect_ok();
        let key = self.upstream.last().head.value("x-litellm-api-key").expect("a key");
        assert_eq!(self.db.owner_of(&key).await.as_deref(), Some("alice"));
        assert_eq!(self.db.role("alice").await.as_deref(), Some("internal_user"));
        alice
    }

    /// Of what the sign-in proxy sends, nothing reaches LiteLLM.
    fn expect_nothing_of_the_sign_in(&self) {
        for seen in self.upstream.seen() {
            let names = seen.head.names();
            assert!(!names.iter().any(|name| name.starts_with("x-forwarded-") && name.ends_with("token")), "{names:?}");
            for name in ["x-forwarded-user", "x-forwarded-groups", "x-forwarded-email"] {
                assert_eq!(seen.head.value(name), None);
            }
            let bearer = seen.head.value("authorization").expect("ours");
            assert_eq!(bearer.strip_prefix("Bearer "), seen.head.value("x-litellm-api-key").as_deref());
            assert_eq!(seen.head.value("cookie"), None, "its session, and the ID token in it");
        }
    }
}

#[tokio::test]
#[ignore = "needs Apache and an OpenID provider: tests/run --gateways"]
async fn behind_apache_everybody_is_themselves() {
    let port = free_port();
    let scene =
        Scene::start(format!("127.0.0.1:{port}"), |setup| setup.with("sign_in_cookies", json!(["mod_auth_openidc*"])))
            .await;
    let _apache = apache("openid", scene.setup.folder(), port, &openid(&scene.idp.1, &scene.vestibule)).await;
    let alice = scene.everybody_is_themselves().await;
    scene.expect_nothing_of_the_sign_in();
    // Apache passes a twin, and lets a client take away what it has just set.
    let ask = || alice.request(&scene.base, "GET", "/v1/models");
    let twin = ask().header("X_Forwarded_User", "bob").send().await;
    twin.expect_refusal(400, "aliased_header");
    let without_groups = ask().header("Connection", "close, X-Forwarded-Groups").send().await;
    without_groups.expect_refusal(403, "no_role");
}

#[tokio::test]
#[ignore = "needs Apache and an OpenID provider: tests/run --gateways"]
async fn asked_about_a_cookie_apache_says_who_it_is() {
    let port = free_port();
    let base = format!("127.0.0.1:{port}");
    let scene = Scene::start(base.clone(), |setup| {
        let check = json!({ "url": format!("http://127.0.0.1:{port}/oauth2/auth") });
        setup
            .with("identity.source", "check")
            .with("identity.check", check)
            .with("identity.preset", "oauth2-proxy-auth-request")
            .with("hosts", json!([format!("127.0.0.1:{port}")]))
    })
    .await;
    let _apache = apache("openid", scene.setup.folder(), port, &openid(&scene.idp.1, &scene.vestibule)).await;
    // Signed in by Apache's own way, which needs no answer of vestibule's.
    for (person, role) in [("alice", "internal_user"), ("bob", "proxy_admin")] {
        let mut browser = Browser::of(person);
        browser.open(&base, "/oauth2/auth").await;
        browser.open(&base, "/bye").await;
        browser.open(&base, "/v1/models").await;
        let asked = scene.vestibule.client().get("/v1/models").header("Host", &base);
        asked.header("Cookie", browser.cookie(&base)).header("X-Forwarded-User", "mallory").send().await.expect_ok();
        assert_eq!(scene.db.role(person).await.as_deref(), Some(role));
    }
    let nobody = scene.vestibule.client().get("/v1/models").header("Host", &base);
    nobody.header("Cookie", "mod_auth_openidc_session=gone").send().await.expect_refusal(401, "no_identity");
    assert_eq!(scene.db.role("mallory").await, None);
}

#[tokio::test]
#[ignore = "needs Envoy and an OpenID provider: tests/run --gateways"]
async fn behind_envoys_own_sign_in_everybody_is_themselves() {
    let port = free_port();
    let scene = Scene::start(format!("127.0.0.1:{port}"), |setup| {
        setup
            .with("identity.preset", "custom")
            .with(
                "identity.headers",
                json!({
                    "user": { "name": "X-Forwarded-User" },
                    "email": { "name": "X-Forwarded-Email" },
                    // A list becomes JSON in base64.
                    "groups": { "name": "X-Forwarded-Groups", "decoding": "base64", "separator": "json" },
                }),
            )
            .with(
                "sign_in_cookies",
                json!(["IdToken", "BearerToken", "AccessToken", "RefreshToken", "Oauth*", "CodeVerifier*"]),
            )
    })
    .await;
    let mut values = openid(&scene.idp.1, &scene.vestibule).to_vec();
    values.push(("IDP_PORT", scene.idp.1.rsplit(':').next().expect("a port").to_owned()));
    let _envoy = envoy(scene.setup.folder(), port, &values).await;
    let alice = scene.everybody_is_themselves().await;
    scene.expect_nothing_of_the_sign_in();
    // To vestibule Envoy sends the ID token itself in it.
    assert!(alice.cookie(&scene.base).contains("IdToken="), "{}", alice.cookie(&scene.base));
    let nobody = scene.vestibule.client().get("/v1/models").header("Host", &scene.base).send().await;
    nobody.expect_refusal(401, "no_identity");
}
