//! Linux: memory by resource limits, files by Landlock, system calls by seccomp.
//!
//! Older kernels know less; what they know is used. Nothing here fails the worker: a model that cannot be locked in is
//! still a process apart, with deadlines.

use super::system_calls;
use crate::engine::runtime::Backend;
use crate::engine::{LoadRequest, Provider};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
    path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Readable for every model: what the C library and ONNX Runtime look up about the machine, and shared libraries.
const SYSTEM_FILES: &[&str] = &[
    "/etc/ld.so.cache",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/dev/null",
    "/dev/urandom",
];

/// Caps the memory that this process may have of its own, and keeps it from writing core files.
pub(in crate::engine::process) fn limit_memory(bytes: Option<u64>) -> io::Result<()> {
    let bytes = bytes.unwrap_or_else(|| {
        let system = rustix::system::sysinfo();
        let unit = u64::from(system.mem_unit).max(1);
        #[allow(clippy::useless_conversion, reason = "totalram is as wide as the machine's words")]
        let total = u64::from(system.totalram) * unit;
        total / 4 * 3
    });
    set_limit(Resource::Data, bytes)?;
    set_limit(Resource::Core, 0)
}

/// Lowers a limit; one that is lower already stays.
fn set_limit(resource: Resource, value: u64) -> io::Result<()> {
    let before = getrlimit(resource);
    let lower = |old: Option<u64>| Some(old.map_or(value, |old| old.min(value)));
    let limit = Rlimit { current: lower(before.current), maximum: lower(before.maximum) };
    Ok(setrlimit(resource, limit)?)
}

/// The resource limit does it.
pub(in crate::engine::process) fn check_memory() {}

/// From here on this thread and all that it starts can read the folders of the model and of the library, and little
/// else; they cannot open sockets, start programs, or touch other processes. With a provider for a device, its driver's
/// files have to be read, wherever they lie; written is nothing but devices and the provider's own cache.
pub(in crate::engine::process) fn lock_in(request: &LoadRequest, backend: &Backend) {
    let files = match backend.provider {
        Provider::Cpu => Files { readable: readable(&request.model, backend), writable: Vec::new() },
        _ => {
            let cache = request.execution.provider.options.cache.clone();
            Files { readable: vec!["/".into()], writable: cache.into_iter().chain(["/dev".into()]).collect() }
        }
    };
    // What an old kernel lacks is left out by these crates themselves; the rest is best effort as well.
    drop(restrict_files(&files));
    drop(system_calls::restrict());
}

struct Files {
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
}

fn readable(model: &Path, backend: &Backend) -> Vec<PathBuf> {
    let real = fs::canonicalize(model).ok();
    let mut readable: Vec<PathBuf> = SYSTEM_FILES.iter().map(PathBuf::from).collect();
    readable.extend(backend.folders().into_iter().map(Path::to_path_buf));
    readable.extend([Some(model), real.as_deref()].into_iter().flatten().filter_map(folder));
    readable
}

fn folder(file: &Path) -> Option<PathBuf> {
    let folder = std::path::absolute(file).ok()?;
    folder.parent().map(Path::to_path_buf)
}

fn restrict_files(files: &Files) -> Result<(), RulesetError> {
    let abi = ABI::V6;
    let read: BitFlags<AccessFs> = AccessFs::from_read(abi);
    Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(&files.readable, read))?
        .add_rules(path_beneath_rules(&files.writable, AccessFs::from_all(abi)))?
        .restrict_self()
        .map(drop)
}

/// Ends the process at once, without the destructors of native code.
pub(in crate::engine::process) fn leave() -> ! {
    // SAFETY: takes no pointer and does not return.
    unsafe { libc::_exit(0) }
}
