//! Programs of others around vestibule: what somebody signs in at, and gateways.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use super::eventually;

const APACHE: &str = "/usr/sbin/apache2";
const MODULES: &str = "/usr/lib/apache2/modules";

/// A program that ends with the test.
pub(crate) struct Peer {
    child: Child,
    /// Asked to end, so that it ends its own children: killed, it would leave them behind.
    has_children: bool,
}

impl Peer {
    /// Starts it, and waits until it listens on that port of 127.0.0.1.
    pub(crate) async fn start(what: &str, mut command: Command, port: u16) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{what} does not start: {error}: {command:?}"));
        let mut peer = Self { child, has_children: false };
        eventually(&format!("{what} to listen"), async || {
            let ended = peer.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "{what} has ended at once: {ended:?}: {command:?}");
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        peer
    }

    /// One that has to end its own children.
    pub(crate) fn with_children(mut self) -> Self {
        self.has_children = true;
        self
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.has_children {
            let _ = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The folder of the tests in the tree.
pub(crate) fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// A port that was free a moment ago, below the range that the system gives out by itself.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let begin = std::process::id().wrapping_mul(131);
    loop {
        let next = begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed).into());
        let port = 20_000 + u16::try_from(next % 12_000).expect("it is below 12 000");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Apache with a configuration of `tests/peers/apache`, its `@NAMES@` filled in.
pub(crate) async fn apache(template: &str, folder: &Path, port: u16, values: &[(&str, String)]) -> Peer {
    let run = folder.join(template);
    std::fs::create_dir_all(&run).expect("the test's folder can be written");
    for (name, text) in [("bye.html", "<!doctype html><title>Bye</title><h1>Bye</h1>"), ("ok.txt", "")] {
        std::fs::write(run.join(name), text).expect("the folder can be written");
    }
    #[expect(clippy::disallowed_methods, reason = "a test's own files need no path in the error")]
    let text = std::fs::read_to_string(tests().join(format!("peers/apache/{template}.conf.in"))).expect("it is there");
    let own =
        [("RUN_DIR", run.display().to_string()), ("MODULES", MODULES.to_owned()), ("LISTEN_PORT", port.to_string())];
    let text = own.iter().chain(values).fold(text, |text, (name, value)| text.replace(&format!("@{name}@"), value));
    std::fs::write(run.join("apache2.conf"), text).expect("the folder can be written");
    let mut command = Command::new(APACHE);
    command.arg("-f").arg(run.join("apache2.conf")).arg("-DFOREGROUND");
    Peer::start("Apache", command, port).await.with_children()
}

/// Where npm's packages are.
pub(crate) fn tools() -> String {
    std::env::var("VESTIBULE_TEST_TOOLS").expect("no tools here: `tests/run --browser` or `--gateways` installs them")
}

/// The OpenID provider, at a host name of its own: cookies know no ports.
pub(crate) async fn provider(base: &str) -> (Peer, String) {
    let port = free_port();
    let issuer = format!("http://localhost:{port}");
    let mut command = Command::new("node");
    command.arg(tests().join("peers/idp/server.mjs")).env("TOOLS_DIR", tools()).env("LISTEN_PORT", port.to_string());
    command.env("ISSUER", &issuer).env("REDIRECT_URIS", format!("{base}/oauth2/callback"));
    command.env("POST_LOGOUT_URIS", format!("{base}/bye")).stdout(Stdio::null());
    (Peer::start("the OpenID provider", command, port).await, issuer)
}

/// A gateway's program, by the name that `tests/run --gateways` gives it.
pub(crate) fn program(name: &str) -> PathBuf {
    let programs = std::env::var("VESTIBULE_TEST_GATEWAYS")
        .unwrap_or_else(|_| panic!("no gateways here: `tests/run --gateways` installs them"));
    let path = programs.split(' ').find_map(|program| program.strip_prefix(name)?.strip_prefix('='));
    path.unwrap_or_else(|| panic!("{name} is not among {programs}")).into()
}
