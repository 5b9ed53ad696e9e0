//! Requests and listeners' rules for unit tests.

use std::collections::BTreeMap;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};

use super::{ListenerRules, RequestInfo, Routes, own_prefixes};
use crate::config::{Config, IdentityRules, SecretHeader, TrustRules, testing};
use crate::identity::peer::Peer;
use crate::identity::trust::{PeerTrust, TrustedPeer};

fn identity(config: &Config) -> IdentityRules {
    IdentityRules { reads: BTreeMap::new(), ..config.identity.clone() }
}

/// Rules of a listener that reads nothing of a user.
pub(crate) fn rules(proof: Option<&SecretHeader>) -> ListenerRules {
    let config = testing("");
    ListenerRules::new(&identity(&config), proof, &config.litellm, Routes::default(), 8192)
}

/// Rules of a listener that reads these headers.
pub(crate) fn rules_reading(rules: &IdentityRules) -> ListenerRules {
    ListenerRules::new(rules, None, &testing("").litellm, Routes::default(), 8192)
}

/// Rules of a listener with vestibule's own pages, which signs users in to the admin UI.
pub(crate) fn rules_with_pages() -> ListenerRules {
    let prefixes = own_prefixes("/vestibule", None, "");
    let routes = Routes { own_prefixes: prefixes, has_pages: true, signs_in: true, ..Routes::default() };
    rules(None).with_routes(routes)
}

/// A request's head.
pub(crate) fn parts(target: &str, lines: &[(&'static str, &str)]) -> Parts {
    let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    parts_of(target, &lines)
}

/// A request's head, with values that are no text.
pub(crate) fn parts_of(target: &str, lines: &[(&'static str, &[u8])]) -> Parts {
    let mut request = Request::builder().uri(target);
    for (name, value) in lines {
        request = request.header(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

/// A proxy whose word counts.
pub(crate) fn trusted(info: &RequestInfo<'_>) -> TrustedPeer {
    let rules = TrustRules { peers: vec![], uids: vec![1], secret_header: None, basic_auth_password: None };
    PeerTrust::new(rules, false).check(&Peer::Unix { uid: 1 }, info).unwrap()
}
