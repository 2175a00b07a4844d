//! Windows: a job object around this process caps its memory and keeps it from starting programs.
//!
//! Nothing here fails the worker: where a job cannot be had, the model still is in a process apart, with deadlines.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
    JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION, JOB_OBJECT_LIMIT_PROCESS_MEMORY, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectExtendedLimitInformation, SetInformationJobObject,
};
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

/// Where Windows does not tell how much memory the machine has.
const DEFAULT_MEMORY_BYTES: u64 = 8 << 30;

/// Caps the memory that this process may commit, keeps it from starting programs, and has it end without a dialog when it
/// crashes.
pub(in crate::engine::process) fn limit_memory(bytes: Option<u64>) -> io::Result<()> {
    let bytes = bytes.unwrap_or_else(|| machine_memory_bytes().map_or(DEFAULT_MEMORY_BYTES, |total| total / 4 * 3));
    // As on Linux, what the system does not have is left out; `runtime doctor` tells.
    drop(enter_job(usize::try_from(bytes).unwrap_or(usize::MAX)));
    Ok(())
}

fn enter_job(memory_bytes: usize) -> io::Result<()> {
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    limits.BasicLimitInformation.LimitFlags =
        JOB_OBJECT_LIMIT_PROCESS_MEMORY | JOB_OBJECT_LIMIT_ACTIVE_PROCESS | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION;
    limits.BasicLimitInformation.ActiveProcessLimit = 1;
    limits.ProcessMemoryLimit = memory_bytes;
    let limits_bytes = size_of_val(&limits) as u32;

    // SAFETY: no name and no attributes are given; the handle that comes back is this function's alone.
    let job = unsafe { CreateJobObjectW(ptr::null(), ptr::null()) };
    if job.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open and nobody else closes it. The job outlives it, as this process is in it.
    let job = unsafe { OwnedHandle::from_raw_handle(job) };
    // SAFETY: the limits are of the kind that is named, with their size, and live through the call.
    succeeded(unsafe {
        let limits = ptr::from_ref(&limits).cast();
        SetInformationJobObject(job.as_raw_handle(), JobObjectExtendedLimitInformation, limits, limits_bytes)
    })?;
    // SAFETY: both handles are valid; that of the current process need not be closed.
    succeeded(unsafe { AssignProcessToJobObject(job.as_raw_handle(), GetCurrentProcess()) })
}

fn succeeded(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn machine_memory_bytes() -> Option<u64> {
    let mut status = MEMORYSTATUSEX { dwLength: size_of::<MEMORYSTATUSEX>() as u32, ..Default::default() };
    // SAFETY: the structure says its own size, as the call asks for.
    let told = unsafe { GlobalMemoryStatusEx(&mut status) };
    (told != 0).then_some(status.ullTotalPhys)
}

/// The job does it.
pub(in crate::engine::process) fn check_memory() {}
