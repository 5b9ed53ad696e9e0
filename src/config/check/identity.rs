//! How the sign-in proxy's headers are read.

use std::collections::BTreeMap;

use http::HeaderName;

use crate::config::check::headers::{Headers, Purpose};
use crate::config::check::values::{flag, number};
use crate::config::presets::{Preset, PresetHeader, identity_names};
use crate::config::problem::{KeyPath, literal};
use crate::config::raw::{EmailFrom, List, RawHeader, RawHeaders, RawIdentity};
use crate::config::report::Report;
use crate::config::{Attribute, Decoding, HeaderRule, IdentityRules, Separator};

const ISSUER: &str = "default";
const ISSUER_BYTES_MAX: usize = 256;
const GROUPS_MAX: usize = 10_000;
const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Everything under `identity`, and the preset for those who have defaults by it.
pub(super) fn identity(
    raw: RawIdentity,
    headers: &mut Headers,
    report: &mut Report,
) -> (IdentityRules, Option<Preset>) {
    if raw.preset.is_none() {
        let names: Vec<_> = Preset::ALL.iter().map(|preset| format!("`{}`", preset.name())).collect();
        let message = "`identity.preset` is missing: whose headers are to be read?";
        report.missing("identity.preset", message, format!("one of {}", names.join(", ")));
    }
    let preset = raw.preset.unwrap_or(Preset::Custom);
    let email_from_user = raw.email_from == Some(EmailFrom::User);
    let listed = reads(raw.reads, report);
    let overrides = attributes(raw.headers.unwrap_or_default());
    let mut reads = BTreeMap::new();
    let mut all_names: Vec<HeaderName> = identity_names().map(HeaderName::from_static).collect();
    for (attribute, key, raw) in overrides {
        let own = KeyPath::parse("identity.headers").key(key);
        // With `email_from: user` the user header is the one source of the e-mail.
        let is_replaced = attribute == Attribute::Email && email_from_user;
        let is_read = listed.contains(&attribute) && !is_replaced;
        if raw.is_some() && !is_read && !is_replaced {
            let remedy = format!("it is stripped unread; add `{key}` to `identity.reads` to read it");
            report.warn(&own, format!("`{own}` is not read"), remedy);
        }
        let preset_header = preset.header(attribute);
        if raw.is_none() && !is_read {
            continue;
        }
        if raw.is_none() && preset_header.is_none() {
            no_header(preset, key, report);
            continue;
        }
        // What is not read clashes with nothing: it is only stripped.
        let mut unread = Headers::default();
        let uses = if is_read { &mut *headers } else { &mut unread };
        let Some(rule) = header(&own, attribute, raw.unwrap_or_default(), preset_header, uses, report) else {
            continue;
        };
        if !all_names.contains(&rule.name) {
            all_names.push(rule.name.clone());
        }
        if is_read {
            reads.insert(attribute, rule);
        }
    }
    let groups_required = flag("identity.groups_required", raw.groups_required.as_ref(), report);
    if groups_required && !listed.contains(&Attribute::Groups) && !report.is_doubtful("identity.reads") {
        let message = "`identity.groups_required` needs an attribute that is not read: `groups`";
        report.error("identity.groups_required", message, "add `groups` to `identity.reads`, or take this out");
    }
    let provider = raw.provider.filter(|provider| !provider.is_empty()).unwrap_or_else(|| preset.name().to_owned());
    let rules = IdentityRules {
        issuer: issuer(raw.issuer, report).into(),
        provider,
        reads,
        groups_required,
        email_from_user,
        max_groups: number("identity.max_groups", raw.max_groups, 512, 1..=GROUPS_MAX, report),
        max_value_bytes: number("identity.max_value_bytes", raw.max_value_bytes, 8192, 64..=VALUE_BYTES_MAX, report),
        all_names,
    };
    (rules, raw.preset)
}

fn no_header(preset: Preset, key: &str, report: &mut Report) {
    // Without a known preset this is only an echo of that.
    if report.is_doubtful("identity.preset") {
        return;
    }
    let (message, place) = if preset == Preset::Custom {
        (format!("`preset: custom` has no header for `{key}`"), format!("identity.headers.{key}"))
    } else {
        (format!("`{}` sends no header for `{key}`", preset.name()), "identity.reads".to_owned())
    };
    let remedy = format!("set `identity.headers.{key}: {{ name: … }}`, or take `{key}` out of `identity.reads`");
    report.error(place.as_str(), message, remedy);
}

