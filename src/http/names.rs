//! Header names: folding, "exactly one", and the table of names that vestibule owns.
//!
//! Python servers fold `_` into `-`, so `X_Forwarded_User` and `X-Forwarded-User` are one name to LiteLLM and two to
//! most proxies (CVE-2025-64484). Every look-up here is by the folded name.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::FixedState;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Most options of `Connection`; each is looked for in all headers.
const OPTIONS_MAX: usize = 32;
/// Names that a message can't do without. `Connection` may not take them away, and their twins don't pass.
const MESSAGE: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE];

/// Names that mean something for the message as a whole, and come too late behind it; `Content-*` beside them.
const NOT_IN_TRAILERS: [HeaderName; 16] = [
    header::HOST,
    header::TRAILER,
    header::SET_COOKIE,
    header::COOKIE,
    header::MAX_FORWARDS,
    header::RANGE,
    header::AGE,
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::PRAGMA,
    header::DATE,
    header::LOCATION,
    header::RETRY_AFTER,
    header::VARY,
    header::WWW_AUTHENTICATE,
    header::STRICT_TRANSPORT_SECURITY,
];

/// Why a name is owned, and so what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Says who somebody is; of any preset, read or not. A twin is refused.
    Identity,
    /// A key or a proof. A twin is refused.
    Credential,
    /// Says something of the person or the caller that LiteLLM believes. Removed; a twin is removed.
    Claim,
    /// Set by vestibule itself (`X-Forwarded-*`, `Via`, …). Removed before it is set; a twin is removed.
    Ours,
    /// Belongs to one connection (RFC 9110 7.6.1). Removed.
    Hop,
}

/// The names that vestibule owns: they never pass as they came.
#[derive(Debug, Clone, Default)]
pub struct Owned {
    /// By folded name: the owner, and the one spelling that is the name itself.
    names: HashMap<Box<str>, (Owner, HeaderName), FixedState>,
    prefixes: Vec<(&'static str, Owner)>,
    sieve: Sieve,
}

/// Lengths and first letters of owned names: most headers of most requests are none of them, and are known to be none
/// without a look into the table. Folding changes neither.
#[derive(Debug, Clone)]
struct Sieve {
    by_length: [u32; SIEVE_LENGTHS],
}

/// Names of this length or longer share the last place.
const SIEVE_LENGTHS: usize = 48;

/// A header that is there more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated;

/// What is wrong with a request's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadName {
    /// Another spelling of a name that decides.
    Aliased(HeaderName),
    /// A `Connection` line nominates a name that decides.
    Nominated(HeaderName),
    /// A `Connection` line that is no list of names.
    Connection,
}

/// The folded form: `_` counts as `-`. Names are lower-case already.
pub fn fold(name: &str) -> Cow<'_, str> {
    if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) }
}

/// The one value of a header. Empty counts as absent.
pub fn exactly_one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Repeated> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Repeated);
    }
    Ok(first.filter(|value| !value.is_empty()))
}

// === impl Owned ===

impl Owned {
    /// Adds a name. The first owner stays: identity and credential names are added before all others.
    pub fn add(&mut self, name: HeaderName, owner: Owner) {
        self.sieve.add(name.as_str(), false);
        self.names.entry(fold(name.as_str()).into()).or_insert((owner, name));
    }

    /// Adds all names that begin so. Lower case, with `-` alone.
    pub fn add_prefix(&mut self, prefix: &'static str, owner: Owner) {
        self.sieve.add(prefix, true);
        self.prefixes.push((prefix, owner));
    }

    /// Every name that is owned by itself, in its own spelling.
    pub fn names(&self) -> impl Iterator<Item = (&HeaderName, Owner)> {
        self.names.values().map(|(owner, name)| (name, *owner))
    }

    /// The owner of a name in whatever spelling.
    pub fn owner(&self, name: &str) -> Option<Owner> {
        if !self.sieve.holds(name) {
            return None;
        }
        let folded = fold(name);
        if let Some((owner, _)) = self.names.get(&*folded) {
            return Some(*owner);
        }
        self.prefixes.iter().find(|(prefix, _)| folded.starts_with(prefix)).map(|(_, owner)| *owner)
    }

