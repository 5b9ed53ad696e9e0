//! The reverse proxy, and the whole decision over a request.
//!
//! `Proxy::handle` is the way of a request from its head to LiteLLM's answer, and [`Authorizer::authorize`] the part of it that
//! forward-auth shares. A later step's input can only be made by the step before it. A refusal, wherever it arises, becomes an
//! answer, a log line, a metric and an audit entry in [`rescue()`] alone.

pub mod access_log;
pub mod cors;
mod key_renewal;
pub mod limits;
mod rescue;
pub mod response;
pub mod sign_in_redirect;
mod tunnel;
pub mod upstream_request;
mod upstream_response;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use tokio_util::task::TaskTracker;

use crate::admin_ui::cross_site::CrossSitePolicy;
use crate::admin_ui::{AdminUi, ResponseEdits, UiAction};
use crate::http::hop;
use crate::http::names::HeaderTable;
use crate::http1::{self, Client, ClientError, Exchange, Incoming, RequestBody, Upgrade};
use crate::identity::Identification;
use crate::identity::peer::Peer;
use crate::identity::trust::PeerTrust;
use crate::refusal::{self, Code, Refusal};
use crate::request_info::{RequestInfo, Site};
use crate::session::Sessions;
use crate::session::credential::{Credential, SessionPolicy};
use access_log::{RequestObserver, RequestRecord};
use key_renewal::Renewal;
use limits::InFlightLimit;
pub use rescue::{Rescue, rescue};
use response::{AnswerBody, Permits};
use upstream_request::{Outgoing, RequestWriter};
use upstream_response::{UpstreamBody, UpstreamResponse};

/// The proxy of one worker.
#[derive(Clone)]
pub struct Proxy {
    /// Decides who may pass.
    pub authorizer: Arc<Authorizer>,
    /// Writes what LiteLLM gets.
    pub writer: Arc<RequestWriter>,
    /// Answers for the admin UI, and what is added to LiteLLM's answers.
    pub admin_ui: Arc<AdminUi>,
    /// This worker's connections.
    pub upstream: Client,
    /// Holds the tunnels, for the drain.
    pub tunnels: TaskTracker,
    /// Bytes of a request's body; 0 = no limit.
    pub body_bytes: u64,
    /// Counts, and writes down.
    pub observer: RequestObserver,
    /// How refusals are answered.
    pub rescue: Rescue,
}

/// What decides over the requests of one listener.
pub struct Authorizer {
    /// What is the same for all of them.
    pub site: Site,
    /// Which peers' word counts.
    pub trust: PeerTrust,
    /// Where requests may come from.
    pub cross_site: Arc<CrossSitePolicy>,
    /// Who sends them.
    pub identification: Identification,
    /// Accounts and keys.
    pub sessions: Sessions,
    /// What decides over sessions besides the store.
    pub policy: SessionPolicy,
    /// Requests in flight.
    pub in_flight: InFlightLimit,
}

/// What [`Authorizer::authorize`] allows.
pub struct Authorized {
    /// What the request goes on with.
    pub credential: Credential,
    /// Whether the peer's `X-Forwarded-*` are kept.
    pub is_trusted: bool,
    /// The request's places in flight.
    pub permits: Permits,
}

/// One request while it is under way.
struct Underway<'a> {
    info: &'a RequestInfo<'a>,
    peer: &'a Peer,
    exchange: &'a Exchange,
    is_trusted: bool,
}

/// The answer to a request that was not refused.
enum Answer {
    /// vestibule's own.
    Own(Response<Bytes>),
    /// LiteLLM's.
    Relayed(UpstreamResponse, Permits),
    /// LiteLLM has changed the protocol.
    Tunnel { response: Response<()>, downstream: Upgrade, upstream: Upgrade, permits: Permits },
}

// === impl Authorizer ===

