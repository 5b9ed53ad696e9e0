//! Who may say who somebody is, and which gateways may ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use secrecy::{ExposeSecret, SecretString};

use crate::config::check::headers::{Headers, Purpose};
use crate::config::check::values::{flag, secret};
use crate::config::problem::{KeyPath, literal};
use crate::config::raw::{List, RawSecretHeader, RawTrust, Scalar};
use crate::config::report::Report;
use crate::config::{Listen, SecretHeader, TrustRules, UpstreamAddress};

/// Fewest bytes of a proof in a header.
const PROOF_BYTES_MIN: usize = 32;
/// Most proofs at once: the one in use, and the next.
const PROOFS_MAX: usize = 2;
/// Fewest bytes of the password of basic auth.
const PASSWORD_BYTES_MIN: usize = 16;

/// A listener's rules: where they stand in the file, and whom they let do what.
pub(super) struct Place {
    /// The section.
    at: &'static str,
    /// Before `listen` and `listen_mode`.
    listener: &'static str,
    /// Who is to be named.
    who: &'static str,
    /// What nobody else may do.
    may: &'static str,
    /// What else can be set than `peers` and `secret_header`.
    or_else: &'static str,
    /// How everybody can be let do it.
    everybody: &'static str,
}

/// Who may say who somebody is.
pub(super) const SPEAKERS: Place = Place {
    at: "trust",
    listener: "",
    who: "the sign-in proxy's",
    may: "say who they are",
    or_else: " or `trust.basic_auth_password_file`",
    everybody: "; `trust.everybody_may_be_anybody: true` allows it all the same, and means what it says",
};

/// Which gateways may ask.
pub(super) const GATEWAYS: Place = Place {
    at: "forward_auth",
    listener: "forward_auth.",
    who: "the gateway's",
    may: "ask for keys",
    or_else: "",
    everybody: "",
};

/// The rules of a listener. Without any nobody is believed, and nothing starts.
pub(super) fn trust(
    raw: RawTrust,
    place: &Place,
    listen: Option<&Listen>,
    upstream: Option<&UpstreamAddress>,
    headers: &mut Headers,
    report: &mut Report,
) -> TrustRules {
    let at = place.at;
    let everybody = flag(&format!("{at}.everybody_may_be_anybody"), raw.everybody_may_be_anybody.as_ref(), report);
    let shared = flag(&format!("{at}.accept_shared_loopback"), raw.accept_shared_loopback.as_ref(), report);
    let trust = TrustRules {
        peers: peers(at, raw.peers.unwrap_or_default(), report),
        uids: uids(at, raw.uids.unwrap_or_default(), report),
        secret_header: raw.secret_header.and_then(|raw| secret_header(at, raw, headers, report)),
        basic_auth_password: {
            let (inline, file) = (raw.basic_auth_password, raw.basic_auth_password_file);
            secret(&format!("{at}.basic_auth_password"), inline, file, report).and_then(|(secret, from)| {
                let reach = secret.expose_secret().len() >= PASSWORD_BYTES_MIN;
                if !reach {
                    let message = format!("`{from}` gives a password that is too short");
                    report.error(&from, message, format!("at least {PASSWORD_BYTES_MIN} bytes"));
                }
                reach.then_some(secret)
            })
        },
    };
    if everyone(&trust.peers) && !everybody {
        let remedy = format!("name {} addresses{}", place.who, place.everybody);
        report.error(place.key("peers"), format!("`{at}.peers` lets everybody {}", place.may), remedy);
    }
    match listen {
        // Everybody includes LiteLLM: that is said, or refused, above.
        Some(Listen::Tcp(_)) => place.tcp(&trust, upstream, shared || everyone(&trust.peers), report),
        Some(Listen::Unix { mode, .. }) => place.unix(&trust, *mode, report),
        None => {}
    }
    trust
}

// === impl Place ===

impl Place {
    fn key(&self, name: &str) -> KeyPath {
        KeyPath::parse(self.at).key(name)
    }

