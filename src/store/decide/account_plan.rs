//! What has to be written so that account and user row agree with an identity and its terms. The same functions decide after
//! the first read, which is all when there is nothing to write, and again under the locks.

use serde_json::{Value, json};

use super::state::{AccountState, LitellmUser};
use super::user_id::{is_suffixed, suffixed};
use crate::config::{Allowance, RoleSync, Terms};
use crate::litellm::role::Role;
use crate::litellm::tables::{AllowanceColumns, UserChange, UserRow, mark};
use crate::store::audit::{AuditEvent, EventKind, event};
use crate::store::{StoreError, UserProfile};

/// What has to be written to account and user row.
#[derive(Debug, Default)]
pub(in crate::store) struct AccountPlan {
    /// The user row was deleted by hand: make it again.
    pub(in crate::store) recreate: bool,
    /// Columns of the user row.
    pub(in crate::store) change: Option<UserChange>,
    /// The mapped role, if it is not the one last written.
    pub(in crate::store) role: Option<Role>,
    /// Models and limits to write, with their text for the account row.
    pub(in crate::store) allowance: Option<(AllowanceColumns, String)>,
    /// The e-mail that another row has, for the account row.
    pub(in crate::store) email_refused: Option<String>,
    /// For the audit.
    pub(in crate::store) events: Vec<AuditEvent>,
}

/// What is to be written of the account row. `None` leaves a column as it is, but for `email_refused`.
pub(in crate::store) struct AccountUpdate {
    pub(in crate::store) role: Option<&'static str>,
    /// The role was lowered now. A raise clears nothing: LiteLLM may still hold the role from before the lowering.
    pub(in crate::store) lowered: bool,
    pub(in crate::store) allowance: Option<String>,
    pub(in crate::store) email_refused: Option<String>,
}

// === impl AccountPlan ===

impl AccountPlan {
    /// Nothing to do.
    pub(in crate::store) fn is_empty(&self) -> bool {
        !self.recreate
            && self.change.is_none()
            && self.role.is_none()
            && self.allowance.is_none()
            && self.email_refused.is_none()
    }

    /// Compares what was read with the user and their terms.
    pub(in crate::store) fn new(
        state: &AccountState,
        profile: &UserProfile,
        terms: &Terms,
        role_sync: RoleSync,
    ) -> Self {
        let mut plan = Self::default();
        let mut change = UserChange { user_id: state.user_id.clone(), ..UserChange::default() };
        let untouched = change.clone();
        plan.email(state, profile, &mut change);
        plan.role(state, terms.role, role_sync, &mut change);
        plan.recreate = state.user.is_none();
        if let Some(user) = &state.user {
            if user.alias.as_deref().is_none_or(str::is_empty) {
                change.user_alias = profile.display_name.clone().filter(|name| !name.is_empty());
            }
            if user.sso_user_id.is_none() {
                change.sso_user_id = Some(sso_user_id(state, profile));
            }
            if change != untouched {
                plan.change = Some(change);
            }
        }
        plan.allowance(state, terms);
        plan
    }

    /// The row's e-mail follows the user's unless another row has it. Then the old one stays, which is recorded once.
    fn email(&mut self, state: &AccountState, profile: &UserProfile, change: &mut UserChange) {
        let Some(wanted) = &profile.email else { return };
        let had = state.user.as_ref().and_then(|user| user.email.as_deref());
        if had.is_some_and(|had| had.to_lowercase() == wanted.to_lowercase()) {
            return;
        }
        if !state.email_taken {
            change.user_email = Some(wanted.clone());
            if state.user.is_some() {
                self.events.push(event(EventKind::EmailChanged, json!({ "from": had, "to": wanted })));
            }
        } else if state.email_refused.as_ref() != Some(wanted) {
            self.email_refused = Some(wanted.clone());
            self.events.push(event(EventKind::EmailRefused, json!({ "kept": had, "refused": wanted })));
        }
    }

