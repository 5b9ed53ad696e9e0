//! Every way to say no: a stable code, a status, a sentence for the client, a cause for the log.

pub mod audit;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::HeaderName;

/// The refusal's code, on every refusal, and on nothing that LiteLLM says.
pub const HEADER: HeaderName = HeaderName::from_static("x-vestibule-refusal");

/// A refusal: what the client may know is its code, the rest is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", .code.as_str(), .header.as_ref().map_or_else(String::new, |header| format!(": `{header}`")))]
pub struct Refusal {
    code: Code,
    header: Option<HeaderName>,
    retry_after: Option<Duration>,
    #[source]
    cause: Option<Box<dyn Error + Send + Sync>>,
    person: Option<Box<Whose>>,
}

/// The user that a refusal turned away.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Whose {
    /// The sign-in source.
    pub issuer: Arc<str>,
    /// The id there.
    pub subject: String,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal $status:ident $message:literal $remedy:literal;)+) => {
        /// The kinds of refusal. Callers may rely on the code; it never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[doc = $doc])+ $variant,)+ }

        impl Code {
            /// All of them, by theme, as `docs/refusals.md` lists them. In which order they are checked, `docs/request.md` says.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The stable code.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The status of the answer.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// The sentence that the client sees.
            pub fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)+ }
            }

            /// What it means, for the first table of `docs/refusals.md`.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// What to do, for the operator: `vestibule explain` tells it, and the second table of `docs/refusals.md`.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)+ }
            }
        }
    };
}

