//! LiteLLM's routes, as far as a decision hangs on them (`proxy/_types.py`, `LiteLLMRoutes`).

use std::sync::LazyLock;

use crate::http::query::percent_decode;
use crate::litellm::ui;

/// What a route is for, as far as a decision depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The models' API, where LiteLLM asks for no role.
    Inference,
    /// A page of the admin UI.
    UiPage,
    /// LiteLLM's own page for signing in.
    SignInPage,
    /// The admin UI's settings (`sso/get/ui_settings`).
    UiSettings,
    /// What the admin UI calls when its button for signing out is pressed (since 1.101).
    UiSignOut,
    /// A page that reads the admin UI's cookie on the server, with the master key's signature and a living key in it
    /// (`mcp_server/byok_oauth_endpoints.py`).
    CookiePage,
    /// A part that pages are made of, the same for everybody.
    Asset,
    /// Anything else, and every path that servers read differently.
    Unknown,
}

/// Whether a route is closed to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    /// Open.
    No,
    /// A way to sign in, or to get a key, by LiteLLM's own means, which would go round the OAuth proxy or past the roles
    /// (`management_endpoints/ui_sso.py`, `auth/login_utils.py`, `proxy_server.py`): `ui.native_sign_in` opens it.
    NativeLogin,
    /// What has no use through a front door: claims of a sign-in for debugging, provisioning of users, the configuration
    /// (`management_endpoints/scim/`).
    Always,
}

/// How a row's path is met.
#[derive(Debug, Clone, Copy)]
enum Reach {
    /// The path alone.
    Exact,
    /// The path, with or without a slash at its end.
    Page,
    /// The path and what lies below it, by whole segments.
    Below,
    /// Everything that begins so.
    Prefix,
    /// The path below `/`, `/v1` and `/v2`, and what lies below it.
    Versioned,
    /// The admin UI's tree: [`ui::part`] tells its pages from their parts.
    UiTree,
}

/// Prefixes of paths, which are looked for in whatever spelling. They begin with a slash.
#[derive(Debug, Clone, Default)]
pub struct PathPrefixes {
    prefixes: Vec<String>,
    /// Of all of them: most paths begin with another letter.
    letters: u32,
}

