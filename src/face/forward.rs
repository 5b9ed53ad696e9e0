//! The reverse proxy: admit, rewrite, send, hand the answer back as it comes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::BodyExt;
use tokio_util::task::TaskTracker;

use super::begin::SignIn;
use super::outgoing::{Outgoing, Rewriter};
use super::pages::{Pages, Step, Touch};
use super::record::{Desk, Record};
use super::reply::{self, ReplyBody};
use super::tunnel;
use crate::gate::Gate;
use crate::gate::passage::{Admitted, Passage};
use crate::gate::peer::Peer;
use crate::gate::refusal::{self, Code, Refusal};
use crate::gate::session::{InFlight, Session};
use crate::http::{hop, names, request_id};
use crate::http1::{self, Client, ClientError, Exchange, Incoming, RequestBody, ResponseBody, Upgrade};
use crate::litellm::credentials::is_refused_key;

/// Most bytes of a 401 that is read to see whether LiteLLM refused our key. Its own are a few hundred.
const REFUSED_KEY_BYTES_MAX: u64 = 16 * 1024;
/// Most bytes of an answer that is written anew. LiteLLM's own is below one.
const REWRITTEN_BYTES_MAX: u64 = 64 * 1024;

/// The proxy of one worker.
#[derive(Clone)]
pub struct Proxy {
    /// Decides.
    pub gate: Arc<Gate>,
    /// Writes what goes up.
    pub rewriter: Arc<Rewriter>,
    /// Answers for the admin UI, and what is added to LiteLLM's.
    pub pages: Arc<Pages>,
    /// Where a browser is sent that is not signed in, where that is known here.
    pub sign_in: Option<SignIn>,
    /// This worker's connections.
    pub upstream: Client,
    /// Holds the tunnels, for the drain.
    pub tunnels: TaskTracker,
    /// Bytes of a request's body; 0 = no limit.
    pub body_bytes: u64,
    /// Counts, and writes down.
    pub desk: Desk,
}

/// One request while it is on its way.
struct Errand<'a> {
    head: &'a Parts,
    peer: &'a Peer,
    admitted: &'a Admitted,
    request_id: &'a HeaderValue,
    upgrade: Option<&'a HeaderValue>,
    exchange: &'a Exchange,
}

enum Answer {
    Relay(Response<ResponseBody>),
    /// An answer whose body has been read already.
    Read(Response<Bytes>),
}

// === impl Proxy ===

impl Proxy {
    /// Answers a request. Dropping the future is how a client that went away is passed on to LiteLLM.
    pub async fn serve(&self, peer: &Peer, exchange: &Exchange, request: Request<Incoming>) -> Response<ReplyBody> {
        // A client that awaits our word before it sends its body learns that the word will not come (RFC 9110 10.1.1).
        let is_waiting = request.headers().contains_key(header::EXPECT) && !request.body().is_end_stream();
        let granted = self.gate.origins().granted(request.headers());
        let mut response = self.answer(peer, exchange, request).await;
        if is_waiting && response.headers().contains_key(refusal::HEADER) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(origin) = granted {
            allow_origin(response.headers_mut(), origin);
        }
        response
    }

