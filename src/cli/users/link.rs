//! `vestibule users link` and `move`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::consent::{Consent, Plan};
use crate::cli::errand::{Configured, Errand, Failure, answer, answer_json};
use crate::cli::forget::forget;
use crate::cli::table::{or_dash, shown};
use crate::cli::who;
use crate::config::RoleSync;
use crate::store::admin::{Account, LinkReport, RevocationReport};

/// Gives a row that LiteLLM has to a person who has not signed in yet.
///
/// Whoever signs in as ISSUER and SUBJECT then has that row, with its spend, budgets and keys. It is the only way to take
/// over a row with an admin role: `account.adopt` never does. The row itself is left as it is; at the next request its role
/// follows the rules, as `account.role_sync` says.
#[derive(Debug, Args)]
#[command(after_help = "Example: vestibule users link default 00u1ab2cd alice-admin")]
pub(super) struct Link {
    #[command(flatten)]
    configured: Configured,
    /// The sign-in source (`identity.issuer`)
    issuer: String,
    /// The person's id there
    subject: String,
    /// LiteLLM's `user_id`
    user_id: String,
    #[command(flatten)]
    consent: Consent,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// Gives an account to another issuer and subject: somebody whose id at the sign-in source has changed keeps user, spend and
/// keys.
///
/// Whoever had the old id has no account any more; their sessions end. The new id must not have an account yet.
#[derive(Debug, Args)]
#[command(
    override_usage = "vestibule users move [OPTIONS] --config <FILE> <WHO> <ISSUER> <SUBJECT>",
    after_help = "Examples:\n  vestibule users move alice@example.com default 00u9xy8zw\n  \
                  vestibule users move default 00u1ab2cd default 00u9xy8zw"
)]
pub(super) struct Move {
    #[command(flatten)]
    configured: Configured,
    /// WHO (a `user_id`, an e-mail, or ISSUER and SUBJECT), then the new ISSUER and SUBJECT
    #[arg(required = true, num_args = 3..=4, value_name = "WORD")]
    words: Vec<String>,
    #[command(flatten)]
    consent: Consent,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

// === impl Link ===

impl Link {
    pub(super) fn run(&self) -> ExitCode {
        self.configured.run(async |errand| self.change(errand).await)
    }

    async fn change(&self, errand: &Errand) -> Result<ExitCode, Failure> {
        let Self { issuer, subject, user_id, .. } = self;
        let would = errand.store.link(issuer, subject, user_id, &errand.change_options(true)).await??;
        if let Err(code) = self.consent.ask(&self.plan(errand, &would)) {
            if self.json && self.consent.dry_run {
                answer_json(&self.document(&would, false));
            }
            return Ok(code);
        }
        let done = errand.store.link(issuer, subject, user_id, &errand.change_options(false)).await??;
        if self.json {
            answer_json(&self.document(&done, true));
        } else {
            answer(&format!("{} {} is {} from now on.\n", shown(issuer), shown(subject), shown(user_id)));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn plan(&self, errand: &Errand, would: &LinkReport) -> Plan {
        let Self { issuer, subject, user_id, .. } = self;
        let mut plan = Plan::to(format!(
            "Link {} {} to LiteLLM's user `{}` (e-mail {}, role {}):",
            shown(issuer),
            shown(subject),
            shown(user_id),
            shown(&or_dash(would.email.as_deref())),
            shown(&or_dash(would.role.as_deref()))
        ));
        plan.step("make an account; whoever signs in so has that user's row");
        plan.step(match errand.config.account.role_sync {
            RoleSync::Always | RoleSync::OnChange => {
                "at the next request its role becomes the one that the rules give (`account.role_sync`)"
            }
            RoleSync::Create => "its role stays as it is (`account.role_sync: create`)",
        });
        if would.switched_off {
            plan.step("its `metadata.scim_active` is false: the person is refused until it is switched on");
        }
        foreign(errand, issuer, &mut plan);
        plan
    }

    fn document(&self, linked: &LinkReport, is_changed: bool) -> serde_json::Value {
        json!({
            "changed": is_changed,
            "issuer": self.issuer,
            "subject": self.subject,
            "user_id": self.user_id,
            // Of a dry run it would be another one each time.
            "account_id": is_changed.then_some(&linked.account_id),
            "email": linked.email,
            "role": linked.role,
            "switched_off_in_litellm": linked.switched_off,
        })
    }
}

// === impl Move ===

impl Move {
    pub(super) fn run(&self) -> ExitCode {
        self.configured.run(async |errand| self.change(errand).await)
    }

    async fn change(&self, errand: &Errand) -> Result<ExitCode, Failure> {
        let [who @ .., issuer, subject] = self.words.as_slice() else {
            return Err(Failure::from("whom, and to which issuer and subject?".to_owned()));
        };
        let account = who::one(errand, who).await?;
        let would = errand.store.move_account(&account, issuer, subject, &errand.change_options(true)).await??;
        if let Err(code) = self.consent.ask(&move_plan(errand, &account, issuer, subject, &would)) {
            if self.json && self.consent.dry_run {
                answer_json(&move_document(&account, issuer, subject, &would, false, "not_needed"));
            }
            return Ok(code);
        }
        let done = errand.store.move_account(&account, issuer, subject, &errand.change_options(false)).await??;
        let told = forget(errand, &done, None).await;
        if self.json {
            answer_json(&move_document(&account, issuer, subject, &done, true, told.as_str()));
        } else {
            answer(&format!("{} is {} {} from now on.\n", shown(&account.user_id), shown(issuer), shown(subject)));
        }
        Ok(told.exit_code())
    }
}

fn move_plan(errand: &Errand, account: &Account, issuer: &str, subject: &str, would: &RevocationReport) -> Plan {
    let mut plan = Plan::to(format!("Move `{}`, account {}:", shown(&account.user_id), account.account_id));
    plan.step(format!("from {} {}, who has no account then", shown(&account.issuer), shown(&account.subject)));
    plan.step(format!("to {} {}", shown(issuer), shown(subject)));
    for session in &would.sessions {
        plan.step(format!("end session {session} and delete its key in LiteLLM"));
    }
    foreign(errand, issuer, &mut plan);
    plan
}

/// A sign-in of another issuer never comes here: most likely a slip.
fn foreign(errand: &Errand, issuer: &str, plan: &mut Plan) {
    let ours = &errand.config.identity.issuer;
    if **ours != *issuer {
        plan.step(format!(
            "mind that this configuration's `identity.issuer` is `{ours}`: sign-ins here are never of `{}`",
            shown(issuer)
        ));
    }
}

fn move_document(
    account: &Account,
    issuer: &str,
    subject: &str,
    ended: &RevocationReport,
    is_changed: bool,
    litellm: &str,
) -> serde_json::Value {
    json!({
        "changed": is_changed,
        "user_id": account.user_id,
        "account_id": account.account_id,
        "from": { "issuer": account.issuer, "subject": account.subject },
        "to": { "issuer": issuer, "subject": subject },
        "sessions_ended": ended.sessions,
        "litellm": litellm,
    })
}
