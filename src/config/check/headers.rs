//! Header names that the configuration gives away, and whether two of them are the same.

use http::HeaderName;

use crate::config::presets::identity_names;
use crate::config::problem::{KeyPath, literal};
use crate::config::report::Report;
use crate::litellm::credentials::CREDENTIALS;

/// Headers that carry credentials everywhere, besides those in which LiteLLM looks for a key. Folded.
const FURTHER_CREDENTIALS: [&str; 2] = ["proxy-authorization", "cookie"];

/// Headers that mean something to HTTP or to the way here; none can carry a person, a proof or a key. Folded.
const TAKEN: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "proxy-connection",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// What a header is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It says who somebody is.
    Identity,
    /// It proves the sign-in proxy.
    Proof,
    /// It carries a key for LiteLLM.
    Key,
}

/// The headers met so far.
#[derive(Debug, Default)]
pub(super) struct Headers(Vec<(HeaderName, Purpose, KeyPath)>);

// === impl Headers ===

impl Headers {
    /// Reads a name and notes what it is for.
    pub(super) fn name(
        &mut self,
        path: &KeyPath,
        name: &str,
        purpose: Purpose,
        report: &mut Report,
    ) -> Option<HeaderName> {
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
            let message = format!("`{path}` is not the name of a header: {}", literal(name));
            report.error(path, message, "letters, digits and `-`, such as `X-My-Header`");
            return None;
        };
        let folded = fold(&header);
        let is_credential =
            FURTHER_CREDENTIALS.contains(&folded.as_str()) || CREDENTIALS.iter().any(|name| fold(name) == folded);
        let is_identity = identity_names().any(|name| name == folded);
        let clash = match purpose {
            _ if TAKEN.contains(&folded.as_str()) => Some("has a meaning of its own in HTTP"),
            Purpose::Identity | Purpose::Proof if is_credential => Some("carries credentials"),
            Purpose::Proof | Purpose::Key if is_identity => Some("is an identity header of a known sign-in proxy"),
            Purpose::Identity | Purpose::Proof | Purpose::Key => None,
        };
        if let Some(clash) = clash {
            let message = format!("`{path}` names a header that {clash}: {}", literal(name));
            report.error(path, message, "choose a name of its own");
            return None;
        }
        self.0.push((header.clone(), purpose, path.clone()));
        Some(header)
    }

    /// Refuses one header for two things. Two keys may share one, and so may the proofs of two listeners: they are removed
    /// alike.
    pub(super) fn check(&self, report: &mut Report) {
        for (at, (name, purpose, path)) in self.0.iter().enumerate() {
            let mut before = self.0.iter().take(at);
            let same = before.find(|(other, other_purpose, _)| {
                fold(other) == fold(name) && (purpose != other_purpose || *purpose == Purpose::Identity)
            });
            if let Some((_, _, first)) = same {
                let message = format!("`{path}` and `{first}` name the same header: `{name}`");
                report.error(path, message, "give each a header of its own");
            }
        }
    }
}

/// Case, `_` and `-` are one to many servers.
fn fold(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}
