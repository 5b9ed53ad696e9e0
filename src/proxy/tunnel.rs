//! A websocket after its handshake: its record, and what is held until it ends.

use super::record::RequestRecord;
use crate::authorizer::Permits;
use crate::http1::{self, Exchange, Upgrade};
use crate::telemetry::logs::chain;

/// Carries bytes until both sides have ended. The record's line is written then, and the places of the user, of all requests
/// and of the connection given back.
pub(super) async fn carry(
    client: Upgrade,
    upstream: Upgrade,
    mut record: Box<RequestRecord>,
    _held: (Permits, Exchange),
) {
    record.tunnelled();
    match http1::tunnel(client, upstream).await {
        Ok(down) => {
            record.sent(usize::try_from(down).unwrap_or(usize::MAX));
            record.finished();
        }
        Err(error) => tracing::debug!(cause = chain(&error), "a tunnel broke"),
    }
}
