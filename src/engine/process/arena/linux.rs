//! A file without a name, in memory, handed over by its number.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

#[derive(Debug)]
pub(super) struct Place;

impl Place {
    pub(super) fn create() -> io::Result<(File, Self)> {
        let file = memfd_create("moescope-tensors", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok((file.into(), Self))
    }

    pub(super) fn open(address: &OsString) -> io::Result<(File, Self)> {
        let number = address.to_str().and_then(|text| text.parse::<RawFd>().ok()).filter(|&number| number > 2);
        let number = number.ok_or_else(|| io::Error::other("no shared memory was handed over"))?;
        // SAFETY: the program left this file open for us, and for nobody else in this process.
        Ok((unsafe { File::from_raw_fd(number) }, Self))
    }

    pub(super) fn address(&self, file: &File) -> OsString {
        file.as_raw_fd().to_string().into()
    }
}

pub(super) fn reserve(file: &File, bytes: usize) -> io::Result<()> {
    file.set_len(bytes as u64)
}
