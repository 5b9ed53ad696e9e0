//! What a gateway forwards to LiteLLM by itself. vestibule strips nothing there: it says yes or no, and the gateway forwards
//! the request that it has. So what must not reach LiteLLM, and is not removed by the gateway, is refused.

use http::header::{self, HeaderName};

use crate::http::cookies;
use crate::http::names::{self, Owner};
use crate::litellm::credentials::{self, X_LITELLM_API_KEY};
use crate::refusal::{Code, Refusal};
use crate::request_info::{Known, RequestInfo, Route};

/// What the gateway of one endpoint does to a request.
#[derive(Debug, Clone)]
pub struct UnstrippedHeaders {
    /// Headers that it takes off or sets itself before LiteLLM; besides those of the answer, which it copies.
    pub handled: Vec<HeaderName>,
    /// The answer tells it which headers to take off, whichever came.
    pub removes_what_it_is_told: bool,
}

// === impl UnstrippedHeaders ===

impl UnstrippedHeaders {
    /// Refuses what would reach LiteLLM as it came.
    pub fn check(&self, info: &RequestInfo<'_>) -> Result<(), Refusal> {
        if !self.removes_what_it_is_told {
            info.owned().try_for_each(|(name, owner)| self.check_name(name, owner))?;
        }
        let path = info.rules().routes.below_root(info.path());
        if info.query().is_some_and(|query| credentials::query_without_keys(path, query).is_some()) {
            return Err(Code::CallerKey.into());
        }
        if !self.handles(&header::SEC_WEBSOCKET_PROTOCOL) {
            let has_key = |line| {
                // A line that is no list could be one to another server.
                names::list(line)
                    .is_none_or(|mut items| items.any(|item| credentials::key_of_subprotocol(item).is_some()))
            };
            if info.all(Known::SecWebsocketProtocol).any(has_key) {
                return Err(Refusal::from(Code::CallerKey).about(header::SEC_WEBSOCKET_PROTOCOL));
            }
        }
        let has_ui_cookie = || {
            info.all(Known::Cookie)
                .flat_map(|line| cookies::parts(line.as_bytes()))
                .any(|cookie| credentials::is_ui_cookie(cookies::name(cookie)))
        };
        let reads_cookie = matches!(info.route(), Route::CookiePage { .. });
        if !self.removes_what_it_is_told && !self.handles(&header::COOKIE) && reads_cookie && has_ui_cookie() {
            return Err(Refusal::from(Code::CallerKey).about(header::COOKIE));
        }
        Ok(())
    }

    fn check_name(&self, name: &HeaderName, owner: Owner) -> Result<(), Refusal> {
        let is_replaced = *name == header::AUTHORIZATION || *name == X_LITELLM_API_KEY;
        let code = match owner {
            Owner::Credential if is_replaced => return Ok(()),
            Owner::Credential | Owner::Proof => Code::CallerKey,
            Owner::Identity | Owner::Claim => Code::UnremovedHeader,
            Owner::Ours | Owner::Refusal | Owner::Hop => return Ok(()),
        };
        if self.handles(name) { Ok(()) } else { Err(Refusal::from(code).about(name.clone())) }
    }

    fn handles(&self, name: &HeaderName) -> bool {
        self.handled.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_info::testing;

    fn check(unstripped: &UnstrippedHeaders, target: &str, lines: &[(&'static str, &str)]) -> Option<Code> {
        let (rules, parts) = (testing::rules(None), testing::parts(target, lines));
        unstripped.check(&RequestInfo::read(&parts, false, &rules)).err().map(|refusal| refusal.code())
    }

    type Lines = &'static [(&'static str, &'static str)];

    #[test]
    fn what_would_go_on_as_it_came_is_refused() {
        let unstripped =
            UnstrippedHeaders { handled: vec![HeaderName::from_static("api-key")], removes_what_it_is_told: false };
        let table: &[(&str, Lines, Option<Code>)] = &[
            ("/v1/models", &[], None),
            ("/v1/models", &[("authorization", "Bearer sk-1"), ("x-litellm-api-key", "sk-1")], None),
            ("/v1/models", &[("api-key", "sk-1"), ("accept", "x")], None),
            ("/v1/models", &[("x-api-key", "sk-1")], Some(Code::CallerKey)),
            ("/v1/models", &[("x-forwarded-user", "a")], Some(Code::UnremovedHeader)),
            ("/v1/models", &[("x-litellm-end-user-id", "a")], Some(Code::UnremovedHeader)),
            ("/v1/models", &[("x-openwebui-user-id", "a")], Some(Code::UnremovedHeader)),
            ("/v1/models?key=sk-1", &[], Some(Code::CallerKey)),
            ("/v1beta/models/g:generateContent?key=AIza", &[], Some(Code::CallerKey)),
            ("/v1/models?key=a", &[], None),
            (
                "/v1/realtime",
                &[("sec-websocket-protocol", "realtime, OpenAI-insecure-api-key.sk-1")],
                Some(Code::CallerKey),
            ),
            ("/v1/realtime", &[("sec-websocket-protocol", "realtime")], None),
            ("/v1/models", &[("cookie", "token=x")], None),
            ("/v1/mcp/oauth/authorize", &[("cookie", "a=1; token=x")], Some(Code::CallerKey)),
        ];
        for (target, lines, wanted) in table {
            assert_eq!(check(&unstripped, target, lines), *wanted, "{target} {lines:?}");
        }
    }

    #[test]
    fn a_gateway_that_removes_what_it_is_told_what_to_take_off_is_refused_what_it_can_not() {
        let unstripped = UnstrippedHeaders { handled: vec![], removes_what_it_is_told: true };
        assert_eq!(check(&unstripped, "/v1/models", &[("x-api-key", "sk-1"), ("x-forwarded-user", "a")]), None);
        assert_eq!(check(&unstripped, "/v1/models?key=sk-1", &[]), Some(Code::CallerKey));
        let line = ("sec-websocket-protocol", "openai-insecure-api-key.sk-1");
        assert_eq!(check(&unstripped, "/v1/realtime", &[line]), Some(Code::CallerKey));
    }
}
