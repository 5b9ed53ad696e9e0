//! `vestibule check --probe`, by gateways that do one thing wrong each: a double, since real ones are not wrong like this.

use serde_json::json;

use crate::check::{count, findings};
use crate::support::client::{Client, UserProfile};
use crate::support::db::TestDb;
use crate::support::upstream::{Exchange, Upstream};
use crate::support::vestibule::{Ended, Setup, Vestibule, binary, ended};

const PROOF: &str = "canary-proof-of-the-gateway-0123456789abcdef";
const COOKIE: &str = "session=canary-sign-in-of-alice";

/// What stands between people and vestibule.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Front {
    /// Says who is signed in, over whatever came.
    Sound,
    /// Says alice of everybody.
    Everybody,
    /// Leaves groups that came as they are.
    Groups,
    /// Leaves the twin of the user's header.
    Twin,
    /// Takes away what a client nominates, after it has set it.
    Nominated,
    /// Keeps what tells another site's requests to itself.
    Silent,
    /// Lets the endpoint for gateways be asked.
    Open,
    /// Leaves the user's header, which the rules then refuse.
    Refused,
    /// Sends the models' routes to LiteLLM with the client's own key.
    Straight,
}

fn is_identity(name: &str) -> bool {
    name.replace('_', "-").starts_with("x-forwarded-")
}

