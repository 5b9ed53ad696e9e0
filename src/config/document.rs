//! YAML text → tree, and back to line and column. The only file that names the YAML crate.
//!
//! In goes the text of one file, and what the environment and the command line set over it; out come serde shapes, and
//! for any key the place where it stands. The tree is read through serde with the faulty nodes taken out one by one, so
//! that one run finds every problem.

mod place;
mod tree;

use std::cell::{OnceCell, RefCell};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, DeserializeSeed as _};
use serde_path_to_error::Segment;
use serde_yaml::{Mapping, Value};

pub(super) use self::place::NodePart;
use self::place::{Gather, Places, Walk};
use self::tree::{Build, Duplicates};
use crate::config::problem::{KeyPath, PathStep};

/// Most bytes of a file that is read, configuration and secrets alike.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most problems of one kind in one run; who has more will come back anyway.
const FAULTS_MAX: usize = 64;

/// A file that could not be read. It names the path.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused, or the text is not UTF-8.
    #[error("can't read {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// More than [`FILE_BYTES_MAX`].
    #[error("can't read {}: it has more than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
}

/// A parsed file.
#[derive(Debug, Clone)]
pub(super) struct Document {
    text: String,
    root: Value,
    /// Made at the first question, since most files have no problem.
    places: OnceCell<Places>,
}

/// What the YAML crate found wrong with a text.
#[derive(Debug)]
pub(super) struct SyntaxFault {
    pub(super) message: String,
    pub(super) place: Option<(usize, usize)>,
    /// The key that stands twice, where that is the fault.
    pub(super) duplicate: Option<String>,
}

/// A node that does not have the shape it must have.
#[derive(Debug)]
pub(super) struct ShapeFault {
    pub(super) path: KeyPath,
    /// Serde's words. They may repeat the value.
    pub(super) message: String,
    pub(super) found: &'static str,
}

/// A scalar, list or mapping, for those who may not name the YAML crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Scalar,
    List,
    Mapping,
}

/// Reads a whole file as text.
pub fn read_file(path: &Path) -> Result<String, ReadError> {
    let failed = |source| ReadError::Io { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    // One byte more than allowed tells a full file from a longer one, whatever its metadata say.
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge(path.to_owned()));
    }
    Ok(text)
}

// === impl Document ===

