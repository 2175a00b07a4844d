//! A temporary file, handed over by its path.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use tempfile::TempPath;

#[derive(Debug)]
pub(super) struct Place(Option<TempPath>);

impl Place {
    pub(super) fn create() -> io::Result<(File, Self)> {
        let (file, path) = tempfile::Builder::new().prefix("moescope-").tempfile()?.into_parts();
        Ok((file, Self(Some(path))))
    }

    pub(super) fn open(address: &OsString) -> io::Result<(File, Self)> {
        Ok((OpenOptions::new().read(true).write(true).open(address)?, Self(None)))
    }

    pub(super) fn address(&self, _: &File) -> OsString {
        self.0.as_ref().map(|path| path.as_os_str().to_owned()).unwrap_or_default()
    }
}

/// Writes what it reserves: room that is only promised ends the program when the disk is full.
pub(super) fn reserve(mut file: &File, bytes: usize) -> io::Result<()> {
    let begin = file.seek(SeekFrom::End(0))?;
    io::copy(&mut io::Read::take(io::repeat(0), (bytes as u64).saturating_sub(begin)), &mut file)?;
    file.flush()
}
