//! The forward-auth target: a gateway asks about each request, and forwards it itself with the headers of the answer.
//!
//! The decision is the proxy's own ([`Authorizer::authorize`]), over the request that the gateway describes. A yes is 200 with
//! the key in its headers, so only a listener of its own gives it, which nobody but the gateway reaches. A no is 401 or 403, the
//! two that every gateway takes for one; what vestibule can't decide is 5xx, which no gateway takes for a yes.

mod original_request;
pub mod unstripped;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body as _;

use crate::authorizer::Authorizer;
use crate::config::Gateway;
use crate::http::names::{HeaderTable, Owner};
use crate::http1::{Exchange, Incoming};
use crate::identity::peer::Peer;
use crate::litellm::credentials::X_LITELLM_API_KEY;
use crate::proxy::answer_body::AnswerBody;
use crate::proxy::record::{RequestObserver, RequestRecord};
use crate::proxy::response;
use crate::proxy::sign_in_redirect::SignInRedirect;
use crate::proxy::upstream_request::RequestWriter;
use crate::proxy::{Rescue, cors, rescue};
use crate::refusal::{Code, Refusal};
use crate::request_info::{Known, RequestInfo};
use original_request::OriginalRequest;
use unstripped::UnstrippedHeaders;

/// Names that Envoy removes from the request (`ext_authz`, `HttpService`): else it forwards the client's own.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// What is below vestibule's own prefix, and above the gateway's name.
const ENDPOINT: &str = "/auth/";

/// What answers on the listener for gateways.
#[derive(Clone)]
pub struct ForwardAuthTarget {
    /// Decides who may pass.
    pub authorizer: Arc<Authorizer>,
    /// Each kind of gateway that may ask, with what it forwards by itself.
    pub gateways: Vec<(Gateway, UnstrippedHeaders)>,
    /// Knows which header takes the key.
    pub writer: Arc<RequestWriter>,
    /// Prefix of vestibule's own paths.
    pub own_prefix: String,
    /// Where a browser is sent that is not signed in.
    pub sign_in: Option<SignInRedirect>,
    /// What Envoy has to remove from every request.
    pub to_remove: Option<HeaderValue>,
    /// Counts, and writes down.
    pub observer: RequestObserver,
}

/// The names that Envoy has to remove from every request: all that says who the user is or carries a key, less what the answer
/// sets, since removing wins over setting. `None` where they can't stand in a header, which names of headers always can.
pub fn to_remove(table: &HeaderTable, key_header: Option<&HeaderName>) -> Option<HeaderValue> {
    let is_set =
        |name: &HeaderName| *name == header::AUTHORIZATION || *name == X_LITELLM_API_KEY || Some(name) == key_header;
    let decides = |owner| matches!(owner, Owner::Identity | Owner::Credential | Owner::Proof | Owner::Claim);
    let owned = table.owned().filter(|(name, owner)| decides(*owner) && !is_set(name)).map(|(name, _)| name.as_str());
    let mut names: Vec<&str> = owned.chain([header::COOKIE.as_str()]).collect();
    names.sort_unstable();
    HeaderValue::try_from(names.join(",")).ok()
}

// === impl ForwardAuthTarget ===

impl ForwardAuthTarget {
    /// Answers a gateway's question. Its body is not waited for: some announce the client's and never send it.
    pub async fn serve(
        &self,
        peer: &Arc<Peer>,
        exchange: &Exchange,
        request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        let (parts, body) = request.into_parts();
        // `false`: the question's body is never read.
        let asked = RequestInfo::read(&parts, false, &self.authorizer.rules);
        let is_head = *asked.method() == Method::HEAD;
        let mut response = match self.question(peer, exchange, &asked) {
            Ok((gateway, unstripped, rest)) => match OriginalRequest::read(gateway, &asked, rest) {
                Ok(original) => {
                    let info = original.info(asked);
                    self.answer(peer, &info, Question { gateway, unstripped, is_head }).await
                }
                Err(refusal) => {
                    self.refuse(&refusal, &asked, Some(gateway), is_head, self.observer.begin(peer, &asked))
                }
            },
            Err(refusal) => {
                rescue(&Rescue::default(), &self.observer, &refusal, &asked, self.observer.begin(peer, &asked))
            }
        };
        if !body.is_end_stream() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The endpoint that was asked, and what follows it in the target. A peer that may not ask learns nothing else, not even
    /// which paths there are.
    fn question<'a>(
        &self,
        peer: &Peer,
        exchange: &Exchange,
        asked: &RequestInfo<'a>,
    ) -> Result<(Gateway, &UnstrippedHeaders, &'a str), Refusal> {
        if let Some(malformed) = exchange.malformed() {
            return Err(malformed.into());
        }
        // Here already, so that a stranger learns nothing; `authorize` checks again, for a `TrustedPeer` of its own.
        self.authorizer.trust.check(peer, asked)?;
        // Only the plain spelling is an endpoint.
        let below = asked.target().strip_prefix(self.own_prefix.as_str()).and_then(|rest| rest.strip_prefix(ENDPOINT));
        let found = below.and_then(|below| {
            self.gateways.iter().find_map(|(gateway, unstripped)| {
                let rest = below.strip_prefix(gateway.name())?;
                let is_whole = rest.is_empty() || rest.starts_with(['/', '?']);
                is_whole.then_some((*gateway, unstripped, rest))
            })
        });
        found.ok_or_else(|| Code::UnknownPath.into())
    }

