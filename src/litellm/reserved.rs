//! User ids that LiteLLM uses for itself.

/// Each with more rights than a user may get by being called so: the administrator's id (`litellm/constants.py`,
/// `LITELLM_PROXY_ADMIN_NAME`), and the one used while its database is away.
const IDS: &[&str] = &["default_user_id", "__db_unavailable_fallback__"];
/// Ids that begin so are LiteLLM's.
const PREFIX: &str = "litellm";

/// Whether an id is LiteLLM's own, in whatever case.
pub fn is_reserved(user_id: &str) -> bool {
    let folded = user_id.to_ascii_lowercase();
    folded.starts_with(PREFIX) || IDS.contains(&folded.as_str())
}
