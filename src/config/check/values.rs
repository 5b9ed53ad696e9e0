//! Single values: numbers, durations, names, secrets.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::document::read_file;
use crate::config::problem::{KeyPath, literal};
use crate::config::raw::{Scalar, Secret};
use crate::config::report::Report;

/// Longest duration that means anything here.
const DURATION_MAX: Duration = Duration::from_hours(366 * 24);
/// Postgres cuts longer names (`NAMEDATALEN` - 1).
const SCHEMA_BYTES_MAX: usize = 63;

/// Whether 0 says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    /// It does, such as "off" or "at once".
    Allowed,
    /// Nothing would work.
    Refused,
}

/// A duration such as `1500ms`, `30s`, `5m`, `24h` or `7d`; a bare `0` has no unit.
pub(super) fn duration(
    path: &str,
    raw: Option<Scalar>,
    default: Duration,
    zero: Zero,
    report: &mut Report,
) -> Duration {
    let Some(Scalar(text)) = raw else { return default };
    match parse_duration(&text) {
        None => {
            let remedy = "write a number and its unit, such as `1500ms`, `30s`, `5m`, `24h` or `7d`";
            report.error(path, format!("`{path}` is not a duration: {}", literal(&text)), remedy);
        }
        Some(Duration::ZERO) if zero == Zero::Refused => {
            report.error(path, format!("`{path}` can't be zero"), "leave it out for the default");
        }
        Some(duration) if duration > DURATION_MAX => {
            report.error(path, format!("`{path}` is too long: {}", literal(&text)), "the longest is `366d`");
        }
        Some(duration) => return duration,
    }
    default
}

/// A duration in the configuration's notation.
pub(in crate::config) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (number, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// A duration as the configuration would write it.
pub(in crate::config) fn written(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_millis() > 0 {
        return format!("{}ms", duration.as_millis());
    }
    for (unit, length) in [("d", 24 * 60 * 60), ("h", 60 * 60), ("m", 60)] {
        if seconds >= length && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

/// A whole number within a range.
pub(super) fn number<T>(path: &str, raw: Option<Scalar>, default: T, range: RangeInclusive<T>, report: &mut Report) -> T
where
    T: FromStr + PartialOrd + Display,
{
    let Some(Scalar(text)) = raw else { return default };
    match text.parse::<T>() {
        Ok(number) if range.contains(&number) => return number,
        Ok(_) => {
            let remedy = format!("it goes from {} to {}", range.start(), range.end());
            report.error(path, format!("`{path}` is out of range: {}", literal(&text)), remedy);
        }
        Err(_) => {
            let remedy = format!("write a whole number from {} to {}, without a unit", range.start(), range.end());
            report.error(path, format!("`{path}` is not such a number: {}", literal(&text)), remedy);
        }
    }
    default
}

/// `true` or `false`.
pub(super) fn flag(path: &str, raw: Option<&Scalar>, report: &mut Report) -> bool {
    match raw.map(|Scalar(text)| text.as_str()) {
        None | Some("false") => false,
        Some("true") => true,
        Some(text) => {
            report.error(
                path,
                format!("`{path}` is neither true nor false: {}", literal(text)),
                "write `true` or `false`",
            );
            false
        }
    }
}

/// A secret from its key or its `KEY_file`, with the key that it came from. Of a file one newline at the end is dropped.
pub(super) fn secret(
    path: &str,
    inline: Option<Secret>,
    file: Option<String>,
    report: &mut Report,
) -> Option<(SecretString, KeyPath)> {
    let file_path = format!("{path}_file");
    let (secret, from) = match (inline, file) {
        (None, None) => return None,
        (Some(_), Some(_)) => {
            let message = format!("`{path}` and `{file_path}` are both set");
            report.error(file_path.as_str(), message, "keep one of the two");
            return None;
        }
        (Some(Secret(secret)), None) => (secret, path),
        (None, Some(file)) => (secret_file(&file_path, &file, report)?, file_path.as_str()),
    };
    if secret.expose_secret().is_empty() {
        report.error(
            from,
            format!("`{from}` gives an empty secret"),
            "an empty secret protects nothing: fill it, or take it out",
        );
        return None;
    }
    Some((secret, from.into()))
}

fn secret_file(path: &str, file: &str, report: &mut Report) -> Option<SecretString> {
    report.reads(Path::new(file));
    match read_file(Path::new(file)) {
        Ok(mut text) => {
            if text.ends_with('\n') {
                text.pop();
                if text.ends_with('\r') {
                    text.pop();
                }
            }
            Some(text.into())
        }
        Err(error) => {
            let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            report.error(path, format!("`{path}` gives no secret: {error}"), why);
            None
        }
    }
}

/// The name of a schema: an identifier that needs no quotes.
pub(super) fn schema(path: &str, name: String, report: &mut Report) -> String {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !starts || !plain || name.len() > SCHEMA_BYTES_MAX {
        let remedy = format!("letters, digits and `_`, not a digit first, at most {SCHEMA_BYTES_MAX}");
        report.error(path, format!("`{path}` is not the name of a schema: {}", literal(&name)), remedy);
    }
    name
}

/// Why a path is not in its plain spelling: the one spelling that every server on the way understands alike.
pub(super) fn path_fault(path: &str) -> Option<&'static str> {
    let signs = path.bytes().any(|byte| !byte.is_ascii_graphic() || b"%?#;\\\"<>^`{|}*".contains(&byte));
    if !path.starts_with('/') {
        Some("begin it with `/`")
    } else if signs {
        Some("write the path plainly, without `%`, `*`, `?`, `#`, `;` or blanks")
    } else if path.contains("//") || path.split('/').any(|segment| matches!(segment, "." | "..")) {
        Some("write the path without `//`, `.` and `..`")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in
            [("1500ms", 1500), ("30s", 30_000), ("5m", 300_000), ("24h", 86_400_000), ("0", 0), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "30", "s", "1.5s", "-1s", "1 s", "1w", "99999999999999999999s", "9999999999999999999d", "1h30m"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for text in ["1500ms", "30s", "5m", "90s", "24d", "7d", "6h"] {
            assert_eq!(written(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn only_plain_paths_pass() {
        for path in ["/", "/a", "/a/b/", "/.well-known/x", "/a:b@c!$&'()+,=~_-1"] {
            assert_eq!(path_fault(path), None, "{path}");
        }
        for path in ["", "a", "/a//b", "/../a", "/a/.", "/%61", "/a?b", "/a;b", "/a b", "/ä", "/a*", "/a\\b", "//"] {
            assert!(path_fault(path).is_some(), "{path}");
        }
    }
}
