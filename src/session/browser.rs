//! The sessions of a user's browsers, and what a browser holds in place of their keys.
//!
//! They are part of what the store returns for a user, so they are as fresh as the rest of it. A placeholder that this
//! replica does not know may have been made elsewhere a moment ago: the store is asked once.

use std::time::Duration;

use tokio::time::Instant;

use super::cache::{ReadReceiver, Session, Sessions, Snapshot, is_away, landed, refuse};
use super::slot::OPENED_WITHIN;
use crate::litellm::credentials::KeyHeaders;
use crate::refusal::{Code, Refusal};
use crate::secret::{PLACEHOLDER_PREFIX, SessionKey};
use crate::store::admin::KeyTokens;
use crate::store::{IssuedKey, StoreError, UserProfile};

/// One browser's session.
pub(super) struct Browser {
    session_id: String,
    pub(super) key: KeyHeaders,
    clear: SessionKey,
    ends_at: Instant,
}

/// What a key or placeholder from a browser stands for, as far as it is known in memory.
pub enum Shown {
    /// A living session of this user's.
    Living(Session),
    /// A session of this user's, by its id, that is over or not known here.
    Over(String),
    /// Nothing of this user's.
    Foreign,
}

// === impl Browser ===

impl Browser {
    /// `None` when the key can't stand in a header, which ours can.
    pub(super) fn new(ui: IssuedKey, read_at: Instant) -> Option<Self> {
        let key = KeyHeaders::of(&ui.key)?;
        Some(Self { session_id: ui.session_id, key, clear: ui.key, ends_at: read_at + ui.expires_in })
    }
}

// === impl Session ===

impl Session {
    /// Its browser's session.
    pub(super) fn browser(&self) -> Option<&Browser> {
        self.snapshot.browsers.get(self.browser?)
    }

    /// Our id of the browser's session; `None` for a program's.
    pub fn browser_id(&self) -> Option<&str> {
        self.browser().map(|browser| browser.session_id.as_str())
    }

    /// How long the browser's session goes on.
    pub fn browser_left(&self) -> Duration {
        self.browser().map_or(Duration::ZERO, |browser| browser.ends_at.saturating_duration_since(Instant::now()))
    }

    /// LiteLLM's name for the key of the browser's session.
    pub fn browser_token(&self) -> Option<String> {
        self.browser().map(|browser| browser.clear.token())
    }

    /// The browser's key in clear, for a cookie that is to hold it.
    pub fn browser_key(&self) -> Option<&SessionKey> {
        self.browser().map(|browser| &browser.clear)
    }

    /// With the key for the API, under which the user's own budget counts.
    #[must_use]
    pub fn with_api_key(self) -> Self {
        Self { browser: None, ..self }
    }

    fn browsing(&self, is_it: impl Fn(&Browser) -> bool) -> Option<Self> {
        let now = Instant::now();
        let browser = self.snapshot.browsers.iter().position(|browser| browser.ends_at > now && is_it(browser))?;
        Some(Self { browser: Some(browser), ..self.clone() })
    }
}

// === impl Sessions ===

impl Sessions {
    /// Whether a key that a browser holds is this user's. Nothing waits.
    pub fn shown(&self, session: &Session, key: &str) -> Shown {
        if !key.starts_with(PLACEHOLDER_PREFIX) {
            let living =
                session.browsing(|browser| crate::secret::equal(browser.clear.expose().as_bytes(), key.as_bytes()));
            return living.map_or(Shown::Foreign, Shown::Living);
        }
        let account_id = &session.snapshot.opened.account_id;
        let Some(id) = self.shared.secrets.session_of(account_id, key) else { return Shown::Foreign };
        let living = session.browsing(|browser| browser.session_id == id);
        living.map_or_else(|| Shown::Over(id.to_owned()), Shown::Living)
    }

