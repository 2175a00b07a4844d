//! Standard output and standard error. The output is locked and buffered once per command; macros that print would panic
//! when the reader has gone. Names in files and of files are not ours: none of them may move the cursor of a terminal.

use serde::Serialize;
use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

/// Standard output for the results of one command.
pub(super) type Output = BufWriter<StdoutLock<'static>>;

/// Locks standard output; write errors come back as values.
pub(super) fn output() -> Output {
    BufWriter::new(io::stdout().lock())
}

/// Writes the whole result of a command: one line of JSON, or what `write_text` makes of it.
pub(super) fn print(
    result: &impl Serialize,
    json: bool,
    write_text: impl FnOnce(&mut Plain<&mut Output>) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = output();
    if json {
        serde_json::to_writer(&mut out, result)?;
        writeln!(out)?;
    } else {
        write_text(&mut Plain(&mut out))?;
    }
    out.flush()
}

/// Text for people: what would control a terminal becomes a mark of its own; only line breaks and tabs stay.
pub(super) struct Plain<W>(pub(super) W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let text_only: String = String::from_utf8_lossy(text).chars().map(plain).collect();
        self.0.write_all(text_only.as_bytes())?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn plain(c: char) -> char {
    if c.is_control() && !matches!(c, '\n' | '\t') { char::REPLACEMENT_CHARACTER } else { c }
}

/// Writes one line to standard error, whatever line breaks the text has. An error of that is nobody's to hear.
pub(super) fn complain(text: &dyn Display) {
    let line = text.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(Plain(io::stderr().lock()), "moescope: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_controls_the_terminal() {
        let mut out = Vec::new();
        let name = "\u{1b}[2Jcaf\u{e9}\u{9b}31m\u{7}";
        writeln!(Plain(&mut out), "{name}\tx").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\u{fffd}[2Jcaf\u{e9}\u{fffd}31m\u{fffd}\tx\n");
    }
}
