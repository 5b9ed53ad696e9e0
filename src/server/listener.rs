//! Listening sockets: one a worker on TCP (`SO_REUSEPORT`), one shared on a unix path.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net as std_unix;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::StartError;
use crate::config::Listen;
use crate::identity::peer::Peer;
use crate::telemetry::logs::chain;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long an accept loop waits when the system has no descriptor to give.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The sockets of all workers, bound and not listening yet.
pub struct Sockets {
    /// As it is shown, with the port that the system chose.
    pub address: String,
    /// One a worker.
    pub each: Vec<Socket>,
}

/// One worker's socket, to be taken into its runtime.
pub enum Socket {
    /// TCP.
    Tcp(TcpSocket),
    /// A unix path; all workers share its queue.
    Unix(std_unix::UnixListener),
}

/// A listener within a worker's runtime.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix path.
    Unix(UnixListener),
}

/// Accepts connections of a listener, each with a place among a limited number.
pub struct Acceptor {
    listener: Listener,
    places: Arc<Semaphore>,
    accepted: Option<(Accepted, Peer)>,
}

/// A connection from downstream.
pub enum Accepted {
    /// TCP.
    Tcp(TcpStream),
    /// A unix path.
    Unix(UnixStream),
}

/// Of every listener each worker gets one socket.
pub fn by_worker<R: Copy>(listeners: Vec<(R, Sockets)>) -> Vec<Vec<(R, Socket)>> {
    let mut workers: Vec<Vec<(R, Socket)>> = Vec::new();
    for (role, sockets) in listeners {
        workers.resize_with(workers.len().max(sockets.each.len()), Vec::new);
        workers.iter_mut().zip(sockets.each).for_each(|(worker, socket)| worker.push((role, socket)));
    }
    workers
}

/// Binds one socket a worker, so that a taken address is known before anything runs.
pub fn bind(listen: &Listen, workers: usize) -> Result<Sockets, StartError> {
    let (address, bound) = match listen {
        Listen::Tcp(address) => (address.to_string(), bind_tcp(*address, workers)),
        Listen::Unix { path, mode } => (format!("unix:{}", path.display()), bind_unix(path, *mode, workers)),
    };
    bound.map_err(|source| StartError::Listen { address, source })
}

fn bind_tcp(address: SocketAddr, workers: usize) -> io::Result<Sockets> {
    let open = |address: SocketAddr, shares_port: bool| {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        if shares_port {
            socket.set_reuseport(true)?;
        }
        socket.bind(address)?;
        Ok::<_, io::Error>(socket)
    };
    let shares_port = workers > 1;
    if shares_port && address.port() != 0 {
        // With SO_REUSEPORT a second vestibule would share the port unseen; without it a taken one is refused.
        open(address, false)?;
    }
    let first = open(address, shares_port)?;
    let address = first.local_addr()?;
    let mut each = vec![Socket::Tcp(first)];
    for _ in 1..workers {
        each.push(Socket::Tcp(open(address, shares_port)?));
    }
    Ok(Sockets { address: address.to_string(), each })
}

/// The socket gets its mode before it gets its name: at no time can another user connect.
fn bind_unix(path: &Path, mode: u32, workers: usize) -> io::Result<Sockets> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && std_unix::UnixStream::connect(path).is_err()
    {
        fs::remove_file(path)?; // left behind by a process that is gone
    }
    if fs::symlink_metadata(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let mut nameless = path.as_os_str().to_owned();
    nameless.push(format!(".{}", std::process::id()));
    let listener = std_unix::UnixListener::bind(&nameless)?;
    let named = fs::set_permissions(&nameless, Permissions::from_mode(mode)).and_then(|()| fs::rename(&nameless, path));
    if let Err(error) = named {
        // The first error is the one to tell of.
        let _ = fs::remove_file(&nameless);
        return Err(error);
    }
    listener.set_nonblocking(true)?;
    let each = (0..workers).map(|_| listener.try_clone().map(Socket::Unix)).collect::<io::Result<_>>()?;
    Ok(Sockets { address: format!("unix:{}", path.display()), each })
}

// === impl Socket ===

impl Socket {
    /// Begins to listen; needs a runtime.
    pub fn listen(self) -> io::Result<Listener> {
        match self {
            Self::Tcp(socket) => Ok(Listener::Tcp(socket.listen(BACKLOG)?)),
            Self::Unix(listener) => Ok(Listener::Unix(UnixListener::from_std(listener)?)),
        }
    }
}

// === impl Listener ===

impl Listener {
    /// The next connection, and who holds it. Losing the future loses no connection.
    pub async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Accepted::Tcp(stream), Peer::tcp(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Accepted::Unix(stream), Peer::Unix { uid }))
            }
        }
    }
}

// === impl Acceptor ===

impl Acceptor {
    /// Other listeners may share the places.
    pub fn new(listener: Listener, places: Arc<Semaphore>) -> Self {
        Self { listener, places, accepted: None }
    }

    /// The next connection and its place; `None` once the places are closed. Losing the future loses no connection.
    ///
    /// At the limit one connection waits here, further ones in the backlog. The place comes second: taken first, an idle
    /// listener would keep it from a busy one.
    pub async fn next(&mut self) -> Option<(Accepted, Peer, OwnedSemaphorePermit)> {
        while self.accepted.is_none() {
            match self.listener.accept().await {
                Ok(accepted) => self.accepted = Some(accepted),
                Err(error) => {
                    tracing::warn!(cause = chain(&error), "can't accept a connection");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
        let place = self.places.clone().acquire_owned().await.ok()?;
        let (stream, peer) = self.accepted.take()?;
        Some((stream, peer, place))
    }
}
