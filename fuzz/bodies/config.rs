//! A configuration's text: it becomes a sound `Config`, or problems that can be printed and show no secret.
//!
//! As in `tests/config`, lines `# env: NAME=value` and `# flag: key=value` set something over the text.

use http::HeaderName;
use serde_yaml::Value;
use vestibule::config::problem::{Problem, Severity};
use vestibule::config::{Attribute, Config, ConfigSource, Listen, Problems, load};

/// What secrets have in them, so that one that is printed is seen.
pub const MARK: &str = "s3cret";

const SECRETS: [[&str; 3]; 4] = [
    ["trust", "secret_header", "value"],
    ["trust", "basic_auth_password", ""],
    ["session", "secret", ""],
    ["litellm", "database_url", ""],
];

/// Takes a file's bytes.
pub fn holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // A secret's file is read, and not every file of this machine ends, or waits for nobody.
    if text.contains("/dev") || text.contains("/proc") || text.contains("/sys") {
        return;
    }
    let loaded = read(text);
    let tree = serde_yaml::from_str::<Value>(text);
    let printed = match &loaded {
        Ok((config, warnings)) => {
            sound(config);
            assert!(warnings.iter().all(|problem| problem.severity == Severity::Warning));
            format!("{config:?}\n{}", lines(warnings))
        }
        Err(problems) => {
            assert!(!problems.errors.is_empty(), "a refusal without a reason");
            problems.to_string()
        }
    };
    for problem in problems(&loaded) {
        placed(problem, text);
        let shown = problem.to_string();
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "a control is printed: {shown:?}");
    }
    if hides(text, &tree) {
        assert!(!printed.contains(MARK), "a secret is printed:\n{text}\n\n{printed}");
    }
    if let Ok(tree) = tree {
        let turned = turned(text);
        if serde_yaml::from_str::<Value>(&turned).is_ok_and(|other| other == tree) {
            assert_eq!(said(&read(&turned)), said(&loaded), "the order of keys says something:\n{text}");
        }
    }
}

type Loaded = Result<(Config, Vec<Problem>), Problems>;

fn read(text: &str) -> Loaded {
    let pairs = |what: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what)?.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let (environment, overrides) = (pairs("# env: "), pairs("# flag: "));
    load(&ConfigSource { file: Some("vestibule.yaml".into()), text: Some(text.to_owned()), environment, overrides })
}

