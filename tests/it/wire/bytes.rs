//! Bytes as the cases write them, and as they are compared: escapes, what varies, and differences for people.

use std::fmt::Write as _;
use std::ops::Range;

/// Least length of a run of letters and digits behind `sk-` that is a session key; what a case forges is shorter.
const KEY_CHARACTERS: usize = 20;
/// Hex digits of a request id that vestibule made.
const ID_DIGITS: usize = 16;

/// The bytes that a line of a case stands for.
pub(crate) fn unescape(line: &str) -> Result<Vec<u8>, String> {
    if line.ends_with(' ') || !line.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(format!("only printable ASCII, and a blank at the end as \\x20: {line:?}"));
    }
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.bytes());
        rest = escape(after, &mut bytes).ok_or_else(|| format!("a bad escape: {line:?}"))?;
    }
    bytes.extend(rest.bytes());
    Ok(bytes)
}

/// One escape, after its backslash; what follows it.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let (kind, rest) = text.split_at_checked(1)?;
    match kind {
        "r" => bytes.push(b'\r'),
        "n" => bytes.push(b'\n'),
        "t" => bytes.push(b'\t'),
        "0" => bytes.push(0),
        "\\" => bytes.push(b'\\'),
        "x" => {
            let (digits, rest) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            return Some(rest);
        }
        "{" => {
            let (inside, rest) = rest.split_once('}')?;
            let (count, pattern) = inside.split_once('*')?;
            bytes.extend(unescape(pattern).ok()?.repeat(count.parse().ok()?));
            return Some(rest);
        }
        _ => return None,
    }
    Some(rest)
}

/// Puts names in the place of what varies: keys, request ids, dates, the upstream's address.
pub(crate) fn normalised(bytes: &[u8], upstream: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let name = line.iter().position(|byte| *byte == b':').map(|colon| line[..colon].to_ascii_lowercase());
        let value = line.len() - line.splitn(2, |byte| *byte == b':').nth(1).map_or(0, <[u8]>::len);
        let (text, end) = (line[value..].trim_ascii(), line.trim_ascii_end().len());
        let name = match name.as_deref() {
            Some(b"x-request-id") if is_made_id(text) => "<id>",
            Some(b"date") if is_of_today(text) => "<date>",
            _ => {
                replace_keys(line, &mut out);
                continue;
            }
        };
        out.extend(&line[..end - text.len()]);
        out.extend(name.bytes());
        out.extend(&line[end..]);
    }
    replace(out, upstream.as_bytes(), b"<upstream>")
}

fn is_made_id(text: &[u8]) -> bool {
    !text.is_empty() && text.len() <= ID_DIGITS && text.iter().all(u8::is_ascii_hexdigit)
}

/// Whether vestibule made it: the cases' own dates are of the last century.
fn is_of_today(text: &[u8]) -> bool {
    !text.windows(3).any(|window| window == b" 19")
}

fn replace_keys(line: &[u8], out: &mut Vec<u8>) {
    let mut rest = line;
    while let Some(at) = rest.windows(3).position(|window| window == b"sk-") {
        let run = rest[at + 3..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        out.extend(&rest[..at]);
        out.extend(if run < KEY_CHARACTERS { &rest[at..at + 3 + run] } else { b"<key>" });
        rest = &rest[at + 3 + run..];
    }
    out.extend(rest);
}

fn replace(bytes: Vec<u8>, what: &[u8], with: &[u8]) -> Vec<u8> {
    if what.is_empty() || !bytes.windows(what.len()).any(|window| window == what) {
        return bytes;
    }
    let mut out = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some(at) = rest.windows(what.len()).position(|window| window == what) {
        out.extend(&rest[..at]);
        out.extend(with);
        rest = &rest[at + what.len()..];
    }
    out.extend(rest);
    out
}

/// Lines as a case would write them; a long run of one byte is written short.
pub(crate) fn escaped(bytes: &[u8]) -> Vec<String> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(escaped_line).collect()
}

fn escaped_line(line: &[u8]) -> String {
    let mut text = String::new();
    for run in line.chunk_by(|a, b| a == b) {
        let one = run.first().map_or_else(String::new, |byte| match byte {
            b'\0' => "\\0".to_owned(),
            b'\\' => "\\\\".to_owned(),
            b'\r' | b'\n' | b'\t' | b' '..=b'~' => char::from(*byte).escape_default().to_string().replace("\\'", "'"),
            _ => format!("\\x{byte:02x}"),
        });
        let _ = if run.len() > 16 {
            write!(text, "\\{{{}*{one}}}", run.len())
        } else {
            write!(text, "{}", one.repeat(run.len()))
        };
    }
    text.replace("\\\"", "\"")
}

/// Both sides, line by line, from where they part.
pub(crate) fn difference(expected: &[u8], got: &[u8]) -> String {
    let (expected, got) = (escaped(expected), escaped(got));
    let same = expected.iter().zip(&got).take_while(|(a, b)| a == b).count();
    let tail = |lines: &[String]| -> Range<usize> { same..lines.len() };
    let mut text = String::new();
    for line in expected.iter().take(same) {
        let _ = writeln!(text, "      {line}");
    }
    for line in expected[tail(&expected)].iter().take(12) {
        let _ = writeln!(text, "    - {line}");
    }
    for line in got[tail(&got)].iter().take(12) {
        let _ = writeln!(text, "    + {line}");
    }
    text
}

#[test]
fn escapes_say_what_they_mean() {
    assert_eq!(unescape(r"a\r\n\t\0\xff\\\{3*x\n}z").unwrap(), b"a\r\n\t\0\xff\\x\nx\nx\nz");
    for bad in [r"\q", r"\x1", r"\{3}", r"\{x*y}", "a ", "\t", "ü", "\\"] {
        assert!(unescape(bad).is_err(), "{bad}");
    }
    let bytes = b"a\r\n\t\0\xff\\\"'\x0bxxxxxxxxxxxxxxxxxxxxx\n";
    assert_eq!(unescape(&escaped(bytes).concat()).unwrap(), bytes);
}

#[test]
fn what_varies_has_a_name_and_nothing_else_has() {
    let came = b"X-Request-Id: 0123456789abcdef\r\nx-request-id: mine\r\ndate: Tue, 01 Jan 2030 00:00:00 GMT\r\n\
        date: Fri, 01 Jan 1999 00:00:00 GMT\r\na: Bearer sk-0123456789abcdefghijk, sk-forged\r\nhost: 127.0.0.1:4000\r\n";
    let named = b"X-Request-Id: <id>\r\nx-request-id: mine\r\ndate: <date>\r\n\
        date: Fri, 01 Jan 1999 00:00:00 GMT\r\na: Bearer <key>, sk-forged\r\nhost: <upstream>\r\n";
    assert_eq!(escaped(&normalised(came, "127.0.0.1:4000")), escaped(named));
}
