//! A configuration problem: where it is, what is wrong, and what to do about it.

use std::fmt;

/// Most characters of a source line that are shown.
const LINE_CHARS_MAX: usize = 160;
/// Most characters of a configured value that a message repeats.
const LITERAL_CHARS_MAX: usize = 80;

/// Where a value stands in the configuration: `rules[0].when.group`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct KeyPath(Vec<PathStep>);

/// One step of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathStep {
    /// A key of a mapping.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// Whether `serve` can start all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It can't.
    Error,
    /// It can, but somebody should look.
    Warning,
}

/// Who set the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The file of this name.
    File(String),
    /// The environment variable of this name.
    Environment(String),
    /// The command line, for this key.
    Flag(String),
}

/// One thing that is wrong with a configuration. It never holds a secret's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether it stands in the way of a start.
    pub severity: Severity,
    /// The key that it is about.
    pub path: KeyPath,
    /// Who set it.
    pub origin: Origin,
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// Column in the file, from 1, in characters.
    pub column: Option<usize>,
    /// The source line, with secrets replaced by `…`.
    pub excerpt: Option<Excerpt>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// A source line as it may be shown, and what in it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The line.
    pub text: String,
    /// Characters before the marked part.
    pub start: usize,
    /// Characters of the marked part, at least 1.
    pub width: usize,
}

/// All that was found in one run. There is at least one error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// What stands in the way of a start, in the file's order.
    pub errors: Vec<Problem>,
    /// What does not.
    pub warnings: Vec<Problem>,
}

// === impl KeyPath ===