impl Document {
    /// Parses a text. Each duplicate key is a fault of its own; the tree then holds the first of the two.
    pub(super) fn parse(text: String) -> (Self, Vec<SyntaxFault>) {
        let mut faults = Vec::new();
        for passed_over in 0..FAULTS_MAX {
            match build(&text, passed_over) {
                Ok(Value::Null) => break,
                Ok(root @ Value::Mapping(_)) => return (Self::new(text, root), faults),
                Ok(_) => {
                    let message = "the configuration must be a mapping of keys to values".to_owned();
                    faults.push(SyntaxFault { message, place: Some((1, 1)), duplicate: None });
                    break;
                }
                Err(fault) => {
                    let goes_on = fault.duplicate.is_some();
                    faults.push(fault);
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        (Self::new(text, Value::Mapping(Mapping::new())), faults)
    }

    fn new(text: String, root: Value) -> Self {
        Self { text, root, places: OnceCell::new() }
    }

    /// The source text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Line and column, from 1, of a key or value in the text. `None` where the text does not hold it.
    pub(super) fn locate(&self, path: &KeyPath, part: NodePart) -> Option<(usize, usize)> {
        // At a path that the text does not hold, the failure would be another one, at another place.
        self.get(path)?;
        if let Some(place) = self.places.get_or_init(|| places(&self.text)).get(path, part) {
            return Some(place);
        }
        let walk = Walk::to(path, part);
        let error = walk.deserialize(serde_yaml::Deserializer::from_str(&self.text)).err()?;
        error.location().map(|place| (place.line(), place.column()))
    }

    /// What stands at a path.
    pub(super) fn kind(&self, path: &KeyPath) -> Option<Kind> {
        Some(match self.get(path)? {
            Value::Null => Kind::Null,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_) => Kind::Scalar,
            Value::Sequence(_) => Kind::List,
            Value::Mapping(_) => Kind::Mapping,
        })
    }

    /// The paths of all nodes at and below a path that are neither list nor mapping.
    pub(super) fn leaves(&self, path: &KeyPath) -> Vec<KeyPath> {
        let mut found = Vec::new();
        let mut open: Vec<(KeyPath, &Value)> = self.get(path).map(|node| (path.clone(), node)).into_iter().collect();
        while let Some((path, node)) = open.pop() {
            match node {
                Value::Sequence(items) => open.extend(items.iter().enumerate().map(|(at, item)| (path.at(at), item))),
                Value::Mapping(map) => {
                    open.extend(map.iter().filter_map(|(key, value)| Some((path.key(key.as_str()?), value))));
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Tagged(_) => {
                    found.push(path);
                }
            }
        }
        found
    }

    /// Items of lists that hold nothing.
    pub(super) fn empty_items(&self) -> Vec<KeyPath> {
        let is_item = |path: &KeyPath| matches!(path.steps().last(), Some(PathStep::Index(_)));
        let is_empty = |path: &KeyPath| self.kind(path) == Some(Kind::Null);
        self.leaves(&KeyPath::default()).into_iter().filter(|path| is_item(path) && is_empty(path)).collect()
    }

    /// Offers every text in the tree for replacement; `expand` gets its path.
    pub(super) fn expand(&mut self, mut expand: impl FnMut(&KeyPath, &str) -> Option<String>) {
        for path in self.leaves(&KeyPath::default()) {
            let Some(Value::String(text)) = self.get(&path) else { continue };
            let Some(new) = expand(&path, text) else { continue };
            if let Some(node) = self.get_mut(&path) {
                *node = Value::String(new);
            }
        }
    }

    /// Sets a value, making the mappings above it. False where something else than a mapping or an item of a list
    /// stands in the way.
    pub(super) fn set(&mut self, path: &KeyPath, value: &Setting) -> bool {
        let Some((last, above)) = path.steps().split_last() else { return false };
        let mut node = &mut self.root;
        for step in above {
            if node.is_null() {
                *node = Value::Mapping(Mapping::new());
            }
            node = match (step, node) {
                (PathStep::Key(key), Value::Mapping(map)) => {
                    map.entry(Value::String(key.clone())).or_insert_with(|| Value::Mapping(Mapping::new()))
                }
                (PathStep::Index(at), Value::Sequence(items)) => match items.get_mut(*at) {
                    Some(item) => item,
                    None => return false,
                },
                _ => return false,
            };
        }
        if node.is_null() {
            *node = Value::Mapping(Mapping::new());
        }
        match (last, node) {
            (PathStep::Key(key), Value::Mapping(map)) => {
                map.insert(Value::String(key.clone()), value.0.clone());
                true
            }
            (PathStep::Index(at), Value::Sequence(items)) => match items.get_mut(*at) {
                Some(item) => {
                    *item = value.0.clone();
                    true
                }
                None => false,
            },
            _ => false,
        }
    }

    /// Takes a node out. An item of a list leaves an empty place, so that those after it keep their numbers.
    pub(super) fn remove(&mut self, path: &KeyPath) -> bool {
        let (Some(parent), Some(last)) = (path.parent(), path.steps().last()) else { return false };
        match (last, self.get_mut(&parent)) {
            (PathStep::Key(key), Some(Value::Mapping(map))) => map.shift_remove(key.as_str()).is_some(),
            (PathStep::Index(at), Some(Value::Sequence(items))) => match items.get_mut(*at) {
                Some(item) => !std::mem::replace(item, Value::Null).is_null(),
                None => false,
            },
            _ => false,
        }
    }

    /// Reads the tree into a shape. Faulty nodes are taken out and reported, until the rest can be read.
    pub(super) fn read<T: DeserializeOwned + Default>(&mut self) -> (T, Vec<ShapeFault>) {
        let mut faults = Vec::new();
        while faults.len() < FAULTS_MAX {
            let error = match serde_path_to_error::deserialize(&self.root) {
                Ok(shape) => return (shape, faults),
                Err(error) => error,
            };
            let path = key_path(error.path());
            let found = self.get(&path).map_or("nothing", found);
            faults.push(ShapeFault { message: error.inner().to_string(), found, path: path.clone() });
            if !self.remove(&path) {
                break;
            }
        }
        (T::default(), faults)
    }

    fn get(&self, path: &KeyPath) -> Option<&Value> {
        path.steps().iter().try_fold(&self.root, |node, step| match step {
            PathStep::Key(key) => node.as_mapping()?.get(key.as_str()),
            PathStep::Index(at) => node.as_sequence()?.get(*at),
        })
    }

    fn get_mut(&mut self, path: &KeyPath) -> Option<&mut Value> {
        path.steps().iter().try_fold(&mut self.root, |node, step| match step {
            PathStep::Key(key) => node.as_mapping_mut()?.get_mut(key.as_str()),
            PathStep::Index(at) => node.as_sequence_mut()?.get_mut(*at),
        })
    }
}

/// The places of all keys and scalars. What can't be told is left to the walk.
fn places(text: &str) -> Places {
    let places = RefCell::new(Places::default());
    // The document was parsed before; a failure here only ends the gathering.
    let _ = Gather::all(&places).deserialize(serde_yaml::Deserializer::from_str(text));
    places.into_inner()
}

/// A value from outside the file.
#[derive(Debug)]
pub(super) struct Setting(Value);

impl Setting {
    /// A text, taken as it is.
    pub(super) fn text(text: &str) -> Self {
        Self(Value::String(text.to_owned()))
    }

    /// A list or mapping is read as YAML; a scalar stays the text that it is, and its key decides how to read it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(match build(text, 0).map_err(|fault| fault.message)? {
            Value::Null => Value::Null,
            Value::Bool(_) | Value::Number(_) | Value::Tagged(_) => Value::String(text.trim().to_owned()),
            node @ (Value::String(_) | Value::Sequence(_) | Value::Mapping(_)) => node,
        }))
    }
}

