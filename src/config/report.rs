//! Gathers problems: gives each its place, and its source line without secrets.

use std::path::{Path, PathBuf};

use crate::config::document::{Document, NodePart, SyntaxFault};
use crate::config::excerpt::{Show, excerpt, lines};
use crate::config::problem::{KeyPath, Origin, PathStep, Problem, Severity};

/// The keys whose values are secrets. Each can also be given as `KEY_file`.
pub(super) const SECRETS: [&str; 6] = [
    "trust.secret_header.value",
    "forward_auth.secret_header.value",
    "trust.basic_auth_password",
    "session.secret",
    "litellm.database_url",
    "litellm.master_key",
];

/// Problems and what is needed to place them.
#[derive(Debug)]
pub(super) struct Report {
    name: String,
    /// The file as it was read, before anything was set over it.
    source: Document,
    origins: Vec<(KeyPath, Origin)>,
    /// Values that are never shown.
    private: Vec<KeyPath>,
    /// Keys that may be secrets themselves, since nobody knows them or they stand where a secret does: nothing of their lines is shown from there on.
    hidden: Vec<KeyPath>,
    /// Nodes that were taken out of the tree: what is said of them later would only be an echo.
    broken: Vec<KeyPath>,
    found: Vec<(Problem, Show)>,
    /// Files that were read besides the configuration's own.
    files: Vec<PathBuf>,
}

// === impl Report ===

impl Report {
    /// A report about a file.
    pub(super) fn new(name: String, source: Document) -> Self {
        let mut report = Self {
            name,
            source,
            origins: Vec::new(),
            private: Vec::new(),
            hidden: Vec::new(),
            broken: Vec::new(),
            found: Vec::new(),
            files: Vec::new(),
        };
        for secret in SECRETS.map(KeyPath::parse) {
            report.keep_private(&secret);
            report.hide_keys(&secret);
            // Where a section of secrets is no mapping, a secret may stand in its place.
            let mut above = secret.parent();
            while let Some(path) = above {
                if !path.steps().is_empty() && report.source.kind(&path) != Some(crate::config::document::Kind::Mapping)
                {
                    report.keep_private(&path);
                    report.hide_keys(&path);
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

    /// Notes that a file is part of the configuration.
    pub(super) fn reads(&mut self, file: &Path) {
        self.files.push(file.to_owned());
    }

    /// The files that were noted.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    /// Never shows the keys below a path: of `secret: { SECRET }` YAML makes a mapping, and the secret a key of it.
    fn hide_keys(&mut self, path: &KeyPath) {
        for leaf in self.source.leaves(path) {
            let mut below = Some(leaf);
            while let Some(key) = below.filter(|key| key.steps().len() > path.steps().len()) {
                below = key.parent();
                if key.last_key().is_some() {
                    self.hidden.push(key);
                }
            }
        }
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
        if !path.last_key().is_some_and(is_word) {
            self.hidden.push(path.clone());
        }
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
            Some(key) if is_word(&key) => {
                (format!("key `{key}` is there twice"), "keep one of the two".to_owned(), Show::KeyAlone)
            }
            Some(_) => ("a key is there twice".to_owned(), "keep one of the two".to_owned(), Show::Unparsed),
            None => {
                let remedy = how_to_mend(&fault.message).to_owned();
                (format!("this is not YAML that can be read: {}", fault.message), remedy, Show::Unparsed)
            }
        };
        let mut problem = self.problem(Severity::Error, KeyPath::default(), message, remedy);
        (problem.line, problem.column) = (line, column);
        self.found.push((problem, show));
    }

    /// The line of a key in the file, unless it was set over it.
    pub(super) fn line(&self, path: &KeyPath) -> Option<usize> {
        let from_file = matches!(self.origin(path), Origin::File(_));
        // An item of a list begins where the first of its values does; to walk to each would take long for many.
        let leaves = from_file.then(|| self.source.leaves(path))?;
        leaves.iter().filter_map(|leaf| self.source.locate(leaf, NodePart::Value)).map(|(line, _)| line).min()
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
        let private: Vec<_> =
            self.private.iter().filter_map(|path| self.source.locate(path, NodePart::Value)).collect();
        let hidden: Vec<_> = self.hidden.iter().filter_map(|path| self.source.locate(path, NodePart::Key)).collect();
        let lines = lines(self.source.text());
        let mut found = self.found;
        found.sort_by_key(|(problem, _)| (problem.line.is_none(), problem.line, problem.column));
        for (problem, show) in &mut found {
            let (Some(line), Some(column)) = (problem.line, problem.column) else { continue };
            let Some(text) = lines.get(line - 1) else { continue };
            let private = private.iter().filter(|(on, _)| *on == line).map(|(_, column)| column - 1);
            let cut = hidden.iter().filter(|(on, _)| *on == line).map(|(_, column)| column - 1).min();
            problem.excerpt = excerpt(text, column - 1, *show, private.collect(), cut);
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
        let part = if show == Show::Value { NodePart::Value } else { NodePart::Key };
        let is_item = matches!(path.steps().last(), Some(PathStep::Index(_)));
        let place = self.source.locate(path, if is_item { NodePart::Value } else { part });
        if place.is_some() {
            return (place, if is_item { Show::Value } else { show });
        }
        let mut above = path.parent();
        while let Some(path) = above.filter(|path| !path.steps().is_empty()) {
            let is_item = matches!(path.steps().last(), Some(PathStep::Index(_)));
            let place = self.source.locate(&path, if is_item { NodePart::Value } else { NodePart::Key });
            if place.is_some() {
                return (place, Show::Key);
            }
            above = path.parent();
        }
        (None, show)
    }
}

/// What the YAML crate's words mean most often. The place that it gives is where it gave up, at or behind the slip.
fn how_to_mend(message: &str) -> &'static str {
    if message.contains("mapping values are not allowed") {
        "keys of one mapping begin in the same column; a value with `: ` in it needs quotes"
    } else if message.contains("cannot start any token") {
        "indent with blanks, not tabs; a value that begins with `@`, `%` or a backtick needs quotes"
    } else if message.contains("expected ',' or") {
        "close the bracket, and part its items with commas; within brackets a value with `{` or `,` in it, such as `${NAME}`, \
         needs quotes"
    } else if message.contains("unexpected end of stream") {
        "a quote or a bracket is opened here or above, and never closed"
    } else if message.contains("expected key") || message.contains("expected '-' indicator") {
        "this line is further out or further in than its neighbours: keys of one mapping begin in the same column"
    } else {
        ""
    }
}

/// Whether a key reads like a word. One that nobody knows could be a secret that lost its own key; secrets have digits.
pub(super) fn is_word(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic() || b"_-.".contains(&byte))
}
