//! Before something is changed: what it will be, and a yes.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Args;

use super::EXIT_USAGE;
use super::context::say;

/// How a yes is given.
#[derive(Debug, Args)]
pub(super) struct Confirmation {
    /// Do it without asking; needed where there is no terminal to ask on
    #[arg(long)]
    yes: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// What will be done, step by step.
pub(super) struct ChangePlan {
    lines: Vec<String>,
}

// === impl ChangePlan ===

impl ChangePlan {
    /// A plan to do this.
    pub(super) fn to(what: String) -> Self {
        Self { lines: vec![what] }
    }

    /// One step of it.
    pub(super) fn step(&mut self, step: impl Display) {
        self.lines.push(format!("  - {step}"));
    }

    /// A word about it.
    pub(super) fn note(&mut self, note: &str) {
        self.lines.push(note.to_owned());
    }
}

// === impl Confirmation ===

impl Confirmation {
    /// Tells the plan. `Ok` is a yes; else the exit code, with nothing changed.
    pub(super) fn ask(&self, plan: &ChangePlan) -> Result<(), ExitCode> {
        say(&(plan.lines.join("\n") + "\n"));
        if self.dry_run {
            say("A dry run: nothing was changed.\n");
            return Err(ExitCode::SUCCESS);
        }
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            say("error: nothing was changed, for there is no terminal to ask on\n  = help: add `--yes` to do it\n");
            return Err(ExitCode::from(EXIT_USAGE));
        }
        say("Proceed? [y/N] ");
        let mut line = String::new();
        // What can't be read is no yes.
        let _ = io::stdin().read_line(&mut line);
        if matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        say("Nothing was changed.\n");
        Err(ExitCode::FAILURE)
    }
}
