//! After a change in the store: have LiteLLM forget what it holds in memory, and say what holds from when on.

use std::process::ExitCode;

use super::context::{CommandContext, say};
use crate::config::written;
use crate::litellm::api::{self, Call};
use crate::litellm::client::Untold;
use crate::store::Store;
use crate::store::admin::RevocationReport;
use crate::telemetry::logs::chain;

/// Whether LiteLLM was told.
pub(super) enum Invalidation {
    /// There was nothing to be told.
    NotNeeded,
    /// It has forgotten.
    Done,
    /// There is no master key.
    NoKey,
    /// It was not, or not of all.
    Failed,
}

// === impl Invalidation ===

impl Invalidation {
    /// For scripts.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::NotNeeded => "not_needed",
            Self::Done => "told",
            Self::NoKey => "no_master_key",
            Self::Failed => "failed",
        }
    }

    /// A change that LiteLLM was not told of is not wholly done.
    pub(super) fn exit_code(&self) -> ExitCode {
        if matches!(self, Self::Failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// Has LiteLLM forget the keys of ended sessions, and with `user_id` the user and the keys blocked. Then removes what is
/// left of the ended sessions.
pub(super) async fn invalidate(
    context: &CommandContext,
    ended: &RevocationReport,
    user_id: Option<&str>,
) -> Invalidation {
    let mut calls = api::delete_keys(&ended.keys.0);
    if let Some(user_id) = user_id.filter(|_| ended.in_litellm) {
        calls.push(api::touch_user(user_id));
    }
    calls.extend(api::block_keys(&ended.blocked.0));
    let invalidation = call_litellm(context, &calls).await;
    if context.config.litellm.master_key.is_some()
        && !ended.keys.0.is_empty()
        && let Err(error) = context.store.remove_ended(&ended.keys).await
    {
        say(&format!("warning: the ended sessions' rows are left for the next sweep: {}\n", chain(&error)));
    }
    invalidation
}

/// Makes the calls, and says for how long LiteLLM may go by what it remembers where it was not told.
pub(super) async fn call_litellm(context: &CommandContext, calls: &[Call]) -> Invalidation {
    if calls.is_empty() {
        return Invalidation::NotNeeded;
    }
    let cache = written(context.config.litellm.cache_ttl);
    let litellm = context.config.litellm.client();
    if litellm.master_key().is_none() {
        say(&format!(
            "LiteLLM itself may go by what it remembers for up to {cache} (`litellm.cache_ttl`). With `litellm.master_key` it \
             would forget at once.\n"
        ));
        return Invalidation::NoKey;
    }
    let Err(Untold { what, cause }) = litellm.tell(calls).await else { return Invalidation::Done };
    say(&format!(
        "warning: the change is made and stays. Every vestibule goes by it within {} (`account.refresh`), but LiteLLM was not \
         told of {what}: {cause}\n  = help: it may go by what it remembers for up to {cache} (`litellm.cache_ttl`); nothing \
         has to be done again\n",
        written(context.config.account.refresh)
    ));
    Invalidation::Failed
}