impl KeyPath {
    /// Reads `rules[0].when.group`. What is not a number in brackets is taken as part of the key.
    pub fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        for part in text.split('.').filter(|part| !part.is_empty()) {
            let mut pieces = part.split('[');
            steps.extend(pieces.next().filter(|key| !key.is_empty()).map(|key| PathStep::Key(key.to_owned())));
            steps.extend(pieces.map(|piece| match piece.trim_end_matches(']').parse() {
                Ok(index) => PathStep::Index(index),
                Err(_) => PathStep::Key(piece.to_owned()),
            }));
        }
        Self(steps)
    }

    /// The path one key further down.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.step(PathStep::Key(key.to_owned()))
    }

    /// The path of one item of a list.
    #[must_use]
    pub fn at(&self, index: usize) -> Self {
        self.step(PathStep::Index(index))
    }

    /// The path one step further down.
    #[must_use]
    pub fn step(&self, step: PathStep) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The path one step up; `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// The steps from the top.
    pub fn steps(&self) -> &[PathStep] {
        &self.0
    }

    /// The last step, where it is a key.
    pub fn last_key(&self) -> Option<&str> {
        match self.0.last()? {
            PathStep::Key(key) => Some(key),
            PathStep::Index(_) => None,
        }
    }

    /// Whether this is `other` or lies below it.
    pub fn is_under(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl From<&str> for KeyPath {
    fn from(text: &str) -> Self {
        Self::parse(text)
    }
}

impl From<&KeyPath> for KeyPath {
    fn from(path: &KeyPath) -> Self {
        path.clone()
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Key(key) if at == 0 => f.write_str(key)?,
                PathStep::Key(key) => write!(f, ".{key}")?,
                PathStep::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => f.write_str(name),
            Self::Environment(name) => write!(f, "environment variable `{name}`"),
            Self::Flag(key) => write!(f, "command line: `{key}`"),
        }
    }
}

// === impl Excerpt ===

impl Excerpt {
    /// Takes a line that holds no secret. Control characters become blanks; a long line is cut.
    pub fn new(line: &str, start: usize, width: usize) -> Self {
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let mut text: String = line.chars().take(LINE_CHARS_MAX).map(printable).collect();
        if line.chars().count() > LINE_CHARS_MAX {
            text.push('…');
        }
        let shown = text.chars().count();
        let start = start.min(shown);
        Self { text, start, width: width.min(shown - start).max(1) }
    }
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        // A key, a variable's name or explanation may hold a control, which a terminal would obey.
        let plain = |text: &dyn fmt::Display| text.to_string().replace(char::is_control, "?");
        write!(f, "{severity}: {}\n  --> {}", plain(&self.message), plain(&self.origin))?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        if let (Some(line), Some(excerpt)) = (self.line, &self.excerpt) {
            let (blank, marks) = (" ".repeat(excerpt.start), "^".repeat(excerpt.width));
            write!(f, "\n     |\n{line:>4} | {}\n     | {blank}{marks}", excerpt.text)?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n     = help: {}", plain(remedy))?;
        }
        Ok(())
    }
}

// === impl Problems ===

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.errors.iter().chain(&self.warnings).enumerate() {
            let gap = if at == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A configured value between backticks, safe to print: without control characters, and cut when long. It is cut after
/// the first word too: where a `:` is forgotten, YAML takes the next line, which may hold a secret, into the value.
pub fn literal(text: &str) -> String {
    let start = text.len() - text.trim_start().len();
    let end = text.get(start..).and_then(|text| text.find(char::is_whitespace)).map(|length| start + length);
    if let Some(word) = end.and_then(|end| text.get(..end)) {
        return format!("`{}…`", literal(word).trim_matches('`'));
    }
    let mut shown: String =
        text.chars().take(LITERAL_CHARS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().count() > LITERAL_CHARS_MAX {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// The known name that is nearest to a mistyped one, if one is near.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // One slip in three letters is a typo; more is another word.
    let reach = (given.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&given.to_lowercase(), name), name))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_printed_as_it_is_read() {
        for text in ["litellm.url", "rules[12].when.group[0]", "listen", ""] {
            assert_eq!(KeyPath::parse(text).to_string(), text);
        }
        assert!(KeyPath::parse("rules[1].role").is_under(&KeyPath::parse("rules[1]")));
        assert!(!KeyPath::parse("rules[12]").is_under(&KeyPath::parse("rules[1]")));
    }

    #[test]
    fn a_problem_is_readable_without_colour() {
        let problem = Problem {
            severity: Severity::Error,
            path: "trsut".into(),
            origin: Origin::File("vestibule.yaml".into()),
            line: Some(4),
            column: Some(1),
            excerpt: Some(Excerpt::new("trsut:", 0, 5)),
            message: "unknown key `trsut`".into(),
            remedy: Some("did you mean `trust`?".into()),
        };
        let wanted = "error: unknown key `trsut`\n  --> vestibule.yaml:4:1\n     |\n   4 | trsut:\n     | ^^^^^\n     \
                      = help: did you mean `trust`?";
        assert_eq!(problem.to_string(), wanted);
    }

    #[test]
    fn terminal_escapes_and_long_values_are_not_repeated() {
        assert_eq!(literal("a\u{1b}[31mb"), "`a?[31mb`");
        assert_eq!(literal(" a b"), "` a…`");
        assert!(literal(&"x".repeat(10_000)).len() < 100);
        let problem = Problem {
            severity: Severity::Error,
            path: KeyPath::default(),
            origin: Origin::Environment("A\u{1b}".into()),
            line: None,
            column: None,
            excerpt: None,
            message: "`k\u{9b}1m`".into(),
            remedy: Some("a\nb".into()),
        };
        assert_eq!(problem.to_string(), "error: `k?1m`\n  --> environment variable `A?`\n     = help: a?b");
        let excerpt = Excerpt::new(&format!("\tk\u{7}: {}", "y".repeat(10_000)), 9_000, 50);
        assert!(excerpt.text.starts_with(" k : yyy") && excerpt.text.chars().count() <= LINE_CHARS_MAX + 1);
        assert!(excerpt.start <= LINE_CHARS_MAX + 1);
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        assert_eq!(nearest("trsut", ["listen", "trust"]), Some("trust"));
        assert_eq!(nearest("banana", ["listen", "trust"]), None);
    }
}
