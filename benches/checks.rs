//! What the checks of bytes and heads cost a request, in nanoseconds on one core: `cargo bench --bench checks`.
//!
//! The request is the one that `benches/run` sends, as oauth2-proxy would; the answer is LiteLLM's with its usual headers.
//! The least of many rounds is shown: whatever else the machine does only adds.

#![expect(clippy::print_stdout, reason = "a benchmark's figures are its output")]
#![expect(clippy::expect_used, reason = "a benchmark that can't be set up should stop")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use http::Request;
use http::request::Parts;
use tokio::time::Instant;
use vestibule::config::{ConfigSource, load};
use vestibule::http1::testing::{RequestGuard, RequestKind, ResponseGuard};
use vestibule::request_info::RequestInfo;
use vestibule::server::app::proxy_rules;

const ROUNDS: u32 = 200;
const TURNS: u32 = 2000;

const CONFIG: &str = "
trust: { peers: [192.0.2.1] }
identity: { preset: oauth2-proxy, reads: [user, email, groups] }
default_role: deny
session: { secret: 0123456789abcdef0123456789abcdef }
litellm: { url: 'http://127.0.0.1:4000', database_url: 'postgresql://u@127.0.0.1/db' }
";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: uvicorn\r\n\
    content-length: 4\r\ncontent-type: application/json\r\nx-litellm-call-id: 0a1b2c3d-0000-4000-8000-0123456789ab\r\n\
    x-litellm-model-id: 9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d\r\nx-litellm-version: 1.108.7\r\nx-litellm-key-spend: 0.25\r\n\
    x-litellm-response-cost: 0.0001\r\n\r\nbody";

fn fields() -> Vec<(&'static str, String)> {
    vec![
        ("Host", "llm.example.com".into()),
        ("X-Forwarded-User", "00u1a2b3c4d5e6f7g8h9".into()),
        ("X-Forwarded-Email", "alice@example.com".into()),
        ("X-Forwarded-Groups", "llm-users,engineering,everyone".into()),
        ("X-Forwarded-Preferred-Username", "alice".into()),
        ("X-Forwarded-For", "203.0.113.7".into()),
        ("X-Forwarded-Proto", "https".into()),
        ("X-Forwarded-Host", "llm.example.com".into()),
        ("Authorization", format!("Bearer client-{}", "x".repeat(120))),
        ("Cookie", format!("_oauth2_proxy={}; theme=dark", "y".repeat(240))),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140".into()),
        ("Accept", "application/json".into()),
        ("Accept-Encoding", "gzip, deflate, br".into()),
        ("Accept-Language", "en-US,en;q=0.9".into()),
    ]
}

fn measure(name: &str, mut turn: impl FnMut()) -> f64 {
    let round = |turn: &mut dyn FnMut()| {
        let begin = Instant::now();
        (0..TURNS).for_each(|_| turn());
        begin.elapsed()
    };
    let least = (0..ROUNDS).map(|_| round(&mut turn)).min().unwrap_or(Duration::ZERO);
    let nanoseconds = least.as_secs_f64() * 1e9 / f64::from(TURNS);
    println!("{name:28} {nanoseconds:7.0} ns");
    nanoseconds
}

fn main() {
    let source = ConfigSource { text: Some(CONFIG.to_owned()), ..ConfigSource::default() };
    let (config, _) = load(&source).expect("the configuration is right");
    let rules = proxy_rules(&config);
    let mut bytes = String::from("GET /v1/chat/completions HTTP/1.1\r\n");
    let mut request = Request::builder().uri("/v1/chat/completions");
    for (name, value) in fields() {
        write!(bytes, "{name}: {value}\r\n").expect("a string takes all");
        request = request.header(name, value);
    }
    bytes += "\r\n";
    let (head, ()): (Parts, ()) = request.body(()).expect("the head is right").into_parts();

    let parts = [
        measure("the request's bytes", || {
            let mut guard = RequestGuard::new(65_536, 100);
            black_box(guard.scan(black_box(bytes.as_bytes()), 0));
        }),
        measure("the request's head", || {
            black_box(RequestInfo::read(black_box(&head), false, &rules).check().is_ok());
        }),
        measure("the answer's bytes", || {
            let mut guard = ResponseGuard::new(65_536, 100);
            guard.expect(RequestKind::Plain);
            black_box(guard.scan(black_box(ANSWER)));
        }),
    ];
    println!("{:28} {:7.0} ns", "all checks of a request", parts.iter().sum::<f64>());
}
