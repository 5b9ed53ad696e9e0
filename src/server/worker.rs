//! One worker: a thread, a runtime, a listener, its own connections to LiteLLM.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Shutdown;
use super::app::App;
use super::listener::{Accepted, Acceptor, Listener, Socket};
use crate::config::{Config, Limits};
use crate::forward_auth::ForwardAuthTarget;
use crate::http1::{
    Client, ClientCounters, ClientLimits, Exchange, Incoming, Server, ServerLimits, Stream, TrailerFilter,
};
use crate::identity::peer::Peer;
use crate::proxy::Proxy;
use crate::proxy::answer_body::AnswerBody;
use crate::telemetry::logs::chain;
use crate::telemetry::metrics::Metrics;

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// Requests that go on to LiteLLM.
    Proxy,
    /// Questions of gateways.
    ForwardAuth,
}

/// What a worker is made of.
#[derive(Clone)]
pub struct Worker {
    /// What it serves with, now and after a reload; shared by all workers.
    pub app: watch::Receiver<Arc<App>>,
    /// Places for connections, of all workers together.
    pub connections: Arc<Semaphore>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// How it ends.
    pub ending: Shutdown,
}

// === impl ListenerKind ===

impl ListenerKind {
    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::ForwardAuth => "forward_auth",
        }
    }
}

// === impl Worker ===

impl Worker {
    /// Starts the thread. The receiver tells when it listens, or why not.
    pub fn start(
        self,
        number: usize,
        sockets: Vec<(ListenerKind, Socket)>,
    ) -> io::Result<mpsc::Receiver<io::Result<()>>> {
        let (tell, told) = mpsc::channel();
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return tell.send(Err(error)).unwrap_or(()),
            };
            runtime.block_on(async move {
                let listen = |(role, socket): (ListenerKind, Socket)| socket.listen().map(|listener| (role, listener));
                match sockets.into_iter().map(listen).collect::<io::Result<Vec<_>>>() {
                    Ok(listeners) => {
                        // The receiver is gone only when the start has failed elsewhere.
                        let _ = tell.send(Ok(()));
                        self.accept_all(listeners).await;
                    }
                    Err(error) => tell.send(Err(error)).unwrap_or(()),
                }
            });
        })?;
        Ok(told)
    }

    async fn accept_all(self, listeners: Vec<(ListenerKind, Listener)>) {
        let accepting: Vec<_> =
            listeners.into_iter().map(|(role, listener)| tokio::spawn(self.clone().accept(role, listener))).collect();
        for accepted in accepting {
            // An accept loop ends with the process, or when it is told to.
            let _ = accepted.await;
        }
        // What runs on this thread goes on until it has ended or the process does.
        self.ending.running.wait().await;
    }

    async fn accept(self, role: ListenerKind, listener: Listener) {
        let mut reloaded = self.app.clone();
        let mut serving = self.serving(role, &reloaded.borrow_and_update().clone());
        let handler = Arc::new(ArcSwap::new(serving.handler.clone()));
        let mut acceptor = Acceptor::new(listener, self.connections.clone());
        loop {
            let next = tokio::select! {
                () = self.ending.stop.cancelled() => break,
                Ok(()) = reloaded.changed() => {
                    // Connections that are open go on to the new handler with their next request.
                    serving = self.serving(role, &reloaded.borrow_and_update().clone());
                    handler.store(serving.handler.clone());
                    continue;
                }
                next = acceptor.next() => next,
            };
            let Some((stream, peer, place)) = next else { break };
            let connection = Connection {
                handler: handler.clone(),
                peer: Arc::new(peer),
                permit: ConnectionPermit::new(self.metrics.clone(), place),
                stop: self.ending.stop.clone(),
            };
            let server = serving.server.clone();
            match stream {
                Accepted::Tcp(stream) => self.ending.running.spawn(connection.serve(server, stream)),
                Accepted::Unix(stream) => self.ending.running.spawn(connection.serve(server, stream)),
            };
        }
    }

    /// Puts together what this worker serves with.
    fn serving(&self, role: ListenerKind, app: &App) -> Serving {
        let (handler, sweeping) = match role {
            ListenerKind::Proxy => self.proxy(app),
            ListenerKind::ForwardAuth => (ListenerHandler::ForwardAuth(app.forward_auth.clone()), None),
        };
        Serving {
            handler: Arc::new(handler),
            server: Server::new((&app.config.limits).into(), trailers(app)),
            _sweeping: sweeping,
        }
    }

    fn proxy(&self, app: &App) -> (ListenerHandler, Option<AbortOnDropHandle<()>>) {
        let Config { limits, litellm, .. } = &*app.config;
        let counters = ClientCounters {
            connects: self.metrics.upstream_connects.clone(),
            retries: self.metrics.upstream_retries.clone(),
        };
        let upstream = Client::new(litellm.url.clone(), limits.into(), counters, trailers(app));
        let every = limits.upstream_idle_timeout.max(Duration::from_millis(100));
        let sweeping = AbortOnDropHandle::new(tokio::spawn(upstream.clone().sweep_forever(every)));
        let proxy = Proxy {
            authorizer: app.authorizer.clone(),
            writer: app.writer.clone(),
            admin_ui: app.admin_ui.clone(),
            rescue: app.rescue.clone(),
            upstream,
            observer: app.observer.clone(),
            tunnels: self.ending.running.clone(),
            body_bytes: limits.body_bytes,
        };
        (ListenerHandler::Proxy(proxy), Some(sweeping))
    }
}

