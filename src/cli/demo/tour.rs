//! The tour: one request on its way, step by step, as the service itself tells it; then every request that comes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::HeaderMap;
use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::DemoError;
use super::config::{DemoConfig, PROOF_HEADER};
use super::fake_litellm::{Arrival, MODEL};
use super::screen::{BOLD, CYAN, DIM, GREEN, PLAIN, Screen, YELLOW, paint, plain};
use super::watch::{DemoEvent, Line};
use super::words::Words;
use crate::http::client::{CallError, ClientBody, ClientSettings, HttpClient, Transport};
use crate::refusal::Code;
use crate::store::sqlite::{Holder, Sqlite};

/// Everything is on this machine: what takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Arrivals at the stand-in that wait for the end of their request.
const ARRIVALS_MAX: usize = 256;
/// Who is signed in at the OAuth proxy that the demo plays.
const ALICE: [(&str, &str); 3] = [
    ("X-Forwarded-User", "alice"),
    ("X-Forwarded-Email", "alice@example.com"),
    ("X-Forwarded-Groups", "llm-users,team-blue"),
];
const PATH: &str = "/v1/chat/completions";

/// What the tour is led through.
pub(super) struct Tour {
    pub(super) screen: Screen,
    pub(super) happening: mpsc::Receiver<DemoEvent>,
    /// Where vestibule listens.
    pub(super) vestibule: SocketAddr,
    /// Where the stand-in for LiteLLM listens.
    pub(super) litellm: SocketAddr,
    pub(super) demo_config: DemoConfig,
    /// The rules' lines.
    pub(super) lines: Vec<Option<usize>>,
    pub(super) store: Arc<Sqlite>,
    /// The id of the demo's own request, by which its events are known.
    pub(super) id: String,
    /// When the program began.
    pub(super) began: Instant,
}

// === impl Tour ===

impl Tour {
    /// Sends the demo's own request and tells what becomes of it.
    pub(super) async fn lead(&mut self) -> Result<(), DemoError> {
        self.banner();
        self.request();
        let sending = tokio::spawn(send(self.vestibule, self.headers()));
        let arrival = self.way().await?;
        self.rows(&arrival).await?;
        self.outgoing(&arrival);
        let (status, body) = timeout(PATIENCE, sending).await.map_err(late)?.map_err(late)?.map_err(late)?;
        if status != StatusCode::OK {
            return Err(DemoError::Answer(status.to_string()));
        }
        self.screen.step(5, "The answer, as it arrives");
        let (mut words, mut column, mut first) = (Words { body, rest: Vec::new() }, 0, None);
        while let Some(word) = timeout(PATIENCE, words.next()).await.map_err(late)?? {
            first.get_or_insert_with(|| self.began.elapsed());
            self.screen.word(&word, &mut column);
        }
        self.screen.end_words();
        let first = first.ok_or_else(|| DemoError::Answer("it had no words".to_owned()))?;
        self.screen.item(DIM, &format!("(its first word {} ms after this program was started)", first.as_millis()));
        Ok(())
    }

    fn banner(&mut self) {
        let screen = &mut self.screen;
        screen.line(&paint(BOLD, "vestibule demo"));
        screen.line("");
        screen.line("Your OAuth proxy knows who is calling; LiteLLM does not. vestibule stands");
        screen.line("between them: each person gets an account in LiteLLM with the role that their");
        screen.line("groups give them, and each request a key of their own. Here it is at work:");
        screen.line("");
        let (oauth, here, llm) = ("OAuth proxy", paint(BOLD, "vestibule"), "LiteLLM");
        screen.line(&format!("  you ─► {oauth} ────► {here} ──────► {llm}"));
        let vestibule = self.vestibule.to_string();
        for [oauth, here, llm] in [
            ["this program,", "the real one", "a stand-in"],
            ["then you by curl", &vestibule, &self.litellm.to_string()],
        ] {
            screen.line(&paint(DIM, &format!("         {oauth:<18}{here:<18}{llm}")));
        }
        screen.line("");
        screen.line("It is a demo and nothing more: nobody signs in, no model answers, only this");
        screen.line("machine can reach it, and what it writes (SQLite, in memory) goes when it ends.");
    }

