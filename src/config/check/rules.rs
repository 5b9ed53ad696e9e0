//! Who may come in, and as what.

use std::sync::Arc;

use crate::config::check::values::number;
use crate::config::problem::{KeyPath, literal, nearest};
use crate::config::raw::{GrantOn, List, OneOrMany, RawGrants, RawMatcher, RawRule, Scalar};
use crate::config::report::Report;
use crate::config::{Allowance, Attribute, BudgetDuration, IdentityRules, Matcher, Pattern, Rule, Rules, Terms};
use crate::litellm::role::Role;

/// Most rules: each is tried at every new identity.
const RULES_MAX: usize = 1000;
/// What a role can be said to be besides the four.
const DENY: &str = "deny";

/// What is known of a person when rules are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reads {
    groups: bool,
    groups_required: bool,
    email: bool,
}

/// What stands at `role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Role(Role),
    Deny,
}

impl Given {
    fn role(self) -> Option<Role> {
        match self {
            Self::Role(role) => Some(role),
            Self::Deny => None,
        }
    }
}

impl Reads {
    /// Takes everything as known where `identity` has a problem of its own: what is missing then is not the rules' fault.
    pub(super) fn new(identity: &IdentityRules, report: &Report) -> Self {
        let reads = |attribute| identity.reads.contains_key(&attribute);
        let doubtful = report.is_doubtful("identity");
        Self {
            groups: doubtful || reads(Attribute::Groups) || reads(Attribute::Roles),
            groups_required: doubtful || identity.groups_required,
            email: doubtful || reads(Attribute::Email) || identity.email_from_user,
        }
    }
}

/// `deny`, `allow`, `rules` and `default_role`.
pub(super) fn rules(
    deny: Option<List<RawMatcher>>,
    allow: Option<List<RawMatcher>>,
    rules: Option<List<RawRule>>,
    default_role: Option<&str>,
    reads: Reads,
    report: &mut Report,
) -> Rules {
    let default_role = default_role.and_then(|text| role(&"default_role".into(), text, report)).and_then(Given::role);
    let checked = Rules {
        deny: matchers("deny", deny.unwrap_or_default(), reads, report),
        allow: matchers("allow", allow.unwrap_or_default(), reads, report),
        rules: rule_list(rules.unwrap_or_default(), reads, report),
        default_role,
    };
    if checked.rules.is_empty() && default_role.is_none() && report.is_clean() {
        let remedy = "add `rules`, or set `default_role` to a role";
        report.warn("rules", "nobody gets in: there are no rules, and `default_role` is `deny`", remedy);
    }
    if default_role.is_some_and(Role::is_admin) {
        let remedy = "give such roles by a rule";
        report.warn("default_role", "everybody whom no rule matches becomes an admin", remedy);
    }
    if !reads.groups_required {
        escapable(&checked, report);
    }
    checked
}

/// Warns of what people escape by losing their groups: they can make their own groups header disappear (`Connection:`
/// through Apache), and then a later rule is theirs.
fn escapable(rules: &Rules, report: &mut Report) {
    let remedy = "a person without the groups header escapes it: set `identity.groups_required: true`";
    for (at, matcher) in rules.deny.iter().enumerate() {
        if !matcher.group.is_empty() {
            let key = KeyPath::parse("deny").at(at);
            report.warn(&key, format!("`{key}` hangs on groups, which may be missing"), remedy);
        }
    }
    let role = |rule: &Rule| rule.terms.as_ref().map(|terms| terms.role);
    let mut best_later = rules.default_role;
    let mut found = Vec::new();
    for (at, rule) in rules.rules.iter().enumerate().rev() {
        if !rule.when.group.is_empty() && role(rule) < best_later {
            found.push(at);
        }
        best_later = best_later.max(role(rule));
    }
    for at in found {
        let key = KeyPath::parse("rules").at(at);
        let message =
            format!("`{key}` hangs on groups, which may be missing, and gives less than a later rule or the default");
        report.warn(&key, message, remedy);
    }
}

