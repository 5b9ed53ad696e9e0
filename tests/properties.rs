//! What holds for whatever comes: the bodies of the fuzz targets, on inputs made for them and on every file of their
//! corpora. Needs no PostgreSQL: `cargo test --test properties`.

#[cfg(test)]
#[path = "../fuzz/bodies/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets see them from another crate")]
mod bodies;

#[cfg(test)]
mod corpora {
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::Path;

    use super::bodies;

    /// Every file of a target's corpus, each by itself, so that one run names all that fail.
    fn replay(target: &str, holds: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty());
        let fails = |path: &&std::path::PathBuf| {
            let bytes = fs::read(path).unwrap();
            catch_unwind(|| holds(&bytes)).is_err()
        };
        let failed: Vec<_> = files.iter().filter(fails).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[test]
    fn heads_hold() {
        replay("head", bodies::head::holds);
    }

    #[test]
    fn answers_hold() {
        replay("answer", bodies::answer::holds);
    }

    #[test]
    fn identities_hold() {
        replay("identity", bodies::identity::holds);
    }

    #[test]
    fn forwarded_lists_hold() {
        replay("forwarded", bodies::forwarded::holds);
    }

    #[test]
    fn configurations_hold() {
        replay("config", bodies::config::holds);
    }
}

/// Findings become files of the corpora, so nothing is kept elsewhere.
#[cfg(test)]
fn settings() -> proptest::test_runner::Config {
    proptest::test_runner::Config { failure_persistence: None, ..proptest::test_runner::Config::default() }
}

/// A slip somewhere in a text.
#[cfg(test)]
fn slip<const N: usize>(signs: [u8; N]) -> impl proptest::strategy::Strategy<Value = (usize, u8, u8)> {
    use proptest::prelude::*;
    (any::<usize>(), 0..4_u8, prop::sample::select(signs.to_vec()))
}

/// The text with a byte left out, put in, or another; or cut short.
#[cfg(test)]
fn slipped(mut text: Vec<u8>, (place, kind, sign): (usize, u8, u8)) -> Vec<u8> {
    let at = place % (text.len() + 1);
    match kind {
        0 if at < text.len() => drop(text.remove(at)),
        1 if at < text.len() => text[at] = sign,
        2 => text.truncate(at),
        _ => text.insert(at, sign),
    }
    text
}

#[cfg(test)]
mod answers {
    use proptest::prelude::*;

    use super::bodies::answer::holds;
    use super::{settings, slip, slipped};

    fn answer() -> impl Strategy<Value = String> {
        let line = "HTTP/1\\.[01] (10[0-3]|200|204|304|401|999)( [A-Za-z ]{0,8})?\r\n";
        let field =
            "((Content-Length: [0-5]|Transfer-Encoding: chunked|Connection: close|X-[a-z]{1,4}: [ -~]{0,9})\r\n){0,3}";
        let body = "(|abc|ab|2\r\nok\r\n0\r\n\r\n|0\r\nX-A: 1\r\n\r\n)";
        (line, field, body).prop_map(|(line, fields, body)| format!("{line}{fields}\r\n{body}"))
    }

    proptest! {
        #![proptest_config(settings())]

        #[test]
        fn two_readers_agree_on_doubtful_answers(
            asked in "[abc]",
            answers in prop::collection::vec(answer(), 1..4),
            slips in prop::collection::vec(slip(*b"\r\n :;,0"), 0..2),
        ) {
            let bytes = (asked + &answers.concat()).into_bytes();
            holds(&slips.into_iter().fold(bytes, slipped));
        }
    }
}

#[cfg(test)]
mod heads {
    use proptest::prelude::*;
    use vestibule::http1::testing::{RequestGuard, Scan};

    use super::bodies::head::{FIELDS_MAX, HEAD_BYTES_MAX, holds};
    use super::{settings, slip, slipped};

