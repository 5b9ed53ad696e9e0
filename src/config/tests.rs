//! Whole configurations: every file of `tests/config`, `config.example.yaml`, and every one of `deploy`.

use std::path::{Path, PathBuf};

mod schema;

use super::*;
use crate::config::document::read_file;

/// In every secret of the files, so that one that is printed is seen.
const MARK: &str = "s3cret";

/// A file and what stands in its first lines for it: `# env: NAME=value` and `# flag: key=value`.
fn source(path: &Path) -> ConfigSource {
    let text = read_file(path).unwrap();
    let pairs = |what: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what)?.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    ConfigSource { file: Some(path.into()), text: None, environment: pairs("# env: "), overrides: pairs("# flag: ") }
}

/// The YAML files of a folder, named from the package's root as they are in the printed problems.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|kind| kind == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Set `VESTIBULE_TEST_WRITE` to write down what is printed now, and read the difference before it is kept.
fn compare(path: &Path, printed: &str) {
    assert!(!printed.contains(MARK), "{}: a secret is printed:\n{printed}", path.display());
    let wanted = path.with_extension("txt");
    if std::env::var_os("VESTIBULE_TEST_WRITE").is_some() {
        std::fs::write(&wanted, format!("{printed}\n")).unwrap();
    }
    assert_eq!(format!("{printed}\n"), read_file(&wanted).unwrap(), "{}", path.display());
}

#[test]
fn every_invalid_file_gives_exactly_its_problems() {
    for path in files("tests/config/invalid") {
        match load(&source(&path)) {
            Ok(_) => panic!("{} is valid", path.display()),
            Err(problems) => compare(&path, &problems.to_string()),
        }
    }
}

#[test]
fn every_valid_file_gives_a_configuration_and_exactly_its_warnings() {
    for path in files("tests/config/valid") {
        match load(&source(&path)) {
            Ok((config, warnings)) => {
                let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
                compare(&path, &warnings.join("\n\n"));
                assert!(!format!("{config:?}").contains(MARK), "{}: a secret is in Debug", path.display());
            }
            Err(problems) => panic!("{problems}"),
        }
    }
}

/// The configuration of a valid file.
fn valid(name: &str) -> Config {
    load(&source(&PathBuf::from(format!("tests/config/valid/{name}.yaml")))).unwrap().0
}

#[test]
fn what_nobody_set_has_its_default() {
    let config = valid("least");
    assert_eq!(config.listen, Listen::Tcp("127.0.0.1:4180".parse().unwrap()));
    assert_eq!(config.admin, Some("127.0.0.1:4181".parse().unwrap()));
    assert!(config.workers > 0);
    assert!(!config.identity.groups_required);
    assert_eq!(config.identity.provider, "oauth2-proxy");
    assert_eq!(config.session.life, Duration::from_hours(24));
    assert_eq!(config.litellm.schema, "public");
    assert_eq!(config.client_keys, ClientKeys::Strip);
    assert_eq!(config.sign_in_cookies, [CookieName::Prefix("_oauth2_proxy".into())]);
    assert!(config.litellm.master_key.is_none());
    assert_eq!(config.audit.retention, Duration::from_hours(90 * 24));
    assert!(config.public_paths.exact.is_empty() && config.public_paths.prefixes.is_empty());
}

#[test]
fn secrets_come_from_files_and_several_at_once() {
    use secrecy::ExposeSecret as _;
    let config = valid("files_and_rotation");
    let proof = config.trust.secret_header.unwrap();
    let values: Vec<_> = proof.values.iter().map(secrecy::ExposeSecret::expose_secret).collect();
    assert_eq!(proof.name, "x-vestibule-proof");
    let wanted = ["proof-s3cret-0123456789abcdef0123456789abcdef", "proof-s3cret-fedcba9876543210fedcba9876543210"];
    assert_eq!(values, wanted);
    assert_eq!(config.trust.basic_auth_password.unwrap().expose_secret(), "password-s3cret-0123");
    assert_eq!(config.litellm.master_key.unwrap().expose_secret(), "sk-master-s3cret-0123");
    let older = SessionSecrets::parse(&"older-session-s3cret-0123456789abcdef".to_owned().into()).unwrap();
    assert!(config.session.secrets.knows(older.current().as_str()));
    assert_ne!(config.session.secrets.current(), older.current());
}

