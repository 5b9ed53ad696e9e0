//! What `vestibule --version` says of the build: its target, and the commit.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BUILD_COMMIT");
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let target = variable("TARGET").unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=BUILD_TARGET={target}");
    // A debug build asks nobody: it would be built anew after each commit.
    let is_release = variable("PROFILE").is_some_and(|profile| profile == "release");
    let commit = variable("BUILD_COMMIT").or_else(|| is_release.then(git).flatten());
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The commit of the work tree, where this is one.
fn git() -> Option<String> {
    let ask = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    // It is appended to by every commit and checkout.
    let log = ask(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    ask(&["rev-parse", "--short=12", "HEAD"]).filter(|commit| !commit.is_empty())
}
