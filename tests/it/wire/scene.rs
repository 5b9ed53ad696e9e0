//! A case played: a client's socket before vestibule, and the upstream's behind it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout_at};

use super::bytes::{difference, escaped, normalised};
use super::case::{Case, Step};
use super::message::{self, Kind};

/// How long a step may take before the case has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same where the case is expected to fail.
const PENDING_PATIENCE: Duration = Duration::from_millis(700);

/// What an idle client asks at a case's end. vestibule refuses it by itself, so its answer tells that nothing of the case
/// was still on its way: no request that nobody sent, no body that was taken for one.
const FAREWELL: &[u8] = b"GET /farewell HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// What cases of one configuration share.
pub(crate) struct Place {
    pub(crate) vestibule: SocketAddr,
    pub(crate) upstream: TcpListener,
}

/// One case on its way.
struct Scene<'a> {
    place: &'a Place,
    address: SocketAddr,
    patience: Duration,
    client: Option<Peer>,
    /// Every connection that vestibule opened.
    upstreams: Vec<Peer>,
    /// The one that is spoken on.
    current: Option<usize>,
    /// What may yet come, in part or not at all.
    at_most: Option<Vec<u8>>,
}

/// One end of a connection to vestibule.
struct Peer {
    stream: TcpStream,
    came: Vec<u8>,
    /// So many bytes of what came, with its names in place, are accounted for.
    taken: usize,
    is_over: bool,
}

/// Plays a case; why it does not hold. Nothing of it is left open afterwards.
pub(crate) async fn play(place: &Place, case: &Case) -> Result<(), String> {
    let patience = if case.is_pending { PENDING_PATIENCE } else { PATIENCE };
    let address = place.upstream.local_addr().map_err(|error| error.to_string())?;
    let mut scene = Scene { place, address, patience, client: None, upstreams: vec![], current: None, at_most: None };
    let mut result = Ok(());
    for (number, step) in case.steps.iter().enumerate() {
        let played = scene.play(step).await;
        result = played.map_err(|why| format!("step {} ({}): {why}", number + 1, name(step)));
        if result.is_err() {
            break;
        }
    }
    let result = match result {
        Ok(()) => scene.finish(is_at_rest(case)).await.map_err(|why| format!("at the end: {why}")),
        Err(why) => Err(why + &scene.so_far()),
    };
    scene.clear().await;
    result
}

/// Whether the case ends with a whole answer.
fn is_at_rest(case: &Case) -> bool {
    let last = case.steps.iter().rfind(|step| **step != Step::Nothing && !matches!(step, Step::UpstreamGetsAtMost(_)));
    matches!(last, Some(Step::ClientGets(_) | Step::ClientIsAnswered { .. } | Step::ClientIsRefused { .. }))
}

