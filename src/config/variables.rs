//! What the environment says: `${NAME}` in values of the file, and `VESTIBULE_SECTION__KEY` over them.
//!
//! Variables are replaced in values of the parsed tree, so that none of them can change the document around it.

use crate::config::problem::{KeyPath, PathStep};

const PREFIX: &str = "VESTIBULE_";

/// Why a text with variables gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExpandFault {
    /// `${NAME}` without such a variable.
    Undefined(String),
    /// `${NAME:?why}` without such a variable, or with an empty one.
    Needed(String, String),
    /// `${` without `}`, or something else than a name between them.
    Malformed,
}

/// Replaces `${NAME}`, `${NAME:-default}` and `${NAME:?why}`, and `$$` by `$`. Any other `$` stands for itself.
pub(super) fn expand(text: &str, environment: &[(String, String)]) -> Result<String, ExpandFault> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        rest = if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            after
        } else if let Some(after) = after.strip_prefix('{') {
            let (inner, after) = after.split_once('}').ok_or(ExpandFault::Malformed)?;
            expanded.push_str(&value(inner, environment)?);
            after
        } else {
            expanded.push('$');
            after
        };
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The value of what stands between `${` and `}`.
fn value(inner: &str, environment: &[(String, String)]) -> Result<String, ExpandFault> {
    let name_end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
    let (name, rest) = inner.split_at_checked(name_end).unwrap_or((inner, ""));
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || rest.contains("${") {
        return Err(ExpandFault::Malformed);
    }
    let set = environment.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.clone());
    let not_empty = set.clone().filter(|value| !value.is_empty());
    if rest.is_empty() {
        set.ok_or_else(|| ExpandFault::Undefined(name.to_owned()))
    } else if let Some(default) = rest.strip_prefix(":-") {
        Ok(not_empty.unwrap_or_else(|| default.to_owned()))
    } else if let Some(why) = rest.strip_prefix(":?") {
        not_empty.ok_or_else(|| ExpandFault::Needed(name.to_owned(), why.to_owned()))
    } else {
        Err(ExpandFault::Malformed)
    }
}

/// The key that a variable sets: `VESTIBULE_LITELLM__URL` sets `litellm.url`. `None` for a variable that sets none.
pub(super) fn key_of(variable: &str) -> Option<KeyPath> {
    let name = variable.strip_prefix(PREFIX)?;
    if name.is_empty()
        || matches!(name, "CONFIG" | "PROBE_COOKIE")
        || name.starts_with("TEST_")
        || is_service_link(name)
    {
        return None;
    }
    Some(name.to_lowercase().split("__").fold(KeyPath::default(), |path, part| match part.parse() {
        Ok(index) => path.step(PathStep::Index(index)),
        Err(_) => path.key(part),
    }))
}

/// Kubernetes gives every container such variables for every Service of its namespace; for one that is called
/// `vestibule` they carry our prefix (kubernetes.io, "Environment variables" of Services).
fn is_service_link(name: &str) -> bool {
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port_link = name.match_indices("PORT").any(|(at, word)| {
        let starts = at == 0 || name.get(..at).is_some_and(|before| before.ends_with('_'));
        let after = name.get(at + word.len()..).unwrap_or_default();
        let mut parts = after.split('_').skip(1);
        let numbered = parts.next().is_some_and(is_port)
            && parts.next().is_some_and(|word| matches!(word, "TCP" | "UDP" | "SCTP"));
        starts && (after.is_empty() || (after.starts_with('_') && numbered))
    });
    let service = name.starts_with("SERVICE_HOST")
        || name.starts_with("SERVICE_PORT")
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT");
    port_link || service
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Vec<(String, String)> {
        [("A", "one"), ("EMPTY", ""), ("ODD", "x: [${A}]\ny")].map(|(name, value)| (name.into(), value.into())).into()
    }

    #[test]
    fn variables_are_replaced_once_and_defaults_stand_in_for_empty_ones() {
        for (text, wanted) in [
            ("${A}", "one"),
            ("<${A}|${A}>", "<one|one>"),
            ("${NO:-two}", "two"),
            ("${NO:-}", ""),
            ("${EMPTY:-two}", "two"),
            ("${EMPTY}", ""),
            ("${A:?why}", "one"),
            ("$$ $${A} $A 5$", "$ ${A} $A 5$"),
            ("${ODD}", "x: [${A}]\ny"),
        ] {
            assert_eq!(expand(text, &environment()).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn undefined_and_malformed_variables_are_faults() {
        let fault = |text: &str| expand(text, &environment()).unwrap_err();
        assert_eq!(fault("${NO}"), ExpandFault::Undefined("NO".into()));
        assert_eq!(fault("${NO:?set it}"), ExpandFault::Needed("NO".into(), "set it".into()));
        assert_eq!(fault("${EMPTY:?set it}"), ExpandFault::Needed("EMPTY".into(), "set it".into()));
        for text in ["${A", "${}", "${1A}", "${A-x}", "${A:-${B}}", "${A B}"] {
            assert_eq!(fault(text), ExpandFault::Malformed, "{text}");
        }
    }

    #[test]
    fn a_variable_names_its_key() {
        let key = |name: &str| key_of(name).map(|path| path.to_string());
        assert_eq!(key("VESTIBULE_LITELLM__URL").as_deref(), Some("litellm.url"));
        assert_eq!(key("VESTIBULE_RULES__0__ROLE").as_deref(), Some("rules[0].role"));
        assert_eq!(key("VESTIBULE_LISTEN").as_deref(), Some("listen"));
        assert_eq!(key("VESTIBULE_PUBLIC_PATHS").as_deref(), Some("public_paths"));
        assert_eq!(key("PATH"), None);
        assert_eq!(key("VESTIBULE_TEST_POSTGRES_URL"), None);
    }

    #[test]
    fn the_links_of_a_kubernetes_service_set_nothing() {
        for name in [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "PORT",
            "PORT_4180_TCP",
            "PORT_4180_TCP_ADDR",
            "PROXY_SERVICE_HOST",
            "PROXY_SERVICE_PORT_METRICS",
            "PROXY_PORT",
            "PROXY_PORT_80_TCP_PROTO",
        ] {
            assert_eq!(key_of(&format!("VESTIBULE_{name}")), None, "{name}");
        }
    }
}
