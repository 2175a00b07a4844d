//! Files that appear whole or not at all.

use anyhow::Context as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// What a file's content is written to.
pub type Content<'a> = BufWriter<&'a mut NamedTempFile>;

/// Writes beside the goal and renames, so that no reader and no crash ever meets half a file.
///
/// # Errors
/// What `write` gives, or why the file cannot be made there.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut Content<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut temporary = beside(folder_of(path))?;
    let mut out = BufWriter::new(&mut temporary);
    write(&mut out)?;
    out.flush()?;
    drop(out);
    temporary.persist(path)?;
    Ok(())
}

/// Copies a file, so that the copy appears whole or not at all. A file that is there already is never replaced.
///
/// # Errors
/// Why the one cannot be read or the other not be written, naming both.
pub fn copy_whole(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = || -> std::io::Result<()> {
        let mut source = File::open(from)?;
        let mut temporary = beside(folder_of(to))?;
        std::io::copy(&mut source, temporary.as_file_mut())?;
        temporary.persist_noclobber(to)?;
        Ok(())
    };
    copied().with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A temporary file with the permissions that any other new file would have.
fn beside(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(".moescope-").tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::copy_whole;
    use std::fs;

    #[test]
    fn a_copy_is_whole_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to, missing] = ["from", "to", "missing"].map(|name| folder.path().join(name));
        fs::write(&from, vec![7; 100_000]).unwrap();
        copy_whole(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), vec![7; 100_000]);
        fs::write(&to, "mine").unwrap();
        for (from, to) in [(&from, &to), (&missing, &from), (&from, &missing.join("deeper"))] {
            let error = format!("{:#}", copy_whole(from, to).unwrap_err());
            assert!(error.contains(&from.display().to_string()) && error.contains(" cannot be copied to "), "{error}");
        }
        assert_eq!(fs::read(&to).unwrap(), b"mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
    }
}
