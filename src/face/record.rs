//! One line a request: made when it arrives, written when its answer has ended, whichever way.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, Uri};
use tokio::time::Instant;

use crate::gate::ledger::Ledger;
use crate::gate::passage::{Admitted, Passage};
use crate::gate::peer::Peer;
use crate::gate::refusal::{Code, Refusal};
use crate::http1::ResponseError;
use crate::telemetry::logs::chain;
use crate::telemetry::metrics::{Metrics, Outcome};

/// What callers are told to wait when all places are taken.
const OVERLOADED_RETRY: Duration = Duration::from_secs(1);

/// What every listener does with a request whatever becomes of it: counts it, writes its line, notes who was turned away.
#[derive(Clone)]
pub struct Desk {
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Requests in flight in all; 0 = no limit.
    pub in_flight: usize,
    /// People's ids in clear in the log.
    pub is_person_in_clear: bool,
    /// Writes down who was turned away.
    pub ledger: Ledger,
}

// === impl Desk ===

impl Desk {
    /// Begins a request's record.
    pub fn record(&self, peer: &Peer, method: &Method, uri: &Uri, request_id: HeaderValue) -> Record {
        Record::new(self.metrics.clone(), self.is_person_in_clear, peer, method, uri, request_id)
    }

    /// Refuses a request that is one too many, itself counted already.
    pub fn crowded(&self) -> Result<(), Refusal> {
        let running = usize::try_from(self.metrics.in_flight.get()).unwrap_or(0);
        if self.in_flight > 0 && running > self.in_flight {
            return Err(Refusal::from(Code::Overloaded).retry_after(OVERLOADED_RETRY));
        }
        Ok(())
    }
}

/// A request's line in the log and its place in the metrics; both are written when it is dropped.
pub struct Record {
    metrics: Arc<Metrics>,
    is_person_in_clear: bool,
    started: Instant,
    request_id: HeaderValue,
    method: Method,
    uri: Uri,
    peer: Peer,
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

// === impl Record ===

impl Record {
    fn new(
        metrics: Arc<Metrics>,
        is_person_in_clear: bool,
        peer: &Peer,
        method: &Method,
        uri: &Uri,
        request_id: HeaderValue,
    ) -> Self {
        metrics.in_flight.inc();
        Self {
            metrics,
            is_person_in_clear,
            started: Instant::now(),
            request_id,
            method: method.clone(),
            uri: uri.clone(),
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
        }
    }

    /// The request's id.
    pub fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// The gate let it in.
    pub fn admitted(&mut self, admitted: &Admitted) {
        self.passage = admitted.passage.as_str();
        self.rule = admitted.rule();
        if let Passage::As(session) = &admitted.passage {
            self.person =
                Some(if self.is_person_in_clear { session.user_id().into() } else { session.pseudonym().clone() });
        }
        // The line below is written when the answer has ended, which may be minutes from now.
        tracing::debug!(
            target: "vestibule::access",
            request_id = self.request_id.to_str().unwrap_or_default(),
            passage = self.passage,
            person = self.person.as_deref(),
            rule = self.rule,
            "admitted"
        );
    }

    /// vestibule said no.
    pub fn refused(&mut self, refusal: &Refusal) {
        self.metrics.refusal(refusal.code().as_str());
        self.refusal = Some((refusal.code().as_str(), chain(refusal)));
        self.outcome = Outcome::Refused;
    }

    /// vestibule answers by itself.
    pub fn answered(&mut self, status: StatusCode) {
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

    /// Bytes of the answer went by.
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

impl Drop for Record {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.request(self.outcome);
        let (refusal, cause) = self.refusal.as_ref().map(|(code, cause)| (*code, cause.as_str())).unzip();
        let cause = cause.or(self.broken.as_deref());
        tracing::info!(
            target: "vestibule::access",
            request_id = self.request_id.to_str().unwrap_or_default(),
            peer = %self.peer,
            method = self.method.as_str(),
            path = self.uri.path(),
            passage = self.passage,
            person = self.person.as_deref(),
            rule = self.rule,
            status = self.status.map(|status| status.as_u16()),
            refusal,
            cause,
            first_byte_ms = self.first_byte.map(millis),
            total_ms = millis(self.started.elapsed()),
            bytes = self.bytes,
            whole = self.is_whole,
            "request"
        );
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
