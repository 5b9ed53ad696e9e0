//! The place of a key in the text. The YAML crate tells places in errors alone, so both ways here fail on purpose: one pass
//! fails at every key and scalar, goes on, and keeps all their places; a walk fails at one list or mapping, after which
//! that text can't be read on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::config::problem::{KeyPath, PathStep};

/// Which end of `key: value` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum NodePart {
    /// The key.
    Key,
    /// The value.
    Value,
}

/// What the errors say that are made here.
const HERE: &str = "here";

/// Line and column, from 1, of all keys and scalars.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    keys: HashMap<KeyPath, (usize, usize)>,
    scalars: HashMap<KeyPath, (usize, usize)>,
}

/// Gathers the places below a path.
pub(super) struct Gather<'a> {
    path: KeyPath,
    places: &'a RefCell<Places>,
}

/// Takes a key's name, and fails on it.
struct GatherKey<'a>(&'a RefCell<String>);

/// Walks to a path and fails there on purpose: the error then carries the place, which the crate tells in no other way.
pub(super) struct Walk<'a> {
    steps: &'a [PathStep],
    part: NodePart,
}

/// Compares a key; fails on it where it is the one that is looked for.
struct WalkKey<'a> {
    wanted: &'a str,
    stop: bool,
}

/// Fails whatever it meets.
struct Stop;

impl Places {
    /// The place of a key or scalar; lists and mappings are not here.
    pub(super) fn get(&self, path: &KeyPath, part: NodePart) -> Option<(usize, usize)> {
        let places = if part == NodePart::Key { &self.keys } else { &self.scalars };
        places.get(path).copied()
    }
}

impl<'a> Gather<'a> {
    /// Gathers all places of a document.
    pub(super) fn all(places: &'a RefCell<Places>) -> Self {
        Self { path: KeyPath::default(), places }
    }

    /// Keeps a scalar's place; any other error is an error.
    fn keep<E: de::Error>(&self, path: KeyPath, error: E) -> Result<(), E> {
        let place = place_of(&error).ok_or(error)?;
        // Of two equal keys the tree has the first.
        self.places.borrow_mut().scalars.entry(path).or_insert(place);
        Ok(())
    }
}

/// The place in the words of an error that was made here: `…: here at line 3 column 5`. The first sign of a text is not
/// told.
fn place_of(error: &impl fmt::Display) -> Option<(usize, usize)> {
    let text = error.to_string();
    let Some((said, place)) = text.rsplit_once(" at line ") else { return (text == HERE).then_some((1, 1)) };
    let (line, column) = place.split_once(" column ")?;
    Some((line.parse().ok()?, column.parse().ok()?)).filter(|_| said.ends_with(HERE))
}

impl<'de> DeserializeSeed<'de> for Gather<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Gather<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Err(E::custom(HERE))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        for at in 0.. {
            let path = self.path.at(at);
            match access.next_element_seed(Gather { path: path.clone(), places: self.places }) {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(error) => self.keep(path, error)?,
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let name = RefCell::new(String::new());
        loop {
            let place = match access.next_key_seed(GatherKey(&name)) {
                Ok(_) => return Ok(()),
                Err(error) => place_of(&error).ok_or(error)?,
            };
            let path = self.path.key(&name.take());
            self.places.borrow_mut().keys.entry(path.clone()).or_insert(place);
            if let Err(error) = access.next_value_seed(Gather { path: path.clone(), places: self.places }) {
                self.keep(path, error)?;
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for GatherKey<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for GatherKey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name as key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<(), E> {
        key.clone_into(&mut self.0.borrow_mut());
        Err(E::custom(HERE))
    }
}

impl<'a> Walk<'a> {
    /// A walk to a key, or to the value that it has.
    pub(super) fn to(path: &'a KeyPath, part: NodePart) -> Self {
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
            Some(PathStep::Index(at)) => Some(*at),
            Some(PathStep::Key(_)) | None => None,
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
            Some((PathStep::Key(key), rest)) => (key.as_str(), rest),
            _ => ("", self.steps),
        };
        let stop = steps.is_empty() && self.part == NodePart::Key;
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
        if found && self.stop { Err(E::custom(HERE)) } else { Ok(found) }
    }
}

impl Visitor<'_> for Stop {
    // Without any `visit_…` every node is of the wrong type, which is the failure that is wanted.
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}