#[test]
fn an_address_from_prisma_loses_what_is_prismas_and_gives_its_schema() {
    use secrecy::ExposeSecret as _;
    let litellm = valid("files_and_rotation").litellm;
    assert_eq!(litellm.schema, "llm");
    let wanted = "postgresql://litellm:s3cret@db.example.com:5432/litellm?sslmode=require";
    assert_eq!(litellm.database_url.expose_secret(), wanted);
    assert_eq!(litellm.url, UpstreamAddress::Tcp { host: "litellm".into(), port: 80 });
}

#[test]
fn the_environment_alone_is_enough_and_the_command_line_wins() {
    use secrecy::ExposeSecret as _;
    let config = valid("environment_alone");
    let peers: Vec<_> = config.trust.peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["10.0.0.0/8", "192.168.0.0/16", "fd00::1/128"]);
    assert_eq!(&*config.identity.issuer, "0123");
    assert_eq!(config.rules.default_role, Some(Role::InternalUser));
    assert_eq!(config.litellm.url, UpstreamAddress::Tcp { host: "::1".into(), port: 4000 });
    assert_eq!(config.litellm.database_url.expose_secret(), "postgres://litellm:s3cret\"{x:[y@db/litellm");
    assert_eq!(config.workers, 1);
}

#[test]
fn variables_become_values_and_never_structure() {
    let config = valid("variables");
    assert_eq!(&*config.identity.issuer, "a: [b$");
    assert_eq!(config.identity.provider, "keycloak");
    assert_eq!(config.litellm.url, UpstreamAddress::Tcp { host: "litellm".into(), port: 4000 });
    assert_eq!(config.workers, 3);
}

#[test]
fn every_section_arrives_where_it_belongs() {
    let config = valid("all_sections");
    assert_eq!(config.admin, None);
    let url = PublicUrl { https: true, authority: "llm.example.com".into(), prefix: "/llm".into() };
    assert_eq!(config.public_url, Some(url));
    let rule = &config.rules.rules[0];
    assert_eq!(rule.line, Some(16));
    assert_eq!(rule.when.group, [Pattern::Exact("a".into()), Pattern::parse("b-*")]);
    assert_eq!(rule.when.email, [Pattern::parse("*@example.com")]);
    let allowance = Allowance {
        always: true,
        models: Some(vec!["gpt-4o-mini".into()]),
        max_budget: Some(50.0),
        budget_duration: Some(BudgetDuration { text: "30d".into(), seconds: 30 * 86_400 }),
        tpm_limit: Some(1000),
        rpm_limit: Some(10),
    };
    assert_eq!(**rule.terms.as_ref().unwrap(), Terms { role: Role::InternalUser, allowance: Some(allowance) });
    assert_eq!(config.public_paths.exact.len(), 7);
    assert!(config.public_paths.exact.contains(&"/health/liveliness".to_owned()));
    let prefixes = ["/.well-known/oauth-protected-resource/", "/.well-known/oauth-authorization-server/", "/b/"];
    assert_eq!(config.public_paths.prefixes, prefixes);
    assert_eq!(config.sign_in_cookies, [CookieName::Exact("_my".into()), CookieName::Prefix("_your".into())]);
    assert_eq!(config.own_prefix, "/door");
    assert_eq!(config.account.adopt, [AdoptBy::UserId, AdoptBy::Email]);
    assert!(config.log.person_in_clear);
}

#[test]
fn with_the_e_mail_in_the_user_header_no_other_header_gives_one() {
    let config = valid("email_from_user");
    assert!(config.identity.email_from_user && !config.identity.reads.contains_key(&Attribute::Email));
    let user = &config.identity.reads[&Attribute::User];
    assert_eq!((user.name.as_str(), user.decoding, user.separator), ("x-my-user", Decoding::Base64url, None));
    assert!(config.identity.all_names.contains(&user.name));
    assert_eq!(config.rules.rules[0].when.email_domain, [Pattern::Exact("example.com".into())]);
}