    fn role(&mut self, state: &AccountState, mapped: Role, role_sync: RoleSync, change: &mut UserChange) {
        let had = state.user.as_ref().and_then(|user| user.role.as_deref());
        let written = state.role.as_deref() == Some(mapped.as_str());
        let write = match (role_sync, &state.user) {
            // A row that is made again gets the mapped role whatever the setting, as a new one does.
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
        if state.user.is_some() && had != Some(mapped.as_str()) {
            change.user_role = Some(mapped.as_str());
            // A role changed by hand is distinguished from a changed mapping.
            let name = if written { EventKind::RoleUndone } else { EventKind::RoleChanged };
            self.events.push(event(name, json!({ "from": had, "to": mapped.as_str() })));
        }
    }

    /// With `always` it is written when the rule differs from what was last written. The columns aren't read, so what an
    /// admin edits stays until the rule changes.
    fn allowance(&mut self, state: &AccountState, terms: &Terms) {
        let Some(allowance) = &terms.allowance else { return };
        let text = allowance_text(allowance);
        let same = state.allowance.as_ref() == Some(&text);
        if state.user.is_none() || (allowance.always && !same) {
            let duration = state.allowance.as_deref().and_then(|text| {
                let before: Value = serde_json::from_str(text).ok()?;
                Some(before.get("budget_duration")?.as_str()?.to_owned())
            });
            let columns = allowance_columns(allowance, duration.as_deref().filter(|_| state.user.is_some()));
            self.events.push(event(EventKind::AllowanceWritten, json!({ "allowance": text })));
            self.allowance = Some((columns, text));
        }
    }

    /// The user row to make again if it was deleted: with the same id, so that spend and keys elsewhere still match.
    pub(in crate::store) fn recreated(
        &mut self,
        state: &AccountState,
        profile: &UserProfile,
        terms: &Terms,
    ) -> Option<UserRow> {
        if !self.recreate {
            return None;
        }
        let mut row = user_row(profile, terms, state.user_id.clone(), sso_user_id(state, profile));
        if state.email_taken {
            row.user_email = None;
        }
        self.events.push(event(EventKind::Remade, json!({ "user_id": row.user_id, "role": row.user_role })));
        Some(row)
    }

    /// Updates the state by what was written to the user row, whose role was `had` before, and returns what is to be written
    /// to the account.
    pub(in crate::store) fn settle(
        &self,
        state: &mut AccountState,
        had: Option<&str>,
        terms: &Terms,
    ) -> Option<AccountUpdate> {
        let written = self.change.as_ref().and_then(|change| change.user_role);
        let lowered = if self.recreate {
            state.role.as_deref().is_some_and(|had| lowers(Some(had), terms.role))
        } else {
            written.is_some() && lowers(had, terms.role)
        };
        if self.recreate {
            state.user = Some(LitellmUser { role: Some(terms.role.as_str().to_owned()), ..LitellmUser::default() });
        } else if let (Some(user), Some(role)) = (&mut state.user, written) {
            user.role = Some(role.to_owned());
        }
        if lowered {
            state.lowered_seconds = Some(0.0);
        }
        let is_needed = lowered || self.role.is_some() || self.allowance.is_some() || self.email_refused.is_some();
        is_needed.then(|| AccountUpdate {
            role: self.role.map(Role::as_str),
            lowered,
            allowance: self.allowance.as_ref().map(|(_, text)| text.clone()),
            email_refused: self.email_refused.as_ref().or(state.email_refused.as_ref()).cloned(),
        })
    }
}

/// The columns of an allowance. The time of the next reset is written where the duration differs from `before`.
pub(in crate::store) fn allowance_columns(allowance: &Allowance, before: Option<&str>) -> AllowanceColumns {
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

/// An allowance as it is kept in the account row: JSON with its members in a fixed order.
pub(in crate::store) fn allowance_text(allowance: &Allowance) -> String {
    json!({
        "models": allowance.models,
        "max_budget": allowance.max_budget,
        "budget_duration": allowance.budget_duration.as_ref().map(|duration| &duration.text),
        "tpm_limit": allowance.tpm_limit,
        "rpm_limit": allowance.rpm_limit,
    })
    .to_string()
}

/// A new user row.
pub(in crate::store) fn user_row(
    profile: &UserProfile,
    terms: &Terms,
    user_id: String,
    sso_user_id: String,
) -> UserRow {
    UserRow {
        user_id,
        sso_user_id,
        user_email: profile.email.clone(),
        user_alias: profile.display_name.clone(),
        user_role: terms.role.as_str(),
        metadata: json!({ "auth_provider": profile.provider, "vestibule": mark(None) }),
        allowance: terms.allowance.as_ref().map(|it| allowance_columns(it, None)).unwrap_or_default(),
    }
}

/// The `sso_user_id` of a known user: the subject, or where another row has it, one that can only be theirs.
pub(in crate::store) fn sso_user_id(state: &AccountState, profile: &UserProfile) -> String {
    if state.sso_taken || is_suffixed(&state.user_id, &state.account_id) {
        suffixed(&profile.subject, &state.account_id)
    } else {
        profile.subject.clone()
    }
}

/// Whether a role is lower than the one before. LiteLLM takes a missing or unknown one for `internal_user`
/// (`auth/auth_checks.py`, `effective_user_role`).
pub(in crate::store) fn lowers(had: Option<&str>, written: Role) -> bool {
    had.and_then(Role::parse).unwrap_or(Role::InternalUser) > written
}

/// Why this account may not get a key at all.
pub(in crate::store) fn refusal(state: &AccountState) -> Option<StoreError> {
    let scim_off = state.user.as_ref().is_some_and(|user| user.scim_off);
    // A blocked key stays a block when its life is over: the admin who blocked it meant the user.
    let key_blocked = state.stored.as_ref().and_then(|stored| stored.key.as_ref()).is_some_and(|key| key.blocked);
    (state.blocked || scim_off || key_blocked).then(|| StoreError::Blocked { user_id: state.user_id.clone() })
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
}
