//! Whether a peer may say who the user is. All that is configured must hold; nothing is believed by default.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderName, HeaderValue};
use secrecy::ExposeSecret;

use super::peer::Peer;
use crate::config;
use crate::http::names::Repeated;
use crate::refusal::{Code, Refusal};
use crate::request_info::{Known, RequestInfo};
use crate::secret;

/// The proof that a peer's assertions count. Only [`PeerTrust::check`] makes one.
#[derive(Debug)]
pub struct TrustedPeer(());

/// The trust rules of a listener.
#[derive(Debug)]
pub struct PeerTrust {
    rules: config::TrustRules,
    is_socket_proof: bool,
}

// === impl PeerTrust ===

impl PeerTrust {
    /// Takes checked rules. `is_socket_proof`: the listener is a unix socket whose mode alone says who may connect, so
    /// that its peers need no further rule.
    pub fn new(rules: config::TrustRules, is_socket_proof: bool) -> Self {
        Self { rules, is_socket_proof }
    }

    /// Refuses with `untrusted_peer` where the peer is another one, with `bad_proof` where it lacks the proof.
    pub fn check(&self, peer: &Peer, info: &RequestInfo<'_>) -> Result<TrustedPeer, Refusal> {
        if !self.knows(peer) {
            return Err(Code::UntrustedPeer.into());
        }
        if let Some(proof) = &self.rules.secret_header {
            let given = given(info.proof(&proof.name), &proof.name)?;
            // Every value is compared, so that the time does not tell which one is in use.
            let is_right =
                proof.values.iter().fold(false, |is_right, value| is_equal(given.as_bytes(), value) | is_right);
            if !is_right {
                return Err(Refusal::from(Code::BadProof).about(proof.name.clone()));
            }
        }
        if let Some(password) = &self.rules.basic_auth_password {
            let given = given(info.one(Known::Authorization), &header::AUTHORIZATION)?;
            if !basic_password(given).is_some_and(|given| is_equal(&given, password)) {
                return Err(Refusal::from(Code::BadProof).about(header::AUTHORIZATION));
            }
        }
        Ok(TrustedPeer(()))
    }

    fn knows(&self, peer: &Peer) -> bool {
        let config::TrustRules { peers, uids, secret_header, basic_auth_password } = &self.rules;
        if peers.is_empty() && uids.is_empty() && secret_header.is_none() && basic_auth_password.is_none() {
            return self.is_socket_proof && matches!(peer, Peer::Unix { .. });
        }
        match peer {
            Peer::Tcp { ip, .. } => {
                uids.is_empty() && (peers.is_empty() || peers.iter().any(|range| range.contains(ip)))
            }
            Peer::Unix { uid } => peers.is_empty() && (uids.is_empty() || uids.contains(uid)),
        }
    }
}

fn is_equal(given: &[u8], value: &secrecy::SecretString) -> bool {
    secret::equal(given, value.expose_secret().as_bytes())
}

fn given<'a>(one: Result<Option<&'a HeaderValue>, Repeated>, name: &HeaderName) -> Result<&'a HeaderValue, Refusal> {
    match one {
        Ok(Some(value)) => Ok(value),
        Ok(None) | Err(Repeated) => Err(Refusal::from(Code::BadProof).about(name.clone())),
    }
}

/// The password of `Basic base64(user:password)` (RFC 7617). The user is no identity: the OAuth proxy sets it, and it is
/// read from its own header.
fn basic_password(value: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    decoded.get(colon + 1..).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_info::testing;

    fn trust() -> config::TrustRules {
        config::TrustRules { peers: vec![], uids: vec![], secret_header: None, basic_auth_password: None }
    }

    fn code(rules: config::TrustRules, peer: &Peer, lines: &[(&'static str, &str)]) -> Option<Code> {
        let site = testing::rules(rules.secret_header.as_ref());
        let parts = testing::parts("/", lines);
        let info = RequestInfo::read(&parts, false, &site);
        PeerTrust::new(rules, false).check(peer, &info).err().map(|refusal| refusal.code())
    }

    fn at(address: &str) -> Peer {
        Peer::tcp(address.parse().unwrap())
    }

    #[test]
    fn no_rule_trusts_nobody() {
        assert_eq!(code(trust(), &at("127.0.0.1:1"), &[]), Some(Code::UntrustedPeer));
        assert_eq!(code(trust(), &Peer::Unix { uid: 0 }, &[]), Some(Code::UntrustedPeer));
    }

    #[test]
    fn a_private_socket_is_proof_for_its_peers_alone() {
        let trust = PeerTrust::new(trust(), true);
        let (site, parts) = (testing::rules(None), testing::parts("/", &[]));
        let info = RequestInfo::read(&parts, false, &site);
        assert!(trust.check(&Peer::Unix { uid: 7 }, &info).is_ok());
        assert!(trust.check(&at("127.0.0.1:1"), &info).is_err());
    }

    #[test]
    fn addresses_are_the_sockets_in_either_clothes() {
        let rules = || config::TrustRules { peers: vec!["10.0.0.0/8".parse().unwrap()], ..trust() };
        assert_eq!(code(rules(), &at("10.1.2.3:1"), &[]), None);
        assert_eq!(code(rules(), &at("[::ffff:10.1.2.3]:1"), &[]), None);
        assert_eq!(code(rules(), &at("11.1.2.3:1"), &[("x-forwarded-for", "10.1.2.3")]), Some(Code::UntrustedPeer));
        assert_eq!(code(rules(), &Peer::Unix { uid: 0 }, &[]), Some(Code::UntrustedPeer));
    }

    #[test]
    fn uids_are_asked_on_unix_sockets_alone() {
        let rules = || config::TrustRules { uids: vec![65532], ..trust() };
        assert_eq!(code(rules(), &Peer::Unix { uid: 65532 }, &[]), None);
        assert_eq!(code(rules(), &Peer::Unix { uid: 0 }, &[]), Some(Code::UntrustedPeer));
        assert_eq!(code(rules(), &at("127.0.0.1:1"), &[]), Some(Code::UntrustedPeer));
    }

    #[test]
    fn a_secret_header_must_be_there_once_and_right() {
        let rules = || config::TrustRules {
            secret_header: Some(config::SecretHeader {
                name: HeaderName::from_static("x-proof"),
                values: vec!["one".into(), "two".into()],
            }),
            ..trust()
        };
        let peer = at("192.0.2.1:1");
        assert_eq!(code(rules(), &peer, &[("x-proof", "one")]), None);
        assert_eq!(code(rules(), &peer, &[("x-proof", "two")]), None);
        for lines in [&[][..], &[("x-proof", "three")], &[("x-proof", "")], &[("x-proof", "one"), ("x-proof", "one")]] {
            assert_eq!(code(rules(), &peer, lines), Some(Code::BadProof), "{lines:?}");
        }
    }

    #[test]
    fn the_basic_auth_password_counts_and_its_user_does_not() {
        let rules = || config::TrustRules { basic_auth_password: Some("pass:word".into()), ..trust() };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let peer = at("192.0.2.1:1");
        assert_eq!(code(rules(), &peer, &[("authorization", &basic("anybody:pass:word"))]), None);
        for value in [basic("anybody:password"), basic("pass:word:"), "Bearer pass:word".into(), "Basic !".into()] {
            assert_eq!(code(rules(), &peer, &[("authorization", &value)]), Some(Code::BadProof), "{value}");
        }
    }
}
