//! Peers that vanish without a word: a machine that lost its power or its network sends no end of a connection.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Silence after which the system asks whether the peer is still there.
const ASK_AFTER: Duration = Duration::from_mins(1);
/// Between one such question and the next.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Questions without an answer that end the connection.
const QUESTIONS: u32 = 3;

/// Has the system ask the peer of an idle stream or websocket, and end the connection within two minutes of its vanishing.
pub fn watch(stream: &TcpStream) -> io::Result<()> {
    let asking = TcpKeepalive::new().with_time(ASK_AFTER).with_interval(ASK_AGAIN_AFTER).with_retries(QUESTIONS);
    SockRef::from(stream).set_tcp_keepalive(&asking)
}