fn problems(loaded: &Loaded) -> Vec<&Problem> {
    match loaded {
        Ok((_, warnings)) => warnings.iter().collect(),
        Err(problems) => problems.errors.iter().chain(&problems.warnings).collect(),
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What is said, apart from where.
fn said(loaded: &Loaded) -> Vec<String> {
    const UNREADABLE: &str = "this is not YAML that can be read";
    let said = |problem: &&Problem| {
        // Reading ends at the first fault, and another order makes another one the first.
        let message = if problem.message.starts_with(UNREADABLE) { UNREADABLE } else { &problem.message };
        format!("{:?} {} {message} {:?}", problem.severity, problem.path, problem.remedy)
    };
    let mut said: Vec<_> = problems(loaded).iter().map(said).collect();
    said.sort();
    said
}

/// A problem's place is in the text, and its excerpt is of that line.
fn placed(problem: &Problem, text: &str) {
    assert_eq!(problem.line.is_some(), problem.column.is_some());
    let Some((line, column)) = problem.line.zip(problem.column) else {
        assert!(problem.excerpt.is_none());
        return;
    };
    assert!(line >= 1 && column >= 1);
    let lines = yaml_lines(text);
    // A fault may be at the very end, behind the last line.
    assert!(line <= lines.len() + 1, "{line} of {} lines\n{text}", lines.len());
    let shown = lines.get(line - 1).map_or("", String::as_str);
    assert!(column <= shown.chars().count() + 1, "{line}:{column} of {shown:?}");
    let Some(excerpt) = &problem.excerpt else { return };
    let length = excerpt.text.chars().count();
    assert!(excerpt.start <= length && (1..=length.max(1)).contains(&excerpt.width), "{excerpt:?}");
    let printable: String = shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut rest = printable.as_str();
    for piece in excerpt.text.split('…').map(str::trim_end) {
        let Some((_, after)) = rest.split_once(piece) else { panic!("{excerpt:?} is not of the line {shown:?}") };
        rest = after;
    }
}

/// Lines as YAML 1.1 counts them.
fn yaml_lines(text: &str) -> Vec<String> {
    let (mut lines, mut line, mut before) = (Vec::new(), String::new(), None);
    for c in text.chars() {
        match c {
            '\n' if before == Some('\r') => {}
            '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => lines.push(std::mem::take(&mut line)),
            _ => line.push(c),
        }
        before = Some(c);
    }
    lines.push(line);
    lines
}

/// Whether every mark of the text stands in a secret, so that none may be printed. Of a text that can't be read nobody
/// knows what is a secret: nothing of its values may be shown.
fn hides(text: &str, tree: &Result<Value, serde_yaml::Error>) -> bool {
    // A variable's own explanation is meant to be shown.
    if text.contains("${") || text.contains("# env: ") || text.contains("# flag: ") {
        return false;
    }
    let tree = match tree {
        Ok(tree) => tree,
        // After a duplicate key vestibule reads on, and this reader does not.
        Err(error) => return !error.to_string().contains("duplicate"),
    };
    let mut in_secrets = 0;
    for path in SECRETS {
        let mut node = Some(tree);
        for step in path.into_iter().filter(|step| !step.is_empty()) {
            node = match node {
                Some(Value::Mapping(map)) => map.get(step),
                other => other,
            };
        }
        in_secrets += node.map_or(0, marks);
    }
    let all = marks(tree);
    // `trust` has two: what stands in the place of the whole section is counted twice.
    let is_section = |name: &str| matches!(tree.get(name), None | Some(Value::Mapping(_)));
    let is_plain = is_section("trust") && is_section("session") && is_section("litellm") && tree.is_mapping();
    is_plain && all > 0 && in_secrets == all && text.matches(MARK).count() == all
}

/// How many times the mark is in the keys and values of a node.
fn marks(node: &Value) -> usize {
    match node {
        Value::String(text) => text.matches(MARK).count(),
        Value::Sequence(items) => items.iter().map(marks).sum(),
        Value::Mapping(map) => map.iter().map(|(key, value)| marks(key) + marks(value)).sum(),
        Value::Tagged(tagged) => marks(&tagged.value),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// The text with its top-level keys the other way round, if it is written in plain blocks.
fn turned(text: &str) -> String {
    let mut blocks: Vec<String> = Vec::new();
    for line in text.lines() {
        let begins = line.starts_with(|c: char| c.is_alphanumeric() || c == '"' || c == '\'');
        match blocks.last_mut() {
            Some(block) if !begins => {
                block.push_str(line);
                block.push('\n');
            }
            _ => blocks.push(format!("{line}\n")),
        }
    }
    blocks.reverse();
    blocks.concat()
}

/// What every other module relies on.
fn sound(config: &Config) {
    let Config { trust, identity, rules, session, limits, litellm, .. } = config;
    let is_private_socket = matches!(config.listen, Listen::Unix { mode, .. } if mode % 0o10 == 0);
    let has_proof = trust.secret_header.is_some() || trust.basic_auth_password.is_some();
    assert!(has_proof || is_private_socket || !trust.peers.is_empty() || !trust.uids.is_empty(), "nobody is asked");
    assert!(trust.secret_header.iter().all(|proof| (1..=2).contains(&proof.values.len())));
    assert!(config.workers > 0);
    assert!(config.own_prefix.len() > 1 && config.own_prefix.starts_with('/') && !config.own_prefix.ends_with('/'));
    assert!(identity.reads.contains_key(&Attribute::User), "nobody could come in");
    assert!(!identity.groups_required || identity.reads.contains_key(&Attribute::Groups));
    assert!(!identity.email_from_user || !identity.reads.contains_key(&Attribute::Email));
    let mut names = Vec::new();
    for (attribute, rule) in &identity.reads {
        let is_list = matches!(attribute, Attribute::Groups | Attribute::Roles);
        assert_eq!(rule.separator.is_some(), is_list);
        assert!(identity.all_names.contains(&rule.name), "`{}` would not be stripped", rule.name);
        names.push(folded(&rule.name));
    }
    names.extend(trust.secret_header.iter().map(|proof| folded(&proof.name)));
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "one header for two things");
    let keys = litellm.key_header.iter().chain(&litellm.pass_through_key_headers);
    assert!(!keys.map(folded).any(|name| names.contains(&name)), "a key where an identity or a proof is");
    assert!(session.life <= session.max_age && !session.life.is_zero());
    assert!(identity.max_groups > 0 && identity.max_value_bytes > 0);
    assert!(limits.header_bytes > 0 && limits.headers > 0 && limits.target_bytes > 0 && limits.connections > 0);
    for matcher in rules.deny.iter().chain(&rules.allow).chain(rules.rules.iter().map(|rule| &rule.when)) {
        let lists = [&matcher.group, &matcher.email, &matcher.email_domain, &matcher.user];
        assert!(lists.iter().any(|list| !list.is_empty()), "a matcher that everybody matches");
    }
    for path in config.public_paths.exact.iter().chain(&config.public_paths.prefixes) {
        assert!(path.starts_with('/') && path != "/*" && !path.contains("//"), "{path}");
    }
    assert!(config.public_paths.prefixes.iter().all(|prefix| prefix.len() > 1 && prefix.ends_with('/')));
}

fn folded(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}
