//! Real gateways, each with the very files of `deploy`, between a real sign-in proxy (Apache) and the real LiteLLM, or a double
//! where bytes must be seen. `tests/run --gateways` installs what they need.
//!
//! One table: every gateway, every case. A cell that fails does not hide the others of its row.

mod advisories;
mod before_litellm;
mod down;
mod forged;
mod passing;
mod paths;
mod scene;
mod shipped;
mod ui;

use std::pin::Pin;
use std::rc::Rc;

use tokio::sync::Mutex;
use tokio::task::{LocalSet, spawn_local};

use crate::support::vestibule::{Ended, SESSION_SECRET, Setup, binary, ended};
use scene::Scene;
use shipped::{GATEWAYS, Gateway};

/// What must hold. It takes a scene as the cases before it left it.
type Case = for<'s> fn(&'s mut Scene) -> Pin<Box<dyn Future<Output = ()> + 's>>;

/// Before the real LiteLLM.
const WITH_LITELLM: &[(&str, Case)] = &[
    ("a model call is answered, streamed and not, and paid by the person", |scene| {
        Box::pin(before_litellm::a_model_call_is_the_persons(scene))
    }),
    ("a management call is the person's, with their role", |scene| {
        Box::pin(before_litellm::a_management_call_is_the_persons(scene))
    }),
    ("whoever is not signed in gets a 401 and is told why", |scene| {
        Box::pin(before_litellm::whoever_is_not_signed_in_is_told(scene))
    }),
    ("somebody without a role gets a 403 and is told why", |scene| {
        Box::pin(before_litellm::somebody_without_a_role_is_told(scene))
    }),
    ("a page leads to sign-in and back to where it was", |scene| {
        Box::pin(before_litellm::a_page_leads_to_sign_in(scene))
    }),
    ("somebody else's key counts nowhere", |scene| Box::pin(before_litellm::somebody_elses_key_counts_nowhere(scene))),
    ("the admin UI signs in without a key in the browser, and out", |scene| {
        Box::pin(ui::the_admin_ui_signs_in_and_out(scene))
    }),
];

/// Before the double. What takes something away comes last.
const WITH_A_DOUBLE: &[(&str, Case)] = &[
    ("the key arrives once, and nothing that a client says of itself", |scene| {
        Box::pin(forged::nothing_that_is_forged_arrives(scene))
    }),
    ("what is not taken off is refused", |scene| Box::pin(forged::what_is_not_taken_off_is_refused(scene))),
    ("no forged address decides", |scene| Box::pin(forged::no_forged_address_decides(scene))),
    ("a Connection line takes nothing away", |scene| Box::pin(forged::a_connection_line_takes_nothing_away(scene))),
    ("no twin of a name arrives", |scene| Box::pin(forged::no_twin_arrives(scene))),
    ("no answer to anything below vestibule's own path has a key in it", |scene| {
        Box::pin(paths::no_answer_has_a_key_in_it(scene))
    }),
    ("closed doors are closed in every spelling", |scene| Box::pin(paths::closed_doors_are_closed(scene))),
    ("a path is judged as LiteLLM gets it", |scene| Box::pin(paths::a_path_is_judged_as_it_goes_on(scene))),
    ("another site's requests and other hosts get nowhere", |scene| {
        Box::pin(passing::another_sites_requests_get_nowhere(scene))
    }),
    ("events arrive one by one", |scene| Box::pin(passing::events_arrive_one_by_one(scene))),
    ("a websocket echoes, for whoever is signed in", |scene| Box::pin(passing::a_websocket_echoes(scene))),
    ("no other protocol is changed to", |scene| Box::pin(passing::no_other_protocol_is_changed_to(scene))),
    ("an upload passes whole, and every method", |scene| Box::pin(passing::an_upload_passes_whole(scene))),
    ("a kept connection stays in step", |scene| Box::pin(passing::a_kept_connection_stays_in_step(scene))),
    ("LiteLLM's answer leads the gateway nowhere and lets no other site read", |scene| {
        Box::pin(passing::an_answer_leads_nowhere(scene))
    }),
    ("vestibule is stuck: closed, in time", |scene| Box::pin(down::stuck_is_closed_in_time(scene))),
    ("the sign-in proxy is away: closed", |scene| Box::pin(down::without_the_sign_in_proxy_it_is_closed(scene))),
    ("vestibule is away: closed", |scene| Box::pin(down::without_vestibule_it_is_closed(scene))),
];

