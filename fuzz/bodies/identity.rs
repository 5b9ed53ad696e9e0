//! From a sign-in proxy's headers to a person: whoever is read is canonical, and is read alike however they are written.
//!
//! The input's first line is `DECODING FLAGS SEPARATOR`, header lines follow. Flags: `e` the e-mail is in the user header,
//! `r` groups are required.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Request;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use unicode_normalization::is_nfc;
use vestibule::config::{
    Attribute, ConfigSource, Decoding, HeaderRule, IdentityRules, Litellm, Separator, TrustRules, load,
};
use vestibule::identity::peer::Peer;
use vestibule::identity::read::IdentityReader;
use vestibule::identity::trust::PeerTrust;
use vestibule::refusal::Code;
use vestibule::request_info::{IdentityValues, ListenerRules, RequestInfo, Routes};
use vestibule::store::UserProfile;

use super::lines;

/// Small limits, so that short inputs reach them. An id's own limit is below this one.
pub const VALUE_BYTES_MAX: usize = 640;
/// Most groups.
pub const GROUPS_MAX: usize = 8;
const ID_BYTES_MAX: usize = 512;
const EMAIL_BYTES_MAX: usize = 254;
const PICTURE_BYTES_MAX: usize = 2048;

/// Which headers LiteLLM takes keys from.
static LITELLM: LazyLock<Litellm> = LazyLock::new(|| {
    let text = "trust: { peers: [192.0.2.1] }
identity: { preset: oauth2-proxy }
session: { secret: 0123456789abcdef0123456789abcdef }
litellm: { url: 'http://127.0.0.1:4000', database_url: 'postgres://u@h/d' }
";
    let source = ConfigSource { text: Some(text.to_owned()), ..ConfigSource::default() };
    load(&source).expect("the configuration here is sound").0.litellm
});

/// By their names in the configuration.
pub const DECODINGS: [(&str, Decoding); 6] = [
    ("utf8", Decoding::Utf8),
    ("latin1", Decoding::Latin1),
    ("rfc2047", Decoding::Rfc2047),
    ("percent", Decoding::Percent),
    ("base64", Decoding::Base64),
    ("base64url", Decoding::Base64url),
];

/// The headers that are read.
pub const NAMES: [(Attribute, &str); 9] = [
    (Attribute::User, "user"),
    (Attribute::Email, "email"),
    (Attribute::PreferredUsername, "login"),
    (Attribute::Name, "name"),
    (Attribute::FirstName, "first"),
    (Attribute::LastName, "last"),
    (Attribute::Picture, "picture"),
    (Attribute::Groups, "groups"),
    (Attribute::Roles, "roles"),
];

/// How a reader is set up.
#[derive(Clone, Copy)]
struct Setup {
    decoding: Decoding,
    separator: Separator,
    email_from_user: bool,
    groups_required: bool,
    value_bytes_max: usize,
}

/// Takes a set-up and header lines.
pub fn holds(bytes: &[u8]) {
    let _ = person(bytes);
}

/// The person that is read, when all holds that must.
pub fn person(bytes: &[u8]) -> Result<UserProfile, Code> {
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (first, text) = bytes.split_at(line);
    let setup = Setup::read(first);
    let headers = lines::headers(text);
    let read = setup.person(&headers);
    assert_eq!(setup.person(&reversed(&headers)), read, "the order of headers says nothing");
    let mut more = headers.clone();
    more.insert("x-other", HeaderValue::from_static("mallory"));
    assert_eq!(setup.person(&more), read, "what is not read says nothing");

    let count = |name: &str| headers.get_all(name).iter().count();
    setup.said(&headers, |said| {
        assert_eq!(said.raw().is_none(), NAMES.iter().any(|(_, name)| count(name) > 1));
        assert_eq!(said.is_asserted(), NAMES.iter().any(|(_, name)| count(name) > 0));
    });
    if count("user") == 0 {
        assert_eq!(read, Err(Code::NoIdentity));
    }
    let person = read?;
    for (attribute, name) in NAMES {
        let is_replaced = attribute == Attribute::Email && setup.email_from_user;
        assert!(is_replaced || count(name) <= 1, "`{name}` came twice");
    }
    if setup.groups_required {
        assert!(headers.get("groups").is_some_and(|groups| !groups.is_empty()));
    }
    canonical(&person, setup);
    rewritten(&person, setup);
    Ok(person)
}

