//! Gathers problems: gives each its place, and its source line without secrets.

use crate::config::document::{Document, Part, SyntaxFault};
use crate::config::problem::{Excerpt, KeyPath, Origin, Problem, Severity, Step};

/// The keys whose values are secrets. Each can also be given as `KEY_file`.
pub(super) const SECRETS: [&str; 4] =
    ["trust.secret_header.value", "trust.basic_auth_password", "session.secret", "litellm.database_url"];

/// Problems and what is needed to place them.
#[derive(Debug)]
pub(super) struct Report {
    name: String,
    /// The file as it was read, before anything was set over it.
    source: Document,
    origins: Vec<(KeyPath, Origin)>,
    /// Values that are never shown.
    private: Vec<KeyPath>,
    /// Nodes that were taken out of the tree: what is said of them later would only be an echo.
    broken: Vec<KeyPath>,
    found: Vec<(Problem, Show)>,
}

/// How much of the source line may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    /// All but private values; a value is marked.
    Value,
    /// All but private values; the key is marked.
    Key,
    /// Nothing after the key, since nobody knows what it is.
    KeyAlone,
    /// The text could not be parsed, so private values are not known.
    Unparsed,
}

// === impl Report ===

impl Report {
    /// A report about a file.
    pub(super) fn new(name: String, source: Document) -> Self {
        let mut report =
            Self { name, source, origins: Vec::new(), private: Vec::new(), broken: Vec::new(), found: Vec::new() };
        for secret in SECRETS.map(KeyPath::parse) {
            report.keep_private(&secret);
            // Where a section of secrets is no mapping, a secret may stand in its place.
            let mut above = secret.parent();
            while let Some(path) = above {
                if !path.steps().is_empty() && report.source.kind(&path) != Some(crate::config::document::Kind::Mapping)
                {
                    report.keep_private(&path);
                }
                above = path.parent();
            }
        }
        report
    }

    /// Notes that a key was set over the file.
    pub(super) fn set_by(&mut self, path: KeyPath, origin: Origin) {
        self.origins.retain(|(known, _)| !known.is_under(&path));
        self.origins.push((path, origin));
    }

    /// Who set exactly this key over the file.
    pub(super) fn setter(&self, path: &KeyPath) -> Option<&Origin> {
        self.origins.iter().rfind(|(known, _)| known == path).map(|(_, origin)| origin)
    }

    /// Never shows what stands at and below a path.
    pub(super) fn keep_private(&mut self, path: &KeyPath) {
        self.private.extend(self.source.leaves(path));
    }

    /// Notes that a node was taken out.
    pub(super) fn taken_out(&mut self, path: KeyPath) {
        self.broken.push(path);
    }

    /// A fault in a value.
    pub(super) fn error(&mut self, path: impl Into<KeyPath>, message: impl Into<String>, remedy: impl Into<String>) {
        let path = path.into();
        if !self.broken.iter().any(|broken| path.is_under(broken)) {
            self.add(Severity::Error, path, Show::Value, message.into(), remedy.into());
        }
    }

    /// A key that should not be there at all.
    pub(super) fn unknown(&mut self, path: &KeyPath, message: String, remedy: String) {
        self.keep_private(path);
        self.add(Severity::Error, path.clone(), Show::KeyAlone, message, remedy);
    }

    /// A fault in the shape of a node, which is taken out.
    pub(super) fn misshapen(&mut self, path: KeyPath, message: String, remedy: String) {
        self.add(Severity::Error, path.clone(), Show::Value, message, remedy);
        self.taken_out(path);
    }

    /// Something that is needed and not there. Says nothing where another problem may be the reason.
    pub(super) fn missing(&mut self, path: impl Into<KeyPath>, message: impl Into<String>, remedy: impl Into<String>) {
        let path = path.into();
        if !self.is_doubtful(&path) {
            self.add(Severity::Error, path, Show::Key, message.into(), remedy.into());
        }
    }