/// A family of LiteLLM's routes (`proxy/_types.py`, `LiteLLMRoutes`).
struct Row(&'static str, Reach, Class, Closed);

/// LiteLLM's routes; of several rows that match the first counts. A path that no row matches is [`Class::Unknown`].
const TABLE: &[Row] = &[
    Row("/", Reach::Exact, Class::UiPage, Closed::No),
    Row("/ui", Reach::UiTree, Class::UiPage, Closed::No),
    Row("/_next/", Reach::Prefix, Class::Asset, Closed::No),
    Row("/litellm-asset-prefix/", Reach::Prefix, Class::Asset, Closed::No),
    Row("/get_", Reach::Prefix, Class::Asset, Closed::No),
    Row("/sso/get/ui_settings", Reach::Exact, Class::UiSettings, Closed::No),
    Row("/session/logout", Reach::Exact, Class::UiSignOut, Closed::No),
    Row("/sso/key/generate", Reach::Page, Class::SignInPage, Closed::NativeLogin),
    Row("/fallback/login", Reach::Page, Class::SignInPage, Closed::NativeLogin),
    Row("/login", Reach::Below, Class::Unknown, Closed::NativeLogin),
    Row("/v2/login", Reach::Below, Class::Unknown, Closed::NativeLogin),
    Row("/v3/login", Reach::Below, Class::Unknown, Closed::NativeLogin),
    Row("/onboarding", Reach::Below, Class::Unknown, Closed::NativeLogin),
    Row("/sso/callback", Reach::Below, Class::Unknown, Closed::NativeLogin),
    Row("/sso/saml", Reach::Below, Class::Unknown, Closed::NativeLogin),
    Row("/sso/cli", Reach::Below, Class::Unknown, Closed::NativeLogin),
    Row("/.well-known/litellm-cli-auth", Reach::Below, Class::Unknown, Closed::NativeLogin),
    Row("/sso/debug", Reach::Below, Class::Unknown, Closed::Always),
    Row("/scim", Reach::Below, Class::Unknown, Closed::Always),
    Row("/config/yaml", Reach::Below, Class::Unknown, Closed::Always),
    Row("/v1/mcp/oauth/authorize", Reach::Page, Class::CookiePage, Closed::No),
    Row("assistants", Reach::Versioned, Class::Inference, Closed::No),
    Row("audio", Reach::Versioned, Class::Inference, Closed::No),
    Row("batches", Reach::Versioned, Class::Inference, Closed::No),
    Row("chat/completions", Reach::Versioned, Class::Inference, Closed::No),
    Row("completions", Reach::Versioned, Class::Inference, Closed::No),
    Row("containers", Reach::Versioned, Class::Inference, Closed::No),
    Row("embeddings", Reach::Versioned, Class::Inference, Closed::No),
    Row("files", Reach::Versioned, Class::Inference, Closed::No),
    Row("fine_tuning/jobs", Reach::Versioned, Class::Inference, Closed::No),
    Row("images", Reach::Versioned, Class::Inference, Closed::No),
    Row("messages", Reach::Versioned, Class::Inference, Closed::No),
    Row("models", Reach::Versioned, Class::Inference, Closed::No),
    Row("moderations", Reach::Versioned, Class::Inference, Closed::No),
    Row("ocr", Reach::Versioned, Class::Inference, Closed::No),
    Row("realtime", Reach::Versioned, Class::Inference, Closed::No),
    Row("rerank", Reach::Versioned, Class::Inference, Closed::No),
    Row("responses", Reach::Versioned, Class::Inference, Closed::No),
    Row("threads", Reach::Versioned, Class::Inference, Closed::No),
    Row("vector_stores", Reach::Versioned, Class::Inference, Closed::No),
    Row("videos", Reach::Versioned, Class::Inference, Closed::No),
    // Whole trees that go through to models or their makers (`mapped_pass_through_routes`, Google and engine routes).
    Row("/anthropic/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/assemblyai/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/azure/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/azure_ai/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/bedrock/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/cohere/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/engines/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/gemini/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/mistral/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/openai/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/openrouter/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/v1beta/models/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/vertex-ai/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/vertex_ai/", Reach::Prefix, Class::Inference, Closed::No),
    Row("/vllm/", Reach::Prefix, Class::Inference, Closed::No),
];

/// What a path is for; `path` without LiteLLM's root path. Only plain spellings are known: a path that a server might read as
/// another one is [`Class::Unknown`].
pub fn class(path: &str) -> Class {
    if is_plain(path) { class_of_plain(path) } else { Class::Unknown }
}

/// What a path is for that is known to be [plain](is_plain).
pub fn class_of_plain(path: &str) -> Class {
    let below_version = below_version(path);
    let rows = rows(path, false).iter().chain(rows(below_version, true));
    rows.copied().find_map(|row| row.class_of(path, below_version)).unwrap_or(Class::Unknown)
}

/// The rows that a path may match: those of its first letter.
fn rows(path: &str, versioned: bool) -> &'static [&'static Row] {
    static BY_LETTER: LazyLock<[Vec<Vec<&'static Row>>; 2]> = LazyLock::new(|| {
        [false, true].map(|versioned| {
            let is_one = |row: &&Row, letter| row.is_versioned() == versioned && first_letter(row.0) == letter;
            (0..=u8::MAX).map(|letter| TABLE.iter().filter(|row| is_one(row, letter)).collect()).collect()
        })
    });
    let [plain, below_version] = &*BY_LETTER;
    let by_letter = if versioned { below_version } else { plain };
    by_letter.get(usize::from(first_letter(path))).map_or(&[], Vec::as_slice)
}

/// The first letter of a path, with its slash or without; 0 where there is none.
fn first_letter(path: &str) -> u8 {
    path.strip_prefix('/').unwrap_or(path).bytes().next().unwrap_or_default()
}

/// The paths that are closed, they and what is below them, with LiteLLM's root path and without: it answers at both.
pub fn closed_paths(root: &str, native_login: bool) -> PathPrefixes {
    let is_closed = |row: &&Row| match row.3 {
        Closed::No => false,
        Closed::NativeLogin => !native_login,
        Closed::Always => true,
    };
    let roots = if root.is_empty() { vec![""] } else { vec!["", root] };
    let closed = |root: &str| TABLE.iter().filter(is_closed).map(|row| format!("{root}{}", row.0)).collect::<Vec<_>>();
    roots.into_iter().flat_map(closed).collect::<Vec<_>>().into()
}

