//! Systems without Landlock and seccomp: the process is apart, and neither files nor sockets are closed to it.

use crate::engine::LoadRequest;
use crate::engine::runtime::Backend;

/// Nothing can be locked here.
pub(in crate::engine::process) fn lock_in(_request: &LoadRequest, _backend: &Backend) {}

/// Ends the process.
pub(in crate::engine::process) fn leave() -> ! {
    std::process::exit(0)
}