impl Authorizer {
    /// Who may pass, and with what. Waits for the store, or the OAuth proxy, only where memory does not know.
    pub async fn authorize(&self, peer: &Peer, info: &RequestInfo<'_>) -> Result<Authorized, Refusal> {
        let all = self.in_flight.enter()?;
        let trusted = self.trust.check(peer, info);
        let is_trusted = trusted.is_ok();
        self.cross_site.check(info, is_trusted)?;
        let requester = self.identification.read(trusted, info).await?;
        let mut credential = self.sessions.credential(requester, info, self.policy).await?;
        let permits = Permits { user: credential.take_permit(), all };
        Ok(Authorized { credential, is_trusted, permits })
    }
}

// === impl Proxy ===

impl Proxy {
    /// Answers one request of a connection. Dropping the future is how a client that went away is passed on to LiteLLM.
    pub async fn serve(
        &self,
        peer: &Arc<Peer>,
        exchange: &Exchange,
        mut request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        let downstream = Upgrade::of_request(&mut request);
        let (parts, body) = request.into_parts();
        let info = RequestInfo::read(&parts, !body.is_end_stream(), &self.authorizer.site);
        let mut record = self.observer.begin(peer, &info);
        let mut response = match self.handle(peer, exchange, &info, body, downstream, &mut record).await {
            Ok(answer) => self.answer(answer, &info, exchange, record),
            Err(refusal) => rescue(&self.rescue, &self.observer, &refusal, &info, record),
        };
        if let Some(origin) = self.authorizer.cross_site.granted(&info) {
            cors::allow_origin(response.headers_mut(), origin);
        }
        response
    }