#[test]
fn what_is_not_in_reads_is_only_stripped() {
    let config = testing("identity: { preset: vouch, reads: [user, groups], headers: { name: { name: X-Foo } } }\n");
    let read: Vec<_> = config.identity.reads.iter().map(|(attribute, rule)| (*attribute, rule.name.as_str())).collect();
    assert_eq!(read, [(Attribute::User, "x-vouch-user"), (Attribute::Groups, "x-vouch-idp-claims-groups")]);
    assert_eq!(config.identity.reads[&Attribute::Groups].separator, Some(Separator::Quoted));
    for name in ["x-foo", "x-forwarded-access-token", "remote-user", "x-vouch-idp-claims-email"] {
        assert!(config.identity.all_names.iter().any(|known| known == name), "{name}");
    }
}

#[test]
fn a_configuration_for_tests_needs_only_what_is_tested() {
    assert_eq!(testing("").rules.default_role, None);
    let config =
        testing("trust: { secret_header: { name: X-P, value: 0123456789abcdef0123456789abcdef } }\nworkers: 2\n");
    assert!(config.trust.peers.is_empty() && config.trust.secret_header.is_some());
    assert_eq!(config.workers, 2);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let problems =
        load(&ConfigSource { file: Some("/nowhere/vestibule.yaml".into()), ..ConfigSource::default() }).unwrap_err();
    let wanted = "error: can't read /nowhere/vestibule.yaml\n  --> /nowhere/vestibule.yaml\n     = help: No such file or \
                  directory (os error 2)";
    assert_eq!(problems.to_string(), wanted);
}

#[test]
fn a_long_file_of_problems_ends_soon() {
    let rule = |at| format!("  - when: {{ group: g{at} }}\n    role: internal_user");
    let rules: Vec<_> = (0..900).map(rule).collect();
    let unknown: Vec<_> = (0..20_000).map(|at| format!("  k{at}: v")).collect();
    let text = Some(format!("rules:\n{}\nunknown:\n{}\n", rules.join("\n"), unknown.join("\n")));
    let problems = load(&ConfigSource { text, ..ConfigSource::default() }).unwrap_err();
    assert_eq!(problems.errors[0].line, Some(1802));
    assert!(problems.errors[0].message.contains("unknown"), "{}", problems.errors[0]);
}

// === config.example.yaml, deploy ===

/// Files of somebody's own machine that hold secrets become those of `tests/config/secrets`.
fn with_our_secrets(text: &str) -> String {
    let keys = [
        ("value_file: ", "proof"),
        ("basic_auth_password_file: ", "password"),
        ("database_url_file: ", "database-url"),
        ("master_key_file: ", "master-key"),
        ("secret_file: ", "session"),
    ];
    let lines = text.lines().map(|line| {
        let found = keys.iter().find_map(|(key, ours)| Some((key, ours, line.split_once(key)?)));
        let Some((key, ours, (before, path))) = found else { return line.to_owned() };
        let behind = path.find([' ', ',']).and_then(|end| path.get(end..)).unwrap_or_default();
        format!("{before}{key}tests/config/secrets/{ours}{behind}")
    });
    lines.map(|line| line + "\n").collect()
}

/// Every `vestibule.yaml` in a folder and below it.
fn configurations(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| if path.is_dir() { configurations(&path) } else { vec![path] });
    let mut found: Vec<_> = found.filter(|path| path.ends_with("vestibule.yaml")).collect();
    found.sort();
    found
}

#[test]
fn every_configuration_of_deploy_can_be_used_as_it_is() {
    let files = configurations(Path::new("deploy"));
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        let text = with_our_secrets(&read_file(&path).unwrap());
        let source = ConfigSource { file: Some(path.clone()), text: Some(text), ..ConfigSource::default() };
        let (_, warnings) = load(&source).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(warnings.is_empty(), "{}: {warnings:?}", path.display());
    }
}

/// Which commented keys of the example are taken in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Uncomment {
    Nothing,
    Defaults,
    Everything,
}

