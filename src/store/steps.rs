//! `open` inside its transaction: the steps that make the rows agree with a user and their terms. They are the same in both
//! databases; each has its own SQL ([`Statements`]).
//!
//! The session row is always written before the key row: the sweep locks in the same order.

use serde_json::{Value, json};

use super::audit::{AuditEvent, EventKind, SYSTEM_ACTOR, event};
use super::decide::{
    AccountPlan, AccountState, CandidateRow, KeyPolicy, LitellmUser, NewSession, RowChoice, SessionPlan,
    TOKEN_MISMATCH, allowance_text, check_user_id, choose, no_randomness, refusal, seconds, user_row, wanted_user_id,
};
use super::retry::AttemptError;
use super::rows::{Parameter, RowReader, Transaction, json_text};
use super::{IssuedKey, OpenedSession, UserProfile};
use crate::config::{AccountRules, Litellm, SessionRules, Terms};
use crate::litellm::tables::{AllowanceColumns, Tables};
use crate::secret::{self, SessionKind};

/// The text of the steps' statements in one database.
#[derive(Debug)]
pub(super) struct Statements {
    /// LiteLLM's tables.
    pub(super) litellm: Tables,
    /// An account, LiteLLM's user, the current session and its key. `$1` issuer, `$2` subject, `$3` e-mail.
    pub(super) read: String,
    /// The same, with the account row locked.
    pub(super) read_locked: String,
    /// Rows of LiteLLM's that could be a new user's. `$1` the `user_id` wanted, `$2` subject, `$3` e-mail. Always a row, so
    /// that `id_taken` is told: an account of ours can own an id whose user row was deleted.
    pub(super) find: String,
    /// User, account and audit of a new user: `$1` a `UserRow`, `$2` the account, `$3` the events, all as JSON. Returns a row
    /// if it wrote them.
    pub(super) create_account: String,
    /// The account of a user whose row was there before: `$1` id, `$2` issuer, `$3` subject, `$4` `user_id`. Returns a row
    /// if it wrote it.
    pub(super) adopt: String,
    /// `$1` a `UserRow` as JSON. Returns a row if it wrote it.
    pub(super) insert_user: String,
    /// `$1` a `UserChange` as JSON. Returns `user_role` as it was before, or no row where there is none.
    pub(super) update_user: String,
    /// Writes an allowance: `$1` the `user_id`, `$2` the columns as JSON. `None` where there is nothing to write.
    pub(super) update_allowance: fn(&Tables, &AllowanceColumns) -> Option<String>,
    /// `$1` the account, `$2` its role, `$3` whether that was lowered, `$4` allowance, `$5` the refused e-mail.
    pub(super) update_account: String,
    /// A session, its key and its audit: `$1` id, `$2` account, `$3` kind, `$4` nonce, `$5` secret, `$6` token, `$7` seconds to
    /// live, `$8` a `KeyRow` as JSON, `$9` what the audit says.
    pub(super) create_session: String,
    /// A longer life for a session and its key: `$1` id, `$2` seconds from now, `$3` what the audit says.
    /// Returns a row if the key was there.
    pub(super) extend_session: String,
    /// A session is current no more, and lives on for a while with its key: `$1` id, `$2` seconds from now. Returns a row if
    /// the key was there.
    pub(super) retire_session: String,
    /// A session and its key are gone. `$1` id.
    pub(super) end_session: String,
    /// A session is gone; whose key its token names is not known. `$1` id.
    pub(super) forget_session: String,
    /// `$1` account, `$2` who did it, `$3` the events as JSON.
    pub(super) audit: String,
}

/// The configuration of the steps.
#[derive(Debug)]
pub(super) struct StoreRules {
    pub(super) statements: Statements,
    pub(super) account: AccountRules,
    pub(super) key_policy: KeyPolicy,
    pub(super) reserved_ids: Vec<String>,
}

/// The steps in one transaction.
pub(super) struct Steps<'a, T> {
    on: &'a mut T,
    rules: &'a StoreRules,
    /// What was written into the audit.
    pub(super) recorded: Vec<AuditEvent>,
}

// === impl StoreRules ===

impl StoreRules {
    pub(super) fn new(
        statements: Statements,
        litellm: &Litellm,
        account: &AccountRules,
        session: &SessionRules,
    ) -> Self {
        Self {
            statements,
            account: account.clone(),
            key_policy: KeyPolicy::new(litellm, account, session),
            reserved_ids: litellm.proxy_admin_id.iter().cloned().collect(),
        }
    }