codes! {
    /// The head is not written as HTTP/1.1 asks: a bare line feed, a control, a name that is none, an odd request line.
    BadHead = "bad_head" BAD_REQUEST "The request is not written as HTTP/1.1 asks."
        "Mend the client, or whatever stands between it and vestibule: the log names the line. Nothing can be set to let it through.";
    /// The head is longer than `limits.header_bytes`, or has more fields than `limits.headers`.
    HeaderTooLarge = "header_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE "The request's headers are too large."
        "Most often the sign-in proxy's cookies or many groups: send fewer headers, or raise `limits.header_bytes` or `limits.headers`.";
    /// The head did not come within `limits.header_timeout`.
    HeaderTimeout = "header_timeout" REQUEST_TIMEOUT "The request's headers did not come in time."
        "A slow client, or a port scan. Raise `limits.header_timeout` where clients are that slow.";
    /// CONNECT, TRACE and PRI are never proxied.
    MethodNotAllowed = "method_not_allowed" METHOD_NOT_ALLOWED "This method is not proxied."
        "Send another method. A forward proxy for CONNECT is another program.";
    /// The Host header is missing, repeated, not a host, or differs from an absolute target.
    BadHost = "bad_host" BAD_REQUEST "The Host header is missing, repeated or not a host."
        "Have the sign-in proxy send one Host header: the public name, or LiteLLM's.";
    /// The target is neither a path nor `*` with OPTIONS, or holds what servers read differently: a fragment, a broken percent escape, `%00`, a way above the root, another scheme than `http`.
    BadTarget = "bad_target" BAD_REQUEST "The request's target is not a path."
        "Mend the client: send a path without a fragment, with whole escapes, that does not lead above the root.";
    /// The target is longer than `limits.target_bytes`.
    TargetTooLong = "target_too_long" URI_TOO_LONG "The request's target is too long."
        "Shorten the query, or raise `limits.target_bytes`.";
    /// What frames the body is doubled or contradictory (`Content-Length` twice or beside `Transfer-Encoding`, a coding other than `chunked`, a body beside an upgrade), or the body is not what it said.
    BadFraming = "bad_framing" BAD_REQUEST "The request's body is not framed as it says."
        "Mend the client, or whatever stands between it and vestibule: the log names the line. Nothing can be set to let it through.";
    /// The body was silent for `limits.body_timeout`, or kept us waiting so long by coming more slowly than `limits.body_rate`.
    BodyTimeout = "body_timeout" REQUEST_TIMEOUT "The request's body did not come in time."
        "The upload stood still or was too slow: raise `limits.body_timeout`, or lower `limits.body_rate`.";
    /// The body is longer than `limits.body_bytes`.
    BodyTooLarge = "body_too_large" PAYLOAD_TOO_LARGE "The request's body is too large."
        "Raise `limits.body_bytes`; 0 is no limit. The sign-in proxy may have a limit of its own.";
    /// The `Upgrade` header asks for HTTP/2 in clear (`h2c`), behind which requests would pass unseen. Java's `HttpClient` asks for it unless it is told `version(HTTP_1_1)`.
    BadUpgrade = "bad_upgrade" BAD_REQUEST "This change of protocol is not possible here."
        "Have the client speak HTTP/1.1 (Java: `version(HTTP_1_1)`), or drop `Upgrade: h2c` at the sign-in proxy.";
    /// The `Expect` header asks for something other than `100-continue`.
    UnknownExpectation = "unknown_expectation" EXPECTATION_FAILED "The Expect header asks for something unknown."
        "Leave the `Expect` header out, or send `100-continue`.";
    /// The request has been through vestibule before: the upstream, or something that it calls, leads back here.
    LoopDetected = "loop_detected" LOOP_DETECTED "The request has been here before."
        "`litellm.url`, or an address among LiteLLM's own models and pass-through routes, leads back to vestibule: give LiteLLM's own.";
    /// A header's name is an identity or credential name in another spelling, such as `X_Forwarded_User`, which LiteLLM's server could take for the real one.
    AliasedHeader = "aliased_header" BAD_REQUEST "A header's name is another spelling of a reserved one."
        "A client tried to pass as somebody, or a middle box writes `_` for `-`: find out which sends the header that the log names.";
    /// The `Connection` header names an identity, credential or forwarded header, or is no list of names.
    NominatedHeader = "nominated_header" BAD_REQUEST "The Connection header names a reserved header."
        "Take the name out of `Connection`: a client tried to have an identity header dropped on the way, or a middle box is wrong.";
    /// A path under `own_prefix` that vestibule does not know. It is never forwarded.
    UnknownPath = "unknown_path" NOT_FOUND "There is no such page."
        "There is no such page under `own_prefix`. Where LiteLLM has a route there, set another `own_prefix`.";
    /// One of LiteLLM's own ways to sign in or to get a key, which would go round the sign-in proxy; `ui.native_sign_in` opens those for signing in.
    ClosedDoor = "closed_door" FORBIDDEN "This way in is closed here."
        "Open the UI's pages instead: they sign in by themselves with a `public_url`. `ui.native_sign_in: true` opens LiteLLM's own ways for signing in.";
    /// The Host header is neither `public_url`'s nor among `hosts`. Add the name there if people or programs are to come by it.
    UnknownHost = "unknown_host" MISDIRECTED_REQUEST "This host is not served here."
        "Compare the `Host` that arrives with `public_url`: a gateway may write its own. Add the name to `hosts`, or have the gateway keep it.";
    /// Another site made a browser send it (`Sec-Fetch-Site`, `Origin`, `Referer`), or a browser that does not say where it comes from. Add the site to `allowed_origins` if its pages may act in people's names; programs should send no `Origin`.
    CrossSite = "cross_site" FORBIDDEN "Another site made your browser send this."
        "Look whose page sends it (`Origin`, `Referer`): a site of yours goes into `allowed_origins`. A program should send no `Origin`; a person opens `/ui/`, not an API address.";
    /// Identity headers came from a peer that `trust` does not name. Add the sign-in proxy's address, if that is what it was.
    UntrustedPeer = "untrusted_peer" FORBIDDEN "This address may not say who somebody is."
        "Compare the peer in the log with `trust.peers` (or `trust.uids`); see docs/trust.md. `vestibule explain --peer ADDRESS` shows it.";
    /// The peer's proof (secret header or basic-auth password) is missing, repeated or wrong.
    BadProof = "bad_proof" FORBIDDEN "The sign-in proxy's proof is missing or wrong."
        "The sign-in proxy must send what `trust` holds, once: compare its secret with the file. Two values may be valid while you change it.";
    /// The sign-in proxy did not answer when it was asked who somebody is, or answered with neither yes nor no. The log has its answer; see `identity.check`.
    SignInUnavailable = "sign_in_unavailable" SERVICE_UNAVAILABLE "The sign-in proxy does not answer. Try again shortly."
        "Look whether the sign-in proxy runs and `identity.check.url` is its endpoint as seen from here: 200, 202, 401, 403 and redirects are answers, anything else is none.";
    /// No identity came, and the path is not among `public_paths`. Sign in through the sign-in proxy.
    NoIdentity = "no_identity" UNAUTHORIZED "Not signed in."
        "The sign-in proxy sent no user header: is the path exempt there, is the preset the right one, is `user` under its name? Paths for everybody go into `public_paths`.";
    /// An identity header came more than once, or something before us joined several values with a comma.
    RepeatedHeader = "repeated_header" BAD_REQUEST "An identity header came more than once."
        "A client's copy came beside the sign-in proxy's: have the proxy overwrite the header, not add to it.";
    /// The user header can't be an id: undecodable, unprintable, too long, ambiguous in Unicode, or a list.
    MalformedUser = "malformed_user" BAD_REQUEST "The user header is not a user's id."
        "Look at the header that the log names: its `decoding` in `identity.headers`, `identity.max_value_bytes`, or another claim at the sign-in proxy.";
    /// The e-mail header is not one plain address.
    MalformedEmail = "malformed_email" BAD_REQUEST "The e-mail header is not an e-mail address."
        "Have the sign-in proxy send one plain address, or take `email` out of `identity.reads`.";
    /// The groups or roles header is not a list in the configured form, or is too long.
    MalformedGroups = "malformed_groups" BAD_REQUEST "The groups header is not a list of groups."
        "Compare the header with `separator` and `decoding` in `identity.headers`; raise `identity.max_groups` or `identity.max_value_bytes` for many groups.";
    /// Another identity header is undecodable, unprintable or too long.
    MalformedHeader = "malformed_header" BAD_REQUEST "An identity header can't be read."
        "Compare the header that the log names with its `decoding` in `identity.headers`, or take it out of `identity.reads`.";
    /// The id is LiteLLM's own (`default_user_id`, `litellm…`): whoever had it would be the administrator.
    ReservedId = "reserved_id" FORBIDDEN "This id is reserved."
        "Give the person another id at the sign-in source, or choose another `account.user_id`.";
    /// `deny` matched, `allow` did not, or the matching rule says `deny`.
    NotAdmitted = "not_admitted" FORBIDDEN "You may not use this service."
        "The log's cause names the entry: `deny`, `allow`, or the rule. Change it, or the person's groups.";
    /// No rule matched and `default_role` is `deny`.
    NoRole = "no_role" FORBIDDEN "You have no role here."
        "Add a rule that matches the person, or set `default_role`. Were their groups read? See `identity.reads`.";
    /// The groups header is missing and `identity.groups_required` is set.
    NoGroups = "no_groups" FORBIDDEN "Your groups did not arrive."
        "Have the sign-in proxy send the groups header, empty too; or turn `identity.groups_required` off where no rule hangs on it.";
    /// The account or its key was blocked by an admin.
    AccountBlocked = "account_blocked" FORBIDDEN "This account is blocked."
        "`vestibule users show WHO` tells since when and why; `vestibule users unblock WHO` lets them in. A block made in LiteLLM is undone there.";
    /// LiteLLM has a row with this id or e-mail that vestibule did not make. The log names the row and the remedy; see `account.adopt`.
    AccountConflict = "account_conflict" FORBIDDEN "This account belongs to somebody else."
        "If the row is theirs: `vestibule users link ISSUER SUBJECT USER_ID`, or list the way in `account.adopt`. Else rename one of the two. docs/moving.md.";
    /// The person's role was lowered; LiteLLM may still go by the old one, so calls other than to models wait until its cache has passed.
    RoleSettling = "role_settling" SERVICE_UNAVAILABLE "Your role has just changed. Try again shortly."
        "Wait: Retry-After says how long. `litellm.cache_ttl` must be LiteLLM's cache time, not more.";
    /// The database is away and the person is new, changed, or not seen within `session.offline_grace`.
    StoreUnavailable = "store_unavailable" SERVICE_UNAVAILABLE "The account store does not answer. Try again shortly."
        "See the log and `/readyz`: `vestibule check --connect` asks Postgres what is wrong.";
    /// LiteLLM did not know the session key any more; a new one has been made. Send the request again.
    SessionRenewed = "session_renewed" SERVICE_UNAVAILABLE "The session was renewed. Send the request again."
        "Send the request again. Should it come often, somebody or something deletes keys in LiteLLM.";
    /// What came as a key is a placeholder of the admin UI's that is not this person's, or whose session has ended: somebody signed out, or signed in as somebody else in the same browser. Loading the page again signs in.
    DeadPlaceholder = "dead_placeholder" UNAUTHORIZED "This session has ended. Load the page again."
        "Load the page again: it signs in. Often somebody else has signed in in the same browser, or the session was revoked.";
    /// `client_keys: pass`, but the request has no usable key, or several; or a gateway asks, and a key stands where the gateway does not take it off (`forward_auth.gateway_removes`).
    CallerKey = "caller_key" UNAUTHORIZED "Send exactly one key that begins with sk-, in Authorization, or none."
        "Send one `Authorization: Bearer sk-…` and no other key header. Behind a gateway: have it take the header that the log names off, and list it in `forward_auth.gateway_removes`.";
    /// A gateway asks, and an identity header or one that LiteLLM believes came along, which the gateway would hand on. Have it take the header off, and list it in `forward_auth.gateway_removes`.
    UnremovedHeader = "unremoved_header" FORBIDDEN "A reserved header came with the request."
        "Have the gateway take the header that the log names off every request, and list it in `forward_auth.gateway_removes`.";
    /// A gateway asks without saying once each what it asks about: the address, the method and the host. docs/forward-auth.md has the headers for each kind.
    NoOriginal = "no_original" FORBIDDEN "The gateway does not say what it asks about."
        "Compare the gateway's configuration with the one in `deploy/`: it has to set the header that the log names, once, on what it asks.";
    /// The person has `limits.in_flight_per_person` requests running, or was signed in to the admin UI with 15 browsers within a minute.
    TooManyRequests = "too_many_requests" TOO_MANY_REQUESTS "Too many requests of yours at once."
        "Wait for running requests, or raise `limits.in_flight_per_person`.";
    /// `limits.in_flight` requests are running.
    Overloaded = "overloaded" SERVICE_UNAVAILABLE "Too many requests are running. Try again shortly."
        "Raise `limits.in_flight`, or add replicas.";
    /// LiteLLM can't be reached.
    UpstreamUnreachable = "upstream_unreachable" BAD_GATEWAY "The LLM proxy can't be reached."
        "Does LiteLLM run, and is `litellm.url` its address from here? `vestibule check --connect` asks.";
    /// LiteLLM's answer was broken, or the connection ended before it began.
    UpstreamFailed = "upstream_failed" BAD_GATEWAY "The LLM proxy's answer could not be read."
        "See LiteLLM's log at that time: it crashed, restarted, or closed an idle connection (`limits.upstream_idle_timeout`).";
    /// LiteLLM did not accept the connection, or did not begin to answer, in time.
    UpstreamTimeout = "upstream_timeout" GATEWAY_TIMEOUT "The LLM proxy did not answer in time."
        "Raise `limits.upstream_first_byte_timeout` for slow models, or `limits.upstream_connect_timeout`.";
    /// vestibule met a case that should be impossible, and forwarded nothing. The log names it; please report it.
    InternalError = "internal_error" INTERNAL_SERVER_ERROR "Something went wrong in the proxy."
        "Report it with the log line that has its request id: no setting leads here.";
}