/// The example with commented keys taken in. A key that has no default has `# example` at its end, and what is indented
/// below it belongs to it.
fn example(uncomment: Uncomment) -> ConfigSource {
    let key = |text: &str| {
        let name = text.split(':').next().unwrap_or_default();
        let is_key = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_key && text.get(name.len()..).is_some_and(|rest| rest == ":" || rest.starts_with(": "))
    };
    let mut lines = Vec::new();
    for line in read_file(Path::new("config.example.yaml")).unwrap().lines() {
        let taken = line.split_once("# ").filter(|(indent, text)| {
            let belongs_above = text.starts_with(' ');
            let wanted = match uncomment {
                Uncomment::Nothing => false,
                Uncomment::Defaults => !belongs_above && !text.ends_with("# example"),
                Uncomment::Everything => true,
            };
            indent.trim().is_empty() && wanted && key(text.trim_start())
        });
        lines.push(taken.map_or_else(|| line.to_owned(), |(indent, text)| format!("{indent}{text}")));
    }
    let text = with_our_secrets(&lines.join("\n"));
    ConfigSource { file: Some("config.example.yaml".into()), text: Some(text), ..ConfigSource::default() }
}

#[test]
fn the_example_can_be_used_as_it_is() {
    let (config, warnings) = load(&example(Uncomment::Nothing)).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.rules.rules.len(), 2);
}

#[test]
fn the_defaults_in_the_example_are_the_real_ones() {
    // An address without `?schema=`, since the example gives the default of `litellm.schema` too.
    let load = |uncomment| {
        let mut source = example(uncomment);
        let address = "postgres://litellm:s3cret@127.0.0.1/litellm".to_owned();
        source.overrides = vec![("litellm.database_url".to_owned(), address)];
        let (config, _) = load(&source).unwrap_or_else(|problems| panic!("{problems}"));
        format!("{config:#?}")
    };
    let taken_in = example(Uncomment::Defaults).text.unwrap();
    assert!(taken_in.contains("\n  max_age: 7d\n") && taken_in.contains("\nworkers: 0\n"));
    assert_eq!(load(Uncomment::Defaults), load(Uncomment::Nothing));
}

#[test]
fn the_example_documents_every_key() {
    let full = example(Uncomment::Everything);
    let (config, _) = load(&full).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.rules.deny.len(), 1);
    let document = document::Document::parse(full.text.clone().unwrap()).0;
    let sections = [
        "",
        "trust",
        "trust.secret_header",
        "identity",
        "identity.check",
        "forward_auth",
        "forward_auth.secret_header",
        "rules[1]",
        "rules[1].grants",
        "account",
        "session",
        "litellm",
        "database",
        "ui",
        "logout",
        "limits",
        "drain",
        "log",
        "audit",
    ];
    for section in sections {
        let mut source = full.clone();
        source.overrides = vec![(format!("{section}.zzzzzzzzz"), "x".to_owned())];
        let problems = load(&source).unwrap_err();
        let known = problems.errors[0].remedy.clone().unwrap();
        let known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
        assert!(!known.is_empty(), "{problems}");
        for key in known {
            let path = problem::KeyPath::parse(section).key(key);
            let file = problem::KeyPath::parse(section).key(&format!("{key}_file"));
            let there = document.kind(&path).is_some() || document.kind(&file).is_some();
            assert!(there, "`{path}` is not in config.example.yaml");
        }
    }
}

// === hostile text ===

mod hostile {
    use proptest::prelude::*;

    use super::*;

    const BASE: &str = "trust:\n  peers: [10.0.0.1]\n  secret_header:\n    name: X-Proof\n    value: \
                        s3crets3crets3crets3crets3crets3cret\n  basic_auth_password: \"s3cret s3cret s3cret\"\nidentity: { preset: \
                        oauth2-proxy, reads: [user] }\nsession:\n  life: 24h\n  secret: |\n    \
                        s3crets3crets3crets3crets3crets3cret\n    s3crets3crets3crets3crets3crets3cret\n  max_age: \
                        7d\nlitellm: { url: 'http://127.0.0.1:4000', database_url: 'postgres://u:s3crets3cret@h/d' }\n";
    const SIGNS: &str = " \n\t:#'\"[]{},|>-&*!%@$`?x\u{e9}";

