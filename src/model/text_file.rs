//! Reads a small text that lies beside a model. What is no file, such as a pipe, might never end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A card or a list of labels for a million classes stays below this.
const MAX_BYTES: u64 = 64 << 20;

/// The text of a file, without the mark that some editors put before it.
///
/// # Errors
/// When it cannot be read, or is no regular file, too large, or no UTF-8.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let other = |reason: &str| Err(io::Error::other(reason));
    if !path.metadata()?.is_file() {
        return other("it is not a regular file");
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return other("it is too large");
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(_) => other("it is no text in UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_text_is_read_without_its_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        for written in ["caf\u{e9}", "\u{feff}caf\u{e9}"] {
            fs::write(&path, written).unwrap();
            assert_eq!(read_text(&path).unwrap(), "caf\u{e9}");
        }
        fs::write(&path, [0xff, 0xfe, b'a', 0]).unwrap();
        assert_eq!(read_text(&path).unwrap_err().to_string(), "it is no text in UTF-8");
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert_eq!(read_text(&path).unwrap_err().to_string(), "it is too large");
    }

    #[cfg(unix)]
    #[test]
    fn what_might_never_end_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let [pipe, link] = ["pipe", "link"].map(|name| folder.path().join(name));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for path in [&*pipe, &link, folder.path()] {
            assert_eq!(read_text(path).unwrap_err().to_string(), "it is not a regular file", "{}", path.display());
        }
    }
}