// === impl Code ===

impl Code {
    /// Whether it says something of the user, for the audit, and not of their request or of the moment.
    pub fn is_about_the_person(self) -> bool {
        matches!(
            self,
            Self::ReservedId
                | Self::NotAdmitted
                | Self::NoRole
                | Self::NoGroups
                | Self::AccountBlocked
                | Self::AccountConflict
                | Self::RoleSettling
        )
    }

    /// Whether the downstream connection must close after the answer: the rest of what it sent can't be trusted.
    pub fn closes(self) -> bool {
        matches!(
            self,
            Self::BadHead
                | Self::HeaderTooLarge
                | Self::HeaderTimeout
                | Self::BadFraming
                | Self::BadHost
                | Self::BodyTooLarge
                | Self::BodyTimeout
                | Self::BadUpgrade
                // What follows a CONNECT is no request.
                | Self::MethodNotAllowed
        )
    }
}

// === impl Refusal ===

impl Refusal {
    /// A case that earlier code has excluded. It is a bug, and refused, since it could let anything through. `what` goes to
    /// the log.
    pub fn impossible(what: &'static str) -> Self {
        debug_assert!(false, "{what}");
        Self::from(Code::InternalError).because(what)
    }

    /// The header that it is about.
    #[must_use]
    pub fn about(mut self, header: HeaderName) -> Self {
        self.header = Some(header);
        self
    }