/// A value as a sign-in proxy with this decoding would send it; `None` where it can't.
pub fn encode(text: &str, decoding: Decoding) -> Option<Vec<u8>> {
    let escaped = |sign: char, text: &str| {
        let escape =
            |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("{sign}{byte:02X}") };
        text.bytes().map(escape).collect::<String>()
    };
    Some(match decoding {
        Decoding::Utf8 => text.as_bytes().to_vec(),
        Decoding::Latin1 => text.chars().map(|c| u8::try_from(c).ok()).collect::<Option<_>>()?,
        // Both encodings of a word, by what comes.
        Decoding::Rfc2047 if text.len().is_multiple_of(2) => {
            format!("=?utf-8?B?{}?=", STANDARD.encode(text)).into_bytes()
        }
        Decoding::Rfc2047 => format!("=?UTF-8?q?{}?=", escaped('=', text)).into_bytes(),
        Decoding::Percent => escaped('%', text).into_bytes(),
        Decoding::Base64 => STANDARD.encode(text).into_bytes(),
        Decoding::Base64url => URL_SAFE_NO_PAD.encode(text).into_bytes(),
    })
}

// === impl Setup ===

impl Setup {
    fn read(line: &[u8]) -> Self {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let mut part = || parts.next().unwrap_or_default();
        let (name, flags, separator) = (part(), part(), part());
        let decoding = DECODINGS.iter().find(|(known, _)| known.as_bytes() == name);
        let separator = match separator {
            b"json" => Separator::Json,
            b"quoted" => Separator::Quoted,
            // What the configuration takes for one.
            [byte, ..] if *byte == b' ' || byte.is_ascii_punctuation() => Separator::Char(*byte),
            _ => Separator::Char(b','),
        };
        Self {
            decoding: decoding.map_or(Decoding::Utf8, |(_, decoding)| *decoding),
            separator,
            email_from_user: flags.contains(&b'e'),
            groups_required: flags.contains(&b'r'),
            value_bytes_max: VALUE_BYTES_MAX,
        }
    }

    fn rules(self) -> IdentityRules {
        let rule = |(attribute, name)| {
            let is_list = matches!(attribute, Attribute::Groups | Attribute::Roles);
            let separator = is_list.then_some(self.separator);
            (attribute, HeaderRule { name: HeaderName::from_static(name), decoding: self.decoding, separator })
        };
        IdentityRules {
            issuer: "issuer".into(),
            provider: "provider".into(),
            reads: BTreeMap::from(NAMES.map(rule)),
            groups_required: self.groups_required,
            email_from_user: self.email_from_user,
            max_groups: GROUPS_MAX,
            max_value_bytes: self.value_bytes_max,
            all_names: vec![],
        }
    }

