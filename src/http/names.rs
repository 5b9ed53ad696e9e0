//! Header names: folding, "exactly one", and the table of names that vestibule owns.
//!
//! Python servers fold `_` into `-`, so `X_Forwarded_User` and `X-Forwarded-User` are one name to LiteLLM and two to
//! most proxies (CVE-2025-64484). Every look-up in [`HeaderTable`] is by the folded name.

use std::borrow::Cow;

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
    /// Says who the user is; of any preset, read or not. A twin is refused.
    Identity,
    /// A key of LiteLLM's. A twin is refused.
    Credential,
    /// What the OAuth proxy or a gateway proves itself with. A twin is refused.
    Proof,
    /// Says something of the user or the client that LiteLLM believes. Removed; a twin is removed.
    Claim,
    /// What only vestibule may say of the way (`X-Forwarded-*`, `Via`, …): replaced, or left out; a twin is removed.
    Ours,
    /// Tells that vestibule refused. Removed in both directions.
    Refusal,
    /// Belongs to one connection (RFC 9110 7.6.1). Removed.
    Hop,
}

/// The names that mean something to vestibule: those that it owns, which never pass as they came, and those whose values it
/// asks for.
#[derive(Debug, Clone, Default)]
pub struct HeaderTable {
    /// By the length of the name: few share one, and folding does not change it.
    names: Vec<Vec<Entry>>,
    prefixes: Vec<(&'static str, Owner)>,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Of the folded name; compared first.
    letters: u32,
    folded: Box<str>,
    /// The name is written as it is folded.
    is_folded: bool,
    /// The one spelling that is the name itself.
    name: HeaderName,
    owner: Option<Owner>,
    /// Who owns other spellings.
    twins: Option<Owner>,
    column: Option<u8>,
}

/// What the table says of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameClass {
    /// Who owns it.
    pub owner: Option<Owner>,
    /// Where its value belongs, as [`HeaderTable::observe`] was told.
    pub column: Option<u8>,
    /// Another spelling of an owned name.
    pub is_twin: bool,
}

/// A header that is there more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// The one value of a header, by its exact name: for messages that were not classified. Empty counts as absent.
pub fn exactly_one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Repeated> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Repeated);
    }
    Ok(first.filter(|value| !value.is_empty()))
}

// === impl Owner ===

impl Owner {
    /// Whether another spelling of such a name is refused instead of removed: it could be taken for the name itself.
    fn refuses_twins(self) -> bool {
        matches!(self, Self::Identity | Self::Credential | Self::Proof)
    }

    /// Whether an answer of LiteLLM's may not carry such a name.
    fn stays_out_of_answers(self) -> bool {
        matches!(self, Self::Identity | Self::Credential | Self::Proof | Self::Refusal | Self::Hop)
    }
}

// === impl HeaderTable ===

impl HeaderTable {
    /// Adds a name that never passes as it came. The first owner stays; `ListenerRules::new` has the order.
    pub fn own(&mut self, name: HeaderName, owner: Owner) {
        let entry = self.entry(name);
        entry.owner = entry.owner.or(Some(owner));
        entry.twins = entry.owner;
    }

    /// Removes other spellings of names that frame or route the message; the names themselves pass.
    pub fn own_message_twins(&mut self) {
        for name in MESSAGE {
            let entry = self.entry(name);
            entry.twins = entry.twins.or(Some(Owner::Hop));
        }
    }

    /// Adds all names that begin so. Lower case, with `-` alone.
    pub fn own_prefix(&mut self, prefix: &'static str, owner: Owner) {
        self.prefixes.push((prefix, owner));
    }

    /// Adds a name whose values are asked for later; its owner, if any, stays. The first column stays.
    pub fn observe(&mut self, name: &HeaderName, column: u8) {
        let entry = self.entry(name.clone());
        // Where the operator reads who the user is from another spelling, this one is its twin.
        if entry.name == *name {
            entry.column = entry.column.or(Some(column));
        }
    }

