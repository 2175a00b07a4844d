//! Files that appear whole or not at all.

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
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = beside(folder)?;
    let mut out = BufWriter::new(&mut temporary);
    write(&mut out)?;
    out.flush()?;
    drop(out);
    temporary.persist(path)?;
    Ok(())
}

/// A temporary file with the permissions that any other new file would have.
fn beside(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(".moescope-").tempfile_in(folder)
}
