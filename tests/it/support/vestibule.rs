//! The real binary with a configuration of the test's own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::client::{Answer, Client};
use super::process::{self, signal};
use super::{eventually, within};

/// The session secret of every test: a canary that no log, answer or metric may hold.
pub(crate) const SESSION_SECRET: &str = "canary-session-secret-5b0ad1c27f6e4f0c9d3f";

/// A configuration, and what starts the binary with it.
#[derive(Clone)]
pub(crate) struct Setup {
    config: Value,
    /// Written in place of it.
    text: Option<String>,
    folder: Arc<Folder>,
    /// What starts it, such as a shell with other limits.
    wrapping: Vec<String>,
    environment: Vec<(String, String)>,
}

/// A temporary folder, removed with the last who uses it.
pub(crate) struct Folder(PathBuf);

/// A process that runs until it is dropped.
pub(crate) struct Vestibule {
    child: Child,
    log: Arc<Log>,
    proxy: Option<SocketAddr>,
    admin: SocketAddr,
    config: PathBuf,
    folder: Arc<Folder>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

struct Log {
    lines: Mutex<Vec<String>>,
    changed: watch::Sender<bool>,
}

impl Folder {
    fn fresh() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("vestibule-it-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the temporary folder can be written");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Two, or what `tests/run --workers` said.
fn workers() -> usize {
    std::env::var("VESTIBULE_TEST_WORKERS").ok().and_then(|workers| workers.parse().ok()).unwrap_or(2)
}

impl Setup {
    /// The example's rules between oauth2-proxy on 127.0.0.1 and that upstream, on that database.
    pub(crate) fn new(upstream: &str, database: &str) -> Self {
        let config = json!({
            "listen": "127.0.0.1:0",
            "admin": "127.0.0.1:0",
            "workers": workers(),
            "trust": { "peers": ["127.0.0.1"], "accept_shared_loopback": true },
            "identity": { "preset": "oauth2-proxy", "reads": ["user", "email", "groups"] },
            "rules": [
                { "when": { "group": "llm-admins" }, "role": "proxy_admin" },
                { "when": { "email_domain": "example.com", "group": "llm-*" }, "role": "internal_user" },
            ],
            "default_role": "internal_user_viewer",
            "session": { "secret": SESSION_SECRET },
            "litellm": { "url": upstream, "database_url": database },
            "drain": { "delay": "0s", "timeout": "5s" },
            "log": { "format": "json", "level": "info" },
        });
        let folder = Arc::new(Folder::fresh());
        Self { config, text: None, folder, wrapping: Vec::new(), environment: Vec::new() }
    }

    /// Sets the key at that path, such as `account.refresh`.
    pub(crate) fn with(mut self, path: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self.config;
        for name in path.split('.') {
            place = &mut place[name];
        }
        *place = value.into();
        self
    }

    /// Takes the key at that path out.
    pub(crate) fn without(mut self, path: &str) -> Self {
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        let parent = self.config.pointer_mut(&parent.split('.').fold(String::new(), |pointer, name| match name {
            "" => pointer,
            name => pointer + "/" + name,
        }));
        parent.and_then(Value::as_object_mut).expect("the parent is a section").remove(name);
        self
    }

    /// A folder for sockets and secrets.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// This text in place of the configuration.
    pub(crate) fn saying(self, text: String) -> Self {
        Self { text: Some(text), ..self }
    }

    /// Writes the configuration; JSON is YAML too.
    pub(crate) fn write(&self) -> PathBuf {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("config-{}.yaml", COUNT.fetch_add(1, Ordering::Relaxed));
        let path = self.folder().join(name);
        let text = self.text.clone().unwrap_or_else(|| self.config.to_string());
        std::fs::write(&path, text).expect("the folder can be written");
        path
    }

    fn command(&self, config: &Path) -> Command {
        let mut command = binary();
        if let [program, arguments @ ..] = &self.wrapping[..] {
            let binary = command.get_program().to_owned();
            command = Command::new(program);
            command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
            command.args(arguments).arg(binary);
        }
        command.arg("serve").arg("--config").arg(config).envs(self.environment.clone());
        command
    }

    /// Lets the process have so many open files and no more.
    pub(crate) fn descriptors(self, count: usize) -> Self {
        self.wrapped(&["sh", "-c", &format!("ulimit -n {count}; exec \"$0\" \"$@\"")])
    }