    /// When the client may try again. Rounded up to a second on the wire.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What lies behind it, for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The user that it turns away.
    #[must_use]
    pub fn of(mut self, issuer: &Arc<str>, subject: &str) -> Self {
        self.person = Some(Box::new(Whose { issuer: issuer.clone(), subject: subject.to_owned() }));
        self
    }

    /// The user that it turns away, where one was recognised.
    pub fn person(&self) -> Option<&Whose> {
        self.person.as_deref()
    }

    /// The kind.
    pub fn code(&self) -> Code {
        self.code
    }

    /// When the client may try again.
    pub fn wait(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { code, header: None, retry_after: None, cause: None, person: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_refuse() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code:?}");
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(code.meaning().ends_with('.') && code.message().ends_with('.'), "{code:?}");
        }
    }

    #[test]
    fn every_code_has_its_row_in_the_reference() {
        let row = |code: &Code| format!("| `{}` | {} | {} |", code.as_str(), code.status().as_u16(), code.meaning());
        let rows = Code::ALL.iter().map(row).collect::<Vec<_>>().join("\n");
        let page = include_str!("../docs/refusals.md");
        assert!(page.contains(&rows), "docs/refusals.md should have exactly these rows:\n{rows}");
    }

    #[test]
    fn every_code_has_what_to_do_in_the_reference() {
        let row = |code: &Code| format!("| `{}` | {} |", code.as_str(), code.remedy());
        let rows = Code::ALL.iter().map(row).collect::<Vec<_>>().join("\n");
        let page = include_str!("../docs/refusals.md");
        assert!(page.contains(&rows), "docs/refusals.md should have exactly these rows:\n{rows}");
        assert!(Code::ALL.iter().all(|code| code.remedy().ends_with('.')));
    }
}