    /// A slip of the hand.
    fn edit(text: &str, place: usize, kind: u8, sign: char) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        let mut lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() {
            return sign.to_string();
        }
        let (at, line) = (place % chars.len(), place % lines.len());
        match kind {
            0 => drop(chars.remove(at)),
            1 => chars.insert(at, sign),
            2 => drop(lines.remove(line)),
            3 => lines.insert(line, lines[line]),
            4 => lines.swap(0, line),
            _ => chars.truncate(at),
        }
        if (2..5).contains(&kind) { lines.join("\n") } else { chars.into_iter().collect() }
    }

    fn printed(text: &str) -> String {
        let file = Some("vestibule.yaml".into());
        match load(&ConfigSource { file, text: Some(text.to_owned()), ..ConfigSource::default() }) {
            Ok((config, warnings)) => format!("{config:?}{warnings:?}"),
            Err(problems) => problems.to_string(),
        }
    }

    fn edits() -> impl Strategy<Value = Vec<(usize, u8, char)>> {
        let sign = prop::sample::select(SIGNS.chars().collect::<Vec<_>>());
        prop::collection::vec((any::<usize>(), 0_u8..6, sign), 1..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_slip_of_the_hand_prints_a_secret(edits in edits()) {
            let text = edits.iter().fold(BASE.to_owned(), |text, (place, kind, sign)| edit(&text, *place, *kind, *sign));
            let printed = printed(&text);
            prop_assert!(!printed.contains(MARK), "{text}\n\n{printed}");
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", yaml in "([a-z_]{1,8}:( [\\[{\"']?[a-z0-9$&*{}]{0,9}[\\]}\"']?)?\n( ){0,4}){0,9}") {
            printed(&text);
            printed(&yaml);
        }
    }
}

// === README.md, docs ===

/// Parts of a configuration in the pages; YAML of other programs is marked `yml` there.
#[test]
fn every_part_of_a_configuration_in_the_pages_is_one() {
    let mut parts = 0;
    let of = |folder: &str| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let docs = of("docs").into_iter().filter(|page| page.extension().is_some_and(|kind| kind == "md"));
    let deployments = of("deploy").into_iter().filter(|folder| folder.is_dir()).map(|folder| folder.join("README.md"));
    for page in docs.chain(deployments) {
        let text = read_file(&page).unwrap();
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            // Over the least configuration, with files of somebody's own machine as values.
            let mut source = source(Path::new("tests/config/valid/least.yaml"));
            let least = read_file(Path::new("tests/config/valid/least.yaml")).unwrap();
            let section = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
            let given: Vec<_> = block.lines().filter(|line| !line.starts_with([' ', '#'])).map(section).collect();
            let mut kept = String::new();
            let mut is_kept = true;
            for line in least.lines() {
                if !line.starts_with([' ', '-', '#']) {
                    is_kept = !given.contains(&section(line));
                }
                if is_kept {
                    kept.extend([line, "\n"]);
                }
            }
            source.text = Some(with_our_secrets(&format!("{kept}{block}")));
            load(&source).unwrap_or_else(|problems| panic!("{}: {problems}", page.display()));
            parts += 1;
        }
    }
    assert!(parts > 3, "{parts}");
}

#[test]
fn the_readmes_configuration_is_a_whole_one() {
    let readme = read_file(Path::new("README.md")).unwrap();
    let block = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    // Files of somebody's own machine are put in as values.
    let text = ["value", "database_url", "secret"].iter().fold(block.to_owned(), |text, key| {
        let lines = text.lines().map(|line| match line.split_once(&format!("{key}_file: ")) {
            Some((before, path)) => {
                let end = if path.ends_with(" }") { " }" } else { "" };
                format!("{before}{key}: postgres://0123456789abcdef0123456789abcdef@h/d{end}")
            }
            None => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    let source = ConfigSource { file: Some("README.md".into()), text: Some(text), ..ConfigSource::default() };
    let (_, warnings) = load(&source).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(warnings.is_empty(), "{warnings:?}");
}
