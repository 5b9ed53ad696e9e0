//! What has to be done so that the books agree with a person and their terms. Pure: the same functions decide in the
//! first read, which writes nothing when they find nothing to do, and again under the locks.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::identify::{is_suffixed, suffixed};
use super::standing::{Lent, LentUi, Standing};
use crate::config::{AccountRules, Allowance, Litellm, Role, RoleSync, SessionRules, Terms};
use crate::litellm::tables::{AllowanceColumns, UserChange, UserRow, mark};
use crate::secret::{SessionKey, SessionKind, SessionSecrets};
use crate::store::audit::{AuditEvent, EventKind, event};
use crate::store::{Person, StoreError, UiSession};

/// A session is renewed when this much is left of it…
const RENEWAL_SECONDS: f64 = 300.0;
/// …or this share of its life, if that is more…
const RENEWAL_SHARE: f64 = 0.25;
/// …but never more than this share, so that a short life is not all renewals.
const RENEWAL_SHARE_MAX: f64 = 0.5;

/// What is to be done about account and user row.
#[derive(Debug, Default)]
pub(super) struct AccountPlan {
    /// The user row was deleted by hand: make it again.
    pub(super) remake: bool,
    /// Columns of the user row.
    pub(super) change: Option<UserChange>,
    /// The mapped role, where the account doesn't have it as the last written.
    pub(super) role: Option<Role>,
    /// Models and limits to write, with their text for the account row.
    pub(super) allowance: Option<(AllowanceColumns, String)>,
    /// The e-mail that another row has, for the account row.
    pub(super) email_refused: Option<String>,
    /// What the audit tells.
    pub(super) events: Vec<AuditEvent>,
}

/// What is to be done about the session.
pub(super) enum SessionPlan {
    /// Lend it as it is.
    Keep(SessionKey),
    /// The same row and key, for longer.
    Extend(SessionKey),
    /// A new one; the old one lives on for a while.
    Rotate,
    /// A new one; the old one ends, for this reason.
    Replace(&'static str),
    /// A first one.
    Open,
}

/// Life of sessions, in seconds, and their secrets.
#[derive(Debug)]
pub(super) struct Lending {
    pub(super) secrets: SessionSecrets,
    pub(super) life: f64,
    pub(super) max_age: f64,
    /// How long a replaced session lives on.
    pub(super) grace: f64,
}

// === impl AccountPlan ===

impl AccountPlan {
    /// Nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        !self.remake
            && self.change.is_none()
            && self.role.is_none()
            && self.allowance.is_none()
            && self.email_refused.is_none()
    }

    /// Compares the standing with the person and their terms.
    pub(super) fn new(standing: &Standing, person: &Person, terms: &Terms, role_sync: RoleSync) -> Self {
        let mut plan = Self::default();
        let mut change = UserChange { user_id: standing.user_id.clone(), ..UserChange::default() };
        let untouched = change.clone();
        plan.email(standing, person, &mut change);
        plan.role(standing, terms.role, role_sync, &mut change);
        plan.remake = standing.user.is_none();
        if let Some(user) = &standing.user {
            if user.alias.as_deref().is_none_or(str::is_empty) {
                change.user_alias = person.display_name.clone().filter(|name| !name.is_empty());
            }
            if user.sso_user_id.is_none() {
                change.sso_user_id = Some(sso_user_id(standing, person));
            }
            if change != untouched {
                plan.change = Some(change);
            }
        }
        plan.allowance(standing, terms);
        plan
    }

    /// The e-mail follows the person's unless another row has it. Then the old one stays, which is told once.
    fn email(&mut self, standing: &Standing, person: &Person, change: &mut UserChange) {
        let Some(wanted) = &person.email else { return };
        let had = standing.user.as_ref().and_then(|user| user.email.as_deref());
        if had.is_some_and(|had| had.to_lowercase() == wanted.to_lowercase()) {
            return;
        }
        if !standing.email_taken {
            change.user_email = Some(wanted.clone());
            if standing.user.is_some() {
                self.events.push(event(EventKind::EmailChanged, json!({ "from": had, "to": wanted })));
            }
        } else if standing.email_refused.as_ref() != Some(wanted) {
            self.email_refused = Some(wanted.clone());
            self.events.push(event(EventKind::EmailRefused, json!({ "kept": had, "refused": wanted })));
        }
    }

