//! From the words on the command line to one account.

use super::EXIT_NO_USER;
use super::context::{CommandContext, Exit};
use super::table::{or_dash, shown, table};
use crate::store::admin::{Account, AccountFilter, UserSelector};

/// Least likeness of a name that is suggested.
const LIKENESS_MIN: f64 = 0.8;

/// The one account that is meant: a `user_id`, an e-mail, or issuer and subject.
pub(super) async fn resolve_user(context: &CommandContext, words: &[String]) -> Result<Account, Exit> {
    let who = match words {
        [issuer, subject] => UserSelector::Identity { issuer: issuer.clone(), subject: subject.clone() },
        words => UserSelector::Name(words.first().cloned().unwrap_or_default()),
    };
    let mut found = context.store.find(&who).await?;
    match found.len() {
        0 => Err(nobody(context, words).await?),
        1 => Ok(found.remove(0)),
        _ => Err(ambiguous(words, &found)),
    }
}

/// The account that is meant, where one is named.
pub(super) async fn resolve_some(context: &CommandContext, words: &[String]) -> Result<Option<Account>, Exit> {
    if words.is_empty() { Ok(None) } else { resolve_user(context, words).await.map(Some) }
}

async fn nobody(context: &CommandContext, words: &[String]) -> Result<Exit, Exit> {
    let name = words.join("` `");
    let all = context.store.accounts(&AccountFilter::default()).await?;
    let wanted = words.last().map(|word| word.to_lowercase()).unwrap_or_default();
    let nearest = all
        .iter()
        .flat_map(|account| [Some(&account.user_id), account.email.as_ref()])
        .flatten()
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|one, two| one.0.total_cmp(&two.0));
    let hint = nearest.map_or_else(String::new, |(_, name)| format!("did you mean `{}`? ", shown(name)));
    Ok(Exit::new(
        EXIT_NO_USER,
        format!(
            "error: nobody is known as `{}`\n  = help: {hint}`vestibule users list` shows everybody who has signed in; whoever has not \
         can be kept out with `deny` in the configuration",
            shown(&name)
        ),
    ))
}

fn ambiguous(words: &[String], found: &[Account]) -> Exit {
    let row =
        |one: &Account| [one.user_id.clone(), one.issuer.clone(), one.subject.clone(), or_dash(one.email.as_deref())];
    Exit::failure(format!(
        "`{}` can be {} people\n\n{}\n  = help: name one by issuer and subject: two words in place of one",
        shown(&words.join("` `")),
        found.len(),
        table(["USER_ID", "ISSUER", "SUBJECT", "EMAIL"], found.iter().map(row))
    ))
}
