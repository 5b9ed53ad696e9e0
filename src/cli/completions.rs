//! `vestibule completions`.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::context::answer;

/// Prints the completions of a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vestibule completions bash > /etc/bash_completion.d/vestibule\n  \
                        vestibule completions zsh > \"${fpath[1]}/_vestibule\"\n  \
                        vestibule completions fish > ~/.config/fish/completions/vestibule.fish")]
pub(super) struct CompletionsArgs {
    shell: Shell,
}

pub(super) fn run(arguments: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "vestibule", &mut script);
    answer(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
