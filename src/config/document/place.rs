//! The place of a key in the text.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::config::problem::{KeyPath, Step};

/// Which end of `key: value` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
}

/// Walks to a path and fails there on purpose: the error then carries the place, which the crate tells in no other way.
pub(super) struct Walk<'a> {
    steps: &'a [Step],
    part: Part,
}

/// Compares a key; fails on it where it is the one that is looked for.
struct WalkKey<'a> {
    wanted: &'a str,
    stop: bool,
}

/// Fails whatever it meets.
struct Stop;

impl<'a> Walk<'a> {
    /// A walk to a key, or to the value that it has.
    pub(super) fn to(path: &'a KeyPath, part: Part) -> Self {
        Self { steps: path.steps(), part }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.steps.is_empty() { deserializer.deserialize_any(Stop) } else { deserializer.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or mapping")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let wanted = match self.steps.first() {
            Some(Step::Index(at)) => Some(*at),
            Some(Step::Key(_)) | None => None,
        };
        for at in 0.. {
            let more = if Some(at) == wanted {
                let steps = self.steps.get(1..).unwrap_or_default();
                access.next_element_seed(Walk { steps, part: self.part })?
            } else {
                access.next_element::<IgnoredAny>()?.map(drop)
            };
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let (wanted, steps) = match self.steps.split_first() {
            Some((Step::Key(key), rest)) => (key.as_str(), rest),
            _ => ("", self.steps),
        };
        let stop = steps.is_empty() && self.part == Part::Key;
        while let Some(found) = access.next_key_seed(WalkKey { wanted, stop })? {
            if found {
                access.next_value_seed(Walk { steps, part: self.part })?;
            } else {
                access.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for WalkKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for WalkKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name as key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<bool, E> {
        let found = key == self.wanted;
        if found && self.stop { Err(E::custom("here")) } else { Ok(found) }
    }
}

impl Visitor<'_> for Stop {
    // Without any `visit_…` every node is of the wrong type, which is the failure that is wanted.
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}
