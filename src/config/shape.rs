//! Words for nodes that do not have the shape they must have. Values are never repeated: a secret may stand anywhere.

use crate::config::document::ShapeFault;
use crate::config::problem::{literal, nearest};
use crate::config::report::{Report, is_word};

/// Adds the problem of one faulty node.
pub(super) fn explain(fault: ShapeFault, report: &mut Report) {
    let ShapeFault { path, message, found } = fault;
    // Serde's words after this are ours: names of keys and variants, or `expecting`.
    let (said, expected) = message.rsplit_once(", expected ").unwrap_or((&message, ""));
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    if said.starts_with("unknown field") {
        let key = path.last_key().unwrap_or_default().to_owned();
        let above = path.parent().filter(|above| !above.steps().is_empty());
        let place = above.as_ref().map_or_else(String::new, |above| format!(" in `{above}`"));
        let near = nearest(&key, known.iter().copied());
        let remedy =
            near.map_or_else(|| format!("known here: {}", names(&known)), |near| format!("did you mean `{near}`?"));
        let name = if is_word(&key) { format!("key `{key}`") } else { "key".to_owned() };
        report.unknown(&path, format!("unknown {name}{place}"), remedy);
        if let Some(near) = near {
            // The key that was meant is then missing for a reason that is told already.
            report.taken_out(above.unwrap_or_default().key(near));
        }
    } else if let Some(value) = said.strip_prefix("unknown variant `") {
        let value = value.trim_end_matches('`');
        let near = nearest(value, known.iter().copied());
        let hint = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        let remedy = format!("{hint}known values: {}", names(&known));
        report.misshapen(path.clone(), format!("unknown value for `{path}`: {}", literal(value)), remedy);
    } else {
        let expected = match expected {
            "a sequence" => "a list",
            "a string" => "text",
            "" => "another type",
            text if text.starts_with("a mapping") || text.starts_with("a single") || text.starts_with("text,") => text,
            _ => "a name",
        };
        let remedy = match (expected, found) {
            ("a list", _) => "write a list in brackets: `[a, b]`".to_owned(),
            ("a mapping", _) => "write its keys below it, each on a line of its own and further in".to_owned(),
            ("a single value", _) => "write one value, without brackets and without keys below it".to_owned(),
            ("text" | "a name", "a number" | "`true` or `false`") => "put the value in quotes".to_owned(),
            _ => String::new(),
        };
        report.misshapen(path.clone(), format!("wrong type for `{path}`: expected {expected}, found {found}"), remedy);
    }
}

fn names(known: &[&str]) -> String {
    known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
