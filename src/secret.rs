//! The session secrets: what session keys are made from, and the only place that makes them.
//!
//! A key is never written down. It is made again from a secret and a nonce whenever it is needed, so neither the
//! database nor the secret alone gives a key, and replicas agree without talking.

use aws_lc_rs::{constant_time, digest, hmac, rand};
use secrecy::{ExposeSecret, SecretString};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;
/// Fewest bytes of a secret.
pub const SECRET_BYTES_MIN: usize = 32;
/// Most secrets at once: one makes, the others are on their way out.
pub const SECRETS_MAX: usize = 3;

const KEY_LABEL: &str = "vestibule/key/1";
const PERSON_LABEL: &str = "vestibule/person/1";
const PLACEHOLDER_LABEL: &str = "vestibule/placeholder/1";
const COOKIE_LABEL: &str = "vestibule/cookie/1";
/// How a placeholder begins: like a key, so that it passes every look that LiteLLM's pages take at one.
pub const PLACEHOLDER_PREFIX: &str = "sk-vst-";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// One to three secrets. The first makes keys, all are honoured.
#[derive(Clone)]
pub struct SessionSecrets {
    current: (SecretId, hmac::Key),
    retired: Vec<(SecretId, hmac::Key)>,
}

/// Which secret made a key: the first 8 hex digits of HMAC(secret, "id").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretId(String);

/// A session key in clear: `sk-…`. It has neither Debug nor Display.
#[derive(Clone)]
pub struct SessionKey(SecretString);

/// What kind of session a key is for; part of what it is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionKind {
    /// A user's key for the API.
    Api,
    /// A browser's key for the admin UI.
    Ui,
}

/// Signs the admin UI's cookie: HMAC with SHA-256.
#[derive(Clone)]
pub struct CookieKey(hmac::Key);

/// Why secrets were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// No secret at all.
    #[error("no secret was given")]
    None,
    /// Too many.
    #[error("more than {SECRETS_MAX} secrets were given")]
    TooMany,
    /// Too short.
    #[error("secret {0} is shorter than {SECRET_BYTES_MIN} bytes")]
    Short(usize),
}

// === impl SessionSecrets ===

impl SessionSecrets {
    /// Takes one secret a line; empty lines are passed over.
    pub fn parse(text: &SecretString) -> Result<Self, SecretError> {
        let lines: Vec<&str> = text.expose_secret().lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.len() > SECRETS_MAX {
            return Err(SecretError::TooMany);
        }
        let secret = |(at, line): (usize, &str)| {
            if line.len() < SECRET_BYTES_MIN {
                return Err(SecretError::Short(at + 1));
            }
            let key = hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes());
            let id = hex(hmac::sign(&key, b"id").as_ref()).chars().take(8).collect();
            Ok((SecretId(id), key))
        };
        let mut secrets = lines.into_iter().enumerate().map(secret).collect::<Result<Vec<_>, _>>()?.into_iter();
        Ok(Self { current: secrets.next().ok_or(SecretError::None)?, retired: secrets.collect() })
    }

    fn all(&self) -> impl Iterator<Item = &(SecretId, hmac::Key)> {
        std::iter::once(&self.current).chain(&self.retired)
    }

    /// The secret that makes new keys.
    pub fn current(&self) -> &SecretId {
        &self.current.0
    }

    /// The ids of all, in their order.
    pub fn ids(&self) -> impl Iterator<Item = &SecretId> {
        self.all().map(|(id, _)| id)
    }

    /// Whether a stored id is one of ours.
    pub fn knows(&self, id: &str) -> bool {
        self.ids().any(|known| known.0 == id)
    }

    /// Makes the key of a session, or makes it again. `None` when the secret is not known here.
    pub fn session_key(
        &self,
        secret_id: &str,
        kind: SessionKind,
        account_id: &str,
        nonce: &[u8],
    ) -> Option<SessionKey> {
        let (_, key) = self.all().find(|(known, _)| known.0 == secret_id)?;
        let parts = [KEY_LABEL.as_bytes(), kind.as_str().as_bytes(), account_id.as_bytes(), nonce];
        let mut text = String::from("sk-");
        base62(mac(key, &parts).as_ref(), &mut text);
        Some(SessionKey(text.into()))
    }

    /// What a browser holds in place of a session's key. Only the account it was made for can use it, and it says nothing of
    /// the key.
    pub fn placeholder(&self, account_id: &str, session_id: &str) -> String {
        format!("{PLACEHOLDER_PREFIX}{session_id}-{}", seal(&self.current.1, account_id, session_id))
    }

    /// The session that a placeholder stands for, where it was made for this account with one of our secrets.
    pub fn session_of<'t>(&self, account_id: &str, placeholder: &'t str) -> Option<&'t str> {
        let (session_id, given) = placeholder.strip_prefix(PLACEHOLDER_PREFIX)?.split_once('-')?;
        let is_sealed =
            self.all().any(|(_, key)| equal(given.as_bytes(), seal(key, account_id, session_id).as_bytes()));
        is_sealed.then_some(session_id)
    }

    /// Signs cookies where LiteLLM's master key is not there to do it. LiteLLM's pages do not check the signature.
    pub fn cookie_key(&self) -> CookieKey {
        let key = mac(&self.current.1, &[COOKIE_LABEL.as_bytes()]);
        CookieKey(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }

    /// A stable pseudonym of a user for logs, from which nothing of the user can be learnt: 12 hex digits.
    pub fn pseudonym(&self, issuer: &str, subject: &str) -> String {
        let parts = [PERSON_LABEL, issuer, subject].map(str::as_bytes);
        hex(mac(&self.current.1, &parts).as_ref()).chars().take(12).collect()
    }
}