    #[expect(clippy::indexing_slicing, reason = "both places were made or found just before")]
    fn entry(&mut self, name: HeaderName) -> &mut Entry {
        let folded = fold(name.as_str()).into_owned();
        if self.names.len() <= folded.len() {
            self.names.resize_with(folded.len() + 1, Vec::new);
        }
        let same_length = &mut self.names[folded.len()];
        let found = same_length.iter().position(|entry| *entry.folded == *folded);
        let at = found.unwrap_or_else(|| {
            let (letters, is_folded) = (letters(&folded), folded == name.as_str());
            let folded = folded.into();
            same_length.push(Entry { letters, folded, is_folded, name, owner: None, twins: None, column: None });
            same_length.len() - 1
        });
        &mut same_length[at]
    }

    /// The entry of a folded name.
    fn find(&self, folded: &str) -> Option<&Entry> {
        let letters = letters(folded);
        self.names.get(folded.len())?.iter().find(|entry| entry.letters == letters && *entry.folded == *folded)
    }

    /// Every name that is owned by itself, in its own spelling.
    pub fn owned(&self) -> impl Iterator<Item = (&HeaderName, Owner)> {
        self.names.iter().flatten().filter_map(|entry| Some((&entry.name, entry.owner?)))
    }

    /// What a name in any spelling is.
    pub fn classify(&self, name: &HeaderName) -> NameClass {
        let text = name.as_str();
        let as_written = self.find(text);
        if let Some(entry) = as_written.filter(|entry| entry.is_folded) {
            return NameClass { owner: entry.owner, column: entry.column, is_twin: false };
        }
        let folded = fold(text);
        let entry = if matches!(folded, Cow::Owned(_)) { self.find(&folded) } else { as_written };
        match entry {
            Some(entry) if entry.name == *name => {
                NameClass { owner: entry.owner, column: entry.column, is_twin: false }
            }
            Some(Entry { twins: Some(owner), .. }) => NameClass { owner: Some(*owner), column: None, is_twin: true },
            // Another spelling of a name that is only asked for says nothing.
            Some(_) | None => {
                let owner =
                    self.prefixes.iter().find(|(prefix, _)| folded.starts_with(prefix)).map(|(_, owner)| *owner);
                NameClass { owner, column: None, is_twin: false }
            }
        }
    }

    /// The owner of a name in any spelling.
    pub fn owner(&self, name: &HeaderName) -> Option<Owner> {
        self.classify(name).owner
    }

    /// Whether a twin of this name is refused.
    pub fn is_refused_twin(class: NameClass) -> bool {
        class.is_twin && class.owner.is_some_and(Owner::refuses_twins)
    }

