//! `open` inside its transaction: a read, and what is needed to make the rows agree.

use serde_json::json;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{Sqlite, away, statements as sql, write_audit};
use crate::config::Terms;
use crate::secret::{self, SessionKind};
use crate::store::audit::{EventKind, event};
use crate::store::decide::{
    AccountPlan, AccountState, CandidateRow, IssuedKey, NewSession, RowChoice, SessionOwner, SessionPlan,
    StoredSession, TOKEN_MISMATCH, allowance_text, check_user_id, choose, no_randomness, refusal, user_row,
    wanted_user_id,
};
use crate::store::rows::json_text;
use crate::store::{OpenedSession, StoreError, UserProfile};

// === impl Sqlite ===

impl Sqlite {
    /// Makes account, user row and session as they must be. Where they are, it writes nothing.
    pub(super) async fn settle(
        &self,
        on: &mut SqliteConnection,
        profile: &UserProfile,
        terms: &Terms,
    ) -> Result<OpenedSession, StoreError> {
        let mut state = match read(on, profile).await? {
            Some(state) => state,
            None => self.create_account(on, profile, terms).await?,
        };
        if let Some(refused) = refusal(&state) {
            return Err(refused);
        }
        let session = self.key_policy.plan(state.stored.as_ref(), &state.account_id)?;
        let mut plan = AccountPlan::new(&state, profile, terms, self.account.role_sync);
        if !plan.is_empty() {
            reconcile(on, &mut state, &mut plan, profile, terms).await?;
        }
        write_audit(on, &state.account_id, &plan.events).await?;
        let issued = self.session(on, &state, session).await?;
        Ok(self.key_policy.opened(&state, issued))
    }

    /// A first sight: a user row of the person's own, and the account.
    async fn create_account(
        &self,
        on: &mut SqliteConnection,
        profile: &UserProfile,
        terms: &Terms,
    ) -> Result<AccountState, StoreError> {
        let wanted = wanted_user_id(profile, &self.account)?;
        check_user_id(wanted, &self.reserved_ids)?;
        let account_id = secret::row_id().ok_or_else(no_randomness)?;
        let find = sqlx::query(sql::FIND).bind(wanted).bind(&profile.subject).bind(&profile.email);
        let rows = find.fetch_all(&mut *on).await.map_err(away)?;
        let id_taken = rows.first().map(|row| row.try_get("id_taken")).transpose().map_err(away)?.unwrap_or(false);
        let found = rows.iter().filter_map(|row| CandidateRow::from_row(row).transpose());
        let found: Vec<CandidateRow> = found.collect::<Result<_, _>>().map_err(away)?;
        let (user_id, sso_user_id) = match choose(&found, id_taken, wanted, &profile.subject, &account_id, &[])? {
            RowChoice::Create { user_id, sso_user_id } => (user_id, sso_user_id),
            // Nothing may be adopted, so `choose` never says so.
            RowChoice::Adopt { user_id, .. } => return Err(StoreError::ReservedId(user_id)),
        };
        check_user_id(&user_id, &self.reserved_ids)?;
        let row = user_row(profile, terms, user_id, sso_user_id);
        run(on, sqlx::query(sql::INSERT_USER).bind(json_text(&row))).await?;
        let account = sqlx::query(sql::INSERT_ACCOUNT)
            .bind(&account_id)
            .bind(profile.issuer.as_ref())
            .bind(&profile.subject)
            .bind(&row.user_id)
            .bind(terms.role.as_str())
            .bind(terms.allowance.as_ref().map(allowance_text));
        run(on, account).await?;
        let made = event(EventKind::Created, json!({ "user_id": row.user_id, "role": row.user_role }));
        write_audit(on, &account_id, &[made]).await?;
        read(on, profile).await?.ok_or_else(|| away(sqlx::Error::RowNotFound))
    }

