//! Whole configurations: every file of `tests/config`, and `config.example.yaml`.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::document::read_file;

/// In every secret of the files, so that one that is printed is seen.
const MARK: &str = "s3cret";

/// A file and what stands in its first lines for it: `# env: NAME=value` and `# flag: key=value`.
fn source(path: &Path) -> Source {
    let text = read_file(path).unwrap();
    let pairs = |what: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what)?.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    Source { file: Some(path.into()), text: None, environment: pairs("# env: "), overrides: pairs("# flag: ") }
}

/// The YAML files of a folder, named from the package's root as they are in the printed problems.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|kind| kind == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Set `VESTIBULE_TEST_WRITE` to write down what is printed now, and read the difference before it is kept.
fn compare(path: &Path, printed: &str) {
    assert!(!printed.contains(MARK), "{}: a secret is printed:\n{printed}", path.display());
    let wanted = path.with_extension("txt");
    if std::env::var_os("VESTIBULE_TEST_WRITE").is_some() {
        std::fs::write(&wanted, format!("{printed}\n")).unwrap();
    }
    assert_eq!(format!("{printed}\n"), read_file(&wanted).unwrap(), "{}", path.display());
}

#[test]
fn every_invalid_file_gives_exactly_its_problems() {
    for path in files("tests/config/invalid") {
        match load(&source(&path)) {
            Ok(_) => panic!("{} is valid", path.display()),
            Err(problems) => compare(&path, &problems.to_string()),
        }
    }
}

#[test]
fn every_valid_file_gives_a_configuration_and_exactly_its_warnings() {
    for path in files("tests/config/valid") {
        match load(&source(&path)) {
            Ok((config, warnings)) => {
                let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
                compare(&path, &warnings.join("\n\n"));
                assert!(!format!("{config:?}").contains(MARK), "{}: a secret is in Debug", path.display());
            }
            Err(problems) => panic!("{problems}"),
        }
    }
}
