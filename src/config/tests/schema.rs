//! `docs/config.schema.json` and `docs/configuration.md`: the shapes come from the types that read the file, the words and
//! defaults from `config.example.yaml`. Set `VESTIBULE_TEST_WRITE` to write them down anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{Uncomment, example, files};
use crate::config::document::{Document, read_file};
use crate::config::raw::RawConfig;
use crate::litellm::role::Role;

const SCHEMA: &str = "docs/config.schema.json";
const REFERENCE: &str = "docs/configuration.md";
/// What comes after it in the reference is made by a test.
const MARK: &str = "<!-- What follows is made from the types and from config.example.yaml by a test. -->\n";
/// A value from the environment can stand in the place of any other.
const VARIABLE: &str = "\\$\\{";
/// Keys that stand in the example within braces, where no comment can stand above them.
const WORDS: &[(&str, &str)] = &[
    ("account", "How a person becomes a row of LiteLLM's."),
    ("audit", "The trail of accounts, roles, blocks, refusals and sessions."),
    ("database", "Connections to Postgres, and vestibule's own tables there."),
    ("drain", "How an ending goes."),
    ("identity", "How the sign-in proxy's headers are read."),
    ("limits", "Every limit of the front door and of the way up."),
    ("litellm", "LiteLLM: its address, its database, and what of its settings vestibule must know."),
    ("log", "What is logged, and how."),
    ("logout", "How somebody is signed out of the admin UI."),
    ("session", "The keys that are lent."),
    (
        "rules[].grants.on",
        "`create`: when the row is made alone; `always`: whenever the rule says other than what was last written.",
    ),
    ("value", "The value itself, or a list of two, in place of `value_file`."),
    ("value_file", "A file with the value, or with two, one a line, while one is replaced."),
    ("name", "The header's name."),
    ("decoding", "How its bytes become text."),
    ("separator", "How a list is written: one sign, `json`, or `quoted`."),
    ("group", "Groups, exact or with `*`; of a list one must match."),
    ("email", "Whole e-mail addresses, exact or with `*`."),
    ("email_domain", "What stands behind the `@`, exact or with `*`."),
    ("user", "The user header's value, exact or with `*`."),
    ("rules[].role", "What they get: one of LiteLLM's roles, or `deny`."),
    ("when", "Whom the rule is for: all that is set must match."),
];

/// What the example says of one key.
#[derive(Debug, Clone, Default)]
struct Note {
    words: String,
    value: String,
    is_default: bool,
}

/// The notes of the example by path, with `[]` for the items of a list.
fn notes() -> BTreeMap<String, Note> {
    let mut notes = BTreeMap::new();
    let mut above: Vec<(usize, String)> = Vec::new();
    let (mut words, mut last): (Vec<String>, String) = (Vec::new(), String::new());
    for line in read_file(Path::new("config.example.yaml")).unwrap().lines() {
        let indent = line.len() - line.trim_start().len();
        let (text, is_comment) = match line.trim_start().strip_prefix('#') {
            Some(text) => (text.strip_prefix(' ').unwrap_or(text), true),
            None => (line.trim_start(), false),
        };
        let (indent, text, is_item) = match text.trim_start().strip_prefix("- ") {
            Some(item) if !is_comment => (indent + 2, item, true),
            _ => (indent + text.len() - text.trim_start().len(), text.trim_start(), false),
        };
        let name = text.split(':').next().unwrap_or_default();
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let rest = text.get(name.len()..).unwrap_or_default();
        if !is_name || !(rest == ":" || rest.starts_with(": ")) {
            if is_comment {
                words.push(text.trim_start().trim_start_matches("# ").to_owned());
            } else {
                words.clear();
                last.clear();
            }
            continue;
        }
        above.retain(|(at, _)| *at < indent);
        let base = above.last().map_or(String::new(), |(_, path)| {
            if is_item || path == "rules" { format!("{path}[].") } else { format!("{path}.") }
        });
        let path = format!("{base}{name}");
        let value = rest.trim_start_matches(':').trim();
        let is_example = value.ends_with("# example");
        let value = value.trim_end_matches("# example").trim();
        let is_nested = is_comment && line.trim_start().trim_start_matches('#').starts_with("  ");
        // Within an example a key's words stand behind it.
        let (value, behind) = match value.split_once(" #") {
            Some((value, behind)) if is_nested => (value.trim(), Some(behind.trim().to_owned())),
            _ => (value, None),
        };
        // Keys that follow each other without a word between share the words above them.
        let said = if words.is_empty() { std::mem::take(&mut last) } else { std::mem::take(&mut words).join(" ") };
        last.clone_from(&said);
        let note = Note {
            words: behind.unwrap_or(said),
            value: value.to_owned(),
            is_default: is_comment && !is_example && !is_nested,
        };
        notes.entry(path.clone()).or_insert(note);
        above.push((indent, path));
    }
    notes
}

