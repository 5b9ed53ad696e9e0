//! A source line as it may be shown: without secrets, and with a mark under what is meant.

use crate::config::problem::Excerpt;

/// How much of the source line may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// All but private values; a value is marked.
    Value,
    /// All but private values; the key is marked.
    Key,
    /// Nothing after the key, since nobody knows what it is.
    KeyAlone,
    /// The text could not be parsed, so private values are not known.
    Unparsed,
}

/// The lines of a text as the YAML crate counts them (YAML 1.1, 5.4): more than a line feed ends one, and whoever counts
/// otherwise shows another line, whose secrets are not those that are hidden.
pub(super) fn lines(text: &str) -> Vec<&str> {
    let parts = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    parts.flat_map(|line| line.split(['\r', '\u{85}', '\u{2028}', '\u{2029}'])).collect()
}

/// The line as it may be shown, with a mark at `start`. Values that begin at the places of `private` are replaced; from
/// `cut` on nothing is shown.
pub(super) fn excerpt(
    line: &str,
    start: usize,
    show: Show,
    private: Vec<usize>,
    cut: Option<usize>,
) -> Option<Excerpt> {
    if show == Show::Unparsed {
        return unparsed(line, start);
    }
    let mut chars: Vec<char> = line.chars().collect();
    if let Some(cut) = cut.filter(|cut| *cut < chars.len()) {
        chars.truncate(cut);
        chars.push('…');
    }
    let mut end = match show {
        Show::Value => value_end(&chars, start, false),
        Show::Key | Show::KeyAlone => key_end(&chars, start),
        Show::Unparsed => start,
    };
    if show == Show::KeyAlone && chars.iter().skip(end + 1).any(|c| !c.is_whitespace()) {
        chars.truncate(end + 1);
        chars.extend([' ', '…']);
    }
    let mut start = start;
    let mut private = private;
    private.sort_unstable();
    // From the right, so that what is still to be replaced keeps its place.
    for from in private.into_iter().rev().filter(|from| *from < chars.len()).collect::<Vec<_>>() {
        let to = value_end(&chars, from, true);
        let cut = to - from - 1;
        chars.splice(from..to, ['…']);
        if from < start {
            start = start.saturating_sub(cut).max(from);
        }
        if from < end {
            end = end.saturating_sub(cut).max(from + 1);
        }
    }
    let text: String = chars.into_iter().collect();
    Some(Excerpt::new(&text, start, end.saturating_sub(start)))
}

/// Of a line that could not be parsed, the key alone: what is a value, and whose, is not known. A line of something else
/// may be one of a secret.
fn unparsed(line: &str, start: usize) -> Option<Excerpt> {
    let (before, value) = line.split_once(':')?;
    let key = before.trim_start().trim_start_matches("- ");
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if !plain || !(value.is_empty() || value.starts_with(' ')) {
        return None;
    }
    let rest = if value.trim().is_empty() { "" } else { " …" };
    let after_key = before.chars().count() + 1;
    let start = if start < after_key { start } else { after_key + usize::from(!rest.is_empty()) };
    Some(Excerpt::new(&format!("{before}:{rest}"), start, 1))
}

/// Where a key ends: at its `:`.
fn key_end(chars: &[char], start: usize) -> usize {
    let length = chars.iter().skip(start).take_while(|c| **c != ':').count();
    (start + length).min(chars.len())
}

/// Where a value ends on its line. For hiding one, what is not sure counts to it.
fn value_end(chars: &[char], start: usize, hide: bool) -> usize {
    let rest = chars.get(start..).unwrap_or_default();
    let line_end = chars.len() - chars.iter().rev().take_while(|c| c.is_whitespace()).count();
    let length = match rest.first() {
        Some('"') => {
            let mut escaped = false;
            let end = |(at, c): (usize, &char)| {
                let ends = at > 0 && *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends.then_some(at + 1)
            };
            rest.iter().enumerate().find_map(end)
        }
        Some('\'') if !rest.windows(2).skip(1).any(|pair| pair == ['\'', '\'']) => {
            rest.iter().skip(1).position(|c| *c == '\'').map(|at| at + 2)
        }
        Some('[' | '{' | '|' | '>' | '&' | '*' | '\'') | None => None,
        Some(_) if in_flow(chars, start) => rest.iter().position(|c| matches!(c, ',' | '}' | ']')),
        Some(_) if hide => None,
        Some(_) => rest.windows(2).position(|pair| pair == [' ', '#']),
    };
    let end = length.map_or(line_end, |length| start + length);
    let blanks = chars.get(start..end).unwrap_or_default().iter().rev().take_while(|c| c.is_whitespace()).count();
    (end - blanks.min(end)).clamp((start + 1).min(chars.len()), chars.len())
}