    /// Looks for twins of names that decide, and for `Connection` lines that would take one away from the next hop.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), BadName> {
        for name in headers.keys().filter(|name| self.sieve.holds(name.as_str())) {
            if let Some((Owner::Identity | Owner::Credential, real)) = self.names.get(&*fold(name.as_str()))
                && real != name
            {
                return Err(BadName::Aliased(name.clone()));
            }
        }
        let mut options = 0;
        for value in headers.get_all(header::CONNECTION) {
            for token in list(value).ok_or(BadName::Connection)? {
                options += 1;
                if options > OPTIONS_MAX {
                    return Err(BadName::Connection);
                }
                if is_usual_option(token) {
                    continue;
                }
                let name = HeaderName::from_bytes(token.as_bytes()).map_err(|_| BadName::Connection)?;
                if !matches!(self.owner(name.as_str()), None | Some(Owner::Hop)) || MESSAGE.contains(&name) {
                    return Err(BadName::Nominated(name));
                }
            }
        }
        Ok(())
    }

    /// Whether a field may not pass as a trailer: one that is owned in any spelling, frames or routes a message, says what it
    /// holds, or whether it may be kept (RFC 9110 6.5.1).
    pub fn bars_trailer(&self, name: &HeaderName) -> bool {
        let folded = fold(name.as_str());
        folded.starts_with("content-")
            || NOT_IN_TRAILERS.iter().any(|other| other.as_str() == folded)
            || self.owner(name.as_str()).is_some()
    }

    /// The one strip walk: every header that is neither owned in any spelling nor nominated by `Connection`, in the
    /// order it came.
    pub fn strip<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        let nominated = nominated(headers);
        headers.iter().filter(move |(name, _)| {
            !is_message_twin(name)
                && self.owner(name.as_str()).is_none()
                && !nominated.iter().any(|other| other == *name)
        })
    }
}

// === impl Sieve ===

impl Default for Sieve {
    fn default() -> Self {
        Self { by_length: [0; SIEVE_LENGTHS] }
    }
}

impl Sieve {
    fn add(&mut self, name: &str, is_prefix: bool) {
        let from = Self::place(name);
        let to = if is_prefix { SIEVE_LENGTHS } else { from + 1 };
        for letters in self.by_length.iter_mut().take(to).skip(from) {
            *letters |= Self::letter(name);
        }
    }

    fn holds(&self, name: &str) -> bool {
        self.by_length.get(Self::place(name)).is_some_and(|letters| letters & Self::letter(name) != 0)
    }

    fn place(name: &str) -> usize {
        name.len().min(SIEVE_LENGTHS - 1)
    }

    /// A bit for the first letter. What is no letter, `_` among it, shares the bits and so may be held needlessly, but a
    /// name that begins with `-` or `_` is always held: the two are one to the table.
    fn letter(name: &str) -> u32 {
        match name.as_bytes().first() {
            Some(b'-' | b'_') | None => u32::MAX,
            Some(byte) => 1 << (byte & 31),
        }
    }
}

/// Takes out of an answer, in one walk, what belongs to the upstream's connection, what `Connection` nominates there, and
/// what must not go down: names that say who somebody is, and keys.
pub fn strip_answer(headers: &mut HeaderMap, owned: &Owned) {
    let mut unwanted = nominated(headers);
    unwanted.extend(
        headers
            .keys()
            .filter(|name| matches!(owned.owner(name.as_str()), Some(Owner::Identity | Owner::Credential | Owner::Hop)))
            .cloned(),
    );
    for name in unwanted {
        headers.remove(name);
    }
}

/// Names that `Connection` lines nominate, beyond its usual options. Most requests have none, so nothing is allocated.
pub fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(list)
        .flatten()
        .filter(|token| !is_usual_option(token))
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .collect()
}

/// The items of a comma-separated list (RFC 9110 5.6.1), empty ones left out. `None` when it is not ASCII.
pub fn list(value: &HeaderValue) -> Option<impl Iterator<Item = &str>> {
    let text = value.to_str().ok()?;
    Some(text.split(',').map(|item| item.trim_matches([' ', '\t'])).filter(|item| !item.is_empty()))
}

fn is_message_twin(name: &HeaderName) -> bool {
    name.as_str().contains('_') && MESSAGE.iter().any(|real| real.as_str() == fold(name.as_str()))
}

