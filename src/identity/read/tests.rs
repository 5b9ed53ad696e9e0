use std::collections::BTreeMap;

use http::HeaderName;

use super::*;
use crate::config::{Decoding, Separator};
use crate::request_info::{RequestInfo, testing};

type Lines<'a> = &'a [(&'static str, &'a [u8])];

fn rules() -> IdentityRules {
    let rule =
        |name, separator| HeaderRule { name: HeaderName::from_static(name), decoding: Decoding::Utf8, separator };
    IdentityRules {
        issuer: "default".into(),
        provider: "oauth2-proxy".into(),
        reads: BTreeMap::from([
            (Attribute::User, rule("x-user", None)),
            (Attribute::Email, rule("x-email", None)),
            (Attribute::Name, rule("x-name", None)),
            (Attribute::FirstName, rule("x-first", None)),
            (Attribute::LastName, rule("x-last", None)),
            (Attribute::Picture, rule("x-picture", None)),
            (Attribute::PreferredUsername, rule("x-login", None)),
            (Attribute::Groups, rule("x-groups", Some(Separator::Char(b',')))),
            (Attribute::Roles, rule("x-roles", Some(Separator::Char(b',')))),
        ]),
        groups_required: false,
        email_from_user: false,
        max_groups: 4,
        max_value_bytes: 64,
        all_names: vec![],
    }
}

fn read(rules: IdentityRules, lines: Lines<'_>) -> Result<UserProfile, Code> {
    let site = testing::rules_reading(&rules);
    let parts = testing::parts_of("/", lines);
    let info = RequestInfo::read(&parts, false, &site);
    let said = info.identity_values();
    let identity = IdentityReader::new(rules).read(&testing::trusted(&info), &said);
    identity.map(|identity| identity.person).map_err(|refusal| refusal.code())
}

#[test]
fn a_whole_person_is_read() {
    let person = read(
        rules(),
        &[
            ("x-user", b"00u1"),
            ("x-email", b"Alice@Corp.Local"),
            ("x-name", "Ålice Østberg".as_bytes()),
            ("x-groups", b"b, a,b,,"),
            ("x-roles", b"a"),
            ("x-picture", b"https://img.example.com/a"),
            ("x-login", b"alice"),
        ],
    )
    .unwrap();
    assert_eq!(person.subject, "00u1");
    assert_eq!(person.email.as_deref(), Some("alice@corp.local"));
    assert_eq!(person.display_name.as_deref(), Some("Ålice Østberg"));
    assert_eq!(person.groups, ["a", "b", "role:a"]);
    assert_eq!(person.picture.as_deref(), Some("https://img.example.com/a"));
}

#[test]
fn names_are_made_of_what_there_is() {
    let display = |lines: Lines<'_>| read(rules(), lines).unwrap().display_name.unwrap();
    assert_eq!(display(&[("x-user", b"u"), ("x-first", b"Al"), ("x-last", b"Ice")]), "Al Ice");
    assert_eq!(display(&[("x-user", b"u"), ("x-login", b"ali"), ("x-email", b"a@b")]), "ali");
    assert_eq!(display(&[("x-user", b"u"), ("x-email", b"a@b")]), "a");
    assert_eq!(display(&[("x-user", b"u")]), "u");
}

#[test]
fn whatever_is_not_one_plain_person_is_refused() {
    let table: &[(Lines<'_>, Code)] = &[
        (&[], Code::NoIdentity),
        (&[("x-user", b"")], Code::NoIdentity),
        (&[("x-user", b"  ")], Code::NoIdentity),
        (&[("x-email", b"a@b")], Code::NoIdentity),
        (&[("x-user", b"a"), ("x-user", b"a")], Code::RepeatedHeader),
        (&[("x-user", b"a"), ("x-user", b"")], Code::RepeatedHeader),
        (&[("x-user", b"alice,bob")], Code::RepeatedHeader),
        (&[("x-user", b"a"), ("x-email", b"a@b,c@d")], Code::RepeatedHeader),
        (&[("x-user", b"a"), ("x-groups", b"a"), ("x-groups", b"b")], Code::RepeatedHeader),
        (&[("x-user", b"\xff")], Code::MalformedUser),
        (&[("x-user", "a\u{a0}".as_bytes())], Code::MalformedUser),
        (&[("x-user", "a\u{200b}".as_bytes())], Code::MalformedUser),
        (&[("x-user", &[b'a'; 65])], Code::MalformedUser),
        (&[("x-user", b"a"), ("x-email", b"a@b@c")], Code::MalformedEmail),
        (&[("x-user", b"a"), ("x-email", b"nope")], Code::MalformedEmail),
        (&[("x-user", b"a"), ("x-groups", b"a,b,c,d,e")], Code::MalformedGroups),
        (&[("x-user", b"a"), ("x-groups", "a\u{202e}".as_bytes())], Code::MalformedGroups),
        (&[("x-user", b"a"), ("x-name", b"a\x80")], Code::MalformedHeader),
    ];
    for (lines, wanted) in table {
        assert_eq!(read(rules(), lines).err(), Some(*wanted), "{lines:?}");
    }
}

#[test]
fn missing_groups_are_no_groups_unless_they_are_required() {
    assert_eq!(read(rules(), &[("x-user", b"a")]).unwrap().groups, Vec::<String>::new());
    let strict = IdentityRules { groups_required: true, ..rules() };
    assert_eq!(read(strict, &[("x-user", b"a"), ("x-roles", b"a")]).err(), Some(Code::NoGroups));
}

#[test]
fn the_user_header_may_hold_the_email_and_then_must() {
    let rules = || IdentityRules { email_from_user: true, ..rules() };
    let person = read(rules(), &[("x-user", b"Alice@B.com"), ("x-email", b"mallory@b.com")]).unwrap();
    assert_eq!((person.subject.as_str(), person.email.as_deref()), ("alice@b.com", Some("alice@b.com")));
    assert_eq!(read(rules(), &[("x-user", b"alice")]).err(), Some(Code::MalformedEmail));
}

#[test]
fn what_is_not_read_does_not_count() {
    let mut rules = rules();
    rules.reads.remove(&Attribute::Groups);
    rules.reads.remove(&Attribute::Roles);
    assert_eq!(read(rules, &[("x-user", b"a"), ("x-groups", b"admins")]).unwrap().groups, Vec::<String>::new());
}
