//! The demo, as somebody meets it who has just heard of vestibule: what it shows, and that every line it offers to try does
//! what is written beside it. `curl` is the real one.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::eventually;
use crate::support::process::signal;
use crate::support::vestibule::{Ended, binary, ended};

/// A demo that runs until it is told to end, or is dropped.
struct Demo {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

/// Something to try: what the demo says of it, and the command.
struct Try {
    says: String,
    command: String,
}

impl Demo {
    /// Starts one and waits until it waits itself.
    async fn started(change: impl FnOnce(&mut Command)) -> Self {
        let mut command = binary();
        command.arg("demo").stdout(Stdio::piped()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().expect("the binary was built");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (reading, stdout) = (Arc::clone(&lines), child.stdout.take().expect("it is piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                reading.lock().expect("nobody panics with it").push(line);
            }
        });
        let demo = Self { child, lines };
        demo.says("Ctrl-C ends the demo.").await;
        demo
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panics with it").clone()
    }

    /// Waits for a line that holds the text.
    async fn says(&self, text: &str) -> String {
        eventually(text, async || self.lines().into_iter().find(|line| line.contains(text))).await
    }

    /// The commands, as they stand there.
    fn tries(&self) -> Vec<Try> {
        let mut tries: Vec<Try> = Vec::new();
        for line in self.lines() {
            if let Some(says) = line.strip_prefix("  # ") {
                tries.push(Try { says: says.to_owned(), command: String::new() });
            } else if let Some(one) = tries.last_mut().filter(|_| line.starts_with("  ")) {
                one.command.push_str(&line);
                one.command.push('\n');
            }
        }
        tries
    }

    /// The addresses of the commands: vestibule's, and the stand-in's.
    fn addresses(&self) -> (String, String) {
        let of =
            |one: &Try| one.command.split("http://").nth(1).and_then(|rest| rest.split('/').next()).map(str::to_owned);
        let tries = self.tries();
        (of(&tries[0]).expect("it has a URL"), of(tries.last().expect("there are some")).expect("it has a URL"))
    }

