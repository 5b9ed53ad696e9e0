//! Accounts and sessions.

use std::time::Duration;

use crate::config::check::values::{Zero, duration, number, secret, written};
use crate::config::raw::{RawAccount, RawSession};
use crate::config::report::Report;
use crate::config::{AccountRules, Attribute, IdentityRules, RoleSync, SessionRules, UserIdFrom};
use crate::secret::{SECRET_BYTES_MIN, SECRETS_MAX, SecretError, SessionSecrets};

const HOUR: Duration = Duration::from_hours(1);
const CACHED_MAX: usize = 100_000_000;
/// No key needs to live longer than this to be renewed in time.
const LIFE_NEEDED_MAX: Duration = Duration::from_hours(24);

/// How a person becomes a row.
pub(super) fn account(raw: RawAccount, identity: &IdentityRules, report: &mut Report) -> AccountRules {
    let user_id = raw.user_id.unwrap_or(UserIdFrom::Subject);
    let reads = |attribute| identity.reads.contains_key(&attribute);
    let (name, attribute, there) = match user_id {
        UserIdFrom::Subject => ("subject", "user", true),
        UserIdFrom::Username => ("username", "preferred_username", reads(Attribute::PreferredUsername)),
        UserIdFrom::Email => ("email", "email", reads(Attribute::Email) || identity.email_from_user),
    };
    if !there && !report.is_doubtful("identity") {
        let message = format!("`account.user_id: {name}` needs an attribute that is not read: `{attribute}`");
        let remedy =
            format!("add `{attribute}` to `identity.reads` if your sign-in proxy always sets or removes its header");
        report.error("account.user_id", message, remedy);
    }
    AccountRules {
        user_id,
        adopt: raw.adopt.unwrap_or_default().into_iter().flatten().collect(),
        role_sync: raw.role_sync.unwrap_or(RoleSync::Always),
        refresh: duration("account.refresh", raw.refresh, Duration::from_secs(30), Zero::Refused, report),
        max_cached: number("account.max_cached", raw.max_cached, 100_000, 1..=CACHED_MAX, report),
    }
}

/// Life and secrets of session keys.
pub(super) fn session(
    raw: RawSession,
    account: &AccountRules,
    cache_ttl: Duration,
    report: &mut Report,
) -> Option<SessionRules> {
    let life = duration("session.life", raw.life, HOUR * 24, Zero::Refused, report);
    let max_age = duration("session.max_age", raw.max_age, HOUR * 24 * 7, Zero::Refused, report);
    let offline_grace =
        duration("session.offline_grace", raw.offline_grace, Duration::from_mins(5), Zero::Allowed, report);
    // What is known of a person is up to `refresh` old here and up to `cache_ttl` old in LiteLLM: a key that lives only a
    // few times that would end before its renewal is seen everywhere.
    let needed = ((account.refresh + cache_ttl) * 4).min(LIFE_NEEDED_MAX);
    if life < needed {
        let message = format!("`session.life` is too short for a key to be renewed in time: `{}`", written(life));
        let remedy = format!("at least 4 × (`account.refresh` + `litellm.cache_ttl`): `{}`", written(needed));
        report.error("session.life", message, remedy);
    }
    if life > max_age {
        let message = format!("`session.life` is longer than `session.max_age`: `{}`", written(life));
        report.error("session.life", message, format!("at most `session.max_age`: `{}`", written(max_age)));
    }
    let secrets = secrets(raw.secret, raw.secret_file, report)?;
    Some(SessionRules { secrets, life, max_age, offline_grace })
}

fn secrets(
    inline: Option<crate::config::raw::Secret>,
    file: Option<String>,
    report: &mut Report,
) -> Option<SessionSecrets> {
    let make = "make one with `vestibule secret new`";
    let given = inline.is_some() || file.is_some();
    let Some((secret, from)) = secret("session.secret", inline, file, report) else {
        if !given {
            let remedy = format!("set `session.secret_file` to a file with a secret; {make}");
            report.missing("session.secret", "there is no session secret, so no key can be made", remedy);
        }
        return None;
    };
    match SessionSecrets::parse(&secret) {
        Ok(secrets) => return Some(secrets),
        Err(SecretError::None) => {
            report.error(&from, format!("`{from}` holds only blanks"), make);
        }
        Err(SecretError::TooMany) => {
            let message = format!("`{from}` holds more than {SECRETS_MAX} secrets");
            report.error(&from, message, "one a line; take out the oldest, which no living key needs");
        }
        Err(SecretError::Short(line)) => {
            let message = format!("`{from}` holds a secret that is too short, on its line {line}");
            report.error(&from, message, format!("at least {SECRET_BYTES_MIN} bytes; {make}"));
        }
    }
    None
}
