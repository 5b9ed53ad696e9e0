//! One worker: a thread, a runtime, a listener, its own connections to LiteLLM.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;

use super::Shutdown;
use super::assembly::Assembly;
use super::listener::{Listener, Socket, Stream};
use super::wire::Wire;
use crate::config::Limits;
use crate::face::forward::Proxy;
use crate::face::record::Desk;
use crate::face::reply::ReplyBody;
use crate::face::verify::Verify;
use crate::gate::peer::Peer;
use crate::http::conversation::Conversation;
use crate::http::liveness::{self, Downstream};
use crate::telemetry::logs::chain;
use crate::telemetry::metrics::Metrics;
use crate::upstream::{Upstream, sweep_forever};

/// How long the accept loop rests when the system has no descriptor to give.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// hyper's limit of fields where none is set (`DEFAULT_MAX_HEADERS`).
const HYPER_HEADERS_MAX: usize = 100;

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// Requests that go on to LiteLLM.
    Proxy,
    /// Questions of gateways.
    Verify,
}

/// What a worker is made of.
#[derive(Clone)]
pub struct Worker {
    /// What it serves with, now and after a reload; shared by all workers.
    pub assembly: watch::Receiver<Arc<Assembly>>,
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
            Self::Verify => "forward_auth",
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
                        // Nobody waits for the word any more only when the start has failed elsewhere.
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
        let mut reloaded = self.assembly.clone();
        let mut serving = self.serving(role, &reloaded.borrow_and_update().clone());
        let face = Arc::new(ArcSwap::new(serving.face.clone()));
        let mut accepted = None;
        loop {
            let next = async {
                // At the limit one connection waits here, further ones in the backlog. The place comes second: taken first,
                // an idle worker would keep it from a busy one.
                if accepted.is_none() {
                    accepted = Some(listener.accept().await);
                }
                self.connections.clone().acquire_owned().await.ok()
            };
            let place = tokio::select! {
                () = self.ending.stop.cancelled() => break,
                Ok(()) = reloaded.changed() => {
                    // Connections that are open go on to the new face with their next request.
                    serving = self.serving(role, &reloaded.borrow_and_update().clone());
                    face.store(serving.face.clone());
                    continue;
                }
                place = next => place,
            };
            match (place, accepted.take()) {
                (None, _) => break,
                (Some(place), Some(Ok((stream, peer)))) => self.spawn(&serving, &face, stream, peer, place),
                (Some(_), Some(Err(error))) => {
                    tracing::warn!(cause = chain(&error), "can't accept a connection");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
                (Some(_), None) => {}
            }
        }
    }

    /// Puts together what this worker serves with.
    fn serving(&self, role: ListenerKind, assembly: &Assembly) -> Serving {
        let limits = &assembly.limits;
        let (face, sweeping) = match role {
            ListenerKind::Proxy => {
                let (proxy, sweeping) = self.proxy(assembly);
                (Face::Proxy(proxy), Some(sweeping))
            }
            ListenerKind::Verify => (Face::Verify(assembly.verify(self.desk(assembly))), None),
        };
        Serving { face: Arc::new(face), http: Self::http(limits), limits: limits.clone(), sweeping }
    }

    fn desk(&self, assembly: &Assembly) -> Desk {
        Desk {
            metrics: self.metrics.clone(),
            in_flight: assembly.limits.in_flight,
            is_person_in_clear: assembly.is_person_in_clear,
            ledger: assembly.ledger.clone(),
        }
    }

    fn proxy(&self, assembly: &Assembly) -> (Proxy, AbortHandle) {
        let limits = &assembly.limits;
        let upstream = Upstream::new(assembly.upstream.clone(), (**limits).clone(), self.metrics.clone());
        let every = limits.upstream_idle_timeout.max(Duration::from_millis(100));
        let sweeping = tokio::spawn(sweep_forever(upstream.clone(), every)).abort_handle();
        let proxy = Proxy {
            gate: assembly.gate.clone(),
            rewriter: assembly.rewriter.clone(),
            pages: assembly.pages.clone(),
            // Where the sign-in proxy stands before vestibule it sends browsers there itself.
            sign_in: assembly.sign_in.clone().filter(|_| assembly.pages.is_asked),
            upstream,
            desk: self.desk(assembly),
            tunnels: self.ending.running.clone(),
            body_bytes: limits.body_bytes,
        };
        (proxy, sweeping)
    }

