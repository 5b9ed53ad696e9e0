//! The commands of an operator through the real binary, before the real books.

mod blocks;
mod changes;
mod looks;
mod replicas;

use std::process::Command;

use crate::support::client::UserProfile;
use crate::support::operator::operate;
use crate::support::stage::Stage;
use crate::support::vestibule::{Ended, binary, ended};

/// Alice and bob have signed in.
async fn two_people() -> Stage {
    let stage = Stage::plain().await;
    for name in ["alice", "bob"] {
        stage.client().get("/v1/models").from(&UserProfile::named(name)).send().await.expect_ok();
    }
    stage
}

/// What the command did, shown with everything that it printed when a claim about it fails.
macro_rules! told {
    ($ended:expr, $code:expr, $($word:expr),+) => {{
        let ended = $ended;
        assert_eq!(ended.code, Some($code), "{ended:?}");
        $(assert!(ended.stderr.contains($word), "{:?} is not in:\n{}", $word, ended.stderr);)+
    }};
}
use told;

#[tokio::test]
async fn nobody_of_that_name_is_a_67_with_the_nearest_name() {
    let stage = two_people().await;
    for words in [
        &["users", "show", "alcie"][..],
        &["users", "block", "alice@exampel.com", "--yes"],
        &["sessions", "list", "alic"],
    ] {
        told!(operate(&stage.setup, words).await, 67, "nobody is known as", "did you mean `alice");
    }
    told!(operate(&stage.setup, &["users", "show", "other", "alice"]).await, 67, "nobody is known as `other` `alice`");
    told!(operate(&stage.setup, &["users", "unblock", "zzz"]).await, 67, "`vestibule users list` shows everybody");
}

#[tokio::test]
async fn a_name_of_two_people_is_an_error_that_lists_them() {
    let stage = two_people().await;
    stage.db.run(r#"UPDATE "LiteLLM_UserTable" SET user_email = 'Alice@example.com' WHERE user_id = 'bob'"#).await;
    let ended = operate(&stage.setup, &["users", "block", "alice@example.com", "--yes"]).await;
    told!(
        ended,
        1,
        "can be 2 people",
        "USER_ID  ISSUER   SUBJECT  EMAIL\nalice    default  alice    alice@example.com\nbob      default  bob      Alice@example.com"
    );
    assert_eq!(stage.db.number("SELECT count(*) FROM vestibule.account WHERE blocked_at IS NOT NULL").await, 0);
    let one = operate(&stage.setup, &["users", "show", "default", "bob", "--json"]).await;
    assert_eq!(one.code, Some(0), "{one:?}");
}

#[tokio::test]
async fn what_changes_something_needs_a_yes_where_there_is_no_terminal() {
    let stage = two_people().await;
    stage.db.add_user("carol", "internal_user", None, None).await;
    let before = everything(&stage).await;
    for words in [
        &["users", "block", "alice"][..],
        &["users", "link", "default", "c", "carol"],
        &["users", "move", "alice", "default", "a2"],
        &["sessions", "revoke", "alice"],
        &["sessions", "revoke", "--all"],
    ] {
        told!(operate(&stage.setup, words).await, 2, "nothing was changed", "add `--yes`");
        let dry = [words, &["--dry-run"]].concat();
        told!(operate(&stage.setup, &dry).await, 0, "A dry run: nothing was changed.");
        let dry = [words, &["--dry-run", "--json"]].concat();
        let ended = operate(&stage.setup, &dry).await;
        let told: serde_json::Value = serde_json::from_str(&ended.stdout).expect("one JSON document");
        assert_eq!(told["changed"], false, "{told}");
    }
    assert_eq!(everything(&stage).await, before);
}

#[tokio::test]
async fn on_a_terminal_only_a_yes_is_a_yes() {
    let stage = two_people().await;
    let blocked = "SELECT count(*) FROM vestibule.account WHERE blocked_at IS NOT NULL";
    for (typed, code, count) in [("\n", 1, 0), ("no\n", 1, 0), ("yes please\n", 1, 0), ("y\n", 0, 1)] {
        let ended = at_a_terminal(&stage, "users block alice", typed).await;
        assert_eq!(ended.code, Some(code), "{typed:?}: {ended:?}");
        assert!(ended.stdout.contains("Proceed? [y/N]"), "{ended:?}");
        assert_eq!(stage.db.number(blocked).await, count, "{typed:?}");
    }
}

/// A command on a terminal of its own, which `script` makes, with something typed.
async fn at_a_terminal(stage: &Stage, words: &str, typed: &str) -> Ended {
    let command = format!("{} {words} --config {}", env!("CARGO_BIN_EXE_vestibule"), stage.setup.write().display());
    let typing = stage.setup.folder().join("typed");
    std::fs::write(&typing, typed).expect("the folder can be written");
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    script.stdin(std::fs::File::open(&typing).expect("it was just written"));
    ended(script).await
}

/// Every row that a command could change.
async fn everything(stage: &Stage) -> Vec<String> {
    stage
        .db
        .texts(
            r#"SELECT t FROM (SELECT a::text AS t FROM vestibule.account a UNION ALL SELECT s::text FROM vestibule.session s
               UNION ALL SELECT l::text FROM vestibule.audit l UNION ALL SELECT u::text FROM "LiteLLM_UserTable" u
               UNION ALL SELECT k::text FROM "LiteLLM_VerificationToken" k) everything ORDER BY t"#,
        )
        .await
}

#[tokio::test]
async fn a_wrong_command_line_is_a_2_and_a_wrong_configuration_a_78() {
    let stage = Stage::plain().await;
    for words in [
        &["users", "bolck", "alice"][..],
        &["users", "list", "--role", "boss"],
        &["sessions", "revoke"],
        &["sessions", "revoke", "alice", "--all"],
        &["audit", "--since", "yesterday"],
        &["audit", "--event", "blokced"],
    ] {
        let ended = operate(&stage.setup, words).await;
        assert_eq!(ended.code, Some(2), "{words:?}: {ended:?}");
    }
    let wrong = stage.setup.clone().with("account.refresh", "soon");
    told!(operate(&wrong, &["users", "list"]).await, 78, "account.refresh");
    let away = stage.setup.clone().with("litellm.database_url", "postgresql://nobody@127.0.0.1:1/nothing");
    told!(operate(&away, &["users", "list"]).await, 1, "litellm.database_url");
}

#[tokio::test]
async fn every_command_teaches_itself_with_an_example() {
    for words in [
        &["users", "list"][..],
        &["users", "show"],
        &["users", "block"],
        &["users", "unblock"],
        &["users", "link"],
        &["users", "move"],
        &["sessions", "list"],
        &["sessions", "revoke"],
        &["audit"],
        &["migrate"],
        &["secret", "new"],
        &["secret", "id"],
    ] {
        let mut command = binary();
        command.args(words).arg("--help");
        let help = ended(command).await;
        assert_eq!(help.code, Some(0), "{help:?}");
        assert!(help.stdout.contains("Example"), "{words:?}: {}", help.stdout);
        assert!(help.stdout.contains(&format!("vestibule {}", words.join(" "))), "{words:?}: {}", help.stdout);
    }
}