/// The words for a path: the example's, or a few of our own.
fn words(path: &str, notes: &BTreeMap<String, Note>) -> String {
    let bare = path.rsplit('.').next().unwrap_or(path);
    let told = |path: &str| notes.get(path).map(|note| note.words.clone()).filter(|words| !words.is_empty());
    let own = |name: &str| WORDS.iter().find(|(known, _)| *known == name).map(|(_, words)| (*words).to_owned());
    let in_proof = path.contains(".secret_header.").then(|| own(bare)).flatten();
    own(path)
        .or(in_proof)
        .or_else(|| told(path))
        .or_else(|| {
            notes.contains_key(&format!("{path}_file")).then(|| format!("The value itself, in place of `{bare}_file`."))
        })
        .or_else(|| bare.strip_suffix("_file").map(|base| format!("A file with the value of `{base}`.")))
        .or_else(|| own(bare))
        .unwrap_or_default()
}

/// One shape of schemars's, made plain and given words.
fn shape(schema: &Value, path: &str, notes: &BTreeMap<String, Note>) -> Value {
    let mut made = bare_shape(schema, path, notes);
    let said = words(path, notes);
    if !said.is_empty() {
        made["description"] = said.into();
    }
    if let Some(note) = notes.get(path).filter(|note| note.is_default && made.get("properties").is_none()) {
        made["default"] = default(&note.value);
    }
    made
}

fn default(text: &str) -> Value {
    let document = Document::parse(format!("value: {text}\n")).0.read::<Value>().0;
    document["value"].clone()
}

fn bare_shape(schema: &Value, path: &str, notes: &BTreeMap<String, Note>) -> Value {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let properties: Map<String, Value> =
            properties.iter().map(|(name, schema)| (name.clone(), shape(schema, &below(name), notes))).collect();
        assert_eq!(schema["additionalProperties"], false, "{path} takes unknown keys");
        return json!({ "type": ["object", "null"], "additionalProperties": false, "properties": properties });
    }
    if let Some(some) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        let known: Vec<&str> = some.iter().filter_map(|one| one.get("const")?.as_str()).collect();
        if !known.is_empty() {
            return choice(&known);
        }
        let mut ways: Vec<Value> =
            some.iter().filter(|one| one["type"] != "null").map(|one| bare_shape(one, path, notes)).collect();
        return if ways.len() == 1 { ways.remove(0) } else { json!({ "anyOf": ways }) };
    }
    if let Some(known) = schema.get("enum").and_then(Value::as_array) {
        return choice(&known.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    }
    if let Some(items) = schema.get("items") {
        return json!({ "type": "array", "items": bare_shape(items, &format!("{path}[]"), notes) });
    }
    let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    if kinds.iter().any(|kind| kind == "number") {
        return scalar(notes.get(path).map_or("", |note| &note.value));
    }
    assert!(kinds.iter().any(|kind| kind == "string"), "{path}: {schema}");
    if path.ends_with("role") {
        let mut known: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
        known.extend(["internal_user_view_only", "deny"]);
        return choice(&known);
    }
    json!({ "type": "string" })
}

fn choice(known: &[&str]) -> Value {
    json!({ "anyOf": [{ "enum": known }, { "type": "string", "pattern": VARIABLE }] })
}

/// What a value that is no text looks like, by the one in the example.
fn scalar(example: &str) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": format!("{pattern}|{VARIABLE}") });
    let digits = example.bytes().take_while(u8::is_ascii_digit).count();
    match example.get(digits..).unwrap_or_default() {
        "" if digits > 0 => json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, text("^[0-9]+$")] }),
        "ms" | "s" | "m" | "h" | "d" if digits > 0 => {
            json!({ "anyOf": [{ "const": 0 }, text("^(0|[0-9]+(ms|s|m|h|d))$")] })
        }
        _ if example == "true" || example == "false" => {
            json!({ "anyOf": [{ "type": "boolean" }, text("^(true|false)$")] })
        }
        _ => json!({ "type": ["string", "number", "boolean"] }),
    }
}

/// The whole schema.
fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let raw = settings.into_generator().into_root_schema_for::<RawConfig>();
    let mut schema = bare_shape(raw.as_value(), "", &notes());
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "vestibule's configuration".into();
    schema["type"] = "object".into();
    schema
}

