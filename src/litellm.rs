//! All that is known of LiteLLM, and nothing else knows it: its tables, its credentials, its routes,
//! its admin UI.
//!
//! Except for `client`, which calls it, it takes plain values and gives plain values. Each rule names the file of LiteLLM's that it was read in (1.109.1).

pub mod api;
mod blocks;
pub mod client;
pub mod credentials;
pub mod database_url;
pub mod probe;
pub mod public_paths;
pub mod reserved;
pub mod role;
pub mod routes;
pub mod tables;
pub mod ui;
