//! Cancelling from any thread: who is asking workers for something right now, and who asked before the last cancel.
//!
//! As in the host, every call carries a ticket: the number of cancels at the moment it was made. A call whose ticket is
//! behind is not begun.

use super::lock;
use super::worker::Worker;
use crate::engine::EngineError;
use std::sync::{Arc, Mutex};

/// The calls in progress.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    num_cancels: u64,
    in_progress: Vec<Arc<Worker>>,
}

impl Calls {
    /// The ticket for a call that is made now.
    pub(super) fn ticket(&self) -> u64 {
        lock(&self.0).num_cancels
    }

    /// Cancels everything that has a ticket.
    pub(super) fn cancel(&self) {
        let mut state = lock(&self.0);
        state.num_cancels += 1;
        for worker in state.in_progress.drain(..) {
            worker.cancel();
        }
    }

    /// Makes a call that can be cancelled while it waits for `worker`.
    ///
    /// # Errors
    /// [`EngineError::Cancelled`] when that has happened before it began.
    pub(super) fn cancellable<T>(
        &self,
        ticket: u64,
        worker: &Arc<Worker>,
        call: impl FnOnce() -> T,
    ) -> Result<T, EngineError> {
        {
            let mut state = lock(&self.0);
            if state.num_cancels != ticket {
                return Err(EngineError::Cancelled);
            }
            state.in_progress.push(Arc::clone(worker));
        }
        let result = call();
        lock(&self.0).in_progress.retain(|other| !Arc::ptr_eq(other, worker));
        Ok(result)
    }
}