    async fn answer(&self, peer: &Arc<Peer>, info: &RequestInfo<'_>, question: Question<'_>) -> Response<AnswerBody> {
        let mut record = self.observer.begin(peer, info);
        match self.handle(peer, info, &question, &mut record).await {
            Ok(yes) => response::own(yes, question.is_head, record),
            Err(refusal) => self.refuse(&refusal, info, Some(question.gateway), question.is_head, record),
        }
    }

    /// The proxy's decision, up to where the proxy would forward.
    async fn handle(
        &self,
        peer: &Peer,
        info: &RequestInfo<'_>,
        question: &Question<'_>,
        record: &mut RequestRecord,
    ) -> Result<Response<Bytes>, Refusal> {
        // A path of vestibule's own is an unknown one here: the listener for gateways has no pages (`App::new`).
        info.check()?;
        if cors::is_preflight(info) {
            // The answer would be the gateway's to give: nothing else takes it from here.
            return Err(Refusal::from(Code::CrossSite).about(header::ACCESS_CONTROL_REQUEST_METHOD));
        }
        question.unstripped.check(info)?;
        let authorized = self.authorizer.authorize(peer, info).await?;
        record.authorized(&authorized.credential);
        let mut response = Response::new(Bytes::new());
        let headers: &mut HeaderMap = response.headers_mut();
        // Gateways drop `Upgrade` from a question, so a websocket is known by its key. Without a key of vestibule's it would be a
        // yes with the client's own.
        if !self.writer.inject_key(info, &authorized.credential, info.has(Known::SecWebsocketKey), headers) {
            return Err(Code::NoIdentity.into());
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if question.gateway == Gateway::Envoy {
            headers.insert(
                TO_REMOVE,
                self.to_remove.clone().ok_or_else(|| Refusal::impossible("header names are no list"))?,
            );
        }
        Ok(response)
    }

    /// A no, in the two words that every gateway understands; a browser's page is sent to where signing in begins, where the
    /// gateway passes that on: nginx makes a redirect a failure of its own.
    fn refuse(
        &self,
        refusal: &Refusal,
        info: &RequestInfo<'_>,
        gateway: Option<Gateway>,
        is_head: bool,
        record: Box<RequestRecord>,
    ) -> Response<AnswerBody> {
        let sign_in = self.sign_in.clone().filter(|_| gateway != Some(Gateway::Nginx));
        let how = Rescue { sign_in, for_gateway: true, is_head: Some(is_head) };
        rescue(&how, &self.observer, refusal, info, record)
    }
}

/// What was asked by which gateway.
struct Question<'a> {
    gateway: Gateway,
    unstripped: &'a UnstrippedHeaders,
    /// The question's own method is HEAD: it is what counts for HTTP.
    is_head: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::credentials;

    #[test]
    fn envoy_is_told_every_name_that_decides_and_none_that_is_set() {
        let mut owned = HeaderTable::default();
        owned.own(HeaderName::from_static("x-forwarded-user"), Owner::Identity);
        credentials::own(&mut owned, [HeaderName::from_static("x-key")]);
        owned.own(HeaderName::from_static("x-forwarded-for"), Owner::Ours);
        let names = to_remove(&owned, Some(&HeaderName::from_static("x-key"))).unwrap();
        let names: Vec<_> = names.to_str().unwrap().split(',').collect();
        for name in
            ["cookie", "x-api-key", "api-key", "x-forwarded-user", "x-litellm-end-user-id", "litellm_user_api_key"]
        {
            assert!(names.contains(&name), "{name}");
        }
        for name in ["authorization", "x-litellm-api-key", "x-key", "x-forwarded-for"] {
            assert!(!names.contains(&name), "{name}");
        }
    }
}
