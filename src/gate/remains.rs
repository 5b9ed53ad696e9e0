//! What a gateway hands on to LiteLLM by itself. Behind one vestibule strips nothing: it says yes or no, and the gateway
//! forwards the request that it has. So what must not go on, and is not taken off by the gateway, is refused.

use http::header::{self, HeaderName};
use http::request::Parts;

use super::refusal::{Code, Refusal};
use crate::http::cookies;
use crate::http::names::{self, Owned, Owner};
use crate::http::query;
use crate::litellm::credentials::{self, KEY_SUBPROTOCOL, X_LITELLM_API_KEY};
use crate::litellm::ui;

/// What the gateway of one endpoint does to a request.
#[derive(Debug, Clone)]
pub struct Remains {
    /// Headers that it takes off or sets itself before LiteLLM; besides those of the answer, which it copies.
    pub handled: Vec<HeaderName>,
    /// The answer tells it which headers to take off, whichever came.
    pub is_told: bool,
}

// === impl Remains ===

impl Remains {
    /// Refuses what would go on to LiteLLM as it came. `path` is without LiteLLM's root.
    pub fn check(&self, head: &Parts, path: &str, owned: &Owned) -> Result<(), Refusal> {
        if !self.is_told {
            head.headers.keys().try_for_each(|name| self.check_name(name, owned))?;
        }
        let is_key = |name: &str, value: &str| credentials::is_key_parameter(path, name, value);
        if head.uri.query().is_some_and(|query| query::without(query, is_key).is_some()) {
            return Err(Code::CallerKey.into());
        }
        if !self.handles(&header::SEC_WEBSOCKET_PROTOCOL) {
            let has_key = |line| {
                // A line that is no list could be one to somebody else.
                names::list(line).is_none_or(|mut items| {
                    items.any(|item: &str| item.to_ascii_lowercase().starts_with(KEY_SUBPROTOCOL))
                })
            };
            if head.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().any(has_key) {
                return Err(Refusal::from(Code::CallerKey).about(header::SEC_WEBSOCKET_PROTOCOL));
            }
        }
        let has_ui_cookie = || {
            let lines = head.headers.get_all(header::COOKIE).iter();
            lines
                .flat_map(|line| cookies::parts(line.as_bytes()))
                .any(|cookie| credentials::is_ui_cookie(cookies::name(cookie)))
        };
        if !self.is_told && !self.handles(&header::COOKIE) && ui::reads_cookie(path) && has_ui_cookie() {
            return Err(Refusal::from(Code::CallerKey).about(header::COOKIE));
        }
        Ok(())
    }

    fn check_name(&self, name: &HeaderName, owned: &Owned) -> Result<(), Refusal> {
        let is_replaced = *name == header::AUTHORIZATION || *name == X_LITELLM_API_KEY;
        let code = match owned.owner(name.as_str()) {
            Some(Owner::Credential) if !is_replaced => Code::CallerKey,
            Some(Owner::Identity | Owner::Claim) => Code::UnremovedHeader,
            Some(Owner::Credential | Owner::Ours | Owner::Hop) | None => return Ok(()),
        };
        if self.handles(name) { Ok(()) } else { Err(Refusal::from(code).about(name.clone())) }
    }

    fn handles(&self, name: &HeaderName) -> bool {
        self.handled.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn owned() -> Owned {
        let mut owned = Owned::default();
        credentials::own(&mut owned, []);
        owned.add(HeaderName::from_static("x-forwarded-user"), Owner::Identity);
        owned
    }

    fn check(remains: &Remains, target: &str, lines: &[(&'static str, &'static str)]) -> Option<Code> {
        let mut request = http::Request::builder().uri(target);
        for (name, value) in lines {
            request = request.header(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        remains.check(&head, head.uri.path(), &owned()).err().map(|refusal| refusal.code())
    }

    type Lines = &'static [(&'static str, &'static str)];

    #[test]
    fn what_would_go_on_as_it_came_is_refused() {
        let remains = Remains { handled: vec![HeaderName::from_static("api-key")], is_told: false };
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
            assert_eq!(check(&remains, target, lines), *wanted, "{target} {lines:?}");
        }
    }

    #[test]
    fn a_gateway_that_is_told_what_to_take_off_is_refused_what_it_can_not() {
        let remains = Remains { handled: vec![], is_told: true };
        assert_eq!(check(&remains, "/v1/models", &[("x-api-key", "sk-1"), ("x-forwarded-user", "a")]), None);
        assert_eq!(check(&remains, "/v1/models?key=sk-1", &[]), Some(Code::CallerKey));
        let line = ("sec-websocket-protocol", "openai-insecure-api-key.sk-1");
        assert_eq!(check(&remains, "/v1/realtime", &[line]), Some(Code::CallerKey));
    }
}
