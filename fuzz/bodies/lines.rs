//! Header lines, for the bodies whose input is some.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// A map of `Name: value` lines. A line that is none is left out, as are blanks around a value: hyper's are without.
pub(super) fn headers(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(trim(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            // A map has its limit; what is beyond it never arrives.
            let _ = headers.try_append(name, value);
        }
    }
    headers
}

/// Without blanks and tabs around.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(is_text).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(is_text).map_or(start, |last| last + 1);
    &bytes[start..end]
}
