//! One call to LiteLLM on a connection of its own: a small request, a small answer, no stream. For the commands, which
//! call a few times and end, and for the pages that ask LiteLLM now and then.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::UpstreamUrl;

/// Time for the connection and the answer together: LiteLLM waits for its database.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error("could not connect to LiteLLM at {0}")]
    Connect(String, #[source] std::io::Error),
    /// The connection broke, or the answer was not HTTP.
    #[error("LiteLLM's answer could not be read")]
    Answer(#[source] hyper::Error),
    /// The answer broke off, or was longer than anything it says here.
    #[error("LiteLLM's answer broke off or is too long")]
    Body,
    /// A header or path that can't be sent.
    #[error("the call can't be written as a request")]
    Request(#[source] http::Error),
    /// No answer in time.
    #[error("LiteLLM at {0} did not answer within {seconds} s", seconds = CALL_TIMEOUT.as_secs())]
    Timeout(String),
}

/// POSTs JSON with these headers: gives the status and the body.
pub async fn post(
    address: &UpstreamUrl,
    path: &str,
    headers: HeaderMap,
    body: String,
) -> Result<(u16, Bytes), CallError> {
    send(address, Method::POST, path, headers, body).await
}

/// GETs with these headers: gives the status and the body.
pub async fn get(address: &UpstreamUrl, path: &str, headers: HeaderMap) -> Result<(u16, Bytes), CallError> {
    send(address, Method::GET, path, headers, String::new()).await
}

async fn send(
    address: &UpstreamUrl,
    method: Method,
    path: &str,
    headers: HeaderMap,
    body: String,
) -> Result<(u16, Bytes), CallError> {
    let late = |_| CallError::Timeout(address.to_string());
    timeout(CALL_TIMEOUT, connect_and_send(address, method, path, headers, body)).await.map_err(late)?
}

async fn connect_and_send(
    address: &UpstreamUrl,
    method: Method,
    path: &str,
    headers: HeaderMap,
    body: String,
) -> Result<(u16, Bytes), CallError> {
    let failed = |source| CallError::Connect(address.to_string(), source);
    let host = match address {
        UpstreamUrl::Tcp { .. } => HeaderValue::try_from(address.to_string().trim_start_matches("http://")),
        UpstreamUrl::Unix(_) => Ok(HeaderValue::from_static("localhost")),
    };
    let has_body = method == Method::POST;
    let mut request = Request::builder().method(method).uri(path).body(Full::new(Bytes::from(body)));
    if let Ok(request) = &mut request {
        *request.headers_mut() = headers;
        if has_body {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        request.headers_mut().insert(header::HOST, host.unwrap_or(HeaderValue::from_static("localhost")));
    }
    let request = request.map_err(CallError::Request)?;
    match address {
        UpstreamUrl::Tcp { host, port } => {
            exchange(TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?, request).await
        }
        UpstreamUrl::Unix(path) => exchange(UnixStream::connect(path).await.map_err(failed)?, request).await,
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(u16, Bytes), CallError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(CallError::Answer)?;
    // It ends with the answer; its fault is the request's.
    let running = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(CallError::Answer)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|_| CallError::Body)?;
    running.abort();
    Ok((status, body.to_bytes()))
}
