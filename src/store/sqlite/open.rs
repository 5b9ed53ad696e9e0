//! `open` inside its transaction: a read, and what is needed to make the books agree.

use serde_json::json;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{Sqlite, away, statements as sql, write_audit};
use crate::config::{Role, Terms};
use crate::secret::{self, SessionKind};
use crate::store::audit::{EventKind, event};
use crate::store::identify::{Way, check_user_id, choose, wanted_user_id};
use crate::store::lending::{Fresh, Held, no_randomness};
use crate::store::plan::{self, AccountPlan, SessionPlan, TOKEN_MISMATCH, user_row};
use crate::store::standing::{Found, Lent, Standing};
use crate::store::{Opened, Person, StoreError};

type Outcome<T> = Result<T, StoreError>;

// === impl Sqlite ===

impl Sqlite {
    /// Makes account, user row and session as they must be. Where they are, it writes nothing.
    pub(super) async fn settle(&self, on: &mut SqliteConnection, person: &Person, terms: &Terms) -> Outcome<Opened> {
        let mut standing = match read(on, person).await? {
            Some(standing) => standing,
            None => self.enrol(on, person, terms).await?,
        };
        if let Some(refusal) = plan::refusal(&standing) {
            return Err(refusal);
        }
        let session = self.lending.plan(standing.lent.as_ref(), &standing.account_id)?;
        let mut plan = AccountPlan::new(&standing, person, terms, self.account.role_sync);
        if !plan.is_empty() {
            reconcile(on, &mut standing, &mut plan, person, terms).await?;
        }
        write_audit(on, &standing.account_id, &plan.events).await?;
        let held = self.session(on, &standing, session).await?;
        Ok(standing.opened(held, self.settle_seconds, &self.lending))
    }

    /// A first sight: a user row of the person's own, and the account.
    async fn enrol(&self, on: &mut SqliteConnection, person: &Person, terms: &Terms) -> Outcome<Standing> {
        let wanted = wanted_user_id(person, &self.account)?;
        check_user_id(wanted, &self.reserved_ids)?;
        let account_id = secret::row_id().ok_or_else(no_randomness)?;
        let find = sqlx::query(sql::FIND).bind(wanted).bind(&person.subject).bind(&person.email);
        let rows = find.fetch_all(&mut *on).await.map_err(away)?;
        let id_taken = rows.first().map(|row| row.try_get("id_taken")).transpose().map_err(away)?.unwrap_or(false);
        let found = rows.iter().filter_map(|row| Found::from_row(row).transpose());
        let found: Vec<Found> = found.collect::<Result<_, _>>().map_err(away)?;
        let (user_id, sso_user_id) = match choose(&found, id_taken, wanted, &person.subject, &account_id, &[])? {
            Way::Create { user_id, sso_user_id } => (user_id, sso_user_id),
            // Nothing may be adopted, so `choose` never says so.
            Way::Adopt { user_id, .. } => return Err(StoreError::ReservedId(user_id)),
        };
        check_user_id(&user_id, &self.reserved_ids)?;
        let row = user_row(person, terms, user_id, sso_user_id);
        run(on, sqlx::query(sql::INSERT_USER).bind(text(&row))).await?;
        let account = sqlx::query(sql::INSERT_ACCOUNT)
            .bind(&account_id)
            .bind(person.issuer.as_ref())
            .bind(&person.subject)
            .bind(&row.user_id)
            .bind(terms.role.as_str())
            .bind(terms.allowance.as_ref().map(plan::allowance_text));
        run(on, account).await?;
        let made = event(EventKind::Created, json!({ "user_id": row.user_id, "role": row.user_role }));
        write_audit(on, &account_id, &[made]).await?;
        read(on, person).await?.ok_or_else(|| away(sqlx::Error::RowNotFound))
    }