/// A gateway through every case.
async fn keeps_every_promise(name: &str) {
    let gateway = GATEWAYS.iter().find(|gateway| gateway.name == name).expect("it is in the table");
    let both = async {
        let mut failed = play(Scene::before_a_double(gateway).await, WITH_A_DOUBLE).await;
        failed.extend(play(Scene::before_litellm(gateway).await, WITH_LITELLM).await);
        failed
    };
    let failed = LocalSet::new().run_until(both).await;
    assert!(failed.is_empty(), "{name}, {} of {}: {failed:#?}", failed.len(), WITH_LITELLM.len() + WITH_A_DOUBLE.len());
}

/// What failed, with the reason. Each case is a task of its own, so that its panic is caught.
async fn play(scene: Scene, cases: &'static [(&str, Case)]) -> Vec<(String, String)> {
    let scene = Rc::new(Mutex::new(scene));
    let mut failed = Vec::new();
    for (what, case) in cases {
        let scene = Rc::clone(&scene);
        if let Err(error) = spawn_local(async move { case(&mut *scene.lock().await).await }).await {
            let panic = error.into_panic();
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
            failed.push(((*what).to_owned(), text));
        }
    }
    if !failed.is_empty() {
        failed.push(("what the gateway wrote".to_owned(), scene.lock().await.log()));
    }
    failed
}

macro_rules! rows {
    ($($test:ident = $name:literal;)+) => {
        $(
            #[tokio::test]
            #[ignore = "needs the gateways and the real LiteLLM: tests/run --gateways"]
            async fn $test() {
                keeps_every_promise($name).await;
            }
        )+

        #[test]
        fn every_gateway_of_the_table_has_a_test() {
            let tested = [$($name),+];
            assert_eq!(GATEWAYS.iter().map(|Gateway { name, .. }| *name).collect::<Vec<_>>(), tested);
        }
    };
}

rows! {
    nginx_keeps_every_promise = "nginx";
    caddy_2_6_keeps_every_promise = "caddy-2.6";
    caddy_2_11_keeps_every_promise = "caddy-2.11";
    haproxy_keeps_every_promise = "haproxy";
    envoy_keeps_every_promise = "envoy";
    traefik_keeps_every_promise = "traefik";
}

/// The configurations of `deploy` with secrets of the test's own.
async fn checked(gateway: &Gateway) -> Ended {
    let setup = Setup::new("", "");
    let secret = |name: &str, text: &str| {
        let path = setup.folder().join(name);
        std::fs::write(&path, text).expect("the folder can be written");
        path.display().to_string()
    };
    let changes = [
        ("/run/secrets/vestibule-proof", secret("proof", shipped::PROOF)),
        ("/run/secrets/session-secret", secret("secret", SESSION_SECRET)),
        ("/run/secrets/database-url", secret("database", "postgresql://nobody@127.0.0.1:1/nothing")),
    ];
    let text = shipped::substituted(&format!("{}/vestibule.yaml", gateway.kind.folder()), &changes);
    let config = setup.clone().saying(text).write();
    let mut command = binary();
    command.args(["check", "--strict", "--config"]).arg(config);
    ended(command).await
}

#[tokio::test]
async fn every_vestibule_yaml_beside_a_gateway_s_file_is_sound() {
    for gateway in GATEWAYS {
        let ended = checked(gateway).await;
        assert_eq!(ended.code, Some(0), "deploy/{}: {ended:?}", gateway.kind.folder());
    }
}

/// The list of that name in a file of `deploy`: `name: [a, b]`, over one line or several.
fn list(path: &str, name: &str) -> Vec<String> {
    let text = shipped::read(path);
    let (_, list) = text.split_once(&format!("{name}:")).unwrap_or_else(|| panic!("deploy/{path} has no {name}"));
    let list = list.trim_start().trim_start_matches('[').split(']').next().expect("an end");
    list.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

#[test]
fn envoy_lets_through_what_vestibule_was_told_and_nothing_else() {
    let text = shipped::read("envoy/envoy.yaml");
    let (_, allowed) = text.split_once("allowed_headers:").expect("there are some");
    let (allowed, _) = allowed.split_once("http_service:").expect("it ends there");
    let patterns: Vec<&str> = allowed.lines().filter(|line| line.trim_start().starts_with("- ")).collect();
    let exact = |line: &&str| line.split_once("{ exact: ")?.1.split(',').next().map(str::to_owned);
    let allowed: Vec<String> = patterns.iter().filter_map(exact).collect();
    assert_eq!(allowed.len(), patterns.len(), "each by its whole name: {patterns:?}");
    assert_eq!(allowed, list("envoy/vestibule.yaml", "gateway_passes"));
}
