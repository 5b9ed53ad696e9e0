//! The documentation's commands: each one in a block of `sh` is run here, or the list below says why not; each `vestibule …`
//! in the text is a command with flags that there are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::client::UserProfile;
use crate::support::stage::Stage;
use crate::support::vestibule::{binary, ended};

/// Commands that this test does not run, and why.
const NOT_RUN: &[(&str, &str)] = &[
    (
        "cargo run --release -- demo",
        "it stays up, and a release build takes minutes: `tests/it/demo.rs` runs `vestibule demo`",
    ),
    ("tests/run", "it would run itself"),
    (
        "docker build -t vestibule .",
        "there is no daemon; `tests/packaging/run --build` builds the same file without one",
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What is in a folder.
fn folder(name: &str) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(root().join(name)).expect("the folder is there");
    entries.map(|entry| entry.expect("it can be read").path())
}

/// The README and every page of `docs`.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = folder("docs").filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    read([root().join("README.md")].into_iter().chain(docs))
}

/// The page of every folder of `deploy`. Its commands need what is not here; `tests/packaging/run` runs those that do not.
fn deployments() -> Vec<(PathBuf, String)> {
    read(folder("deploy").filter(|path| path.is_dir()).map(|path| path.join("README.md")))
}

fn read(paths: impl Iterator<Item = PathBuf>) -> Vec<(PathBuf, String)> {
    let mut paths: Vec<_> = paths.collect();
    paths.sort();
    let read = |path: PathBuf| {
        #[expect(clippy::disallowed_methods, reason = "the panic names the page")]
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// The command lines of a page's `sh` blocks, with lines that go on joined and comments taken out.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let lines = blocks.flat_map(|block| {
        let joined = block.replace("\\\n", " ");
        joined.lines().map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned()).collect::<Vec<_>>()
    });
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[tokio::test]
async fn every_command_of_the_documentation_works() {
    let stage = Stage::with(|setup| setup.with("default_role", "deny")).await;
    for name in ["alice", "bob"] {
        stage.client().get("/v1/models").from(&UserProfile::named(name)).send().await.expect_ok();
    }
    let folder = stage.setup.folder().to_owned();
    let config = stage.setup.write();
    std::fs::copy(&config, folder.join("vestibule.yaml")).expect("the folder can be written");
    let bin = Path::new(env!("CARGO_BIN_EXE_vestibule")).parent().expect("it is in a folder").to_owned();
    let mut seen = BTreeSet::new();
    for (path, page) in pages() {
        for command in commands(&page) {
            if !seen.insert(command.clone()) || NOT_RUN.iter().any(|(known, _)| *known == command) {
                continue;
            }
            assert!(command.starts_with("vestibule "), "{}: no test runs `{command}`", path.display());
            let mut shell = Command::new("sh");
            // Nobody is there to say yes.
            let asks = ["users block", "users unblock", "users link", "users move", "sessions revoke", "migrate"];
            let yes = if asks.iter().any(|words| command.contains(words)) && !command.contains("--print") {
                " --yes"
            } else {
                ""
            };
            shell.arg("-c").arg(format!("{command}{yes}")).current_dir(&folder).env_clear();
            shell.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).env("VESTIBULE_CONFIG", &config);
            let ended = ended(shell).await;
            // A refusal is an answer of `explain`, and what a page shows.
            let fine = if command.starts_with("vestibule explain") { [0, 1] } else { [0, 0] };
            assert!(ended.code.is_some_and(|code| fine.contains(&code)), "{}: `{command}`: {ended:?}", path.display());
        }
    }
    for (command, why) in NOT_RUN {
        assert!(seen.contains(*command), "no page has `{command}` ({why}) any more");
    }
}

#[tokio::test]
async fn every_command_that_the_text_names_is_there_with_its_flags() {
    let mut named = BTreeSet::new();
    for (path, page) in pages().into_iter().chain(deployments()) {
        let text: String = page.split("```").step_by(2).collect();
        for span in text.split('`').skip(1).step_by(2) {
            let span = span.split_whitespace().collect::<Vec<_>>().join(" ");
            if span.starts_with("vestibule ") && !span.contains('/') {
                named.insert((path.strip_prefix(root()).expect("it is below").display().to_string(), span));
            }
        }
    }
    assert!(named.len() > 10, "{named:?}");
    for (page, span) in named {
        let words: Vec<&str> = span.split(' ').skip(1).collect();
        let is_name = |word: &&&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
        let subcommands: Vec<&str> = words.iter().take_while(is_name).copied().take(2).collect();
        if subcommands.is_empty() {
            continue; // `vestibule COMMAND --help`
        }
        let mut command = binary();
        command.args(&subcommands).arg("--help");
        let help = ended(command).await;
        assert_eq!(help.code, Some(0), "{page}: `{span}`: {}", help.stderr);
        assert!(
            help.stdout.contains(&format!("Usage: vestibule {}", subcommands.join(" "))),
            "{page}: `{span}`: {}",
            help.stdout
        );
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            let flag = flag.split('=').next().unwrap_or_default();
            assert!(help.stdout.contains(flag), "{page}: `{span}` has no {flag}");
        }
    }
}

/// Every Rust file below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_test_that_the_security_page_names_is_there() {
    let mut found = Vec::new();
    sources(&root().join("src"), &mut found);
    sources(&root().join("tests"), &mut found);
    let code: String = read(found.into_iter()).into_iter().map(|(_, text)| text).collect();
    let page = read([root().join("SECURITY.md")].into_iter()).remove(0).1;
    let shown = page.lines().filter(|line| line.starts_with("| ")).filter_map(|line| line.rsplit('|').nth(1));
    let mut names = 0;
    for name in shown.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        let is_there = match name.split_once('/') {
            Some(("wire", folder)) => root().join("tests/wire").join(folder).is_dir(),
            Some(_) if name.contains(' ') => true, // a command
            Some(_) => root().join(name).exists() || root().join("src").join(name).exists(),
            None => code.contains(&format!("fn {name}(")) || name == "differential" || name.starts_with("tests"),
        };
        assert!(is_there, "SECURITY.md names `{name}`, which is not there");
        names += 1;
    }
    assert!(names > 50, "{names}");
}
