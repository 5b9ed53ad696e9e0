//! The commands of an operator, as somebody types them, with what changes from run to run made plain.

use super::stage::Stage;
use super::vestibule::{Ended, SESSION_SECRET, Setup, binary, ended};

/// The master key of the tests: a canary.
pub(crate) const MASTER_KEY: &str = "sk-canary-master-4f1c";

/// Runs a command with the setup's configuration, from a pipe.
pub(crate) async fn operate(setup: &Setup, words: &[&str]) -> Ended {
    let mut command = binary();
    command.args(words).arg("--config").arg(setup.write());
    let ended = ended(command).await;
    for printed in [&ended.stdout, &ended.stderr] {
        for secret in [SESSION_SECRET, MASTER_KEY] {
            assert!(!printed.contains(secret), "a secret is printed by {words:?}: {printed}");
        }
        let is_hash = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_key = |word: &str| word.starts_with("sk-") && word.len() > 20;
        let words_of = printed.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        assert!(!words_of.into_iter().any(is_key), "a key is printed by {words:?}: {printed}");
        let words_of = printed.split(|c: char| !c.is_ascii_alphanumeric());
        assert!(words_of.clone().all(|word| !is_hash(word)), "the hash of a key is printed by {words:?}: {printed}");
    }
    ended
}

/// Runs a command that succeeds: what it printed on standard output.
pub(crate) async fn done(setup: &Setup, words: &[&str]) -> String {
    let ended = operate(setup, words).await;
    assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
    ended.stdout
}

/// What people read on standard error, without the lines of the log.
pub(crate) fn said(ended: &Ended) -> String {
    ended.stderr.lines().filter(|line| !line.starts_with('{')).flat_map(|line| [line, "\n"]).collect()
}

/// The text with ids and times of the books replaced by names, in the order of the books, and blanks in a row by two.
pub(crate) async fn plain(stage: &Stage, text: &str) -> String {
    let mut text = text.to_owned();
    let accounts = stage.db.texts("SELECT id FROM vestibule.account ORDER BY user_id").await;
    let sessions = "SELECT s.id FROM vestibule.session s JOIN vestibule.account a ON a.id = s.account_id ORDER BY a.user_id, s.created_at";
    let sessions = stage.db.texts(sessions).await;
    for (name, ids) in [("ACCOUNT", accounts), ("SESSION", sessions)] {
        for (at, id) in ids.iter().enumerate() {
            text = text.replace(id, &format!("<{name}{}>", at + 1));
        }
    }
    let lines = text.lines().map(|line| {
        let words = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(timeless);
        let indent = line.len() - line.trim_start().len();
        " ".repeat(indent) + &words.collect::<Vec<_>>().join("  ") + "\n"
    });
    lines.collect()
}

/// A cell with its times and its operator's name replaced.
fn timeless(cell: &str) -> String {
    let word = |word: &str| {
        let (bare, mark) = word.trim_end_matches(',').trim_matches('"').split_at_checked(9).unwrap_or((word, ""));
        let is_time = bare.len() == 9 && bare.bytes().take(4).all(|byte| byte.is_ascii_digit()) && mark.ends_with('Z');
        if is_time {
            let bare = word.trim_end_matches(',').trim_matches('"');
            word.replace(bare, "<TIME>")
        } else if bare == "operator:" {
            "<OPERATOR>".to_owned()
        } else {
            word.to_owned()
        }
    };
    cell.split(' ').map(word).collect::<Vec<_>>().join(" ")
}
