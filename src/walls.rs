//! The rules of the layout, read from the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the edge inwards: a module may use those of its own row and of the rows below.
const RANKS: [&[&str]; 4] = [
    &["cli", "server", "proxy", "forward_auth", "admin_ui"],
    &["authorizer", "cross_site", "identity", "session", "refusal", "request_info"],
    &["store", "litellm", "config"],
    &["http1", "http", "secret", "telemetry", "diagnostic"],
];

/// The modules of a request's way after [`RequestInfo`](crate::request_info::RequestInfo) was made.
const AFTER_REQUEST_INFO: &[&str] =
    &["proxy", "forward_auth", "admin_ui", "authorizer", "cross_site", "identity", "session"];
/// What looks a header up by name.
const LOOK_UPS: &[&str] = &[".get(", ".get_all(", ".contains_key(", ".remove(", "exactly_one(", ".entry(header"];
/// The files that may, and whose headers they are: never the request's.
const MAY_LOOK_UP: &[(&str, &str)] = &[
    ("proxy/sign_in_cookies.rs", "of LiteLLM's answer"),
    ("proxy/upstream_request.rs", "of the request that it writes"),
    ("proxy/upstream_response.rs", "of LiteLLM's answer"),
    ("admin_ui.rs", "of LiteLLM's answer"),
];

/// The only places that may name a crate.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("serde_yaml", &["config/document"]),
    ("sqlx", &["store/"]),
    ("hyper", &["http1", "http/client", "server/plain"]),
    // One client for everything but forwarded requests.
    ("hyper_util::client", &["http/client"]),
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
    RANKS.iter().position(|row| row.contains(&module))
}

/// Each source file that is no test's, by its path below `src`, without its unit tests.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    let named = found.into_iter().map(|path| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        #[expect(clippy::disallowed_methods, reason = "a test's own sources need no path in the error")]
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
        (name, code)
    });
    let is_test = |name: &str| name.ends_with("tests.rs") || name.ends_with("testing.rs") || name.contains("/tests/");
    named.filter(|(name, _)| !is_test(name)).collect()
}

fn module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or_default()
}

#[test]
fn modules_use_only_their_own_rank_and_below_and_never_in_a_circle() {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, text) in files() {
        let module = module(&name);
        let Some(here) = rank(module) else { continue };
        let inner = edges.entry(module.to_owned()).or_default();
        assert!(!text.contains("crate::{"), "{name} groups imports of the crate, which this test can't read");
        for line in code(&text) {
            for used in line.split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                let Some(there) = rank(used) else { continue };
                assert!(there >= here, "{name} uses `{used}`, which lies further out: {line}");
                if used != module && there == here {
                    inner.insert(used.to_owned());
                }
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
    assert_eq!(
        edges.len(),
        RANKS.iter().map(|row| row.len()).sum::<usize>(),
        "a module of the list is gone: {edges:?}"
    );
    // What uses nothing of its rank that is left can't be in a circle.
    while !edges.is_empty() {
        let free: Vec<_> = edges.iter().filter(|(_, used)| used.is_empty()).map(|(module, _)| module.clone()).collect();
        assert!(!free.is_empty(), "modules of one rank use each other in a circle: {edges:?}");
        for module in &free {
            edges.remove(module);
            for used in edges.values_mut() {
                used.remove(module);
            }
        }
    }
}

#[test]
fn nothing_looks_up_a_header_of_the_request_after_it_was_read() {
    for (name, text) in files() {
        if !AFTER_REQUEST_INFO.contains(&module(&name)) || MAY_LOOK_UP.iter().any(|(file, _)| *file == name) {
            continue;
        }
        for line in code(&text).filter(|line| line.contains("header")) {
            assert!(!LOOK_UPS.iter().any(|look_up| line.contains(look_up)), "{name} looks up a header: {line}");
        }
    }
    for (file, _) in MAY_LOOK_UP {
        assert!(files().iter().any(|(name, _)| name == file), "{file} is gone");
    }
}

/// The types that a file declares, private ones and those inside functions too, but for its inline test modules.
fn declared(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut lines = text.lines();
    let mut before = "";
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        let margin = line.len() - code.len();
        if before == "#[cfg(test)]" && code.starts_with("mod ") && code.ends_with('{') {
            // It ends with the brace below its beginning.
            lines.by_ref().find(|line| line.trim() == "}" && line.len() == margin + 1);
        }
        before = code;
        let code = match code.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => rest.split_once(')').map_or("", |(_, rest)| rest),
            Some(rest) => rest,
            None => code,
        };
        let mut words = code.split_whitespace();
        let kind = words.next().unwrap_or_default();
        // An indented `type` is an associated one.
        if matches!(kind, "struct" | "enum" | "trait" | "union") || kind == "type" && margin == 0 {
            let name = words.next().unwrap_or_default();
            names.push(name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default());
        }
    }
    names
}

#[test]
fn no_type_name_is_there_twice() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in found {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        if name == "walls.rs" || name.ends_with("tests.rs") || name.contains("tests/") {
            continue;
        }
        #[expect(clippy::disallowed_methods, reason = "a test's own sources need no path in the error")]
        let text = fs::read_to_string(&path).unwrap();
        for one in declared(&text) {
            places.entry(one.to_owned()).or_default().push(name.clone());
        }
    }
    assert!(places.len() > 100, "{places:?}");
    places.retain(|_, files| files.len() > 1);
    assert!(places.is_empty(), "one name for one type: {places:#?}");
}
