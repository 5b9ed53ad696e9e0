//! A gateway with its neighbours: Apache, where people are signed in by a cookie, vestibule with the configuration of
//! `deploy`, and LiteLLM or a double of it.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::shipped::{Change, Gateway, Neighbours, PROOF, substituted};
use crate::litellm;
use crate::support::client::{Answer, Client, Request};
use crate::support::db::TestDb;
use crate::support::peers::{Peer, apache, free_port};
use crate::support::upstream::{Exchange, Seen, Upstream};
use crate::support::vestibule::{SESSION_SECRET, Setup, Vestibule, field};
use crate::support::{Gate, eventually};
use crate::wire::address_of;

/// What a client says that must arrive nowhere.
pub(super) const FORGED: &str = "sk-forged-0123456789";
/// A websocket's handshake, for whoever adds who they are.
pub(super) const HANDSHAKE: &[(&str, &str)] = &[
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "MDEyMzQ1Njc4OWFiY2RlZg=="),
];
/// A frame with `hello` as a client sends it, and as a server does.
pub(super) const HELLO: (&[u8], &[u8]) = (b"\x81\x85\x00\x00\x00\x00hello", b"\x81\x05hello");

pub(super) struct Scene {
    pub(super) gateway: &'static Gateway,
    pub(super) client: Client,
    pub(super) db: TestDb,
    pub(super) vestibule: Option<Vestibule>,
    /// The double, where it stands in LiteLLM's place.
    pub(super) upstream: Option<Upstream>,
    /// Lets the double's events go, one by one.
    pub(super) events: Gate,
    pub(super) sign_in: Option<Peer>,
    folder: PathBuf,
    _gateway: Peer,
    // Its folder goes with it.
    _setup: Setup,
}

impl Scene {
    pub(super) async fn before_a_double(gateway: &'static Gateway) -> Self {
        let events = Gate::closed();
        let upstream = double(&events).await;
        let db = TestDb::fresh().await;
        let address = upstream.url.trim_start_matches("http://").parse().expect("an address");
        let mut scene = Self::start(gateway, address, db, events).await;
        scene.upstream = Some(upstream);
        scene
    }

    pub(super) async fn before_litellm(gateway: &'static Gateway) -> Self {
        let (address, database) = litellm::address("SHORT").await;
        Self::start(gateway, address, TestDb::at(&database).await, Gate::closed()).await
    }

    async fn start(gateway: &'static Gateway, litellm: SocketAddr, db: TestDb, events: Gate) -> Self {
        let setup = Setup::new("", "");
        let folder = setup.folder().to_owned();
        let port = free_port();
        let sign_in = apache("sign-in", &folder, port, &[]).await;
        let sign_in_at = SocketAddr::from(([127, 0, 0, 1], port));
        for (name, text) in [("proof", PROOF), ("secret", SESSION_SECRET), ("database", db.url())] {
            std::fs::write(folder.join(name), text).expect("the folder can be written");
        }
        let path = |name: &str| folder.join(name).display().to_string();
        let anywhere = || "127.0.0.1:0".to_owned();
        let changes: [Change; 8] = [
            ("127.0.0.1:4180", anywhere()),
            ("127.0.0.1:4181", anywhere()),
            ("127.0.0.1:4182", anywhere()),
            ("127.0.0.1:4190", sign_in_at.to_string()),
            ("127.0.0.1:4000", litellm.to_string()),
            ("/run/secrets/vestibule-proof", path("proof")),
            ("/run/secrets/session-secret", path("secret")),
            ("/run/secrets/database-url", path("database")),
        ];
        let text = substituted(&format!("{}/vestibule.yaml", gateway.kind.folder()), &changes);
        let more = [("LOG__FORMAT", "json"), ("LITELLM__CACHE_TTL", "1s"), ("DRAIN__DELAY", "0s"), ("WORKERS", "2")];
        let more = more.map(|(name, value)| (format!("VESTIBULE_{name}"), value.to_owned()));
        let setup = setup.saying(text).environment(more.to_vec());
        let vestibule = setup.start().await;
        let questions = vestibule
            .line("the line that the listener for gateways listens", |line| {
                let is_it = field(line, "message") == "listening" && field(line, "what") == "forward_auth";
                is_it.then(|| field(line, "address").parse().expect("an address"))
            })
            .await;
        let proxy = address_of(&vestibule);
        let neighbours = Neighbours { litellm, proxy, questions, sign_in: sign_in_at };
        let folder = folder.join("gateway");
        let (peer, at) = gateway.start(&neighbours, &folder).await;
        let client = Client::tcp(at);
        // Traefik listens before it has read where things go.
        eventually("the gateway to ask", async || {
            (client.get("/v1/models").send().await.refusal().as_deref() == Some("no_identity")).then_some(())
        })
        .await;
        Self {
            gateway,
            client,
            db,
            vestibule: Some(vestibule),
            upstream: None,
            events,
            sign_in: Some(sign_in),
            folder,
            _gateway: peer,
            _setup: setup,
        }
    }

    /// Somebody's name here: all gateways may stand before one LiteLLM.
    pub(super) fn name(&self, person: &str) -> String {
        format!("{person}.{}", self.gateway.name)
    }

