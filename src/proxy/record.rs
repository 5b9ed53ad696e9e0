//! One line per request: begun when the request arrives, written when its answer has ended, in whichever way.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use crate::http1::ResponseError;
use crate::identity::peer::Peer;
use crate::refusal::Refusal;
use crate::refusal::audit::DenialAudit;
use crate::request_info::RequestInfo;
use crate::session::credential::Credential;
use crate::telemetry::access_log::{self, AccessLogEntry};
use crate::telemetry::logs::chain;
use crate::telemetry::metrics::{Metrics, Outcome};

/// What a listener does with every request, whatever becomes of it: counts it, writes its line, notes whom it refused.
#[derive(Clone)]
pub struct RequestObserver {
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Users' ids in plain text in the log.
    pub logs_user_id: bool,
    /// Writes down which users were refused.
    pub audit: DenialAudit,
}

// === impl RequestObserver ===

impl RequestObserver {
    /// Begins a request's record: boxed, since it is handed on from step to step.
    pub fn begin(&self, peer: &Arc<Peer>, info: &RequestInfo<'_>) -> Box<RequestRecord> {
        self.metrics.in_flight.inc();
        Box::new(RequestRecord {
            metrics: self.metrics.clone(),
            logs_user_id: self.logs_user_id,
            started: Instant::now(),
            request_id: info.request_id().clone(),
            method: info.method().clone(),
            target: info.uri().path_and_query().cloned(),
            peer: peer.clone(),
            passage: "none",
            person: None,
            rule: None,
            status: None,
            refusal: None,
            first_byte: None,
            bytes: 0,
            is_whole: false,
            broken: None,
            outcome: Outcome::Abandoned,
        })
    }
}

/// A request's line in the log and its place in the metrics. Both are written when it is dropped: the answer's body holds it, so
/// that is when hyper has taken the last byte, or the client has gone.
pub struct RequestRecord {
    metrics: Arc<Metrics>,
    logs_user_id: bool,
    started: Instant,
    request_id: HeaderValue,
    method: Method,
    target: Option<PathAndQuery>,
    peer: Arc<Peer>,
    passage: &'static str,
    person: Option<Arc<str>>,
    rule: Option<usize>,
    status: Option<StatusCode>,
    refusal: Option<(&'static str, String)>,
    first_byte: Option<Duration>,
    bytes: u64,
    is_whole: bool,
    /// Why the answer broke off.
    broken: Option<String>,
    outcome: Outcome,
}

// === impl RequestRecord ===

impl RequestRecord {
    /// The request's id.
    pub fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// The request may pass.
    pub fn authorized(&mut self, credential: &Credential) {
        self.passage = credential.passage();
        if let Some(user) = credential.user() {
            let session = user.session();
            self.rule = user.principal().mapping.rule();
            self.person = Some(if self.logs_user_id { session.user_id().into() } else { session.pseudonym().clone() });
        }
        // The access line comes when the answer has ended, which may be minutes from now; this one at once.
        tracing::debug!(
            target: "vestibule::access",
            request_id = self.request_id.to_str().unwrap_or_default(),
            passage = self.passage,
            person = self.person.as_deref(),
            rule = self.rule,
            "admitted"
        );
    }

    /// vestibule refuses it.
    pub fn refused(&mut self, refusal: &Refusal) {
        self.metrics.refusal(refusal.code().as_str());
        self.refusal = Some((refusal.code().as_str(), chain(refusal)));
        self.outcome = Outcome::Refused;
    }

    /// vestibule answers by itself.
    pub fn answered_here(&mut self, status: StatusCode) {
        self.status = Some(status);
        if self.refusal.is_none() {
            self.outcome = Outcome::Answered;
        }
    }

    /// LiteLLM's answer begins.
    pub fn relayed(&mut self, status: StatusCode) {
        let first_byte = self.started.elapsed();
        self.metrics.upstream_first_byte.observe(first_byte.as_secs_f64());
        (self.status, self.first_byte, self.outcome) = (Some(status), Some(first_byte), Outcome::Forwarded);
    }

    /// A websocket was opened.
    pub fn tunnelled(&mut self) {
        self.outcome = Outcome::Tunnelled;
    }

    /// Bytes of the answer were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The answer broke off.
    pub fn broke(&mut self, error: &ResponseError) {
        match error {
            ResponseError::Broken(_) | ResponseError::Silent => _ = self.metrics.upstream_cuts.inc(),
            ResponseError::Upload => {}
        }
        self.broken = Some(chain(error));
    }

    /// The answer's end was reached.
    pub fn finished(&mut self) {
        self.is_whole = true;
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.request(self.outcome);
        let (refusal, cause) = self.refusal.as_ref().map(|(code, cause)| (*code, cause.as_str())).unzip();
        let cause = cause.or(self.broken.as_deref());
        let peer = match self.peer.address() {
            Some(shown) => Cow::Borrowed(shown.to_str().unwrap_or_default()),
            None => Cow::Owned(self.peer.to_string()),
        };
        access_log::write(&AccessLogEntry {
            request_id: self.request_id.to_str().unwrap_or_default(),
            peer: &peer,
            method: &self.method,
            path: self.target.as_ref().map_or("", PathAndQuery::path),
            passage: self.passage,
            person: self.person.as_deref(),
            rule: self.rule,
            status: self.status.map(|status| status.as_u16()),
            refusal,
            cause,
            first_byte_ms: self.first_byte.map(millis),
            total_ms: millis(self.started.elapsed()),
            bytes: self.bytes,
            whole: self.is_whole,
        });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
