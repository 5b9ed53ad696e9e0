//! The bytes of requests and answers, one case a file: `tests/wire/README.md` tells how they are written.
//!
//! What a case lists is all that may happen: at its end each connection is read out, and a byte that is not listed is a
//! failure. So "refused" means as well that nothing went up.

mod bytes;
pub(crate) mod case;
pub(crate) mod message;
mod scene;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use case::Case;
use scene::Place;

use crate::support::db::TestDb;
use crate::support::vestibule::{Setup, Vestibule, field};

/// One test a folder, and the list of the folders.
macro_rules! folders {
    ($($test:ident: $folder:literal,)*) => {
        pub(crate) const FOLDERS: &[&str] = &[$($folder),*];
        $(
            #[tokio::test]
            async fn $test() {
                hold($folder).await;
            }
        )*
    };
}

folders! {
    a_request_line_is_written_as_http_1_1_asks: "request_line",
    every_method_passes_but_those_that_are_not_for_a_gateway: "methods",
    a_target_is_a_path_and_passes_unchanged: "targets",
    http_1_0_is_served_as_what_it_is: "http_1_0",
    a_request_names_one_host: "host",
    fields_are_written_as_http_1_1_asks_and_stay_on_their_hop: "fields",
    a_body_is_framed_in_one_way: "framing",
    chunks_are_followed_byte_by_byte: "chunks",
    trailers_pass_and_decide_nothing: "trailers",
    requests_at_once_stay_apart: "pipelining",
    an_expectation_is_met_or_refused: "expectation",
    a_tunnel_opens_after_a_matching_101_alone: "upgrade",
    what_is_too_large_is_refused: "limits",
    an_answer_passes_but_for_what_is_its_hops: "answers",
    a_broken_answer_is_a_502_and_ends_its_connection: "broken_answers",
    what_follows_an_answer_is_never_another: "poison",
    interim_answers_pass_and_are_no_answer: "interim",
    an_end_before_the_end_looks_like_one: "endings",
    a_request_is_sent_again_only_when_it_can_not_have_been_read: "stale",
    what_takes_too_long_is_given_up: "time",
}

/// Files that are beside the folders.
const OTHERS: [&str; 1] = ["README.md"];

/// Plays every case of a folder: those of one configuration one after another before one vestibule.
async fn hold(folder: &str) {
    let mut groups: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for case in case::read_folder(folder) {
        groups.entry(format!("{:?}", case.config)).or_default().push(case);
    }
    let mut playing = JoinSet::new();
    for cases in groups.into_values() {
        playing.spawn(play_all(cases));
    }
    let failures = playing.join_all().await.concat();
    assert!(failures.is_empty(), "{} of the cases do not hold:\n\n{}", failures.len(), failures.join("\n"));
}

async fn play_all(cases: Vec<Case>) -> Vec<String> {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
    let address = upstream.local_addr().expect("the listener has an address");
    let db = TestDb::fresh().await;
    // One worker has one pool of connections, so what a case does to it is seen by the case.
    let setup = Setup::new(&format!("http://{address}"), db.url()).with("workers", 1);
    let config = cases.first().map(|case| case.config.clone()).unwrap_or_default();
    let setup = config.into_iter().fold(setup, |setup, (path, value)| setup.with(&path, value));
    // A setting that is not there yet is a failure of its cases alone.
    let started = tokio::spawn(async move { setup.start().await }).await;
    let started = started.map_err(|error| format!("vestibule does not start: {error}"));
    let place = started.map(|vestibule| (Place { vestibule: address_of(&vestibule), upstream }, vestibule));
    let mut failures = Vec::new();
    for case in cases {
        let played = match &place {
            Ok((place, _)) => scene::play(place, &case).await,
            Err(why) => Err(why.clone()),
        };
        match played {
            Err(why) if !case.is_pending => failures.push(format!("tests/wire/{}\n  {why}", case.name)),
            Ok(()) if case.is_pending => {
                failures.push(format!(
                    "tests/wire/{}\n  holds, so it is not pending any more: take its first line out",
                    case.name
                ));
            }
            Ok(()) | Err(_) => {}
        }
    }
    failures
}

/// Where it listens, as it says itself.
pub(crate) fn address_of(vestibule: &Vestibule) -> SocketAddr {
    let lines = vestibule.log().into_iter().filter_map(|line| serde_json::from_str(&line).ok());
    let told = |line: &serde_json::Value| field(line, "message") == "listening" && field(line, "what") == "proxy";
    let address = lines.into_iter().find(told).and_then(|line| field(&line, "address").parse().ok());
    address.expect("a vestibule that is ready has said where it listens")
}

#[test]
fn every_file_beside_the_cases_is_run() {
    let known: BTreeSet<String> = FOLDERS.iter().chain(&OTHERS).map(|name| (*name).to_owned()).collect();
    let there: BTreeSet<String> = names(&case::folder());
    assert_eq!(there, known, "each folder has its test, and no file lies beside them");
    for folder in FOLDERS {
        for path in case::files(&case::folder().join(folder)) {
            let is_case = path.is_file() && path.extension().is_some_and(|extension| extension == "txt");
            assert!(is_case, "{} is no case", path.display());
        }
    }
}

fn names(folder: &std::path::Path) -> BTreeSet<String> {
    let name = |path: &std::path::PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    case::files(folder).iter().filter_map(name).collect()
}
