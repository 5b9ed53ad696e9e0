//! vestibule: the room between an OAuth proxy and LiteLLM.
//!
//! ```text
//! socket ─► Peer ─► TrustedPeer ─► Identity ─► Grant ─► Session ─► Passage ─► upstream
//!           who is   may it speak   who is it   what     account     what is     one clean
//!           calling? for others?    for?        may they? and key    let through request out
//! ```
//!
//! A module uses those further in, never those further out: `cli`, `server`, `face`, `gate`, then `store` and
//! `upstream`, `config`, `litellm`, and innermost `http`, `secret`, `telemetry`, `diagnostic`.

pub mod cli;
pub mod config;
pub mod diagnostic;
pub mod face;
pub mod gate;
pub mod http;
pub mod litellm;
pub mod secret;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod upstream;

#[cfg(test)]
mod walls;