/// Trailers that may not pass: names that vestibule owns, and those that come too late behind a message.
fn trailers(app: &App) -> TrailerFilter {
    let headers = app.authorizer.rules.headers().clone();
    TrailerFilter::new(move |name| headers.bars_trailer(name))
}

impl From<&Limits> for ServerLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            header_bytes: limits.header_bytes,
            headers: limits.headers,
            header_timeout: limits.header_timeout,
            keep_alive_timeout: limits.keep_alive_timeout,
            body_timeout: limits.body_timeout,
            body_rate: limits.body_rate,
            send_timeout: limits.send_timeout,
        }
    }
}

impl From<&Limits> for ClientLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            connect_timeout: limits.upstream_connect_timeout,
            first_byte_timeout: limits.upstream_first_byte_timeout,
            read_timeout: limits.upstream_read_timeout,
            idle_timeout: limits.upstream_idle_timeout,
            idle_connections: limits.upstream_idle_connections,
        }
    }
}

/// What a worker serves with until the next reload.
struct Serving {
    handler: Arc<ListenerHandler>,
    server: Server,
    /// Closes the proxy's idle connections to LiteLLM.
    _sweeping: Option<AbortOnDropHandle<()>>,
}

/// What answers on a listener.
enum ListenerHandler {
    Proxy(Proxy),
    ForwardAuth(ForwardAuthTarget),
}

// === impl ListenerHandler ===

impl ListenerHandler {
    async fn serve(&self, peer: &Arc<Peer>, exchange: &Exchange, request: Request<Incoming>) -> Response<AnswerBody> {
        match self {
            Self::Proxy(proxy) => proxy.serve(peer, exchange, request).await,
            // Boxed, as is the rarer way of the two.
            Self::ForwardAuth(forward_auth) => Box::pin(forward_auth.serve(peer, exchange, request)).await,
        }
    }
}

struct Connection {
    handler: Arc<ArcSwap<ListenerHandler>>,
    peer: Arc<Peer>,
    permit: ConnectionPermit,
    stop: CancellationToken,
}

/// A connection's place, counted as long as it is held.
struct ConnectionPermit {
    metrics: Arc<Metrics>,
    _place: OwnedSemaphorePermit,
}

// === impl ConnectionPermit ===

impl ConnectionPermit {
    fn new(metrics: Arc<Metrics>, place: OwnedSemaphorePermit) -> Self {
        metrics.connections.inc();
        Self { metrics, _place: place }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

// === impl Connection ===

impl Connection {
    async fn serve(self, server: Server, stream: impl Stream) {
        let answer = |exchange: Exchange, request| {
            let (handler, peer) = (self.handler.load_full(), self.peer.clone());
            async move { handler.serve(&peer, &exchange, request).await }
        };
        if let Err(error) = server.serve(stream, self.permit, self.stop.cancelled(), answer).await {
            tracing::debug!(peer = %self.peer, cause = chain(&error), "a connection ended");
        }
    }
}