/// One section of the reference, then those below it.
fn reference(name: &str, schema: &Value, notes: &BTreeMap<String, Note>, page: &mut String) {
    let title = if name.is_empty() { "At the top" } else { name };
    let _ = write!(page, "\n## {title}\n\n");
    if !name.is_empty() && !words(name, notes).is_empty() {
        let _ = write!(page, "{}\n\n", words(name, notes));
    }
    page.push_str("| key | default | |\n| --- | --- | --- |\n");
    let mut below = Vec::new();
    for (key, schema) in schema["properties"].as_object().unwrap() {
        let path = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        if schema.get("properties").is_some() {
            below.push((path.clone(), schema));
            continue;
        } else if schema.pointer("/items/properties").is_some() {
            below.push((format!("{path}[]"), &schema["items"]));
        }
        let note = notes.get(&path);
        let value = note.filter(|note| note.is_default).map_or(String::new(), |note| format!("`{}`", note.value));
        let mut said = words(&path, notes);
        let known: Vec<String> = (schema.pointer("/anyOf/0/enum").or_else(|| schema.pointer("/items/anyOf/0/enum")))
            .and_then(Value::as_array)
            .map(|known| known.iter().filter_map(|one| Some(format!("`{}`", one.as_str()?))).collect())
            .unwrap_or_default();
        if !known.is_empty() && !known.iter().all(|one| said.contains(one.trim_matches('`'))) {
            let _ = write!(said, " One of {}.", known.join(", "));
        }
        let _ = writeln!(page, "| `{key}` | {} | {} |", value.replace('|', "\\|"), said.trim().replace('|', "\\|"));
    }
    for (path, schema) in below {
        // All attributes have the same three keys.
        if path == "identity.headers" {
            let _ = write!(
                page,
                "\n## {path}\n\n{}\n\nOne mapping an attribute, with these keys:\n\n| key | |\n| --- | --- |\n",
                words(&path, notes)
            );
            for key in schema["properties"]["user"]["properties"].as_object().unwrap().keys() {
                let _ = writeln!(page, "| `{key}` | {} |", words(&format!("headers.user.{key}"), notes));
            }
            continue;
        }
        if path == "rules[].when" {
            continue;
        }
        reference(&path, schema, notes, page);
    }
}

/// Compares, or writes down.
fn agrees(path: &str, made: &str) {
    if std::env::var_os("VESTIBULE_TEST_WRITE").is_some() {
        std::fs::write(path, made).unwrap();
    }
    assert!(
        read_file(Path::new(path)).unwrap() == made,
        "{path} is stale: VESTIBULE_TEST_WRITE=1 cargo test --lib schema::"
    );
}

fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

#[test]
fn the_schema_is_made_from_the_types() {
    agrees(SCHEMA, &pretty(&schema()));
}

#[test]
fn the_reference_has_every_key_with_its_words() {
    let mut page = read_file(Path::new(REFERENCE)).unwrap();
    let head = page.find(MARK).expect("the mark stands in the page") + MARK.len();
    page.truncate(head);
    reference("", &schema(), &notes(), &mut page);
    agrees(REFERENCE, &page);
    let without: Vec<&str> = page.lines().filter(|line| line.starts_with("| `") && line.ends_with("|  |")).collect();
    assert!(without.is_empty(), "nothing is said of: {without:#?}");
}

/// A configuration as JSON.
fn parsed(text: String) -> Value {
    let (mut document, faults) = Document::parse(text);
    assert!(faults.is_empty(), "{faults:?}");
    document.read::<Value>().0
}

#[test]
fn the_example_and_every_valid_file_are_valid_by_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for uncomment in [Uncomment::Nothing, Uncomment::Defaults, Uncomment::Everything] {
        let document = parsed(example(uncomment).text.unwrap());
        let errors: Vec<String> =
            validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    for path in files("tests/config/valid") {
        let document = parsed(read_file(&path).unwrap());
        let errors: Vec<String> =
            validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(document.is_null() || errors.is_empty(), "{}: {errors:#?}", path.display());
    }
}

#[test]
fn unknown_keys_values_and_types_are_not_valid_by_the_schema() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut mappings = Vec::new();
    collect(&schema, &|inner| inner, &mut mappings);
    assert!(mappings.len() > 20, "{}", mappings.len());
    for (wrong, right) in &mappings {
        assert!(!validator.is_valid(wrong), "{wrong}");
        assert!(validator.is_valid(right), "{right}");
    }
    for name in ["unknown_keys", "unknown_values", "wrong_types", "rules_roles", "durations"] {
        let path = format!("tests/config/invalid/{name}.yaml");
        assert!(!validator.is_valid(&parsed(read_file(Path::new(&path)).unwrap())), "{path}");
    }
}

/// For each mapping of the schema a document that has an unknown key there, and one that has nothing there.
fn collect(schema: &Value, wrap: &dyn Fn(Value) -> Value, found: &mut Vec<(Value, Value)>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        found.push((wrap(json!({ "zzz": 1 })), wrap(json!({}))));
        for (key, below) in properties {
            collect(below, &|inner| wrap(json!({ key.as_str(): inner })), found);
        }
    } else if let Some(items) = schema.get("items") {
        collect(items, &|inner| wrap(json!([inner])), found);
    }
}
