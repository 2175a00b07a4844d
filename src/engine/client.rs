//! The caller's side of the engine.

use super::host::Host;
use super::runtime::{candidates, first_that_starts};
use super::{EngineError, LoadRequest, Loaded, ModelHandle, RunRequest, RunResult};
use std::path::PathBuf;

/// How an [`Engine`] is set up.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// ONNX Runtime's library, if one was asked for; else it is searched as [`find_library`](super::find_library) does.
    pub library: Option<PathBuf>,
}

/// Loads and runs models. Share it by `Arc`; callers are served in order. Dropping it waits for its end.
#[derive(Debug)]
pub struct Engine {
    host: Host,
    options: EngineOptions,
}

impl Engine {
    /// Starts the engine and returns at once. Whether the library can be used shows at the first [`load`](Self::load).
    #[must_use]
    pub fn start(options: EngineOptions) -> Self {
        Self { host: Host::start(options.library.clone()), options }
    }

    /// Loads a model with the first of the wished providers that starts, and blocks until it is ready.
    ///
    /// # Errors
    /// [`EngineError::Library`] without a usable library, [`EngineError::Provider`] when a required provider does not
    /// start, [`EngineError::Load`] when ONNX Runtime refuses the model,
    /// [`EngineError::Cancelled`] after [`cancel`](Self::cancel).
    pub fn load(&self, request: &LoadRequest) -> Result<Loaded, EngineError> {
        let candidates = candidates(request.execution.provider.choice, self.options.library.as_deref())?;
        first_that_starts(candidates, |backend| self.host.load(request, backend))
    }

    /// Runs a loaded model and blocks until every output is there. Inputs with a default may be left out.
    ///
    /// # Errors
    /// [`EngineError::UnknownModel`] for a handle of another engine or an unloaded model, [`EngineError::Run`] when the
    /// inputs do not fit the model or the run fails, [`EngineError::Cancelled`] after [`cancel`](Self::cancel).
    pub fn run(&self, request: &RunRequest) -> Result<RunResult, EngineError> {
        self.host.run(request)
    }

    /// Forgets a model and frees its memory. A handle that is not known is no error.
    ///
    /// # Errors
    /// [`EngineError::Gone`] when the engine has ended.
    pub fn unload(&self, model: ModelHandle) -> Result<(), EngineError> {
        self.host.unload(model)
    }

    /// Cancels every load and run that was asked for before this call, from any thread, without waiting: a run in flight
    /// ends at its next node, within about a millisecond, a load at its next step, within some tens of milliseconds.
    /// What is asked for afterwards is not touched.
    pub fn cancel(&self) {
        self.host.cancel();
    }
}