    /// The names that `Connection` lines nominate beyond its usual options, to be taken out. Refuses those that would take a
    /// header that decides away from the next hop.
    pub fn nominated<'a>(&self, lines: impl Iterator<Item = &'a HeaderValue>) -> Result<Vec<HeaderName>, BadName> {
        let (mut options, mut names) = (0, Vec::new());
        for line in lines {
            for option in list(line).ok_or(BadName::Connection)? {
                options += 1;
                if options > OPTIONS_MAX {
                    return Err(BadName::Connection);
                }
                if is_usual_option(option) {
                    continue;
                }
                let name = HeaderName::from_bytes(option.as_bytes()).map_err(|_| BadName::Connection)?;
                if !matches!(self.owner(&name), None | Some(Owner::Hop)) || MESSAGE.contains(&name) {
                    return Err(BadName::Nominated(name));
                }
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Whether a field may not pass as a trailer: one that is owned in any spelling, frames or routes a message, says what it
    /// holds, or whether it may be kept (RFC 9110 6.5.1).
    pub fn bars_trailer(&self, name: &HeaderName) -> bool {
        let folded = fold(name.as_str());
        folded.starts_with("content-")
            || NOT_IN_TRAILERS.iter().any(|other| other.as_str() == folded)
            || self.owner(name).is_some()
    }

    /// Takes out of an answer, in one walk, what belongs to the upstream's connection, what `Connection` nominates there, and
    /// what must not go down: names that say who the user is, and keys.
    pub fn strip_answer(&self, headers: &mut HeaderMap) {
        let must_go = |name: &HeaderName| self.owner(name).is_some_and(Owner::stays_out_of_answers);
        let unwanted: Vec<HeaderName> = headers.keys().filter(|name| must_go(name)).cloned().collect();
        let has_connection = unwanted.contains(&header::CONNECTION);
        let nominated = if has_connection { nominated_in_answer(headers) } else { Vec::new() };
        for name in nominated.into_iter().chain(unwanted) {
            headers.remove(name);
        }
    }
}

/// The first, the middle and the last byte of a name: names of one length that have nothing to do with each other nearly always
/// differ in one of them.
fn letters(name: &str) -> u32 {
    let letter = |at: usize| name.as_bytes().get(at).copied().unwrap_or_default();
    u32::from_le_bytes([letter(0), letter(name.len() / 2), letter(name.len().saturating_sub(1)), 0])
}

/// Names that an answer's `Connection` lines nominate, beyond its usual options. Most have none, so nothing is allocated.
pub fn nominated_in_answer(headers: &HeaderMap) -> Vec<HeaderName> {
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

fn is_usual_option(token: &str) -> bool {
    ["keep-alive", "close", "upgrade", "te"].iter().any(|usual| token.eq_ignore_ascii_case(usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> HeaderTable {
        let mut table = HeaderTable::default();
        table.own(HeaderName::from_static("x-forwarded-user"), Owner::Identity);
        table.own(HeaderName::from_static("authorization"), Owner::Credential);
        table.own(HeaderName::from_static("x-litellm-user-id"), Owner::Claim);
        table.own_prefix("x-openwebui-", Owner::Claim);
        table.own(HeaderName::from_static("x-forwarded-for"), Owner::Ours);
        table.own(HeaderName::from_static("connection"), Owner::Hop);
        table.observe(&HeaderName::from_static("x-forwarded-for"), 3);
        table.observe(&HeaderName::from_static("accept"), 4);
        table
    }

    fn classify(name: &'static str) -> NameClass {
        table().classify(&HeaderName::from_static(name))
    }

    #[test]
    fn names_are_sorted_in_every_spelling() {
        let owned = |owner, is_twin| NameClass { owner: Some(owner), column: None, is_twin };
        assert_eq!(classify("x-forwarded-user"), owned(Owner::Identity, false));
        assert_eq!(classify("x_forwarded-user"), owned(Owner::Identity, true));
        assert_eq!(classify("x_litellm_user_id"), owned(Owner::Claim, true));
        assert_eq!(classify("x_openwebui_anything"), owned(Owner::Claim, false));
        assert_eq!(classify("x-forwarded-for").column, Some(3));
        assert_eq!(classify("x_forwarded_for"), owned(Owner::Ours, true));
        assert_eq!(classify("accept"), NameClass { owner: None, column: Some(4), is_twin: false });
        for other in ["x_other", "accept_", "accepted", "_", "-", "x-fOrwarded"] {
            let other = HeaderName::from_bytes(other.as_bytes()).unwrap();
            assert_eq!(table().classify(&other), NameClass { owner: None, column: None, is_twin: false }, "{other}");
        }
        assert!(HeaderTable::is_refused_twin(classify("x_forwarded-user")));
        assert!(!HeaderTable::is_refused_twin(classify("x_forwarded_for")));
    }

    #[test]
    fn a_name_that_an_operator_spells_with_underscores_is_itself_and_the_other_its_twin() {
        let mut table = HeaderTable::default();
        table.own(HeaderName::from_static("user_agent"), Owner::Identity);
        table.observe(&HeaderName::from_static("user-agent"), 1);
        let classify = |name| table.classify(&HeaderName::from_static(name));
        assert_eq!(classify("user_agent"), NameClass { owner: Some(Owner::Identity), column: None, is_twin: false });
        assert_eq!(classify("user-agent"), NameClass { owner: Some(Owner::Identity), column: None, is_twin: true });
    }

    #[test]
    fn connection_may_not_nominate_what_decides() {
        let nominated = |value: &str| table().nominated([HeaderValue::from_str(value).unwrap()].iter());
        assert_eq!(nominated("keep-alive, Upgrade"), Ok(vec![]));
        assert_eq!(nominated("close, X-Custom"), Ok(vec![HeaderName::from_static("x-custom")]));
        for value in [
            "X-Forwarded-User",
            "close,x_forwarded_user",
            "authorization",
            "X-Forwarded-For",
            " , x-litellm-user-id",
            "host",
            "Content-Length",
        ] {
            assert!(matches!(nominated(value), Err(BadName::Nominated(_))), "{value}");
        }
        assert_eq!(nominated("not a token"), Err(BadName::Connection));
        assert_eq!(nominated(&"a,".repeat(33)), Err(BadName::Connection));
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
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
        table().strip_answer(&mut map);
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
}
