//! Files that appear whole or not at all.

use anyhow::Context as _;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// What a file's content is written to.
pub type Content<'a> = BufWriter<&'a mut File>;

/// Bytes that are copied before the next look at whether to go on: a fraction of a second on a slow disk.
const COPIED_AT_ONCE: u64 = 4 << 20;

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    /// Bytes that were copied.
    pub done: u64,
    /// Bytes of the file.
    pub total: u64,
}

/// How a copy ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// The file is there.
    Whole,
    /// It was stopped, and nothing is there.
    Stopped,
}

/// Writes beside the goal and renames, so that no reader and no crash ever meets half a file. Behind a link, the file that
/// it leads to is written.
///
/// # Errors
/// What `write` gives, or why the file cannot be made there; what is no regular file, such as a device, is not replaced.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut Content<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let goal = goal_of(path)?;
    let mut temporary = beside(folder_of(&goal))?;
    let mut out = BufWriter::new(temporary.as_file_mut());
    write(&mut out)?;
    out.flush()?;
    drop(out);
    temporary.persist(&goal).map_err(|error| error.error)?;
    Ok(())
}

/// Copies a file, so that the copy appears whole or not at all. A file that is there already is never replaced. `go_on` is
/// asked after every few megabytes.
///
/// # Errors
/// Why the one cannot be read or the other not be written, naming both.
pub fn copy_whole(
    from: &Path,
    to: &Path,
    mut go_on: impl FnMut(CopyProgress) -> ControlFlow<()>,
) -> anyhow::Result<Copied> {
    let mut copied = || -> io::Result<Copied> {
        let source = File::open(from)?;
        let metadata = source.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let total = metadata.len();
        let mut temporary = beside(folder_of(to))?;
        make_room(temporary.as_file(), total)?;
        let mut done = 0;
        while go_on(CopyProgress { done, total }).is_continue() {
            let count = io::copy(&mut (&source).take(COPIED_AT_ONCE), temporary.as_file_mut())?;
            done += count;
            if count < COPIED_AT_ONCE {
                // The file may have become shorter than the room for it.
                temporary.as_file().set_len(done)?;
                temporary.persist_noclobber(to).map_err(|error| error.error)?;
                return Ok(Copied::Whole);
            }
        }
        Ok(Copied::Stopped)
    };
    copied().with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))
}

/// Where the file lies or will lie.
fn goal_of(path: &Path) -> io::Result<PathBuf> {
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Err(io::Error::other("it is a folder; name a file in it")),
        Ok(metadata) if !metadata.is_file() => Err(io::Error::other("it is not a regular file; name another one")),
        Ok(_) if path.is_symlink() => path.canonicalize(),
        // Of what cannot be looked at, making the file beside it tells more.
        Ok(_) | Err(_) => Ok(path.to_owned()),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A temporary file with the permissions that any other new file would have.
fn beside(folder: &Path) -> io::Result<NamedTempFile> {
    let create = |path: &Path| File::options().read(true).write(true).create_new(true).open(path);
    tempfile::Builder::new().prefix(".moescope-").make_in(folder, create)
}

/// Takes the room of a large file before its first byte is copied: a disk that is too small is told at once.
#[cfg(target_os = "linux")]
fn make_room(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::empty(), 0, bytes.max(1)) {
        // Not every file system can; then the copy itself finds out.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        made => Ok(made?),
    }
}

/// Elsewhere the copy itself finds out.
#[cfg(not(target_os = "linux"))]
fn make_room(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SLOW: usize = 3 * COPIED_AT_ONCE as usize;

    /// Copies to the end; how often it was asked whether to go on.
    fn copy(from: &Path, to: &Path) -> anyhow::Result<usize> {
        let mut asked = 0;
        let copied = copy_whole(from, to, |_| {
            asked += 1;
            ControlFlow::Continue(())
        });
        copied.map(|copied| {
            assert_eq!(copied, Copied::Whole);
            asked
        })
    }

    #[test]
    fn a_copy_is_whole_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to, missing] = ["from", "to", "missing"].map(|name| folder.path().join(name));
        for (bytes, asked) in [(0, 1), (100_000, 1), (SLOW, 4), (SLOW + 1, 4)] {
            let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            fs::write(&from, &content).unwrap();
            assert_eq!(copy(&from, &to).unwrap(), asked);
            assert!(fs::read(&to).unwrap() == content, "{bytes} bytes");
            fs::remove_file(&to).unwrap();
        }
        fs::write(&to, "mine").unwrap();
        for (from, to) in [(&from, &to), (&missing, &from), (&from, &missing.join("deeper"))] {
            let error = format!("{:#}", copy(from, to).unwrap_err());
            assert!(error.contains(&from.display().to_string()) && error.contains(" cannot be copied to "), "{error}");
            assert!(!error.contains(".moescope-"), "{error}");
        }
        assert_eq!(fs::read(&to).unwrap(), b"mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn a_copy_that_is_stopped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        fs::write(&from, vec![7; SLOW]).unwrap();
        for stop_at in [0, COPIED_AT_ONCE, 2 * COPIED_AT_ONCE] {
            let go_on = |progress: CopyProgress| {
                assert_eq!(progress.total, SLOW as u64);
                if progress.done < stop_at { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            assert_eq!(copy_whole(&from, &to, go_on).unwrap(), Copied::Stopped);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "stopped at {stop_at}");
        }
    }

    /// A file that claims four tebibytes and has none.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_is_too_small_is_told_before_anything_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        File::create(&from).unwrap().set_len(4 << 40).unwrap();
        let error = copy_whole(&from, &to, |_| panic!("there is no room")).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("No space left on device") || error.contains("File too large"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_leads_to_what_is_written_and_what_is_no_file_stays() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let [file, link, pipe] = ["file", "link", "pipe"].map(|name| folder.path().join(name));
        fs::write(&file, "old").unwrap();
        symlink(&file, &link).unwrap();
        let write = |path: &Path| write_whole(path, |out| Ok(out.write_all(b"new")?));
        write(&link).unwrap();
        assert!(link.is_symlink() && fs::read(&file).unwrap() == b"new");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (path, words) in [(&*pipe, "not a regular file"), (folder.path(), "is a folder")] {
            let error = write(path).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(pipe.metadata().unwrap().file_type().is_fifo());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "no temporary file is left");
    }
}