fn name(step: &Step) -> String {
    let text = format!("{step:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

// === impl Peer ===

impl Peer {
    fn new(stream: TcpStream) -> Self {
        // Small writes must not wait for each other.
        let _ = stream.set_nodelay(true);
        Self { stream, came: Vec::new(), taken: 0, is_over: false }
    }

    /// Reads some more. Nothing more comes after an end, however it came.
    async fn read(&mut self) {
        let read = self.stream.read_buf(&mut self.came).await;
        self.is_over = !read.is_ok_and(|count| count > 0);
    }

    /// What came and is not accounted for.
    fn rest(&self, upstream: SocketAddr) -> Vec<u8> {
        normalised(&self.came, &upstream.to_string()).split_off(self.taken)
    }

    async fn read_to_end(&mut self, until: Instant) -> Result<(), String> {
        while !self.is_over {
            timeout_at(until, self.read()).await.map_err(|_| "vestibule leaves the connection open".to_owned())?;
        }
        Ok(())
    }

    /// Whether a message on it has begun and not ended.
    fn is_cut(&self, kind: Kind) -> bool {
        let mut rest = self.came.as_slice();
        while let Some(length) = message::length(rest, kind) {
            if rest.is_empty() {
                break;
            }
            rest = &rest[length..];
        }
        self.is_over && !rest.is_empty()
    }

    /// So much of what came is in order.
    fn take(&mut self, count: usize) {
        self.taken += count;
    }
}

// === impl Scene ===

impl Scene<'_> {
    async fn play(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::ClientConnects => self.connect().await?,
            Step::ClientSends(bytes) => {
                if self.client.is_none() {
                    self.connect().await?;
                }
                // A refusal may come, and close, before all is written; the next step says what must be.
                let until = self.until();
                let _ =
                    timeout_at(until, self.client()?.stream.write_all(bytes)).await.map_err(|_| "nobody reads it")?;
            }
            Step::ClientHalfCloses => self.client()?.stream.shutdown().await.map_err(|error| error.to_string())?,
            Step::ClientCloses => drop(self.client.take()),
            Step::ClientResets => self.client.take().map_or(Ok(()), |client| reset(&client))?,
            Step::ClientGets(bytes) => self.client_gets(bytes).await?,
            Step::ClientIsAnswered { status, fields } => self.client_is_answered(*status, fields, false).await?,
            Step::ClientIsRefused { status, code, closed } => {
                let fields = [format!("x-vestibule-refusal: {code}"), "x-request-id".to_owned()];
                self.client_is_answered(*status, &fields, *closed).await?;
                if *closed {
                    self.client_sees_the_end().await?;
                }
            }
            Step::ClientSeesTheEnd => self.client_sees_the_end().await?,
            Step::ClientIsCut => {
                let until = self.until();
                let mut client = self.client.take().ok_or("no client")?;
                client.read_to_end(until).await?;
                if !client.is_cut(Kind::Answer) {
                    return Err(format!("no answer was cut:\n{}", escaped(&client.came).join("\n")));
                }
            }
            Step::UpstreamGets { bytes, is_new } => self.upstream_gets(bytes, *is_new).await?,
            Step::UpstreamGetsAtMost(bytes) => self.at_most = Some(bytes.clone()),
            Step::UpstreamSays(bytes) => {
                let until = self.until();
                let _ =
                    timeout_at(until, self.upstream()?.stream.write_all(bytes)).await.map_err(|_| "nobody reads it")?;
            }
            Step::UpstreamHalfCloses => self.upstream()?.stream.shutdown().await.map_err(|error| error.to_string())?,
            Step::UpstreamCloses => {
                let _ = self.upstream()?.stream.shutdown().await;
                self.current = None;
            }
            Step::UpstreamResets => {
                let upstream = self.upstream()?;
                reset(upstream)?;
                upstream.is_over = true;
                // The option works when the last handle closes.
                let at = self.current.take().ok_or("no upstream")?;
                drop(self.upstreams.remove(at));
            }
            Step::UpstreamIsCut | Step::UpstreamIsClosed => self.upstream_ends(*step == Step::UpstreamIsCut).await?,
            Step::Nothing => {}
        }
        Ok(())
    }

    fn until(&self) -> Instant {
        Instant::now() + self.patience
    }

    fn client(&mut self) -> Result<&mut Peer, String> {
        self.client.as_mut().ok_or_else(|| "the client has no connection".to_owned())
    }

    fn upstream(&mut self) -> Result<&mut Peer, String> {
        self.current.and_then(|at| self.upstreams.get_mut(at)).ok_or_else(|| "there is no connection".to_owned())
    }

    async fn connect(&mut self) -> Result<(), String> {
        let stream = TcpStream::connect(self.place.vestibule).await.map_err(|error| error.to_string())?;
        self.client = Some(Peer::new(stream));
        Ok(())
    }

    async fn client_gets(&mut self, expected: &[u8]) -> Result<(), String> {
        let (until, address) = (self.until(), self.address);
        let client = self.client()?;
        loop {
            if let Some(verdict) = compare(client, expected, address) {
                return verdict;
            }
            timeout_at(until, client.read()).await.map_err(|_| difference(expected, &client.rest(address)))?;
        }
    }

    async fn client_is_answered(&mut self, status: u16, fields: &[String], closes: bool) -> Result<(), String> {
        let (until, address) = (self.until(), self.address);
        let client = self.client()?;
        let (rest, length) = loop {
            let rest = client.rest(address);
            match message::length(&rest, Kind::Answer).filter(|_| !rest.is_empty()) {
                Some(length) => break (rest, length),
                None if client.is_over => return Err(format!("no whole answer:\n{}", escaped(&rest).join("\n"))),
                None => {
                    let read = timeout_at(until, client.read()).await;
                    read.map_err(|_| format!("no whole answer in time:\n{}", escaped(&rest).join("\n")))?;
                }
            }
        };
        client.take(length);
        let head = message::head_length(&rest).map_or(&*rest, |length| &rest[..length]);
        let came = message::fields(head);
        let holds = |field: &String| match field.split_once(": ") {
            None => came.iter().any(|(name, _)| name == field),
            Some((name, value)) => came.iter().any(|(other, given)| other == name && given == value),
        };
        // RFC 9112 9.6: who closes says so, and who answers in HTTP/1.0 has said it.
        let says_so = !closes || rest.starts_with(b"HTTP/1.0") || holds(&"connection: close".to_owned());
        if message::status(&rest) == Some(status) && fields.iter().all(holds) && says_so {
            return Ok(());
        }
        Err(format!("expected {status} with {fields:?}, got:\n{}", escaped(&rest[..length]).join("\n")))
    }

    async fn client_sees_the_end(&mut self) -> Result<(), String> {
        let (until, address) = (self.until(), self.address);
        let mut client = self.client.take().ok_or("the client has no connection")?;
        client.read_to_end(until).await?;
        nothing_more(&client, address)
    }

    async fn upstream_gets(&mut self, expected: &[u8], is_new: bool) -> Result<(), String> {
        let (until, address) = (self.until(), self.address);
        if is_new || self.current.is_none() {
            let accepted = timeout_at(until, self.place.upstream.accept()).await;
            let (stream, _) = accepted.map_err(|_| "no new connection came")?.map_err(|error| error.to_string())?;
            self.upstreams.push(Peer::new(stream));
            self.current = Some(self.upstreams.len() - 1);
        }
        let place = self.place;
        let upstream = self.upstream()?;
        loop {
            if let Some(verdict) = compare(upstream, expected, address) {
                return verdict;
            }
            tokio::select! {
                read = timeout_at(until, upstream.read()) => {
                    read.map_err(|_| difference(expected, &upstream.rest(address)))?;
                }
                accepted = place.upstream.accept() => {
                    let (stream, _) = accepted.map_err(|error| error.to_string())?;
                    self.upstreams.push(Peer::new(stream));
                    return Err("a new connection came instead".to_owned());
                }
            }
        }
    }

    async fn upstream_ends(&mut self, is_cut: bool) -> Result<(), String> {
        let (until, address) = (self.until(), self.address);
        let upstream = self.upstream()?;
        upstream.read_to_end(until).await?;
        nothing_more(upstream, address)?;
        if upstream.is_cut(Kind::Request) != is_cut {
            let what = if is_cut { "the request was whole" } else { "the request was cut" };
            return Err(format!("{what}:\n{}", escaped(&upstream.came).join("\n")));
        }
        self.current = None;
        Ok(())
    }

    /// The client goes, every connection is read to its end, and not a byte may be left that the case does not list.
    async fn finish(&mut self, is_at_rest: bool) -> Result<(), String> {
        let (until, address) = (self.until(), self.address);
        if is_at_rest && self.client.is_some() {
            self.say_farewell().await.map_err(|why| format!("the farewell: {why}"))?;
        }
        if let Some(client) = &mut self.client {
            let _ = client.stream.shutdown().await;
            client.read_to_end(until).await.map_err(|why| format!("the client's side: {why}"))?;
            nothing_more(client, address).map_err(|why| format!("the client's side: {why}"))?;
        }
        self.accept_all().await;
        for upstream in &mut self.upstreams {
            let rest = upstream.rest(address);
            let is_awaited = self.at_most.is_some() && (upstream.taken == 0 || !rest.is_empty());
            if !is_awaited {
                let _ = upstream.stream.shutdown().await;
            }
            upstream.read_to_end(until).await.map_err(|why| format!("the upstream's side: {why}"))?;
            let rest = upstream.rest(address);
            match self.at_most.take_if(|_| !rest.is_empty()) {
                Some(most) if most.starts_with(&rest) => {}
                Some(most) => return Err(format!("more than the upstream may get:\n{}", difference(&most, &rest))),
                None => nothing_more(upstream, address).map_err(|why| format!("the upstream's side: {why}"))?,
            }
        }
        Ok(())
    }

    /// The connection is in step, or ended without another word.
    async fn say_farewell(&mut self) -> Result<(), String> {
        let (until, address) = (self.until(), self.address);
        let client = self.client()?;
        let _ = client.stream.write_all(FAREWELL).await;
        while client.rest(address).is_empty() && !client.is_over {
            timeout_at(until, client.read()).await.map_err(|_| "no answer in time")?;
        }
        if client.rest(address).is_empty() {
            return Ok(());
        }
        let fields = ["x-vestibule-refusal: no_identity".to_owned(), "connection: close".to_owned()];
        self.client_is_answered(401, &fields, false).await
    }

    /// Takes in every connection that was opened before now: they come in their order, and ours comes last.
    async fn accept_all(&mut self) {
        let Ok(last) = TcpStream::connect(self.address).await else { return };
        let Ok(ours) = last.local_addr() else { return };
        while let Ok((stream, peer)) = self.place.upstream.accept().await {
            if peer == ours {
                return;
            }
            self.upstreams.push(Peer::new(stream));
        }
    }

    /// Leaves nothing for the next case, however this one went.
    async fn clear(mut self) {
        drop(self.client.take());
        self.accept_all().await;
        let until = self.until();
        for mut upstream in self.upstreams {
            let _ = upstream.stream.shutdown().await;
            let _ = upstream.read_to_end(until).await;
        }
    }

    /// What was on the wires when a step failed.
    fn so_far(&mut self) -> String {
        for peer in self.client.iter_mut().chain(&mut self.upstreams) {
            while peer.stream.try_read_buf(&mut peer.came).is_ok_and(|count| count > 0) {}
        }
        let tell = |what: &str, peer: &Peer| {
            let rest = escaped(&peer.rest(self.address));
            let over = if peer.is_over { ", and then the end" } else { "" };
            format!("\n    not accounted for at the {what}{over}:\n      {}", rest.join("\n      "))
        };
        let client = self.client.iter().map(|client| tell("client", client));
        client.chain(self.upstreams.iter().map(|upstream| tell("upstream", upstream))).collect()
    }
}

fn reset(peer: &Peer) -> Result<(), String> {
    peer.stream.set_zero_linger().map_err(|error| error.to_string())
}

/// A verdict, once there is one: when enough has come, when it can't become right any more, when it has ended.
fn compare(peer: &mut Peer, expected: &[u8], address: SocketAddr) -> Option<Result<(), String>> {
    let rest = peer.rest(address);
    if rest.starts_with(expected) {
        peer.take(expected.len());
        return Some(Ok(()));
    }
    // Of a line that is not whole nobody knows yet what stands for what in it.
    let lines = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let is_wrong = !expected.starts_with(&rest[..lines]);
    (is_wrong || peer.is_over)
        .then(|| Err(format!("not the bytes that the case says:\n{}", difference(expected, &rest))))
}

fn nothing_more(peer: &Peer, address: SocketAddr) -> Result<(), String> {
    let rest = peer.rest(address);
    if rest.is_empty() {
        Ok(())
    } else {
        Err(format!("more than the case says:\n      {}", escaped(&rest).join("\n      ")))
    }
}