    fn tcp(
        &self,
        trust: &TrustRules,
        upstream: Option<&UpstreamAddress>,
        shared_is_accepted: bool,
        report: &mut Report,
    ) {
        let Self { at, listener, who, may, or_else, .. } = self;
        if !trust.uids.is_empty() {
            let remedy =
                format!("TCP does not tell user ids: set `{listener}listen: unix:/path/to/socket`, or take `uids` out");
            report.error(self.key("uids"), format!("`{at}.uids` needs a unix socket"), remedy);
        }
        let has_secret = trust.secret_header.is_some() || trust.basic_auth_password.is_some();
        if trust.peers.is_empty() && !has_secret {
            let comma = if or_else.is_empty() { " or" } else { "," };
            let could = if or_else.is_empty() { may } else { "say that they are anybody" };
            let remedy = format!(
                "set `{at}.peers` to {who} addresses{comma} `{at}.secret_header`{or_else}; without any, everybody could {could}"
            );
            report.missing(KeyPath::parse(at), "no rule says whom to trust", remedy);
        }
        let shared = upstream.and_then(|upstream| shared_address(&trust.peers, upstream));
        if let Some(address) =
            shared.filter(|_| !has_secret && !shared_is_accepted && !report.is_doubtful(self.key("secret_header")))
        {
            let message = format!("`{at}.peers` is the only proof, and LiteLLM has such an address too: `{address}`");
            let remedy = format!(
                "LiteLLM's pass-through routes and MCP servers can be talked into calling vestibule: add \
                 `{at}.secret_header`, or set `{at}.accept_shared_loopback: true` where nobody but you can add such routes"
            );
            report.error(self.key("peers"), message, remedy);
        }
    }

    fn unix(&self, trust: &TrustRules, mode: u32, report: &mut Report) {
        let Self { at, listener, .. } = self;
        if !trust.peers.is_empty() {
            let remedy = format!("a unix socket has no addresses: set `{at}.uids`, or take `peers` out");
            report.error(self.key("peers"), format!("`{at}.peers` can't hold on a unix socket"), remedy);
        }
        let others = mode & 0o007 != 0;
        let has_proof = !trust.uids.is_empty() || trust.secret_header.is_some() || trust.basic_auth_password.is_some();
        if others && !has_proof {
            let message =
                format!("the socket is open to every user of this machine, and nothing else is asked: `{mode:04o}`");
            let remedy = format!("set `{at}.uids`, or a `{listener}listen_mode` of `\"0660\"` or less");
            report.missing(KeyPath::parse(&format!("{listener}listen_mode")), message, remedy);
        }
    }
}

/// The address that a peer and LiteLLM have in common. LiteLLM at a unix socket is on this machine, so it can come by
/// loopback as well.
fn shared_address(peers: &[IpNet], upstream: &UpstreamAddress) -> Option<String> {
    let covers = |address: IpAddr| peers.iter().any(|peer| peer.contains(&address));
    let loopback = || {
        let local: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let is_local =
            |peer: &&IpNet| peer.network().is_loopback() || local.iter().any(|address| peer.contains(address));
        peers.iter().find(is_local).map(ToString::to_string)
    };
    let host = match upstream {
        UpstreamAddress::Unix(_) => return loopback(),
        UpstreamAddress::Tcp { host, .. } => host,
    };
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) if address.is_loopback() || address.is_unspecified() => loopback(),
        Ok(address) => covers(address).then(|| address.to_string()),
        Err(_) if host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost") => {
            loopback()
        }
        Err(_) => None,
    }
}

/// Whether the ranges together are all of IPv4 or of IPv6.
fn everyone(peers: &[IpNet]) -> bool {
    IpNet::aggregate(&peers.to_vec()).iter().any(|peer| peer.prefix_len() == 0)
}

fn peers(section: &str, raw: List<String>, report: &mut Report) -> Vec<IpNet> {
    let mut peers = Vec::with_capacity(raw.len());
    for (at, text) in raw.into_iter().enumerate() {
        let Some(text) = text else { continue };
        let key = KeyPath::parse(section).key("peers").at(at);
        match peer(&text) {
            Ok(peer) => peers.push(peer),
            Err(remedy) => {
                report.error(&key, format!("`{key}` is not a range of addresses: {}", literal(&text)), remedy);
            }
        }
    }
    peers
}

