//! LiteLLM's roles, by its own strings.

/// LiteLLM's roles that vestibule may give, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Sees own keys and spend.
    InternalUserViewer,
    /// Makes keys for itself.
    InternalUser,
    /// Sees everything.
    ProxyAdminViewer,
    /// May do everything.
    ProxyAdmin,
}

// === impl Role ===

impl Role {
    /// All roles, lowest first.
    pub const ALL: [Self; 4] = [Self::InternalUserViewer, Self::InternalUser, Self::ProxyAdminViewer, Self::ProxyAdmin];

    /// LiteLLM's exact string (`litellm/types/proxy/auth/user_roles.py`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InternalUserViewer => "internal_user_viewer",
            Self::InternalUser => "internal_user",
            Self::ProxyAdminViewer => "proxy_admin_viewer",
            Self::ProxyAdmin => "proxy_admin",
        }
    }

    /// Reads LiteLLM's string. `internal_user_view_only`, seen in guides, stands for the viewer.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "internal_user_view_only" {
            return Some(Self::InternalUserViewer);
        }
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// True for the two roles that see or do everything.
    pub fn is_admin(self) -> bool {
        matches!(self, Self::ProxyAdmin | Self::ProxyAdminViewer)
    }
}