    /// Does what the plan says of the session.
    async fn session(&self, on: &mut SqliteConnection, standing: &Standing, plan: SessionPlan) -> Outcome<Held> {
        let replaces = |lent: &Lent, reason: &str| json!({ "replaces": lent.id, "reason": reason });
        let detail = match (plan, &standing.lent) {
            (SessionPlan::Open, _) | (_, None) => json!({}),
            (SessionPlan::Keep(key), Some(lent)) => {
                return Ok(Held { id: lent.id.clone(), key, left_seconds: lent.left() });
            }
            (SessionPlan::Extend(key), Some(lent)) => {
                let left_seconds = self.lending.longer(lent.age_seconds);
                run(on, sqlx::query(sql::EXTEND_SESSION).bind(&lent.id).bind(left_seconds)).await?;
                run(on, sqlx::query(sql::EXPIRE_KEY).bind(&lent.token).bind(left_seconds)).await?;
                let renewed = event(EventKind::SessionRenewed, json!({ "session": lent.id }));
                write_audit(on, &standing.account_id, &[renewed]).await?;
                return Ok(Held { id: lent.id.clone(), key, left_seconds });
            }
            (SessionPlan::Rotate, Some(lent)) => {
                run(on, sqlx::query(sql::RETIRE_SESSION).bind(&lent.id).bind(self.lending.grace)).await?;
                run(on, sqlx::query(sql::EXPIRE_KEY).bind(&lent.token).bind(self.lending.grace)).await?;
                replaces(lent, "age")
            }
            (SessionPlan::Replace(reason), Some(lent)) => {
                run(on, sqlx::query(sql::DELETE_SESSION).bind(&lent.id)).await?;
                // A token that is not our key's may be somebody else's key's: that row is not ours to delete.
                if reason != TOKEN_MISMATCH {
                    run(on, sqlx::query(sql::DELETE_KEY).bind(&lent.token)).await?;
                }
                replaces(lent, reason)
            }
        };
        self.open_session(on, standing, detail).await
    }

    /// Makes a session and its key.
    async fn open_session(
        &self,
        on: &mut SqliteConnection,
        standing: &Standing,
        mut detail: serde_json::Value,
    ) -> Outcome<Held> {
        let Fresh { held, nonce, secret_id, row } = self.lending.fresh(&standing.of(), SessionKind::Api)?;
        let session = sqlx::query(sql::INSERT_SESSION)
            .bind(&held.id)
            .bind(&standing.account_id)
            .bind(SessionKind::Api.as_str())
            .bind(nonce.as_slice())
            .bind(secret_id)
            .bind(&row.token)
            .bind(held.left_seconds);
        run(on, session).await?;
        run(on, sqlx::query(sql::INSERT_KEY).bind(text(&row))).await?;
        if let Some(members) = detail.as_object_mut() {
            members.insert("session".to_owned(), held.id.as_str().into());
        }
        write_audit(on, &standing.account_id, &[event(EventKind::SessionMade, detail)]).await?;
        Ok(held)
    }
}

/// Writes what the plan says of user row and account.
async fn reconcile(
    on: &mut SqliteConnection,
    standing: &mut Standing,
    plan: &mut AccountPlan,
    person: &Person,
    terms: &Terms,
) -> Outcome<()> {
    let mut lowered = false;
    if plan.remake {
        let mut row = user_row(person, terms, standing.user_id.clone(), plan::sso_user_id(standing, person));
        if standing.email_taken {
            row.user_email = None;
        }
        run(on, sqlx::query(sql::INSERT_USER).bind(text(&row))).await?;
        plan.events.push(event(EventKind::Remade, json!({ "user_id": row.user_id, "role": row.user_role })));
        lowered = standing.role.as_deref().is_some_and(|had| plan::lowers(Some(had), terms.role));
    } else {
        if let Some(change) = &plan.change {
            run(on, sqlx::query(sql::UPDATE_USER).bind(text(change))).await?;
            let had = standing.user.as_ref().and_then(|user| user.role.as_deref());
            lowered = change.user_role.is_some() && plan::lowers(had, terms.role);
        }
        if let Some((columns, _)) = &plan.allowance {
            run(on, sqlx::query(sql::UPDATE_ALLOWANCE).bind(&standing.user_id).bind(text(columns))).await?;
        }
    }
    standing.wrote(plan, terms);
    if lowered {
        standing.lowered_seconds = Some(0.0);
    }
    if lowered || plan.role.is_some() || plan.allowance.is_some() || plan.email_refused.is_some() {
        let update = sqlx::query(sql::UPDATE_ACCOUNT)
            .bind(&standing.account_id)
            .bind(plan.role.map(Role::as_str))
            // A raise clears nothing: LiteLLM may still hold the role from before the lowering.
            .bind(lowered)
            .bind(plan.allowance.as_ref().map(|(_, text)| text))
            .bind(plan.email_refused.as_ref().or(standing.email_refused.as_ref()));
        run(on, update).await?;
    }
    Ok(())
}

async fn read(on: &mut SqliteConnection, person: &Person) -> Outcome<Option<Standing>> {
    let query = sqlx::query(sql::READ).bind(person.issuer.as_ref()).bind(&person.subject).bind(&person.email);
    let row = query.fetch_optional(on).await.map_err(away)?;
    row.as_ref().map(Standing::from_row).transpose().map_err(away)
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

async fn run(on: &mut SqliteConnection, query: Query<'_>) -> Outcome<()> {
    query.execute(on).await.map(drop).map_err(away)
}

/// A row as the JSON text that the statements take.
fn text(row: &impl serde::Serialize) -> String {
    // Plain structs with text keys always serialize; `null` would make the statement fail.
    serde_json::to_string(row).unwrap_or_else(|_| "null".to_owned())
}
