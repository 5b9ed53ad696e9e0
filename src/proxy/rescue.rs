//! The only place where a refusal becomes an answer, with its log line, its metric, and its audit entry where it is about a user.

use http::{Method, Response, StatusCode};

use super::answer_body::AnswerBody;
use super::record::{RequestObserver, RequestRecord};
use super::response;
use super::sign_in_redirect::SignInRedirect;
use crate::refusal::Refusal;
use crate::request_info::RequestInfo;

/// How a listener answers refusals.
#[derive(Clone, Default)]
pub struct Rescue {
    /// Where a browser is sent that is not signed in, where that is known here.
    pub sign_in: Option<SignInRedirect>,
    /// A gateway reads the answer, which knows two ways to say no: 401 and 403. What vestibule can't decide stays 5xx.
    pub for_gateway: bool,
    /// Whether the HTTP message is a HEAD, where `info` is not that message but what a gateway asks about; `None`: `info` says.
    pub is_head: Option<bool>,
}

/// Answers a refused request.
pub fn rescue(
    how: &Rescue,
    observer: &RequestObserver,
    refusal: &Refusal,
    info: &RequestInfo<'_>,
    mut record: Box<RequestRecord>,
) -> Response<AnswerBody> {
    record.refused(refusal);
    observer.audit.note(refusal);
    let redirect = how.sign_in.as_ref().and_then(|sign_in| sign_in.answer(refusal, info));
    let mut answer = redirect.unwrap_or_else(|| response::refused(refusal, info));
    let status = answer.status();
    if how.for_gateway && status.is_client_error() && status != StatusCode::UNAUTHORIZED {
        *answer.status_mut() = StatusCode::FORBIDDEN;
    }
    let is_head = how.is_head.unwrap_or(*info.method() == Method::HEAD);
    response::own(answer, is_head, record)
}
