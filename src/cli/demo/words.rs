//! The words of a streamed answer, as they arrive.

use super::DemoError;
use crate::http::client::ClientBody;

pub(super) struct Words {
    pub(super) body: ClientBody,
    /// What has arrived and is not told yet.
    pub(super) rest: Vec<u8>,
}

// === impl Words ===

impl Words {
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
            let Some(data) = self.body.next().await.map_err(|error| DemoError::Call(Box::new(error)))? else {
                return Ok(None);
            };
            self.rest.extend_from_slice(&data);
        }
    }
}
