//! Users' accounts and keys, as the store has them, kept in memory; and which of the keys a request goes on with.
//!
//! [`Sessions::credential`] is the whole of it: account, key, settling of a lowered role, the browser's session, and the
//! user's share of requests in flight.

mod browser;
mod cache;
pub mod credential;
mod slot;

pub use browser::Shown;
pub use cache::{Ages, Session, Sessions};
pub use slot::InFlight;
