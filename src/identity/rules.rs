//! What a user may do: the rules in their order, the first match wins.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::read::Identity;
use crate::config::{Matcher, Pattern, Rules, Terms};
use crate::refusal::{Code, Refusal};
use crate::store::UserProfile;

/// What a rule gave to an identity. Only [`RoleMapper::map`] makes one.
#[derive(Debug, Clone)]
pub struct RoleMapping {
    terms: Arc<Terms>,
    /// Of the terms' values: the same terms of two configurations are the same.
    digest: u64,
    rule: Option<usize>,
}

/// The rules, ready to be asked.
#[derive(Debug)]
pub struct RoleMapper {
    rules: Rules,
    default: Option<Arc<Terms>>,
}

// === impl RoleMapping ===

impl RoleMapping {
    fn new(terms: Arc<Terms>, rule: Option<usize>) -> Self {
        let mut hasher = DefaultHasher::new();
        terms.hash(&mut hasher);
        Self { terms, digest: hasher.finish(), rule }
    }

    /// Stands for the terms in comparisons.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Role and limits.
    pub fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    /// Position of the rule, from 0; `None` for the default role.
    pub fn rule(&self) -> Option<usize> {
        self.rule
    }
}

// === impl RoleMapper ===

impl RoleMapper {
    /// Takes checked rules.
    pub fn new(rules: Rules) -> Self {
        let default = rules.default_role.map(|role| Arc::new(Terms { role, allowance: None }));
        Self { rules, default }
    }

    /// Refuses with `not_admitted` or `no_role`.
    pub fn map(&self, identity: &Identity) -> Result<RoleMapping, Refusal> {
        let person = identity.person();
        let Rules { deny, allow, rules, .. } = &self.rules;
        let first = |matchers: &[Matcher]| matchers.iter().position(|matcher| matches(matcher, person));
        if let Some(at) = first(deny) {
            return Err(Refusal::from(Code::NotAdmitted).because(format!("`deny[{at}]` matches")));
        }
        if !allow.is_empty() && first(allow).is_none() {
            return Err(Refusal::from(Code::NotAdmitted).because("no entry of `allow` matches"));
        }
        match rules.iter().enumerate().find(|(_, rule)| matches(&rule.when, person)) {
            Some((at, rule)) => {
                let denied =
                    || Refusal::from(Code::NotAdmitted).because(format!("`rules[{at}]` matches, and says `deny`"));
                Ok(RoleMapping::new(rule.terms.clone().ok_or_else(denied)?, Some(at)))
            }
            None => Ok(RoleMapping::new(self.default.clone().ok_or(Code::NoRole)?, None)),
        }
    }
}

/// All that the matcher has must match; a matcher that has nothing matches nobody.
fn matches(matcher: &Matcher, person: &UserProfile) -> bool {
    let Matcher { group, email, email_domain, user } = matcher;
    if group.is_empty() && email.is_empty() && email_domain.is_empty() && user.is_empty() {
        return false;
    }
    let address = person.email.as_deref();
    let domain = address.and_then(|address| address.split_once('@')).map(|(_, domain)| domain);
    let holds = |patterns: &[Pattern], text: Option<&str>| {
        patterns.is_empty() || text.is_some_and(|text| patterns.iter().any(|pattern| pattern.matches(text)))
    };
    (group.is_empty() || person.groups.iter().any(|name| group.iter().any(|pattern| pattern.matches(name))))
        && holds(email, address)
        && holds(email_domain, domain)
        && holds(user, Some(&person.subject))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rule;
    use crate::litellm::role::Role;

    fn person(groups: &[&str], email: Option<&str>) -> UserProfile {
        UserProfile {
            issuer: "default".into(),
            subject: "alice".into(),
            email: email.map(str::to_owned),
            preferred_username: None,
            first_name: None,
            last_name: None,
            display_name: None,
            picture: None,
            provider: "test".into(),
            groups: groups.iter().map(ToString::to_string).collect(),
        }
    }

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::parse(text)).collect()
    }

    #[test]
    fn groups_match_whole_and_globs_where_a_star_stands() {
        let in_group = |pattern, groups: &[&str]| {
            matches(&Matcher { group: patterns(&[pattern]), ..Matcher::default() }, &person(groups, None))
        };
        assert!(in_group("admin", &["user", "admin"]));
        for other in ["notadmin", "admin;x", "ADMIN", "admins", ""] {
            assert!(!in_group("admin", &[other]), "{other}");
        }
        assert!(in_group("llm-*", &["llm-"]) && in_group("*-llm-*", &["a-llm-b-llm-c"]) && in_group("a*a", &["aa"]));
        assert!(!in_group("a*a", &["a"]) && !in_group("llm-*", &["xllm-a"]) && !in_group("a*b*c", &["ac"]));
    }

    #[test]
    fn all_parts_of_a_matcher_must_hold_and_an_empty_one_holds_for_nobody() {
        let both =
            Matcher { group: patterns(&["a", "b"]), email_domain: patterns(&["corp.local"]), ..Matcher::default() };
        assert!(matches(&both, &person(&["b"], Some("x@corp.local"))));
        assert!(!matches(&both, &person(&["b"], Some("x@evil-corp.local"))));
        assert!(!matches(&both, &person(&["b"], None)));
        assert!(!matches(&both, &person(&[], Some("x@corp.local"))));
        assert!(!matches(&Matcher::default(), &person(&["b"], Some("x@corp.local"))));
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule = |group: &str, role: Option<Role>| Rule {
            when: Matcher { group: patterns(&[group]), ..Matcher::default() },
            terms: role.map(|role| Arc::new(Terms { role, allowance: None })),
            line: None,
        };
        let rules = |default_role| Rules {
            deny: vec![Matcher { group: patterns(&["out"]), ..Matcher::default() }],
            allow: vec![],
            rules: vec![
                rule("barred", None),
                rule("admins", Some(Role::ProxyAdmin)),
                rule("*", Some(Role::InternalUser)),
            ],
            default_role,
        };
        let ask = |groups: &[&str], default_role| {
            RoleMapper::new(rules(default_role))
                .map(&Identity::of(person(groups, None)))
                .map(|grant| (grant.terms().role, grant.rule()))
                .map_err(|refusal| refusal.code())
        };
        assert_eq!(ask(&["users", "admins"], None), Ok((Role::ProxyAdmin, Some(1))));
        assert_eq!(ask(&["users"], None), Ok((Role::InternalUser, Some(2))));
        assert_eq!(ask(&["admins", "barred"], None), Err(Code::NotAdmitted));
        assert_eq!(ask(&["admins", "out"], None), Err(Code::NotAdmitted));
        assert_eq!(ask(&[], None), Err(Code::NoRole));
        assert_eq!(ask(&[], Some(Role::InternalUserViewer)), Ok((Role::InternalUserViewer, None)));
    }

    #[test]
    fn who_is_not_allowed_is_not_admitted() {
        let rules = Rules {
            deny: vec![],
            allow: vec![Matcher { email_domain: patterns(&["*.corp.local"]), ..Matcher::default() }],
            rules: vec![],
            default_role: Some(Role::InternalUser),
        };
        let granter = RoleMapper::new(rules);
        let ask = |email| granter.map(&Identity::of(person(&[], email))).map_err(|refusal| refusal.code()).is_ok();
        assert!(ask(Some("a@dev.corp.local")));
        assert!(!ask(Some("a@corp.local")) && !ask(None));
    }
}