    /// Step 1.
    fn request(&mut self) {
        let screen = &mut self.screen;
        screen.step(1, "What came in, as an OAuth proxy sends it on for Alice");
        screen.item(BOLD, &format!("POST {PATH}"));
        screen.field(PROOF_HEADER, PLAIN, self.demo_config.proof.expose_secret());
        screen.item(DIM, "  (known to the OAuth proxy alone: by it the names below are believed)");
        for (name, value) in ALICE {
            screen.field(name, PLAIN, value);
        }
        screen.item(DIM, "  (and the question, in the body; no key came)");
    }

    /// The same as it is sent, with the id of the request.
    fn headers(&self) -> HeaderMap {
        let own = [("X-Request-Id", self.id.as_str()), (PROOF_HEADER, self.demo_config.proof.expose_secret())];
        let lines = own.into_iter().chain(ALICE);
        lines.filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?))).collect()
    }

    /// Step 2, told when the request is let in; then waits until the request has reached the stand-in.
    async fn way(&mut self) -> Result<Arrival, DemoError> {
        loop {
            match timeout(PATIENCE, self.happening.recv()).await.map_err(late)? {
                Some(DemoEvent::Admitted(line)) if self.is_own(&line) => self.rule(&line),
                Some(DemoEvent::Arrived(arrival)) if arrival.request_id.as_ref() == Some(&self.id) => {
                    return Ok(arrival);
                }
                Some(DemoEvent::Ended(line)) if self.is_own(&line) => {
                    let why = line.get("refusal").or(line.get("cause")).unwrap_or_default();
                    return Err(DemoError::Answer(why.to_owned()));
                }
                Some(DemoEvent::Warned(line)) => warn(&mut self.screen, &line),
                // Another request than the tour's.
                Some(DemoEvent::Admitted(_) | DemoEvent::Arrived(_) | DemoEvent::Ended(_)) => {}
                None => return Err(DemoError::Answer("nothing was told of it".to_owned())),
            }
        }
    }

    fn rule(&mut self, line: &Line) {
        self.screen.step(2, "The rule that matched, in the demo's configuration");
        let Some(at) = self.rule_line(line) else { return };
        let (screen, config) = (&mut self.screen, self.demo_config.text.lines().enumerate());
        // A rule and its role.
        for (number, text) in config.skip(at.saturating_sub(1)).take(2) {
            screen.item(CYAN, &format!("line {}  {text}", number + 1));
        }
        screen.item(DIM, "(the whole of it: vestibule demo --print-config)");
    }

    /// Step 3.
    async fn rows(&mut self, arrival: &Arrival) -> Result<(), DemoError> {
        let screen = &mut self.screen;
        screen.step(3, "What was written, in one transaction: nobody knew her before");
        let Some(holder) = &arrival.holder else {
            return Err(DemoError::Answer("the stand-in did not know the key".to_owned()));
        };
        let email = holder.email.as_deref().unwrap_or("none");
        screen.item(CYAN, "LiteLLM_UserTable");
        screen.item(PLAIN, &format!("  user_id {}, user_email {email}", holder.user_id));
        screen.item(PLAIN, &format!("  user_role {}", holder.role));
        screen.item(CYAN, "LiteLLM_VerificationToken");
        let hash: String = holder.token.chars().take(16).collect();
        screen.item(PLAIN, &format!("  token {hash}… (the key's SHA-256; the key is written nowhere)"));
        let hours = (holder.left_seconds / 3600.0).round();
        screen.item(PLAIN, &format!("  user_id {}, expires in {hours} h", holder.user_id));
        screen.item(CYAN, "vestibule's own: account, session, audit");
        let events = self.store.events(&holder.user_id).await?;
        screen.item(PLAIN, &format!("  audit: {}", events.join(", ")));
        Ok(())
    }

    /// Step 4.
    fn outgoing(&mut self, arrival: &Arrival) {
        let screen = &mut self.screen;
        screen.step(4, "What went on to LiteLLM: a key of Alice's own, and no claim about her");
        screen.item(BOLD, &arrival.line);
        for (name, value) in &arrival.headers {
            let is_key = value.contains("sk-...");
            screen.field(name, if is_key { GREEN } else { PLAIN }, value);
        }
        let names = ALICE.iter().map(|(name, _)| *name).chain([PROOF_HEADER]);
        let is_through = |name: &str| arrival.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        let through: Vec<&str> = names.filter(|name| is_through(name)).collect();
        if through.is_empty() {
            screen.item(DIM, "(stayed here: the proof, and X-Forwarded-User, -Email and -Groups)");
        } else {
            screen.item(YELLOW, &format!("! went on, and should not have: {}", through.join(", ")));
        }
    }

    /// Shows every request that comes; it ends when nothing can come any more.
    pub(super) async fn follow(&mut self) -> DemoError {
        let mut arrivals: VecDeque<Arrival> = VecDeque::new();
        while let Some(event) = self.happening.recv().await {
            match event {
                DemoEvent::Admitted(_) => {}
                DemoEvent::Arrived(arrival) if arrival.request_id.is_none() => straight(&mut self.screen, &arrival),
                DemoEvent::Arrived(arrival) => {
                    if arrivals.len() >= ARRIVALS_MAX {
                        arrivals.pop_front();
                    }
                    arrivals.push_back(arrival);
                }
                // The tour's request ends when its answer has been read.
                DemoEvent::Ended(line) if self.is_own(&line) => {}
                DemoEvent::Ended(line) => {
                    let id = line.get("request_id");
                    let at = arrivals.iter().position(|arrival| arrival.request_id.as_deref() == id);
                    self.ended(&line, at.and_then(|at| arrivals.remove(at)).as_ref());
                }
                DemoEvent::Warned(line) => warn(&mut self.screen, &line),
            }
        }
        DemoError::Answer("nothing can be told any more".to_owned())
    }

    fn ended(&mut self, line: &Line, arrival: Option<&Arrival>) {
        let of = |name| plain(line.get(name).unwrap_or("-"));
        let begin = format!("{} {}", of("method"), of("path"));
        let code = Code::ALL.iter().find(|code| Some(code.as_str()) == line.get("refusal"));
        if let Some(code) = code {
            let told = format!("{} {}", code.status().as_u16(), code.as_str());
            self.screen.line(&format!("{} {begin}  {}", paint(YELLOW, "✗"), paint(YELLOW, &told)));
            self.screen.item(DIM, code.message());
            return;
        }
        let rule = self.rule_line(line).map_or_else(String::new, |at| format!(", by the rule at line {at}"));
        let status = format!("{} in {} ms", of("status"), of("total_ms"));
        self.screen.line(&format!("{} {begin}  {}{rule}  {status}", paint(GREEN, "✓"), paint(BOLD, &of("person"))));
        if let Some(holder) = arrival.and_then(|arrival| arrival.holder.as_ref()) {
            let Holder { key_name, user_id, role, .. } = holder;
            self.screen.item(DIM, &format!("the stand-in got {key_name}: {user_id}, {role}"));
        }
    }

    fn is_own(&self, line: &Line) -> bool {
        line.get("request_id") == Some(&self.id)
    }

    /// The line in the configuration of the rule that a log line tells.
    fn rule_line(&self, line: &Line) -> Option<usize> {
        let at: usize = line.get("rule")?.parse().ok()?;
        self.lines.get(at).copied().flatten()
    }
}