/// A range, or a bare address for itself alone; IPv6 that stands for IPv4 becomes that.
fn peer(text: &str) -> Result<IpNet, String> {
    if text == "*" {
        return Err("name the sign-in proxy's addresses; there is no sign for everybody".to_owned());
    }
    if text.contains('%') {
        return Err("leave the zone (`%…`) out, and name the address".to_owned());
    }
    let range = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text
            .parse::<IpNet>()
            .map_err(|_| "write an address or a range, such as `10.1.2.3` or `10.1.0.0/16`".to_owned())?,
    };
    let range = match range {
        IpNet::V4(_) => range,
        IpNet::V6(v6) => match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
            (Some(v4), Some(length)) => Ipv4Net::new(v4, length).map(IpNet::V4).map_err(|error| error.to_string())?,
            (Some(_), None) => return Err("write IPv4 ranges as such, and IPv6 ranges apart from them".to_owned()),
            (None, _) => range,
        },
    };
    if range.trunc() == range {
        Ok(range)
    } else {
        Err(format!("write `{}` for the range, or `{}` for this address alone", range.trunc(), range.addr()))
    }
}

fn uids(section: &str, raw: List<Scalar>, report: &mut Report) -> Vec<u32> {
    let mut uids = Vec::with_capacity(raw.len());
    for (at, raw) in raw.into_iter().enumerate() {
        let Some(Scalar(text)) = raw else { continue };
        if let Ok(uid) = text.parse() {
            uids.push(uid);
        } else {
            let key = KeyPath::parse(section).key("uids").at(at);
            let message = format!("`{key}` is not a user id: {}", literal(&text));
            report.error(&key, message, "write the number: `id -u NAME`");
        }
    }
    uids
}

fn secret_header(
    section: &str,
    raw: RawSecretHeader,
    headers: &mut Headers,
    report: &mut Report,
) -> Option<SecretHeader> {
    let own = KeyPath::parse(section).key("secret_header");
    if raw.name.is_none() {
        let remedy = "add the name that the sign-in proxy sends it under: `name: X-Vestibule-Proof`";
        report.missing(own.key("name"), format!("`{own}` has no name"), remedy);
    }
    let name = raw.name.and_then(|name| headers.name(&own.key("name"), &name, Purpose::Proof, report));
    let (inline, file) = (raw.value, raw.value_file);
    let given = inline.is_some() || file.is_some();
    let values = match inline {
        Some(inline) if inline.is_list && file.is_none() => {
            let key = own.key("value");
            let values = inline.items.into_iter().flatten().map(|secret| secret.0);
            Some((values.collect::<Vec<_>>(), key))
        }
        inline => {
            let inline = inline.and_then(|inline| inline.items.into_iter().flatten().next());
            secret(&own.key("value").to_string(), inline, file, report).map(|(secret, from)| {
                let lines = secret.expose_secret().lines().map(str::trim).filter(|line| !line.is_empty());
                (lines.map(|line| SecretString::from(line.to_owned())).collect(), from)
            })
        }
    };
    if !given {
        let remedy = format!("set `{own}.value_file`; make a value with `openssl rand -hex 32`");
        report.missing(own.key("value"), format!("`{own}` has no value"), remedy);
    }
    let (values, from) = values?;
    if !proofs_are_sound(&values, &from, report) {
        return None;
    }
    Some(SecretHeader { name: name?, values })
}

fn proofs_are_sound(values: &[SecretString], from: &KeyPath, report: &mut Report) -> bool {
    let secrets = || values.iter().map(ExposeSecret::expose_secret);
    let fault = if values.is_empty() || values.len() > PROOFS_MAX {
        format!("one value, or {PROOFS_MAX} while the old one goes out of use")
    } else if secrets().any(|value| value.len() < PROOF_BYTES_MIN) {
        format!("at least {PROOF_BYTES_MIN} bytes each; make one with `openssl rand -hex 32`")
    } else if secrets().any(|value| !value.bytes().all(|byte| byte.is_ascii_graphic())) {
        "a header can carry letters, digits and signs of ASCII, without blanks".to_owned()
    } else {
        return true;
    };
    report.error(from, format!("`{from}` does not give a sound proof"), fault);
    false
}
