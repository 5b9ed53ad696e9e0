//! The demo's own call, as an OAuth proxy sends it on for somebody who is signed in.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::DemoError;

/// Sends it on a connection of its own; the answer's body comes as it comes.
pub(super) async fn send(to: SocketAddr, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, DemoError> {
    let stream = TcpStream::connect(to).await.map_err(|error| DemoError::Call(Box::new(error)))?;
    let call = |error| DemoError::Call(Box::new(error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(call)?;
    // It ends with the answer; its fault is the request's.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(call)
}

/// The words of a streamed answer, as they arrive.
pub(super) struct Words {
    body: Incoming,
    rest: Vec<u8>,
}

// === impl Words ===

impl Words {
    pub(super) fn of(body: Incoming) -> Self {
        Self { body, rest: Vec::new() }
    }

    /// The next; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<String>, DemoError> {
        loop {
            while let Some(end) = self.rest.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.rest.drain(..end + 2).collect();
                let data = String::from_utf8_lossy(&event);
                let data = data.trim().strip_prefix("data: ").unwrap_or_default();
                let chunk: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
                if let Some(word) = chunk.pointer("/choices/0/delta/content").and_then(serde_json::Value::as_str) {
                    return Ok(Some(word.to_owned()));
                }
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| DemoError::Call(Box::new(error)))?;
            if let Ok(data) = frame.into_data() {
                self.rest.extend_from_slice(&data);
            }
        }
    }
}
