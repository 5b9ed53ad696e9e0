//! One question asked again and again, on connections that are kept: who somebody is, of the sign-in proxy.

use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

/// Most bytes of an answer's head: what a sign-in proxy says of somebody, with many groups.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of an answer's body, which says nothing here; read so that the connection can be kept.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long an idle connection is kept: below what servers keep theirs for (Go: 2 min and more, Node 5 s, uvicorn 5 s).
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum InquiryError {
    /// None in time.
    #[error("{0} did not answer in time")]
    Timeout(Uri),
    /// No connection, or no HTTP.
    #[error("{0} could not be asked")]
    Failed(Uri, #[source] Error),
    /// The request can't be written.
    #[error("the question can't be written as a request")]
    Request(#[source] http::Error),
}

/// Where the question goes.
#[derive(Clone)]
pub struct Inquiry {
    client: Client<HttpConnector, Empty<Bytes>>,
    url: Uri,
    timeout: Duration,
}

// === impl Inquiry ===

impl Inquiry {
    /// No connection is made before the first question.
    pub fn new(url: Uri, timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Self { client, url, timeout }
    }

    /// GETs with these headers: gives the answer's status and headers. A question is harmless, so it is asked once more
    /// where a connection that was kept had gone.
    pub async fn ask(&self, headers: &HeaderMap) -> Result<(StatusCode, HeaderMap), InquiryError> {
        let asked = async {
            match self.once(headers).await {
                Err(InquiryError::Failed(_, error)) if !error.is_connect() => self.once(headers).await,
                other => other,
            }
        };
        timeout(self.timeout, asked).await.map_err(|_| InquiryError::Timeout(self.url.clone()))?
    }

    async fn once(&self, headers: &HeaderMap) -> Result<(StatusCode, HeaderMap), InquiryError> {
        let mut request = Request::builder().uri(self.url.clone()).body(Empty::new()).map_err(InquiryError::Request)?;
        request.headers_mut().clone_from(headers);
        let failed = |error| InquiryError::Failed(self.url.clone(), error);
        let (head, body) = self.client.request(request).await.map_err(failed)?.into_parts();
        // What it says besides is nothing to us; one that is too long, or breaks off, costs its connection.
        let _ = Limited::new(body, BODY_BYTES_MAX).collect().await;
        Ok((head.status, head.headers))
    }
}
