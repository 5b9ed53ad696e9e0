//! Query parameters by name, as a server that decodes names sees them.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but what a query never misreads (RFC 3986 section 2.3).
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The query without the parameters that `unwanted` names, by decoded name and value. `None` when there is none to take
/// out, so that a query passes byte for byte unless it must not.
pub fn without(query: &str, unwanted: impl Fn(&str, &str) -> bool) -> Option<String> {
    let is_it = |pair: &&str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        unwanted(&decode(name), &decode(value))
    };
    if !query.split('&').any(|pair| is_it(&pair)) {
        return None;
    }
    Some(query.split('&').filter(|pair| !is_it(pair)).collect::<Vec<_>>().join("&"))
}

/// An address, or any text, as the value of a parameter.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, &RESERVED).to_string()
}

/// Percent-decodes once, `+` as a space; what is not an escape stays.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let bytes = percent_decode(text.replace('+', " ").as_bytes());
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Percent-decodes once; what is not an escape stays as it is.
pub fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (first, digit(0), digit(1)) {
            bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_parameter_goes_in_every_spelling_and_the_rest_stays_as_it_was() {
        let key = |query| without(query, |name, _| name == "key");
        assert_eq!(key("alt=sse&key=sk-1&x=%2F").as_deref(), Some("alt=sse&x=%2F"));
        assert_eq!(key("k%65y=1").as_deref(), Some(""));
        assert_eq!(key("key").as_deref(), Some(""));
        assert_eq!(key("a=1&keys=2&Key=3&a=1;b=2"), None);
        assert_eq!(key("a=1&&b=%zz"), None);
        assert_eq!(without("a=s%6B-1&b=2", |_, value| value.starts_with("sk-")).as_deref(), Some("b=2"));
    }
}