fn reads(raw: Option<List<Attribute>>, report: &mut Report) -> Vec<Attribute> {
    let Some(raw) = raw else { return vec![Attribute::User] };
    let mut listed = Vec::with_capacity(raw.len());
    for (at, attribute) in raw.into_iter().enumerate() {
        let Some(attribute) = attribute else { continue };
        if listed.contains(&attribute) {
            let key = KeyPath::parse("identity.reads").at(at);
            report.error(&key, format!("`{key}` is there twice"), "take one of the two out");
        } else {
            listed.push(attribute);
        }
    }
    if !listed.contains(&Attribute::User) && !report.is_doubtful("identity.reads") {
        let message = "`identity.reads` does not list `user`, without which nobody is anybody";
        report.error("identity.reads", message, "add `user`");
    }
    listed
}

/// All attributes with their names in the configuration.
fn attributes(raw: RawHeaders) -> [(Attribute, &'static str, Option<RawHeader>); 9] {
    [
        (Attribute::User, "user", raw.user),
        (Attribute::Email, "email", raw.email),
        (Attribute::PreferredUsername, "preferred_username", raw.preferred_username),
        (Attribute::Name, "name", raw.name),
        (Attribute::FirstName, "first_name", raw.first_name),
        (Attribute::LastName, "last_name", raw.last_name),
        (Attribute::Picture, "picture", raw.picture),
        (Attribute::Groups, "groups", raw.groups),
        (Attribute::Roles, "roles", raw.roles),
    ]
}

fn header(
    own: &KeyPath,
    attribute: Attribute,
    raw: RawHeader,
    preset: Option<PresetHeader>,
    headers: &mut Headers,
    report: &mut Report,
) -> Option<HeaderRule> {
    let Some(name) = raw.name.as_deref().or(preset.map(|preset| preset.name)) else {
        report.missing(own.key("name"), format!("`{own}` has no name"), "add the header's name: `name: X-My-Header`");
        return None;
    };
    let is_list = matches!(attribute, Attribute::Groups | Attribute::Roles);
    let key = own.key("separator");
    let separator = match raw.separator {
        Some(_) if !is_list => {
            report.error(&key, format!("`{key}` has no meaning: the value is no list"), "take it out");
            None
        }
        Some(text) => separator(&key, &text, report),
        None if is_list => preset.and_then(|preset| preset.separator).or(Some(Separator::Char(b','))),
        None => None,
    };
    let decoding = raw.decoding.or(preset.map(|preset| preset.decoding)).unwrap_or(Decoding::Utf8);
    let name = headers.name(&own.key("name"), name, Purpose::Identity, report)?;
    Some(HeaderRule { name, decoding, separator })
}

fn separator(key: &KeyPath, text: &str, report: &mut Report) -> Option<Separator> {
    match text.as_bytes() {
        b"json" => Some(Separator::Json),
        b"quoted" => Some(Separator::Quoted),
        // A letter or digit parts no names, it cuts them.
        [byte] if *byte == b' ' || byte.is_ascii_punctuation() => Some(Separator::Char(*byte)),
        _ => {
            let message = format!("`{key}` is not a separator: {}", literal(text));
            report.error(key, message, "one sign such as `\",\"` or `\"|\"`, `json`, or `quoted`");
            None
        }
    }
}

fn issuer(raw: Option<String>, report: &mut Report) -> String {
    let issuer = raw.unwrap_or_else(|| ISSUER.to_owned());
    let printable = !issuer.is_empty() && !issuer.chars().any(char::is_control) && issuer.trim() == issuer;
    if !printable || issuer.len() > ISSUER_BYTES_MAX {
        let message = format!("`identity.issuer` can't be the name of a sign-in source: {}", literal(&issuer));
        let remedy = format!("1 to {ISSUER_BYTES_MAX} printable bytes, without blanks around them");
        report.error("identity.issuer", message, remedy);
    }
    issuer
}
