//! What a request's path is, by one reading.

use http::Method;

use crate::config::{PublicPaths, PublicUrl};
use crate::litellm::routes::{self, Class, PathPrefixes, is_below_any, is_plain};

/// What a path is, with this method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A page of vestibule's own.
    Own(OwnPage),
    /// Below vestibule's own prefix, and no page of it.
    OwnUnknown,
    /// LiteLLM's page for signing in, which is answered here instead.
    SignIn,
    /// A way to sign in, or to get a key, by LiteLLM's own means, or what has no use through a front door.
    Closed,
    /// A page of the admin UI.
    UiPage,
    /// The admin UI's settings, which say where signing out leads.
    UiSettings,
    /// What the admin UI calls when its button for signing out is pressed.
    UiSignOut,
    /// A page that reads the admin UI's cookie on the server.
    CookiePage {
        /// It is asked for with GET.
        is_get: bool,
    },
    /// A part that pages are made of, the same for everybody.
    Asset,
    /// The models' API, where LiteLLM asks for no role.
    Inference,
    /// Anything else of LiteLLM's.
    Other,
}

/// A page of vestibule's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnPage {
    /// Ends a browser's session.
    SignOut,
    /// Says who the user is.
    Whoami,
    /// Signs in to the admin UI, for gateways that send nothing else of it here.
    SignIn,
}

/// The paths that mean something on one listener.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// LiteLLM's root path.
    pub root_path: String,
    /// Prefixes of vestibule's own paths, as they may arrive.
    pub own_prefixes: PathPrefixes,
    /// vestibule's own pages are answered here.
    pub has_pages: bool,
    /// The admin UI's pages sign users in.
    pub signs_in: bool,
    /// LiteLLM's paths that are closed, with its root path and without.
    pub closed: PathPrefixes,
    /// Paths that need no identity.
    pub public: PublicPaths,
}

/// The prefixes under which own paths may arrive: a gateway takes a public prefix off, or leaves it on.
pub fn own_prefixes(prefix: &str, public_url: Option<&PublicUrl>, root_path: &str) -> PathPrefixes {
    let public = public_url.map_or("", |url| url.prefix.as_str());
    let mut prefixes: Vec<String> = ["", public, root_path].map(|before| format!("{before}{prefix}")).into();
    prefixes.sort();
    prefixes.dedup();
    prefixes.into()
}

// === impl OwnPage ===

impl OwnPage {
    const ALL: [Self; 3] = [Self::SignOut, Self::Whoami, Self::SignIn];

    /// The path below vestibule's own prefix.
    pub fn path(self) -> &'static str {
        match self {
            Self::SignOut => "/logout",
            Self::Whoami => "/whoami",
            Self::SignIn => "/ui",
        }
    }
}

// === impl Route ===

impl Route {
    /// Whether a GET of it only shows a page, which another site may lead to and not frame.
    pub fn is_page(self) -> bool {
        matches!(self, Self::Own(_) | Self::SignIn | Self::UiPage | Self::CookiePage { is_get: true })
    }

    /// Whether a request is refused until LiteLLM has forgotten a role that was lowered: everywhere but where it asks for no role,
    /// or where the request is vestibule's own or ends a session.
    pub fn is_refused_while_settling(self) -> bool {
        !matches!(self, Self::Inference | Self::Own(_) | Self::UiSignOut)
    }

    /// Whether LiteLLM may see the request at all.
    pub fn is_forwarded(self) -> bool {
        !matches!(self, Self::Own(_) | Self::OwnUnknown | Self::SignIn | Self::Closed)
    }
}

// === impl Routes ===

