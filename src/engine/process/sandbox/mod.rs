//! What a worker may still do once a model is in it. `docs/isolation.md` says what is promised on which system.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;
mod probe;
#[cfg(target_os = "linux")]
mod system_calls;
#[cfg(not(any(target_os = "linux", windows)))]
mod watched;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
pub(super) use linux::{check_memory, leave, limit_memory, lock_in};
#[cfg(not(target_os = "linux"))]
pub(super) use other::{leave, lock_in};
#[cfg(not(any(target_os = "linux", windows)))]
pub(super) use watched::{check_memory, limit_memory};
#[cfg(windows)]
pub(super) use windows::{check_memory, limit_memory};

pub use probe::{Freedom, isolation_of, probe_isolation};
