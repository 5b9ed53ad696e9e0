//! What the user can try: `curl` lines that stand by themselves, each with what it will show. `tests/it/demo.rs` runs them.

use std::net::SocketAddr;

use secrecy::ExposeSecret;

use super::config::{DemoConfig, PROOF_HEADER};
use super::fake_litellm::MODEL;

/// All of them, in the order of the telling: what each shows, and the command, over several lines.
pub(super) fn all(vestibule: SocketAddr, litellm: SocketAddr, demo_config: &DemoConfig) -> Vec<(&'static str, String)> {
    let models = format!("{}/v1/models", url(vestibule));
    let proof = format!("{PROOF_HEADER}: {}", demo_config.proof.expose_secret());
    let groups = |name: &str| format!("X-Forwarded-Groups: {name}");
    let user = |name: &str| format!("X-Forwarded-User: {name}");
    let own_key = "Authorization: Bearer sk-my-own-key".to_owned();
    let question = format!("{{\"model\": \"{MODEL}\", \"stream\": true, \"messages\": []}}");
    let chat = format!("{}/v1/chat/completions", url(vestibule));
    let asked = format!(" \\\n  -d '{question}'");
    vec![
        (
            "Bob, of llm-users, asks for a stream: an internal_user with a key of his own",
            curl("-N", &chat, &[&[&proof], &[&user("bob"), &groups("llm-users")]]) + &asked,
        ),
        (
            "Carol, of llm-admins: another rule, so she is proxy_admin",
            curl("", &models, &[&[&proof], &[&user("carol"), &groups("llm-admins")]]),
        ),
        (
            "Dave, of no group that a rule names: 403 no_role",
            curl("-i", &models, &[&[&proof], &[&user("dave"), &groups("guests")]]),
        ),
        (
            "\"I am Carol\", without the OAuth proxy's proof: 403 bad_proof",
            curl("-i", &models, &[&[&user("carol"), &groups("llm-admins")]]),
        ),
        (
            "Carol's name in a spelling that some servers fold: 400 aliased_header",
            curl("-i", &models, &[&[&proof], &[&user("bob"), "X_Forwarded_User: carol"]]),
        ),
        (
            "Bob with a key and a claim of his own: both are taken out, he stays Bob",
            curl(
                "",
                &models,
                &[&[&proof], &[&user("bob"), &groups("llm-users")], &[&own_key], &["X-Litellm-User-Role: proxy_admin"]],
            ),
        ),
        ("A key of one's own and nobody signed in: 401 no_identity", curl("-i", &models, &[&[&own_key]])),
        (
            "The same key straight to the stand-in: no such row, LiteLLM's 401",
            curl("-i", &format!("{}/v1/models", url(litellm)), &[&[&own_key]]),
        ),
    ]
}

/// In quotes where a shell would take the brackets for a pattern.
fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A command with its headers, so many on each line.
fn curl(flag: &str, url: &str, headers: &[&[&str]]) -> String {
    let url = if url.contains('[') { format!("'{url}'") } else { url.to_owned() };
    let flag = if flag.is_empty() { String::new() } else { format!("{flag} ") };
    let lines = headers.iter().map(|line| {
        let headers: Vec<String> = line.iter().map(|header| format!("-H '{header}'")).collect();
        headers.join(" ")
    });
    format!("curl {flag}{url} \\\n  {}", lines.collect::<Vec<_>>().join(" \\\n  "))
}