    /// The whole decision: from a request's head to the answer.
    async fn handle(
        &self,
        peer: &Peer,
        exchange: &Exchange,
        info: &RequestInfo<'_>,
        body: Incoming,
        downstream: Upgrade,
        record: &mut RequestRecord,
    ) -> Result<Answer, Refusal> {
        if let Some(malformed) = exchange.malformed() {
            return Err(malformed.into());
        }
        info.well_formed()?;
        if let Some(answer) = cors::preflight(&self.authorizer.cross_site, info)? {
            return Ok(Answer::Own(answer));
        }
        let Authorized { credential, is_trusted, permits } = self.authorizer.authorize(peer, info).await?;
        record.authorized(&credential);
        if info.max_forwards() == Some(0) {
            return Ok(Answer::Own(response::options()));
        }
        let edits = match self.admin_ui.answer(info, &credential, is_trusted).await? {
            UiAction::Answer(page) => return Ok(Answer::Own(page)),
            UiAction::Forward(edits) => edits,
        };
        let body = self.body(info, body)?;
        let underway = Underway { info, peer, exchange, is_trusted };
        let mut answer = self.send(&underway, &credential, body).await?;
        // What is rare is boxed: every request's future would have room for it.
        if let Some(user) = key_renewal::concerns(&credential, &answer) {
            answer = match Box::pin(key_renewal::once(&self.authorizer.sessions, info, user, answer)).await? {
                Renewal::Keep(answer) => answer,
                Renewal::SendAgain(renewed) => Box::pin(self.send(&underway, &renewed, RequestBody::empty())).await?,
            };
        }
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(info, answer, downstream, permits);
        }
        if edits.rewrites_body() {
            answer = Box::pin(upstream_response::rewritten(&edits, &self.admin_ui, answer)).await?;
        }
        upstream_response::write_head(info, &self.writer, &self.admin_ui, edits, &mut answer);
        Ok(Answer::Relayed(answer, permits))
    }

    /// The client's body, where it may have one of this length.
    fn body(&self, info: &RequestInfo<'_>, body: Incoming) -> Result<RequestBody, Refusal> {
        if info.websocket().is_some() && info.has_body() {
            // A tunnel and a body would both claim the bytes that follow.
            return Err(Code::BadFraming.into());
        }
        if self.body_bytes > 0 && body.size_hint().lower() > self.body_bytes {
            return Err(Code::BodyTooLarge.into());
        }
        Ok(RequestBody::new(body, self.body_bytes))
    }

    async fn send(
        &self,
        underway: &Underway<'_>,
        credential: &Credential,
        body: RequestBody,
    ) -> Result<UpstreamResponse, Refusal> {
        let Underway { info, peer, exchange, is_trusted } = *underway;
        let out = Outgoing { info, credential, is_trusted, peer };
        let request = self.request(out, exchange, body)?;
        // What was written once can be written again.
        let again = || self.request(out, exchange, RequestBody::empty()).ok();
        self.upstream.send(request, again).await.map(|answer| answer.map(UpstreamBody::Streamed)).map_err(Refusal::from)
    }

    fn request(
        &self,
        out: Outgoing<'_>,
        exchange: &Exchange,
        body: RequestBody,
    ) -> Result<Box<Request<RequestBody>>, Refusal> {
        // hyper would leave out the body of a GET whose length is not known.
        let is_chunked = body.size_hint().exact().is_none();
        let mut request = Box::new(self.writer.write(out, body)?);
        if is_chunked {
            request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if out.info.version() == Version::HTTP_11 {
            let (exchange, headers) = (exchange.clone(), self.headers());
            http1::on_interim(&mut request, move |status, fields| {
                let mut interim = fields.clone();
                headers.strip_answer(&mut interim);
                interim.remove(refusal::HEADER);
                exchange.send_interim(status, &interim);
            });
        }
        Ok(request)
    }

    /// A 101: a tunnel where it was asked for and is the protocol asked for, else a broken answer.
    fn switch(
        &self,
        info: &RequestInfo<'_>,
        mut answer: UpstreamResponse,
        downstream: Upgrade,
        permits: Permits,
    ) -> Result<Answer, Refusal> {
        let unasked = || Refusal::from(Code::UpstreamFailed).because("LiteLLM changed the protocol unasked");
        let Some(asked) = info.websocket() else { return Err(unasked()) };
        if !hop::is_switched_to(answer.headers(), asked) {
            return Err(unasked());
        }
        let upstream = Upgrade::of_response(&mut answer);
        let mut response = answer.map(drop);
        upstream_response::write_head(info, &self.writer, &self.admin_ui, ResponseEdits::default(), &mut response);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(header::UPGRADE, asked.clone());
        Ok(Answer::Tunnel { response, downstream, upstream, permits })
    }

    /// An answer with the request's record, which ends when its body does.
    fn answer(
        &self,
        answer: Answer,
        info: &RequestInfo<'_>,
        exchange: &Exchange,
        mut record: Box<RequestRecord>,
    ) -> Response<AnswerBody> {
        match answer {
            Answer::Own(response) => response::own(response, *info.method() == Method::HEAD, record),
            Answer::Relayed(response, permits) => response::relay(response, permits, record),
            Answer::Tunnel { response, downstream, upstream, permits } => {
                record.relayed(response.status());
                let held = (permits, exchange.clone());
                self.tunnels.spawn(tunnel::carry(downstream, upstream, record, held));
                response.map(|()| response::opening())
            }
        }
    }

    fn headers(&self) -> Arc<HeaderTable> {
        self.authorizer.site.headers().clone()
    }
}

impl From<ClientError> for Refusal {
    /// Whose fault it was, and what the client hears of it.
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Connect { .. } => Code::UpstreamUnreachable,
            ClientError::ConnectTimeout(_) | ClientError::FirstByteTimeout => Code::UpstreamTimeout,
            ClientError::Response(_) => Code::UpstreamFailed,
            ClientError::RequestBody => Code::BadFraming,
            ClientError::RequestBodyLate => Code::BodyTimeout,
            ClientError::RequestBodyTooLarge => Code::BodyTooLarge,
        };
        Self::from(code).because(error)
    }
}