impl std::fmt::Debug for SessionSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

// === impl CookieKey ===

impl CookieKey {
    /// LiteLLM's own, which its pages for MCP sign-in check.
    pub fn of_master_key(master_key: &SecretString) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, master_key.expose_secret().as_bytes()))
    }

    /// The signature over a text.
    pub fn sign(&self, text: &str) -> impl AsRef<[u8]> {
        hmac::sign(&self.0, text.as_bytes())
    }
}

impl std::fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieKey")
    }
}

// === impl SecretId ===

impl SecretId {
    /// The 8 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl SessionKey ===

impl SessionKey {
    /// The key in clear, for the header that carries it up.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// LiteLLM's name for the key: the lower-case hex SHA-256 of the whole string (`proxy/utils.py`, `hash_token`).
    pub fn token(&self) -> String {
        token(self.expose())
    }

    /// What LiteLLM shows of a key: `sk-...` and the last four characters.
    pub fn display_name(&self) -> String {
        let key = self.expose();
        let tail = key.get(key.len().saturating_sub(4)..).unwrap_or_default();
        format!("sk-...{tail}")
    }
}

// === impl SessionKind ===

impl SessionKind {
    /// The name in the session table and in the key's making.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Ui => "ui",
        }
    }
}

/// What shows that a placeholder was made here.
fn seal(key: &hmac::Key, account_id: &str, session_id: &str) -> String {
    let mut text = String::new();
    base62(mac(key, &[PLACEHOLDER_LABEL, account_id, session_id].map(str::as_bytes)).as_ref(), &mut text);
    text
}

/// Over parts, each with its length before it, so that no two lists of parts are one text.
fn mac(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut mac = hmac::Context::with_key(key);
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.sign()
}

/// Fresh random bytes for a nonce. `None` when the system has no randomness to give.
pub fn nonce() -> Option<[u8; NONCE_BYTES]> {
    let mut bytes = [0; NONCE_BYTES];
    rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// A fresh session secret: 64 hex digits from 256 random bits.
pub fn fresh() -> Option<SecretString> {
    Some(hex(&nonce()?).into())
}

/// A fresh id for a row: 22 base62 digits or a few less, from 128 random bits.
pub fn row_id() -> Option<String> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).ok()?;
    let mut text = String::with_capacity(22);
    base62(&bytes, &mut text);
    Some(text)
}

/// LiteLLM's name for a key: see [`SessionKey::token`].
pub fn token(key: &str) -> String {
    hex(digest::digest(&digest::SHA256, key.as_bytes()).as_ref())
}

