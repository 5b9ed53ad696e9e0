//! What a client's connection must be able to do besides bytes, and how vanished peers are noticed: a machine that lost
//! its power or its network sends no end of a connection.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Silence after which the system probes whether the peer is still there.
const PROBE_AFTER: Duration = Duration::from_mins(1);
/// Between one probe and the next.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered probes that end the connection.
const PROBES: u32 = 3;
/// How long bytes may stay unacknowledged; while there are some, the system sends no probes.
const UNACKNOWLEDGED: Duration = Duration::from_mins(2);
/// Bytes beyond those in flight that the system accepts for a client. It is also what a client must take before a write
/// is possible again, and so the grain in which a slow client is seen to make progress.
const UNSENT_BYTES: u32 = 128 * 1024;

/// A client's connection: TCP, a unix socket, or a layer over one of them.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Prepares the connection so that a vanished client is noticed, also while a response runs. A client that takes nothing
    /// keeps at least `send_timeout`; zero = for ever.
    fn keep_alive(&self, send_timeout: Duration) -> io::Result<()>;

    /// Ends it so that the client sees that more should have come (RFC 9112 8): a reset, where there is one.
    fn reset(&self);
}

impl Stream for TcpStream {
    fn keep_alive(&self, send_timeout: Duration) -> io::Result<()> {
        probe(self)?;
        let socket = SockRef::from(self);
        socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
        if send_timeout.is_zero() { Ok(()) } else { socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED + send_timeout)) }
    }

    fn reset(&self) {
        // A socket that rejects the option is closed already.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

/// The kernel knows when the process at the other end is gone.
impl Stream for UnixStream {
    fn keep_alive(&self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn reset(&self) {}
}

/// Has the system probe the peer of an idle stream or websocket, and end the connection within two minutes of its vanishing.
pub(super) fn probe(stream: &TcpStream) -> io::Result<()> {
    let probing = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL).with_retries(PROBES);
    SockRef::from(stream).set_tcp_keepalive(&probing)
}
