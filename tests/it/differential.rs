//! vestibule beside nginx and haproxy: the same bytes to all three, and what comes out behind each.
//!
//! A proxy that lets through what others refuse is the one through which a request is smuggled. So vestibule may be laxer
//! than neither, but for what [`ALLOWED`] lists with its reason; it may send up no request that the strictest reader does
//! not see in what was sent, and none but whole ones that every reader sees alike.

mod corpus;
mod peers;
mod strict;

use std::collections::BTreeSet;

use corpus::Input;
use peers::{LAST, Outcome, Proxy};
use strict::Request;

/// What may differ: beginnings of inputs' names, who refuses it, and why vestibule need not. An entry that nothing meets any
/// more is a failure too.
const ALLOWED: &[(&[&str], &str, &str)] = &[
    (
        &[
            "byte in a method: 2",
            "byte in a method: 3",
            "byte in a method: 5e",
            "byte in a method: 60",
            "byte in a method: 7c",
            "byte in a method: 7e",
            "byte before a method: 2",
            "byte before a method: 3",
            "byte before a method: 5e",
            "byte before a method: 60",
            "byte before a method: 7c",
            "byte before a method: 7e",
        ],
        NGINX,
        "nginx takes letters, `-` and `_` alone for a method; RFC 9110 9.1 takes a token, and it passes as it is",
    ),
    (
        &["methods/options_asterisk", "target: OPTIONS \"*\""],
        NGINX,
        "nginx serves no server-wide OPTIONS; RFC 9112 3.2.4 has it",
    ),
    (
        &[
            "byte before a length: 09",
            "byte behind a length: 09",
            "byte before a coding: 09",
            "byte behind a coding: 09",
            "framing: coding \"\\tchunked\" around",
            "framing: coding \"chunked\\t\" around",
            "framing: a length with many blanks",
            "framing: a coding with many blanks",
            "framing/coding_with_blanks_around",
            "framing/length_with_blanks_around",
            "host/blanks_around",
        ],
        NGINX,
        "nginx does not count a tab among the blanks around a value; RFC 9110 5.5 does, and none of them goes up",
    ),
    (
        &["http_1_0/without_host"],
        NGINX,
        "nginx, told to pass Host on, sends none up; vestibule names the upstream there",
    ),
    (
        &["upgrade/by_post", "upgrade/over_http_1_0", "pipeline: an upgrade with a request behind"],
        HAPROXY,
        "haproxy looks for a websocket's key; here the upstream does, and without its 101 there is no tunnel",
    ),
];
const NGINX: &str = "nginx";
const HAPROXY: &str = "haproxy";
const STRICT: &str = "the strictest reader";

#[tokio::test]
#[ignore = "needs nginx and haproxy: tests/run --peers"]
async fn vestibule_is_laxer_than_neither_nginx_nor_haproxy() {
    let (vestibule, nginx, haproxy) = tokio::join!(Proxy::vestibule(), Proxy::nginx(), Proxy::haproxy());
    let mut failures = Vec::new();
    let mut unmet: BTreeSet<&str> = ALLOWED.iter().flat_map(|(names, ..)| *names).copied().collect();
    let inputs = corpus::inputs();
    for input in &inputs {
        let (ours, nginx, haproxy) =
            tokio::join!(vestibule.play(&input.bytes), nginx.play(&input.bytes), haproxy.play(&input.bytes));
        let sent = strict::read(&[&input.bytes, LAST.as_bytes()].concat()).0;
        let differs = [
            (STRICT, stray(&sent, &ours)),
            (NGINX, laxer(&sent, &ours, &nginx)),
            (HAPROXY, laxer(&sent, &ours, &haproxy)),
        ];
        let is_alone = differs[1..].iter().all(|(_, why)| why.is_some());
        for (who, why) in differs {
            let Some(why) = why else { continue };
            match allowed(input, who) {
                // What both refuse is on no list.
                Some(entry) if !is_alone => drop(unmet.remove(entry)),
                _ => failures.push(tell(input, who, &why, &ours)),
            }
        }
    }
    failures.extend(unmet.into_iter().map(|name| format!("{name:?}: nothing differs any more: take it off the list")));
    assert!(failures.is_empty(), "of {} inputs, {} failures:\n{}", inputs.len(), failures.len(), failures.join("\n"));
}

/// The entry that allows it.
fn allowed(input: &Input, who: &str) -> Option<&'static str> {
    let entries = ALLOWED.iter().filter(|(_, other, _)| *other == who);
    entries.flat_map(|(names, ..)| *names).copied().find(|name| input.name.starts_with(name))
}

fn tell(input: &Input, who: &str, why: &str, ours: &Outcome) -> String {
    let bytes: String = input.bytes.escape_ascii().to_string().chars().take(400).collect();
    format!("{}: {who}: {why}\n    sent: {bytes}\n    vestibule: {:?}", input.name, ours.answers)
}

/// What vestibule sent up that nobody sent in.
fn stray(sent: &[Request], ours: &Outcome) -> Option<String> {
    if let Some(nonsense) = ours.nonsense.first() {
        return Some(format!("what went up is no request: {nonsense}"));
    }
    let mut rest = sent.iter();
    let stray = ours.forwarded.iter().find(|request| !rest.any(|sent| is_same(sent, request)));
    stray.map(|request| {
        format!("nobody sent this: {} {} {:?}", request.method, request.target, request.body.escape_ascii().to_string())
    })
}

/// The first request that vestibule lets through and the peer does not, after the same requests before it.
fn laxer(sent: &[Request], ours: &Outcome, theirs: &Outcome) -> Option<String> {
    let is_last = |request: &Request| request.target == "/last";
    let had = |outcome: &Outcome| {
        let mut forwarded = outcome.forwarded.iter().peekable();
        let had = |request: &Request| forwarded.next_if(|other| is_same(request, other)).is_some();
        sent.iter().map(had).collect::<Vec<bool>>()
    };
    for ((request, by_us), by_them) in sent.iter().zip(had(ours)).zip(had(theirs)) {
        match (by_us, by_them) {
            (true, true) => {}
            (true, false) if !is_last(request) => {
                return Some(format!("refuses {} {}: {:?}", request.method, request.target, theirs.answers));
            }
            _ => return None,
        }
    }
    None
}

/// Whether it is the same request, though its target was brought to origin form and its query cleaned.
fn is_same(sent: &Request, forwarded: &Request) -> bool {
    sent.method == forwarded.method && sent.body == forwarded.body && path(&sent.target) == path(&forwarded.target)
}

fn path(target: &str) -> &str {
    let rest = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.starts_with('/') => {
            rest.find(['/', '?', '#']).map_or("/", |at| rest.split_at(at).1)
        }
        _ => target,
    };
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    if path.is_empty() { "/" } else { path }
}
