//! A PostgreSQL server of the test's own, which it may stop, copy and promote. `tests/run` says which programs run it, where
//! and as whom, and stops what a test has left.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use super::SCHEMA;
use crate::support::db::TestDb;
use crate::support::vestibule::{Ended, ended};

/// Ports that were taken by somebody else between our look and the server's start.
const TRIES: u32 = 5;

/// A server; stopped when this is dropped.
pub(crate) struct Server {
    data: PathBuf,
    port: u16,
    environment: Vec<(String, String)>,
}

fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with `tests/run`"))
}

/// A program of PostgreSQL's, as the user who may run it.
pub(crate) fn program(name: &str, environment: &[(String, String)]) -> Command {
    let program = Path::new(&told("VESTIBULE_TEST_POSTGRES_BIN")).join(name);
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", &told("VESTIBULE_TEST_POSTGRES_OWNER"), "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/").envs(environment.iter().cloned());
    command
}

fn done(what: &str, ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{what}: {ended:?}");
}

// === impl Server ===

impl Server {
    /// A new one, with these variables.
    pub(crate) async fn fresh(environment: Vec<(String, String)>) -> Self {
        let mut server = Self { data: folder(), port: 0, environment };
        let mut initdb = program("initdb", &[]);
        initdb.args(["-U", "vestibule", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"]);
        initdb.arg(&server.data);
        done("initdb", &ended(initdb).await);
        server.start().await;
        server
    }

    /// A standby that streams from this one.
    pub(crate) async fn standby(&self) -> Self {
        let mut standby = Self { data: folder(), port: 0, environment: self.environment.clone() };
        let mut copy = program("pg_basebackup", &[]);
        copy.args(["-U", "vestibule", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        copy.args(["-c", "fast", "-X", "stream", "--write-recovery-conf", "--no-sync", "-D"]).arg(&standby.data);
        done("pg_basebackup", &ended(copy).await);
        standby.start().await;
        standby
    }

    async fn start(&mut self) {
        let parent = self.data.parent().expect("a folder of tests/run's").to_owned();
        let log = self.data.with_extension("log");
        for _ in 0..TRIES {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
            self.port = free.local_addr().expect("the listener has an address").port();
            drop(free);
            let options = format!(
                "-p {} -k {} -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=16MB -c timezone=UTC",
                self.port,
                parent.display()
            );
            if self.control(&["-w", "-t", "60", "-o", &options, "-l", &log.display().to_string(), "start"]).await.code
                == Some(0)
            {
                return;
            }
        }
        panic!("no server in {TRIES} tries; its log is {}", log.display());
    }

    async fn control(&self, arguments: &[&str]) -> Ended {
        let mut command = program("pg_ctl", &self.environment);
        command.arg("-D").arg(&self.data).args(arguments);
        ended(command).await
    }

    /// Ends it without a last word to anybody.
    pub(crate) async fn stop(&self) {
        done("pg_ctl stop", &self.control(&["-m", "immediate", "-w", "stop"]).await);
    }

    /// Makes a standby the one that is written to.
    pub(crate) async fn promote(&self) {
        done("pg_ctl promote", &self.control(&["-w", "promote"]).await);
    }

    /// The URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgresql://vestibule@127.0.0.1:{}/{database}", self.port)
    }

    /// LiteLLM's two tables, both empty, in a database of that name.
    pub(crate) async fn make_db(&self, database: &str) -> TestDb {
        TestDb::at(&self.url("postgres")).await.run(&format!("CREATE DATABASE {database}")).await;
        let db = TestDb::at(&self.url(database)).await;
        db.run(SCHEMA).await;
        TestDb::at(&self.url(database)).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut command = program("pg_ctl", &[]);
        command.arg("-D").arg(&self.data).args(["-m", "immediate", "stop"]);
        // Where it was stopped before, there is nothing to stop.
        let _ = command.output();
    }
}

fn folder() -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("own-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Path::new(&told("VESTIBULE_TEST_POSTGRES_FOLDER")).join(name)
}
