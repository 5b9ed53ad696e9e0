//! How the demo looks: 80 columns, colour where the terminal shows it and `NO_COLOR` is not set, plain in a pipe.

use std::io::Write;

use anstyle::{AnsiColor, Style};

/// Columns.
const WIDTH: usize = 80;
/// What is set in.
const INDENT: &str = "   ";

/// As it is.
pub(super) const PLAIN: Style = Style::new();
/// Headings.
pub(super) const BOLD: Style = Style::new().bold();
/// What only explains.
pub(super) const DIM: Style = Style::new().dimmed();
/// Names of fields, commands.
pub(super) const CYAN: Style = AnsiColor::Cyan.on_default();
/// What went well.
pub(super) const GREEN: Style = AnsiColor::Green.on_default();
/// What was refused.
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();

/// The terminal, or the pipe.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// Inside of a line that grows.
    is_open: bool,
}

// === impl Screen ===

impl Screen {
    /// One line, as it is.
    pub(super) fn line(&mut self, text: &str) {
        put(&format!("{text}\n"));
        self.is_open = false;
    }

    /// A numbered heading with what it is about.
    pub(super) fn step(&mut self, number: usize, text: &str) {
        self.line(&format!("\n{}", paint(BOLD, &format!("{number}. {text}"))));
    }

    /// One line, set in and cut to the width.
    pub(super) fn item(&mut self, style: Style, text: &str) {
        self.line(&format!("{INDENT}{}", paint(style, &cut(text, WIDTH - INDENT.len()))));
    }

    /// A field with its value.
    pub(super) fn field(&mut self, name: &str, style: Style, value: &str) {
        let value = cut(value, WIDTH.saturating_sub(INDENT.len() + name.len() + 2));
        self.line(&format!("{INDENT}{}: {}", paint(CYAN, name), paint(style, &value)));
    }

    /// More of a line that grows as words arrive. `column` is where it stands.
    pub(super) fn word(&mut self, word: &str, column: &mut usize) {
        let length = word.chars().count();
        if !self.is_open || *column + length > WIDTH {
            let begin = if self.is_open { format!("\n{INDENT}") } else { INDENT.to_owned() };
            put(&begin);
            *column = INDENT.len();
        }
        self.is_open = true;
        *column += length;
        put(&paint(GREEN, &plain(word)));
    }

    /// Ends a line that grew.
    pub(super) fn end_words(&mut self) {
        if self.is_open {
            self.line("");
        }
    }

    /// What the user can try.
    pub(super) fn tries(&mut self, tries: &[(&str, String)]) {
        self.line(&format!("\n{}", paint(BOLD, "Now you, in another terminal:")));
        for (says, command) in tries {
            self.line(&format!("\n  {}", paint(PLAIN, &format!("# {says}"))));
            for line in command.lines() {
                self.line(&format!("  {}", paint(CYAN, line)));
            }
        }
        self.line(&format!("\n{}", paint(BOLD, "Requests show up here. Ctrl-C ends the demo.")));
        self.line(&paint(DIM, "For real use: `vestibule demo --print-config`, and \"Run it\" in the README.\n"));
    }

    /// The last line.
    pub(super) fn ended(&mut self) {
        self.end_words();
        self.line("\nEnded. Nothing was kept.");
    }
}

fn put(text: &str) {
    let mut out = anstream::stdout().lock();
    // A reader that closes the pipe has seen enough; the service goes on.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

pub(super) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Without control characters, which a terminal would obey: some of the text is a client's.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn cut(text: &str, width: usize) -> String {
    let text = plain(text);
    if text.chars().count() <= width {
        return text;
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_to_the_width_and_gives_the_terminal_no_orders() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
        assert_eq!(plain("\u{1b}[2Ja\u{7}\r\n"), "\u{fffd}[2Ja\u{fffd}\u{fffd}\u{fffd}");
    }
}