impl Routes {
    /// What a path is.
    pub fn route(&self, method: &Method, path: &str) -> Route {
        let is_plain = is_plain(path);
        if is_below_any(path, is_plain, &self.own_prefixes) {
            return self.own_page(path).map_or(Route::OwnUnknown, Route::Own);
        }
        let is_get = *method == Method::GET;
        let class = if is_plain { routes::class_of_plain(self.below_root(path)) } else { Class::Unknown };
        if self.signs_in && is_get && class == Class::SignInPage {
            return Route::SignIn;
        }
        if is_below_any(path, is_plain, &self.closed) {
            return Route::Closed;
        }
        match class {
            Class::Inference => Route::Inference,
            Class::UiPage | Class::SignInPage if is_get => Route::UiPage,
            Class::UiSettings if is_get => Route::UiSettings,
            Class::UiSignOut => Route::UiSignOut,
            Class::CookiePage => Route::CookiePage { is_get },
            Class::Asset if is_get => Route::Asset,
            Class::UiPage | Class::UiSettings | Class::Asset | Class::SignInPage | Class::Unknown => Route::Other,
        }
    }

    /// Whether a path needs no identity. Only a path in its plain spelling can be public: any other could be a different path
    /// to LiteLLM.
    pub fn is_public(&self, path: &str) -> bool {
        let is_listed = self.public.exact.iter().any(|exact| exact == path)
            || self.public.prefixes.iter().any(|prefix| path.starts_with(prefix));
        is_listed && is_plain(path)
    }

    /// A path as LiteLLM sees it without its root path.
    pub fn below_root<'p>(&self, path: &'p str) -> &'p str {
        routes::below_root(path, &self.root_path)
    }

    fn own_page(&self, path: &str) -> Option<OwnPage> {
        let mut below = self.own_prefixes.iter().filter_map(|prefix| path.strip_prefix(prefix));
        below.find_map(|below| OwnPage::ALL.into_iter().find(|page| self.has_pages && page.path() == below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_paths_in_plain_spelling_are_public() {
        let public = PublicPaths { exact: vec!["/health/liveness".into()], prefixes: vec!["/public/".into()] };
        let routes = Routes { public, ..Routes::default() };
        assert!(routes.is_public("/health/liveness") && routes.is_public("/public/x"));
        for path in [
            "/health/liveness/",
            "/health",
            "/public",
            "/publicx",
            "/public/../key/generate",
            "/public//x",
            "/public/%2e%2e/x",
            "/Public/x",
        ] {
            assert!(!routes.is_public(path), "{path}");
        }
    }

    #[test]
    fn own_pages_are_answered_where_there_are_any() {
        let routes =
            Routes { own_prefixes: own_prefixes("/vestibule", None, "/llm"), has_pages: true, ..Routes::default() };
        let without = Routes { has_pages: false, ..routes.clone() };
        for path in ["/vestibule/whoami", "/llm/vestibule/whoami"] {
            assert_eq!(routes.route(&Method::GET, path), Route::Own(OwnPage::Whoami), "{path}");
            assert_eq!(without.route(&Method::GET, path), Route::OwnUnknown, "{path}");
        }
        for path in ["/vestibule", "/vestibule/whoami/", "/vestibule/x", "//vestibule/whoami", "/Vestibule/whoami"] {
            assert_eq!(routes.route(&Method::GET, path), Route::OwnUnknown, "{path}");
        }
    }

    #[test]
    fn litellms_sign_in_is_answered_here_or_closed() {
        let closed = routes::closed_paths("", false);
        let routes = Routes { signs_in: true, closed, ..Routes::default() };
        let without = Routes { signs_in: false, ..routes.clone() };
        for path in ["/sso/key/generate", "/fallback/login"] {
            assert_eq!(routes.route(&Method::GET, path), Route::SignIn, "{path}");
            assert_eq!(routes.route(&Method::POST, path), Route::Closed, "{path}");
            assert_eq!(without.route(&Method::GET, path), Route::Closed, "{path}");
        }
        assert_eq!(routes.route(&Method::GET, "/ui/login"), Route::SignIn);
        assert_eq!(without.route(&Method::GET, "/ui/login"), Route::UiPage);
        for path in ["/login", "/SCIM/v2/Users", "/sso/%64ebug", "/x/../config/yaml"] {
            assert_eq!(routes.route(&Method::GET, path), Route::Closed, "{path}");
        }
    }
}