    /// What is to be done about a known account, or why it gets no key.
    pub(super) fn plan(
        &self,
        state: &AccountState,
        profile: &UserProfile,
        terms: &Terms,
    ) -> Result<(Option<SessionPlan>, AccountPlan), AttemptError> {
        if let Some(refused) = refusal(state) {
            return Err(refused.into());
        }
        let session =
            state.stored.as_ref().map(|stored| self.key_policy.plan(stored, &state.account_id)).transpose()?;
        Ok((session, AccountPlan::new(state, profile, terms, self.account.role_sync)))
    }
}

// === impl Steps ===

impl<'a, T: Transaction> Steps<'a, T> {
    pub(super) fn new(on: &'a mut T, rules: &'a StoreRules) -> Self {
        Self { on, rules, recorded: Vec::new() }
    }

    /// Makes account, user row and session as they must be. Where they are, it writes nothing.
    pub(super) async fn settle(&mut self, profile: &UserProfile, terms: &Terms) -> Result<OpenedSession, AttemptError> {
        let statements = &self.rules.statements;
        let mut state = match self.read(&statements.read_locked, profile).await? {
            Some(state) => state,
            None => match self.create_account(profile, terms).await? {
                Some(opened) => return Ok(opened),
                // Adopted: now the account is there, and the rest is as for any known user.
                None => self.read(&statements.read_locked, profile).await?.ok_or(AttemptError::Again)?,
            },
        };
        let (session, mut plan) = self.rules.plan(&state, profile, terms)?;
        if plan.email_refused.is_some() {
            // The log names no user: the account leads to the audit, which names both addresses.
            tracing::warn!(account = %state.account_id, "another row of LiteLLM's has the e-mail: the old one stays");
        }
        if !plan.is_empty() {
            self.reconcile(&mut state, &mut plan, profile, terms).await?;
        }
        self.record(&state.account_id, plan.events).await?;
        let issued = self.session(&state, session).await?;
        Ok(self.rules.key_policy.opened(&state, issued))
    }

    /// Reads a user's account and all that belongs to it, by one of the two statements for that.
    pub(super) async fn read(
        &mut self,
        statement: &str,
        profile: &UserProfile,
    ) -> Result<Option<AccountState>, AttemptError> {
        let rows = self.on.rows(statement, &[&profile.issuer, &profile.subject, &profile.email]).await?;
        Ok(rows.first().map(AccountState::from_row).transpose()?)
    }

    /// Writes events into the audit.
    async fn record(&mut self, account_id: &str, events: Vec<AuditEvent>) -> Result<(), AttemptError> {
        if !events.is_empty() {
            self.on.rows(&self.rules.statements.audit, &[&account_id, &SYSTEM_ACTOR, &json_text(&events)]).await?;
        }
        self.recorded.extend(events);
        Ok(())
    }

    /// Runs a statement that returns a row if it wrote something; without one, another transaction was faster.
    async fn must(&mut self, statement: &str, parameters: &[&dyn Parameter]) -> Result<T::Row, AttemptError> {
        self.on.rows(statement, parameters).await?.into_iter().next().ok_or(AttemptError::Again)
    }

    /// For a new user: makes user, account and session, or adopts an existing row (`None`).
    async fn create_account(
        &mut self,
        profile: &UserProfile,
        terms: &Terms,
    ) -> Result<Option<OpenedSession>, AttemptError> {
        let StoreRules { statements, account, key_policy, reserved_ids } = self.rules;
        let wanted = wanted_user_id(profile, account)?;
        check_user_id(wanted, reserved_ids)?;
        let account_id = secret::row_id().ok_or_else(no_randomness)?;
        let rows = self.on.rows(&statements.find, &[&wanted, &profile.subject, &profile.email]).await?;
        let id_taken = rows.first().map(|row| row.column("id_taken")).transpose()?.unwrap_or(false);
        let found: Vec<CandidateRow> =
            rows.iter().filter_map(|row| CandidateRow::from_row(row).transpose()).collect::<Result<_, _>>()?;
        match choose(&found, id_taken, wanted, &profile.subject, &account_id, &account.adopt)? {
            RowChoice::Adopt { user_id, by } => {
                check_user_id(&user_id, reserved_ids)?;
                self.must(&statements.adopt, &[&account_id, &profile.issuer, &profile.subject, &user_id]).await?;
                let adopted = event(EventKind::Adopted, json!({ "user_id": user_id, "by": by }));
                self.record(&account_id, vec![adopted]).await?;
                Ok(None)
            }
            RowChoice::Create { user_id, sso_user_id } => {
                check_user_id(&user_id, reserved_ids)?;
                let row = user_row(profile, terms, user_id, sso_user_id);
                let account = json!({
                    "id": account_id,
                    "issuer": profile.issuer.as_ref(),
                    "subject": profile.subject,
                    "role": terms.role.as_str(),
                    "allowance": terms.allowance.as_ref().map(allowance_text),
                });
                let made = [event(EventKind::Created, json!({ "user_id": row.user_id, "role": row.user_role }))];
                let parameters: [&dyn Parameter; 3] = [&json_text(&row), &account.to_string(), &json_text(&made)];
                self.must(&statements.create_account, &parameters).await?;
                self.recorded.extend(made);
                let user = LitellmUser { role: Some(row.user_role.to_owned()), ..LitellmUser::default() };
                let state =
                    AccountState { account_id, user_id: row.user_id, user: Some(user), ..AccountState::default() };
                let issued =
                    self.create_session(&state.account_id, &state.user_id, SessionKind::Api, json!({})).await?;
                Ok(Some(key_policy.opened(&state, issued)))
            }
        }
    }

