//! Plain requests: `call` to LiteLLM for the commands, `inquiry` to the sign-in proxy, `visit` by the public address.
//! Requests of callers go up through [`http1`](crate::http1).

pub mod call;
pub mod inquiry;
pub mod visit;
