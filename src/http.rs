//! HTTP as an intermediary must see it: header names and their one strip walk, hop-by-hop rules, forwarded headers. And
//! the plain client.
//!
//! Nothing here knows LiteLLM, identities or sessions; the rules come in as data.

pub mod body;
pub mod client;
pub mod clock;
pub mod conversation;
pub mod cookies;
pub mod exchange;
pub mod forwarded;
pub mod framing;
pub mod head;
pub mod hold;
pub mod hop;
pub mod liveness;
pub mod names;
pub mod query;
pub mod request_id;
pub mod trailing;