    fn role(&mut self, standing: &Standing, mapped: Role, role_sync: RoleSync, change: &mut UserChange) {
        let had = standing.user.as_ref().and_then(|user| user.role.as_deref());
        let written = standing.role.as_deref() == Some(mapped.as_str());
        let write = match (role_sync, &standing.user) {
            // A row made again is a row made: it gets the mapped role whatever the setting.
            (_, None) | (RoleSync::Always, _) => true,
            (RoleSync::OnChange, Some(_)) => !written,
            (RoleSync::Create, Some(_)) => false,
        };
        if !write {
            return;
        }
        if !written {
            self.role = Some(mapped);
        }
        if standing.user.is_some() && had != Some(mapped.as_str()) {
            change.user_role = Some(mapped.as_str());
            // Somebody's hand is told apart from a changed mapping.
            let name = if written { EventKind::RoleUndone } else { EventKind::RoleChanged };
            self.events.push(event(name, json!({ "from": had, "to": mapped.as_str() })));
        }
    }

    /// `always` keeps in step with the rule: written when the rule says other than what was last written. The columns
    /// aren't read, so what an admin edits stands until the rule changes.
    fn allowance(&mut self, standing: &Standing, terms: &Terms) {
        let Some(allowance) = &terms.allowance else { return };
        let text = allowance_text(allowance);
        let same = standing.allowance.as_ref() == Some(&text);
        if standing.user.is_none() || (allowance.always && !same) {
            let duration = standing.allowance.as_deref().and_then(|text| {
                let before: Value = serde_json::from_str(text).ok()?;
                Some(before.get("budget_duration")?.as_str()?.to_owned())
            });
            let columns = allowance_columns(allowance, duration.as_deref().filter(|_| standing.user.is_some()));
            self.events.push(event(EventKind::AllowanceWritten, json!({ "allowance": text })));
            self.allowance = Some((columns, text));
        }
    }
}

/// The columns of an allowance. The time of the next reset is written where the duration is another than `before`.
pub(super) fn allowance_columns(allowance: &Allowance, before: Option<&str>) -> AllowanceColumns {
    let duration = allowance.budget_duration.as_ref();
    AllowanceColumns {
        models: allowance.models.clone(),
        max_budget: allowance.max_budget,
        budget_duration: duration.map(|duration| duration.text.clone()),
        budget_seconds: duration.filter(|duration| Some(duration.text.as_str()) != before).map(|it| it.seconds),
        tpm_limit: allowance.tpm_limit,
        rpm_limit: allowance.rpm_limit,
    }
}

/// An allowance as the account row remembers it: JSON with its members in one order.
pub(super) fn allowance_text(allowance: &Allowance) -> String {
    json!({
        "models": allowance.models,
        "max_budget": allowance.max_budget,
        "budget_duration": allowance.budget_duration.as_ref().map(|duration| &duration.text),
        "tpm_limit": allowance.tpm_limit,
        "rpm_limit": allowance.rpm_limit,
    })
    .to_string()
}

/// A person's row as it is made.
pub(super) fn user_row(person: &Person, terms: &Terms, user_id: String, sso_user_id: String) -> UserRow {
    UserRow {
        user_id,
        sso_user_id,
        user_email: person.email.clone(),
        user_alias: person.display_name.clone(),
        user_role: terms.role.as_str(),
        metadata: json!({ "auth_provider": person.provider, "vestibule": mark(None) }),
        allowance: terms.allowance.as_ref().map(|it| allowance_columns(it, None)).unwrap_or_default(),
    }
}

/// The `sso_user_id` of a known person: the subject, or where that is another's, one that can only be theirs.
pub(super) fn sso_user_id(standing: &Standing, person: &Person) -> String {
    if standing.sso_taken || is_suffixed(&standing.user_id, &standing.account_id) {
        suffixed(&person.subject, &standing.account_id)
    } else {
        person.subject.clone()
    }
}

/// Whether a role written over another lowers it. What is missing or unknown LiteLLM takes for `internal_user`
/// (`auth/auth_checks.py`, `effective_user_role`).
pub(super) fn lowers(had: Option<&str>, written: Role) -> bool {
    had.and_then(Role::parse).unwrap_or(Role::InternalUser) > written
}

/// What forbids lending a key to this account at all.
pub(super) fn refusal(standing: &Standing) -> Option<StoreError> {
    let scim_off = standing.user.as_ref().is_some_and(|user| user.scim_off);
    // A blocked key stays a block when its life is over: whoever blocked it meant the person.
    let key_blocked = standing.lent.as_ref().and_then(|lent| lent.key.as_ref()).is_some_and(|key| key.blocked);
    (standing.blocked || scim_off || key_blocked).then(|| StoreError::Blocked { user_id: standing.user_id.clone() })
}

// === impl Lending ===

