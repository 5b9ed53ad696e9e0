//! Whether a peer may say who somebody is. All that is configured must hold; nothing is believed by default.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use secrecy::ExposeSecret;

use super::peer::Peer;
use super::refusal::{Code, Refusal};
use crate::config;
use crate::http::names;
use crate::secret;

/// A peer whose assertions count. Only [`Trust::admit`] makes one.
#[derive(Debug)]
pub struct TrustedPeer<'a> {
    peer: &'a Peer,
}

/// The trust rules of a listener.
#[derive(Debug)]
pub struct Trust {
    rules: config::TrustRules,
    is_socket_proof: bool,
}

// === impl TrustedPeer ===

impl TrustedPeer<'_> {
    /// The peer.
    pub fn peer(&self) -> &Peer {
        self.peer
    }
}

// === impl Trust ===

impl Trust {
    /// Takes checked rules. `is_socket_proof`: the listener is a unix socket whose mode alone says who may connect, so
    /// that its peers need no further rule.
    pub fn new(rules: config::TrustRules, is_socket_proof: bool) -> Self {
        Self { rules, is_socket_proof }
    }

    /// Refuses with `untrusted_peer` where the peer is another one, with `bad_proof` where it has not the proof.
    pub fn admit<'a>(&self, peer: &'a Peer, headers: &HeaderMap) -> Result<TrustedPeer<'a>, Refusal> {
        if !self.knows(peer) {
            return Err(Code::UntrustedPeer.into());
        }
        if let Some(proof) = &self.rules.secret_header {
            let given = one_proof(headers, &proof.name)?;
            // Every value is compared, so that the time does not tell which one is in use.
            let held = proof
                .values
                .iter()
                .fold(false, |held, value| secret::equal(given.as_bytes(), value.expose_secret().as_bytes()) | held);
            if !held {
                return Err(Refusal::from(Code::BadProof).about(proof.name.clone()));
            }
        }
        if let Some(password) = &self.rules.basic_auth_password {
            let given = one_proof(headers, &header::AUTHORIZATION)?;
            if !basic_password(given).is_some_and(|given| secret::equal(&given, password.expose_secret().as_bytes())) {
                return Err(Refusal::from(Code::BadProof).about(header::AUTHORIZATION));
            }
        }
        Ok(TrustedPeer { peer })
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

fn one_proof<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Result<&'a HeaderValue, Refusal> {
    match names::exactly_one(headers, name) {
        Ok(Some(value)) => Ok(value),
        Ok(None) | Err(names::Repeated) => Err(Refusal::from(Code::BadProof).about(name.clone())),
    }
}

/// The password of `Basic base64(user:password)` (RFC 7617). The user is no identity: it is the sign-in proxy's to set,
/// and read from its own header.
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

    fn trust() -> config::TrustRules {
        config::TrustRules { peers: vec![], uids: vec![], secret_header: None, basic_auth_password: None }
    }

    fn code(rules: config::TrustRules, peer: &Peer, lines: &[(&'static str, &str)]) -> Option<Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        Trust::new(rules, false).admit(peer, &headers).err().map(|refusal| refusal.code())
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
        let trust = Trust::new(trust(), true);
        assert!(trust.admit(&Peer::Unix { uid: 7 }, &HeaderMap::new()).is_ok());
        assert!(trust.admit(&at("127.0.0.1:1"), &HeaderMap::new()).is_err());
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
                name: header::HeaderName::from_static("x-proof"),
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
