//! What is known before the whole decision is made: each of its stages that needs no other service, one by one.

use crate::config::{Attribute, Config, Listen};
use crate::identity::peer::Peer;
use crate::identity::read::{Identity, IdentityReader};
use crate::identity::trust::PeerTrust;
use crate::refusal::{Code, Refusal};
use crate::request_info::RequestInfo;
use crate::store::UserProfile;
use crate::telemetry::logs::chain;

/// What is known before the whole decision is made: why the peer is trusted, what the headers say, and where the rules stand.
pub(super) struct Stages {
    pub(super) peer: String,
    /// Why it is, or why it is not.
    pub(super) trust: Result<String, String>,
    /// Of each attribute that is read its header, and the value.
    pub(super) identity: Vec<(&'static str, String, Option<String>)>,
    /// For each rule its place in the file, and what it says.
    pub(super) rules: Vec<(String, String)>,
}

// === impl Stages ===

impl Stages {
    /// Asks the decision's own stages, one by one.
    pub(super) fn of(config: &Config, file: Option<&str>, peer: &Peer, info: &RequestInfo<'_>) -> Self {
        let trust = PeerTrust::new(config.trust.clone(), matches!(config.listen, Listen::Unix { .. }));
        let reader = IdentityReader::new(config.identity.clone());
        let trusted = trust.check(peer, info);
        let person = trusted.as_ref().ok().and_then(|proxy| reader.read(proxy, &info.identity_values()).ok());
        let person = person.as_ref().map(Identity::person);
        let identity = Attribute::ALL.into_iter().filter_map(|attribute| {
            let header = config.identity.reads.get(&attribute)?.name.to_string();
            Some((attribute.name(), header, person.and_then(|person| value(attribute, person))))
        });
        let rules = config.rules.rules.iter().enumerate().map(|(at, rule)| {
            let place = match (file, rule.line) {
                (Some(file), Some(line)) => format!("rules[{at}], {file}:{line}"),
                _ => format!("rules[{at}]"),
            };
            (place, rule.when.to_string())
        });
        Self {
            peer: peer.to_string(),
            identity: identity.collect(),
            rules: rules.collect(),
            trust: trusted.map(|_| why(config, peer)).map_err(|refusal| why_not(config, &refusal)),
        }
    }
}

/// By which rules a peer is trusted, in words.
fn why(config: &Config, peer: &Peer) -> String {
    let trust = &config.trust;
    let range = |ip| trust.peers.iter().find(|range| range.contains(ip));
    let held = match peer {
        Peer::Tcp { ip, .. } => range(ip).map(|range| format!("`trust.peers` has {range}")),
        Peer::Unix { uid } if trust.uids.contains(uid) => Some(format!("`trust.uids` has {uid}")),
        Peer::Unix { .. } => Some("the unix socket's mode says who may connect".to_owned()),
    };
    let mut held: Vec<String> = held.into_iter().collect();
    held.extend(trust.secret_header.as_ref().map(|proof| format!("the proof in `{}` is right", proof.name)));
    if trust.basic_auth_password.is_some() {
        held.push("the basic-auth password is right".to_owned());
    }
    held.join("; ")
}

/// What it would have needed.
fn why_not(config: &Config, refusal: &Refusal) -> String {
    if refusal.code() == Code::BadProof {
        return chain(refusal);
    }
    let trust = &config.trust;
    let listed =
        |what: &str, items: Vec<String>| (!items.is_empty()).then(|| format!("`{what}` has {}", items.join(", ")));
    let peers = listed("trust.peers", trust.peers.iter().map(ToString::to_string).collect());
    let uids = listed("trust.uids", trust.uids.iter().map(ToString::to_string).collect());
    peers.or(uids).map_or_else(|| chain(refusal), |listed| format!("{refusal}, {listed} alone"))
}

fn value(attribute: Attribute, person: &UserProfile) -> Option<String> {
    let groups = |is_role: bool| {
        let of = |group: &&String| group.starts_with("role:") == is_role;
        Some(person.groups.iter().filter(of).cloned().collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
    };
    match attribute {
        Attribute::User => Some(person.subject.clone()),
        Attribute::Email => person.email.clone(),
        Attribute::PreferredUsername => person.preferred_username.clone(),
        Attribute::Name => person.display_name.clone(),
        Attribute::FirstName => person.first_name.clone(),
        Attribute::LastName => person.last_name.clone(),
        Attribute::Picture => person.picture.clone(),
        Attribute::Groups => groups(false),
        Attribute::Roles => groups(true),
    }
}
