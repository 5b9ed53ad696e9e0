//! Cookies, as requests carry them (RFC 6265 section 4.2).

use http::HeaderValue;

/// The cookies of a line, one by one, as they stand between the semicolons.
pub fn parts(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let (part, after) = match memchr::memchr(b';', line) {
            Some(at) => line.split_at(at),
            None => (line, &[][..]),
        };
        rest = after.split_first().map(|(_, after)| after);
        Some(part)
    })
}

/// A cookie's name.
pub fn name(cookie: &[u8]) -> &[u8] {
    let end = memchr::memchr2(b'=', b';', cookie).unwrap_or(cookie.len());
    cookie.split_at(end).0.trim_ascii()
}

/// The values of all cookies of a name: a browser sends one for each path that it holds one for, the longest path first.
pub fn values<'a>(lines: impl Iterator<Item = &'a HeaderValue>, wanted: &'static str) -> impl Iterator<Item = &'a str> {
    lines.flat_map(|line| parts(line.as_bytes())).filter_map(move |cookie| {
        let (_, value) = std::str::from_utf8(cookie).ok()?.split_once('=')?;
        (name(cookie) == wanted.as_bytes()).then(|| value.trim_ascii().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cookies_of_a_name_are_found() {
        let lines = ["a=1; token=x=y;tokens=2", "token=\"z\"; token"].map(HeaderValue::from_static);
        assert_eq!(values(lines.iter(), "token").collect::<Vec<_>>(), ["x=y", "z"]);
        assert_eq!(name(b" a = 1"), b"a");
    }
}