fn rule_list(raw: List<RawRule>, reads: Reads, report: &mut Report) -> Vec<Rule> {
    if raw.len() > RULES_MAX {
        report.error("rules", format!("there are too many rules: {}", raw.len()), format!("at most {RULES_MAX}"));
        return Vec::new();
    }
    let mut rules = Vec::with_capacity(raw.len());
    for (at, raw) in raw.into_iter().enumerate() {
        let key = KeyPath::parse("rules").at(at);
        // A rule that is taken out keeps its place, so that numbers in later problems stay right.
        let raw = raw.unwrap_or_default();
        if raw.when.is_none() {
            let remedy = "add `when:` with a matcher; for everybody whom no rule matches there is `default_role`";
            report.missing(key.key("when"), format!("`{key}` does not say whom it is for"), remedy);
        }
        let when = raw.when.map_or_else(Matcher::default, |when| matcher(&key.key("when"), when, reads, report));
        if raw.role.is_none() {
            report.missing(key.key("role"), format!("`{key}` gives no role"), role_names());
        }
        let role = raw.role.and_then(|text| role(&key.key("role"), &text, report));
        let allowance = raw.grants.map(|raw| grants(&key.key("grants"), raw, report));
        if allowance.is_some() && role == Some(Given::Deny) {
            let grants = key.key("grants");
            report.error(&grants, format!("`{grants}` grants something to those who are denied"), "take it out");
        }
        let terms = role.and_then(Given::role).map(|role| Arc::new(Terms { role, allowance }));
        let line = report.line(&key);
        rules.push(Rule { when, terms, line });
    }
    rules
}

fn matchers(section: &str, raw: List<RawMatcher>, reads: Reads, report: &mut Report) -> Vec<Matcher> {
    let raw = raw.into_iter().map(Option::unwrap_or_default).enumerate();
    raw.map(|(at, raw)| matcher(&KeyPath::parse(section).at(at), raw, reads, report)).collect()
}

fn matcher(key: &KeyPath, raw: RawMatcher, reads: Reads, report: &mut Report) -> Matcher {
    let kinds = [&raw.group, &raw.email, &raw.email_domain, &raw.user];
    if !kinds.iter().any(|kind| kind.as_ref().is_some_and(|kind| !kind.items.is_empty())) {
        let remedy = "add `group`, `email`, `email_domain` or `user`; for everybody there is `default_role`";
        report.missing(key, format!("`{key}` matches nobody in particular"), remedy);
    }
    if raw.group.is_some() && !reads.groups {
        unread(&key.key("group"), "groups", report);
    }
    for name in [("email", raw.email.is_some()), ("email_domain", raw.email_domain.is_some())] {
        if name.1 && !reads.email {
            unread(&key.key(name.0), "email", report);
        }
    }
    Matcher {
        group: patterns(&key.key("group"), raw.group, |_| None, report),
        email: patterns(&key.key("email"), lower(raw.email), email_fault, report),
        email_domain: patterns(&key.key("email_domain"), lower(raw.email_domain), domain_fault, report),
        user: patterns(&key.key("user"), raw.user, |_| None, report),
    }
}

fn unread(key: &KeyPath, attribute: &str, report: &mut Report) {
    let message = format!("`{key}` hangs on an attribute that is not read: `{attribute}`");
    let remedy = format!(
        "a client could send that header itself unless your sign-in proxy always sets or removes it: if yours does, add \
         `{attribute}` to `identity.reads`"
    );
    report.error(key, message, remedy);
}

fn lower(raw: Option<OneOrMany<String>>) -> Option<OneOrMany<String>> {
    let lower = |item: Option<String>| item.map(|text| text.to_lowercase());
    raw.map(|raw| OneOrMany { items: raw.items.into_iter().map(lower).collect(), is_list: raw.is_list })
}

fn email_fault(text: &str) -> Option<&'static str> {
    match text.matches('@').count() {
        0 => Some("write a whole address with `@`; for a domain there is `email_domain`"),
        1 if text.bytes().all(|byte| byte == b'*' || byte == b'@') => Some("that is everybody with an address"),
        1 => None,
        _ => Some("write an address with one `@`"),
    }
}

fn domain_fault(text: &str) -> Option<&'static str> {
    text.contains('@').then_some("write the domain alone, without `@`")
}

