//! What a client says that is not its to say: it neither decides nor arrives.

use super::list;
use super::scene::{FORGED, HANDSHAKE, Scene};
use crate::support::client::Request;

/// What only a gateway says of a request, and a client's lies about it.
const ABOUT_THE_REQUEST: &[(&str, &str)] = &[
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Host", "forged.example"),
    ("X-Forwarded-Proto", "forged"),
    ("X-Forwarded-Uri", "/forged"),
    ("X-Forwarded-Method", "FORGED"),
    ("X-Forwarded-Prefix", "/forged"),
    ("X-Original-URI", "/forged"),
    ("X-Original-URL", "/forged"),
    ("X-Original-Method", "FORGED"),
    ("X-Original-Host", "forged.example"),
    ("X-Real-IP", "6.6.6.6"),
    ("Forwarded", "for=6.6.6.6;host=forged.example"),
    ("X-Vestibule-Proof", "forged"),
];

fn with_keys(request: Request) -> Request {
    request.header("Authorization", format!("Bearer {FORGED}")).header("x-litellm-api-key", FORGED)
}

pub(super) async fn nothing_that_is_forged_arrives(scene: &mut Scene) {
    let seen = scene.through(&scene.alice("/v1/models")).await.1.expect("it goes on");
    scene.expect_alices(&seen).await;
    assert_eq!((seen.head.target(), seen.head.value("host").as_deref()), ("/v1/models", Some("llm.example.com")));

    let removed = list(&format!("{}/vestibule.yaml", scene.gateway.kind.folder()), "gateway_removes");
    assert!(removed.len() > 20, "{removed:?}");
    let request = with_keys(scene.alice("/v1/models?page=%2F&x=1"));
    let request =
        removed.iter().filter(|name| *name != "cookie").fold(request, |request, name| request.header(name, FORGED));
    let request = ABOUT_THE_REQUEST.iter().fold(request, |request, (name, value)| request.header(name, value));
    let (answer, seen) = scene.through(&request).await;
    answer.expect_ok();
    let seen = seen.expect("it goes on");
    scene.expect_alices(&seen).await;
    assert_eq!(seen.head.target(), "/v1/models?page=%2F&x=1");

    // Twice is no better than once.
    let twice = with_keys(with_keys(scene.alice("/v1/models"))).header("x-api-key", FORGED).header("x-api-key", FORGED);
    if let Some(seen) = scene.through(&twice).await.1 {
        scene.expect_alices(&seen).await;
    }
    // And without a sign-in it is nothing at all.
    let (answer, seen) =
        scene.through(&with_keys(scene.get("/v1/models")).header("X-Auth-Request-User", "alice")).await;
    Scene::expect_closed("a forged key alone", &answer, seen.as_ref());
}

/// Names that other sign-in proxies set, and LiteLLM's own that the list leaves out.
pub(super) async fn what_is_not_taken_off_is_refused(scene: &mut Scene) {
    for name in ["Remote-User", "X-authentik-uid", "X-Vouch-User", "X-Auth-Subject", "X-OpenWebUI-Anything", "X-User"] {
        let (answer, seen) = scene.through(&scene.alice("/v1/models").header(name, FORGED)).await;
        match seen {
            // Envoy removes what vestibule's answer names.
            Some(seen) => scene.expect_alices(&seen).await,
            None => Scene::expect_closed(name, &answer, None),
        }
    }
}

pub(super) async fn no_forged_address_decides(scene: &mut Scene) {
    for (real, said) in [("/login", "/v1/models"), ("/scim/v2/Users", "/v1/models"), ("/config/yaml", "/health")] {
        let request = scene.alice(real).header("X-Original-URI", said).header("X-Original-URL", said);
        let request = request.header("X-Forwarded-Uri", said).header("X-Forwarded-Path", said);
        let (answer, seen) = scene.through(&request.header("X-Envoy-Original-Path", said)).await;
        Scene::expect_closed(&format!("{real} called {said}"), &answer, seen.as_ref());
    }
    let named = scene.get("/v1/models").header("X-Auth-Request-User", "alice").header("X-Forwarded-User", "alice");
    let (answer, seen) = scene.through(&named.header("X-Auth-Request-Email", "alice@example.com")).await;
    Scene::expect_closed("somebody by their own word", &answer, seen.as_ref());
}

pub(super) async fn a_connection_line_takes_nothing_away(scene: &mut Scene) {
    let names = [
        "Authorization",
        "x-litellm-api-key",
        "X-Original-URI",
        "X-Original-Method",
        "X-Forwarded-Uri",
        "X-Forwarded-Method",
        "X-Forwarded-Host",
        "X-Forwarded-For",
        "X-Vestibule-Proof",
        "X-Api-Key",
        "Cookie",
        "Host",
    ];
    for name in names {
        for spelled in [name.to_owned(), name.to_lowercase()] {
            let request = with_keys(scene.alice("/v1/models")).header("x-api-key", FORGED);
            let (answer, seen) = scene.through(&request.header("Connection", format!("close, {spelled}"))).await;
            match seen {
                Some(seen) => scene.expect_alices(&seen).await,
                None => Scene::expect_closed(&spelled, &answer, None),
            }
        }
    }
    let upgrade = with_keys(scene.alice("/v1/models")).header("x-api-key", FORGED);
    let upgrade = HANDSHAKE.iter().skip(1).fold(upgrade, |request, (name, value)| request.header(name, value));
    let all = format!("Upgrade, {}", names[..10].join(", "));
    let (answer, seen) = scene.through(&upgrade.header("Connection", all)).await;
    match seen {
        Some(seen) => scene.expect_alices(&seen).await,
        None => Scene::expect_closed("a websocket's handshake", &answer, None),
    }
}

pub(super) async fn no_twin_arrives(scene: &mut Scene) {
    let names = [
        "x-litellm-api-key",
        "x-api-key",
        "x-litellm-end-user-id",
        "x-forwarded-user",
        "x-auth-request-user",
        "x-auth-request-groups",
        "x-original-uri",
        "x-forwarded-uri",
        "x-forwarded-host",
        "x-vestibule-proof",
        "sec-fetch-site",
    ];
    for name in names {
        for twin in [name.replace('-', "_"), name.replacen('-', "_", 1), name.to_uppercase().replace('-', "_")] {
            let (answer, seen) = scene.through(&scene.alice("/v1/models").header(&twin, FORGED)).await;
            match seen {
                Some(seen) => scene.expect_alices(&seen).await,
                None => Scene::expect_closed(&twin, &answer, None),
            }
        }
    }
}
