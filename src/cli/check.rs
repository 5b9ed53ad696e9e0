//! `vestibule check`.

mod litellm;
mod probe;
mod sign_in;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::EXIT_CONFIG;
use super::context::{CommandResult, Exit, answer_as, runtime};
use super::flags::Flags;
use super::table::count;
use crate::config::document::read_file;
use crate::config::problem::{Origin, Severity};
use crate::config::{Config, ConfigSource, Problem, Problems, load};
use crate::diagnostic::{Diagnostic, DiagnosticState};
use crate::server::process;
use crate::store::postgres::Postgres;

/// Reads the configuration as `serve` would, and tells everything that is wrong with it at once: file, line, column, the
/// line itself, and what to do. Nothing is started.
///
/// With `--connect` it also asks Postgres, LiteLLM, and the sign-in proxy where that is asked who somebody is, whether they are
/// as the configuration needs them, and changes nothing there. With `--probe` it comes by the public address, as a client would, with forged copies of everything that
/// decides, and tells whether one arrives; with a cookie in `VESTIBULE_PROBE_COOKIE` also as somebody who is signed in. Each thing that was looked at is a line: `ok`, `warning`, `problem`, or `unknown` for what can't be learnt.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vestibule check --config vestibule.yaml --strict          before a release\n  \
                        vestibule check --config vestibule.yaml --connect         on the machine where it will run\n  \
                        vestibule check --config vestibule.yaml --probe https://llm.example.com     from where people come\n\n\
                        Exit codes: 0 nothing stands in the way, 78 the configuration has a problem (with --strict also: a \
                        warning), 1 what --connect or --probe asked has one. docs/configuration.md has every key.")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    flags: Flags,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
    /// Ask Postgres, LiteLLM and what else the configuration asks, changing nothing
    #[arg(long)]
    connect: bool,
    /// Come by this public address with forged headers, and tell whether one arrives
    #[arg(long, value_name = "URL")]
    probe: Option<String>,
    /// A file with the `Cookie` of somebody who is signed in, for --probe; or put it into `VESTIBULE_PROBE_COOKIE`
    #[arg(long, value_name = "FILE", requires = "probe")]
    probe_cookie_file: Option<PathBuf>,
    /// Certificate authorities of that address, where they are private (PEM)
    #[arg(long, value_name = "FILE", requires = "probe")]
    probe_ca: Option<PathBuf>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// The cookie for `--probe`.
const PROBE_COOKIE: &str = "VESTIBULE_PROBE_COOKIE";

/// What was found.
struct CheckReport {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    diagnostics: Vec<Diagnostic>,
}

pub(super) fn run(arguments: &CheckArgs) -> CommandResult {
    process::keep_memory_private();
    let source = arguments.flags.source()?;
    let report = match load(&source) {
        Ok((config, warnings)) => CheckReport { errors: vec![], warnings, diagnostics: arguments.ask(&config)? },
        Err(Problems { errors, warnings }) => CheckReport { errors, warnings, diagnostics: vec![] },
    };
    let code = report.exit_code(arguments.strict);
    answer_as(arguments.json, &report.document(code == 0), || report.text(&source, arguments.connect));
    Ok(ExitCode::from(code))
}

// === impl CheckArgs ===

impl CheckArgs {
    /// Looks at what was asked for.
    fn ask(&self, config: &Config) -> Result<Vec<Diagnostic>, Exit> {
        let cookie = self.probe.as_ref().map(|_| self.cookie()).transpose()?.flatten();
        Ok(runtime()?.block_on(async {
            let mut diagnostics = Vec::new();
            if self.connect {
                let admin = Postgres::connect(&config.database, &config.litellm, &config.account, &config.session);
                let (of_store, of_litellm, of_sign_in) =
                    tokio::join!(admin.inspect(), litellm::ask(config), sign_in::ask(config));
                diagnostics.extend(of_store.into_iter().chain(of_litellm).chain(of_sign_in));
            }
            if let Some(address) = &self.probe {
                diagnostics.extend(probe::probe(config, address, self.probe_ca.as_deref(), cookie.as_ref()).await);
            }
            diagnostics
        }))
    }

    /// The cookie of a user who is signed in: never from the command line.
    fn cookie(&self) -> Result<Option<SecretString>, Exit> {
        match &self.probe_cookie_file {
            Some(file) => Ok(Some(read_file(file).map_err(Exit::failure)?.into())),
            None => Ok(std::env::var(PROBE_COOKIE).ok().map(SecretString::from)),
        }
    }
}

// === impl CheckReport ===

impl CheckReport {
    fn exit_code(&self, strict: bool) -> u8 {
        let worst = self.diagnostics.iter().map(|diagnostic| diagnostic.state).max();
        if !self.errors.is_empty() || strict && !self.warnings.is_empty() {
            EXIT_CONFIG
        } else {
            u8::from(worst == Some(DiagnosticState::Problem) || strict && worst == Some(DiagnosticState::Warning))
        }
    }

    /// The problems first, since they are what matters most, then a line for each look, then the sum.
    fn text(&self, source: &ConfigSource, connected: bool) -> String {
        let mut text = String::new();
        for problem in self.errors.iter().chain(&self.warnings) {
            let _ = write!(text, "{problem}\n\n");
        }
        let name = source.file.as_deref().unwrap_or(Path::new("the configuration")).display();
        if self.errors.is_empty() {
            let state = if self.warnings.is_empty() { "ok      " } else { "warning " };
            let what = if self.warnings.is_empty() { "nothing is wrong with" } else { "`serve` would start with" };
            let _ = writeln!(text, "{state} configuration: {what} {name}");
        }
        for diagnostic in &self.diagnostics {
            let _ = writeln!(text, "{diagnostic}");
        }
        let number = |state| self.diagnostics.iter().filter(|diagnostic| diagnostic.state == state).count();
        let problems = self.errors.len() + number(DiagnosticState::Problem);
        let warnings = self.warnings.len() + number(DiagnosticState::Warning);
        let gap = if self.errors.is_empty() { "\n" } else { "" };
        let _ = write!(text, "{gap}{}, {}", count(problems, "problem"), count(warnings, "warning"));
        text.push_str(match (self.errors.is_empty(), connected) {
            (false, true) => ". Postgres and LiteLLM were not asked: first the configuration.\n",
            (true, false) => ". Postgres and LiteLLM were not asked: `--connect` does it.\n",
            (false, false) | (true, true) => ".\n",
        });
        text
    }

    fn document(&self, is_fine: bool) -> Value {
        let problems = self.errors.iter().chain(&self.warnings).map(problem);
        let diagnostics = self.diagnostics.iter().map(|diagnostic| {
            json!({ "state": diagnostic.state.as_str(), "about": diagnostic.about, "message": diagnostic.message, "remedy": diagnostic.remedy })
        });
        json!({ "ok": is_fine, "findings": problems.chain(diagnostics).collect::<Vec<_>>() })
    }
}

fn problem(problem: &Problem) -> Value {
    let state = match problem.severity {
        Severity::Error => DiagnosticState::Problem,
        Severity::Warning => DiagnosticState::Warning,
    };
    let file = if let Origin::File(name) = &problem.origin { Some(name) } else { None };
    json!({
        "state": state.as_str(),
        "about": "configuration",
        "message": problem.message,
        "remedy": problem.remedy,
        "key": problem.path.to_string(),
        "set_by": problem.origin.to_string(),
        "file": file,
        "line": problem.line,
        "column": problem.column,
        "source": problem.excerpt.as_ref().map(|excerpt| &excerpt.text),
    })
}
