//! The forward-auth target: a gateway asks about each request, and forwards it itself with the headers of the answer.
//!
//! The same gate decides, over the request that the gateway says it has. A yes is 200 with the key in its headers, so only a
//! listener of its own gives it, which nobody but the gateway reaches. A no is 401 or 403, the two that every gateway
//! takes for one; what vestibule can't decide is 5xx, which no gateway takes for a yes.

mod question;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;

use super::begin::SignIn;
use super::outgoing::Rewriter;
use super::record::{Desk, Record};
use super::reply::{self, ReplyBody};
use crate::config::Gateway;
use crate::gate::Gate;
use crate::gate::peer::Peer;
use crate::gate::refusal::{Code, Refusal};
use crate::http::names::{Owned, Owner};
use crate::http::request_id;
use crate::http1::{Exchange, Incoming};
use crate::litellm::credentials::X_LITELLM_API_KEY;

/// Names that Envoy takes off the request (`ext_authz`, `HttpService`): else it passes the client's own.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// What is below the own prefix, and above the gateway's name.
const ENDPOINT: &str = "/auth/";

/// What answers on the listener for gateways.
pub struct Verify {
    /// Each kind of gateway with the gate that decides for it.
    pub gates: Vec<(Gateway, Arc<Gate>)>,
    /// Knows which header takes the key.
    pub rewriter: Arc<Rewriter>,
    /// Prefix of vestibule's own paths.
    pub own_prefix: String,
    /// Where a browser is sent that is not signed in.
    pub sign_in: Option<SignIn>,
    /// What Envoy is to take off every request.
    pub to_remove: HeaderValue,
    /// Counts, and writes down.
    pub desk: Desk,
}

/// What was asked: by which kind of gateway, with which method, about which request.
struct Question {
    gateway: Gateway,
    is_head: bool,
    original: Parts,
}

/// The names that Envoy is to take off every request: all that says who somebody is or carries a key, less what the answer
/// sets, since taking off wins over setting.
pub fn to_remove(owned: &Owned, key_header: Option<&HeaderName>) -> HeaderValue {
    let is_set =
        |name: &HeaderName| *name == header::AUTHORIZATION || *name == X_LITELLM_API_KEY || Some(name) == key_header;
    let mut names: Vec<&str> = owned
        .names()
        .filter(|(name, owner)| matches!(owner, Owner::Identity | Owner::Credential | Owner::Claim) && !is_set(name))
        .map(|(name, _)| name.as_str())
        .chain([header::COOKIE.as_str()])
        .collect();
    names.sort_unstable();
    // Names of headers are plain.
    HeaderValue::try_from(names.join(",")).unwrap_or(HeaderValue::from_static("cookie"))
}

// === impl Verify ===

