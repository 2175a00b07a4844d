//! What a worker writes to its standard error, kept for the message about its end: native code says there why it gave up.

use std::io::{self, Read};
use std::process::ChildStderr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The end of what was written is kept, no more than this.
const KEPT_BYTES: usize = 2048;
/// The last words may still be on their way when the process has ended.
const PATIENCE: Duration = Duration::from_millis(50);

/// The end of a process's standard error.
#[derive(Clone, Debug, Default)]
pub(super) struct LastWords(Arc<Mutex<Vec<u8>>>);

impl LastWords {
    /// Listens until the process ends.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn listen(stderr: Option<ChildStderr>) -> io::Result<Self> {
        let words = Self::default();
        if let Some(mut stderr) = stderr {
            let kept = words.clone();
            let listen = move || {
                let mut chunk = [0; 1024];
                while let Ok(len @ 1..) = stderr.read(&mut chunk) {
                    kept.keep(&chunk[..len]);
                }
            };
            std::thread::Builder::new().name("moescope-stderr".into()).spawn(listen)?;
        }
        Ok(words)
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        let surplus = kept.len().saturating_sub(KEPT_BYTES);
        kept.drain(..surplus);
    }

    /// `how: the last line`, if there is one.
    pub(super) fn append_to(&self, how: String) -> String {
        // The process has ended, so this is waited for once, and only for a message that somebody is going to read.
        std::thread::sleep(PATIENCE);
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept);
        match text.lines().map(str::trim).rfind(|line| !line.is_empty()) {
            Some(line) => format!("{how}: {line}"),
            None => how,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_told() {
        for (written, told) in [
            (&[][..], "it ended"),
            (&["one\ntwo\n", " \n"], "it ended: two"),
            (&["terminate called after ", "throwing"], "it ended: terminate called after throwing"),
        ] {
            let words = LastWords::default();
            written.iter().for_each(|text| words.keep(text.as_bytes()));
            assert_eq!(words.append_to("it ended".into()), told);
        }
    }

    #[test]
    fn no_more_is_kept_than_a_message_needs() {
        let words = LastWords::default();
        (0..100).for_each(|_| words.keep(&[b'x'; 1024]));
        assert_eq!(words.0.lock().unwrap().len(), KEPT_BYTES);
    }
}
