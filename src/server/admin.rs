//! `/livez`, `/readyz`, `/metrics`: a port of its own, which no browser reaches.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::net::TcpListener;

use super::StartError;
use super::health::{Readiness, ReadinessStatus};
use super::plain::{self, PlainRequest};
use crate::telemetry::metrics::Metrics;

/// Time for a probe's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Open connections; probes and scrapers need a few.
const CONNECTIONS_MAX: usize = 64;

/// Listens and serves on the present runtime. Gives the address with the port that the system chose.
pub async fn listen(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Listen { address: address.to_string(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let answer = move |request: PlainRequest| {
        std::future::ready(answer(request.method(), request.uri().path(), &metrics, &readiness))
    };
    tokio::spawn(plain::serve(listener, HEADER_TIMEOUT, CONNECTIONS_MAX, answer));
    Ok(bound)
}

fn answer(method: &Method, path: &str, metrics: &Metrics, readiness: &Readiness) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".into());
    }
    match path {
        "/livez" => reply(StatusCode::OK, "text/plain", "ok\n".into()),
        "/readyz" => {
            let (status, text) = match readiness.status() {
                ReadinessStatus::Ready => (StatusCode::OK, json!({"status": "ready"})),
                ReadinessStatus::Degraded(what) => (StatusCode::OK, json!({"status": "ready", "degraded": what})),
                ReadinessStatus::NotReady(why) => {
                    (StatusCode::SERVICE_UNAVAILABLE, json!({"status": "not ready", "reason": why}))
                }
            };
            reply(status, "application/json", format!("{text}\n"))
        }
        "/metrics" => {
            reply(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics.page())
        }
        _ => reply(StatusCode::NOT_FOUND, "text/plain", "there are /livez, /readyz and /metrics\n".into()),
    }
}

fn reply(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
