//! Connections after a change of protocol: bytes both ways, which are not read here.

use std::io;

use http::{Request, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

/// One side of a change of protocol: its connection, once the 101 has passed.
pub struct Upgrade(OnUpgrade);

// === impl Upgrade ===

impl Upgrade {
    /// The client's side.
    pub fn of_request<B>(request: &mut Request<B>) -> Self {
        Self(hyper::upgrade::on(request))
    }

    /// The upstream's side.
    pub fn of_response<B>(response: &mut Response<B>) -> Self {
        Self(hyper::upgrade::on(response))
    }
}

/// Carries bytes until both sides have ended. Returns how many went to the client.
///
/// # Errors
///
/// An upgrade did not come about, or one of the connections broke.
pub async fn tunnel(client: Upgrade, upstream: Upgrade) -> io::Result<u64> {
    let client = client.0.await.map_err(io::Error::other)?;
    let upstream = upstream.0.await.map_err(io::Error::other)?;
    let (_, down) = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream)).await?;
    Ok(down)
}
