//! Standard output and standard error. The output is locked and buffered once per command; macros that print would panic
//! when the reader has gone.

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
    write_text: impl FnOnce(&mut Output) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = output();
    if json {
        serde_json::to_writer(&mut out, result)?;
        writeln!(out)?;
    } else {
        write_text(&mut out)?;
    }
    out.flush()
}

/// Writes one line to standard error, whatever line breaks the text has. An error of that is nobody's to hear.
pub(super) fn complain(text: &dyn Display) {
    let line = text.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(io::stderr().lock(), "moescope: {line}");
}