/// Compares two secrets through their digests: the time tells nothing of where they differ, nor of their lengths.
pub fn equal(given: &[u8], wanted: &[u8]) -> bool {
    let given = digest::digest(&digest::SHA256, given);
    let wanted = digest::digest(&digest::SHA256, wanted);
    constant_time::verify_slices_are_equal(given.as_ref(), wanted.as_ref()).is_ok()
}

fn hex(bytes: &[u8]) -> String {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.filter_map(|half| char::from_digit(half.into(), 16)).collect()
}

/// Appends the big-endian number in base 62, without leading zeroes.
fn base62(bytes: &[u8], text: &mut String) {
    let mut number = bytes.to_vec();
    let mut digits = Vec::with_capacity(bytes.len() * 2);
    while number.iter().any(|byte| *byte != 0) {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let value = (remainder << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            remainder = value % 62;
        }
        digits.push(BASE62.get(remainder as usize).copied().unwrap_or(b'0'));
    }
    text.extend(digits.iter().rev().map(|digit| char::from(*digit)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(text: &str) -> SessionSecrets {
        SessionSecrets::parse(&text.to_owned().into()).unwrap()
    }

    const A: &str = "0123456789abcdef0123456789abcdef";
    const B: &str = "fedcba9876543210fedcba9876543210";

    #[test]
    fn the_same_parts_make_the_same_key_and_any_other_part_another() {
        let ours = secrets(A);
        let id = ours.current().as_str().to_owned();
        let key = ours.session_key(&id, SessionKind::Api, "acc", &[1; 32]).unwrap();
        assert_eq!(key.expose(), ours.session_key(&id, SessionKind::Api, "acc", &[1; 32]).unwrap().expose());
        assert!(key.expose().starts_with("sk-") && key.expose().len() > 40);
        assert_ne!(key.expose(), ours.session_key(&id, SessionKind::Api, "acd", &[1; 32]).unwrap().expose());
        assert_ne!(key.expose(), ours.session_key(&id, SessionKind::Api, "acc", &[2; 32]).unwrap().expose());
        let theirs = secrets(B);
        assert!(theirs.session_key(&id, SessionKind::Api, "acc", &[1; 32]).is_none());
    }

    #[test]
    fn a_retired_secret_is_honoured_but_does_not_make() {
        let old = secrets(A);
        let both = secrets(&format!("{B}\n{A}\n"));
        assert!(both.knows(old.current().as_str()));
        assert_eq!(both.current(), secrets(B).current());
    }

    #[test]
    fn short_many_and_no_secrets_are_refused() {
        let parse = |text: &str| SessionSecrets::parse(&text.to_owned().into()).err();
        assert_eq!(parse("\n"), Some(SecretError::None));
        assert_eq!(parse("short"), Some(SecretError::Short(1)));
        assert_eq!(parse(&format!("{A}\n{A}\n{A}\n{A}")), Some(SecretError::TooMany));
    }

    #[test]
    fn a_placeholder_is_its_own_accounts_alone_and_names_no_key() {
        let ours = secrets(A);
        let placeholder = ours.placeholder("acc", "s1");
        assert_eq!(ours.session_of("acc", &placeholder), Some("s1"));
        assert_eq!(secrets(&format!("{B}\n{A}")).session_of("acc", &placeholder), Some("s1"));
        assert_eq!(ours.session_of("other", &placeholder), None);
        assert_eq!(secrets(B).session_of("acc", &placeholder), None);
        assert_eq!(ours.session_of("acc", &placeholder.replace("s1", "s2")), None);
        for broken in ["sk-vst-s1-", "sk-vst-s1", "sk-vst-", "sk-s1", ""] {
            assert_eq!(ours.session_of("acc", broken), None, "{broken}");
        }
    }

    #[test]
    fn base62_is_the_number() {
        let mut text = String::new();
        base62(&[0, 0, 62], &mut text);
        assert_eq!(text, "10");
    }

    #[test]
    fn secrets_print_only_their_ids() {
        assert!(!format!("{:?}", secrets(A)).contains("0123456789abcdef"));
    }
}
