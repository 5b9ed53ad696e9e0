//! Who holds our socket.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;

/// The other end of a downstream connection, as the kernel tells it. No header can change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer. IPv4 in IPv6 clothes is shown as IPv4.
    Tcp {
        /// Its address.
        ip: IpAddr,
        /// The same as `X-Forwarded-For` shows it, made once a connection.
        shown: HeaderValue,
    },
    /// A peer on a unix socket, with its user id (`SO_PEERCRED`).
    Unix {
        /// The peer's effective user id when it connected.
        uid: u32,
    },
}

// === impl Peer ===

impl Peer {
    /// A TCP peer.
    pub fn tcp(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical();
        // An address holds nothing that a header may not.
        let shown = HeaderValue::try_from(ip.to_string()).unwrap_or(HeaderValue::from_static("unknown"));
        Self::Tcp { ip, shown }
    }

    /// The address as `X-Forwarded-For` shows it, where there is one.
    pub fn address(&self) -> Option<&HeaderValue> {
        match self {
            Self::Tcp { shown, .. } => Some(shown),
            Self::Unix { .. } => None,
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { ip, .. } => write!(f, "{ip}"),
            Self::Unix { uid } => write!(f, "unix:{uid}"),
        }
    }
}