    /// Something that somebody should look at.
    pub(super) fn warn(&mut self, path: impl Into<KeyPath>, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Warning, path.into(), Show::Key, message.into(), remedy.into());
    }

    /// What the YAML crate says.
    pub(super) fn syntax(&mut self, fault: SyntaxFault) {
        let (line, column) = fault.place.unzip();
        let (message, remedy, show) = match fault.duplicate {
            Some(key) => {
                let key = crate::config::problem::literal(&key);
                (format!("key {key} is there twice"), "keep one of the two".to_owned(), Show::KeyAlone)
            }
            None => (format!("this is not YAML that can be read: {}", fault.message), String::new(), Show::Unparsed),
        };
        let mut problem = self.problem(Severity::Error, KeyPath::default(), message, remedy);
        (problem.line, problem.column) = (line, column);
        self.found.push((problem, show));
    }

    /// The line of a key in the file, unless it was set over it.
    pub(super) fn line(&self, path: &KeyPath) -> Option<usize> {
        let from_file = matches!(self.origin(path), Origin::File(_));
        from_file.then(|| self.source.locate(path, Part::Value)).flatten().map(|(line, _)| line)
    }

    /// Whether something at, above or below a path is wrong.
    pub(super) fn is_doubtful(&self, path: impl Into<KeyPath>) -> bool {
        let path = path.into();
        let errors = self.found.iter().filter(|(problem, _)| problem.severity == Severity::Error);
        let related = |other: &KeyPath| other.is_under(&path) || path.is_under(other);
        self.broken.iter().chain(errors.map(|(problem, _)| &problem.path)).any(related)
    }

    /// True when nothing stands in the way of a start.
    pub(super) fn is_clean(&self) -> bool {
        self.found.iter().all(|(problem, _)| problem.severity == Severity::Warning)
    }

    /// Errors and warnings, each in the file's order; what has no place in the file comes last.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let private: Vec<_> = self.private.iter().filter_map(|path| self.source.locate(path, Part::Value)).collect();
        let mut found = self.found;
        found.sort_by_key(|(problem, _)| (problem.line.is_none(), problem.line, problem.column));
        for (problem, show) in &mut found {
            let (Some(line), Some(column)) = (problem.line, problem.column) else { continue };
            let Some(text) = self.source.text().lines().nth(line - 1) else { continue };
            let private = private.iter().filter(|(on, _)| *on == line).map(|(_, column)| column - 1);
            problem.excerpt = excerpt(text, column - 1, *show, private.collect());
        }
        found.into_iter().map(|(problem, _)| problem).partition(|problem| problem.severity == Severity::Error)
    }

    fn add(&mut self, severity: Severity, path: KeyPath, show: Show, message: String, remedy: String) {
        let mut problem = self.problem(severity, path, message, remedy);
        let mut show = show;
        if matches!(problem.origin, Origin::File(_)) {
            let (place, shown) = self.place(&problem.path, show);
            (problem.line, problem.column) = place.unzip();
            show = shown;
        }
        self.found.push((problem, show));
    }

    fn problem(&self, severity: Severity, path: KeyPath, message: String, remedy: String) -> Problem {
        let remedy = Some(remedy).filter(|remedy| !remedy.is_empty());
        Problem { severity, origin: self.origin(&path), path, line: None, column: None, excerpt: None, message, remedy }
    }

    /// Who set the nearest key at or above the path; else, where the file does not hold it, who set something below it.
    fn origin(&self, path: &KeyPath) -> Origin {
        let above =
            self.origins.iter().filter(|(known, _)| path.is_under(known)).max_by_key(|(known, _)| known.steps().len());
        let below = || {
            let in_file = path.steps().is_empty() || self.source.kind(path).is_some();
            self.origins.iter().find(|(known, _)| !in_file && known.is_under(path))
        };
        above.or_else(below).map_or_else(|| Origin::File(self.name.clone()), |(_, origin)| origin.clone())
    }

    /// The place of a key, or of the nearest one above it that the file holds.
    fn place(&self, path: &KeyPath, show: Show) -> (Option<(usize, usize)>, Show) {
        let part = if show == Show::Value { Part::Value } else { Part::Key };
        let is_item = matches!(path.steps().last(), Some(Step::Index(_)));
        let place = self.source.locate(path, if is_item { Part::Value } else { part });
        if place.is_some() {
            return (place, if is_item { Show::Value } else { show });
        }
        let mut above = path.parent();
        while let Some(path) = above.filter(|path| !path.steps().is_empty()) {
            let is_item = matches!(path.steps().last(), Some(Step::Index(_)));
            let place = self.source.locate(&path, if is_item { Part::Value } else { Part::Key });
            if place.is_some() {
                return (place, Show::Key);
            }
            above = path.parent();
        }
        (None, show)
    }
}

/// The line as it may be shown, with a mark at `start`.
fn excerpt(line: &str, start: usize, show: Show, private: Vec<usize>) -> Option<Excerpt> {
    if show == Show::Unparsed && !is_harmless(line) {
        return None;
    }
    let mut chars: Vec<char> = line.chars().collect();
    let mut end = match show {
        Show::Value => value_end(&chars, start, false),
        Show::Key | Show::KeyAlone => key_end(&chars, start),
        Show::Unparsed => start + 1,
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

/// Whether a line that could not be parsed may be shown: only a key of a kind that holds no secret, which is also what
/// no line of a secret looks like.
fn is_harmless(line: &str) -> bool {
    let text = line.trim_start().trim_start_matches("- ");
    let Some((key, value)) = text.split_once(':') else { return false };
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let words = ["secret", "password", "value", "database", "key"];
    plain && (value.is_empty() || value.starts_with(' ')) && !words.iter().any(|word| line.contains(word))
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
        excerpt(line, start, show, private.to_vec()).map(|excerpt| (excerpt.text, excerpt.start, excerpt.width))
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
    fn what_follows_an_unknown_key_is_not_shown() {
        assert_eq!(shown("  secrt: s3cret", 2, Show::KeyAlone, &[]), Some(("  secrt: …".into(), 2, 5)));
        assert_eq!(shown("trsut:", 0, Show::KeyAlone, &[]), Some(("trsut:".into(), 0, 5)));
    }

    #[test]
    fn an_unparsed_line_is_shown_only_where_it_can_hold_no_secret() {
        assert!(shown("  peers: [127.0.0.1", 9, Show::Unparsed, &[]).is_some());
        for line in
            ["  secret: [abc", "abc: def", "postgres://me:pw@db/x", "p4ss: x", "  abcdef0123", "x: { password: a"]
        {
            let harmless = shown(line, 0, Show::Unparsed, &[]).is_some();
            assert_eq!(harmless, line == "abc: def", "{line}");
        }
    }
}
