//! What every command on the store begins with: the configuration, a runtime, the store; and how it ends.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{EXIT_CONFIG, EXIT_USAGE};
use crate::config::document::read_file;
use crate::config::{Config, ConfigSource, LogFormat, Problem, holds_secret, load};
use crate::server::process;
use crate::store::StoreError;
use crate::store::admin::{ChangeOptions, Conflict};
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

/// Why a command came to nothing.
pub(super) struct Failure {
    words: String,
    code: u8,
}

// === impl Configured ===

impl Configured {
    /// Where it is read, and read again.
    pub(super) fn source(&self) -> Result<ConfigSource, Failure> {
        self.source_with(Vec::new())
    }

    /// The same with what flags set; `--set` wins over them.
    pub(super) fn source_with(&self, mut overrides: Vec<(String, String)>) -> Result<ConfigSource, Failure> {
        for text in &self.set {
            overrides.push(setting(text)?);
        }
        let environment = environment();
        let is_said = !overrides.is_empty() || environment.iter().any(|(name, _)| name.starts_with("VESTIBULE_"));
        if self.config.is_none() && !is_said {
            let words = "there is no configuration\n  = help: name a file with `--config FILE` or in `VESTIBULE_CONFIG`; `vestibule \
                         serve --help` shows how to do without one";
            return Err(Failure::with(EXIT_USAGE, words.to_owned()));
        }
        Ok(ConfigSource { file: self.config.clone(), environment, overrides, ..ConfigSource::default() })
    }

    /// The same, where no configuration at all will do.
    pub(super) fn source_or_none(&self) -> Result<ConfigSource, Failure> {
        match (&self.config, self.set.is_empty()) {
            (None, true) => Ok(ConfigSource { environment: environment(), ..ConfigSource::default() }),
            _ => self.source(),
        }
    }

    /// The configuration and its warnings, or the exit code after its problems were told.
    pub(super) fn load(&self) -> Result<(Config, Vec<Problem>), ExitCode> {
        loaded(&self.source().map_err(Failure::report)?)
    }

    /// Runs a command on the store, whatever the version of our tables.
    pub(super) fn run_early(&self, work: impl AsyncFnOnce(&CommandContext) -> Result<ExitCode, Failure>) -> ExitCode {
        process::keep_memory_private();
        let (config, _) = match self.load() {
            Ok(loaded) => loaded,
            Err(code) => return code,
        };
        // On a terminal the command's own words are enough; elsewhere its lines go where the service's go.
        let mut log = None;
        if !io::stderr().is_terminal() {
            let as_text = config.log.format == LogFormat::Text;
            match logs::start("warn,vestibule::audit=info", Some(as_text)) {
                Ok(started) => log = Some(started),
                Err(error) => return Failure::from(chain(&error)).report(),
            }
        }
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return Failure::from(chain(&error)).report(),
        };
        let code = runtime.block_on(async {
            let store = Postgres::connect(&config.database, &config.litellm, &config.account, &config.session)
                .with_audit(config.audit.retention, config.log.person_in_clear);
            let context = CommandContext { config, store };
            work(&context).await.unwrap_or_else(Failure::report)
        });
        // Its last lines are written now.
        drop(log);
        code
    }

    /// Runs a command on the store, once our tables are of this program's version.
    pub(super) fn run(&self, work: impl AsyncFnOnce(&CommandContext) -> Result<ExitCode, Failure>) -> ExitCode {
        self.run_early(async |context| {
            let versions = context.store.versions().await?;
            if versions.had < versions.wanted {
                let state = match versions.had {
                    0 => "not there yet".to_owned(),
                    had => format!("of version {had}, and this program works with version {}", versions.wanted),
                };
                return Err(Failure::from(format!(
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

// === impl Failure ===

impl Failure {
    /// With an exit code of its own.
    pub(super) fn with(code: u8, words: String) -> Self {
        Self { words, code }
    }

    /// Says it, and gives its exit code.
    pub(super) fn report(self) -> ExitCode {
        say(&format!("error: {}\n", self.words));
        ExitCode::from(self.code)
    }
}

impl From<String> for Failure {
    fn from(words: String) -> Self {
        Self { words, code: 1 }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        chain(&error).into()
    }
}

impl From<Conflict> for Failure {
    fn from(cannot: Conflict) -> Self {
        cannot.0.into()
    }
}

/// A configuration and its warnings, or the exit code after its problems were told.
pub(super) fn loaded(source: &ConfigSource) -> Result<(Config, Vec<Problem>), ExitCode> {
    load(source).map_err(|problems| {
        say(&format!("{problems}\n"));
        ExitCode::from(EXIT_CONFIG)
    })
}

/// Reads `KEY=VALUE`. A secret is not taken: the list of processes shows every command line to everybody.
fn setting(text: &str) -> Result<(String, String), Failure> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(Failure::with(EXIT_USAGE, "`--set` takes KEY=VALUE, such as `account.refresh=10s`".to_owned()));
    };
    let key = key.trim();
    let is_file = key.ends_with("_file");
    if holds_secret(key) && !is_file {
        return Err(Failure::with(EXIT_USAGE, format!("`--set {key}=…` is not taken\n  = help: {NO_SECRETS}")));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Prints an answer. Whoever closes the pipe has seen enough.
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

/// Prints what is for the person, not for a pipe.
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

/// Who runs the command, as the audit names them. The process's owner, not a variable that anybody sets.
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
