//! Peers that vanish without a word, such as a machine that lost its power or its network: they send no end of a connection.
//! And peers that take what is sent so slowly that it must be told from that.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

/// Silence after which the system asks whether the peer is still there.
const ASK_AFTER: Duration = Duration::from_mins(1);
/// Between one such question and the next.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Questions without an answer that end the connection.
const QUESTIONS: u32 = 3;
/// How long bytes may stay unacknowledged; while there are some, the system asks no questions.
const UNACKNOWLEDGED: Duration = Duration::from_mins(2);
/// Bytes beyond those on their way that the system takes for a client. It is also what a client must take before a write is
/// possible again, and so before we see that it takes anything.
const UNSENT_BYTES: u32 = 128 * 1024;

/// A client's connection.
pub trait Downstream {
    /// Ends it so that the client sees that more should have come (RFC 9112 8): a reset, where there is one.
    fn reset(&self);
}

/// Has the system ask the peer of an idle stream or websocket, and end the connection within two minutes of its vanishing.
pub fn watch(stream: &TcpStream) -> io::Result<()> {
    let asking = TcpKeepalive::new().with_time(ASK_AFTER).with_interval(ASK_AGAIN_AFTER).with_retries(QUESTIONS);
    SockRef::from(stream).set_tcp_keepalive(&asking)
}

/// The same for a client, also while an answer runs. A client that takes nothing has at least `send_timeout`; zero = for ever.
pub fn watch_client(stream: &TcpStream, send_timeout: Duration) -> io::Result<()> {
    watch(stream)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    if send_timeout.is_zero() { Ok(()) } else { socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED + send_timeout)) }
}

impl Downstream for TcpStream {
    fn reset(&self) {
        // A socket that takes no option any more is closed already.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl Downstream for UnixStream {
    fn reset(&self) {}
}
