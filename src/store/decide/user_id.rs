//! The row of a new user in LiteLLM's table: one of their own, one that is adopted, or a conflict.
//!
//! Pure: from the rows that could be theirs it decides on one of these.

use super::state::CandidateRow;
use crate::config::{AccountRules, AdoptBy, UserIdFrom};
use crate::litellm::reserved;
use crate::litellm::role::Role;
use crate::store::{StoreError, UserProfile, text};

/// Separates a `user_id` from the account's id, where the plain one belongs to another account.
const SUFFIX: char = '~';

const ADMIN: &str = "A row with an admin role is never taken over by a sign-in: if it is theirs, `vestibule users link` gives it \
                     to them; else rename one of the two";
const BY_USER_ID: &str = "If it is, add `user_id` to `account.adopt`; else rename one of the two";
const BY_SSO_USER_ID: &str = "If it is, add `sso_user_id` to `account.adopt`; else clear the column in that row";
const BY_EMAIL: &str = "If it is, add `email` to `account.adopt`; else change the e-mail of one of the two";
const OWNED_EMAIL: &str = "Another account has this e-mail: change one of the two at its sign-in source";
const TWO_ROWS: &str = "Two rows could be this person's: merge them, or change the id or e-mail of the wrong one";

/// The row of a new user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum RowChoice {
    /// A row of their own.
    Create { user_id: String, sso_user_id: String },
    /// An existing row.
    Adopt { user_id: String, by: &'static str },
}

/// The `user_id` that the rules want for a user.
pub(in crate::store) fn wanted_user_id<'a>(
    profile: &'a UserProfile,
    rules: &AccountRules,
) -> Result<&'a str, StoreError> {
    let (id, name) = match rules.user_id {
        UserIdFrom::Subject => (Some(&profile.subject), "subject"),
        UserIdFrom::Username => (profile.preferred_username.as_ref(), "username"),
        UserIdFrom::Email => (profile.email.as_ref(), "email"),
    };
    id.map(String::as_str).ok_or(StoreError::NoId(name))
}

/// Refuses an id that LiteLLM keeps for itself, or that can't be told from another by eye.
pub(in crate::store) fn check_user_id(user_id: &str, further: &[String]) -> Result<(), StoreError> {
    let bad = !text::is_id(user_id)
        || reserved::is_reserved(user_id)
        || further.iter().any(|id| id.eq_ignore_ascii_case(user_id));
    if bad { Err(StoreError::ReservedId(user_id.to_owned())) } else { Ok(()) }
}

/// Whether a text has this account's suffix.
pub(in crate::store) fn is_suffixed(text: &str, account_id: &str) -> bool {
    text.strip_suffix(account_id).is_some_and(|rest| rest.ends_with(SUFFIX))
}

/// A distinct id where the plain one belongs to another account. The account's id is 128 random bits, made here and not
/// known outside before: no subject of any issuer can have been chosen to equal it.
pub(in crate::store) fn suffixed(text: &str, account_id: &str) -> String {
    format!("{text}{SUFFIX}{account_id}")
}

/// Decides between a new row, an existing one, and a refusal.
///
/// A row that an account of ours owns is never given to another: where it has the wanted ids, the new user's are
/// suffixed (two issuers may have the same subject); where it has their e-mail, that is a conflict, because LiteLLM
/// finds users by e-mail too. A row without an account is adopted by a column that `account.adopt` lists, but never one
/// with an admin role.
pub(in crate::store) fn choose(
    found: &[CandidateRow],
    id_taken: bool,
    wanted: &str,
    subject: &str,
    account_id: &str,
    adopt: &[AdoptBy],
) -> Result<RowChoice, StoreError> {
    let mut adopted: Option<(&CandidateRow, &'static str)> = None;
    let mut sso_taken = false;
    for row in found {
        if row.owned {
            if row.by_email {
                return Err(conflict(row, "user_email", OWNED_EMAIL));
            }
            sso_taken |= row.by_sso_user_id;
            continue;
        }
        if adopted.is_some() {
            return Err(conflict(row, found_by(row).0, TWO_ROWS));
        }
        if row.scim_off {
            return Err(StoreError::Blocked { user_id: row.user_id.clone() });
        }
        adopted = Some((row, adoptable(row, adopt)?));
    }
    if let Some((row, by)) = adopted {
        return Ok(RowChoice::Adopt { user_id: row.user_id.clone(), by });
    }
    let own = |taken: bool, text: &str| if taken { suffixed(text, account_id) } else { text.to_owned() };
    Ok(RowChoice::Create { user_id: own(id_taken, wanted), sso_user_id: own(id_taken || sso_taken, subject) })
}

/// The column by which a row without an account may be taken over.
fn adoptable(row: &CandidateRow, adopt: &[AdoptBy]) -> Result<&'static str, StoreError> {
    let (column, remedy) = found_by(row);
    if row.role.as_deref().and_then(Role::parse).is_some_and(Role::is_admin) {
        return Err(conflict(row, column, ADMIN));
    }
    [
        (AdoptBy::UserId, row.by_user_id, "user_id"),
        (AdoptBy::SsoUserId, row.by_sso_user_id, "sso_user_id"),
        (AdoptBy::Email, row.by_email, "user_email"),
    ]
    .into_iter()
    .find_map(|(way, matches, column)| (matches && adopt.contains(&way)).then_some(column))
    .ok_or_else(|| conflict(row, column, remedy))
}

fn found_by(row: &CandidateRow) -> (&'static str, &'static str) {
    if row.by_user_id {
        ("user_id", BY_USER_ID)
    } else if row.by_sso_user_id {
        ("sso_user_id", BY_SSO_USER_ID)
    } else {
        ("user_email", BY_EMAIL)
    }
}

fn conflict(row: &CandidateRow, found_by: &'static str, remedy: &'static str) -> StoreError {
    StoreError::Conflict { user_id: row.user_id.clone(), found_by, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn litellms_own_ids_and_unreadable_ones_are_refused() {
        let long = "a".repeat(text::ID_BYTES_MAX + 1);
        for id in [
            "default_user_id",
            "Default_User_ID",
            "__db_unavailable_fallback__",
            "litellm-dashboard",
            "LiteLLM",
            "Root",
            "",
            " alice",
            "alice\u{a0}",
            "ali\u{200b}ce",
            "ali\u{202e}ce",
            "ali\nce",
            long.as_str(),
        ] {
            assert!(check_user_id(id, &["root".to_owned()]).is_err(), "{id:?}");
        }
        for id in ["alice", "alice@example.com", "Alice Example", "名前", "my-litellm", "rooty"] {
            assert!(check_user_id(id, &["root".to_owned()]).is_ok(), "{id:?}");
        }
    }

    #[test]
    fn a_suffixed_id_is_known_again() {
        assert!(is_suffixed(&suffixed("alice", "X1"), "X1"));
        assert!(!is_suffixed("aliceX1", "X1"));
        assert!(!is_suffixed("alice~X1", "X2"));
    }

    #[test]
    fn two_rows_of_nobodys_are_a_conflict_even_where_both_may_be_adopted() {
        let one = CandidateRow { user_id: "a".into(), by_user_id: true, ..CandidateRow::default() };
        let two = CandidateRow { user_id: "b".into(), by_email: true, ..CandidateRow::default() };
        let way = choose(&[one, two], false, "a", "a", "X", &[AdoptBy::UserId, AdoptBy::Email]);
        assert!(matches!(way, Err(StoreError::Conflict { user_id, .. }) if user_id == "b"));
    }
}