// === impl Row ===

impl Row {
    fn is_versioned(&self) -> bool {
        matches!(self.1, Reach::Versioned)
    }

    fn class_of(&self, path: &str, below_version: &str) -> Option<Class> {
        let Self(at, reach, class, _) = self;
        let is_met = match reach {
            Reach::Exact => path == *at,
            Reach::Page => path.strip_suffix('/').unwrap_or(path) == *at,
            Reach::Below => is_at_or_below(path, at),
            Reach::Prefix => path.starts_with(at),
            Reach::Versioned => is_at_or_below(below_version, at),
            Reach::UiTree => return if is_at_or_below(path, at) { Some(ui::part(path)) } else { None },
        };
        is_met.then_some(*class)
    }
}

/// A path without its first slash and the API's version.
fn below_version(path: &str) -> &str {
    let versioned = path.strip_prefix("/v1/").or_else(|| path.strip_prefix("/v2/"));
    versioned.or_else(|| path.strip_prefix('/')).unwrap_or(path)
}

/// Whether LiteLLM reads a key from `?key=` here: the Google routes (`auth/user_api_key_auth.py`, `get_api_key`;
/// `pass_through_endpoints/llm_passthrough_endpoints.py`).
pub fn reads_key_from_query(path: &str) -> bool {
    path.to_ascii_lowercase().contains("generatecontent")
        || ["/gemini", "/v1beta", "/vertex", "/interactions"].iter().any(|tree| path.starts_with(tree))
        || !is_plain(path)
}

/// Whether a path answers in Anthropic's shape.
pub fn is_anthropic(path: &str) -> bool {
    path == "/v1/messages" || path.starts_with("/v1/messages/") || path.starts_with("/anthropic/")
}

/// Whether a path is the prefix or lies below it, by whole segments. The prefix may end in a slash.
pub fn is_at_or_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path that every server reads alike: no escapes, empty or dotted segments, backslashes or semicolons.
pub fn is_plain(path: &str) -> bool {
    let mut segment = Some(0_usize); // its length; `None` once it holds more than dots
    if !path.starts_with('/') {
        return false;
    }
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            b'/' if at > 0 && matches!(segment, Some(0..=2)) => return false,
            b'/' => segment = Some(0),
            b'%' | b'\\' | b';' => return false,
            b'.' => segment = segment.map(|dots| dots + 1),
            _ => segment = None,
        }
    }
    !matches!(segment, Some(1 | 2))
}

impl PathPrefixes {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.prefixes.iter().map(String::as_str)
    }
}

impl From<Vec<String>> for PathPrefixes {
    fn from(prefixes: Vec<String>) -> Self {
        let letters = prefixes.iter().fold(0, |letters, prefix| letters | letter_bit(prefix));
        Self { prefixes, letters }
    }
}

/// A bit for a path's first letter, in either case. What is no letter shares the bits.
fn letter_bit(path: &str) -> u32 {
    1 << (first_letter(path) & 31)
}

/// A path without LiteLLM's root path, where it begins with it: LiteLLM answers at both.
pub fn below_root<'p>(path: &'p str, root: &str) -> &'p str {
    path.strip_prefix(root).filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