fn found(node: &Value) -> &'static str {
    match node {
        Value::Null => "nothing",
        Value::Bool(_) => "`true` or `false`",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping",
        Value::Tagged(_) => "a tag",
    }
}

fn key_path(path: &serde_path_to_error::Path) -> KeyPath {
    path.iter().fold(KeyPath::default(), |above, segment| match segment {
        Segment::Seq { index } => above.at(*index),
        Segment::Map { key } => above.key(key),
        Segment::Enum { .. } | Segment::Unknown => above,
    })
}

fn build(text: &str, duplicates_passed_over: usize) -> Result<Value, SyntaxFault> {
    // To the crate a text without a document is an error; to us it says nothing, which is allowed.
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Null);
    }
    let duplicates = Duplicates::passing_over(duplicates_passed_over);
    Build(&duplicates).deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|error| {
        let place = error.location().map(|place| (place.line(), place.column()));
        let message = error.to_string();
        // The place is printed apart from the message.
        let message = message.split(" at line ").next().unwrap_or_default();
        let message = if message.contains("without a tag") { "a tag (`!…`) has no meaning here" } else { message };
        let message = message.to_owned();
        SyntaxFault { message, place, duplicate: duplicates.hit() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        let (document, faults) = Document::parse(text.to_owned());
        assert!(faults.is_empty(), "{faults:?}");
        document
    }

    const TEXT: &str = "listen: a\nrules:\n  - when: { group: [x, \"y\"] }\n    role: proxy_admin\n  - role: deny\n";

    #[test]
    fn every_key_and_value_has_its_place() {
        let document = document(TEXT);
        let place = |path: &str, part| document.locate(&path.into(), part);
        assert_eq!(place("listen", NodePart::Key), Some((1, 1)));
        assert_eq!(place("listen", NodePart::Value), Some((1, 9)));
        assert_eq!(place("rules", NodePart::Key), Some((2, 1)));
        assert_eq!(place("rules[0].when.group[1]", NodePart::Value), Some((3, 24)));
        assert_eq!(place("rules[0].role", NodePart::Value), Some((4, 11)));
        assert_eq!(place("rules[1]", NodePart::Value), Some((5, 5)));
        assert_eq!(place("rules[2]", NodePart::Value), None);
        assert_eq!(place("trust.peers", NodePart::Value), None);
        // A list or mapping has no place of its own in the table: the walk finds it, with the same key before it.
        assert_eq!(place("rules", NodePart::Value), Some((3, 3)));
        assert_eq!(place("rules[0].when", NodePart::Value), Some((3, 11)));
    }

    #[test]
    fn the_walk_and_the_table_agree() {
        let document = document("a: &x { b: [1, ~, .5, true, -1, \"t\"], c: }\nd: |\n  long\ne: *x\n'f': 'x'\n");
        let places = places(document.text());
        let leaves = document.leaves(&KeyPath::default());
        assert_eq!(leaves.len(), 16);
        for path in leaves {
            for part in [NodePart::Key, NodePart::Value] {
                if part == NodePart::Key && path.last_key().is_none() {
                    continue;
                }
                let walk = Walk::to(&path, part).deserialize(serde_yaml::Deserializer::from_str(document.text()));
                let walked = walk.unwrap_err().location().map(|place| (place.line(), place.column()));
                assert_eq!(places.get(&path, part), walked, "{path}");
            }
        }
    }

    #[test]
    fn each_duplicate_key_is_found_on_its_own_line() {
        let (_, faults) = Document::parse("a: 1\nb: { c: 1, c: 2 }\na: 2\na: 3\n".to_owned());
        let places: Vec<_> = faults.iter().map(|fault| (fault.duplicate.as_deref(), fault.place)).collect();
        assert_eq!(places, [(Some("c"), Some((2, 12))), (Some("a"), Some((3, 1))), (Some("a"), Some((4, 1)))],);
    }

    #[test]
    fn what_is_no_single_mapping_is_refused() {
        for text in ["- a\n", "a", "a: [1", "a: 1\n---\nb: 2\n", "a: !tag x\n", "? [a]\n: b\n", "{a: &x [*x]}"] {
            let (document, faults) = Document::parse(text.to_owned());
            assert_eq!(faults.len(), 1, "{text}");
            assert!(document.leaves(&KeyPath::default()).is_empty(), "{text}");
        }
        for text in ["", "# nothing\n", "~"] {
            assert!(Document::parse(text.to_owned()).1.is_empty(), "{text}");
        }
    }

    #[test]
    fn an_alias_bomb_is_cut() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for at in 1..20 {
            let items = vec![format!("*a{}", at - 1); 9].join(", ");
            text = format!("{text}a{at}: &a{at} [{items}]\n");
        }
        assert_eq!(Document::parse(text).1.len(), 1);
    }

    #[test]
    fn faulty_nodes_are_all_reported_and_the_rest_is_read() {
        #[derive(Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Shape {
            a: Option<u8>,
            b: Vec<Option<String>>,
            c: Option<bool>,
        }
        let mut document = document("a: x\nb: [one, [], two]\nc: true\nd: 1\n");
        let (shape, faults) = document.read::<Shape>();
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.to_string()).collect();
        assert_eq!(paths, ["a", "b[1]", "d"]);
        assert_eq!(faults[1].found, "a list");
        let b = vec![Some("one".to_owned()), None, Some("two".to_owned())];
        assert_eq!(shape, Shape { a: None, b, c: Some(true) });
    }

    #[test]
    fn settings_over_the_file_keep_the_text_of_scalars() {
        let mut document = document("a: { b: 1 }\nl: [x, y]\n");
        assert!(document.set(&"a.c.d".into(), &Setting::parse("007").unwrap()));
        assert!(document.set(&"l[1]".into(), &Setting::parse("{ z: 1 }").unwrap()));
        assert!(!document.set(&"l[2]".into(), &Setting::text("")));
        assert!(!document.set(&"a.b.c".into(), &Setting::text("")));
        assert_eq!(document.get(&"a.c.d".into()), Some(&Value::from("007")));
        assert_eq!(document.kind(&"l[1]".into()), Some(Kind::Mapping));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = read_file(Path::new("/nowhere/vestibule.yaml")).unwrap_err();
        assert_eq!(error.to_string(), "can't read /nowhere/vestibule.yaml");
        assert!(read_file(Path::new("/dev/zero")).is_err());
    }
}
