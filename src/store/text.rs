//! What may be an id, an e-mail address, a name: canonical or refused.

use unicode_normalization::is_nfc;

/// Most bytes of an id; LiteLLM refuses longer ones (`_is_valid_user_id`).
pub(crate) const ID_BYTES_MAX: usize = 512;
/// Most bytes of an e-mail address (RFC 5321 4.5.3.1.3, less the brackets).
const EMAIL_BYTES_MAX: usize = 254;
/// Most bytes of a picture's address.
const PICTURE_BYTES_MAX: usize = 2048;

/// No control character, nothing that hides or reorders text. Names in every script pass.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || hides(c))
}

/// An id: plain, printable, in one Unicode form only (NFC), no white space but inner plain spaces, 1 to 512 bytes.
/// Case counts: subjects are case-sensitive (OpenID Connect Core 2).
pub(crate) fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= ID_BYTES_MAX
        && is_plain(text)
        && !text.chars().any(|c| c.is_whitespace() && c != ' ')
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && is_nfc(text)
}

/// The canonical form of an e-mail address: ASCII, lower case, exactly one `@`, a plain local part, a domain of labels.
///
/// Stricter than RFC 5322 on purpose: quoted parts and several `@` are how domain rules were passed by (GHSA-c5c4-8r6x-56w3),
/// and letters beyond ASCII fold onto others (CVE-2019-19844). Private domains such as `.local` are fine.
pub(crate) fn email(text: &str) -> Option<String> {
    let (local, domain) = text.split_once('@')?;
    let local_ok = !local.is_empty()
        && local.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte));
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (text.len() <= EMAIL_BYTES_MAX && local_ok && domain.split('.').all(label_ok)).then(|| text.to_ascii_lowercase())
}

/// `First Last`, or the one that there is.
pub(crate) fn joined(first: Option<&str>, last: Option<&str>) -> Option<String> {
    match (first, last) {
        (Some(first), Some(last)) => Some(format!("{first} {last}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
        (None, None) => None,
    }
}

/// An https address of moderate length; no other scheme is ever shown.
pub(crate) fn is_picture(text: &str) -> bool {
    text.len() <= PICTURE_BYTES_MAX
        && text.starts_with("https://")
        && text
            .parse::<http::Uri>()
            .is_ok_and(|uri| uri.authority().is_some_and(|authority| !authority.as_str().contains('@')))
}

/// Zero-width and direction-changing characters (Unicode UAX #9, and what draws nothing).
fn hides(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_canonical_or_refused() {
        for good in ["alice", "auth0|64fe", "jürgen", "李雷", "a b", "00u1-x@y", "Admin"] {
            assert!(is_id(good), "{good}");
        }
        for bad in [
            "",
            " a",
            "a ",
            "a\u{a0}",
            "a\u{85}",
            "ju\u{308}rgen",
            "a\u{200b}",
            "\u{202e}a",
            "a\0",
            "a\u{feff}",
            &"x".repeat(513),
        ] {
            assert!(!is_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn emails_are_lower_case_with_one_at() {
        assert_eq!(email("Alice.B+tag@Corp.LOCAL").as_deref(), Some("alice.b+tag@corp.local"));
        assert_eq!(email("a@localhost").as_deref(), Some("a@localhost"));
        for bad in [
            "a@evil@corp.com",
            "a",
            "@corp.com",
            "a@",
            "a@.com",
            "a@corp..com",
            "a b@corp.com",
            "\"a\"@corp.com",
            "a@[10.0.0.1]",
            "kı@corp.com",
            "a@cörp.com",
            "a@corp.com.",
            "a@-x.com",
        ] {
            assert_eq!(email(bad), None, "{bad}");
        }
    }

    #[test]
    fn pictures_are_https() {
        assert!(is_picture("https://img.example.com/a.png?x=1"));
        for bad in ["http://a/b", "javascript:alert(1)", "https://u@evil/", "data:image/png;base64,"] {
            assert!(!is_picture(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_email_stays_as_it_is(text in "\\PC{0,40}") {
            if let Some(once) = email(&text) {
                let twice = email(&once);
                prop_assert_eq!(twice.as_deref(), Some(once.as_str()));
                prop_assert_eq!(once.matches('@').count(), 1);
            }
        }
    }
}
