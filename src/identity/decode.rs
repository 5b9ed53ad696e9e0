//! From header bytes to text and lists, decoded exactly once.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};

use crate::config::{Decoding, Separator};
use crate::http::query::percent_decode;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The text of a header's bytes; `None` where they are not what the configuration says.
pub(super) fn text(raw: &[u8], decoding: Decoding) -> Option<String> {
    match decoding {
        Decoding::Utf8 => utf8(raw.to_vec()),
        Decoding::Latin1 => Some(latin1(raw)),
        Decoding::Rfc2047 => rfc2047(std::str::from_utf8(raw).ok()?),
        Decoding::Percent => utf8(percent_decode(raw)),
        Decoding::Base64 => utf8(BASE64.decode(raw).ok()?),
        Decoding::Base64url => utf8(BASE64URL.decode(raw).ok()?),
    }
}

/// The items of a list, trimmed, empty ones left out; `None` where it is no list in that form.
pub(super) fn list(text: &str, separator: Option<Separator>) -> Option<Vec<String>> {
    let items: Vec<String> = match separator {
        None => vec![text.to_owned()],
        Some(Separator::Char(separator)) => text.split(char::from(separator)).map(str::to_owned).collect(),
        Some(Separator::Quoted) => quoted(text)?,
        Some(Separator::Json) => serde_json::from_str(text).ok()?,
    };
    Some(
        items
            .iter()
            .map(|item| item.trim_matches([' ', '\t']))
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

fn utf8(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok()
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// `"a","b"`: Vouch does not escape quotes within an item, so an item with a quote would be read as two: refused.
fn quoted(text: &str) -> Option<Vec<String>> {
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    let inner = text.trim().strip_prefix('"')?.strip_suffix('"')?;
    let items: Vec<&str> = inner.split("\",\"").collect();
    (!items.iter().any(|item| item.contains('"'))).then(|| items.into_iter().map(str::to_owned).collect())
}

/// RFC 2047 encoded words, plain text beside them. Space between two encoded words is not text (section 6.2).
fn rfc2047(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut after_word = false;
    while let Some(start) = rest.find("=?") {
        let (plain, from_word) = rest.split_at(start);
        let is_gap = plain.chars().all(|c| c == ' ' || c == '\t');
        if !(after_word && is_gap) {
            out.extend_from_slice(plain.as_bytes());
        }
        let (bytes, left) = encoded_word(from_word)?;
        out.extend_from_slice(&bytes);
        rest = left;
        after_word = true;
    }
    out.extend_from_slice(rest.as_bytes());
    utf8(out)
}

/// Takes `=?charset?B|Q?…?=` from the front: its text in UTF-8, and what follows.
fn encoded_word(text: &str) -> Option<(Vec<u8>, &str)> {
    let (word, left) = text.strip_prefix("=?").and_then(|text| {
        // The payload holds no `?`, so the third one ends it.
        let end = text.match_indices('?').nth(2).map(|(at, _)| at)?;
        let (word, left) = text.split_at(end);
        Some((word, left.strip_prefix("?=")?))
    })?;
    let mut parts = word.splitn(3, '?');
    let (charset, encoding, payload) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = match encoding {
        "B" | "b" => BASE64.decode(payload).ok()?,
        "Q" | "q" => q_decode(payload)?,
        _ => return None,
    };
    if charset.eq_ignore_ascii_case("utf-8") {
        Some((bytes, left))
    } else if charset.eq_ignore_ascii_case("iso-8859-1") {
        Some((latin1(&bytes).into_bytes(), left))
    } else {
        None
    }
}

fn q_decode(payload: &str) -> Option<Vec<u8>> {
    // `%` is a plain character here, so it is hidden from the percent decoder.
    if payload.contains('=') || payload.contains('_') || payload.contains('%') {
        let escaped = payload.replace('%', "%25").replace('_', " ").replace('=', "%");
        let decoded = percent_decode(escaped.as_bytes());
        // A `=` without two digits is no Q encoding.
        let whole = payload.split('=').skip(1).all(|part| {
            let mut digits = part.chars().take(2);
            digits.next().is_some_and(|c| c.is_ascii_hexdigit()) && digits.next().is_some_and(|c| c.is_ascii_hexdigit())
        });
        return whole.then_some(decoded);
    }
    Some(payload.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_decoding_reads_its_own_and_refuses_the_rest() {
        let table: &[(&[u8], Decoding, Option<&str>)] = &[
            ("Jürgen".as_bytes(), Decoding::Utf8, Some("Jürgen")),
            (b"J\xfcrgen", Decoding::Utf8, None),
            (b"J\xfcrgen", Decoding::Latin1, Some("Jürgen")),
            (b"=?UTF-8?B?SsO8cmdlbg==?=", Decoding::Rfc2047, Some("Jürgen")),
            (b"=?utf-8?q?J=C3=BCrgen_X?=", Decoding::Rfc2047, Some("Jürgen X")),
            (b"=?utf-8?q?100%41?=", Decoding::Rfc2047, Some("100%41")),
            (b"=?iso-8859-1?q?J=FCrgen?=", Decoding::Rfc2047, Some("Jürgen")),
            (b"=?utf-8?B?SsO8?= =?utf-8?B?cmdlbg?=", Decoding::Rfc2047, Some("Jürgen")),
            (b"plain =?utf-8?q?a?= b", Decoding::Rfc2047, Some("plain a b")),
            (b"plain", Decoding::Rfc2047, Some("plain")),
            (b"=?utf-8?q?=zz?=", Decoding::Rfc2047, None),
            (b"=?koi8-r?q?a?=", Decoding::Rfc2047, None),
            (b"=?utf-8?q?a", Decoding::Rfc2047, None),
            (b"J%C3%BCrgen%2C", Decoding::Percent, Some("Jürgen,")),
            (b"%FF", Decoding::Percent, None),
            (b"SsO8cmdlbg==", Decoding::Base64, Some("Jürgen")),
            (b"SsO8cmdlbg", Decoding::Base64url, Some("Jürgen")),
            (b"!", Decoding::Base64, None),
        ];
        for (raw, decoding, wanted) in table {
            assert_eq!(text(raw, *decoding).as_deref(), *wanted, "{decoding:?} {raw:?}");
        }
    }

    #[test]
    fn lists_are_split_by_their_own_separator_alone() {
        let of = |text, separator| list(text, Some(separator));
        let strings = |items: &[&str]| Some(items.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of("a,b c, ,d|e", Separator::Char(b',')), strings(&["a", "b c", "d|e"]));
        assert_eq!(of("a,b|c", Separator::Char(b'|')), strings(&["a,b", "c"]));
        assert_eq!(of(r#""admins","dev, team""#, Separator::Quoted), strings(&["admins", "dev, team"]));
        assert_eq!(of(r#""a"b","c""#, Separator::Quoted), None);
        assert_eq!(of("admins", Separator::Quoted), None);
        assert_eq!(of(r#"["a","b"]"#, Separator::Json), strings(&["a", "b"]));
        assert_eq!(of(r#"{"a":1}"#, Separator::Json), None);
    }
}
