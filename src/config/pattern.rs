//! Texts that rules match: whole, or with `*`.

/// A text to match: exact, or with `*` for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// The whole text.
    Exact(String),
    /// The pieces between the `*`s.
    Glob(Vec<String>),
}

// === impl Pattern ===

impl Pattern {
    /// Reads a pattern: a `*` stands for any characters, none included.
    pub fn parse(text: &str) -> Self {
        if text.contains('*') {
            Self::Glob(text.split('*').map(str::to_owned).collect())
        } else {
            Self::Exact(text.to_owned())
        }
    }

    /// As it was written.
    fn text(&self) -> String {
        match self {
            Self::Exact(exact) => exact.clone(),
            Self::Glob(pieces) => pieces.join("*"),
        }
    }

    /// Whether the whole text matches. Linear in the text: pieces are taken leftmost first.
    pub fn matches(&self, text: &str) -> bool {
        let pieces = match self {
            Self::Exact(exact) => return exact == text,
            Self::Glob(pieces) => pieces,
        };
        let [first, middle @ .., last] = pieces.as_slice() else { return false };
        let Some(mut rest) = text.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str())) else {
            return false;
        };
        for piece in middle {
            let Some((_, after)) = rest.split_once(piece.as_str()) else { return false };
            rest = after;
        }
        true
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}
