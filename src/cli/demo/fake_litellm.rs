//! A fake LiteLLM, on loopback: it accepts the keys that are in the store's table and no others, answers
//! with the user that it takes the client for, and calls itself a stand-in in every answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::watch::{self, DemoEvent};
use crate::litellm::credentials::{CREDENTIALS, X_LITELLM_API_KEY, key_in};
use crate::server::plain::{self, PlainRequest};
use crate::store::sqlite::{Holder, Sqlite};

/// The one model that it says it has.
pub(super) const MODEL: &str = "stand-in";
/// Between two words of a streamed answer: about as fast as a model talks.
const WORD_EVERY: Duration = Duration::from_millis(30);
/// Most bytes of a question.
const QUESTION_BYTES_MAX: usize = 1024 * 1024;
/// Time for a request's head, and between requests: longer than vestibule keeps an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Open connections: more than are needed to try things out.
const CONNECTIONS_MAX: usize = 1024;

/// One request as it arrived here.
#[derive(Debug)]
pub(super) struct Arrival {
    /// vestibule's id of it; none where it did not come through vestibule.
    pub(super) request_id: Option<String>,
    /// Method and path.
    pub(super) line: String,
    /// Its headers, keys masked.
    pub(super) headers: Vec<(String, String)>,
    /// Whose key it had.
    pub(super) holder: Option<Holder>,
}

/// An answer's body.
type Pieces = Channel<Bytes>;

/// Serves for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, store: Arc<Sqlite>, events: mpsc::Sender<DemoEvent>) {
    let answer = move |request| {
        let (store, events) = (store.clone(), events.clone());
        async move { answer(&store, &events, request).await }
    };
    plain::serve(listener, HEADER_TIMEOUT, CONNECTIONS_MAX, answer).await;
}

async fn answer(store: &Sqlite, events: &mpsc::Sender<DemoEvent>, request: PlainRequest) -> Response<Pieces> {
    let (head, body) = request.into_parts();
    let key = key(&head.headers).map(str::to_owned);
    let holder = match &key {
        Some(key) => store.holder(key).await.ok().flatten(),
        None => None,
    };
    let holder = holder.filter(|holder| !holder.blocked && holder.left_seconds > 0.0);
    watch::tell(
        events,
        DemoEvent::Arrived(Arrival {
            request_id: by_vestibule(&head.headers),
            line: format!("{} {}", head.method, head.uri.path()),
            headers: shown(&head.headers),
            holder: holder.clone(),
        }),
    );
    let Some(holder) = holder else { return refuse(key.as_deref()) };
    let words = format!("you are {} ({}), by the key {}", holder.user_id, holder.role, holder.key_name);
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/v1/models" | "/models") => models(&words),
        (&Method::POST, "/v1/chat/completions" | "/chat/completions") => {
            let question = Limited::new(body, QUESTION_BYTES_MAX).collect().await;
            let question = question.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let question: Value = serde_json::from_slice(&question).unwrap_or_default();
            let is_streamed = question.get("stream").and_then(Value::as_bool).unwrap_or(false);
            let text = format!("Hello from the stand-in for LiteLLM: {words}. A real one would ask a model now.");
            if is_streamed { stream(&text) } else { completion(&text) }
        }
        _ => json_answer(StatusCode::NOT_FOUND, &json!({ "detail": "Not Found (by the stand-in for LiteLLM)" })),
    }
}

/// The key, where LiteLLM looks first.
fn key(headers: &HeaderMap) -> Option<&str> {
    [X_LITELLM_API_KEY, header::AUTHORIZATION].iter().find_map(|name| key_in(headers.get(name)?))
}

/// vestibule's id of the request, where it came through vestibule.
fn by_vestibule(headers: &HeaderMap) -> Option<String> {
    headers.get(header::VIA)?;
    headers.get("x-request-id")?.to_str().ok().map(str::to_owned)
}

/// The headers as they may be shown.
fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let masked = |name: &HeaderName, value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if !CREDENTIALS.contains(name) {
            return text;
        }
        let tail: String = text.chars().skip(text.chars().count().saturating_sub(4)).collect();
        let scheme = if text.starts_with("Bearer ") { "Bearer " } else { "" };
        format!("{scheme}sk-...{tail}")
    };
    headers.iter().map(|(name, value)| (name.to_string(), masked(name, value))).collect()
}

/// LiteLLM's own 401 for a key that is not in its table (`proxy/_types.py`, `ProxyException`).
fn refuse(key: Option<&str>) -> Response<Pieces> {
    let (why, kind) = match key {
        Some(_) => ("Invalid proxy server token passed: this key is not in the table", "token_not_found_in_db"),
        None => ("No api key passed in", "auth_error"),
    };
    let message = format!("Authentication Error, {why} (says the stand-in for LiteLLM)");
    let error = json!({ "message": message, "type": kind, "param": "key", "code": "401" });
    json_answer(StatusCode::UNAUTHORIZED, &json!({ "error": error }))
}

fn models(words: &str) -> Response<Pieces> {
    let model = json!({ "id": MODEL, "object": "model", "owned_by": "vestibule demo" });
    json_answer(StatusCode::OK, &json!({ "stand_in_says": words, "object": "list", "data": [model] }))
}

fn completion(text: &str) -> Response<Pieces> {
    let choice = json!({ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" });
    let answer = json!({ "id": "chatcmpl-stand-in", "object": "chat.completion", "model": MODEL, "choices": [choice] });
    json_answer(StatusCode::OK, &answer)
}

/// Word by word, as server-sent events.
fn stream(text: &str) -> Response<Pieces> {
    let (mut pieces, body) = Pieces::new(1);
    let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
    tokio::spawn(async move {
        let chunk = |delta: &Value, finish: Option<&str>| {
            let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
            let chunk = json!({
                "id": "chatcmpl-stand-in", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]
            });
            Bytes::from(format!("data: {chunk}\n\n"))
        };
        for word in words {
            // A caller that went away wants no more words.
            if pieces.send_data(chunk(&json!({ "content": word }), None)).await.is_err() {
                return;
            }
            tokio::time::sleep(WORD_EVERY).await;
        }
        for last in [chunk(&json!({}), Some("stop")), Bytes::from_static(b"data: [DONE]\n\n")] {
            if pieces.send_data(last).await.is_err() {
                return;
            }
        }
    });
    with_type("text/event-stream", Response::new(body))
}

fn json_answer(status: StatusCode, answer: &Value) -> Response<Pieces> {
    let (mut pieces, body) = Pieces::new(1);
    // The one piece has a place.
    let _ = pieces.try_send(Frame::data(Bytes::from(format!("{answer}\n"))));
    let mut response = with_type("application/json", Response::new(body));
    *response.status_mut() = status;
    response
}

fn with_type(kind: &'static str, mut response: Response<Pieces>) -> Response<Pieces> {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static("vestibule-demo-stand-in"));
    response
}
