//! The command line and the configuration, as somebody meets them who gets something wrong.

use std::process::Command;

use serde_json::json;

use crate::support::vestibule::{Ended, Setup, binary, ended};

async fn run(arguments: &[&str]) -> Ended {
    let mut command: Command = binary();
    command.args(arguments);
    ended(command).await
}

fn setup() -> Setup {
    Setup::new("http://127.0.0.1:1", "postgresql://nobody@127.0.0.1:1/nothing")
}

#[tokio::test]
async fn help_and_version_answer_on_standard_output() {
    let help = run(&["--help"]).await;
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("serve"), "{}", help.stdout);
    let help = run(&["serve", "--help"]).await;
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("--config"), "{}", help.stdout);
    let version = run(&["--version"]).await;
    assert_eq!((version.code, version.stdout.trim()), (Some(0), concat!("vestibule ", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn a_wrong_command_line_is_a_2() {
    for arguments in [&["sevre"][..], &["serve", "--no-such-flag"]] {
        let ended = run(arguments).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
    }
}

#[tokio::test]
async fn a_configuration_file_that_is_not_there_is_named() {
    let ended = run(&["serve", "--config", "/nonexistent/vestibule.yaml"]).await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("/nonexistent/vestibule.yaml"), "{}", ended.stderr);
}

#[tokio::test]
async fn all_problems_are_told_at_once() {
    let wrong = setup()
        .with("listne", "127.0.0.1:1")
        .with("default_role", "superuser")
        .with("account.refresh", "soon")
        .with("litellm.url", "ftp://x");
    let ended = wrong.give_up().await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    for word in ["listne", "listen", "superuser", "internal_user_viewer", "account.refresh", "litellm.url"] {
        assert!(ended.stderr.contains(word), "{word} is not in:\n{}", ended.stderr);
    }
}

#[tokio::test]
async fn what_cannot_be_safe_is_refused_with_the_key_that_is_wrong() {
    let cases: Vec<(&str, Setup, &[&str])> = vec![
        (
            "a rule on groups that are not read",
            setup().with("identity.reads", vec!["user", "email"]),
            &["groups", "reads"],
        ),
        (
            "a rule on e-mail that is not read",
            setup().with("identity.reads", vec!["user", "groups"]),
            &["email", "reads"],
        ),
        ("an unknown preset", setup().with("identity.preset", "oauth2proxy"), &["oauth2-proxy"]),
        ("a short secret", setup().with("session.secret", "short"), &["session.secret"]),
        ("no secret", setup().without("session.secret"), &["session"]),
        ("two places for a secret", setup().with("session.secret_file", "/nonexistent"), &["secret_file"]),
        (
            "a secret file that is not there",
            setup().without("session.secret").with("session.secret_file", "/nonexistent"),
            &["/nonexistent"],
        ),
        ("no database", setup().without("litellm.database_url"), &["database_url"]),
        ("no upstream", setup().without("litellm.url"), &["url"]),
        (
            "a custom preset without names",
            setup().with("identity", json!({ "preset": "custom", "reads": ["user"] })).with("rules", json!([])),
            &["headers"],
        ),
        ("a bad listen address", setup().with("listen", "localhost"), &["listen"]),
        ("a rule without a role", setup().with("rules", json!([{ "when": { "user": "x" } }])), &["role"]),
        (
            "a rule without a matcher",
            setup().with("rules", json!([{ "when": {}, "role": "internal_user" }])),
            &["when"],
        ),
    ];
    for (case, setup, words) in cases {
        let ended = setup.give_up().await;
        assert_eq!(ended.code, Some(78), "{case}: {ended:?}");
        for word in words {
            assert!(ended.stderr.contains(word), "{case}: {word} is not in:\n{}", ended.stderr);
        }
        assert!(!ended.stderr.contains("canary"), "{case}: a secret is in:\n{}", ended.stderr);
    }
}

#[tokio::test]
async fn an_address_in_use_is_named_and_a_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let address = taken.local_addr().expect("the listener has an address").to_string();
    let ended = setup().with("listen", address.clone()).give_up().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
}

#[tokio::test]
async fn the_environment_beats_the_file_and_fills_its_values() {
    let setup = Setup::new("http://127.0.0.1:1", "${DATABASE}");
    let config = setup.write();
    let mut command = binary();
    command.arg("serve").arg("--config").arg(&config).env("VESTIBULE_DEFAULT_ROLE", "nonsense");
    let told = ended(command).await;
    assert_eq!(told.code, Some(78));
    assert!(told.stderr.contains("nonsense") && told.stderr.contains("DATABASE"), "{}", told.stderr);
}
