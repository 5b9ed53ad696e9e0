//! The only place where a refusal becomes an answer, with its log line, its metric and its audit entry.

use http::{Method, Response, StatusCode};

use super::access_log::{RequestObserver, RequestRecord};
use super::response::{self, AnswerBody};
use super::sign_in_redirect::SignInRedirect;
use crate::http1::Malformed;
use crate::refusal::{Code, Refusal};
use crate::request_info::RequestInfo;

/// How a listener answers refusals.
#[derive(Clone, Default)]
pub struct Rescue {
    /// Where a browser is sent that is not signed in, where that is known here.
    pub sign_in: Option<SignInRedirect>,
    /// A gateway reads the answer, which knows two ways to say no: 401 and 403. What vestibule can't decide stays 5xx.
    pub for_gateway: bool,
    /// The answer has no body: the method of the message is HEAD, where that is not the method of the request.
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
    let mut answer = redirect.unwrap_or_else(|| response::refused(refusal, info, record.request_id()));
    let status = answer.status();
    if how.for_gateway && status.is_client_error() && status != StatusCode::UNAUTHORIZED {
        *answer.status_mut() = StatusCode::FORBIDDEN;
    }
    let is_head = how.is_head.unwrap_or(*info.method() == Method::HEAD);
    response::own(answer, is_head, record)
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