/// A request that went past vestibule.
fn straight(screen: &mut Screen, arrival: &Arrival) {
    let (style, sign, whose) = match &arrival.holder {
        Some(holder) => (GREEN, "✓", holder.user_id.clone()),
        None => (YELLOW, "✗", "401, a key that is not in the table".to_owned()),
    };
    let line = plain(&arrival.line);
    screen.line(&format!("{} {line}  straight to the stand-in  {}", paint(style, sign), paint(style, &plain(&whose))));
}

/// Something that the service warns of.
fn warn(screen: &mut Screen, line: &Line) {
    let cause = line.get("cause").map_or_else(String::new, |cause| format!(": {cause}"));
    let told = format!("! {}{cause}", line.get("message").unwrap_or_default());
    screen.line(&paint(YELLOW, &plain(&told)));
}

/// Sends the request as an OAuth proxy does for a user who is signed in.
async fn send(vestibule: SocketAddr, headers: HeaderMap) -> Result<(StatusCode, ClientBody), CallError> {
    let question = serde_json::json!({
        "model": MODEL, "stream": true, "messages": [{ "role": "user", "content": "Who am I?" }]
    });
    let client = HttpClient::new(ClientSettings::single("vestibule".to_owned(), Transport::Tcp, PATIENCE, 0));
    client.post_for_stream(format!("http://{vestibule}{PATH}"), headers, question.to_string()).await
}

fn late(error: impl std::error::Error + Send + Sync + 'static) -> DemoError {
    DemoError::Call(Box::new(error))
}