async fn pass(front: Front, exchange: Exchange, vestibule: Client, questions: Client) -> Option<Exchange> {
    let (head, mut exchange) = (exchange.head.clone(), exchange);
    let path = head.target().to_owned();
    let is_signed_in = head.value("cookie").is_some_and(|cookie| cookie.contains(COOKIE)) || front == Front::Everybody;
    let is_asked = front == Front::Open && path.to_lowercase().contains("/vestibule/auth/");
    if !is_signed_in {
        return exchange.refuse("401 Unauthorized", r#"{"who":"nobody"}"#).await;
    }
    let sent_key = head.value("x-api-key").is_some();
    if front == Front::Straight && path == "/v1/models" && sent_key {
        return exchange
            .refuse("401 Unauthorized", r#"{"error":{"message":"Invalid proxy server token passed"}}"#)
            .await;
    }
    let mut request = if is_asked { questions.get(&path) } else { vestibule.get(&path) };
    let nominated = head.value("connection").unwrap_or_default().to_lowercase();
    for name in head.names() {
        let name = name.to_lowercase();
        let stays = match front {
            Front::Groups if name == "x-forwarded-groups" => true,
            Front::Twin if name == "x_forwarded_user" => true,
            Front::Refused if name == "x-forwarded-user" => true,
            Front::Silent => !is_identity(&name) && !name.starts_with("sec-fetch") && name != "origin",
            Front::Sound
            | Front::Everybody
            | Front::Groups
            | Front::Twin
            | Front::Nominated
            | Front::Open
            | Front::Refused
            | Front::Straight => is_asked || !is_identity(&name),
        };
        if stays && name != "connection" && name != "host" {
            request = request.header(&name, head.value(&name).unwrap_or_default());
        }
    }
    if is_asked {
        request = request.header("X-Vestibule-Proof", PROOF).from(&UserProfile::named("alice"));
    } else {
        let alice = UserProfile::named("alice");
        let forged_user = head.value("x-forwarded-user").is_some();
        let came = head.value("x-forwarded-groups").is_some();
        for (name, value) in alice.headers() {
            let is_kept = front == Front::Groups && name == "X-Forwarded-Groups" && came;
            let is_kept = is_kept || front == Front::Refused && name == "X-Forwarded-User" && forged_user;
            let is_taken = front == Front::Nominated && nominated.contains(&name.to_lowercase());
            if !is_kept && !is_taken {
                request = request.header(name, value);
            }
        }
    }
    let answer = request.send().await;
    let mut text = format!("HTTP/1.1 {} x\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    for name in ["content-type", "authorization", "x-litellm-api-key", "x-vestibule-refusal"] {
        if let Some(value) = answer.head.value(name) {
            text.extend([name, ": ", &value, "\r\n"]);
        }
    }
    exchange.send([text.as_bytes(), b"\r\n", &answer.body].concat()).await;
    Some(exchange)
}

struct Scene {
    setup: Setup,
    front: Upstream,
    _vestibule: Vestibule,
    _upstream: Upstream,
    _books: TestDb,
}

async fn scene(front: Front) -> Scene {
    let upstream = Upstream::json().await;
    let db = TestDb::fresh().await;
    let gateways = json!({
        "listen": "127.0.0.1:0", "peers": ["127.0.0.1"], "gateways": ["nginx"], "gateway_removes": ["cookie"],
        "gateway_overwrites": ["X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups"],
        "secret_header": { "name": "X-Vestibule-Proof", "value": PROOF },
    });
    // A forged name or group is believed and then refused: a real one would not be.
    let rules = json!([{ "when": { "user": "alice", "group": "llm-users" }, "role": "internal_user" }]);
    let setup = Setup::new(&upstream.url, db.url())
        .with("forward_auth", gateways)
        .with("rules", rules)
        .with("default_role", "deny");
    let setup = setup.with("public_url", "https://llm.example.com");
    let vestibule = setup.start().await;
    let (proxy, questions) = (vestibule.client(), vestibule.questions().await);
    let front = Upstream::answering(move |exchange| pass(front, exchange, proxy.clone(), questions.clone())).await;
    Scene { setup, front, _vestibule: vestibule, _upstream: upstream, _books: db }
}

impl Scene {
    async fn probe(&self, cookie: Option<&str>) -> Ended {
        let mut command = binary();
        command.args(["check", "--json", "--probe", &self.front.url, "--config"]).arg(self.setup.write());
        command.envs(cookie.map(|cookie| ("VESTIBULE_PROBE_COOKIE", cookie)));
        let ended = ended(command).await;
        for printed in [&ended.stdout, &ended.stderr] {
            assert!(!printed.contains("canary"), "{printed}");
        }
        ended
    }
}

#[tokio::test]
async fn a_sound_gateway_passes_every_probe() {
    let scene = scene(Front::Sound).await;
    let ended = scene.probe(Some(COOKIE)).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(count(&findings(&ended), "ok probe: ", ""), 6, "{ended:?}");
}

#[tokio::test]
async fn without_a_sign_in_it_says_what_it_could_not_try() {
    let scene = scene(Front::Sound).await;
    let ended = scene.probe(None).await;
    let found = findings(&ended);
    assert_eq!(
        (count(&found, "ok probe: ", ""), count(&found, "unknown probe: ", "no sign-in to try it with")),
        (2, 1)
    );
    let stale = scene.probe(Some("session=gone")).await;
    assert_eq!(count(&findings(&stale), "unknown probe: ", "does not say who the cookie's owner is"), 1, "{stale:?}");
}

#[tokio::test]
async fn each_fault_of_a_gateway_is_found_and_named() {
    for (front, words) in [
        (Front::Everybody, "lets somebody in who is not signed in"),
        (Front::Groups, "a forged header arrives: `no_role`, with `x-forwarded-groups`"),
        (Front::Refused, "a forged header arrives: `no_role`, with `x-forwarded-user`"),
        (Front::Nominated, "away by `Connection`"),
        (Front::Silent, "another site's request passes"),
        (Front::Open, "is answered by the endpoint for gateways"),
        (Front::Straight, "a client's own key reaches LiteLLM in `x-api-key`"),
    ] {
        let scene = scene(front).await;
        let ended = scene.probe(Some(COOKIE)).await;
        assert_eq!(ended.code, Some(1), "{front:?}: {ended:?}");
        assert_eq!(count(&findings(&ended), "problem probe: ", words), 1, "{front:?}: {ended:?}");
    }
}

#[tokio::test]
async fn a_twin_that_comes_through_is_refused_and_no_fault() {
    let scene = scene(Front::Twin).await;
    let ended = scene.probe(Some(COOKIE)).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn an_address_where_nobody_is_is_a_problem_that_says_so() {
    let setup = Setup::new("http://127.0.0.1:1", "postgresql://nobody@127.0.0.1:1/nothing");
    for (address, words) in [
        ("http://127.0.0.1:1", "could not be asked"),
        ("llm.example.com", "no address such as"),
        ("ftp://llm.example.com", "no address such as"),
    ] {
        let mut command = binary();
        command.args(["check", "--json", "--probe", address, "--config"]).arg(setup.write());
        let ended = ended(command).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(count(&findings(&ended), "problem probe: ", words), 1, "{ended:?}");
    }
}