impl Lending {
    /// Of the settings: a replaced session lives on until every replica has read of it, and LiteLLM has, twice over.
    pub(super) fn new(litellm: &Litellm, account: &AccountRules, session: &SessionRules) -> Self {
        Self {
            secrets: session.secrets.clone(),
            life: session.life.as_secs_f64(),
            max_age: session.max_age.as_secs_f64(),
            grace: 2.0 * (account.refresh + litellm.cache_ttl).as_secs_f64(),
        }
    }

    /// Seconds that a new session lives.
    pub(super) fn first(&self) -> f64 {
        self.life.min(self.max_age)
    }

    /// Seconds that a session of this age can be given.
    pub(super) fn longer(&self, age_seconds: f64) -> f64 {
        self.life.min(self.max_age - age_seconds)
    }

    /// A browser's session with its key made again; `None` where a secret is missing, or the row is not what we wrote.
    pub(super) fn ui(&self, lent: &LentUi, account_id: &str) -> Option<UiSession> {
        let nonce = STANDARD.decode(&lent.nonce).ok()?;
        let key = self.secrets.session_key(&lent.secret_id, SessionKind::Ui, account_id, &nonce)?;
        let expires_in = Duration::try_from_secs_f64(lent.left_seconds.max(0.0)).ok()?;
        (key.token() == lent.token).then(|| UiSession { session_id: lent.id.clone(), key, expires_in })
    }

    fn window(&self) -> f64 {
        RENEWAL_SECONDS.max(self.first() * RENEWAL_SHARE).min(self.first() * RENEWAL_SHARE_MAX)
    }

    /// Decides about the current session.
    pub(super) fn plan(&self, lent: Option<&Lent>, account_id: &str) -> Result<SessionPlan, StoreError> {
        let Some(lent) = lent else { return Ok(SessionPlan::Open) };
        if lent.left_seconds <= 0.0 {
            return Ok(SessionPlan::Replace("expired"));
        }
        let Some(key) = self.secrets.session_key(&lent.secret_id, SessionKind::Api, account_id, &lent.nonce) else {
            return Err(StoreError::SecretMismatch(lent.secret_id.clone()));
        };
        if key.token() != lent.token {
            return Ok(SessionPlan::Replace(TOKEN_MISMATCH));
        }
        let Some(row) = &lent.key else { return Ok(SessionPlan::Replace("key_deleted")) };
        if !row.own {
            return Ok(SessionPlan::Replace("key_given_away"));
        }
        let rest_of_key = lent.left();
        if rest_of_key <= 0.0 {
            return Ok(SessionPlan::Replace("key_expired"));
        }
        let old_secret = lent.secret_id != self.secrets.current().as_str();
        let rest_of_age = self.max_age - lent.age_seconds;
        Ok(if rest_of_age <= 0.0 {
            SessionPlan::Rotate
        } else if rest_of_key >= self.window() {
            SessionPlan::Keep(key)
        } else if old_secret || rest_of_age <= self.window() {
            // A key of a retired secret is honoured, not renewed: after one life no key needs that secret.
            SessionPlan::Rotate
        } else {
            SessionPlan::Extend(key)
        })
    }
}

/// The session's token is not its key's: somebody wrote into our tables.
pub(super) const TOKEN_MISMATCH: &str = "token_mismatch";

impl Lent {
    /// Seconds that the key still lives.
    pub(super) fn left(&self) -> f64 {
        let key = self.key.as_ref().and_then(|key| key.left_seconds);
        key.map_or(self.left_seconds, |key| key.min(self.left_seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lowering_is_measured_from_what_litellm_takes_the_old_role_for() {
        assert!(lowers(Some("proxy_admin"), Role::InternalUser));
        assert!(lowers(Some("org_admin"), Role::InternalUserViewer));
        assert!(lowers(None, Role::InternalUserViewer));
        assert!(!lowers(None, Role::InternalUser));
        assert!(!lowers(Some("internal_user_viewer"), Role::ProxyAdmin));
    }

    #[test]
    fn the_renewal_window_fits_short_and_long_lives() {
        let life = |life: f64, max_age: f64| {
            let secrets = SessionSecrets::parse(&"0123456789abcdef0123456789abcdef".to_owned().into()).unwrap();
            Lending { secrets, life, max_age, grace: 0.0 }.window()
        };
        for (seconds, max_age, window) in [
            (10.0, 604_800.0, 5.0),
            (900.0, 604_800.0, 300.0),
            (86_400.0, 604_800.0, 21_600.0),
            (86_400.0, 400.0, 200.0),
        ] {
            assert!((life(seconds, max_age) - window).abs() < 1e-9, "{seconds} {max_age}");
        }
    }
}
