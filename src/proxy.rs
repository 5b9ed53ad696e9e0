//! The reverse proxy, from a request's head to LiteLLM's answer.
//!
//! `Proxy::serve` is the frame: the head is read, the record begun, a refusal answered. `Proxy::handle` has the steps in their
//! order, and [`Authorizer::authorize`] those that forward-auth shares. From the peer to the credential, a step's input can only
//! be made by the step before it. A refusal, wherever it arises, becomes an answer, a log line and a metric, and where it is about
//! a user an audit entry, in [`rescue()`] alone.

pub mod answer_body;
pub mod cors;
mod key_renewal;
pub mod record;
mod rescue;
pub mod response;
pub mod sign_in_cookies;
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

use crate::admin_ui::{AdminUi, ResponseEdits, UiAction};
use crate::authorizer::{Authorized, Authorizer, Permits};
use crate::http::hop;
use crate::http1::{self, Client, ClientError, Exchange, Incoming, Malformed, RequestBody, Upgrade};
use crate::identity::peer::Peer;
use crate::refusal::{Code, Refusal};
use crate::request_info::RequestInfo;
use answer_body::AnswerBody;
use key_renewal::Renewal;
use record::{RequestObserver, RequestRecord};
pub use rescue::{Rescue, rescue};
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

/// The answer to a request that was not refused.
enum Answer {
    /// vestibule's own.
    Own(Response<Bytes>),
    /// LiteLLM's.
    Relayed(UpstreamResponse, Permits),
    /// LiteLLM has changed the protocol.
    Tunnel { response: Response<()>, client: Upgrade, upstream: Upgrade, permits: Permits },
}

// === impl Proxy ===

impl Proxy {
    /// Answers one request of a connection. When the client goes away, hyper drops the future, and with it the connection to
    /// LiteLLM.
    pub async fn serve(
        &self,
        peer: &Arc<Peer>,
        exchange: &Exchange,
        mut request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        let upgrade = Upgrade::of_request(&mut request);
        let (parts, body) = request.into_parts();
        let info = RequestInfo::read(&parts, !body.is_end_stream(), &self.authorizer.rules);
        let mut record = self.observer.begin(peer, &info);
        let mut response = match self.handle(peer, exchange, &info, body, upgrade, &mut record).await {
            Ok(answer) => self.finish(answer, &info, exchange, record),
            Err(refusal) => rescue(&self.rescue, &self.observer, &refusal, &info, record),
        };
        if let Some(origin) = self.authorizer.cross_site.granted(&info) {
            cors::allow_origin(response.headers_mut(), origin);
        }
        response
    }

