//! The calls of LiteLLM's management API that make it forget what it holds in memory.
//!
//! LiteLLM keeps keys and users for `user_api_key_cache_ttl`. What is written straight into its tables it notices only
//! then; these calls make the process that answers forget at once, and with Redis pub/sub (from 1.100 on) the others too.
//! Read in `management_endpoints/key_management_endpoints.py` and `internal_user_endpoints.py`. Each is a POST.

use serde_json::{Value, json};

/// Keys of one call.
const KEYS_MAX: usize = 100;
/// Most characters of LiteLLM's own words that are passed on.
const WORDS_MAX: usize = 200;

/// One call. It has no Debug: its body can hold hashes of keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// The path.
    pub path: &'static str,
    /// The JSON body.
    pub body: String,
    /// What is forgotten by it, in words.
    pub what: &'static str,
}

/// Deletes keys by their tokens and forgets them. LiteLLM forgets only keys that it finds in its table.
pub fn delete_keys(tokens: &[String]) -> Vec<Call> {
    tokens
        .chunks(KEYS_MAX)
        .map(|keys| Call { path: "/key/delete", body: json!({ "keys": keys }).to_string(), what: "the sessions' keys" })
        .collect()
}

/// Blocks keys by their tokens, blocked already or not, and forgets what was known of them.
pub fn block_keys(tokens: &[String]) -> Vec<Call> {
    let call =
        |token| Call { path: "/key/block", body: json!({ "key": token }).to_string(), what: "the person's other keys" };
    tokens.iter().map(call).collect()
}

/// Changes nothing of a user, and forgets what was known of them. For a user without a row it would make one.
pub fn touch_user(user_id: &str) -> Call {
    Call { path: "/user/update", body: json!({ "user_id": user_id }).to_string(), what: "the user" }
}

/// Reads an answer: `Err` in words where LiteLLM did not do it. A key that is not there any more is one that is gone.
pub fn read(call: &Call, status: u16, body: &[u8]) -> Result<(), String> {
    match status {
        200..=299 => Ok(()),
        404 if call.path.starts_with("/key/") => Ok(()),
        401 | 403 => {
            Err(format!("{status} at `{}`: it does not take `litellm.master_key` for the master key", call.path))
        }
        _ => Err(format!("{status} at `{}`: {}", call.path, words(body))),
    }
}

/// LiteLLM's own words: `error.message`, or `detail`, which may be a mapping; without what could be a key.
fn words(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body).ok();
    let text = said.as_ref().and_then(|said| {
        let places = ["/error/message", "/detail/error", "/detail"];
        places.iter().find_map(|place| said.pointer(place)?.as_str())
    });
    let text = text.unwrap_or("no reason that can be read");
    let is_opaque = |word: &&str| word.len() >= 40 || word.contains("sk-");
    let kept: Vec<&str> = text.split_whitespace().map(|word| if is_opaque(&word) { "…" } else { word }).collect();
    kept.join(" ").chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_are_several_calls() {
        let tokens: Vec<String> = (0..101).map(|at| at.to_string()).collect();
        let calls = delete_keys(&tokens);
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[1].body, r#"{"keys":["100"]}"#);
    }

    #[test]
    fn a_refusal_is_told_without_a_key_in_it() {
        let call = touch_user("alice");
        assert_eq!(read(&call, 200, b""), Ok(()));
        let hash = "ab".repeat(32);
        let body = json!({ "error": { "message": format!("no key sk-1234 {hash} here") } }).to_string();
        assert_eq!(read(&call, 500, body.as_bytes()), Err("500 at `/user/update`: no key … … here".to_owned()));
        assert!(read(&call, 401, b"").is_err_and(|words| words.contains("litellm.master_key")));
        assert!(read(&call, 404, b"{}").is_err());
    }

    #[test]
    fn a_key_that_is_gone_is_gone() {
        assert_eq!(read(&delete_keys(&["x".to_owned()])[0], 404, b"{}"), Ok(()));
    }
}