    /// Has another program start it, which goes on as it.
    pub(crate) fn wrapped(self, wrapping: &[&str]) -> Self {
        Self { wrapping: wrapping.iter().map(ToString::to_string).collect(), ..self }
    }

    /// Gives the process these variables.
    pub(crate) fn environment(self, environment: Vec<(String, String)>) -> Self {
        Self { environment, ..self }
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&self) -> Vestibule {
        let vestibule = self.start_unready().await;
        vestibule.ready().await;
        vestibule
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn start_unready(&self) -> Vestibule {
        let config = self.write();
        self.spawn(self.command(&config), config).await
    }

    /// Starts it with these flags and no file, and waits until it listens.
    pub(crate) async fn start_with(&self, words: &[&str]) -> Vestibule {
        let mut command = binary();
        command.arg("serve").args(words);
        self.spawn(command, PathBuf::new()).await
    }

    async fn spawn(&self, mut command: Command, config: PathBuf) -> Vestibule {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary was built");
        let log = Log::of(child.stderr.take().expect("its standard error is piped"));
        let admin = log.listening("admin").await.expect("the admin port is TCP");
        let proxy = log.listening("proxy").await;
        Vestibule { child, log, proxy, admin, config, folder: Arc::clone(&self.folder) }
    }

    /// Starts it and waits until it gives up by itself.
    pub(crate) async fn give_up(&self) -> Ended {
        ended(self.command(&self.write())).await
    }
}

/// The binary, without the environment of the tests.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) async fn ended(mut command: Command) -> Ended {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary was built");
    let id = child.id();
    let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
    let Ok(output) = tokio::time::timeout(super::PATIENCE, waiting).await else {
        signal("KILL", id);
        panic!("the command did not end: {command:?}");
    };
    let output = output.expect("the wait does not panic").expect("the child can be waited for");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Log {
    fn of(stderr: std::process::ChildStderr) -> Arc<Self> {
        let log = Arc::new(Self { lines: Mutex::default(), changed: watch::Sender::new(false) });
        let writing = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                writing.lines.lock().expect("nobody panics with it").push(line);
                writing.changed.send_replace(false);
            }
            writing.changed.send_replace(true);
        });
        log
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panics with it").clone()
    }

    /// Waits for a line of which the function makes something.
    async fn line<T>(&self, what: &str, read: impl Fn(&Value) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        let search = async {
            loop {
                let over = *changes.borrow_and_update();
                let lines = self.lines();
                if let Some(found) = lines.iter().find_map(|line| read(&parse(line)?)) {
                    return found;
                }
                assert!(!over, "the process ended before {what}:\n{}", lines.join("\n"));
                let _ = changes.changed().await;
            }
        };
        match tokio::time::timeout(super::PATIENCE, search).await {
            Ok(found) => found,
            Err(elapsed) => panic!("{elapsed}: waited in vain for {what} in the log:\n{}", self.lines().join("\n")),
        }
    }

    /// The address that was listened on; `None` for a unix socket.
    async fn listening(&self, what: &str) -> Option<SocketAddr> {
        self.line(&format!("the line that the {what} port listens"), |line| {
            (field(line, "message") == "listening" && field(line, "what") == what)
                .then(|| field(line, "address").parse().ok())
        })
        .await
    }
}

fn parse(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}

