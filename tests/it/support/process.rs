//! Other processes, which do nothing at once: a child is a copy of its parent until it has become its program.

use std::path::Path;
use std::process::Child;

use super::eventually;

/// A process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
