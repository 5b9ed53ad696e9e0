//! The command line and the configuration, as somebody meets them who gets something wrong.

use std::process::Command;

use serde_json::json;

use crate::support::client::UserProfile;
use crate::support::db::TestDb;
use crate::support::stage::Stage;
use crate::support::upstream::Upstream;
use crate::support::vestibule::{Ended, SESSION_SECRET, Setup, binary, ended};

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
    let name = concat!("vestibule ", env!("CARGO_PKG_VERSION"));
    let version = run(&["-V"]).await;
    assert_eq!((version.code, version.stdout.trim()), (Some(0), name));
    let version = run(&["--version"]).await;
    let lines: Vec<_> = version.stdout.lines().collect();
    assert_eq!((version.code, lines[0]), (Some(0), name));
    assert!(lines[1].starts_with("commit ") && lines[2].starts_with("target "), "{lines:?}");
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

#[tokio::test]
async fn without_any_configuration_it_says_how_to_give_one() {
    let ended = run(&["serve"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("--config FILE") && ended.stderr.contains("serve --help"), "{}", ended.stderr);
}

#[tokio::test]
async fn flags_alone_serve_a_request() {
    let (db, upstream) = (TestDb::fresh().await, Upstream::json().await);
    let setup = setup();
    let file = |name: &str, text: &str| {
        let path = setup.folder().join(name);
        std::fs::write(&path, text).expect("the folder can be written");
        path.display().to_string()
    };
    let (secret, database) = (file("session-secret", SESSION_SECRET), file("database-url", db.url()));
    let words = [
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--upstream",
        &upstream.url,
        "--database-url-file",
        &database,
        "--session-secret-file",
        &secret,
        "--trust-peer",
        "127.0.0.1",
        "--accept-shared-loopback",
        "--preset",
        "oauth2-proxy",
        "--reads",
        "user,email,groups",
        "--rule",
        "group=llm-admins:proxy_admin",
        "--rule",
        "email_domain=example.com,group=llm-*:internal_user",
        "--default-role",
        "deny",
        "--set",
        "log.format=json",
        "--set",
        "drain.delay=0s",
    ];
    let vestibule = setup.start_with(&words).await;
    vestibule.ready().await;
    vestibule.client().get("/v1/models").from(&UserProfile::named("alice")).send().await.expect_ok();
    assert_eq!(db.user("alice").await.expect("her row").user_role.as_deref(), Some("internal_user"));
    let stranger = vestibule.client().get("/v1/models").from(&UserProfile::named("bob").in_groups("x")).send().await;
    assert_eq!(stranger.refusal().as_deref(), Some("no_role"));
}

#[tokio::test]
async fn a_secret_on_the_command_line_is_not_taken_and_not_repeated() {
    for words in [
        &["serve", "--database-url", "postgres://u:canary@h/d"][..],
        &["check", "--database-url", "postgres://h/d?user=u&password=canary"],
        &["check", "--set", "session.secret=canary"],
        &["users", "list", "--set", "litellm.master_key=canary"],
        &["check", "--set", "litellm={ master_key: canary }"],
        &["check", "--set", "trust.secret_header.value[0]=canary"],
    ] {
        let ended = run(words).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("is not taken") && ended.stderr.contains("file"), "{ended:?}");
        assert!(!ended.stderr.contains("canary") && !ended.stdout.contains("canary"), "{ended:?}");
    }
    let ended = run(&["check", "--database-url", "postgres://u@127.0.0.1/d"]).await;
    assert_eq!(ended.code, Some(78), "an address without a password is taken: {ended:?}");
    assert!(!ended.stdout.contains("database_url"), "{ended:?}");
}

#[tokio::test]
async fn a_rule_that_cannot_be_read_is_a_2_that_shows_one() {
    for rule in ["llm-admins", "llm-admins:proxy_admin", "groups=a:proxy_admin", "group=a,group=b:proxy_admin"] {
        let ended = run(&["check", "--rule", rule]).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("`group=llm-admins:proxy_admin`"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn completions_are_there_for_every_shell() {
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef vestibule"),
        ("fish", "complete -c vestibule"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let ended = run(&["completions", shell]).await;
        assert_eq!(ended.code, Some(0), "{shell}");
        assert!(ended.stdout.contains(word) && ended.stdout.contains("healthcheck"), "{shell}");
    }
}

#[tokio::test]
async fn a_health_check_is_0_where_it_serves_and_1_where_it_does_not() {
    let stage = Stage::plain().await;
    let admin = stage.vestibule.admin_address().to_string();
    for words in [&["healthcheck", "--admin", &admin][..], &["healthcheck", "--live", "--admin", &admin]] {
        let ended = run(words).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    // A configuration that is broken by now, as it stands before a reload that refuses it.
    let broken = stage.setup.clone().with("admin", admin.clone()).with("account.refresh", "soon").write();
    let ended = run(&["healthcheck", "--config", &broken.display().to_string()]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let unready = setup().with("database.connect_timeout", "100ms").start_unready().await;
    let admin = unready.admin_address().to_string();
    let ended = run(&["healthcheck", "--admin", &admin]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("answers 503 at /readyz"), "{}", ended.stderr);
    assert_eq!(run(&["healthcheck", "--live", "--admin", &admin]).await.code, Some(0));
    assert_eq!(run(&["healthcheck", "--admin", "127.0.0.1:1"]).await.code, Some(1));
    let off = setup().with("admin", "off").write();
    assert_eq!(run(&["healthcheck", "--config", &off.display().to_string()]).await.code, Some(1));
}
