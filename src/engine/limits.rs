//! What a model may take before it is stopped.

use std::time::Duration;

/// What a model may take before it is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// How long loading may take.
    pub load: Duration,
    /// How long one run may take.
    pub run: Duration,
    /// Bytes of memory that the worker process may have of its own; `None` is three quarters of the machine's.
    pub memory_bytes: Option<u64>,
}

impl Default for Limits {
    /// Two minutes to load and one to run: many times what the largest vision models take on a processor.
    fn default() -> Self {
        Self { load: Duration::from_secs(120), run: Duration::from_secs(60), memory_bytes: None }
    }
}