fn is_usual_option(token: &str) -> bool {
    ["keep-alive", "close", "upgrade", "te"].iter().any(|usual| token.eq_ignore_ascii_case(usual))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned() -> Owned {
        let mut owned = Owned::default();
        owned.add(HeaderName::from_static("x-forwarded-user"), Owner::Identity);
        owned.add(HeaderName::from_static("authorization"), Owner::Credential);
        owned.add(HeaderName::from_static("x-litellm-user-id"), Owner::Claim);
        owned.add(HeaderName::from_static("x-forwarded-for"), Owner::Ours);
        owned.add(HeaderName::from_static("connection"), Owner::Hop);
        owned
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn twins_of_deciding_names_are_refused_and_others_removed() {
        let check = |name| owned().check(&headers(&[(name, "x")]));
        assert_eq!(check("x_forwarded-user"), Err(BadName::Aliased(HeaderName::from_static("x_forwarded-user"))));
        assert_eq!(check("x-forwarded_user"), Err(BadName::Aliased(HeaderName::from_static("x-forwarded_user"))));
        assert_eq!(check("x_forwarded_for"), Ok(()));
        assert_eq!(check("x_other"), Ok(()));
        let map = headers(&[("x_forwarded_for", "1"), ("x_other", "2"), ("x_litellm_user_id", "3")]);
        let owned = owned();
        let left: Vec<_> = owned.strip(&map).map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["x_other"]);
    }

    #[test]
    fn connection_may_not_nominate_what_decides() {
        let check = |value| owned().check(&headers(&[("connection", value)]));
        assert_eq!(check("keep-alive, Upgrade"), Ok(()));
        assert_eq!(check("close, X-Custom"), Ok(()));
        for value in
            ["X-Forwarded-User", "close,x_forwarded_user", "authorization", "X-Forwarded-For", " , x-litellm-user-id"]
        {
            assert!(matches!(check(value), Err(BadName::Nominated(_))), "{value}");
        }
        assert_eq!(check("not a token"), Err(BadName::Connection));
    }

    #[test]
    fn a_message_keeps_what_frames_it_and_gets_no_twin_of_it() {
        let owned = owned();
        for name in ["host", "Content-Length"] {
            assert!(matches!(owned.check(&one("connection", name)), Err(BadName::Nominated(_))), "{name}");
        }
        assert_eq!(owned.check(&one("connection", &"a,".repeat(33))), Err(BadName::Connection));
        let map = headers(&[("content-length", "5"), ("content_length", "3")]);
        let left: Vec<_> = owned.strip(&map).map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["content-length"]);
    }

    fn one(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn nominated_headers_do_not_pass() {
        let map = headers(&[("connection", "x-custom"), ("x-custom", "1"), ("accept", "2")]);
        let owned = owned();
        let left: Vec<_> = owned.strip(&map).map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["accept"]);
    }

    #[test]
    fn an_answer_keeps_what_is_the_messages_own() {
        let mut map = headers(&[
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("x-forwarded-user", "alice"),
            ("authorization", "Bearer sk-1"),
            ("trailer", "x-sum"),
            ("set-cookie", "a=1"),
        ]);
        map.append(header::SET_COOKIE, HeaderValue::from_static("b=2"));
        strip_answer(&mut map, &owned());
        let left: Vec<_> = map.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["trailer", "set-cookie", "set-cookie"]);
    }

    #[test]
    fn repeated_is_an_error_and_empty_is_absent() {
        let name = HeaderName::from_static("x-forwarded-user");
        assert_eq!(exactly_one(&headers(&[("x-forwarded-user", "")]), &name), Ok(None));
        let mut twice = headers(&[("x-forwarded-user", "a")]);
        twice.append(name.clone(), HeaderValue::from_static("a"));
        assert_eq!(exactly_one(&twice, &name), Err(Repeated));
    }

    proptest! {
        #[test]
        fn after_strip_no_owned_name_remains_in_any_spelling(names in prop::collection::vec("[a-z_-]{1,20}", 0..12), pick in 0usize..5, dashes in prop::collection::vec(any::<bool>(), 4)) {
            let owned = owned();
            let base = ["x-forwarded-user", "authorization", "x-litellm-user-id", "x-forwarded-for", "connection"][pick];
            let mut flags = dashes.into_iter().cycle();
            let twin: String = base.chars().map(|c| if c == '-' && flags.next().unwrap() { '_' } else { c }).collect();
            let mut map = HeaderMap::new();
            for name in names.iter().map(String::as_str).chain([twin.as_str()]) {
                map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("v"));
            }
            for (name, _) in owned.strip(&map) {
                prop_assert!(owned.owner(name.as_str()).is_none());
            }
        }
    }
}
