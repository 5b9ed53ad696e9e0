//! What holds of vestibule for whatever bytes: one body for each fuzz target, `tests/properties.rs` runs the same ones.
//!
//! A body reads its input as text that a person can write, so that a finding can be read and a seed made by hand. Where it
//! can it judges with a second, simpler reader that shares no code with the first.

pub mod answer;
pub mod config;
pub mod forwarded;
pub mod head;
pub mod identity;
mod lines;