    /// Ctrl-C. Gives the exit code and what was said on standard error.
    async fn interrupt(mut self) -> (Option<i32>, String, Vec<String>) {
        signal("INT", self.child.id());
        let code = eventually("the end", async || self.child.try_wait().expect("it can be waited for")).await.code();
        let stderr = std::io::read_to_string(self.child.stderr.take().expect("it is piped")).expect("it can be read");
        self.says("Ended. Nothing was kept.").await;
        (code, stderr, self.lines())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Whoever ended by himself can't be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command as it was pasted.
async fn pasted(command: &str) -> Ended {
    let mut shell = Command::new("sh");
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    shell.arg("-c").arg(command);
    let ended = ended(shell).await;
    assert_eq!(ended.code, Some(0), "{command}\n{ended:?}");
    ended
}

fn stand_in_says(ended: &Ended) -> String {
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    answer["stand_in_says"].as_str().unwrap_or_default().to_owned()
}

/// Fails unless the answer has that status and that `x-vestibule-refusal`; empty = it has none.
fn is_refused(ended: &Ended, status: &str, code: &str) {
    let mut lines = ended.stdout.lines();
    assert_eq!(lines.next().unwrap_or_default().split(' ').nth(1), Some(status), "{ended:?}");
    let refusal = lines.find_map(|line| line.strip_prefix("x-vestibule-refusal: "));
    assert_eq!(refusal.unwrap_or_default(), code, "{ended:?}");
}

/// The words of a stream, and how many pieces they came in.
fn streamed(text: &str) -> (String, usize) {
    let chunks = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let words: Vec<String> = chunks
        .filter_map(|chunk| chunk.pointer("/choices/0/delta/content").and_then(Value::as_str).map(str::to_owned))
        .collect();
    (words.concat(), words.len())
}

/// What a try shows, by the demo's own words, and whether it does.
type Promise = (&'static str, fn(&Ended));

const PROMISES: [Promise; 8] = [
    ("Bob, of llm-users, asks for a stream: an internal_user with a key of his own", |ended| {
        let (words, pieces) = streamed(&ended.stdout);
        assert!(words.contains("you are bob (internal_user), by the key sk-..."), "{words}");
        assert!(pieces > 5 && ended.stdout.contains("data: [DONE]"), "{ended:?}");
    }),
    ("Carol, of llm-admins: another rule, so she is proxy_admin", |ended| {
        assert!(stand_in_says(ended).starts_with("you are carol (proxy_admin)"), "{ended:?}");
    }),
    ("Dave, of no group that a rule names: 403 no_role", |ended| is_refused(ended, "403", "no_role")),
    ("\"I am Carol\", without the OAuth proxy's proof: 403 bad_proof", |ended| is_refused(ended, "403", "bad_proof")),
    ("Carol's name in a spelling that some servers fold: 400 aliased_header", |ended| {
        is_refused(ended, "400", "aliased_header");
    }),
    ("Bob with a key and a claim of his own: both are taken out, he stays Bob", |ended| {
        assert!(stand_in_says(ended).starts_with("you are bob (internal_user)"), "{ended:?}");
        assert!(!ended.stdout.contains("-key"), "{ended:?}");
    }),
    ("A key of one's own and nobody signed in: 401 no_identity", |ended| is_refused(ended, "401", "no_identity")),
    ("The same key straight to the stand-in: no such row, LiteLLM's 401", |ended| {
        is_refused(ended, "401", "");
        let body: Value = serde_json::from_str(ended.stdout.lines().last().unwrap_or_default()).expect("JSON");
        assert_eq!(body["error"]["type"], "token_not_found_in_db");
        assert!(body["error"]["message"].as_str().is_some_and(|text| text.contains("stand-in")), "{body}");
    }),
];

#[tokio::test]
async fn every_curl_line_does_what_is_written_beside_it() {
    let demo = Demo::started(|_| {}).await;
    let tries = demo.tries();
    assert_eq!(tries.iter().map(|one| one.says.as_str()).collect::<Vec<_>>(), PROMISES.map(|(says, _)| says));
    let mut bobs_keys = Vec::new();
    for (one, (_, holds)) in tries.iter().zip(PROMISES) {
        assert!(one.command.trim_start().starts_with("curl "), "{}", one.command);
        let ended = pasted(&one.command).await;
        holds(&ended);
        let answer = streamed(&ended.stdout).0 + &ended.stdout;
        let key = answer.split("you are bob (internal_user), by the key ").nth(1);
        bobs_keys.extend(key.map(|rest| rest.chars().take("sk-...xxxx".len()).collect::<String>()));
    }
    assert_eq!(bobs_keys.len(), 2);
    assert_eq!(bobs_keys[0], bobs_keys[1], "his key is the same, whatever he sends");
}

#[tokio::test]
async fn each_request_is_shown_as_it_comes_and_ctrl_c_ends_well() {
    let demo = Demo::started(|_| {}).await;
    for one in demo.tries() {
        pasted(&one.command).await;
    }
    demo.says("straight to the stand-in").await;
    let (code, stderr, lines) = demo.interrupt().await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let from = lines.iter().position(|line| line.contains("Ctrl-C ends")).expect("it is there");
    let shown: Vec<&str> =
        lines[from..].iter().map(String::as_str).filter(|line| line.starts_with(['✓', '✗'])).collect();
    let wanted: [&[&str]; 8] = [
        &["✓ POST /v1/chat/completions", "bob", "line 14", "200"],
        &["✓ GET /v1/models", "carol", "line 12", "200"],
        &["✗", "403 no_role"],
        &["✗", "403 bad_proof"],
        &["✗", "400 aliased_header"],
        &["✓", "bob", "line 14", "200"],
        &["✗", "401 no_identity"],
        &["✗", "straight to the stand-in", "401"],
    ];
    assert_eq!(shown.len(), wanted.len(), "{shown:#?}");
    for (line, words) in shown.iter().zip(wanted) {
        assert!(words.iter().all(|word| line.contains(word)), "{line}: {words:?}");
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[tokio::test]
async fn the_tour_tells_what_came_in_which_rule_matched_what_was_written_and_what_went_on() {
    let demo = Demo::started(|_| {}).await;
    let text = demo.lines().join("\n");
    let (door, house) = demo.addresses();
    let steps = [
        "1. What came in",
        "X-Vestibule-Proof: ",
        "X-Forwarded-User: alice",
        "2. The rule that matched",
        "line 14    - when: { group: llm-users }",
        "line 15      role: internal_user",
        "3. What was written",
        "user_id alice, user_email alice@example.com",
        "user_role internal_user",
        "audit: created, session_made",
        "4. What went on",
        "authorization: Bearer sk-...",
        "(stayed here: the proof, and X-Forwarded-User, -Email and -Groups)",
        "5. The answer",
        "you are alice (internal_user)",
    ];
    let mut rest = text.as_str();
    for step in steps {
        rest = rest.split_once(step).unwrap_or_else(|| panic!("{step} is not there, or not in its place:\n{text}")).1;
    }
    assert!(text.contains(&door) && text.contains(&house) && text.contains("a stand-in"));
    // What is told of the configuration is in the one that it prints.
    let mut print = binary();
    print.args(["demo", "--print-config"]);
    let config = ended(print).await;
    assert_eq!(config.code, Some(0));
    for at in [14, 15] {
        let line = config.stdout.lines().nth(at - 1).expect("it is as long");
        assert!(text.contains(&format!("line {at}  {line}")), "{line}");
    }
}

#[tokio::test]
async fn in_a_pipe_it_is_plain_narrow_and_without_a_key() {
    let demo = Demo::started(|_| {}).await;
    for line in demo.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
        // Sixteen in a row would be more than a masked key.
        let keys = line.split("sk-").skip(1).map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).count());
        assert!(keys.max().unwrap_or(0) < 16, "{line}");
    }
}

#[tokio::test]
async fn colour_comes_where_it_is_asked_for_and_no_color_is_obeyed() {
    let coloured = Demo::started(|command| _ = command.env("CLICOLOR_FORCE", "1")).await;
    assert!(coloured.lines().iter().any(|line| line.contains("\u{1b}[1m")));
    let plain = Demo::started(|command| _ = command.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1")).await;
    assert!(plain.lines().iter().all(|line| !line.contains('\u{1b}')));
}

#[tokio::test]
async fn it_refuses_to_listen_on_anything_but_loopback() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:4180", "[::ffff:127.0.0.1]:0", "localhost:0"] {
        let mut command = binary();
        command.args(["demo", "--listen", address]);
        let ended = ended(command).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.stderr.contains(address), "{ended:?}");
    }
    let demo = Demo::started(|command| _ = command.args(["--listen", "127.0.0.1:0"])).await;
    let (door, house) = demo.addresses();
    for address in [door, house] {
        let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        assert_eq!(listeners(port), ["127.0.0.1"], "{address}");
    }
}

/// The addresses that somebody listens on at that port, as the system tells them.
fn listeners(port: u16) -> Vec<String> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        #[expect(clippy::disallowed_methods, reason = "the system's own file needs no path in the error")]
        let Ok(text) = std::fs::read_to_string(table) else { continue };
        for line in text.lines().skip(1) {
            let mut columns = line.split_whitespace().skip(1);
            let (local, state) = (columns.next().unwrap_or_default(), columns.nth(1).unwrap_or_default());
            let (address, at) = local.split_once(':').expect("an address and a port");
            if state == "0A" && u16::from_str_radix(at, 16) == Ok(port) {
                let is_loopback = address.len() == 8 && address.ends_with("7F");
                found.push(if is_loopback { "127.0.0.1".to_owned() } else { address.to_owned() });
            }
        }
    }
    found
}

#[tokio::test]
async fn a_taken_port_is_named_and_it_ends() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it has an address").to_string();
    let mut command = binary();
    command.args(["demo", "--listen", &address]);
    let ended = ended(command).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&address), "{ended:?}");
}