    /// The browser's session that a placeholder stands for. Refuses what is not this user's, or is over.
    pub async fn browse(&self, session: Session, placeholder: &str) -> Result<Session, Refusal> {
        match self.shown(&session, placeholder) {
            Shown::Living(browsing) => return Ok(browsing),
            Shown::Foreign => return Err(dead(&session)),
            Shown::Over(_) => {}
        }
        // A page asks for much at once: requests that come while the store is being asked wait for the same answer.
        let session = match session.slot.running(session.snapshot.fingerprint) {
            Some(receiver) if !session.slot.claim_browser_look_up() => self.landed(&session, receiver).await?,
            None if !session.slot.claim_browser_look_up() => return Err(dead(&session)),
            Some(_) | None => self.read_again(&session).await?,
        };
        match self.shown(&session, placeholder) {
            Shown::Living(browsing) => Ok(browsing),
            Shown::Over(_) | Shown::Foreign => Err(dead(&session)),
        }
    }

    /// A session for one more browser of the user's.
    pub async fn open_browser(&self, session: &Session) -> Result<Session, Refusal> {
        if !session.slot.claim_browser_opening() {
            return Err(Refusal::from(Code::TooManyRequests).retry_after(OPENED_WITHIN));
        }
        let (store, account) = (self.shared.store.clone(), session.snapshot.opened.account_id.clone());
        let opened = self.on_store(session, async move { store.open_ui(&account).await }).await?;
        let session = self.read_again(session).await?;
        session.browsing(|browser| browser.session_id == opened.session_id).ok_or_else(|| dead(&session))
    }

    /// Ends sessions of the user's; gives LiteLLM's names of their keys. See [`crate::store::Store::sign_out`].
    pub async fn sign_out(&self, session: &Session, ids: Vec<String>, keep_keys: bool) -> Result<KeyTokens, Refusal> {
        let store = self.shared.store.clone();
        let ended = self.on_store(session, async move { store.sign_out(&ids, keep_keys).await }).await?;
        // What is known of the user is from before the change, whether the store answers now or later.
        session.slot.forget();
        Ok(ended)
    }

    /// Removes what is left of ended sessions, once LiteLLM has been told.
    pub async fn remove_ended(&self, session: &Session, keys: KeyTokens) -> Result<(), Refusal> {
        let store = self.shared.store.clone();
        self.on_store(session, async move { store.remove_ended(&keys).await }).await
    }

    /// What a browser gets in place of its session's key.
    pub fn placeholder(&self, session: &Session) -> Option<String> {
        let id = session.browser_id()?;
        Some(self.shared.secrets.placeholder(&session.snapshot.opened.account_id, id))
    }

    /// After LiteLLM did not know a browser's key. Another one would be another session, which the page has to ask for: where
    /// the store agrees that the key is gone, the browser's session is over.
    pub(super) async fn renew_browser(&self, refused: &Session) -> Result<Option<Session>, Refusal> {
        let Some(id) = refused.browser_id().filter(|_| refused.slot.claim_browser_look_up()) else { return Ok(None) };
        let current = self.read_again(refused).await?;
        if current.browsing(|browser| browser.session_id == id).is_some() { Ok(None) } else { Err(dead(refused)) }
    }

    /// The user's session as the store has it now.
    async fn read_again(&self, session: &Session) -> Result<Session, Refusal> {
        let Snapshot { fingerprint, profile, mapping, .. } = &*session.snapshot;
        // A read that began before our change would not see it.
        session.slot.forget_pending_read();
        let receiver = self.join_read(&session.slot, *fingerprint, profile, mapping);
        self.landed(session, receiver).await
    }

    async fn landed(&self, session: &Session, receiver: ReadReceiver) -> Result<Session, Refusal> {
        let snapshot = landed(receiver).await.map_err(|error| refuse(&error, &session.snapshot.profile))?;
        Ok(Session::of(&session.slot, snapshot))
    }

    /// Runs a query on the store's own runtime: a client that goes away does not cut a transaction short.
    async fn on_store<T, F>(&self, session: &Session, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let lost = |_| Err(StoreError::Unavailable("the registry's task ended without an answer".into()));
        self.shared.runtime.spawn(work).await.unwrap_or_else(lost).map_err(|error| {
            if is_away(&error) {
                self.shared.metrics.database_up.set(0);
            }
            let cause = crate::telemetry::logs::chain(&error);
            tracing::warn!(person = %session.slot.pseudonym, cause, "a browser's session was not changed");
            refuse(&error, &session.snapshot.profile)
        })
    }
}

fn dead(session: &Session) -> Refusal {
    let UserProfile { issuer, subject, .. } = &session.snapshot.profile;
    Refusal::from(Code::DeadPlaceholder).of(issuer, subject)
}
