//! What the operator can do about each refusal: for `vestibule explain` and the second table of `docs/refusals.md`.

use super::Code;

impl Code {
    /// What to do, for the operator.
    #[expect(clippy::too_many_lines, reason = "one line a code")]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::BadHead | Self::BadFraming => {
                "Mend the client, or whatever stands between it and vestibule: the log names the line. Nothing can be set to let it through."
            }
            Self::HeaderTooLarge => {
                "Most often the sign-in proxy's cookies or many groups: send fewer headers, or raise `limits.header_bytes` or `limits.headers`."
            }
            Self::HeaderTimeout => {
                "A slow client, or a port scan. Raise `limits.header_timeout` where clients are that slow."
            }
            Self::MethodNotAllowed => "Send another method. A forward proxy for CONNECT is another program.",
            Self::BadHost => "Have the sign-in proxy send one Host header: the public name, or LiteLLM's.",
            Self::BadTarget => {
                "Mend the client: send a path without a fragment, with whole escapes, that does not lead above the root."
            }
            Self::TargetTooLong => "Shorten the query, or raise `limits.target_bytes`.",
            Self::BodyTimeout => {
                "The upload stood still or was too slow: raise `limits.body_timeout`, or lower `limits.body_rate`."
            }
            Self::BodyTooLarge => {
                "Raise `limits.body_bytes`; 0 is no limit. The sign-in proxy may have a limit of its own."
            }
            Self::BadUpgrade => {
                "Have the client speak HTTP/1.1 (Java: `version(HTTP_1_1)`), or drop `Upgrade: h2c` at the sign-in proxy."
            }
            Self::UnknownExpectation => "Leave the `Expect` header out, or send `100-continue`.",
            Self::LoopDetected => {
                "`litellm.url`, or an address among LiteLLM's own models and pass-through routes, leads back to vestibule: give LiteLLM's own."
            }
            Self::AliasedHeader => {
                "A client tried to pass as somebody, or a middle box writes `_` for `-`: find out which sends the header that the log names."
            }
            Self::NominatedHeader => {
                "Take the name out of `Connection`: a client tried to have an identity header dropped on the way, or a middle box is wrong."
            }
            Self::UnknownPath => {
                "There is no such page under `own_prefix`. Where LiteLLM has a route there, set another `own_prefix`."
            }
            Self::ClosedDoor => {
                "Open the UI's pages instead: they sign in by themselves with a `public_url`. `ui.native_sign_in: true` opens LiteLLM's own ways for signing in."
            }
            Self::UnknownHost => {
                "Compare the `Host` that arrives with `public_url`: a gateway may write its own. Add the name to `hosts`, or have the gateway keep it."
            }
            Self::CrossSite => {
                "Look whose page sends it (`Origin`, `Referer`): a site of yours goes into `allowed_origins`. A program should send no `Origin`; a person opens `/ui/`, not an API address."
            }
            Self::UntrustedPeer => {
                "Compare the peer in the log with `trust.peers` (or `trust.uids`); see docs/trust.md. `vestibule explain --peer ADDRESS` shows it."
            }
            Self::BadProof => {
                "The sign-in proxy must send what `trust` holds, once: compare its secret with the file. Two values may be valid while you change it."
            }
            Self::NoIdentity => {
                "The sign-in proxy sent no user header: is the path exempt there, is the preset the right one, is `user` under its name? Paths for everybody go into `public_paths`."
            }
            Self::RepeatedHeader => {
                "A client's copy came beside the sign-in proxy's: have the proxy overwrite the header, not add to it."
            }
            Self::MalformedUser => {
                "Look at the header that the log names: its `decoding` in `identity.headers`, `identity.max_value_bytes`, or another claim at the sign-in proxy."
            }
            Self::MalformedEmail => {
                "Have the sign-in proxy send one plain address, or take `email` out of `identity.reads`."
            }
            Self::MalformedGroups => {
                "Compare the header with `separator` and `decoding` in `identity.headers`; raise `identity.max_groups` or `identity.max_value_bytes` for many groups."
            }
            Self::MalformedHeader => {
                "Compare the header that the log names with its `decoding` in `identity.headers`, or take it out of `identity.reads`."
            }
            Self::ReservedId => {
                "Give the person another id at the sign-in source, or choose another `account.user_id`."
            }
            Self::NotAdmitted => {
                "The log's cause names the entry: `deny`, `allow`, or the rule. Change it, or the person's groups."
            }
            Self::NoRole => {
                "Add a rule that matches the person, or set `default_role`. Were their groups read? See `identity.reads`."
            }
            Self::NoGroups => {
                "Have the sign-in proxy send the groups header, empty too; or turn `identity.groups_required` off where no rule hangs on it."
            }
            Self::AccountBlocked => {
                "`vestibule users show WHO` tells since when and why; `vestibule users unblock WHO` lets them in. A block made in LiteLLM is undone there."
            }
            Self::AccountConflict => {
                "If the row is theirs: `vestibule users link ISSUER SUBJECT USER_ID`, or list the way in `account.adopt`. Else rename one of the two. docs/moving.md."
            }
            Self::RoleSettling => {
                "Wait: Retry-After says how long. `litellm.cache_ttl` must be LiteLLM's cache time, not more."
            }
            Self::StoreUnavailable => {
                "See the log and `/readyz`: `vestibule check --connect` asks Postgres what is wrong."
            }
            Self::SessionRenewed => {
                "Send the request again. Should it come often, somebody or something deletes keys in LiteLLM."
            }
            Self::DeadPlaceholder => {
                "Load the page again: it signs in. Often somebody else has signed in in the same browser, or the session was revoked."
            }
            Self::CallerKey => {
                "Send one `Authorization: Bearer sk-…` and no other key header. Behind a gateway: have it take the header that the log names off, and list it in `forward_auth.gateway_removes`."
            }
            Self::UnremovedHeader => {
                "Have the gateway take the header that the log names off every request, and list it in `forward_auth.gateway_removes`."
            }
            Self::NoOriginal => {
                "Compare the gateway's configuration with the one in `deploy/`: it has to set the header that the log names, once, on what it asks."
            }
            Self::SignInUnavailable => {
                "Look whether the sign-in proxy runs and `identity.check.url` is its endpoint as seen from here: 200, 202, 401, 403 and redirects are answers, anything else is none."
            }
            Self::TooManyRequests => "Wait for running requests, or raise `limits.in_flight_per_person`.",
            Self::Overloaded => "Raise `limits.in_flight`, or add replicas.",
            Self::UpstreamUnreachable => {
                "Does LiteLLM run, and is `litellm.url` its address from here? `vestibule check --connect` asks."
            }
            Self::UpstreamFailed => {
                "See LiteLLM's log at that time: it crashed, restarted, or closed an idle connection (`limits.upstream_idle_timeout`)."
            }
            Self::UpstreamTimeout => {
                "Raise `limits.upstream_first_byte_timeout` for slow models, or `limits.upstream_connect_timeout`."
            }
            Self::InternalError => "Report it with the log line that has its request id: no setting leads here.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_what_to_do_in_the_reference() {
        let row = |code: &Code| format!("| `{}` | {} |", code.as_str(), code.remedy());
        let rows = Code::ALL.iter().map(row).collect::<Vec<_>>().join("\n");
        let page = include_str!("../../docs/refusals.md");
        assert!(page.contains(&rows), "docs/refusals.md should have exactly these rows:\n{rows}");
        assert!(Code::ALL.iter().all(|code| code.remedy().ends_with('.')));
    }
}
