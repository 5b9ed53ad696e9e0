//! vestibule: a forward-auth sidecar between an OAuth proxy and LiteLLM.
//!
//! ```text
//! socket ─► Peer ─► RequestInfo ─► TrustedPeer ─► Requester ─► Credential ─► LiteLLM
//!           who is   what is true   may the peer    who sends    with which
//!           calling  of the head    speak for users the request  key it goes on
//! ```
//!
//! [`proxy`] shows the whole way, and [`authorizer`] the decision. A module uses those of its own rank and below: `cli`,
//! `server`, `proxy`, `forward_auth`, `admin_ui`; then `authorizer`, `cross_site`, `identity`, `session`, `refusal`,
//! `request_info`; then the store, `litellm`, `config`; and innermost `http1`, `http`, `secret`, `telemetry`, `diagnostic`.

pub mod admin_ui;
pub mod authorizer;
pub mod cli;
pub mod config;
pub mod cross_site;
pub mod diagnostic;
pub mod forward_auth;
pub mod http;
pub mod http1;
pub mod identity;
pub mod litellm;
pub mod proxy;
pub mod refusal;
pub mod request_info;
pub mod secret;
pub mod server;
pub mod session;
pub mod store;
pub mod telemetry;

#[cfg(test)]
mod walls;
