//! LiteLLM's double: a raw socket that records what it was sent and answers as the test says, misbehaviour included.

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use super::wire::{Body, Head, Wire};
use super::{Gate, within};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) head: Head,
    pub(crate) body: Body,
    /// Its bytes, head and body.
    pub(crate) raw: Vec<u8>,
}

/// What the double keeps about its connections.
#[derive(Debug, Default)]
struct Records {
    seen: Vec<Seen>,
    opened: usize,
    closed: usize,
}

struct State {
    records: Mutex<Records>,
    changed: watch::Sender<()>,
    /// Whether what came is kept.
    keeps: bool,
}

/// One request, to be answered; given back when the connection may carry another one.
pub(crate) struct Exchange {
    pub(crate) head: Head,
    pub(crate) wire: Wire,
    index: usize,
    start: usize,
    state: Arc<State>,
}

type Answering = Pin<Box<dyn Future<Output = Option<Exchange>> + Send>>;
type Handler = Arc<dyn Fn(Exchange) -> Answering + Send + Sync>;

/// The double, listening until it is dropped.
pub(crate) struct Upstream {
    /// What `litellm.url` must say.
    pub(crate) url: String,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    /// Answers each request with a small JSON document.
    pub(crate) async fn json() -> Self {
        Self::answering(|exchange| exchange.json(r#"{"ok":true}"#)).await
    }

    /// The same, for each request when the test has opened the gate once more.
    pub(crate) async fn json_behind(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::answering(move |exchange| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                exchange.json(r#"{"ok":true}"#).await
            }
        })
        .await
    }

    /// Answers each request with these bytes, after its whole body.
    pub(crate) async fn saying(answer: &'static str) -> Self {
        Self::answering(move |mut exchange| async move {
            exchange.body().await;
            exchange.send(answer).await;
            Some(exchange)
        })
        .await
    }

    /// Answers each request as the function does.
    pub(crate) async fn answering<F, A>(handler: F) -> Self
    where
        F: Fn(Exchange) -> A + Send + Sync + 'static,
        A: Future<Output = Option<Exchange>> + Send + 'static,
    {
        Self::listening(Arc::new(move |exchange| Box::pin(handler(exchange))), true).await
    }

    async fn listening(handler: Handler, keeps: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let state = State::fresh(keeps);
        let accepting = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream.into(), Arc::clone(&accepting), Arc::clone(&handler)));
            }
        });
        Self { url: format!("http://{address}"), state, task }
    }

    /// The same, keeping nothing of what came: for long runs.
    pub(crate) async fn forgetful<F, A>(handler: F) -> Self
    where
        F: Fn(Exchange) -> A + Send + Sync + 'static,
        A: Future<Output = Option<Exchange>> + Send + 'static,
    {
        Self::listening(Arc::new(move |exchange| Box::pin(handler(exchange))), false).await
    }

    /// A JSON double on a unix socket.
    pub(crate) fn on_unix_socket(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("the socket's folder exists");
        let handler: Handler = Arc::new(|exchange| Box::pin(exchange.json(r#"{"ok":true}"#)));
        let state = State::fresh(true);
        let accepting = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream.into(), Arc::clone(&accepting), Arc::clone(&handler)));
            }
        });
        Self { url: format!("unix:{}", path.display()), state, task }
    }

    /// Takes it down: nobody listens there any more.
    pub(crate) async fn take_down(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Everything that came so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.with(|records| records.seen.clone())
    }

    /// The one request that came.
    pub(crate) fn only(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "requests that reached the upstream: {seen:#?}");
        seen.remove(0)
    }

    /// The newest request.
    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("a request reached the upstream")
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.state.with(|records| records.seen.len())
    }

    /// How many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.state.with(|records| records.opened)
    }

    /// The different keys that came in `x-litellm-api-key`.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        self.state.with(|records| records.seen.iter().filter_map(|seen| seen.head.value("x-litellm-api-key")).collect())
    }

    /// Waits until so many requests came.
    pub(crate) async fn requests(&self, count: usize) {
        self.until(&format!("{count} requests at the upstream"), |records| records.seen.len() >= count).await;
    }

    /// Waits until so many connections were closed by the other side or by a handler.
    pub(crate) async fn closed(&self, count: usize) {
        self.until(&format!("{count} closed connections at the upstream"), |records| records.closed >= count).await;
    }

    async fn until(&self, what: &str, holds: impl Fn(&Records) -> bool) {
        let mut changes = self.state.changed.subscribe();
        within(what, async {
            while !self.state.with(|records| holds(records)) {
                changes.changed().await.expect("the double lives as long as its state");
            }
        })
        .await;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn fresh(keeps: bool) -> Arc<Self> {
        Arc::new(Self { records: Mutex::default(), changed: watch::Sender::new(()), keeps })
    }

    fn with<T>(&self, read: impl FnOnce(&Records) -> T) -> T {
        read(&self.records.lock().expect("no test panics while it holds the records"))
    }

    fn note<T>(&self, write: impl FnOnce(&mut Records) -> T) -> T {
        let result = write(&mut self.records.lock().expect("no test panics while it holds the records"));
        self.changed.send_replace(());
        result
    }
}

async fn serve(mut wire: Wire, state: Arc<State>, handler: Handler) {
    state.note(|records| records.opened += 1);
    loop {
        let start = wire.used.len();
        let Some(head) = wire.read_head().await else { break };
        let raw = wire.used[start..].to_vec();
        let seen = Seen { head: head.clone(), body: Body::default(), raw };
        let index = state.note(|records| {
            if state.keeps {
                records.seen.push(seen);
            }
            records.seen.len().saturating_sub(1)
        });
        match handler(Exchange { head, wire, index, start, state: Arc::clone(&state) }).await {
            Some(exchange) => {
                wire = exchange.wire;
                if !state.keeps {
                    wire.used.clear();
                }
            }
            None => break,
        }
    }
    state.note(|records| records.closed += 1);
}

impl Exchange {
    /// Reads the whole body and records it.
    pub(crate) async fn body(&mut self) -> Body {
        let body = self.wire.read_body(self.head.request_framing()).await;
        self.record(&body);
        body
    }

    fn record(&mut self, body: &Body) {
        let raw = self.wire.used[self.start..].to_vec();
        self.state.note(|records| {
            let Some(seen) = records.seen.get_mut(self.index) else { return };
            seen.body = body.clone();
            seen.raw = raw;
        });
    }

    /// Writes bytes; false when vestibule is gone.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.send(bytes).await
    }

    /// Writes one chunk of a chunked body.
    pub(crate) async fn send_chunk(&mut self, bytes: &str) -> bool {
        self.send(format!("{:x}\r\n{bytes}\r\n", bytes.len())).await
    }

    /// Reads the body and answers 200 with that JSON.
    pub(crate) async fn json(mut self, document: &'static str) -> Option<Self> {
        self.body().await;
        let length = document.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        let body = if self.head.line.starts_with("HEAD ") { "" } else { document };
        self.send(head + body).await.then_some(self)
    }

    /// Reads the body and answers with that status and JSON.
    pub(crate) async fn refuse(mut self, status: &'static str, document: &'static str) -> Option<Self> {
        self.body().await;
        let length = document.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{document}"
        );
        self.send(answer).await.then_some(self)
    }
}
