//! What is done with an admitted request: forwarded, or answered here.

pub mod begin;
pub mod forward;
mod html;
pub mod outgoing;
pub mod pages;
pub mod record;
pub mod reply;
mod tunnel;
pub mod verify;
