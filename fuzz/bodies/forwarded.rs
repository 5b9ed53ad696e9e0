//! Header lists: what the hops before us said and what we add, what `Connection` nominates, and the one strip walk.
//!
//! The input is header lines.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use http::Request;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use vestibule::config::{Config, ConfigSource, load};
use vestibule::http::names::{self, Owner};
use vestibule::http::{forwarded, hop, request_id};
use vestibule::litellm::credentials;
use vestibule::refusal::{self, Code};
use vestibule::request_info::{ListenerRules, RequestInfo, Routes};

use super::lines;

const CONFIG: &str = "trust: { secret_header: { name: X-Proof, value: 0123456789abcdef0123456789abcdef } }
identity: { preset: vouch, reads: [user, email, groups], headers: { user: { name: X-My_User }, email: { name: _My-Mail } } }
session: { secret: 0123456789abcdef0123456789abcdef }
litellm: { url: 'http://127.0.0.1:4000', database_url: 'postgres://u@h/d', key_header: X-My-Key }
";
/// What `litellm::credentials` keeps to itself.
const CLAIMS: [&str; 9] = [
    "x-litellm-end-user-id",
    "x-litellm-customer-id",
    "x-litellm-user-id",
    "x-litellm-user-email",
    "x-litellm-user-role",
    "x-litellm-team-id",
    "x-litellm-agent-id",
    "litellm-changed-by",
    "x-litellm-changed-by",
];
const CLAIM_PREFIX: &str = "x-openwebui-";
/// A message can't do without them.
const MESSAGE: [&str; 3] = ["host", "content-length", "content-type"];
const OPTIONS_MAX: usize = 32;

/// The table under test, and the same rules written down plainly: by folded name, the name itself and its first owner.
struct Table {
    site: ListenerRules,
    plain: HashMap<String, (String, Owner)>,
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

/// Takes header lines.
pub fn holds(text: &[u8]) {
    let headers = lines::headers(text);
    appended(&headers);
    listed(&headers);
    looked_at(&headers);
    stripped(&headers);
    answered(headers);
}

/// A few names that somebody owns, for those who make inputs.
pub fn owned_spellings() -> Vec<String> {
    let mut names: Vec<_> = TABLE.plain.values().map(|(name, _)| name.clone()).collect();
    names.sort();
    names
}

impl Table {
    fn new() -> Self {
        let source = ConfigSource { text: Some(CONFIG.to_owned()), ..ConfigSource::default() };
        let (Config { identity, trust, litellm, .. }, _) = load(&source).expect("the configuration here is sound");
        let text = |name: &HeaderName| name.as_str().to_owned();
        let names = (identity.reads.values().map(|rule| (text(&rule.name), Owner::Identity)))
            .chain([("x-proof".to_owned(), Owner::Proof)])
            .chain(credentials::CREDENTIALS.into_iter().map(|name| (text(&name), Owner::Credential)))
            .chain([("x-my-key".to_owned(), Owner::Credential)])
            .chain(CLAIMS.map(|name| (name.to_owned(), Owner::Claim)))
            .chain(identity.all_names.iter().map(|name| (text(name), Owner::Identity)))
            .chain(forwarded::OURS.into_iter().map(|name| (text(&name), Owner::Ours)))
            .chain([request_id::NAME, header::EXPECT].map(|name| (text(&name), Owner::Ours)))
            .chain([(text(&refusal::HEADER), Owner::Refusal)])
            .chain(hop::HOP_BY_HOP.into_iter().map(|name| (text(&name), Owner::Hop)));
        let mut plain = HashMap::new();
        for (name, owner) in names {
            plain.entry(fold(&name)).or_insert((name, owner));
        }
        let site = ListenerRules::new(&identity, &trust.secret_header, &litellm, Routes::default(), 8192);
        Self { site, plain }
    }

    /// The first owner of a name in any spelling, and the spelling that is the name itself.
    fn find(&self, name: &str) -> Option<(&str, Owner)> {
        self.plain.get(&fold(name)).map(|(real, owner)| (real.as_str(), *owner))
    }

    fn owner(&self, name: &str) -> Option<Owner> {
        let folded = fold(name);
        let prefixed = || folded.starts_with(CLAIM_PREFIX).then_some(Owner::Claim);
        // Another spelling of a name that frames the message does not pass.
        let twin = || (MESSAGE.contains(&folded.as_str()) && folded != name).then_some(Owner::Hop);
        self.find(name).map(|(_, owner)| owner).or_else(prefixed).or_else(twin)
    }
}

/// As a Python server reads a name.
fn fold(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// The items of a list's bytes, whatever they are.
fn items<'a>(values: impl IntoIterator<Item = &'a HeaderValue>) -> Vec<&'a [u8]> {
    let items = values.into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    items.map(lines::trim).filter(|item| !item.is_empty()).collect()
}

/// What is appended loses nothing, keeps the order, and is known again when it comes back.
fn appended(headers: &HeaderMap) {
    let is_ours = |hop: &&[u8]| {
        let mut words = hop.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        words.nth(1) == Some(forwarded::VIA_NAME.as_bytes())
    };
    assert_eq!(
        forwarded::is_loop(headers.get_all(header::VIA).iter()),
        items(headers.get_all(header::VIA)).iter().any(is_ours)
    );
    let address = HeaderValue::from_static("192.0.2.1");
    for (name, ours) in
        [(forwarded::FOR, &address), (header::VIA, &forwarded::VIA_11), (header::VIA, &forwarded::VIA_10)]
    {
        let kept = headers.get_all(&name);
        let whole = forwarded::append(kept.iter(), ours).expect("values that were headers make one");
        let mut wanted = items(kept);
        wanted.push(ours.as_bytes());
        assert_eq!(items([&whole]), wanted);
        if name == header::VIA {
            assert!(forwarded::is_loop([whole].iter()), "what comes round is not seen");
        }
    }
}

