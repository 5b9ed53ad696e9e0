//! From a file, an environment and a command line to a [`Config`], or to everything that is wrong with them.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::Config;
use crate::config::check::{self, check};
use crate::config::document::{Document, Setting, read_file};
use crate::config::problem::{KeyPath, Origin, Problem, Problems, Severity};
use crate::config::raw::RawConfig;
use crate::config::report::{Report, SECRETS};
use crate::config::shape;
use crate::config::variables::{self, ExpandFault};

/// What problems call a configuration without a file.
const NO_FILE: &str = "command line and environment";

/// What a configuration is made of. Later ones win: file, environment, command line.
#[derive(Debug, Clone, Default)]
pub struct ConfigSource {
    /// The file; its name stands in problems. `None` for a configuration from the environment alone.
    pub file: Option<PathBuf>,
    /// Read in place of the file's content, where it is set.
    pub text: Option<String>,
    /// The environment: variables for `${NAME}` and `VESTIBULE_SECTION__KEY`.
    pub environment: Vec<(String, String)>,
    /// Keys such as `litellm.url` and their values, from the command line.
    pub overrides: Vec<(String, String)>,
}

/// Reads and checks a configuration. Gives it with its warnings, or all problems of all kinds at once.
pub fn load(source: &ConfigSource) -> Result<(Config, Vec<Problem>), Problems> {
    let (raw, mut report) = read(source)?;
    match check(raw, &mut report) {
        Some(config) if report.is_clean() => Ok((config, report.finish().1)),
        _ => Err(problems(report)),
    }
}

/// The address of the admin port alone, whatever else of the configuration is wrong: a process that runs by an older one
/// is healthy all the same. `None` where it is turned off or can't be told.
pub fn admin(source: &ConfigSource) -> Option<SocketAddr> {
    let (raw, mut report) = read(source).ok()?;
    check::admin_alone(raw, &mut report)
}

/// Whether a key is a secret's, or holds one at or below it.
pub fn holds_secret(key: &str) -> bool {
    let path = KeyPath::parse(key);
    SECRETS.map(KeyPath::parse).iter().any(|secret| secret.is_under(&path) || path.is_under(secret))
}

/// The shapes of everything that was said, and what of them is wrong so far.
fn read(source: &ConfigSource) -> Result<(RawConfig, Report), Problems> {
    let name = source.file.as_deref().map_or_else(|| NO_FILE.to_owned(), |path| path.display().to_string());
    let text = text(source, &name)?;
    let (document, faults) = Document::parse(text);
    let mut tree = document.clone();
    let mut report = Report::new(name, document);
    if let Some(file) = &source.file {
        report.reads(file);
    }
    let broken = faults.iter().any(|fault| fault.duplicate.is_none());
    for fault in faults {
        report.syntax(fault);
    }
    if broken {
        // Without the tree every key would be said to be missing.
        return Err(problems(report));
    }
    for path in tree.empty_items() {
        report.misshapen(path, "this item is empty".to_owned(), "give it a value, or take it out".to_owned());
    }
    replace_variables(&mut tree, &source.environment, &mut report);
    set_over(&mut tree, source, &mut report);
    let (raw, faults) = tree.read::<RawConfig>();
    for fault in faults {
        shape::explain(fault, &mut report);
    }
    Ok((raw, report))
}

fn problems(report: Report) -> Problems {
    let (errors, warnings) = report.finish();
    Problems { errors, warnings }
}

fn text(source: &ConfigSource, name: &str) -> Result<String, Problems> {
    let read = match (&source.text, &source.file) {
        (Some(text), _) => return Ok(text.clone()),
        (None, Some(path)) => read_file(path),
        (None, None) => return Ok(String::new()),
    };
    read.map_err(|error| {
        let why = std::error::Error::source(&error).map(ToString::to_string);
        let problem = Problem {
            severity: Severity::Error,
            path: KeyPath::default(),
            origin: Origin::File(name.to_owned()),
            line: None,
            column: None,
            excerpt: None,
            message: error.to_string(),
            remedy: Some(why.unwrap_or_else(|| "a configuration is far smaller; is this the right file?".to_owned())),
        };
        Problems { errors: vec![problem], warnings: Vec::new() }
    })
}