/// Whether a `[` or `{` is open before this place of the line.
fn in_flow(chars: &[char], place: usize) -> bool {
    let before = chars.get(..place).unwrap_or_default();
    let count = |wanted: [char; 2]| before.iter().filter(|c| wanted.contains(c)).count();
    count(['[', '{']) > count([']', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str, start: usize, show: Show, private: &[usize]) -> Option<(String, usize, usize)> {
        excerpt(line, start, show, private.to_vec(), None).map(|excerpt| (excerpt.text, excerpt.start, excerpt.width))
    }

    #[test]
    fn a_value_is_marked_to_its_end() {
        for (line, start, width) in [
            ("url: ftp://x  # why", 5, 7),
            ("url: \"a \\\" b\" # why", 5, 8),
            ("url: 'a' # why", 5, 3),
            ("when: { group: a, email: b }", 15, 1),
            ("peers: [a, b]", 7, 6),
            ("- x", 2, 1),
        ] {
            let (text, at, marked) = shown(line, start, Show::Value, &[]).unwrap();
            assert_eq!((text.as_str(), at, marked), (line, start, width));
        }
    }

    #[test]
    fn a_private_value_is_replaced_however_it_is_written() {
        for (line, from, wanted) in [
            ("secret: s3cret # s3cret", 8, "secret: …"),
            ("secret: \"s3\\\"cret\" # note", 8, "secret: … # note"),
            ("secret: 's3cret'", 8, "secret: …"),
            ("secret: 's3''cret'", 8, "secret: …"),
            ("h: { name: X, value: s3cret }", 21, "h: { name: X, value: … }"),
            ("h: { value: [s3cret, s3cret] }", 12, "h: { value: …"),
            ("secret: |", 8, "secret: …"),
            ("secret: \"s3cret", 8, "secret: …"),
        ] {
            let (text, _, _) = shown(line, 0, Show::Key, &[from]).unwrap();
            assert_eq!(text, wanted, "{line}");
        }
    }

    #[test]
    fn the_mark_moves_with_what_is_hidden() {
        let line = "h: { value: s3cret, name: bad }";
        assert_eq!(shown(line, 26, Show::Value, &[12]), Some(("h: { value: …, name: bad }".into(), 21, 3)));
        assert_eq!(shown(line, 12, Show::Value, &[12]), Some(("h: { value: …, name: bad }".into(), 12, 1)));
    }

    #[test]
    fn lines_end_where_yaml_ends_them() {
        assert_eq!(lines("a\nb\r\nc\rd\u{85}e\u{2028}f\u{2029}\n\ng"), ["a", "b", "c", "d", "e", "f", "", "", "g"]);
    }

    #[test]
    fn what_follows_an_unknown_key_is_not_shown() {
        assert_eq!(shown("  secrt: s3cret", 2, Show::KeyAlone, &[]), Some(("  secrt: …".into(), 2, 5)));
        assert_eq!(shown("trsut:", 0, Show::KeyAlone, &[]), Some(("trsut:".into(), 0, 5)));
    }

    #[test]
    fn of_an_unparsed_line_only_the_key_is_shown() {
        assert_eq!(shown("  peers: [127.0.0.1", 9, Show::Unparsed, &[]), Some(("  peers: …".into(), 9, 1)));
        assert_eq!(shown("  peers: [127.0.0.1", 4, Show::Unparsed, &[]), Some(("  peers: …".into(), 4, 1)));
        assert_eq!(shown("trust:", 5, Show::Unparsed, &[]), Some(("trust:".into(), 5, 1)));
        for line in ["postgres://me:pw@db/x", "p4ss: x", "  abcdef0123", "x { password: a", "\"a: b"] {
            assert_eq!(shown(line, 0, Show::Unparsed, &[]), None, "{line}");
        }
    }
}
