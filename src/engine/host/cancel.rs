//! Cancelling from any thread, without losing a cancel that comes while a request still waits its turn.
//!
//! Every request carries a ticket: the number of cancels at the moment it was asked. A cancel counts up and stops what
//! is in flight; a request whose ticket is behind the count is not begun.

use crate::engine::EngineError;
use ort::session::RunOptions;
use ort::session::builder::LoadCanceler;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What callers and the engine's thread share.
#[derive(Debug, Default)]
pub(in crate::engine) struct Cancels(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: u64,
    in_flight: Option<InFlight>,
}

/// How the work in flight is stopped.
pub(super) enum InFlight {
    /// A load, from the moment its session is built.
    Load(LoadCanceler),
    /// A run.
    Run(Arc<RunOptions>),
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load(_) => "Load",
            Self::Run(_) => "Run",
        })
    }
}

impl Cancels {
    /// The ticket for a request that is asked now.
    pub(in crate::engine) fn ticket(&self) -> u64 {
        self.state().count
    }

    /// Cancels everything that has a ticket.
    pub(in crate::engine) fn cancel(&self) {
        let mut state = self.state();
        state.count += 1;
        // What cannot be stopped any more has ended: nothing is left to do then.
        match state.in_flight.take() {
            Some(InFlight::Load(canceler)) => drop(canceler.cancel()),
            Some(InFlight::Run(options)) => drop(options.terminate()),
            None => {}
        }
    }

    /// Whether a cancel came after the ticket.
    pub(super) fn is_cancelled(&self, ticket: u64) -> bool {
        self.state().count != ticket
    }

    /// Does `work`, which `in_flight` can stop.
    pub(super) fn cancellable<T>(
        &self,
        ticket: u64,
        in_flight: InFlight,
        work: impl FnOnce() -> T,
    ) -> Result<T, EngineError> {
        {
            let mut state = self.state();
            if state.count != ticket {
                return Err(EngineError::Cancelled);
            }
            state.in_flight = Some(in_flight);
        }
        let result = work();
        self.state().in_flight = None;
        Ok(result)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