/// A list's items are trimmed, not empty, and none is two.
fn listed(headers: &HeaderMap) {
    for value in headers.values() {
        let Some(list) = names::list(value) else { continue };
        let list: Vec<_> = list.map(str::as_bytes).collect();
        assert_eq!(list, items([value]));
        assert!(!list.iter().any(|item| item.contains(&b',')));
    }
    for name in headers.keys() {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        match names::exactly_one(headers, name) {
            Ok(Some(one)) => assert!(values == [one] && !one.is_empty()),
            Ok(None) => assert!(values.len() == 1 && values[0].is_empty()),
            Err(names::Repeated) => assert!(values.len() > 1),
        }
        assert_eq!(TABLE.site.headers().owner(name), TABLE.owner(name.as_str()), "{name}");
    }
}

/// Names in `Connection` beyond its usual options; `None` where it is no list of names.
fn nominated(headers: &HeaderMap) -> Option<(Vec<HeaderName>, usize)> {
    let tokens = items(headers.get_all(header::CONNECTION));
    let is_usual = |token: &&&[u8]| {
        [&b"keep-alive"[..], b"close", b"upgrade", b"te"].iter().any(|usual| token.eq_ignore_ascii_case(usual))
    };
    let names = tokens.iter().filter(|token| !is_usual(token)).map(|token| HeaderName::from_bytes(token).ok());
    Some((names.collect::<Option<_>>()?, tokens.len()))
}

/// A request with these headers, and with what every request needs.
fn parts(headers: &HeaderMap) -> Parts {
    let mut parts = Request::new(()).into_parts().0;
    parts.headers = headers.clone();
    parts.headers.insert(header::HOST, HeaderValue::from_static("a"));
    for name in [header::VIA, header::EXPECT] {
        parts.headers.remove(name);
    }
    parts
}

/// The look at names refuses what it must, and says rightly why.
fn looked_at(headers: &HeaderMap) {
    let deciding = |(_, owner): &(&str, Owner)| matches!(owner, Owner::Identity | Owner::Credential | Owner::Proof);
    let is_alias =
        |name: &HeaderName| TABLE.find(name.as_str()).filter(deciding).is_some_and(|(real, _)| real != name.as_str());
    let is_taken = |name: &HeaderName| {
        !matches!(TABLE.owner(name.as_str()), None | Some(Owner::Hop)) || MESSAGE.contains(&name.as_str())
    };
    let nominated = nominated(headers);
    let is_ascii = headers.get_all(header::CONNECTION).iter().all(|value| value.to_str().is_ok());
    let parts = parts(headers);
    let info = RequestInfo::read(&parts, false, &TABLE.site);
    match info.check().map_err(|refusal| refusal.code()) {
        Ok(()) => {
            assert!(!headers.keys().any(is_alias));
            let (nominated, options) = nominated.expect("it was a list");
            assert!(options <= OPTIONS_MAX && !nominated.iter().any(is_taken));
        }
        Err(Code::AliasedHeader) => assert!(headers.keys().any(is_alias)),
        Err(Code::NominatedHeader) => {
            let is_bad =
                |(names, options): (Vec<HeaderName>, usize)| options > OPTIONS_MAX || names.iter().any(is_taken);
            assert!(!is_ascii || nominated.is_none_or(is_bad));
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// What passes is what must, in its order, and passes a second time.
fn stripped(headers: &HeaderMap) {
    let parts = parts(headers);
    let info = RequestInfo::read(&parts, false, &TABLE.site);
    // Names that decide in another spelling, or a `Connection` line that is no list, were refused before.
    if info.check().is_err() {
        return;
    }
    let left: Vec<_> = info.passing().map(|(name, value, _)| (name, value)).collect();
    let Some((nominated, _)) = nominated(headers) else { panic!("it was a list") };
    let nominated: HashSet<_> = nominated.into_iter().collect();
    let is_twin = |name: &HeaderName| {
        let folded = fold(name.as_str());
        MESSAGE.contains(&folded.as_str()) && folded != name.as_str()
    };
    let wanted = parts
        .headers
        .iter()
        .filter(|(name, _)| TABLE.owner(name.as_str()).is_none() && !nominated.contains(*name) && !is_twin(name));
    assert_eq!(left, wanted.collect::<Vec<_>>());
    let mut once = Request::new(()).into_parts().0;
    once.headers = left.iter().map(|(name, value)| ((*name).clone(), (*value).clone())).collect();
    assert_eq!(RequestInfo::read(&once, false, &TABLE.site).passing().count(), left.len());
}

/// An answer loses names that decide, refusals, and what belongs to its connection; nothing else.
fn answered(mut headers: HeaderMap) {
    let before = headers.clone();
    TABLE.site.headers().strip_answer(&mut headers);
    let is_kept = |name: &HeaderName| {
        let owner = TABLE.owner(name.as_str());
        !matches!(owner, Some(Owner::Identity | Owner::Credential | Owner::Proof | Owner::Refusal | Owner::Hop))
    };
    assert!(headers.keys().all(is_kept));
    let nominated = names::nominated_in_answer(&before);
    for name in before.keys() {
        let left: Vec<_> = headers.get_all(name).iter().collect();
        let wanted: Vec<_> =
            before.get_all(name).iter().filter(|_| is_kept(name) && !nominated.contains(name)).collect();
        assert_eq!(left, wanted, "{name}");
    }
}