fn patterns(
    key: &KeyPath,
    raw: Option<OneOrMany<String>>,
    fault: impl Fn(&str) -> Option<&'static str>,
    report: &mut Report,
) -> Vec<Pattern> {
    let Some(raw) = raw else { return Vec::new() };
    let mut patterns = Vec::with_capacity(raw.items.len());
    for (at, text) in raw.items.into_iter().enumerate() {
        let Some(text) = text else { continue };
        let fault = if text.trim().is_empty() || text.trim() != text {
            Some("write it without blanks around it")
        } else if text.bytes().all(|byte| byte == b'*') {
            Some("that is everybody: leave this matcher out, or use `default_role`")
        } else {
            fault(&text)
        };
        if let Some(fault) = fault {
            let key = if raw.is_list { key.at(at) } else { key.clone() };
            report.error(&key, format!("`{key}` can't be matched: {}", literal(&text)), fault);
        } else {
            patterns.push(Pattern::parse(&text));
        }
    }
    patterns
}

fn role(key: &KeyPath, text: &str, report: &mut Report) -> Option<Given> {
    if text == DENY {
        return Some(Given::Deny);
    }
    let role = Role::parse(text).map(Given::Role);
    if role.is_none() {
        let near = nearest(text, Role::ALL.into_iter().map(Role::as_str).chain([DENY]));
        let hint = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        report.error(key, format!("no such role: {}", literal(text)), format!("{hint}{}", role_names()));
    }
    role
}

fn role_names() -> String {
    let names: Vec<_> = Role::ALL.iter().rev().map(|role| format!("`{}`", role.as_str())).collect();
    format!("roles are {}, or `{DENY}`", names.join(", "))
}

fn grants(key: &KeyPath, raw: RawGrants, report: &mut Report) -> Allowance {
    let models = raw.models.map(|models| models.into_iter().flatten().collect::<Vec<_>>());
    if models.as_ref().is_some_and(|models| models.is_empty() || models.iter().any(|model| model.trim().is_empty())) {
        let key = key.key("models");
        let remedy = "to LiteLLM an empty list means all models: leave `models` out for that, or name them";
        report.missing(&key, format!("`{key}` has no names of models"), remedy);
    }
    let mut limit = |name: &str, raw: Option<Scalar>| {
        let key = key.key(name).to_string();
        raw.map(|raw| number(&key, Some(raw), 0, 0..=i64::MAX, report))
    };
    let (tpm_limit, rpm_limit) = (limit("tpm_limit", raw.tpm_limit), limit("rpm_limit", raw.rpm_limit));
    let allowance = Allowance {
        always: raw.on == Some(GrantOn::Always),
        models,
        max_budget: raw.max_budget.and_then(|raw| budget(&key.key("max_budget"), &raw, report)),
        budget_duration: raw.budget_duration.and_then(|raw| budget_duration(&key.key("budget_duration"), &raw, report)),
        tpm_limit,
        rpm_limit,
    };
    if allowance == (Allowance { always: allowance.always, ..Allowance::default() }) {
        let remedy = "add `models`, `max_budget`, `budget_duration`, `tpm_limit` or `rpm_limit`, or take it out";
        report.missing(key, format!("`{key}` grants nothing"), remedy);
    }
    allowance
}

fn budget(key: &KeyPath, Scalar(text): &Scalar, report: &mut Report) -> Option<f64> {
    let budget = text.parse::<f64>().ok().filter(|budget| budget.is_finite() && *budget >= 0.0);
    if budget.is_none() {
        report.error(
            key,
            format!("`{key}` is not an amount: {}", literal(text)),
            "write USD as a number from 0 on, such as `50.0`",
        );
    }
    budget
}

/// LiteLLM's notation (`litellm_core_utils/duration_parser.py`), as far as a period in seconds is meant.
fn budget_duration(key: &KeyPath, Scalar(text): &Scalar, report: &mut Report) -> Option<BudgetDuration> {
    let seconds = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return None,
        };
        let plain = number.bytes().all(|byte| byte.is_ascii_digit());
        // A hundred years: what is longer does not fit LiteLLM's timestamps any more.
        let fits = |seconds: &u64| (1..=100 * 366 * 24 * 60 * 60).contains(seconds);
        number.parse::<u64>().ok().filter(|_| plain)?.checked_mul(unit).filter(fits)
    };
    let duration = seconds().map(|seconds| BudgetDuration { text: text.clone(), seconds });
    if duration.is_none() {
        let message = format!("`{key}` is not a period in LiteLLM's notation: {}", literal(text));
        report.error(key, message, "a number and one of `s`, `m`, `h`, `d`, such as `30d`");
    }
    duration
}
