//! The OAuth proxy's headers, read into an OpenID-style identity, or refused.
//!
//! In go a trusted proxy and what is said of the user; out comes one canonical [`Identity`]. Nothing is guessed: a header
//! that is missing, empty, repeated, joined, undecodable or ambiguous is a refusal, never a default user.

use http::HeaderValue;

use super::decode;
use super::trust::TrustedPeer;
use crate::config::{Attribute, HeaderRule, IdentityRules};
use crate::refusal::{Code, Refusal};
use crate::request_info::IdentityValues;
use crate::store::{UserProfile, text};

/// The rule of an attribute and its one value, where it came.
type ReadHeader<'r, 'a> = (&'r HeaderRule, Option<&'a [u8]>);

/// A user, as a trusted proxy says. Only [`IdentityReader::read`] makes one.
#[derive(Debug, Clone)]
pub struct Identity {
    person: UserProfile,
}

/// Reads identities by the configured rules.
#[derive(Debug)]
pub struct IdentityReader {
    rules: IdentityRules,
}

// === impl Identity ===

impl Identity {
    /// The person.
    pub fn person(&self) -> &UserProfile {
        &self.person
    }
}

// === impl IdentityReader ===

impl IdentityReader {
    /// Takes checked rules.
    pub fn new(rules: IdentityRules) -> Self {
        Self { rules }
    }

    /// Reads the user that a trusted proxy speaks for.
    pub fn read(&self, _proxy: &TrustedPeer, said: &IdentityValues<'_>) -> Result<Identity, Refusal> {
        let Some(subject) = self.value(said, Attribute::User, Code::MalformedUser)? else {
            return Err(Code::NoIdentity.into());
        };
        let email = if self.rules.email_from_user {
            Some(subject.clone())
        } else {
            self.value(said, Attribute::Email, Code::MalformedEmail)?
        };
        let email = match email {
            Some(email) => Some(text::email(&email).ok_or(Code::MalformedEmail)?),
            None => None,
        };
        // Where the e-mail is the id, its canonical form is: one person, one row.
        let subject = if self.rules.email_from_user { email.clone().unwrap_or(subject) } else { subject };
        if !text::is_id(&subject) {
            return Err(self.refusal(Code::MalformedUser, Attribute::User));
        }
        let groups = self.groups(said).map_err(|refusal| refusal.of(&self.rules.issuer, &subject))?;
        let name = |attribute| self.value(said, attribute, Code::MalformedHeader);
        let preferred_username = name(Attribute::PreferredUsername)?;
        if preferred_username.as_deref().is_some_and(|name| !text::is_id(name)) {
            return Err(self.refusal(Code::MalformedHeader, Attribute::PreferredUsername));
        }
        let (first_name, last_name) = (name(Attribute::FirstName)?, name(Attribute::LastName)?);
        let display_name = name(Attribute::Name)?
            .or_else(|| text::joined(first_name.as_deref(), last_name.as_deref()))
            .or_else(|| preferred_username.clone())
            .or_else(|| email.as_deref().and_then(|email| email.split('@').next()).map(str::to_owned))
            .or_else(|| Some(subject.clone()));
        let picture = name(Attribute::Picture)?.filter(|picture| text::is_picture(picture));
        Ok(Identity {
            person: UserProfile {
                issuer: self.rules.issuer.clone(),
                subject,
                email,
                preferred_username,
                first_name,
                last_name,
                display_name,
                picture,
                provider: self.rules.provider.clone(),
                groups,
            },
        })
    }

    /// One decoded, plain value. `None` where the attribute is not read, or came missing or empty.
    fn value(&self, said: &IdentityValues<'_>, attribute: Attribute, bad: Code) -> Result<Option<String>, Refusal> {
        let Some((rule, Some(raw))) = self.raw(said, attribute)? else { return Ok(None) };
        let refuse = |code: Code| Refusal::from(code).about(rule.name.clone());
        if raw.len() > self.rules.max_value_bytes {
            return Err(refuse(bad));
        }
        let value = decode::text(raw, rule.decoding).ok_or_else(|| refuse(bad))?;
        let value = value.trim_matches([' ', '\t']);
        if value.is_empty() {
            return Ok(None);
        }
        if !text::is_plain(value) {
            return Err(refuse(bad));
        }
        // Behind a middle box that joins lines, two persons would arrive as one value.
        if matches!(attribute, Attribute::User | Attribute::Email) && value.contains(',') {
            return Err(refuse(Code::RepeatedHeader));
        }
        Ok(Some(value.to_owned()))
    }

    fn groups(&self, said: &IdentityValues<'_>) -> Result<Vec<String>, Refusal> {
        let mut groups = Vec::new();
        for (attribute, prefix) in [(Attribute::Groups, ""), (Attribute::Roles, "role:")] {
            let Some((rule, raw)) = self.raw(said, attribute)? else { continue };
            let refuse = || Refusal::from(Code::MalformedGroups).about(rule.name.clone());
            let Some(raw) = raw else {
                if attribute == Attribute::Groups && self.rules.groups_required {
                    return Err(Refusal::from(Code::NoGroups).about(rule.name.clone()));
                }
                continue;
            };
            if raw.len() > self.rules.max_value_bytes {
                return Err(refuse());
            }
            let text = decode::text(raw, rule.decoding).ok_or_else(refuse)?;
            for group in decode::list(&text, rule.separator).ok_or_else(refuse)? {
                if !text::is_plain(&group) {
                    return Err(refuse());
                }
                groups.push(format!("{prefix}{group}"));
            }
        }
        groups.sort_unstable();
        groups.dedup();
        if groups.len() > self.rules.max_groups {
            return Err(self.refusal(Code::MalformedGroups, Attribute::Groups));
        }
        Ok(groups)
    }

    /// The rule and the one value of an attribute; `None` where it is not read.
    fn raw<'a>(&self, said: &IdentityValues<'a>, attribute: Attribute) -> Result<Option<ReadHeader<'_, 'a>>, Refusal> {
        let mut reads = self.rules.reads.iter().enumerate();
        let Some((at, (_, rule))) = reads.find(|(_, (read, _))| **read == attribute) else { return Ok(None) };
        let repeated = |_| Refusal::from(Code::RepeatedHeader).about(rule.name.clone());
        Ok(Some((rule, said.one(at).map_err(repeated)?.map(HeaderValue::as_bytes))))
    }

    fn refusal(&self, code: Code, attribute: Attribute) -> Refusal {
        match self.rules.reads.get(&attribute) {
            Some(rule) => Refusal::from(code).about(rule.name.clone()),
            None => code.into(),
        }
    }
}

#[cfg(test)]
impl Identity {
    /// A test's way to an identity, without headers.
    pub(crate) fn of(person: UserProfile) -> Self {
        Self { person }
    }
}

#[cfg(test)]
mod tests;