    /// Does what the plan says of the session.
    async fn session(
        &self,
        on: &mut SqliteConnection,
        state: &AccountState,
        plan: SessionPlan,
    ) -> Result<IssuedKey, StoreError> {
        let replaces = |stored: &StoredSession, reason: &str| json!({ "replaces": stored.id, "reason": reason });
        let detail = match (plan, &state.stored) {
            (SessionPlan::Open, _) | (_, None) => json!({}),
            (SessionPlan::Keep(key), Some(stored)) => {
                return Ok(IssuedKey { id: stored.id.clone(), key, left_seconds: stored.left() });
            }
            (SessionPlan::Extend(key), Some(stored)) => {
                let left_seconds = self.key_policy.extension(stored.age_seconds);
                run(on, sqlx::query(sql::EXTEND_SESSION).bind(&stored.id).bind(left_seconds)).await?;
                run(on, sqlx::query(sql::EXPIRE_KEY).bind(&stored.token).bind(left_seconds)).await?;
                let renewed = event(EventKind::SessionRenewed, json!({ "session": stored.id }));
                write_audit(on, &state.account_id, &[renewed]).await?;
                return Ok(IssuedKey { id: stored.id.clone(), key, left_seconds });
            }
            (SessionPlan::Rotate, Some(stored)) => {
                run(on, sqlx::query(sql::RETIRE_SESSION).bind(&stored.id).bind(self.key_policy.grace)).await?;
                run(on, sqlx::query(sql::EXPIRE_KEY).bind(&stored.token).bind(self.key_policy.grace)).await?;
                replaces(stored, "age")
            }
            (SessionPlan::Replace(reason), Some(stored)) => {
                run(on, sqlx::query(sql::DELETE_SESSION).bind(&stored.id)).await?;
                // A token that is not our key's may be somebody else's key's: that row is not ours to delete.
                if reason != TOKEN_MISMATCH {
                    run(on, sqlx::query(sql::DELETE_KEY).bind(&stored.token)).await?;
                }
                replaces(stored, reason)
            }
        };
        self.open_session(on, state, detail).await
    }

    /// Makes a session and its key.
    async fn open_session(
        &self,
        on: &mut SqliteConnection,
        state: &AccountState,
        mut detail: serde_json::Value,
    ) -> Result<IssuedKey, StoreError> {
        let NewSession { issued, nonce, secret_id, row } =
            self.key_policy.new_session(&SessionOwner::of(state), SessionKind::Api)?;
        let session = sqlx::query(sql::INSERT_SESSION)
            .bind(&issued.id)
            .bind(&state.account_id)
            .bind(SessionKind::Api.as_str())
            .bind(nonce.as_slice())
            .bind(secret_id)
            .bind(&row.token)
            .bind(issued.left_seconds);
        run(on, session).await?;
        run(on, sqlx::query(sql::INSERT_KEY).bind(json_text(&row))).await?;
        if let Some(members) = detail.as_object_mut() {
            members.insert("session".to_owned(), issued.id.as_str().into());
        }
        write_audit(on, &state.account_id, &[event(EventKind::SessionMade, detail)]).await?;
        Ok(issued)
    }
}

/// Writes what the plan says of user row and account.
async fn reconcile(
    on: &mut SqliteConnection,
    state: &mut AccountState,
    plan: &mut AccountPlan,
    profile: &UserProfile,
    terms: &Terms,
) -> Result<(), StoreError> {
    let had = state.user.as_ref().and_then(|user| user.role.clone());
    if let Some(row) = plan.recreated(state, profile, terms) {
        run(on, sqlx::query(sql::INSERT_USER).bind(json_text(&row))).await?;
    } else {
        if let Some(change) = &plan.change {
            run(on, sqlx::query(sql::UPDATE_USER).bind(json_text(change))).await?;
        }
        if let Some((columns, _)) = &plan.allowance {
            run(on, sqlx::query(sql::UPDATE_ALLOWANCE).bind(&state.user_id).bind(json_text(columns))).await?;
        }
    }
    if let Some(update) = plan.settle(state, had.as_deref(), terms) {
        let statement = sqlx::query(sql::UPDATE_ACCOUNT)
            .bind(&state.account_id)
            .bind(update.role)
            .bind(update.lowered)
            .bind(update.allowance)
            .bind(update.email_refused);
        run(on, statement).await?;
    }
    Ok(())
}

async fn read(on: &mut SqliteConnection, profile: &UserProfile) -> Result<Option<AccountState>, StoreError> {
    let query = sqlx::query(sql::READ).bind(profile.issuer.as_ref()).bind(&profile.subject).bind(&profile.email);
    let row = query.fetch_optional(on).await.map_err(away)?;
    row.as_ref().map(AccountState::from_row).transpose().map_err(away)
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

async fn run(on: &mut SqliteConnection, query: Query<'_>) -> Result<(), StoreError> {
    query.execute(on).await.map(drop).map_err(away)
}
