//! The walls of the house: a module uses those after it in the list, never those before.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the edge inwards. What shares a line may not use each other.
const ORDER: [&[&str]; 9] = [
    &["cli"],
    &["server"],
    &["face"],
    &["gate"],
    &["store", "upstream"],
    &["config"],
    &["litellm"],
    &["http", "secret"],
    &["diagnostic", "telemetry"],
];

/// The only places that may name a crate.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("serde_yaml", &["config/document"]),
    ("sqlx", &["store/"]),
    // The demo plays both of vestibule's neighbours.
    ("hyper", &["server", "face/", "upstream", "http/", "cli/demo/fake_litellm", "cli/demo/caller"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"))
}

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|row| row.contains(&module))
}

#[test]
fn modules_use_only_what_lies_further_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    let mut seen = BTreeSet::new();
    for path in found {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let module = name.split(['/', '.']).next().unwrap().to_owned();
        let Some(here) = rank(&module) else { continue };
        seen.insert(module.clone());
        #[expect(clippy::disallowed_methods, reason = "a test's own sources need no path in the error")]
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("crate::{"), "{name} groups imports of the crate, which this test can't read");
        for line in code(&text) {
            for used in line.split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                let Some(there) = rank(used) else { continue };
                assert!(used == module || there > here, "{name} uses `{used}`, which lies further out: {line}");
            }
            for (krate, places) in ONLY_IN {
                let is_named = line.contains(&format!("{krate}::")) || line.contains(&format!("use {krate};"));
                assert!(
                    !is_named || places.iter().any(|place| name.starts_with(place)),
                    "{name} names `{krate}`: {line}"
                );
            }
        }
    }
    assert_eq!(seen.len(), ORDER.iter().map(|row| row.len()).sum::<usize>(), "a module of the list is gone: {seen:?}");
}

#[test]
fn every_test_that_the_security_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(&root.join("src"), &mut found);
    sources(&root.join("tests"), &mut found);
    let read = |path: &Path| {
        #[expect(clippy::disallowed_methods, reason = "a test's own sources need no path in the error")]
        fs::read_to_string(path).unwrap()
    };
    let code: String = found.iter().map(|path| read(path)).collect();
    let page = read(&root.join("SECURITY.md"));
    let shown = page.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.rsplit('|').nth(1));
    let mut names = 0;
    for name in shown.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        let is_there = match name.split_once('/') {
            Some(("wire", folder)) => root.join("tests/wire").join(folder).is_dir(),
            Some(_) if name.contains(' ') => true, // a command
            Some(_) => root.join(name).exists() || root.join("src").join(name).exists(),
            None => code.contains(&format!("fn {name}(")) || name == "differential" || name.starts_with("tests"),
        };
        assert!(is_there, "SECURITY.md names `{name}`, which is not there");
        names += 1;
    }
    assert!(names > 50, "{names}");
}