    /// A field of no meaning to framing.
    fn field() -> impl Strategy<Value = String> {
        let framing = |line: &String| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            !["content-length", "transfer-encoding", "upgrade"].contains(&name.as_str())
        };
        "[A-Za-z!#$%&'*+.^_`|~-][A-Za-z0-9_-]{0,11}:[ \t]{0,2}[ -~\t\u{e9}]{0,20}".prop_filter("frames a body", framing)
    }

    fn written(fields: &[impl AsRef<str>]) -> String {
        fields.iter().flat_map(|line| [line.as_ref(), "\r\n"]).collect()
    }

    fn chunks() -> impl Strategy<Value = String> {
        let chunk = ("[a-z \r\n]{1,20}", "(;[a-z]{1,4}(=\"[a-z \t]{0,3}\")?)?", "0{0,2}");
        let chunk =
            chunk.prop_map(|(data, extension, zeros)| format!("{zeros}{:X}{extension}\r\n{data}\r\n", data.len()));
        (prop::collection::vec(chunk, 0..4), prop::collection::vec(field(), 0..3))
            .prop_map(|(chunks, trailers)| format!("{}0\r\n{}\r\n", chunks.concat(), written(&trailers)))
    }

    /// A request as HTTP/1.1 allows it.
    fn request() -> impl Strategy<Value = String> {
        let line = "(\r\n){0,2}[A-Z]{1,8} \
                    (/[a-z0-9?&=%.~_-]{0,30}|/x\\?((key|k%65y|%6bey|keys|%zz)(=[a-z%]{0,3})?&?){0,4}|\
                    http://[ab](:80)?/[a-z]{0,4}|\\*) HTTP/1";
        let bodies = prop_oneof![
            Just((".0\r\n".to_owned(), String::new(), String::new())),
            Just((".1\r\n".to_owned(), String::new(), String::new())),
            "[ -~\r\n]{0,30}".prop_map(|body| (
                ".1\r\n".to_owned(),
                format!("content-length: {}\r\n", body.len()),
                body
            )),
            chunks().prop_map(|body| (".1\r\n".to_owned(), "Transfer-Encoding:\tChunked \r\n".to_owned(), body)),
        ];
        let fields = prop::collection::vec(field(), 0..5);
        let host = "(Host: (a|b|b:80|u@a|a,b|a:|\\[::1\\]:80|\\[::1|a/b)?\r\n)?";
        (line, host, fields, bodies).prop_map(|(line, host, fields, (version, framing, body))| {
            let fields = written(&fields);
            format!("{line}{version}{host}{fields}{framing}\r\n{body}")
        })
    }

    /// Chunks of which one line may be odd.
    fn odd_chunks() -> impl Strategy<Value = String> {
        let ends = vec!["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", ""];
        let sizes = vec!["3", "3", "03", "3;a=b", "0", "+3", " 3", "3 ", "0x3", "", "4", "ffffffffffffffff", "3;\x01"];
        let end = || prop::sample::select(ends.clone());
        let chunk = (prop::sample::select(sizes), end(), end()).prop_map(|(size, one, other)| {
            if size == "0" { format!("{size}{one}{other}") } else { format!("{size}{one}abc{other}") }
        });
        let trailer = prop::sample::select(vec!["", "A: b\r\n", " folded\r\n", ": x\r\n", "A: b\n", "A\r\n"]);
        (prop::collection::vec(chunk, 0..3), end(), trailer, end()).prop_map(|(chunks, one, trailer, other)| {
            format!("{}0{one}{trailer}{other}GET / HTTP/1.1\r\n\r\n", chunks.concat())
        })
    }

    /// A request whose framing may be in doubt.
    fn doubtful() -> impl Strategy<Value = String> {
        let framing = prop::sample::select(vec![
            "Content-Length: 3",
            "content-length: 3",
            "Content-Length: 0",
            "Content-Length: +3",
            "Content-Length: 3, 3",
            "Transfer-Encoding: chunked",
            "transfer-encoding: Chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: identity",
            "Upgrade: websocket",
        ]);
        let other = prop::sample::select(vec![
            "Transfer-Encoding : chunked",
            " folded",
            "X: a\nTransfer-Encoding: chunked",
            "X: \r",
            "Host: a",
            "Expect: 100-continue",
            "Expect: x",
        ]);
        let fields = (prop::collection::vec(framing, 0..3), prop::collection::vec(other, 0..2));
        let lines = vec![
            "GET / HTTP/1.1",
            "GET http://b/ HTTP/1.1",
            "POST /a HTTP/1.1",
            "POST / HTTP/1.0",
            "CONNECT a:80 HTTP/1.1",
            "OPTIONS * HTTP/1.1",
        ];
        let body = prop_oneof![Just("abc".to_owned()), chunks(), odd_chunks(), Just(String::new())];
        (prop::sample::select(lines), fields, body).prop_map(|(line, (framing, other), body)| {
            let fields = written(&[framing, other].concat());
            format!("{line}\r\n{fields}\r\n{body}")
        })
    }

    /// A chunked request whose chunks may be odd.
    fn chunked() -> impl Strategy<Value = String> {
        odd_chunks().prop_map(|chunks| format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"))
    }

    proptest! {
        #![proptest_config(settings())]

        #[test]
        fn whatever_http_allows_passes_whole(requests in prop::collection::vec(request(), 1..4)) {
            let bytes = requests.concat().into_bytes();
            let mut guard = RequestGuard::new(HEAD_BYTES_MAX, FIELDS_MAX);
            prop_assert_eq!(guard.scan(&bytes, u64::MAX), Scan { pass: bytes.len(), malformed: None });
            prop_assert_eq!(guard.heads(), requests.len() as u64);
            prop_assert!(guard.is_in_head());
            holds(&bytes);
        }

        #[test]
        fn two_readers_agree_on_doubtful_requests(
            requests in prop::collection::vec(prop_oneof![doubtful(), chunked(), request()], 1..4),
            slips in prop::collection::vec(slip(*b"\r\n\t :;,0+\0\x7f\xe9x"), 0..3),
        ) {
            holds(&slips.into_iter().fold(requests.concat().into_bytes(), slipped));
        }
    }
}

