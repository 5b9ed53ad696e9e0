//! Paths that LiteLLM answers without a key.

use crate::litellm::probe;

/// Its own probes (`proxy/health_endpoints`).
pub const HEALTH: [&str; 3] = [probe::LIVE, "/health/liveness", probe::READY];
/// What an MCP client asks before it has a token (RFC 9728, RFC 8414); a `*` at the end stands for anything.
pub const MCP_DISCOVERY: [&str; 5] = [
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/*",
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-authorization-server/*",
    "/.well-known/openid-configuration",
];
