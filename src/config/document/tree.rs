//! The tree of a text.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Mapping, Value};

/// Duplicate keys: how many to pass over, and the one that was hit.
pub(super) struct Duplicates {
    left: Cell<usize>,
    hit: Cell<Option<String>>,
}

impl Duplicates {
    pub(super) fn passing_over(number: usize) -> Self {
        Self { left: Cell::new(number), hit: Cell::new(None) }
    }

    /// The duplicate that ended the building.
    pub(super) fn hit(&self) -> Option<String> {
        self.hit.take()
    }
}

/// Builds the tree as the crate would, but fails at the second of two equal keys instead of at their mapping's start.
#[derive(Clone, Copy)]
pub(super) struct Build<'a>(pub(super) &'a Duplicates);

/// Reads a key; `None` for a duplicate that is passed over.
struct BuildKey<'a> {
    seen: &'a Mapping,
    duplicates: &'a Duplicates,
}

impl<'de> DeserializeSeed<'de> for Build<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Mapping::new();
        while let Some(key) = access.next_key_seed(BuildKey { seen: &map, duplicates: self.0 })? {
            let value = access.next_value_seed(self)?;
            if let Some(key) = key {
                map.insert(Value::String(key), value);
            }
        }
        Ok(Value::Mapping(map))
    }
}

impl<'de> DeserializeSeed<'de> for BuildKey<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<String>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for BuildKey<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name as key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Option<String>, E> {
        if !self.seen.contains_key(key) {
            return Ok(Some(key.to_owned()));
        }
        let left = self.duplicates.left.get();
        if left > 0 {
            self.duplicates.left.set(left - 1);
            return Ok(None);
        }
        self.duplicates.hit.set(Some(key.to_owned()));
        Err(E::custom("duplicate key"))
    }
}
