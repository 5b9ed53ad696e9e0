//! The three proxies side by side, and behind each a double that keeps every byte.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::strict::{self, Request, Rest};
use crate::support::db::TestDb;
use crate::support::eventually;
use crate::support::vestibule::{Setup, Vestibule};
use crate::wire::address_of;

/// How long a proxy may be silent before the client ends its side. It decides how long a proxy waits for the rest of a
/// request that has none, not what becomes of it.
const SILENCE: Duration = Duration::from_millis(200);
/// How long a proxy may take to end a connection that the client has ended.
const ENDING: Duration = Duration::from_secs(10);
/// The last request on every connection. It asks to close, so that its answer tells that all before it is done with.
pub(super) const LAST: &str =
    "GET /last HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-User: alice\r\nConnection: close\r\n\r\n";
/// What the double answers, to HEAD too.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A proxy under comparison.
pub(super) struct Proxy {
    place: Place,
    double: Double,
    _process: Process,
}

enum Place {
    Tcp(std::net::SocketAddr),
    Unix(PathBuf),
}

enum Process {
    Vestibule { _process: Vestibule, _books: TestDb },
    Peer { child: Child, folder: PathBuf },
}

/// What came of one input.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// The whole requests that reached the upstream, in order.
    pub(super) forwarded: Vec<Request>,
    /// Bytes at the upstream that the strictest reader takes for no request.
    pub(super) nonsense: Vec<String>,
    /// The first line of each answer at the client.
    pub(super) answers: Vec<String>,
}

/// The upstream of one proxy.
struct Double {
    address: std::net::SocketAddr,
    connections: Arc<Mutex<Vec<Connection>>>,
    changed: watch::Receiver<()>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Clone)]
struct Connection {
    peer: std::net::SocketAddr,
    bytes: Vec<u8>,
    is_over: bool,
}

// === impl Proxy ===

impl Proxy {
    pub(super) async fn vestibule() -> Self {
        let double = Double::listen().await;
        let db = TestDb::fresh().await;
        let vestibule = Setup::new(&format!("http://{}", double.address), db.url()).with("workers", 1).start().await;
        let place = Place::Tcp(address_of(&vestibule));
        Self { place, double, _process: Process::Vestibule { _process: vestibule, _books: db } }
    }

    pub(super) async fn nginx() -> Self {
        // Limits as wide as vestibule's, so that none of them hides what is compared. One process, so that it dies whole.
        Self::peer("nginx", &["-c"], |folder, socket, upstream| {
            let (folder, socket) = (folder.display(), socket.display());
            format!(
                "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n\
                 events {{ worker_connections 256; }}\n\
                 http {{\n access_log off; client_header_buffer_size 64k; large_client_header_buffers 8 128k;\n\
                 client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;\n\
                 uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; lingering_timeout 1s;\n\
                 server {{ listen unix:{socket}; location / {{\n\
                 proxy_http_version 1.1; proxy_pass http://{upstream}; proxy_set_header Host $host;\n }} }} }}\n"
            )
        })
        .await
    }

    pub(super) async fn haproxy() -> Self {
        Self::peer("haproxy", &["-db", "-q", "-f"], |_, socket, upstream| {
            let socket = socket.display();
            format!(
                "global\n maxconn 200\n tune.bufsize 262144\n\
                 defaults\n mode http\n option http-keep-alive\n timeout connect 5s\n timeout client 5s\n\
                 timeout server 5s\n timeout http-request 5s\n\
                 frontend in\n bind unix@{socket}\n default_backend up\n\
                 backend up\n server up {upstream}\n"
            )
        })
        .await
    }

