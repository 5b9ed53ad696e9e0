//! Paths that a gateway, vestibule and LiteLLM could read in different ways.

use super::scene::{Scene, has_key};

/// Ways to write a path that some server takes for it.
fn spellings(path: &str) -> Vec<String> {
    let bare = path.trim_start_matches('/');
    let (first, rest) = bare.split_once('/').unwrap_or((bare, ""));
    let (letter, tail) = first.split_at(1);
    let byte = letter.bytes().next().expect("a path has a segment");
    let escaped = bare.replace('/', "%2f");
    vec![
        path.to_owned(),
        path.to_uppercase(),
        format!("/{path}"),
        path.replace('/', "//"),
        format!("/.{path}"),
        format!("/%2e{path}"),
        format!("/x/..{path}"),
        format!("/x/%2e%2e{path}"),
        format!("/x/%2E.{path}"),
        format!("/x%2f..{path}"),
        format!("/%{byte:02x}{tail}/{rest}"),
        format!("/%{byte:02X}{tail}/{rest}"),
        format!("/%25{byte:02x}{tail}/{rest}"),
        format!("/{escaped}"),
        format!("/{}", escaped.replace("%2f", "%2F")),
        format!("/{}", escaped.replace("%2f", "%252f")),
        format!("/{}", bare.replace('/', "\\")),
        format!("/{}", bare.replace('/', "%5c")),
        format!("/..;{path}"),
        format!("/x/..;{path}"),
        format!("/;x{path}"),
        format!("/{first};x/{rest}"),
        format!("/{first}/..;/{first}/{rest}"),
        format!("/ui/..{path}"),
        format!("/ui/..%2f{}", bare),
        format!("/ui/%2e%2e/{}", bare),
        format!("/ui/..\\{}", bare),
        format!("/ui;/..{path}"),
        format!("/oauth2/..{path}"),
        format!("/oauth2/..%2f{}", bare),
        format!("/oauth2/auth/../..{path}"),
        format!("/v1/models/../..{path}"),
        format!("{path}/"),
        format!("{path}/."),
        format!("{path}/v1/models"),
        format!("{path}?x=1"),
        format!("{path}%3fx"),
        format!("{path}%00"),
        format!("{path}%23"),
        format!("{path};x=1"),
        format!("http://llm.example.com{path}"),
        format!("http://127.0.0.1:4182{path}"),
    ]
}

pub(super) async fn no_answer_has_a_key_in_it(scene: &mut Scene) {
    let kind = scene.gateway.kind.folder();
    let mut paths = spellings(&format!("/vestibule/auth/{kind}"));
    for more in [
        "/vestibule/ui/../auth",
        "/vestibule/whoami/../auth",
        "/vestibule/whoami/..;/auth",
        "/vestibule/whoami%2f..%2fauth",
    ] {
        paths.push(format!("{more}/{kind}"));
    }
    paths.extend(["/_vestibule", "/%5fvestibule", "/vestibule", "/vestibule/", "/vestibule/auth"].map(str::to_owned));
    for path in &paths {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            // Everything that a gateway would ask with.
            let request = scene.client.request(method, path).header("X-Original-URI", "/v1/models");
            let request = request.header("X-Original-Method", "GET").header("X-Original-Host", "llm.example.com");
            let request = request.header("X-Forwarded-Uri", "/v1/models").header("X-Forwarded-Method", "GET");
            let request = request.header("Content-Length", "0");
            for request in [request.clone(), scene.of("alice", request)] {
                let before = scene.upstream().count();
                let answer = request.send().await;
                assert!(!has_key(&answer), "{method} {path}: {}", answer.head.line);
                let went_on = scene.upstream().count() > before;
                assert!(answer.status >= 300 || went_on, "{method} {path}: {} {}", answer.status, answer.text());
            }
        }
    }
    // Those that nobody mistakes never get as far as LiteLLM.
    for path in
        [format!("/vestibule/auth/{kind}"), "/vestibule/other".into(), "/Vestibule/x".into(), "//vestibule/x".into()]
    {
        let (answer, seen) = scene.through(&scene.alice(&path)).await;
        Scene::expect_closed(&path, &answer, seen.as_ref());
        assert_eq!(answer.status, 404, "{path}");
    }
}

pub(super) async fn closed_doors_are_closed(scene: &mut Scene) {
    for door in [
        "/login",
        "/v2/login",
        "/sso/callback",
        "/sso/debug/login",
        "/scim/v2/Users",
        "/config/yaml",
        "/onboarding/get_token",
    ] {
        for path in spellings(door) {
            let (answer, seen) = scene.through(&scene.of("bob", scene.get(&path))).await;
            if let Some(seen) = seen {
                assert!(!leads_to(seen.head.target(), door), "{path} went on as {}", seen.head.target());
            } else {
                assert!(answer.status >= 300, "{path}: {}", answer.status);
            }
        }
    }
}

/// Whether LiteLLM's server takes a target for a path: uvicorn undoes escapes once, and nothing else is seen through.
fn leads_to(target: &str, door: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
    path.strip_prefix(door).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) async fn a_path_is_judged_as_it_goes_on(scene: &mut Scene) {
    // What is one path to LiteLLM must reach it as it was judged, also where it is no plain one.
    for path in [
        "/v1/models/openai%2Fgpt-4o",
        "/v1/models/a%20b?x=%2F&y=a+b",
        "/v1/models/caf%C3%A9",
        "/v1/a:b,c@d",
        "/v1/x?a=b?c",
    ] {
        let (answer, seen) = scene.through(&scene.alice(path)).await;
        answer.expect_ok();
        let seen = seen.expect("it goes on");
        assert_eq!(seen.head.target(), path);
        scene.expect_alices(&seen).await;
    }
    // Another person's pages of the admin UI's tree are no way round the question.
    for path in [
        "/ui/../key/list",
        "/ui/..%2fkey/list",
        "/ui/%2e%2e/key/list",
        "/oauth2/../key/list",
        "/oauth2/%2e%2e/key/list",
    ] {
        let (answer, seen) = scene.through(&scene.get(path)).await;
        assert!(seen.is_none() && answer.status >= 300, "{path}: {} {seen:#?}", answer.status);
    }
}
