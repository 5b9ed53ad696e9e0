//! What is done with an admitted request. Today there is one face: the reverse proxy.

pub mod forward;
pub mod outgoing;
pub mod record;
pub mod reply;
mod tunnel;
