//! LiteLLM's routes, as far as a decision hangs on them (`proxy/_types.py`, `LiteLLMRoutes`).

use crate::http::query::percent_decode;

/// Routes of the models' API under `/` and `/v1/`: they and what lies below them.
const MODEL_ROUTES: &[&str] = &[
    "assistants",
    "audio",
    "batches",
    "chat/completions",
    "completions",
    "containers",
    "embeddings",
    "files",
    "fine_tuning/jobs",
    "images",
    "messages",
    "models",
    "moderations",
    "ocr",
    "realtime",
    "rerank",
    "responses",
    "threads",
    "vector_stores",
    "videos",
];

/// Whole trees that go through to models or their makers (`mapped_pass_through_routes`, Google and engine routes).
const MODEL_TREES: &[&str] = &[
    "/anthropic/",
    "/assemblyai/",
    "/azure/",
    "/azure_ai/",
    "/bedrock/",
    "/cohere/",
    "/engines/",
    "/gemini/",
    "/mistral/",
    "/openai/",
    "/openrouter/",
    "/v1beta/models/",
    "/vertex-ai/",
    "/vertex_ai/",
    "/vllm/",
];

/// Whether a path is the models' API, where LiteLLM asks for no role. Only plain spellings count: whatever a server
/// might read as another path is not one of them.
pub fn is_model_route(path: &str) -> bool {
    if !is_plain(path) {
        return false;
    }
    let below_version =
        path.strip_prefix("/v1/").or_else(|| path.strip_prefix("/v2/")).or_else(|| path.strip_prefix('/'));
    let is_listed = below_version.is_some_and(|rest| {
        MODEL_ROUTES
            .iter()
            .any(|route| rest.strip_prefix(route).is_some_and(|below| below.is_empty() || below.starts_with('/')))
    });
    is_listed || MODEL_TREES.iter().any(|tree| path.starts_with(tree))
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

/// A path without LiteLLM's root path, where it begins with it: LiteLLM answers at both.
pub fn below_root<'p>(path: &'p str, root: &str) -> &'p str {
    path.strip_prefix(root).filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

/// Whether any server could take the path for one of these or below one: escapes, case, repeated slashes, dots and parameters
/// of segments are seen through.
pub fn is_below_any<'p>(path: &str, mut prefixes: impl Iterator<Item = &'p String>) -> bool {
    if is_plain(path) {
        return prefixes.any(|prefix| {
            let Some((start, rest)) = path.split_at_checked(prefix.len()) else { return false };
            start.eq_ignore_ascii_case(prefix) && (rest.is_empty() || rest.starts_with('/'))
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
    prefixes.any(|prefix| {
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
            assert!(is_model_route(path), "{path}");
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
            assert!(!is_model_route(path), "{path}");
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
        let prefixes = ["/other".to_owned(), "/vestibule".to_owned()];
        let is_below = |path| is_below_any(path, prefixes.iter());
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
