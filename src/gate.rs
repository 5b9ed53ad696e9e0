//! The request's way: peer → trust → identity → grant → session → passage.
//!
//! [`Gate::admit`] shows the whole order. Each stage takes the result of the one before, which nothing else can make, and
//! looks at the request's head alone, never at its body: so the proxy and a forward-auth target make the same decision.

pub mod grant;
pub mod identity;
pub mod ledger;
pub mod origin;
pub mod passage;
pub mod peer;
pub mod recognition;
pub mod refusal;
pub mod remains;
pub mod session;
pub mod source;
pub mod trust;

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{ClientKeys, CookieKind, IdentityRules, Litellm, PublicPaths, SecretHeader};
use crate::http::head::{self, BadHead};
use crate::http::names::{BadName, Owned, Owner};
use crate::http::{forwarded, hop, request_id};
use crate::litellm::{credentials, routes, ui};
use crate::secret::PLACEHOLDER_PREFIX;
use origin::Origins;
use passage::{Admitted, OwnKey, Passage, Public};
use peer::Peer;
use recognition::Recognition;
use refusal::{Code, Refusal};
use remains::Remains;
use session::{Session, Sessions, Shown};
use source::Source;
use trust::{Trust, TrustedPeer};

/// What a person with too many requests running is told to wait.
const CROWDED_RETRY: Duration = Duration::from_secs(1);

/// The gate of one listener.
pub struct Gate {
    trust: Trust,
    source: Arc<Source>,
    recognition: Arc<Recognition>,
    sessions: Sessions,
    owned: Arc<Owned>,
    doors: Doors,
    /// What a gateway hands on by itself, where one asks.
    remains: Option<Remains>,
}

/// What the gate goes by besides trust, identity and rules.
#[derive(Debug, Clone)]
pub struct Doors {
    /// What becomes of a caller's own key.
    pub client_keys: ClientKeys,
    /// Headers that LiteLLM was configured to read keys from.
    pub key_headers: Vec<HeaderName>,
    /// Paths that need no identity.
    pub public_paths: PublicPaths,
    /// Prefixes of vestibule's own paths, as they may arrive.
    pub own_prefixes: Vec<String>,
    /// Where requests may come from, and the own paths that there are.
    pub origins: Origins,
    /// LiteLLM's ways in that are closed.
    pub closed: Vec<String>,
    /// What the admin UI's cookie holds.
    pub cookie_key: CookieKind,
    /// Bytes of a target.
    pub target_bytes: usize,
    /// Requests in flight of one person; 0 = no limit.
    pub in_flight_per_person: usize,
}

// === impl Gate ===

impl Gate {
    /// Takes the stages, ready to be asked.
    pub fn new(
        trust: Trust,
        source: Arc<Source>,
        recognition: Arc<Recognition>,
        sessions: Sessions,
        owned: Arc<Owned>,
        doors: Doors,
    ) -> Self {
        Self { trust, source, recognition, sessions, owned, doors, remains: None }
    }

    /// The same decision for a gateway that asks: for other peers, and mindful of what the gateway hands on by itself. There
    /// are no public paths, which have no key to answer with, and none of our own pages: a yes would lead to LiteLLM's.
    #[must_use]
    pub fn for_gateway(&self, trust: Trust, remains: Remains) -> Self {
        Self {
            trust,
            source: self.source.clone(),
            recognition: self.recognition.clone(),
            sessions: self.sessions.clone(),
            owned: self.owned.clone(),
            doors: Doors {
                public_paths: PublicPaths::default(),
                origins: Origins { own_pages: Vec::new(), signs_in: false, ..self.doors.origins.clone() },
                ..self.doors.clone()
            },
            remains: Some(remains),
        }
    }

    /// The whole decision over a request.
    pub async fn admit(&self, peer: &Peer, head: &Parts) -> Result<Admitted, Refusal> {
        self.look_at(head)?;
        let path = head.uri.path();
        if let Some(remains) = &self.remains {
            remains.check(head, self.doors.origins.below_root(path), &self.owned)?;
        }
        let speaker = self.trust.admit(peer, &head.headers);
        let is_from_trusted = speaker.is_ok();
        let without_person = |passage| Ok(Admitted { passage, is_from_trusted, place: None, recognised: None });

        if let Some(public) = Public::find(&self.doors.public_paths, path) {
            return without_person(Passage::Public(public));
        }
        self.doors.origins.check(head, is_from_trusted)?;
        let said = self.source.said(speaker.as_ref().ok(), head).await?;
        if !self.recognition.is_asserted(&said) {
            return match self.doors.client_keys {
                ClientKeys::Pass => match OwnKey::take(&head.headers, &self.doors.key_headers) {
                    Ok(own) => without_person(Passage::OwnKey(own)),
                    Err(refusal) if refusal.code() == Code::NoIdentity => Err(self.source.nobody(speaker, &said)),
                    Err(refusal) => Err(refusal),
                },
                ClientKeys::Strip => Err(self.source.nobody(speaker, &said)),
            };
        }
        let speaker = speaker?;
        let recognised = self.recognition.recognise(&speaker, &said).map_err(|refusal| {
            if refusal.code() == Code::NoIdentity { self.source.nobody(Ok(speaker), &said) } else { refusal }
        })?;
        let session = self.sessions.open(&recognised.identity, &recognised.grant).await?;
        let (is_own, path) = (self.doors.origins.is_own(path), self.doors.origins.below_root(path));
        if !is_own && path != ui::LOGOUT_PATH {
            session.settled_for(path)?;
        }
        let session = self.browsing(session, head, path).await?;
        let place = session
            .enter(self.doors.in_flight_per_person)
            .ok_or_else(|| Refusal::from(Code::TooManyRequests).retry_after(CROWDED_RETRY))?;
        Ok(Admitted {
            passage: Passage::As(session),
            is_from_trusted,
            place: Some(place),
            recognised: Some(recognised),
        })
    }

