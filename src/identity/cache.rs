//! The same identity headers make the same identity and the same role: remembered, so that the headers of a known user are
//! compared and not read again.
//!
//! Reading and mapping depend on nothing but these headers and the configuration. Trust is not remembered: it is checked on
//! every request before. The key is every byte of every header that is read, with its absence told apart from an empty
//! value and each length counted, so that no two sets of headers share an entry (CVE-2026-71326).

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use super::read::{Identity, IdentityReader};
use super::rules::{RoleMapper, RoleMapping};
use super::trust::TrustedPeer;
use crate::refusal::Refusal;
use crate::request_info::{ATTRIBUTES_MAX, IdentityValues};

/// What an entry takes beside its headers, about: the identity that was read of them, and the cache's own.
const ENTRY_BYTES: u64 = 512;
/// Bytes of an entry that is expected, for the cache's first size.
const EXPECTED_BYTES: u64 = 1024;

/// A user, and what the rules give them.
pub struct Principal {
    /// Who it is.
    pub identity: Identity,
    /// What the rules gave.
    pub mapping: RoleMapping,
}

/// Reads identities, maps them to roles, and remembers both.
pub struct PrincipalCache {
    reader: IdentityReader,
    mapper: RoleMapper,
    known: Cache<Remembered, Arc<Principal>, ByBytes>,
}

/// The values of the headers that are read, in the order of the attributes.
struct Raw<'a>([Option<&'a [u8]>; ATTRIBUTES_MAX]);

#[derive(Clone, PartialEq, Eq)]
struct Remembered([Option<Box<[u8]>>; ATTRIBUTES_MAX]);

/// An entry weighs what it takes of memory: its headers twice, as they came and as they were read.
#[derive(Debug, Clone)]
struct ByBytes;

// === impl PrincipalCache ===

impl PrincipalCache {
    /// Remembers sets of headers that take `bytes` of memory together.
    pub fn new(reader: IdentityReader, mapper: RoleMapper, bytes: u64) -> Self {
        let expected = usize::try_from(bytes / EXPECTED_BYTES).unwrap_or(usize::MAX).max(1);
        Self { reader, mapper, known: Cache::with_weighter(expected, bytes, ByBytes) }
    }

    /// The user, and what they may do. A refusal is never remembered.
    pub fn principal(&self, proxy: &TrustedPeer, said: &IdentityValues<'_>) -> Result<Arc<Principal>, Refusal> {
        // `None`: a header came twice; reading them refuses it below.
        let raw = said.raw().map(Raw);
        if let Some(known) = raw.as_ref().and_then(|raw| self.known.get(raw)) {
            return Ok(known);
        }
        let identity = self.reader.read(proxy, said)?;
        let person = identity.person();
        let mapping = self.mapper.map(&identity).map_err(|refusal| refusal.of(&person.issuer, &person.subject))?;
        let principal = Arc::new(Principal { identity, mapping });
        if let Some(Raw(values)) = raw {
            self.known.insert(Remembered(values.map(|value| value.map(Into::into))), principal.clone());
        }
        Ok(principal)
    }
}

impl Weighter<Remembered, Arc<Principal>> for ByBytes {
    fn weight(&self, key: &Remembered, _: &Arc<Principal>) -> u64 {
        let bytes: usize = key.0.iter().flatten().map(|value| value.len()).sum();
        ENTRY_BYTES + 2 * bytes as u64
    }
}

// Both hash as the same list of the same optional bytes.
impl Hash for Raw<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Hash for Remembered {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Remembered> for Raw<'_> {
    fn equivalent(&self, key: &Remembered) -> bool {
        self.0.iter().zip(&key.0).all(|(given, known)| *given == known.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::HeaderName;

    use super::*;
    use crate::config::{Attribute, Decoding, HeaderRule, IdentityRules, Rules, Separator};
    use crate::litellm::role::Role;
    use crate::refusal::Code;
    use crate::request_info::{RequestInfo, testing};

    fn rules() -> IdentityRules {
        let rule =
            |name, separator| HeaderRule { name: HeaderName::from_static(name), decoding: Decoding::Utf8, separator };
        let reads = BTreeMap::from([
            (Attribute::User, rule("x-user", None)),
            (Attribute::Name, rule("x-name", None)),
            (Attribute::Groups, rule("x-groups", Some(Separator::Char(b',')))),
        ]);
        IdentityRules {
            issuer: "default".into(),
            provider: "test".into(),
            reads,
            groups_required: false,
            email_from_user: false,
            max_groups: 9,
            max_value_bytes: 99,
            all_names: vec![],
        }
    }

    fn cache(bytes: u64) -> PrincipalCache {
        let admission = Rules { deny: vec![], allow: vec![], rules: vec![], default_role: Some(Role::InternalUser) };
        PrincipalCache::new(IdentityReader::new(rules()), RoleMapper::new(admission), bytes)
    }

    fn ask(cache: &PrincipalCache, lines: &[(&'static str, &str)]) -> Result<Arc<Principal>, Code> {
        let site = testing::rules_reading(&rules());
        let parts = testing::parts("/", lines);
        let info = RequestInfo::read(&parts, false, &site);
        cache.principal(&testing::trusted(&info), &info.identity_values()).map_err(|refusal| refusal.code())
    }

    #[test]
    fn the_same_headers_are_read_once_and_any_other_byte_is_another_user() {
        let cache = cache(1 << 20);
        let first = ask(&cache, &[("x-user", "ab"), ("x-groups", "c")]).unwrap();
        let again = ask(&cache, &[("accept", "x"), ("x-groups", "c"), ("x-user", "ab")]).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let others: &[&[(&'static str, &'static str)]] = &[
            &[("x-user", "a"), ("x-groups", "bc")],
            &[("x-user", "ab"), ("x-name", "c")],
            &[("x-user", "ab"), ("x-groups", "c"), ("x-name", "")],
            &[("x-user", "abc")],
            &[("x-user", "ab")],
        ];
        for lines in others {
            let other = ask(&cache, lines).unwrap();
            assert!(!Arc::ptr_eq(&first, &other), "{lines:?}");
            let subject = lines[0].1;
            assert_eq!(other.identity.person().subject, subject);
        }
    }

    #[test]
    fn a_refusal_is_made_anew_each_time() {
        let cache = cache(1 << 20);
        ask(&cache, &[("x-user", "a")]).unwrap();
        for _ in 0..2 {
            assert_eq!(ask(&cache, &[("x-user", "a"), ("x-user", "a")]).err(), Some(Code::RepeatedHeader));
            assert_eq!(ask(&cache, &[("x-user", "")]).err(), Some(Code::NoIdentity));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_by_its_bytes() {
        let cache = cache(64 * 1024);
        for number in 0..10_000 {
            ask(&cache, &[("x-user", &number.to_string())]).unwrap();
        }
        assert!(cache.known.weight() <= 64 * 1024 && cache.known.len() > 10, "{}", cache.known.weight());
    }
}