    async fn answer(&self, peer: &Peer, exchange: &Exchange, mut request: Request<Incoming>) -> Response<ReplyBody> {
        let request_id = request_id::take_or_make(request.headers());
        let mut record = self.desk.record(peer, request.method(), request.uri(), request_id.clone());
        let upgrade = hop::websocket(request.method(), request.version(), request.headers());
        let downstream = upgrade.as_ref().map(|_| Upgrade::of_request(&mut request));
        let (head, body) = request.into_parts();

        if let Some(malformed) = exchange.malformed() {
            return reply::refuse(&reply::refuse_bytes(malformed), &head, record);
        }
        if let Some(preflight) = self.gate.preflight(&head) {
            return match preflight {
                Ok(_) => reply::preflight(&head.headers, record),
                Err(refusal) => reply::refuse(&refusal, &head, record),
            };
        }
        let mut admitted = match self.admit(peer, &head).await {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.desk.ledger.note(&refusal);
                if let Some(way) = self.sign_in.as_ref().and_then(|sign_in| sign_in.way(&refusal, &head)) {
                    record.refused(&refusal);
                    return reply::own_page(way, false, record);
                }
                return reply::refuse(&refusal, &head, record);
            }
        };
        record.admitted(&admitted);
        if hop::max_forwards(&head.method, &head.headers) == Some(0) {
            return reply::options(&request_id, record);
        }
        let touch = match self.pages.step(&head, &admitted, &self.gate).await {
            Ok(Step::Forward(touch)) => touch,
            Ok(Step::Answer(response)) => return reply::own_page(response, head.method == Method::HEAD, record),
            Err(refusal) => {
                self.desk.ledger.note(&refusal);
                return reply::refuse(&refusal, &head, record);
            }
        };
        let place = admitted.place.take();
        let upgrade = upgrade.as_ref();
        let errand = Errand { head: &head, peer, admitted: &admitted, request_id: &request_id, upgrade, exchange };
        let answer = match self.forward(&errand, body).await {
            Ok(Answer::Relay(response)) if touch.rewrites_body() => self.rewritten(&touch, response).await,
            other => other,
        };
        match answer {
            Err(refusal) => {
                self.desk.ledger.note(&refusal);
                reply::refuse(&refusal, &head, record)
            }
            Ok(Answer::Relay(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                self.switch(&errand, downstream, response, record, place)
            }
            Ok(Answer::Relay(response)) => {
                let mut response = self.clean(response, &request_id);
                touch.headers(&self.pages, response.headers_mut());
                reply::relay(response, place, record)
            }
            Ok(Answer::Read(response)) => reply::read(self.clean(response, &request_id), record),
        }
    }

    async fn admit(&self, peer: &Peer, head: &Parts) -> Result<Admitted, Refusal> {
        self.desk.crowded()?;
        self.gate.admit(peer, head).await
    }

    async fn forward(&self, errand: &Errand<'_>, body: Incoming) -> Result<Answer, Refusal> {
        if errand.upgrade.is_some() && !body.is_end_stream() {
            // A tunnel and a body would both claim the bytes that follow.
            return Err(Code::BadFraming.into());
        }
        if self.body_bytes > 0 && body.size_hint().lower() > self.body_bytes {
            return Err(Code::BodyTooLarge.into());
        }
        let is_bodiless = body.is_end_stream();
        let body = RequestBody::new(body, self.body_bytes);
        let response = self.send(errand, errand.admitted, body).await?;
        let Passage::As(session) = &errand.admitted.passage else { return Ok(Answer::Relay(response)) };
        if response.status() == StatusCode::UNAUTHORIZED {
            return self.renew(errand, session, is_bodiless, response).await;
        }
        Ok(Answer::Relay(response))
    }