    async fn peer(name: &str, flags: &[&str], config: impl Fn(&Path, &Path, std::net::SocketAddr) -> String) -> Self {
        let double = Double::listen().await;
        let folder = std::env::temp_dir().join(format!("vestibule-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let socket = folder.join("socket");
        let file = folder.join("config");
        std::fs::write(&file, config(&folder, &socket, double.address)).expect("the folder can be written");
        let mut command = Command::new(program(name));
        command.args(flags).arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let process = Process::Peer { child, folder };
        let place = Place::Unix(socket.clone());
        eventually(&format!("{name} to listen"), async || UnixStream::connect(&socket).await.ok()).await;
        Self { place, double, _process: process }
    }

    /// Sends the bytes and the last request on one connection, and tells what came of them on either side.
    pub(super) async fn play(&self, bytes: &[u8]) -> Outcome {
        let bytes = [bytes, LAST.as_bytes()].concat();
        let answers = match &self.place {
            Place::Tcp(address) => converse(TcpStream::connect(address).await.expect("it listens"), &bytes).await,
            Place::Unix(path) => converse(UnixStream::connect(path).await.expect("it listens"), &bytes).await,
        };
        let mut outcome = Outcome { answers: status_lines(&answers), ..Outcome::default() };
        for connection in self.double.take().await {
            let (requests, rest) = strict::read(&connection.bytes);
            outcome.forwarded.extend(requests);
            if let Rest::Bad(why) = rest {
                outcome.nonsense.push(format!("{why}: {}", connection.bytes.escape_ascii()));
            }
        }
        outcome
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Self::Peer { child, folder } = self {
            let _ = child.kill();
            let _ = child.wait();
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Debian puts daemons where a plain user's PATH does not look.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: `tests/run --peers` installs it where it can"))
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &[u8]) -> Vec<u8> {
    let mut came = Vec::new();
    // A proxy that has refused may have closed.
    let _ = timeout(ENDING, stream.write_all(bytes)).await;
    while let Ok(Ok(count)) = timeout(SILENCE, stream.read_buf(&mut came)).await {
        if count == 0 {
            return came;
        }
    }
    let _ = stream.shutdown().await;
    while let Ok(Ok(1..)) = timeout(ENDING, stream.read_buf(&mut came)).await {}
    came
}

fn status_lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().filter(|line| line.starts_with("HTTP/1.")).map(str::to_owned).collect()
}

// === impl Double ===

impl Double {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (change, changed) = watch::channel(());
        let task = tokio::spawn(accept(listener, Arc::clone(&connections), Arc::new(change)));
        Self { address, connections, changed, task }
    }

    /// Every connection since the last time, once all have ended.
    async fn take(&self) -> Vec<Connection> {
        let marker = TcpStream::connect(self.address).await.expect("the double listens");
        let ours = marker.local_addr().expect("it is connected");
        drop(marker);
        let mut changed = self.changed.clone();
        let all_over = async {
            loop {
                changed.borrow_and_update();
                {
                    let mut connections = self.connections.lock().expect("nobody panics with it");
                    let is_here = connections.iter().any(|connection: &Connection| connection.peer == ours);
                    if is_here && connections.iter().all(|connection| connection.is_over) {
                        let mut taken = std::mem::take(&mut *connections);
                        taken.retain(|connection| connection.peer != ours);
                        return taken;
                    }
                }
                let _ = changed.changed().await;
            }
        };
        timeout(ENDING, all_over).await.expect("a proxy ends its upstream connections with the client's")
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, connections: Arc<Mutex<Vec<Connection>>>, change: Arc<watch::Sender<()>>) {
    while let Ok((stream, peer)) = listener.accept().await {
        let index = {
            let mut connections = connections.lock().expect("nobody panics with it");
            connections.push(Connection { peer, bytes: Vec::new(), is_over: false });
            connections.len() - 1
        };
        let (connections, change) = (Arc::clone(&connections), Arc::clone(&change));
        tokio::spawn(async move {
            let bytes = answer(stream).await;
            if let Some(connection) = connections.lock().expect("nobody panics with it").get_mut(index) {
                connection.bytes = bytes;
                connection.is_over = true;
            }
            change.send_replace(());
        });
    }
}

/// Answers the first request once it is whole, ends its side, and reads what else comes.
async fn answer(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut is_answered = false;
    while stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
        let (requests, rest) = strict::read(&bytes);
        if !is_answered && (!requests.is_empty() || matches!(rest, Rest::Bad(_))) {
            is_answered = true;
            let _ = stream.write_all(ANSWER).await;
            let _ = stream.shutdown().await;
        }
    }
    bytes
}