    /// The steps, from a request's head to the answer.
    async fn handle(
        &self,
        peer: &Peer,
        exchange: &Exchange,
        info: &RequestInfo<'_>,
        body: Incoming,
        upgrade: Upgrade,
        record: &mut RequestRecord,
    ) -> Result<Answer, Refusal> {
        // In place of bytes that were refused hyper has a stand-in (`GET /`), which the log line shows. Nothing is decided by it.
        if let Some(malformed) = exchange.malformed() {
            return Err(malformed.into());
        }
        info.check()?;
        if let Some(answer) = cors::preflight(&self.authorizer.cross_site, info)? {
            return Ok(Answer::Own(answer));
        }
        let Authorized { credential, is_trusted, permits } = self.authorizer.authorize(peer, info).await?;
        record.authorized(&credential);
        if info.max_forwards() == Some(0) {
            return Ok(Answer::Own(response::options()));
        }
        let edits = match self.admin_ui.decide(info, &credential, is_trusted).await? {
            UiAction::Answer(page) => return Ok(Answer::Own(page)),
            UiAction::Forward(edits) => edits,
        };
        let body = self.checked_body(info, body)?;
        let out = Outgoing { info, credential: &credential, is_trusted, peer };
        let mut answer = self.send(out, exchange, body).await?;
        // What is rare is boxed: every request's future would have room for it.
        if let Some(user) = key_renewal::concerns(&credential, &answer) {
            let sessions = &self.authorizer.sessions;
            answer = match Box::pin(key_renewal::after_answer(sessions, info, user, answer)).await? {
                Renewal::Keep(answer) => answer,
                Renewal::SendAgain(renewed) => {
                    let again = Outgoing { credential: &renewed, ..out };
                    Box::pin(self.send(again, exchange, RequestBody::empty())).await?
                }
            };
        }
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.open_tunnel(info, answer, upgrade, permits);
        }
        if edits.rewrites_body() {
            answer = Box::pin(upstream_response::rewritten(&edits, &self.admin_ui, answer)).await?;
        }
        upstream_response::write_head(info, &self.writer.sign_in_cookies, &self.admin_ui, edits, &mut answer);
        Ok(Answer::Relayed(answer, permits))
    }

    /// The client's body, where it may have one of this length.
    fn checked_body(&self, info: &RequestInfo<'_>, body: Incoming) -> Result<RequestBody, Refusal> {
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
        out: Outgoing<'_>,
        exchange: &Exchange,
        body: RequestBody,
    ) -> Result<UpstreamResponse, Refusal> {
        let request = self.upstream_request(out, exchange, body)?;
        // What was written once can be written again.
        let again = || self.upstream_request(out, exchange, RequestBody::empty()).ok();
        let answer = self.upstream.send(request, again).await;
        answer.map(|answer| answer.map(UpstreamBody::Streamed)).map_err(Refusal::from)
    }

    /// What LiteLLM gets, with what becomes of the interim responses to it.
    fn upstream_request(
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
            let (exchange, writer) = (exchange.clone(), self.writer.clone());
            let table = self.authorizer.rules.headers().clone();
            http1::on_interim(&mut request, move |status, fields| {
                let mut interim = fields.clone();
                upstream_response::strip(&mut interim, &table, &writer.sign_in_cookies);
                exchange.send_interim(status, &interim);
            });
        }
        Ok(request)
    }

    /// A 101: a tunnel where it was asked for and is the protocol asked for, else a broken answer.
    fn open_tunnel(
        &self,
        info: &RequestInfo<'_>,
        mut answer: UpstreamResponse,
        client: Upgrade,
        permits: Permits,
    ) -> Result<Answer, Refusal> {
        let unasked = || Refusal::from(Code::UpstreamFailed).because("LiteLLM changed the protocol unasked");
        let Some(asked) = info.websocket() else { return Err(unasked()) };
        if !hop::is_switched_to(answer.headers(), asked) {
            return Err(unasked());
        }
        let upstream = Upgrade::of_response(&mut answer);
        let mut response = answer.map(drop);
        let edits = ResponseEdits::default();
        upstream_response::write_head(info, &self.writer.sign_in_cookies, &self.admin_ui, edits, &mut response);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(header::UPGRADE, asked.clone());
        Ok(Answer::Tunnel { response, client, upstream, permits })
    }

    /// An answer with the request's record, which ends when its body does.
    fn finish(
        &self,
        answer: Answer,
        info: &RequestInfo<'_>,
        exchange: &Exchange,
        mut record: Box<RequestRecord>,
    ) -> Response<AnswerBody> {
        match answer {
            Answer::Own(response) => response::own(response, *info.method() == Method::HEAD, record),
            Answer::Relayed(response, permits) => AnswerBody::relay(response, permits, record),
            Answer::Tunnel { response, client, upstream, permits } => {
                record.relayed(response.status());
                let held = (permits, exchange.clone());
                self.tunnels.spawn(tunnel::carry(client, upstream, record, held));
                response.map(|()| AnswerBody::of_tunnel())
            }
        }
    }
}

impl From<Malformed> for Refusal {
    /// What the client hears of bytes that never became a request.
    fn from(malformed: Malformed) -> Self {
        Self::from(match malformed {
            Malformed::Head => Code::BadHead,
            Malformed::Target => Code::BadTarget,
            Malformed::TargetTooLong => Code::TargetTooLong,
            Malformed::Upgrade => Code::BadUpgrade,
            Malformed::Framing => Code::BadFraming,
            Malformed::TooLarge => Code::HeaderTooLarge,
            Malformed::Late => Code::HeaderTimeout,
        })
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
