//! A session key that LiteLLM refused: replaced once, where the store agrees that it is gone.

use std::time::Duration;

use http::StatusCode;

use super::upstream_response::{self, UpstreamBody, UpstreamResponse};
use crate::litellm::credentials::is_refused_key;
use crate::refusal::{Code, Refusal};
use crate::request_info::RequestInfo;
use crate::session::Sessions;
use crate::session::credential::{Credential, UserCredential};

/// Most bytes of a 401 that is read to see whether LiteLLM refused the key. Its own are a few hundred.
const REFUSED_KEY_BYTES_MAX: u64 = 16 * 1024;

/// What follows an answer of LiteLLM's.
pub(super) enum Renewal {
    /// It is the answer.
    Keep(UpstreamResponse),
    /// It was about the key alone: the same request again, with this.
    SendAgain(Credential),
}

/// The user whose session's key LiteLLM's answer may be about.
pub(super) fn concerns<'c>(credential: &'c Credential, response: &UpstreamResponse) -> Option<&'c UserCredential> {
    credential.user().filter(|_| response.status() == StatusCode::UNAUTHORIZED)
}

/// Looks whether LiteLLM's 401 is about the session's key. A request with a body is not sent a second time: the client is
/// told to. The second answer is not looked at again.
pub(super) async fn after_answer(
    sessions: &Sessions,
    info: &RequestInfo<'_>,
    user: &UserCredential,
    response: UpstreamResponse,
) -> Result<Renewal, Refusal> {
    let read = upstream_response::read(response, REFUSED_KEY_BYTES_MAX).await?;
    let is_refused = matches!(read.body(), UpstreamBody::Buffered(body) if is_refused_key(body));
    if !is_refused {
        return Ok(Renewal::Keep(read));
    }
    let Some(session) = sessions.renew(user.session()).await? else { return Ok(Renewal::Keep(read)) };
    session.settled_for(info.route())?;
    if info.has_body() {
        return Err(Refusal::from(Code::SessionRenewed).retry_after(Duration::ZERO));
    }
    Ok(Renewal::SendAgain(user.renewed(session)))
}