    /// Writes the plan for user row and account.
    async fn reconcile(
        &mut self,
        state: &mut AccountState,
        plan: &mut AccountPlan,
        profile: &UserProfile,
        terms: &Terms,
    ) -> Result<(), AttemptError> {
        let statements = &self.rules.statements;
        let mut had: Option<String> = None;
        if let Some(row) = plan.recreated(state, profile, terms) {
            self.must(&statements.insert_user, &[&json_text(&row)]).await?;
        } else {
            if let Some(change) = &plan.change {
                had = self.must(&statements.update_user, &[&json_text(change)]).await?.column("user_role")?;
            }
            if let Some((columns, _)) = &plan.allowance
                && let Some(statement) = (statements.update_allowance)(&statements.litellm, columns)
            {
                self.on.rows(&statement, &[&state.user_id, &json_text(columns)]).await?;
            }
        }
        if let Some(update) = plan.settle(state, had.as_deref(), terms) {
            let parameters: [&dyn Parameter; 5] =
                [&state.account_id, &update.role, &update.lowered, &update.allowance, &update.email_refused];
            self.on.rows(&statements.update_account, &parameters).await?;
        }
        Ok(())
    }

    /// Carries out the plan for the session.
    async fn session(&mut self, state: &AccountState, plan: Option<SessionPlan>) -> Result<IssuedKey, AttemptError> {
        let StoreRules { statements, key_policy, .. } = self.rules;
        let mut detail = json!({});
        if let (Some(stored), Some(plan)) = (&state.stored, plan) {
            let reason = match plan {
                SessionPlan::Keep(key) => return Ok(stored.kept(key)),
                SessionPlan::Extend(key) => {
                    let left_seconds = key_policy.extension(stored.age_seconds);
                    let renewed = event(EventKind::SessionRenewed, json!({ "session": stored.id }));
                    let parameters: [&dyn Parameter; 3] = [&stored.id, &left_seconds, &renewed.detail.to_string()];
                    self.must(&statements.extend_session, &parameters).await?;
                    self.recorded.push(renewed);
                    return Ok(IssuedKey { expires_in: seconds(left_seconds), ..stored.kept(key) });
                }
                SessionPlan::Rotate => {
                    self.must(&statements.retire_session, &[&stored.id, &key_policy.grace]).await?;
                    "age"
                }
                SessionPlan::Replace(reason) => {
                    // A token that is not our key's may be another's key's: that row is not ours to delete.
                    let is_ours = reason != TOKEN_MISMATCH;
                    let statement = if is_ours { &statements.end_session } else { &statements.forget_session };
                    self.on.rows(statement, &[&stored.id]).await?;
                    reason
                }
            };
            detail = json!({ "replaces": stored.id, "reason": reason });
        }
        self.create_session(&state.account_id, &state.user_id, SessionKind::Api, detail).await
    }

    /// Makes a session and its key. `detail` tells the audit which session it replaces, and why.
    pub(super) async fn create_session(
        &mut self,
        account_id: &str,
        user_id: &str,
        kind: SessionKind,
        mut detail: Value,
    ) -> Result<IssuedKey, AttemptError> {
        let StoreRules { statements, key_policy, .. } = self.rules;
        let NewSession { issued, nonce, secret_id, row } = key_policy.new_session(account_id, user_id, kind)?;
        if let Some(members) = detail.as_object_mut() {
            members.insert("session".to_owned(), issued.session_id.as_str().into());
        }
        let parameters: [&dyn Parameter; 9] = [
            &issued.session_id,
            &account_id,
            &kind.as_str(),
            &nonce.as_slice(),
            &secret_id,
            &row.token,
            &row.life_seconds,
            &json_text(&row),
            &detail.to_string(),
        ];
        self.on.rows(&statements.create_session, &parameters).await?;
        self.recorded.push(event(EventKind::SessionMade, detail));
        Ok(issued)
    }
}