#[cfg(test)]
mod identities {
    use proptest::prelude::*;

    use super::bodies::identity::{DECODINGS, GROUPS_MAX, NAMES, encode, holds, person};
    use super::{settings, slip, slipped};

    fn setup() -> impl Strategy<Value = (usize, &'static str, &'static str)> {
        let flags = prop::sample::select(vec!["-", "e", "r", "er"]);
        let separators = prop::sample::select(vec![",", "|", ";", " ", "json", "quoted"]);
        (0..DECODINGS.len(), flags, separators)
    }

    /// Signs that mean something to some decoding, or hide.
    const VALUE: &str =
        "[a-bA-B@@. ,;|\"'\\[\\]=?%_/:0-9\u{e4}\u{301}\u{200b}\u{a0}\u{202e}\u{df}\u{131}\u{674e}-]{0,12}";
    /// Plain but for one sign.
    const NEARLY: &str = "[ab]{1,2}[\u{301}\u{200b},\u{a0}%=\u{c4} ][b0-9]{0,2}";
    const GROUPS: &str =
        "(\\[(\"[a-b,\u{e9}]{0,2}\"(, ?\"[a-b]{0,2}\"){0,3})?\\]|\"[a-b]{0,2}\"(,\"[a-b]{0,2}\"){0,3}|[ab,;| ]{0,20})";

    proptest! {
        #![proptest_config(settings())]

        #[test]
        fn whoever_is_read_is_canonical(
            (decoding, flags, separator) in setup(),
            user in prop_oneof![VALUE, "[a-z]{1,4}", "[A-Za-z.]{1,4}@[a-z]{1,4}", NEARLY],
            groups in GROUPS,
            values in prop::collection::vec((0..NAMES.len(), VALUE, 0..4_u8), 0..6),
            slips in prop::collection::vec(slip(*b"\r\n\t :=?,%\xc3\xe9\x80x"), 0..2),
        ) {
            let (name, decoding) = DECODINGS[decoding];
            let mut bytes = format!("{name} {flags} {separator}").into_bytes();
            let known = [(0, user, 1), (7, groups, 1)];
            for (attribute, value, encoded) in known.into_iter().chain(values) {
                let value = Some(&value).filter(|_| encoded > 0).and_then(|value| encode(value, decoding)).unwrap_or(value.into_bytes());
                bytes.extend_from_slice(format!("\n{}: ", NAMES[attribute].1).as_bytes());
                bytes.extend_from_slice(&value);
            }
            holds(&slips.into_iter().fold(bytes, slipped));
        }

        #[test]
        fn whoever_is_plain_is_read_in_every_decoding(
            (decoding, rule) in prop::sample::select(DECODINGS.to_vec()),
            user in "[a-zA-Z\u{e4}\u{e9}=?%_+][a-zA-Z\u{e4}\u{e9}=?%_+ ]{0,10}[a-z\u{fc}]",
            name in "[A-Z\u{d6}][a-z\u{f6}\"%=_, ]{0,10}[a-z]",
            groups in prop::collection::vec("[a-z\u{e9}=?%_][a-z, ]{0,4}[a-z]", 0..GROUPS_MAX),
        ) {
            let mut bytes = format!("{decoding} - json").into_bytes();
            let list = serde_json::to_string(&groups).unwrap();
            for (header, text) in [("user", &user), ("name", &name), ("groups", &list)] {
                bytes.extend_from_slice(format!("\n{header}: ").as_bytes());
                bytes.extend_from_slice(&encode(text, rule).unwrap());
            }
            let person = person(&bytes).unwrap();
            prop_assert_eq!(person.subject, user);
            prop_assert_eq!(person.display_name, Some(name));
            prop_assert!(groups.iter().all(|group| person.groups.contains(group)));
        }
    }
}

