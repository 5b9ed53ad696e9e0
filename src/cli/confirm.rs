//! Before something is changed: what it will be, and a yes.

use std::fmt::Display;
use std::io::{self, IsTerminal};

use clap::Args;
use serde_json::Value;

use super::context::{Exit, answer_as, answer_json, say};
use super::invalidate::Invalidation;

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

/// How a change is agreed to, and how it is told. Its JSON has `changed: false` until it is made.
#[derive(Debug, Args)]
pub(super) struct ChangeFlags {
    #[command(flatten)]
    pub(super) confirmation: Confirmation,
    /// One JSON document
    #[arg(long)]
    json: bool,
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
    /// Tells the plan. `Ok` is a yes; else nothing is changed.
    pub(super) fn ask(&self, plan: &ChangePlan) -> Result<(), Exit> {
        say(&(plan.lines.join("\n") + "\n"));
        if self.dry_run {
            return Err(Exit::new(0, "A dry run: nothing was changed."));
        }
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            let words = "nothing was changed, for there is no terminal to ask on\n  = help: add `--yes` to do it";
            return Err(Exit::usage(words));
        }
        say("Proceed? [y/N] ");
        let mut line = String::new();
        // What can't be read is no yes.
        let _ = io::stdin().read_line(&mut line);
        if matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(Exit::new(1, "Nothing was changed."))
    }
}

// === impl ChangeFlags ===

impl ChangeFlags {
    /// Asks as [`Confirmation::ask`] does. `document` is what a dry run prints as JSON.
    pub(super) fn ask(&self, plan: &ChangePlan, document: impl FnOnce() -> Value) -> Result<(), Exit> {
        self.confirmation.ask(plan).inspect_err(|_| {
            if self.confirmation.dry_run {
                self.answer_unchanged(document);
            }
        })
    }

    /// Prints, where JSON is asked for, that nothing was changed.
    pub(super) fn answer_unchanged(&self, document: impl FnOnce() -> Value) {
        if self.json {
            answer_json(&document());
        }
    }

    /// Prints what was changed, and whether LiteLLM was told.
    pub(super) fn answer_changed(
        &self,
        mut document: Value,
        litellm: Option<&Invalidation>,
        text: impl FnOnce() -> String,
    ) {
        if let Value::Object(members) = &mut document {
            members.insert("changed".to_owned(), true.into());
            members.extend(litellm.map(|invalidation| ("litellm".to_owned(), invalidation.as_str().into())));
        }
        answer_as(self.json, &document, text);
    }
}
