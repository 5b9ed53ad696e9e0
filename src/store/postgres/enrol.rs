//! A first sight, inside `open`'s transaction: a new person gets a row of their own, or one that was there is adopted.

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::Postgres;
use super::open::text;
use super::retry::Fault;
use crate::config::Terms;
use crate::litellm::tables::UserRow;
use crate::secret::{self, SessionKind};
use crate::store::audit::{AuditEvent, EventKind, SYSTEM_ACTOR, event};
use crate::store::identify::{Way, check_user_id, choose, wanted_user_id};
use crate::store::lending::no_randomness;
use crate::store::plan::{self, user_row};
use crate::store::standing::{Found, Standing, User};
use crate::store::{Opened, Person};

// === impl Postgres ===

impl Postgres {
    /// A first sight: makes user, account and session, or takes over a row that was there (`None`).
    pub(super) async fn enrol(
        &self,
        on: &mut PgConnection,
        person: &Person,
        terms: &Terms,
        events: &mut Vec<AuditEvent>,
    ) -> Result<Option<Opened>, Fault> {
        let wanted = wanted_user_id(person, &self.account)?;
        check_user_id(wanted, &self.reserved_ids)?;
        let account_id = secret::row_id().ok_or_else(no_randomness)?;
        let rows = sqlx::query(AssertSqlSafe(self.statements.find.as_str()))
            .bind(wanted)
            .bind(&person.subject)
            .bind(&person.email)
            .persistent(false)
            .fetch_all(&mut *on)
            .await?;
        let id_taken = rows.first().map(|row| row.try_get("id_taken")).transpose()?.unwrap_or(false);
        let found: Vec<Found> =
            rows.iter().filter_map(|row| Found::from_row(row).transpose()).collect::<Result<_, _>>()?;
        match choose(&found, id_taken, wanted, &person.subject, &account_id, &self.account.adopt)? {
            Way::Adopt { user_id, by } => {
                check_user_id(&user_id, &self.reserved_ids)?;
                self.adopt(on, person, &account_id, &user_id, by, events).await?;
                Ok(None)
            }
            Way::Create { user_id, sso_user_id } => {
                check_user_id(&user_id, &self.reserved_ids)?;
                let row = user_row(person, terms, user_id, sso_user_id);
                let standing = self.create(on, person, terms, account_id, row, events).await?;
                let held = self.open_session(on, &standing.of(), SessionKind::Api, json!({}), events).await?;
                Ok(Some(self.opened(&standing, held)))
            }
        }
    }

    async fn create(
        &self,
        on: &mut PgConnection,
        person: &Person,
        terms: &Terms,
        account_id: String,
        row: UserRow,
        events: &mut Vec<AuditEvent>,
    ) -> Result<Standing, Fault> {
        let account = json!({
            "id": account_id,
            "issuer": person.issuer.as_ref(),
            "subject": person.subject,
            "role": terms.role.as_str(),
            "allowance": terms.allowance.as_ref().map(plan::allowance_text),
        });
        let made = [event(EventKind::Created, json!({ "user_id": row.user_id, "role": row.user_role }))];
        let written = sqlx::query(AssertSqlSafe(self.statements.enrol.as_str()))
            .bind(text(&row))
            .bind(account.to_string())
            .bind(text(&made))
            .persistent(false)
            .execute(on)
            .await?;
        if written.rows_affected() == 0 {
            return Err(Fault::Again);
        }
        events.extend(made);
        let user = User { role: Some(row.user_role.to_owned()), ..User::default() };
        Ok(Standing { account_id, user_id: row.user_id, user: Some(user), ..Standing::default() })
    }

    async fn adopt(
        &self,
        on: &mut PgConnection,
        person: &Person,
        account_id: &str,
        user_id: &str,
        by: &str,
        events: &mut Vec<AuditEvent>,
    ) -> Result<(), Fault> {
        let written = sqlx::query(AssertSqlSafe(self.statements.adopt.as_str()))
            .bind(account_id)
            .bind(person.issuer.as_ref())
            .bind(&person.subject)
            .bind(user_id)
            .persistent(false)
            .execute(&mut *on)
            .await?;
        if written.rows_affected() == 0 {
            return Err(Fault::Again);
        }
        let adopted = event(EventKind::Adopted, json!({ "user_id": user_id, "by": by }));
        self.write_audit(on, Some(account_id), SYSTEM_ACTOR, std::slice::from_ref(&adopted)).await?;
        events.push(adopted);
        Ok(())
    }
}
