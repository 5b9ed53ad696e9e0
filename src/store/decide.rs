//! What follows from what was read: the row that a new user gets, what has to be written for a known one, which key they get.
//!
//! Pure, and shared by both databases.

mod account_plan;
mod key_policy;
mod state;
mod user_id;

pub(super) use self::account_plan::{AccountPlan, allowance_text, refusal, user_row};
pub(super) use self::key_policy::{KeyPolicy, NewSession, SessionPlan, TOKEN_MISMATCH, no_randomness, seconds};
pub(super) use self::state::{AccountState, CandidateRow, LitellmKey, LitellmUser, StoredSession, StoredUiSession};
pub(super) use self::user_id::{RowChoice, check_user_id, choose, wanted_user_id};