#[cfg(test)]
mod lists {
    use proptest::prelude::*;

    use super::bodies::forwarded::{holds, owned_spellings};
    use super::{settings, slip, slipped};

    /// A name that somebody owns in any spelling, or another.
    fn name() -> impl Strategy<Value = String> {
        let respelled = (prop::sample::select(owned_spellings()), any::<u64>()).prop_map(|(name, flags)| {
            let respell = |(at, c): (usize, char)| match (c, flags.rotate_right(u32::try_from(at).unwrap_or(0)) % 4) {
                ('-' | '_', 0) => '_',
                ('-' | '_', 1) => '-',
                (c, 2) => c.to_ascii_uppercase(),
                (c, _) => c,
            };
            name.chars().enumerate().map(respell).collect::<String>()
        });
        let others =
            vec!["Host", "content_length", "Content-Type", "x-openwebui-a", "X_OpenWebUI_b", "Accept", "x_other"];
        prop_oneof![4 => respelled, 2 => prop::sample::select(others).prop_map(str::to_owned), 1 => "[a-z_-]{1,8}"]
    }

    fn line() -> impl Strategy<Value = String> {
        let token = prop_oneof![
            name(),
            prop::sample::select(vec!["close", "Keep-Alive", "", "te", "a b"]).prop_map(str::to_owned)
        ];
        let connection =
            prop::collection::vec(token, 0..4).prop_map(|tokens| format!("Connection: {}", tokens.join(", ")));
        let hop =
            "(1\\.[01]|HTTP/1\\.1)?[ \t]{0,2}(vestibule|nginx|vestibule-x|Vestibule|caf\u{e9})?[ \t]{0,2}(\\(x\\))?";
        let via = prop::collection::vec(hop, 0..4).prop_map(|hops| format!("Via: {}", hops.join(",")));
        let addresses = "X-Forwarded-For:( ?[0-9.\u{e9}]{0,7} ?,?){0,4}";
        let other = (name(), "[ -~\t\u{e9}]{0,12}").prop_map(|(name, value)| format!("{name}: {value}"));
        prop_oneof![2 => connection, 2 => via, 1 => addresses, 4 => other]
    }

    proptest! {
        #![proptest_config(settings())]

        #[test]
        fn lists_lose_nothing_and_owned_names_do_not_pass(
            lines in prop::collection::vec(line(), 0..8),
            slips in prop::collection::vec(slip(*b"\n\t :,_-\xe9x"), 0..2),
        ) {
            holds(&slips.into_iter().fold(lines.join("\n").into_bytes(), slipped));
        }
    }
}

#[cfg(test)]
mod configurations {
    use proptest::prelude::*;

    use super::bodies::config::{MARK, holds};
    use super::{settings, slip, slipped};

