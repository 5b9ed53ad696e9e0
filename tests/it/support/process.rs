//! Other processes, which do nothing at once: a child is a copy of its parent until it has become its program, and a signal that
//! was sent has not been taken yet.

use std::fs::DirEntry;
use std::path::Path;
use std::process::{Child, Command};

use super::eventually;

/// A process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal, and does not wait for what it does.
pub(crate) fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status();
    assert!(sent.expect("there is a kill command").success(), "no process {process}");
}

fn read(path: &Path) -> std::io::Result<String> {
    #[expect(clippy::disallowed_methods, reason = "the system's own file needs no path in the error")]
    std::fs::read_to_string(path)
}

/// What the system tells of a process in a file of that name.
pub(crate) fn proc(process: u32, name: &str) -> String {
    read(&Path::new("/proc").join(process.to_string()).join(name)).expect("it runs")
}

/// Waits until a process has become the program with that command line, whatever it was before.
pub(crate) async fn became(process: u32, command_line: &[&str]) {
    let wanted: String = command_line.iter().flat_map(|word| [word, "\0"]).collect();
    eventually(&format!("{command_line:?}"), async || (proc(process, "cmdline") == wanted).then_some(())).await;
}

/// Stops a process, and waits until none of its threads goes on.
pub(crate) async fn stop(process: u32) {
    signal("STOP", process);
    // The state stands behind the name, which may hold anything. A thread that has gone meanwhile is looked for again.
    let has_stopped = |thread: DirEntry| {
        let stat = read(&thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    eventually("the process to stop", async || {
        let mut threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
        threads.all(|thread| thread.is_ok_and(has_stopped)).then_some(())
    })
    .await;
}