/// A field of a log line, wherever the format puts it.
pub(crate) fn field(line: &Value, name: &str) -> String {
    let value = line.get(name).or_else(|| line.get("fields").and_then(|fields| fields.get(name)));
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

impl Vestibule {
    /// A client on 127.0.0.1.
    pub(crate) fn client(&self) -> Client {
        Client::tcp(self.proxy.expect("it listens on TCP"))
    }

    /// A client on 127.0.0.1 at the listener for gateways.
    pub(crate) async fn questions(&self) -> Client {
        Client::tcp(self.log.listening("forward_auth").await.expect("it listens on TCP"))
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn admin(&self) -> Client {
        Client::tcp(self.admin)
    }

    /// Waits until `/readyz` says 200.
    pub(crate) async fn ready(&self) {
        let last = Mutex::new(None);
        let ready = async {
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(10));
            loop {
                tick.tick().await;
                let answer = self.admin().get("/readyz").send().await;
                if answer.status == 200 {
                    return;
                }
                *last.lock().expect("nobody panics with it") = Some(answer.text());
            }
        };
        if tokio::time::timeout(super::PATIENCE, ready).await.is_err() {
            let last = last.lock().expect("nobody panics with it").clone();
            panic!("not ready: {last:?}\n{}", self.log.lines().join("\n"));
        }
    }

    /// Bytes of memory that it holds now, as the system counts them (`VmRSS`).
    pub(crate) fn memory(&self) -> usize {
        self.counted("VmRSS:")
    }

    /// Most bytes of memory that it has ever held (`VmHWM`).
    pub(crate) fn peak_memory(&self) -> usize {
        self.counted("VmHWM:")
    }

    fn counted(&self, what: &str) -> usize {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("Linux counts it");
        let kibibytes: usize = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
        kibibytes * 1024
    }

    /// How many files and sockets it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs, and we may look").count()
    }

    /// Asks it to read its configuration again, and does not wait.
    pub(crate) fn hangup(&self) {
        signal("HUP", self.child.id());
    }

    /// What the system tells of it in a file of that name.
    pub(crate) fn proc(&self, name: &str) -> String {
        process::proc(self.child.id(), name)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.child.id());
    }

    /// Stops it where it is, until it is sent `CONT`.
    pub(crate) async fn stop(&self) {
        process::stop(self.child.id()).await;
    }

    /// Ends it without a last word.
    pub(crate) async fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.wait().await;
    }

    /// Puts another configuration in the place of its own, as a whole, and tells nobody.
    pub(crate) fn rewrite(&self, setup: &Setup) {
        std::fs::rename(setup.write(), &self.config).expect("both are in one folder");
    }

    /// Spoils its configuration with a text.
    pub(crate) fn spoil(&self, text: &str) {
        std::fs::write(&self.config, text).expect("the folder can be written");
    }

    /// Asks it to read its configuration again, and waits until so many reloads have come out so.
    pub(crate) async fn reload(&self, result: &str, count: i64) {
        self.hangup();
        self.reloaded(result, count).await;
    }

    /// Waits until so many reloads, or more, have come out so.
    pub(crate) async fn reloaded(&self, result: &str, count: i64) {
        let name = format!("vestibule_config_reloads_total{{result=\"{result}\"");
        eventually("a reload", async || (self.metric(&name).await >= count).then_some(())).await;
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        signal("TERM", self.child.id());
    }

    /// Waits until it has ended and its log has been read to the end.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let status = eventually("the process to end", async || self.child.try_wait().expect("it is our child")).await;
        let mut is_over = self.log.changed.subscribe();
        within("the end of its log", is_over.wait_for(|is_over| *is_over)).await.expect("the log lives as long as it");
        status
    }

    /// Everything that it has logged.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Waits for a log line of which the function makes something.
    pub(crate) async fn line<T>(&self, what: &str, read: impl Fn(&Value) -> Option<T>) -> T {
        self.log.line(what, read).await
    }

    /// The log lines of requests, once there are so many.
    pub(crate) async fn request_lines(&self, count: usize) -> Vec<Value> {
        let mut changes = self.log.changed.subscribe();
        let lines = || -> Vec<Value> {
            let lines = self.log.lines().into_iter().filter_map(|line| parse(&line));
            lines.filter(|line| !field(line, "request_id").is_empty() && !field(line, "status").is_empty()).collect()
        };
        let enough = async {
            while lines().len() < count {
                let _ = changes.changed().await;
            }
        };
        within(&format!("{count} request lines in the log: {:#?}", self.log()), enough).await;
        lines()
    }

    /// Every whole-numbered sample of `/metrics`, by its name with its labels.
    pub(crate) async fn metrics(&self) -> BTreeMap<String, i64> {
        let answer = self.admin().get("/metrics").send().await;
        assert_eq!(answer.status, 200);
        let text = answer.text();
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        samples.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    /// The sum of all samples whose name begins so, such as `vestibule_slots_total{state="waited"`.
    pub(crate) async fn metric(&self, beginning: &str) -> i64 {
        self.metrics().await.iter().filter(|(name, _)| name.starts_with(beginning)).map(|(_, value)| value).sum()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    pub(crate) async fn readyz(&self) -> Answer {
        self.admin().get("/readyz").send().await
    }
}

impl Drop for Vestibule {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
