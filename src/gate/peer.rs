//! Who holds our socket.

use std::net::{IpAddr, SocketAddr};

/// The other end of a downstream connection, as the kernel tells it. No header can change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer. IPv4 in IPv6 clothes is shown as IPv4.
    Tcp(SocketAddr),
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
        Self::Tcp(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// The address, where there is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix { .. } => None,
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{}", address.ip()),
            Self::Unix { uid } => write!(f, "unix:{uid}"),
        }
    }
}