    /// The session of the browser that shows a placeholder, or a key of one. On the models' routes the person's own budget
    /// counts, which LiteLLM does not apply to a browser's key.
    async fn browsing(&self, session: Session, head: &Parts, path: &str) -> Result<Session, Refusal> {
        let mut browsing = None;
        for key in credentials::keys_in(&head.headers, &self.doors.key_headers) {
            if key.starts_with(PLACEHOLDER_PREFIX) {
                browsing = Some(self.sessions.browse(session.clone(), key).await?);
            } else if self.doors.cookie_key == CookieKind::Real {
                if let Shown::Living(living) = self.sessions.shown(&session, key) {
                    browsing = Some(living);
                } else if self.doors.origins.is_from_our_page(head) {
                    return Err(Code::DeadPlaceholder.into());
                }
            }
        }
        let session = browsing.unwrap_or(session);
        Ok(if routes::is_model_route(path) { session.with_api_key() } else { session })
    }

    /// Whether a peer is one whose word counts here.
    pub fn speaker<'a>(&self, peer: &'a Peer, headers: &HeaderMap) -> Result<TrustedPeer<'a>, Refusal> {
        self.trust.admit(peer, headers)
    }

    /// Where requests may come from.
    pub fn origins(&self) -> &Origins {
        &self.doors.origins
    }

    /// The answer to a CORS preflight, after what no request may have; `None` for any other request.
    pub fn preflight(&self, head: &Parts) -> Option<Result<HeaderValue, Refusal>> {
        let granted = self.doors.origins.preflight(head)?;
        Some(self.look_at(head).and(granted))
    }

    /// The sessions, for a key that LiteLLM refused.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// What no passage may have, whoever asks.
    fn look_at(&self, request: &Parts) -> Result<(), Refusal> {
        head::check(request, self.doors.target_bytes).map_err(|bad| {
            Refusal::from(match bad {
                BadHead::Method => Code::MethodNotAllowed,
                BadHead::Target => Code::BadTarget,
                BadHead::TargetTooLong => Code::TargetTooLong,
                BadHead::Host => Code::BadHost,
                BadHead::Expectation => Code::UnknownExpectation,
            })
        })?;
        if forwarded::is_loop(&request.headers) {
            return Err(Code::LoopDetected.into());
        }
        self.owned.check(&request.headers).map_err(|bad| match bad {
            BadName::Aliased(name) => Refusal::from(Code::AliasedHeader).about(name),
            BadName::Nominated(name) => Refusal::from(Code::NominatedHeader).about(name),
            BadName::Connection => Code::NominatedHeader.into(),
        })?;
        let (doors, path) = (&self.doors, request.uri.path());
        if doors.origins.is_own(path) || !routes::is_below_any(path, doors.own_prefixes.iter().chain(&doors.closed)) {
            return Ok(());
        }
        // One walk for both: nearly no path is either.
        if routes::is_below_any(path, doors.own_prefixes.iter()) {
            return Err(Code::UnknownPath.into());
        }
        if !doors.origins.signs_in(request) {
            return Err(Code::ClosedDoor.into());
        }
        Ok(())
    }
}

/// The names that never pass as they came, identity first: the first owner of a name stays.
pub fn owned_names<'a>(
    identity: &IdentityRules,
    proofs: impl IntoIterator<Item = &'a SecretHeader>,
    litellm: &Litellm,
) -> Owned {
    let mut owned = Owned::default();
    for rule in identity.reads.values() {
        owned.add(rule.name.clone(), Owner::Identity);
    }
    for proof in proofs {
        owned.add(proof.name.clone(), Owner::Credential);
    }
    credentials::own(&mut owned, key_headers(litellm));
    for name in &identity.all_names {
        owned.add(name.clone(), Owner::Identity);
    }
    for name in forwarded::OURS.into_iter().chain([request_id::NAME, refusal::HEADER, http::header::EXPECT]) {
        owned.add(name, Owner::Ours);
    }
    for name in hop::HOP_BY_HOP {
        owned.add(name, Owner::Hop);
    }
    owned
}

/// Headers that this LiteLLM reads keys from besides its usual ones.
pub fn key_headers(litellm: &Litellm) -> Vec<HeaderName> {
    litellm.key_header.iter().chain(&litellm.pass_through_key_headers).cloned().collect()
}
