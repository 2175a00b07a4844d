//! macOS and others: the memory of the process is watched.

use super::leave;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Without a wish; there is no portable way to ask how much the machine has.
const DEFAULT_MEMORY_BYTES: u64 = 8 << 30;

static MEMORY_BYTES: AtomicU64 = AtomicU64::new(DEFAULT_MEMORY_BYTES);

/// From now on [`check_memory`] allows so many bytes.
pub(in crate::engine::process) fn limit_memory(bytes: Option<u64>) -> io::Result<()> {
    MEMORY_BYTES.store(bytes.unwrap_or(DEFAULT_MEMORY_BYTES), Ordering::Relaxed);
    Ok(())
}

/// Ends the process if it has more memory than it may.
pub(in crate::engine::process) fn check_memory() {
    let used = memory_stats::memory_stats().map_or(0, |stats| stats.physical_mem as u64);
    if used > MEMORY_BYTES.load(Ordering::Relaxed) {
        leave();
    }
}