    fn said(self, headers: &HeaderMap, ask: impl FnOnce(&IdentityValues<'_>)) {
        let site = ListenerRules::new(&self.rules(), None, &LITELLM, Routes::default(), 8192);
        ask(&site.identity_values(headers));
    }

    fn person(self, headers: &HeaderMap) -> Result<UserProfile, Code> {
        let rules = TrustRules { peers: vec![], uids: vec![1], secret_header: None, basic_auth_password: None };
        let (trust, peer) = (PeerTrust::new(rules, false), Peer::Unix { uid: 1 });
        let site = ListenerRules::new(&self.rules(), None, &LITELLM, Routes::default(), 8192);
        let mut parts = Request::new(()).into_parts().0;
        parts.headers = headers.clone();
        let info = RequestInfo::read(&parts, false, &site);
        let proxy = trust.check(&peer, &info).expect("this peer is trusted");
        let read = IdentityReader::new(self.rules()).read(&proxy, &info.identity_values());
        read.map(|identity| identity.person().clone()).map_err(|refusal| refusal.code())
    }
}

/// The same headers in another order; those of one name keep theirs.
fn reversed(headers: &HeaderMap) -> HeaderMap {
    let mut names: Vec<_> = headers.keys().collect();
    names.reverse();
    let lines =
        names.into_iter().flat_map(|name| headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
    lines.collect()
}

/// Nothing hidden, nothing odd, one form only.
fn canonical(person: &UserProfile, setup: Setup) {
    let UserProfile { issuer, subject, email, provider, groups, picture, .. } = person;
    assert_eq!((&**issuer, provider.as_str()), ("issuer", "provider"));
    for id in [Some(subject), person.preferred_username.as_ref()].into_iter().flatten() {
        assert!(is_nfc(id), "{id:?} has another form");
        assert!((1..=ID_BYTES_MAX).contains(&id.len()), "{id:?}");
        assert!(!id.chars().any(|c| c.is_whitespace() && c != ' '), "{id:?}");
    }
    assert!(!subject.contains(','), "two persons in one");
    let names = [&person.preferred_username, &person.first_name, &person.last_name, &person.display_name];
    for text in names.into_iter().flatten().chain([subject]).chain(email).chain(groups) {
        assert!(!text.is_empty() && lines::trim(text.as_bytes()) == text.as_bytes(), "{text:?} has blanks around");
        assert!(!text.chars().any(char::is_control), "{text:?} has a control");
        assert!(!text.contains(['\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{ad}']), "{text:?} hides something");
    }
    if let Some(email) = email {
        assert!(email.len() <= EMAIL_BYTES_MAX && email.bytes().all(|byte| byte.is_ascii_graphic()), "{email}");
        assert!(!email.bytes().any(|byte| byte.is_ascii_uppercase()), "{email}");
        let parts: Vec<_> = email.split('@').collect();
        assert!(matches!(parts[..], [local, domain] if !local.is_empty() && !domain.is_empty()), "{email}");
        assert!(!email.contains([',', ';', '"', '<', '>', '(', ')', '[', ']', '\\', ':']), "{email}");
    }
    assert!(!setup.email_from_user || email.as_ref() == Some(subject));
    assert!(person.display_name.is_some(), "nobody is without a name");
    if let Some(picture) = picture {
        assert!(picture.starts_with("https://") && picture.len() <= PICTURE_BYTES_MAX, "{picture}");
    }
    assert!(groups.len() <= GROUPS_MAX);
    for group in groups {
        let item = group.strip_prefix("role:").unwrap_or(group);
        let parts = match setup.separator {
            Separator::Char(byte) => item.contains(char::from(byte)),
            Separator::Quoted => item.contains('"'),
            Separator::Json => false,
        };
        assert!(!parts, "{item:?} is more than one");
    }
    assert!(groups.is_sorted_by(|one, other| one < other), "{groups:?} are sorted, each once");
}

/// Written in any decoding, and its groups as any list that can hold them, it is the same person.
fn rewritten(person: &UserProfile, setup: Setup) {
    let lists = [Separator::Json, Separator::Quoted, Separator::Char(b','), Separator::Char(b'|')];
    for (decoding, separator) in DECODINGS.iter().flat_map(|(_, decoding)| lists.map(|list| (*decoding, list))) {
        // Room for the longest encoding.
        let setup = Setup { decoding, separator, value_bytes_max: 1 << 20, ..setup };
        let Some(headers) = written(person, setup) else { continue };
        assert_eq!(setup.person(&headers).as_ref(), Ok(person), "{decoding:?} {separator:?} {headers:?}");
    }
}

fn written(person: &UserProfile, setup: Setup) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (attribute, name) in NAMES {
        let text = match attribute {
            Attribute::User => Some(person.subject.clone()),
            Attribute::Email => person.email.clone(),
            Attribute::PreferredUsername => person.preferred_username.clone(),
            Attribute::Name => person.display_name.clone(),
            Attribute::FirstName => person.first_name.clone(),
            Attribute::LastName => person.last_name.clone(),
            Attribute::Picture => person.picture.clone(),
            Attribute::Groups => Some(list(&person.groups, setup.separator)?),
            // Those among the groups have their prefix already.
            Attribute::Roles => None,
        };
        let Some(text) = text else { continue };
        let value = HeaderValue::from_bytes(&encode(&text, setup.decoding)?).expect("a header can hold it");
        headers.insert(name, value);
    }
    // An empty header counts as none.
    (!setup.groups_required || !headers["groups"].is_empty()).then_some(headers)
}

/// `None` where an item can't stand in such a list.
fn list(items: &[String], separator: Separator) -> Option<String> {
    let without = |signs: &[char]| !items.iter().any(|item| item.contains(signs));
    match separator {
        Separator::Json => serde_json::to_string(items).ok(),
        Separator::Quoted => {
            without(&['"']).then(|| items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(","))
        }
        Separator::Char(byte) => {
            let sign = char::from(byte);
            without(&[sign]).then(|| items.join(&sign.to_string()))
        }
    }
}
