//! Claims about a real browser: Chromium, the real LiteLLM, an OpenID provider and Apache's `mod_auth_openidc` before vestibule.
//! `tests/run --browser` installs what they need.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::litellm::Real;
use crate::support::db::TestDb;
use crate::support::peers::{Peer, apache, free_port, provider, tests, tools};
use crate::support::upstream::Upstream;
use crate::support::vestibule::{Setup, Vestibule, field};
use crate::wire::address_of;

/// Runs a script of `tests/browser` to its end and reads what it saw.
async fn script(name: &str, settings: &[(&str, String)]) -> Value {
    let mut command = tokio::process::Command::new("node");
    command.arg(tests().join("browser").join(name)).env("TOOLS_DIR", tools()).kill_on_drop(true);
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    let output = command.output().await.expect("node is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(text.trim())
        .unwrap_or_else(|error| panic!("{error}: {text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// vestibule and a sign-in proxy before the real LiteLLM.
struct Scene {
    real: Real,
    base: String,
    _peers: [Peer; 2],
}

impl Scene {
    async fn start() -> Self {
        let port = free_port();
        let base = format!("http://127.0.0.1:{port}");
        let chain = ["/oauth2/callback?logout={next}".to_owned(), format!("{base}/bye")];
        let rules = json!([
            { "when": { "group": "llm-admins" }, "role": "proxy_admin" },
            { "when": { "group": "llm-users" }, "role": "internal_user" },
        ]);
        let real = Real::with("SHORT", "1s", |setup| {
            let setup = setup.with("public_url", base.clone()).with("logout.chain", chain.to_vec());
            setup.with("rules", rules).with("litellm.master_key", crate::litellm::MASTER_KEY)
        })
        .await;
        let (idp, issuer) = provider(&base).await;
        let values = [
            ("UPSTREAM_PORT", address_of(&real.vestibule).port().to_string()),
            ("ISSUER", issuer),
            ("CLIENT_ID", "gateway".to_owned()),
            ("CLIENT_SECRET", "gateway-secret".to_owned()),
        ];
        let gateway = apache("openid", real.setup.folder(), port, &values).await;
        Self { real, base, _peers: [gateway, idp] }
    }
}

#[tokio::test]
#[ignore = "needs Chromium and the real LiteLLM: tests/run --browser"]
async fn people_are_in_as_themselves_and_out_and_no_browser_ever_holds_a_key() {
    let scene = Scene::start().await;
    let shots = std::env::var("VESTIBULE_TEST_SHOTS").unwrap_or_default();
    let seen = script("ui.mjs", &[("BASE", scene.base.clone()), ("SHOTS", shots)]).await;
    assert_eq!(seen["error"], Value::Null, "{seen:#}");

    // Signed in, with the right menus, without LiteLLM's form.
    let menu = |who: &str| seen[who].as_str().unwrap_or_default().to_owned();
    assert!(!menu("aliceMenu").contains("Internal Users") && menu("bobMenu").contains("Internal Users"), "{seen:#}");
    let visited = seen["visited"].as_array().expect("addresses");
    assert!(!visited.iter().any(|url| url.as_str().is_some_and(|url| url.contains("/ui/login"))), "{visited:?}");
    assert_eq!((&seen["aliceMe"]["user_id"], &seen["bobMe"]["user_id"]), (&json!("alice"), &json!("bob")), "{seen:#}");
    assert_eq!((&seen["aliceAdminRoute"], &seen["aliceChat"]), (&json!(403), &json!(200)), "{seen:#}");
    assert!(seen["whoami"].as_str().is_some_and(|text| text.contains("internal_user")), "{seen:#}");

    // bob at work, and alice's tab.
    for what in ["bobTeam", "bobKey", "bobEdits", "bobChat"] {
        assert_eq!(seen[what], 200, "{what}: {seen:#}");
    }
    assert_eq!(seen["playground"], true, "{seen:#}");
    assert_eq!(seen["herTabAfterBob"], json!({ "status": 401, "type": "token_not_found_in_db" }), "{seen:#}");

    // No key in cookies, storage or anything that was sent.
    assert!(seen["texts"].as_u64().is_some_and(|count| count > 200), "too little was recorded: {}", seen["texts"]);
    let made = seen["madeOnPurpose"].as_str().expect("bob's own key");
    let db = &scene.real.db;
    assert_eq!(db.owner_of(made).await.as_deref(), Some("bob"), "the comparison finds a key that is there");
    let keys: BTreeSet<&str> = seen["keys"].as_array().expect("keys").iter().filter_map(Value::as_str).collect();
    assert!(keys.iter().any(|key| key.starts_with("sk-vst-")), "placeholders are found: {keys:?}");
    for key in keys.iter().filter(|key| **key != made) {
        assert_eq!(db.owner_of(key).await, None, "a key of LiteLLM's was in the browser: {key}");
    }

    // Out, and not straight back in.
    assert_eq!((&seen["beforeLogout"], &seen["cookiesAfterLogout"]), (&json!(200), &json!([])), "{seen:#}");
    assert_eq!(seen["asksAgain"], true, "{seen:#}");
    let old = seen["oldKey"].as_str().expect("bob's placeholder");
    let request = scene.real.vestibule.client().get("/key/list").header("X-Forwarded-User", "bob");
    let request =
        request.header("X-Forwarded-Email", "bob@example.test").header("X-Forwarded-Groups", "llm-users,llm-admins");
    let host = scene.base.trim_start_matches("http://");
    let answer = request.header("Host", host).header("Authorization", format!("Bearer {old}")).send().await;
    answer.expect_refusal(401, "dead_placeholder");
    let revoked = "SELECT count(*) FROM vestibule.audit WHERE event = 'session_revoked' AND actor = 'person'";
    assert!(db.number(revoked).await >= 1);
}

#[tokio::test]
#[ignore = "needs Chromium: tests/run --browser"]
async fn another_sites_page_gets_nothing_through_over_http_and_https() {
    let (plain, tls, foreign) = (free_port(), free_port(), free_port());
    let upstream = Upstream::json().await;
    let db = TestDb::fresh().await;
    let targets = [format!("http://llm.test:{plain}"), format!("https://llm.test:{tls}")];
    let setup = |url: &str| Setup::new(&upstream.url, db.url()).with("public_url", url);
    let setups = targets.clone().map(|url| setup(&url));
    let vestibules = [setups[0].start().await, setups[1].start().await];
    let folder = setups[0].folder().join("asserting");
    std::fs::create_dir_all(&folder).expect("the test's folder can be written");
    certificate(&folder);
    let [http, https] = vestibules.each_ref().map(|vestibule| address_of(vestibule).port().to_string());
    let values = [("UPSTREAM_PORT", http), ("TLS_UPSTREAM_PORT", https), ("TLS_PORT", tls.to_string())];
    let _gateway = apache("asserting", setups[0].folder(), plain, &values).await;

    let settings = [("TARGETS", targets.join(",")), ("FOREIGN", foreign.to_string())];
    let seen = script("foreign.mjs", &settings).await;
    assert_eq!(seen["read"], false, "its script read an answer: {seen:#}");
    assert_eq!(seen["made"].as_array().map(Vec::len), Some(8), "{seen:#}");
    let forwarded: Vec<_> =
        upstream.seen().iter().map(|seen| String::from_utf8_lossy(&seen.raw).into_owned()).collect();
    assert_eq!(forwarded, [""; 0], "something was forwarded");
    for (vestibule, what) in vestibules.iter().zip(["http", "https"]) {
        let refused = refusals(vestibule);
        // An image, frames, a form, two fetches, a stream of events, a websocket and a link, for each of four paths. A browser
        // may hold some back by itself, over http above all.
        assert!(refused.len() >= 20, "only {} requests came over {what}: {refused:?}", refused.len());
        let allowed = ["cross_site", "(the button)"];
        assert!(refused.iter().all(|(_, code)| allowed.contains(&code.as_str())), "{what}: {refused:?}");
    }
}

/// Path and refusal of each request in the log; the page that only shows a button is none.
fn refusals(vestibule: &Vestibule) -> Vec<(String, String)> {
    let lines = vestibule.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    let requests = lines.filter(|line| field(line, "message") == "request");
    let read = |line: Value| {
        let (path, code) = (field(&line, "path"), field(&line, "refusal"));
        let is_button = path == "/vestibule/logout" && code.is_empty() && field(&line, "method") == "GET";
        (path, if is_button { "(the button)".to_owned() } else { code })
    };
    requests.map(read).collect()
}

fn certificate(folder: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=llm.test", "-addext", "subjectAltName=DNS:llm.test"]);
    openssl.arg("-keyout").arg(folder.join("key.pem")).arg("-out").arg(folder.join("cert.pem"));
    let made = openssl.stderr(Stdio::null()).status().expect("openssl comes with Apache");
    assert!(made.success(), "no certificate was made");
}
