//! When nobody can decide, nobody gets in, and nobody waits for long.

use std::time::Duration;

use super::scene::Scene;

/// Every gateway waits for 5 s. What is in front of it must be seen to end; this is less than the 20 s or 30 s that some of them
/// would wait by themselves.
const BOUND: Duration = Duration::from_secs(15);

async fn expect_closed(scene: &Scene, what: &str) {
    let requests = [
        scene.alice("/v1/models"),
        scene.get("/v1/models").header("Authorization", "Bearer sk-1234567890"),
        scene.of("alice", scene.client.post("/v1/chat/completions", "{}")),
        scene.alice("/v1/models").header("Accept", "text/html"),
    ];
    for request in requests {
        let through = tokio::time::timeout(BOUND, scene.through(&request)).await;
        let (answer, seen) = through.unwrap_or_else(|_| panic!("{what}: no answer in {BOUND:?}"));
        assert!(seen.is_none(), "{what}: {seen:#?}");
        assert!((500..=504).contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
    }
}

pub(super) async fn stuck_is_closed_in_time(scene: &mut Scene) {
    // The system takes connections for it, and nobody answers.
    scene.vestibule.as_ref().expect("it runs").stop().await;
    expect_closed(scene, "stuck").await;
    scene.vestibule.as_ref().expect("it runs").signal("CONT");
    scene.alice("/v1/models").send().await.expect_ok();
}

pub(super) async fn without_the_sign_in_proxy_it_is_closed(scene: &mut Scene) {
    scene.sign_in = None;
    let (answer, seen) = scene.through(&scene.of("carol", scene.get("/v1/models"))).await;
    assert!(seen.is_none(), "{seen:#?}");
    assert!((500..=504).contains(&answer.status), "{} {}", answer.status, answer.text());
    let (answer, seen) = scene.through(&scene.alice("/v1/models")).await;
    assert!(seen.is_none(), "{seen:#?}");
    assert!((500..=504).contains(&answer.status), "{} {}", answer.status, answer.text());
}

pub(super) async fn without_vestibule_it_is_closed(scene: &mut Scene) {
    scene.vestibule.take().expect("it runs").kill().await;
    expect_closed(scene, "away").await;
    let page = scene.alice("/ui/").send().await;
    assert!((500..=504).contains(&page.status), "{}", page.status);
}
