//! The caller's side of the engine.

use super::host::Host;
use super::process::Workers;
use super::runtime::{Backend, candidates, first_that_starts};
use super::{EngineError, Limits, LoadRequest, Loaded, ModelHandle, RunRequest, RunResult};
use std::path::{Path, PathBuf};

/// How an [`Engine`] is set up.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// ONNX Runtime's library, if one was asked for; else it is searched as [`find_library`](super::find_library) does.
    pub library: Option<PathBuf>,
    /// Where models run.
    pub isolation: Isolation,
    /// What a model may take; only kept where it runs apart.
    pub limits: Limits,
}

/// Where models run.
#[derive(Clone, Debug, Default)]
pub enum Isolation {
    /// Inside this process: for debugging, and for tests of models that are trusted.
    #[default]
    Off,
    /// Each in a process of its own.
    Process {
        /// The executable whose hidden subcommand `engine` calls [`serve_worker`](super::serve_worker).
        program: PathBuf,
    },
}

/// A moment in an engine's life; see [`Engine::load_since`].
#[derive(Clone, Copy, Debug)]
pub struct Ticket(u64);

/// Loads and runs models. Share it by `Arc`; callers are served in order. Dropping it ends what still runs.
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Here(Host),
    Apart(Box<Workers>),
}

impl Engine {
    /// Starts the engine and returns at once. Whether the library can be used shows at the first [`load`](Self::load).
    #[must_use]
    pub fn start(options: EngineOptions) -> Self {
        let EngineOptions { library, isolation, limits } = options.clone();
        let inner = match isolation {
            Isolation::Off => Inner::Here(Host::start(library)),
            Isolation::Process { program } => {
                Inner::Apart(Box::new(Workers::start(program, library.as_deref(), limits)))
            }
        };
        Self { options, inner }
    }

    /// Another engine that is set up in the same way: what is cancelled in one goes on in the other.
    #[must_use]
    pub fn sibling(&self) -> Self {
        Self::start(self.options.clone())
    }

    /// Loads a model with the first of the wished providers that starts, and blocks until it is ready.
    ///
    /// # Errors
    /// [`EngineError::Library`] without a usable library, [`EngineError::Provider`] when a required provider does not
    /// start, [`EngineError::Load`] when ONNX Runtime refuses the model, [`EngineError::Cancelled`] after
    /// [`cancel`](Self::cancel). Where models run apart also [`EngineError::Died`], [`EngineError::Deadline`],
    /// [`EngineError::Quarantined`] and [`EngineError::Worker`].
    pub fn load(&self, request: &LoadRequest) -> Result<Loaded, EngineError> {
        self.load_since(self.ticket(), request)
    }

    /// The moment of this call, for [`load_since`](Self::load_since).
    pub fn ticket(&self) -> Ticket {
        Ticket(match &self.inner {
            Inner::Here(host) => host.ticket(),
            Inner::Apart(workers) => workers.ticket(),
        })
    }

    /// Loads a model as [`load`](Self::load) does, as if it had been asked for when the ticket was taken: a cancel since
    /// then counts.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_since(&self, Ticket(ticket): Ticket, request: &LoadRequest) -> Result<Loaded, EngineError> {
        let candidates = candidates(request.execution.provider.choice, self.options.library.as_deref())?;
        first_that_starts(candidates, |backend: &Backend| match &self.inner {
            Inner::Here(host) => host.load(request, backend, ticket),
            Inner::Apart(workers) => workers.load(request, backend, ticket),
        })
    }

    /// Runs a loaded model and blocks until every output is there. Inputs with a default may be left out.
    ///
    /// # Errors
    /// [`EngineError::UnknownModel`] for a handle of another engine or an unloaded model, [`EngineError::Run`] when the
    /// inputs do not fit the model or the run fails, [`EngineError::Cancelled`] after [`cancel`](Self::cancel). Where
    /// models run apart also those of [`load`](Self::load): a worker that has died is replaced, and the model loaded again.
    pub fn run(&self, request: &RunRequest) -> Result<RunResult, EngineError> {
        match &self.inner {
            Inner::Here(host) => host.run(request),
            Inner::Apart(workers) => workers.run(request),
        }
    }

    /// Forgets a model and frees its memory. A handle that is not known is no error.
    ///
    /// # Errors
    /// [`EngineError::Gone`] when the engine has ended.
    pub fn unload(&self, model: ModelHandle) -> Result<(), EngineError> {
        match &self.inner {
            Inner::Here(host) => host.unload(model),
            Inner::Apart(workers) => {
                workers.unload(model);
                Ok(())
            }
        }
    }

    /// Cancels every load and run that was asked for before this call, from any thread, without waiting: a run in flight
    /// ends at its next node, within about a millisecond, a load at its next step, within some tens of milliseconds. A
    /// model that runs apart and does not stop is ended with its process: its caller has the answer after a fifth of a
    /// second, and the processor is free after two.
    /// What is asked for afterwards is not touched.
    pub fn cancel(&self) {
        match &self.inner {
            Inner::Here(host) => host.cancel(),
            Inner::Apart(workers) => workers.cancel(),
        }
    }

    /// Lets a model be opened that ended its process too often.
    pub fn pardon(&self, model: &Path) {
        if let Inner::Apart(workers) = &self.inner {
            workers.pardon(model);
        }
    }
}