impl Verify {
    /// Answers a gateway's question. Its body is not waited for: some announce the client's and never send it.
    pub async fn serve(&self, peer: &Peer, exchange: &Exchange, request: Request<Incoming>) -> Response<ReplyBody> {
        let has_body = !request.body().is_end_stream();
        let (head, _) = request.into_parts();
        let mut response = self.answer(peer, exchange.malformed().map(reply::refuse_bytes), head).await;
        if has_body {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn answer(&self, peer: &Peer, bad: Option<Refusal>, head: Parts) -> Response<ReplyBody> {
        let request_id = request_id::take_or_make(&head.headers);
        let record = |head: &Parts| self.desk.record(peer, &head.method, &head.uri, request_id.clone());
        // Who may not ask hears nothing else, not even which paths there are.
        let stranger = self.gates.first().and_then(|(_, gate)| gate.speaker(peer, &head.headers).err());
        if let Some(refusal) = bad.or(stranger) {
            return reply::refuse(&refusal, &head, record(&head));
        }
        let Some((gateway, gate, rest)) = self.gate_for(&head) else {
            return reply::refuse(&Code::UnknownPath.into(), &head, record(&head));
        };
        let is_head = head.method == Method::HEAD;
        match question::original(gateway, &head, rest) {
            Ok(original) => {
                let record = record(&original);
                self.decide(gate, peer, Question { gateway, is_head, original }, record).await
            }
            Err(refusal) => {
                let record = record(&head);
                self.deny(&refusal, &Question { gateway, is_head, original: head.clone() }, record)
            }
        }
    }

    async fn decide(&self, gate: &Gate, peer: &Peer, asked: Question, mut record: Record) -> Response<ReplyBody> {
        let head = &asked.original;
        if gate.preflight(head).is_some() {
            // The answer would be the gateway's to give: nothing else takes it from here.
            let refusal = Refusal::from(Code::CrossSite).about(header::ACCESS_CONTROL_REQUEST_METHOD);
            return self.deny(&refusal, &asked, record);
        }
        let admitted = match self.desk.crowded() {
            Ok(()) => gate.admit(peer, head).await,
            Err(refusal) => Err(refusal),
        };
        match admitted {
            Ok(admitted) => {
                record.admitted(&admitted);
                let mut response = Response::new(Bytes::new());
                let is_upgrade = head.headers.contains_key(header::SEC_WEBSOCKET_KEY);
                let headers = response.headers_mut();
                // Without a key it would be a yes with the client's own.
                if !self.rewriter.inject_key(head, &admitted.passage, is_upgrade, headers) {
                    return self.deny(&Code::NoIdentity.into(), &asked, record);
                }
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                if asked.gateway == Gateway::Envoy {
                    headers.insert(TO_REMOVE, self.to_remove.clone());
                }
                reply::own_page(response, asked.is_head, record)
            }
            Err(refusal) => {
                self.desk.ledger.note(&refusal);
                self.deny(&refusal, &asked, record)
            }
        }
    }

    /// The endpoint that a target names, and what follows it. Only the plain spelling is one.
    fn gate_for<'a>(&self, head: &'a Parts) -> Option<(Gateway, &Arc<Gate>, &'a str)> {
        let target = head.uri.path_and_query()?.as_str();
        let below = target.strip_prefix(self.own_prefix.as_str())?.strip_prefix(ENDPOINT)?;
        self.gates.iter().find_map(|(gateway, gate)| {
            let rest = below.strip_prefix(gateway.name())?;
            let is_whole = rest.is_empty() || rest.starts_with(['/', '?']);
            is_whole.then_some((*gateway, gate, rest))
        })
    }

    /// A no, in the two words that every gateway understands; a browser's page is sent to where signing in begins, where
    /// the gateway passes that on.
    fn deny(&self, refusal: &Refusal, asked: &Question, mut record: Record) -> Response<ReplyBody> {
        // nginx makes a redirect a failure of its own.
        let sign_in = self.sign_in.as_ref().filter(|_| asked.gateway != Gateway::Nginx);
        if let Some(way) = sign_in.and_then(|sign_in| sign_in.way(refusal, &asked.original)) {
            record.refused(refusal);
            return reply::own_page(way, asked.is_head, record);
        }
        let mut shaped = asked.original.clone();
        if shaped.method == Method::HEAD && !asked.is_head {
            // The body is the answer's to the question, whose method it is that counts for HTTP.
            shaped.method = Method::GET;
        }
        let mut response = reply::refuse(refusal, &shaped, record);
        if response.status().is_client_error() && response.status() != StatusCode::UNAUTHORIZED {
            *response.status_mut() = StatusCode::FORBIDDEN;
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::credentials;

    #[test]
    fn envoy_is_told_every_name_that_decides_and_none_that_is_set() {
        let mut owned = Owned::default();
        owned.add(HeaderName::from_static("x-forwarded-user"), Owner::Identity);
        credentials::own(&mut owned, [HeaderName::from_static("x-key")]);
        owned.add(HeaderName::from_static("x-forwarded-for"), Owner::Ours);
        let names = to_remove(&owned, Some(&HeaderName::from_static("x-key")));
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