    /// What somebody's browser or program shows the sign-in proxy.
    pub(super) fn cookie(&self, person: &str) -> String {
        format!("session={}", self.name(person))
    }

    /// The request of somebody who is signed in.
    pub(super) fn of(&self, person: &str, request: Request) -> Request {
        request.header("Cookie", self.cookie(person))
    }

    pub(super) fn get(&self, path: &str) -> Request {
        self.client.get(path)
    }

    /// A GET of alice's.
    pub(super) fn alice(&self, path: &str) -> Request {
        self.of("alice", self.get(path))
    }

    pub(super) fn upstream(&self) -> &Upstream {
        self.upstream.as_ref().expect("this case stands before the double")
    }

    /// Sends it, and gives what came through to the upstream, if anything did.
    pub(super) async fn through(&self, request: &Request) -> (Answer, Option<Seen>) {
        let before = self.upstream().count();
        let answer = request.send().await;
        let mut seen = self.upstream().seen().split_off(before);
        assert!(seen.len() < 2, "one request became {}: {seen:#?}", seen.len());
        (answer, seen.pop())
    }

    /// Fails unless what arrived is a request of alice's with one key of hers and nothing that was forged.
    pub(super) async fn expect_alices(&self, seen: &Seen) {
        let key = seen.head.value("x-litellm-api-key").unwrap_or_else(|| panic!("no key: {:#?}", seen.head));
        assert_eq!(seen.head.value("authorization"), Some(format!("Bearer {key}")), "{:#?}", seen.head);
        assert_eq!(self.db.owner_of(&key).await, Some(self.name("alice")), "{:#?}", seen.head);
        let raw = String::from_utf8_lossy(&seen.raw).to_lowercase();
        for forged in ["forged", "6.6.6.6", PROOF, "session="] {
            assert!(!raw.contains(forged), "{forged} arrived: {raw}");
        }
    }

    /// Fails unless it was refused, by vestibule or the gateway, and nothing went on.
    pub(super) fn expect_closed(what: &str, answer: &Answer, seen: Option<&Seen>) {
        assert!(answer.status >= 400, "{what}: {}", answer.head.line);
        assert!(seen.is_none(), "{what} went on: {seen:#?}");
        assert!(!has_key(answer), "{what}: a key in {} {}", answer.head.line, answer.text());
    }

    /// What the gateway has written.
    pub(super) fn log(&self) -> String {
        #[expect(clippy::disallowed_methods, reason = "a test's own files need no path in the error")]
        let read = |name: &str| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        read("gateway.log") + &read("error.log")
    }
}

/// Whether anything in an answer looks like a key.
pub(super) fn has_key(answer: &Answer) -> bool {
    let is_key = |text: &[u8]| {
        memchr::memmem::find_iter(text, b"sk-").any(|at| {
            let behind = text.get(at + 3..at + 11);
            behind.is_some_and(|behind| behind.iter().all(u8::is_ascii_alphanumeric))
        })
    };
    answer.head.headers.iter().any(|(_, value)| is_key(value)) || is_key(&answer.body)
}

/// LiteLLM's double: JSON, events one by one, websockets that echo, and an answer that would lead a gateway astray.
async fn double(events: &Gate) -> Upstream {
    let events = events.clone();
    Upstream::answering(move |exchange| {
        let events = events.clone();
        async move {
            let path = exchange.head.target().split('?').next().unwrap_or_default().to_owned();
            match path.as_str() {
                "/v1/events" => send_events(exchange, &events).await,
                "/v1/socket" if exchange.head.value("upgrade").is_some() => echo(exchange).await,
                "/v1/astray" => astray(exchange).await,
                _ => exchange.json(r#"{"ok":true}"#).await,
            }
        }
    })
    .await
}

async fn send_events(mut exchange: Exchange, events: &Gate) -> Option<Exchange> {
    exchange.body().await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    exchange.send(head).await;
    for number in 1..=5 {
        tokio::select! {
            () = events.pass() => {}
            () = exchange.wire.closed() => return None,
        }
        exchange.send_chunk(&format!("data: {number}\n\n")).await;
    }
    exchange.send("0\r\n\r\n").await;
    Some(exchange)
}

async fn echo(mut exchange: Exchange) -> Option<Exchange> {
    let key = exchange.head.value("sec-websocket-key").expect("a websocket has a key");
    let accept = derive_accept_key(key.as_bytes());
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    exchange.send(format!("{head}Sec-WebSocket-Accept: {accept}\r\n\r\n")).await;
    let frame = exchange.wire.read_exact(HELLO.0.len()).await;
    assert_eq!(frame, HELLO.0, "the frame came as it was sent");
    exchange.send(HELLO.1).await;
    exchange.wire.closed().await;
    None
}

/// Words that only a gateway's own back end may say to it, and LiteLLM's word that every site may read.
async fn astray(mut exchange: Exchange) -> Option<Exchange> {
    exchange.body().await;
    let lead = "X-Accel-Redirect: /_vestibule\r\nX-Sendfile: /etc/passwd\r\nX-Reproxy-URL: http://127.0.0.1:4182/";
    let cors = "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true";
    let answer =
        format!("HTTP/1.1 200 OK\r\n{lead}\r\n{cors}\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nsea");
    exchange.send(answer).await.then_some(exchange)
}