/// Whether any server could take the path for one of these or below one: escapes, case, repeated slashes, dots and parameters
/// of segments are seen through. `is_plain`: what [`is_plain`] says of the path.
pub fn is_below_any(path: &str, is_plain: bool, prefixes: &PathPrefixes) -> bool {
    let PathPrefixes { prefixes, letters } = prefixes;
    if is_plain {
        return letters & letter_bit(path) != 0
            && prefixes.iter().any(|prefix| match path.split_at_checked(prefix.len()) {
                Some((start, rest)) if rest.is_empty() || rest.starts_with('/') => start.eq_ignore_ascii_case(prefix),
                Some(_) | None => false,
            });
    }
    let decoded = String::from_utf8_lossy(&percent_decode(path.as_bytes())).to_ascii_lowercase();
    let segments = || {
        let bare = |segment: &'_ str| segment.split(';').next().unwrap_or_default().to_owned();
        decoded.split(['/', '\\']).map(bare).filter(|segment| !matches!(segment.as_str(), "" | "."))
    };
    // As it stands, and with its `..` resolved: servers differ.
    let written: Vec<String> = segments().collect();
    let resolved = segments().fold(Vec::new(), |mut above, segment| {
        if segment == ".." {
            above.pop();
        } else {
            above.push(segment);
        }
        above
    });
    prefixes.iter().any(|prefix| {
        let parts: Vec<String> =
            prefix.to_ascii_lowercase().split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        written.starts_with(&parts) || resolved.starts_with(&parts)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_routes_are_known_by_whole_segments_in_plain_spelling() {
        for path in [
            "/chat/completions",
            "/v1/chat/completions",
            "/v1/messages",
            "/v1/messages/count_tokens",
            "/openai/deployments/x/chat/completions",
            "/v1/models",
            "/v1beta/models/g:generateContent",
            "/v2/rerank",
        ] {
            assert_eq!(class(path), Class::Inference, "{path}");
        }
        for path in [
            "/",
            "/user/list",
            "/key/generate",
            "/v1/chat/completionsx",
            "/v1/models/../../user/list",
            "/v1//models",
            "/v1/models/%2e%2e/x",
            "/v1/models;/x",
            "/model/info",
            "/health",
            "/openai",
        ] {
            assert_ne!(class(path), Class::Inference, "{path}");
        }
    }

    #[test]
    fn pages_are_told_from_what_they_are_made_of() {
        for path in ["/", "/ui", "/ui/", "/ui/teams", "/ui/teams/", "/ui/index.html"] {
            assert_eq!(class(path), Class::UiPage, "{path}");
        }
        for path in ["/ui/login", "/ui/login/", "/sso/key/generate", "/fallback/login", "/ui/login/index.html"] {
            assert_eq!(class(path), Class::SignInPage, "{path}");
        }
        for path in ["/ui/x.js", "/ui/teams/index.txt", "/ui/login/index.txt", "/_next/x", "/get_image"] {
            assert_eq!(class(path), Class::Asset, "{path}");
        }
        for path in ["/uix", "/ui//", "/ui//teams", "/ui/../x", "/ui/%2e", "/sso/callback", "/sso/key/generate/x"] {
            assert_eq!(class(path), Class::Unknown, "{path}");
        }
    }

    #[test]
    fn paths_are_below_a_prefix_by_whole_segments() {
        for prefix in ["/vertex_ai", "/vertex_ai/"] {
            assert!(is_at_or_below("/vertex_ai", prefix) && is_at_or_below("/vertex_ai/x", prefix));
            assert!(!is_at_or_below("/vertex_aix", prefix) && !is_at_or_below("/v", prefix));
        }
    }

    #[test]
    fn plain_paths_are_read_alike_by_all() {
        for path in ["/", "/a", "/a/", "/a.b/..c/...", "/.well-known/x", "/a/b..", "/..."] {
            assert!(is_plain(path), "{path}");
        }
        for path in
            ["", "a", "//", "/a//b", "/.", "/..", "/a/./b", "/a/../b", "/a/..", "/a%2fb", "/a;b", "/a\\b", "/../"]
        {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn google_routes_read_the_query() {
        assert!(reads_key_from_query("/v1beta/models/g:streamGenerateContent"));
        assert!(reads_key_from_query("/gemini/v1beta/models/g:generateContent"));
        assert!(reads_key_from_query("/models/g%3AgenerateContent"));
        assert!(!reads_key_from_query("/v1/chat/completions"));
    }

    #[test]
    fn our_own_prefix_is_seen_in_every_spelling() {
        let prefixes = PathPrefixes::from(vec!["/other".to_owned(), "/vestibule".to_owned()]);
        let is_below = |path| is_below_any(path, is_plain(path), &prefixes);
        for path in [
            "/vestibule",
            "/vestibule/",
            "/vestibule/x",
            "//vestibule/x",
            "/VESTIBULE",
            "/%76estibule/x",
            "/./vestibule",
            "/\\vestibule",
            "/x/../vestibule/x",
            "/x/%2e%2e/vestibule",
            "/vestibule/../x",
            "/vestibule;a=b/x",
        ] {
            assert!(is_below(path), "{path}");
        }
        for path in ["/", "/vestibules", "/x/vestibule", "/v1/models", "/x/../x/vestibule", "/a;vestibule"] {
            assert!(!is_below(path), "{path}");
        }
    }
}
