//! A proxy before Postgres that a test can stall or cut. It knows the frontend's messages, and can hold one of them
//! or its answer for ever: what a process has in its hands at that moment is what a `kill -9` takes from it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::within;

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    /// What Postgres says passes a byte at a time.
    Dribble,
    /// Nothing moves, nothing closes.
    Stall,
    /// All connections are closed, new ones at once.
    Cut,
}

/// What is to be held of a conversation with Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The n-th message from now on never reaches Postgres.
    Message(usize),
    /// The n-th message that asks for an answer is executed, its answer never arrives.
    Answer(usize),
}

struct Control {
    target: Mutex<SocketAddr>,
    mode: watch::Sender<Mode>,
    held: watch::Sender<bool>,
    hold: Mutex<Option<(Hold, usize)>>,
    statements: Mutex<Vec<String>>,
}

/// The proxy, listening until it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    control: Arc<Control>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Stands before the Postgres that the URL names.
    pub(crate) async fn postgres(url: &str) -> Self {
        let target = Mutex::new(address_in(url));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let control = Arc::new(Control {
            target,
            mode: watch::Sender::new(Mode::Pass),
            held: watch::Sender::new(false),
            hold: Mutex::default(),
            statements: Mutex::default(),
        });
        let accepting = Arc::clone(&control);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, Arc::clone(&accepting)));
            }
        });
        Self { address, control, task }
    }

    /// New connections lead to the Postgres that this URL names.
    pub(crate) fn lead_to(&self, url: &str) {
        *self.control.target.lock().expect("nobody panics with it") = address_in(url);
    }

    pub(crate) fn stall(&self) {
        self.control.mode.send_replace(Mode::Stall);
    }

    pub(crate) fn cut(&self) {
        self.control.mode.send_replace(Mode::Cut);
    }

    pub(crate) fn dribble(&self) {
        self.control.mode.send_replace(Mode::Dribble);
    }

    pub(crate) fn pass(&self) {
        self.control.mode.send_replace(Mode::Pass);
    }

    /// Counts from now, over all connections.
    pub(crate) fn hold(&self, hold: Hold) {
        self.control.held.send_replace(false);
        *self.control.hold.lock().expect("nobody panics with it") = Some((hold, 0));
        self.control.statements.lock().expect("nobody panics with it").clear();
    }

    /// Holds nothing more.
    pub(crate) fn release(&self) {
        *self.control.hold.lock().expect("nobody panics with it") = None;
    }

    /// Waits until the message is held.
    pub(crate) async fn held(&self) {
        let mut held = self.control.held.subscribe();
        within("the held message", held.wait_for(|held| *held)).await.expect("the proxy lives");
    }

    /// The statements since the last [`Proxy::hold`].
    pub(crate) fn statements(&self) -> Vec<String> {
        self.control.statements.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is to be done with a message.
enum Verdict {
    Forward,
    Keep,
    ForwardAndKeepAnswer,
}

impl Control {
    fn judge(&self, kind: u8, message: &[u8]) -> Verdict {
        if matches!(kind, b'P' | b'Q') {
            let text = String::from_utf8_lossy(&message[5..]).replace('\0', " ");
            self.statements.lock().expect("nobody panics with it").push(text.trim().to_owned());
        }
        let mut hold = self.hold.lock().expect("nobody panics with it");
        let Some((what, count)) = hold.as_mut() else { return Verdict::Forward };
        let asks = matches!(kind, b'Q' | b'S');
        let (wanted, verdict) = match *what {
            Hold::Message(wanted) => (wanted, Verdict::Keep),
            Hold::Answer(wanted) if asks => (wanted, Verdict::ForwardAndKeepAnswer),
            Hold::Answer(_) => return Verdict::Forward,
        };
        *count += 1;
        if *count == wanted { verdict } else { Verdict::Forward }
    }

    async fn passing(&self) -> bool {
        let mut mode = self.mode.subscribe();
        let mode = mode.wait_for(|mode| *mode != Mode::Stall).await.map(|mode| *mode);
        mode.is_ok_and(|mode| mode != Mode::Cut)
    }

    async fn cut(&self) {
        let mut mode = self.mode.subscribe();
        let _ = mode.wait_for(|mode| *mode == Mode::Cut).await;
    }
}

fn address_in(url: &str) -> SocketAddr {
    let address = url.split('@').nth(1).and_then(|rest| rest.split('/').next()).expect("postgresql://user@host:port/");
    address.parse().expect("the test server is named by address")
}

async fn carry(client: TcpStream, control: Arc<Control>) {
    if !control.passing().await {
        return;
    }
    let target = *control.target.lock().expect("nobody panics with it");
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let silent = watch::Sender::new(false);
    let up = messages(from_client, to_server, &control, &silent);
    let down = answers(from_server, to_client, &control, &silent);
    tokio::select! {
        () = async { tokio::join!(up, down); } => {}
        () = control.cut() => {}
    }
}

/// Passes bytes; once silent, takes them and says that something is held.
async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, control: &Control, silent: &watch::Sender<bool>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if !control.passing().await {
            return;
        }
        if *silent.borrow() {
            control.held.send_replace(true);
            continue;
        }
        let piece = if *control.mode.borrow() == Mode::Dribble { 1 } else { count };
        for bytes in buffer[..count].chunks(piece) {
            if to.write_all(bytes).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Passes the frontend's messages one by one, as the test's hold says.
async fn messages(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, control: &Control, silent: &watch::Sender<bool>) {
    let mut started = false;
    while let Some((kind, message)) = next_message(&mut from, started).await {
        if !control.passing().await {
            return;
        }
        // An SSLRequest is answered by one byte, and the start-up follows it.
        started |= message.len() > 8;
        match if started && kind != 0 { control.judge(kind, &message) } else { Verdict::Forward } {
            Verdict::Forward => {}
            Verdict::ForwardAndKeepAnswer => {
                silent.send_replace(true);
            }
            Verdict::Keep => {
                control.held.send_replace(true);
                let mut end = Vec::new();
                let _ = from.read_to_end(&mut end).await;
                return;
            }
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

async fn next_message(from: &mut OwnedReadHalf, started: bool) -> Option<(u8, Vec<u8>)> {
    let kind = if started { from.read_u8().await.ok()? } else { 0 };
    let length = from.read_u32().await.ok()?;
    let mut message = if started { vec![kind] } else { Vec::new() };
    message.extend(length.to_be_bytes());
    let body = usize::try_from(length).ok()?.checked_sub(4)?;
    let head = message.len();
    message.resize(head + body, 0);
    from.read_exact(&mut message[head..]).await.ok()?;
    Some((kind, message))
}
