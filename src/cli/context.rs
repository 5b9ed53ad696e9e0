//! What every command on the store begins with: the configuration, a runtime, the store; and how it ends.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::{EXIT_CONFIG, EXIT_USAGE};
use crate::config::document::read_file;
use crate::config::{Config, ConfigSource, LogFormat, Problem, holds_secret, load};
use crate::server::process;
use crate::store::admin::ChangeOptions;
use crate::store::postgres::Postgres;
use crate::telemetry::logs::{self, chain};

/// Why a secret is not taken from a command line, and where it is taken from.
pub(super) const NO_SECRETS: &str = "everybody on this machine can read a command line (`ps`), and shells remember it: put a \
                                     secret into a file and name that (`…_file`), or into the environment";

/// Which configuration.
#[derive(Debug, Args)]
pub(super) struct Configured {
    /// The configuration file; `config.example.yaml` explains every key. Without one the environment must say everything
    #[arg(long, short, value_name = "FILE", env = "VESTIBULE_CONFIG")]
    config: Option<PathBuf>,
    /// Set any key of the configuration over the file, such as `--set account.refresh=10s`; not a secret's
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// A command under way.
pub(super) struct CommandContext {
    pub(super) config: Config,
    pub(super) store: Postgres,
}

/// How a command ends.
pub(super) type CommandResult = Result<ExitCode, Exit>;

/// A command ends before its work is done: what is said of it, and the exit code.
pub(super) struct Exit {
    said: String,
    code: u8,
}

// === impl Configured ===

impl Configured {
    /// Where it is read, and read again.
    pub(super) fn source(&self) -> Result<ConfigSource, Exit> {
        self.source_with(Vec::new())
    }

    /// The same with what flags set; `--set` wins over them.
    pub(super) fn source_with(&self, mut overrides: Vec<(String, String)>) -> Result<ConfigSource, Exit> {
        for text in &self.set {
            overrides.push(setting(text)?);
        }
        let environment = environment();
        let is_said = !overrides.is_empty() || environment.iter().any(|(name, _)| name.starts_with("VESTIBULE_"));
        if self.config.is_none() && !is_said {
            let words = "there is no configuration\n  = help: name a file with `--config FILE` or in `VESTIBULE_CONFIG`; `vestibule \
                         serve --help` shows how to do without one";
            return Err(Exit::usage(words));
        }
        Ok(ConfigSource { file: self.config.clone(), environment, overrides, ..ConfigSource::default() })
    }

    /// The same, where no configuration at all will do.
    pub(super) fn source_or_none(&self) -> Result<ConfigSource, Exit> {
        if self.config.is_some() || !self.set.is_empty() {
            return self.source();
        }
        Ok(ConfigSource { environment: environment(), ..ConfigSource::default() })
    }

    /// Runs a command on the store, with our tables of any version or none.
    pub(super) fn run_early(&self, work: impl AsyncFnOnce(&CommandContext) -> CommandResult) -> CommandResult {
        process::keep_memory_private();
        let (config, _) = loaded(&self.source()?)?;
        // On a terminal the command's own words are enough; elsewhere its lines go where the service's go. The last ones are
        // written when it is dropped.
        let as_text = config.log.format == LogFormat::Text;
        let log = || logs::start("warn,vestibule::audit=info", Some(as_text));
        let _log = (!io::stderr().is_terminal()).then(log).transpose()?;
        runtime()?.block_on(async {
            let store = Postgres::connect(&config.database, &config.litellm, &config.account, &config.session)
                .with_audit(config.audit.retention, config.log.person_in_clear);
            work(&CommandContext { config, store }).await
        })
    }

    /// Runs a command on the store, once our tables are of this program's version.
    pub(super) fn run(&self, work: impl AsyncFnOnce(&CommandContext) -> CommandResult) -> CommandResult {
        self.run_early(async |context| {
            let versions = context.store.versions().await?;
            if versions.had < versions.wanted {
                let state = match versions.had {
                    0 => "not there yet".to_owned(),
                    had => format!("of version {had}, and this program works with version {}", versions.wanted),
                };
                return Err(Exit::failure(format!(
                    "vestibule's tables are {state}\n  = help: run `vestibule \
                     migrate`, or let `vestibule serve` of this version start first"
                )));
            }
            work(context).await
        })
    }
}

// === impl CommandContext ===

impl CommandContext {
    /// How a change is to be made from here.
    pub(super) fn change_options(&self, dry_run: bool) -> ChangeOptions {
        ChangeOptions { actor: actor(), dry_run, keep_keys: self.config.litellm.master_key.is_some() }
    }
}

// === impl Exit ===

impl Exit {
    /// With these words and this exit code.
    pub(super) fn new(code: u8, said: impl Into<String>) -> Self {
        Self { said: said.into(), code }
    }

    /// A command that failed.
    pub(super) fn failure(words: impl Display) -> Self {
        Self::new(1, format!("error: {words}"))
    }

    /// A command line that asks for what can't be done.
    pub(super) fn usage(words: impl Display) -> Self {
        Self::new(EXIT_USAGE, format!("error: {words}"))
    }

    /// Says it, and gives the exit code.
    pub(super) fn report(self) -> ExitCode {
        say(&format!("{}\n", self.said));
        ExitCode::from(self.code)
    }
}

impl<E: Error> From<E> for Exit {
    fn from(error: E) -> Self {
        Self::failure(chain(&error))
    }
}

/// A checked configuration and its warnings.
pub(super) fn loaded(source: &ConfigSource) -> Result<(Config, Vec<Problem>), Exit> {
    load(source).map_err(|problems| Exit::new(EXIT_CONFIG, problems.to_string()))
}

/// A runtime for one command.
pub(super) fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Reads `KEY=VALUE`. A secret is not taken: every user of the machine sees command lines in the list of processes.
fn setting(text: &str) -> Result<(String, String), Exit> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(Exit::usage("`--set` takes KEY=VALUE, such as `account.refresh=10s`"));
    };
    let key = key.trim();
    let is_file = key.ends_with("_file");
    if holds_secret(key) && !is_file {
        return Err(Exit::usage(format!("`--set {key}=…` is not taken\n  = help: {NO_SECRETS}")));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Prints an answer. A reader that closes the pipe has seen enough.
pub(super) fn answer(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints one JSON document.
pub(super) fn answer_json(document: &impl Serialize) {
    // Plain structs and lists always serialize.
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    answer(&format!("{text}\n"));
}

/// Prints one JSON document where that is asked for, else a text.
pub(super) fn answer_as(json: bool, document: &impl Serialize, text: impl FnOnce() -> String) {
    if json { answer_json(document) } else { answer(&text()) }
}

/// Prints what is for the operator, not for a pipe.
pub(super) fn say(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// The environment's variables that are text; others can't be settings.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Who runs the command, for the audit: the process's owner, since an environment variable could say anything.
fn actor() -> String {
    let uid = rustix::process::getuid().as_raw();
    let user = name_of(uid).unwrap_or_else(|| uid.to_string());
    let host = read_file(Path::new("/proc/sys/kernel/hostname")).ok().map(|host| host.trim().to_owned());
    format!("operator:{user}@{}", host.filter(|host| !host.is_empty()).unwrap_or_else(|| "localhost".to_owned()))
}

fn name_of(uid: u32) -> Option<String> {
    let users = read_file(Path::new("/etc/passwd")).ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}
