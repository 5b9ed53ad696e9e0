//! A client that sends exactly what a test says, and a comfortable one over it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde_json::Value;
use tokio::net::{TcpSocket, UnixStream};

use super::wire::{Head, Wire};
use super::within;

/// Where to connect to, and from which address.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    target: Target,
    source: Option<IpAddr>,
}

#[derive(Debug, Clone)]
enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What oauth2-proxy would say of somebody.
#[derive(Debug, Clone)]
pub(crate) struct UserProfile {
    pub(crate) user: String,
    pub(crate) email: String,
    pub(crate) groups: String,
}

impl UserProfile {
    /// Somebody of example.com in `llm-users`, whom the rules make an internal user.
    pub(crate) fn named(name: &str) -> Self {
        Self { user: name.to_owned(), email: format!("{name}@example.com"), groups: "llm-users,team-a".to_owned() }
    }

    /// The same person in other groups.
    pub(crate) fn in_groups(mut self, groups: &str) -> Self {
        groups.clone_into(&mut self.groups);
        self
    }

    /// oauth2-proxy's headers.
    pub(crate) fn headers(&self) -> [(&'static str, &str); 3] {
        [("X-Forwarded-User", &self.user), ("X-Forwarded-Email", &self.email), ("X-Forwarded-Groups", &self.groups)]
    }
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    client: Client,
    method: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

/// One whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
    /// What came before the answer, such as 103.
    pub(crate) informational: Vec<Head>,
    /// The body ended as its framing promised.
    pub(crate) complete: bool,
}

impl Client {
    pub(crate) fn tcp(target: SocketAddr) -> Self {
        Self { target: Target::Tcp(target), source: None }
    }

    pub(crate) fn unix(path: PathBuf) -> Self {
        Self { target: Target::Unix(path), source: None }
    }

    /// The same client from another loopback address.
    pub(crate) fn from(&self, source: &str) -> Self {
        Self { source: Some(source.parse().expect("an address")), ..self.clone() }
    }

    /// A fresh connection.
    pub(crate) async fn connect(&self) -> Wire {
        match &self.target {
            Target::Unix(path) => UnixStream::connect(path).await.expect("vestibule listens there").into(),
            Target::Tcp(address) => {
                let socket = TcpSocket::new_v4().expect("a socket");
                if let Some(source) = self.source {
                    socket.bind((source, 0).into()).expect("loopback addresses can be bound");
                }
                within("a connection", socket.connect(*address)).await.expect("vestibule listens there").into()
            }
        }
    }

    pub(crate) fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    pub(crate) fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Request {
        let request = self.request("POST", path).header("Content-Type", "application/json");
        Request { body: Some(body.into()), ..request }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        let (method, path) = (method.to_owned(), path.to_owned());
        Request { client: self.clone(), method, path, headers: Vec::new(), body: None }
    }

    /// Sends these bytes on a connection of their own and reads one answer.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut wire = self.connect().await;
        let method = String::from_utf8_lossy(bytes.as_ref()).split(' ').next().unwrap_or_default().to_owned();
        wire.send(bytes).await;
        wire.answer(&method).await
    }
}

impl Request {
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// With oauth2-proxy's headers of that person.
    pub(crate) fn from(self, person: &UserProfile) -> Self {
        person.headers().into_iter().fold(self, |request, (name, value)| request.header(name, value))
    }

    /// The request as bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.path).into_bytes();
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            bytes.extend(b"Host: llm.example.com\r\n");
        }
        for (name, value) in &self.headers {
            bytes.extend(name.as_bytes());
            bytes.extend(b": ");
            bytes.extend(value);
            bytes.extend(b"\r\n");
        }
        if let Some(body) = &self.body {
            bytes.extend(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Sends it on a connection of its own and reads the whole answer.
    pub(crate) async fn send(&self) -> Answer {
        self.client.raw(self.bytes()).await
    }

    /// Sends it and reads the answer's head alone: the body is read from the wire.
    pub(crate) async fn open(&self) -> (Head, Wire) {
        let mut wire = self.client.connect().await;
        wire.send(self.bytes()).await;
        let head = wire.expect_head("the head of an answer").await;
        (head, wire)
    }
}

impl Wire {
    /// One whole answer, with what came before it.
    pub(crate) async fn answer(&mut self, method: &str) -> Answer {
        let mut informational = Vec::new();
        let head = loop {
            let head = self.expect_head("an answer").await;
            if head.status() >= 200 || head.status() == 101 {
                break head;
            }
            informational.push(head);
        };
        let body = within("the body of an answer", self.read_body(head.answer_framing(method))).await;
        let (bytes, trailers, complete) = (body.bytes, body.trailers, body.complete);
        Answer { status: head.status(), head, body: bytes, trailers, informational, complete }
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// The code of vestibule's refusal; `None` for an answer of the upstream's.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.head.value("x-vestibule-refusal")
    }

    /// Fails unless the upstream answered 200.
    #[track_caller]
    pub(crate) fn expect_ok(&self) {
        assert_eq!((self.status, self.refusal()), (200, None), "{}", self.text());
    }

    /// Fails unless vestibule refused with that status and code.
    #[track_caller]
    pub(crate) fn expect_refusal(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.refusal().as_deref()), (status, Some(code)), "{}", self.text());
    }
}
