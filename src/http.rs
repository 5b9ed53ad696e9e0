//! HTTP as an intermediary must see it: header names and their one strip walk, hop-by-hop rules, forwarded headers. And
//! the plain client.
//!
//! Nothing here knows LiteLLM, identities or sessions; the rules come in as data.

pub mod client;
pub mod cookies;
pub mod forwarded;
pub mod head;
pub mod hop;
pub mod names;
pub mod query;
pub mod request_id;