    /// Each section in a sound form first, then in others; where there is `SECRET` one is put in.
    const SECTIONS: [&[&str]; 9] = [
        &[
            "trust:\n  peers: [10.0.0.1]\n",
            "trust: { secret_header: { name: X-Proof, value: SECRET } }\n",
            "trust:\n  secret_header:\n    name: X-Proof\n    value: [SECRET, \"SECRET\"]\n  basic_auth_password: 'SECRET'\n",
            "trust:\n  peers: [10.0.0.1, nowhere, 0.0.0.0/0]\n  basic_auth_password: [SECRET]\n",
            "trust: SECRET\n",
        ],
        &[
            "identity:\n  preset: oauth2-proxy\n  reads: [user, email, groups]\n",
            "identity: { preset: custom, headers: { user: { name: X-A }, groups: { name: x_a, separator: json } }, reads: [user, groups] }\n",
            "identity:\n  preset: vouhc\n  reads: [user, user, emial]\n  issuer: \"a\\u2028\\e\"\n",
            "identity: [a, b]\n",
        ],
        &[
            "session:\n  secret: SECRET\n",
            "session:\n  # SIGN why\n  secret: |\n    SECRET\n    SECRET\n  life: 30d\n  max_age: nope\n",
            "session: { life: 1, secret: \"SECRET\", max_age: [a] }\n",
            "session:\n  secrt: SECRET\n",
            "session: { secret: { SECRET: SECRET } }\n",
        ],
        &[
            "litellm:\n  url: http://127.0.0.1:4000\n  database_url: postgres://litellm:SECRET@127.0.0.1/litellm\n",
            "litellm: { url: 'http://u:p@h', database_url: SECRET, keep_authorization: [a, /b] }\n",
            "litellm:\n  url: https://h\n  database_url: 1\n",
        ],
        &[
            "",
            "listen: nowhere\n",
            "listen: unix:/run/x\nlisten_mode: \"0666\"\n",
            "listen: 127.0.0.1:4181\n",
            "listen: !x y\n",
        ],
        &[
            "",
            "default_role: internal_user\n",
            "default_role: nobody SIGN\n",
            "default_role: &x deny\nclient_keys: *x\n",
        ],
        &[
            "",
            "rules:\n  - when: { group: a }\n    role: proxy_admin\n  -\n  - { when: {}, role: deny, SIGN: 1 }\n",
            "rules: [{ when: { email: \"*@EXAMPLE.com\" }, role: internal_user, grants: { on: always, max_budget: -1 } }]\n",
            "deny: [{ email_domain: [] }]\nallow: x\n",
        ],
        &["", "limits: { headers: 0, target_bytes: 99999999 }\n", "limits:\n  header_bytes: many\n  body_bites: 1\n"],
        &[
            "",
            "# SIGN a comment\n",
            "trsut: SECRET\n",
            "own_prefix: /\npublic_paths: [health, \"/*\", /a SIGN]\n",
            "log: { level: loud, person: name }\n",
        ],
    ];
    /// What ends a line, or is not shown as it is.
    const SIGNS: [&str; 7] = ["x", "\r", "\u{85}", "\u{2028}", "\u{e9}", "\u{1f600}", "\u{7}"];

    fn configuration() -> impl Strategy<Value = String> {
        let section = |variants: &'static [&'static str]| prop_oneof![1 => Just(Some(variants[0])), 2 => prop::sample::select(variants).prop_map(Some), 1 => Just(None)];
        let sections = SECTIONS.map(|variants| section(variants).boxed()).to_vec();
        (
            sections.prop_map(|sections| sections.into_iter().flatten().collect::<Vec<_>>()).prop_shuffle(),
            prop::sample::select(SIGNS.to_vec()),
        )
            .prop_map(|(sections, sign)| {
                let secret = format!("{MARK}-0123456789abcdef-0123456789abcdef");
                sections.concat().replace("SECRET", &secret).replace("SIGN", sign)
            })
    }

    proptest! {
        #![proptest_config(settings())]

        #[test]
        fn a_configuration_is_sound_or_its_problems_can_be_shown(text in configuration()) {
            holds(text.as_bytes());
        }

        #[test]
        fn slips_change_nothing_of_that(text in configuration(), slips in prop::collection::vec(slip(*b" \n\r\t:#'\"[]{},|>-&*!%@$`?x"), 1..3)) {
            holds(&slips.into_iter().fold(text.into_bytes(), slipped));
        }
    }
}
