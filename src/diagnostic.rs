//! What a look at the configuration, or at what it names, has found: one line each, with the remedy.

use std::fmt;

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiagnosticState {
    /// As it must be.
    Ok,
    /// It can't be learnt from here.
    Unknown,
    /// It works, but the operator should look.
    Warning,
    /// It does not work, or is not safe.
    Problem,
}

/// One thing that was looked at. It never holds a secret's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How good it is.
    pub state: DiagnosticState,
    /// What was looked at: `postgres`, `litellm`.
    pub about: &'static str,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

// === impl DiagnosticState ===

impl DiagnosticState {
    /// Its name in lines and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

// === impl Diagnostic ===

impl Diagnostic {
    /// Something that is as it must be.
    pub fn ok(about: &'static str, message: impl Into<String>) -> Self {
        Self { state: DiagnosticState::Ok, about, message: message.into(), remedy: None }
    }

    /// Something that does not work or is not safe, and what to do.
    pub fn problem(about: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(DiagnosticState::Problem, about, message, remedy)
    }

    /// Something that is not as it must be, and what to do.
    pub fn new(
        state: DiagnosticState,
        about: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { state, about, message: message.into(), remedy: Some(remedy.into()) }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a server says of itself may hold a control, which a terminal would obey.
        let plain = |text: &str| text.replace(char::is_control, "?");
        write!(f, "{:<8} {}: {}", self.state.as_str(), self.about, plain(&self.message))?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n         = help: {}", plain(remedy)),
            None => Ok(()),
        }
    }
}