fn replace_variables(tree: &mut Document, environment: &[(String, String)], report: &mut Report) {
    let mut broken = Vec::new();
    tree.expand(|path, text| {
        if !text.contains('$') {
            return None;
        }
        let (message, remedy) = match variables::expand(text, environment) {
            Ok(expanded) => return Some(expanded),
            Err(ExpandFault::Undefined(name)) => (
                format!("no such environment variable: `{name}`"),
                format!("set it, or give a default: `${{{name}:-…}}`"),
            ),
            Err(ExpandFault::Needed(name, why)) => {
                let remedy = if why.is_empty() { format!("set `{name}`") } else { why };
                (format!("the environment variable is not set, or empty: `{name}`"), remedy)
            }
            Err(ExpandFault::Malformed) => (
                format!("`{path}` has a variable that can't be read"),
                "write `${NAME}`, `${NAME:-default}` or `${NAME:?why}`; a `$` before `{` is written `$$`".to_owned(),
            ),
        };
        report.misshapen(path.clone(), message, remedy);
        broken.push(path.clone());
        None
    });
    for path in broken {
        tree.remove(&path);
    }
}

/// Sets what the environment, then what the command line says.
fn set_over(tree: &mut Document, source: &ConfigSource, report: &mut Report) {
    let mut variables: Vec<_> = source.environment.iter().collect();
    // The order of an environment is nobody's choice; the order of problems should be stable.
    variables.sort();
    for (name, value) in variables {
        if let Some(path) = variables::key_of(name) {
            set(tree, path, value, Origin::Environment(name.clone()), report);
        }
    }
    for (key, value) in &source.overrides {
        set(tree, KeyPath::parse(key), value, Origin::Flag(key.clone()), report);
    }
}

fn set(tree: &mut Document, path: KeyPath, value: &str, origin: Origin, report: &mut Report) {
    let secrets = SECRETS.map(KeyPath::parse);
    let other_form = other_form(&path, &secrets);
    if let Some(other) = other_form {
        // A secret in a stronger place wins over its file in a weaker one; both in one place are a problem.
        let same_place =
            report.setter(&other).is_some_and(|known| std::mem::discriminant(known) == std::mem::discriminant(&origin));
        if !same_place {
            tree.remove(&other);
        }
    }
    report.set_by(path.clone(), origin);
    // A secret is taken as it is: what YAML would read into it is nobody's intention.
    let setting = if secrets.contains(&path) { Ok(Setting::text(value)) } else { Setting::parse(value) };
    match setting {
        Ok(setting) if tree.set(&path, &setting) => {}
        Ok(_) => report.misshapen(
            path.clone(),
            format!("`{path}` can't be set from here"),
            "what is above it in the file is not a mapping, or the list is shorter".to_owned(),
        ),
        Err(why) => {
            let remedy = "a value is read as YAML: put it in quotes where it has signs of YAML".to_owned();
            report.misshapen(path, format!("the value can't be read: {why}"), remedy);
        }
    }
}

/// `KEY_file` for a secret's key, and the key for its `KEY_file`.
fn other_form(path: &KeyPath, secrets: &[KeyPath]) -> Option<KeyPath> {
    let key = path.last_key()?;
    let beside = |key: &str| path.parent().map(|above| above.key(key));
    match key.strip_suffix("_file") {
        Some(base) => beside(base).filter(|base| secrets.contains(base)),
        None => beside(&format!("{key}_file")).filter(|_| secrets.contains(path)),
    }
}

/// A configuration for unit tests: the given YAML over a session secret, a database URL and LiteLLM's address, and over a
/// rule of trust and a preset where the YAML has no such section.
///
/// # Panics
///
/// Where the result has a problem.
#[cfg(test)]
pub(crate) fn testing(yaml: &str) -> Config {
    let (document, faults) = Document::parse(yaml.to_owned());
    assert!(faults.is_empty(), "{faults:?}");
    let has = |path: &str| document.kind(&path.into()).is_some();
    let defaults = [
        ("session.secret", "0123456789abcdef0123456789abcdef"),
        ("litellm.database_url", "postgres://test@127.0.0.1:1/test"),
        ("litellm.url", "http://127.0.0.1:1"),
        ("identity.preset", "oauth2-proxy"),
        ("trust", "{ peers: [127.0.0.1], accept_shared_loopback: true }"),
    ];
    let unset = defaults.iter().filter(|(path, _)| !has(path) && !has(&format!("{path}_file")));
    let overrides = unset.map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
    let source = ConfigSource { text: Some(yaml.to_owned()), overrides, ..ConfigSource::default() };
    match load(&source) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{problems}"),
    }
}
