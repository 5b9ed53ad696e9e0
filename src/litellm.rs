//! litellm