    async fn send(
        &self,
        errand: &Errand<'_>,
        admitted: &Admitted,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let Errand { head, peer, request_id, upgrade, exchange, .. } = *errand;
        let request = |body: RequestBody| {
            // hyper would leave out the body of a GET whose length is not known.
            let is_chunked = body.size_hint().exact().is_none();
            let mut request = self.rewriter.rewrite(&Outgoing { head, admitted, peer, request_id, upgrade }, body);
            if is_chunked {
                request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            if head.version == Version::HTTP_11 {
                let (exchange, owned) = (exchange.clone(), self.rewriter.owned.clone());
                http1::on_interim(&mut request, move |status, headers| {
                    let mut headers = headers.clone();
                    names::strip_answer(&mut headers, &owned);
                    headers.remove(refusal::HEADER);
                    exchange.send_interim(status, &headers);
                });
            }
            request
        };
        let again = || request(RequestBody::empty());
        self.upstream.send(request(body), again).await.map_err(refuse)
    }

    /// An answer whose body is written anew, where it is small and what it was known as.
    async fn rewritten(&self, touch: &Touch, response: Response<ResponseBody>) -> Result<Answer, Refusal> {
        let is_small = response.body().size_hint().exact().is_some_and(|length| length <= REWRITTEN_BYTES_MAX);
        if response.status() != StatusCode::OK || !is_small || response.headers().contains_key(header::CONTENT_ENCODING)
        {
            return Ok(Answer::Relay(response));
        }
        let (mut head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| Refusal::from(Code::UpstreamFailed).because(error))?.to_bytes();
        let body = touch.body(&self.pages, &body).map_or(body, Bytes::from);
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        Ok(Answer::Read(Response::from_parts(head, body)))
    }

    /// LiteLLM said 401: was it our key, and do the books agree? Only then is there another.
    async fn renew(
        &self,
        errand: &Errand<'_>,
        session: &Session,
        is_bodiless: bool,
        response: Response<ResponseBody>,
    ) -> Result<Answer, Refusal> {
        if response.body().size_hint().exact().is_none_or(|length| length > REFUSED_KEY_BYTES_MAX) {
            return Ok(Answer::Relay(response));
        }
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| Refusal::from(Code::UpstreamFailed).because(error))?.to_bytes();
        let read = Answer::Read(Response::from_parts(head, body.clone()));
        if !is_refused_key(&body) {
            return Ok(read);
        }
        let Some(session) = self.gate.sessions().renew(session).await? else { return Ok(read) };
        session.settled_for(self.gate.origins().below_root(errand.head.uri.path()))?;
        if !is_bodiless {
            return Err(Refusal::from(Code::SessionRenewed).retry_after(Duration::ZERO));
        }
        let is_from_trusted = errand.admitted.is_from_trusted;
        let renewed = Admitted { passage: Passage::As(session), is_from_trusted, place: None, recognised: None };
        let body = RequestBody::empty();
        Ok(Answer::Relay(self.send(errand, &renewed, body).await?))
    }

    /// A 101: a tunnel where it was asked for and is the protocol asked for, else a broken answer.
    fn switch(
        &self,
        errand: &Errand<'_>,
        downstream: Option<Upgrade>,
        mut response: Response<ResponseBody>,
        record: Record,
        place: Option<InFlight>,
    ) -> Response<ReplyBody> {
        let is_asked = errand.upgrade.is_some_and(|asked| hop::is_switched_to(response.headers(), asked));
        let (Some(downstream), Some(asked), true) = (downstream, errand.upgrade, is_asked) else {
            let refusal = Refusal::from(Code::UpstreamFailed).because("LiteLLM changed the protocol unasked");
            return reply::refuse(&refusal, errand.head, record);
        };
        let upstream = Upgrade::of_response(&mut response);
        let mut answer = self.clean(response, errand.request_id).map(drop);
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        answer.headers_mut().insert(header::UPGRADE, asked.clone());
        let (body, line) = reply::opening(record, &answer);
        self.tunnels.spawn(tunnel::carry(downstream, upstream, line, (place, errand.exchange.clone())));
        answer.map(|()| body)
    }

    /// An answer as vestibule gives it: in its own version (RFC 9110 2.5), without what is the upstream's connection's.
    fn clean<B>(&self, mut response: Response<B>, request_id: &HeaderValue) -> Response<B> {
        *response.version_mut() = Version::HTTP_11;
        let headers = response.headers_mut();
        names::strip_answer(headers, &self.rewriter.owned);
        self.rewriter.keep_sign_in(headers);
        // LiteLLM allows every site to read every answer.
        if headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_some() {
            headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        }
        // A refusal is ours to say.
        headers.remove(refusal::HEADER);
        headers.insert(request_id::NAME, request_id.clone());
        response
    }
}

/// Lets the pages of a site that is allowed read the answer, in their visitor's name.
fn allow_origin(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

/// Whose fault it was, and what the caller hears of it.
fn refuse(error: ClientError) -> Refusal {
    let code = match &error {
        ClientError::Connect { .. } => Code::UpstreamUnreachable,
        ClientError::ConnectTimeout(_) | ClientError::FirstByteTimeout => Code::UpstreamTimeout,
        ClientError::Response(_) => Code::UpstreamFailed,
        ClientError::RequestBody => Code::BadFraming,
        ClientError::RequestBodyLate => Code::BodyTimeout,
        ClientError::RequestBodyTooLarge => Code::BodyTooLarge,
    };
    Refusal::from(code).because(error)
}
