//! The same identity headers make the same identity and grant: remembered, so that a known person's headers are compared
//! and not read again.
//!
//! Reading and granting depend on nothing but these headers and the configuration. Trust is not remembered: it is asked
//! of every request before. The key is every byte of every header that is read, with its absence told apart from an empty
//! value and each length counted, so that no two sets of headers share an entry (CVE-2026-71326).

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::HeaderMap;
use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use super::grant::{Grant, Granter};
use super::identity::{ATTRIBUTES_MAX, Identity, Reader};
use super::refusal::Refusal;
use super::trust::TrustedPeer;

/// Longest headers of one person that are remembered; longer ones are read each time.
const REMEMBERED_BYTES_MAX: usize = 4096;

/// Somebody, and what they may.
pub struct Recognised {
    /// Who.
    pub identity: Identity,
    /// What the rules gave.
    pub grant: Grant,
}

/// Reads, grants and remembers.
pub struct Recognition {
    reader: Reader,
    granter: Granter,
    known: Cache<Written, Arc<Recognised>>,
}

/// The values of the headers that are read, in the order of the attributes.
struct Raw<'a>([Option<&'a [u8]>; ATTRIBUTES_MAX]);

#[derive(Clone, PartialEq, Eq)]
struct Written([Option<Box<[u8]>>; ATTRIBUTES_MAX]);

// === impl Recognition ===

impl Recognition {
    /// Remembers at most `max` sets of headers.
    pub fn new(reader: Reader, granter: Granter, max: usize) -> Self {
        Self { reader, granter, known: Cache::new(max) }
    }

    /// Whether the headers say anything of a person.
    pub fn is_asserted(&self, headers: &HeaderMap) -> bool {
        self.reader.is_asserted(headers)
    }

    /// Who it is and what they may. A refusal is never remembered.
    pub fn recognise(&self, speaker: &TrustedPeer<'_>, headers: &HeaderMap) -> Result<Arc<Recognised>, Refusal> {
        // Headers that came twice have no one value; reading them says so.
        let raw = self.reader.raw(headers).map(Raw);
        if let Some(known) = raw.as_ref().and_then(|raw| self.known.get(raw)) {
            return Ok(known);
        }
        let identity = self.reader.read(speaker, headers)?;
        let person = identity.person();
        let grant = self.granter.grant(&identity).map_err(|refusal| refusal.of(&person.issuer, &person.subject))?;
        let recognised = Arc::new(Recognised { identity, grant });
        if let Some(Raw(values)) = raw
            && values.iter().flatten().map(|value| value.len()).sum::<usize>() <= REMEMBERED_BYTES_MAX
        {
            self.known.insert(Written(values.map(|value| value.map(Into::into))), recognised.clone());
        }
        Ok(recognised)
    }
}

// Both hash as the same list of the same optional bytes.
impl Hash for Raw<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Hash for Written {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Written> for Raw<'_> {
    fn equivalent(&self, key: &Written) -> bool {
        self.0.iter().zip(&key.0).all(|(given, known)| *given == known.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::config::{self, Attribute, Decoding, HeaderRule, IdentityRules, Rules, Separator};
    use crate::gate::peer::Peer;
    use crate::gate::refusal::Code;
    use crate::gate::trust::Trust;
    use crate::litellm::role::Role;

    fn recognition() -> Recognition {
        let rule =
            |name, separator| HeaderRule { name: HeaderName::from_static(name), decoding: Decoding::Utf8, separator };
        let reads = BTreeMap::from([
            (Attribute::User, rule("x-user", None)),
            (Attribute::Name, rule("x-name", None)),
            (Attribute::Groups, rule("x-groups", Some(Separator::Char(b',')))),
        ]);
        let rules = IdentityRules {
            issuer: "default".into(),
            provider: "test".into(),
            reads,
            groups_required: false,
            email_from_user: false,
            max_groups: 9,
            max_value_bytes: 99,
            all_names: vec![],
        };
        let admission = Rules { deny: vec![], allow: vec![], rules: vec![], default_role: Some(Role::InternalUser) };
        Recognition::new(Reader::new(rules), Granter::new(admission), 100)
    }

    fn recognise(recognition: &Recognition, lines: &[(&'static str, &'static str)]) -> Result<Arc<Recognised>, Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let rules = config::TrustRules { peers: vec![], uids: vec![1], secret_header: None, basic_auth_password: None };
        let trust = Trust::new(rules, false);
        let peer = Peer::Unix { uid: 1 };
        let speaker = trust.admit(&peer, &headers).unwrap();
        recognition.recognise(&speaker, &headers).map_err(|refusal| refusal.code())
    }

    #[test]
    fn the_same_headers_are_read_once_and_any_other_byte_is_somebody_else() {
        let recognition = recognition();
        let first = recognise(&recognition, &[("x-user", "ab"), ("x-groups", "c")]).unwrap();
        let again = recognise(&recognition, &[("accept", "x"), ("x-groups", "c"), ("x-user", "ab")]).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let others: &[&[(&'static str, &'static str)]] = &[
            &[("x-user", "a"), ("x-groups", "bc")],
            &[("x-user", "ab"), ("x-name", "c")],
            &[("x-user", "ab"), ("x-groups", "c"), ("x-name", "")],
            &[("x-user", "abc")],
            &[("x-user", "ab")],
        ];
        for lines in others {
            let other = recognise(&recognition, lines).unwrap();
            assert!(!Arc::ptr_eq(&first, &other), "{lines:?}");
            let subject = lines[0].1;
            assert_eq!(other.identity.person().subject, subject);
        }
    }

    #[test]
    fn a_refusal_is_made_anew_each_time() {
        let recognition = recognition();
        recognise(&recognition, &[("x-user", "a")]).unwrap();
        for _ in 0..2 {
            assert_eq!(recognise(&recognition, &[("x-user", "a"), ("x-user", "a")]).err(), Some(Code::RepeatedHeader));
            assert_eq!(recognise(&recognition, &[("x-user", "")]).err(), Some(Code::NoIdentity));
        }
    }
}
