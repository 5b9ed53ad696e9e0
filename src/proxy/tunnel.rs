//! A websocket after its handshake: bytes both ways, which vestibule does not read.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::access_log::RequestRecord;
use super::response::Permits;
use crate::http::exchange::Exchange;
use crate::telemetry::logs::chain;

/// Carries bytes until both sides have ended. The record's line is written then, and the places of the user, of all requests
/// and of the connection given back.
pub(super) async fn carry(
    downstream: OnUpgrade,
    upstream: OnUpgrade,
    mut record: RequestRecord,
    _held: (Permits, Exchange),
) {
    record.tunnelled();
    let (downstream, upstream) = match (downstream.await, upstream.await) {
        (Ok(downstream), Ok(upstream)) => (downstream, upstream),
        (Err(error), _) | (_, Err(error)) => {
            tracing::debug!(cause = chain(&error), "an upgrade did not come about");
            return;
        }
    };
    match copy_bidirectional(&mut TokioIo::new(downstream), &mut TokioIo::new(upstream)).await {
        Ok((_, down)) => {
            record.sent(usize::try_from(down).unwrap_or(usize::MAX));
            record.finished();
        }
        Err(error) => tracing::debug!(cause = chain(&error), "a tunnel broke"),
    }
}