    fn http(limits: &Limits) -> http1::Builder {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(None) // the wire's to time: hyper sees no head before it is whole
            .max_header_size(limits.header_bytes)
            .max_buf_size(limits.header_bytes);
        // The wire has counted the fields. hyper's own limit is raised only where it would be the lower one: as a setting
        // it costs an allocation a request.
        if limits.headers > HYPER_HEADERS_MAX {
            http.max_headers(limits.headers);
        }
        http
    }

    fn spawn(
        &self,
        serving: &Serving,
        face: &Arc<ArcSwap<Face>>,
        stream: Stream,
        peer: Peer,
        place: OwnedSemaphorePermit,
    ) {
        let connection = Connection {
            face: face.clone(),
            limits: serving.limits.clone(),
            peer: Arc::new(peer),
            seat: Seat::new(self.metrics.clone(), place),
            stop: self.ending.stop.clone(),
        };
        match stream {
            Stream::Tcp(stream) => {
                if let Err(error) = liveness::watch_client(&stream, serving.limits.send_timeout) {
                    tracing::debug!(cause = chain(&error), "a connection can't be watched over");
                }
                self.ending.running.spawn(connection.serve(serving.http.clone(), stream))
            }
            Stream::Unix(stream) => self.ending.running.spawn(connection.serve(serving.http.clone(), stream)),
        };
    }
}

/// What a worker serves with until the next reload.
struct Serving {
    face: Arc<Face>,
    http: http1::Builder,
    limits: Arc<Limits>,
    sweeping: Option<AbortHandle>,
}

/// What answers on a listener.
enum Face {
    Proxy(Proxy),
    Verify(Verify),
}

// === impl Face ===

impl Face {
    async fn serve(
        &self,
        peer: &Peer,
        talk: &Conversation,
        number: u64,
        request: Request<Incoming>,
    ) -> Response<ReplyBody> {
        match self {
            Self::Proxy(proxy) => proxy.serve(peer, talk, number, request).await,
            // Boxed, as is the rarer way of the two.
            Self::Verify(verify) => Box::pin(verify.serve(peer, talk, number, request)).await,
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.sweeping.iter().for_each(AbortHandle::abort);
    }
}

struct Connection {
    face: Arc<ArcSwap<Face>>,
    limits: Arc<Limits>,
    peer: Arc<Peer>,
    seat: Seat,
    stop: tokio_util::sync::CancellationToken,
}

/// A connection's place, counted as long as it is held.
struct Seat {
    metrics: Arc<Metrics>,
    _place: OwnedSemaphorePermit,
}

// === impl Seat ===

impl Seat {
    fn new(metrics: Arc<Metrics>, place: OwnedSemaphorePermit) -> Self {
        metrics.connections.inc();
        Self { metrics, _place: place }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

// === impl Connection ===

impl Connection {
    async fn serve<S>(self, http: http1::Builder, stream: S)
    where
        S: AsyncRead + AsyncWrite + Downstream + Unpin + Send + 'static,
    {
        let talk = Conversation::seated(self.seat);
        let count = AtomicU64::new(0);
        let service = service_fn(|request: Request<Incoming>| {
            let number = count.fetch_add(1, Ordering::Relaxed) + 1;
            let (face, peer, talk) = (self.face.load_full(), self.peer.clone(), talk.clone());
            async move { Ok::<_, Infallible>(face.serve(&peer, &talk, number, request).await) }
        });
        let wire = TokioIo::new(Wire::new(stream, talk.clone(), &self.limits));
        let served = http.serve_connection(wire, service).with_upgrades();
        tokio::pin!(served);
        let result = tokio::select! {
            result = served.as_mut() => result,
            () = self.stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(peer = %self.peer, cause = chain(&error), "a connection ended");
        }
    }
}
