//! Calls to LiteLLM: small requests and small answers. For the commands, which call a few times and end, and for the pages
//! that call now and then.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::http::client::{CallError, ClientSettings, HttpClient, Transport};
use crate::http1::UpstreamAddress;
use crate::litellm::api::{self, Call};
use crate::litellm::credentials::KeyHeaders;
use crate::telemetry::logs::chain;

/// Time for the connection and the answer together: LiteLLM waits for its database.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// A client of LiteLLM's own API.
#[derive(Clone)]
pub struct LitellmClient {
    http: HttpClient,
    /// `http://HOST:PORT`.
    base: String,
    key_header: Option<HeaderName>,
    master_key: Option<KeyHeaders>,
}

/// A call that LiteLLM did not obey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// What it was to forget.
    pub what: &'static str,
    /// Why it did not.
    pub cause: String,
}

// === impl LitellmClient ===

impl LitellmClient {
    /// Connects with the first call. `key_header`: the header that LiteLLM is configured to read keys from, besides its usual
    /// ones.
    pub fn new(url: &UpstreamAddress, key_header: Option<HeaderName>, master_key: Option<&SecretString>) -> Self {
        let (transport, base) = match url {
            UpstreamAddress::Tcp { host, port } => (Transport::Tcp, base(host, *port)),
            UpstreamAddress::Unix(path) => (Transport::Unix(path.clone()), "http://localhost".to_owned()),
        };
        let server = format!("LiteLLM at {url}");
        let http = HttpClient::new(ClientSettings::single(server, transport, CALL_TIMEOUT, ANSWER_BYTES_MAX));
        let master_key = master_key.and_then(|key| KeyHeaders::new(key.expose_secret()));
        Self { http, base, key_header, master_key }
    }

    /// Its master key, where it is known.
    pub fn master_key(&self) -> Option<&KeyHeaders> {
        self.master_key.as_ref()
    }

    /// GETs a path with a key, or without: gives the status and the body.
    pub async fn get(&self, path: &str, key: Option<&KeyHeaders>) -> Result<(u16, Bytes), CallError> {
        let answer = self.http.get(format!("{}{path}", self.base), self.headers(key)).await?;
        Ok((answer.status.as_u16(), answer.body))
    }

    /// Makes these calls with the master key. After one that LiteLLM refuses the others are still made, and the first refusal
    /// is the error.
    pub async fn tell(&self, calls: &[Call]) -> Result<(), Untold> {
        let mut told = Ok(());
        for call in calls {
            let headers = self.headers(self.master_key());
            match self.http.post(format!("{}{}", self.base, call.path), headers, call.body.clone()).await {
                Ok(answer) => {
                    let read = api::read(call, answer.status.as_u16(), &answer.body);
                    told = told.and(read.map_err(|cause| Untold { what: call.what, cause }));
                }
                // The next would meet the same, and wait as long for it.
                Err(error) => return told.and(Err(Untold { what: call.what, cause: chain(&error) })),
            }
        }
        told
    }

    fn headers(&self, key: Option<&KeyHeaders>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            key.inject(&mut headers, self.key_header.as_ref(), false);
        }
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers
    }
}

/// An IPv6 address has no brackets in the configuration.
fn base(host: &str, port: u16) -> String {
    if host.contains(':') { format!("http://[{host}]:{port}") } else { format!("http://{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_written_with_brackets() {
        assert_eq!(base("::1", 4000), "http://[::1]:4000");
        assert_eq!(base("litellm", 80), "http://litellm:80");
    }
}
