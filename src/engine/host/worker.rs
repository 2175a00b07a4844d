//! The engine's thread: takes one request after the other and owns everything of ONNX Runtime.

use super::cancel::Cancels;
use super::environment::environment;
use super::session::ModelSession;
use crate::engine::protocol::{Request, Response};
use crate::engine::{Backend, EngineError, LoadRequest, Loaded, ModelHandle, RunRequest, RunResult};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Instant;

/// A request on its way to the thread.
pub(super) struct Job {
    pub(super) request: Request,
    /// See [`Cancels::ticket`].
    pub(super) ticket: u64,
    /// Takes the answer, on the engine's thread.
    pub(super) reply: Box<dyn FnOnce(Response) + Send>,
}

/// What the thread owns.
pub(super) struct Worker {
    library: Option<PathBuf>,
    cancels: Arc<Cancels>,
    sessions: HashMap<ModelHandle, ModelSession>,
    /// How many models were ever loaded; handles are never used twice.
    num_loaded: u64,
}

impl Worker {
    pub(super) fn new(library: Option<PathBuf>, cancels: Arc<Cancels>) -> Self {
        Self { library, cancels, sessions: HashMap::new(), num_loaded: 0 }
    }

    /// Serves until [`Request::Shutdown`] comes or nobody is left to ask.
    pub(super) fn serve(mut self, inbox: &mpsc::Receiver<Job>) {
        // Callers have a model to read before they can ask; the library is opened meanwhile. What is wrong with it is
        // told by the first load.
        super::warm_up(self.library.as_deref());
        for job in inbox {
            let last = job.request == Request::Shutdown;
            let response = self.answer(job.request, job.ticket).unwrap_or_else(Response::Failed);
            (job.reply)(response);
            if last {
                break;
            }
        }
    }

    fn answer(&mut self, request: Request, ticket: u64) -> Result<Response, EngineError> {
        match request {
            Request::Load(request, backend) => self.load(&request, &backend, ticket).map(Response::Loaded),
            Request::Run(request) => self.run(&request, ticket).map(Response::Ran),
            Request::Unload(model) => {
                self.sessions.remove(&model);
                Ok(Response::Done)
            }
            Request::Shutdown => Ok(Response::Done),
        }
    }

    fn load(&mut self, request: &LoadRequest, backend: &Backend, ticket: u64) -> Result<Loaded, EngineError> {
        let started = Instant::now();
        let environment = environment(Some(&backend.library))?;
        let session = ModelSession::load(&environment, request, backend, &self.cancels, ticket)?;
        self.num_loaded += 1;
        let model = ModelHandle(self.num_loaded);
        let loaded = Loaded {
            model,
            provider: session.provider(),
            not_started: Vec::new(),
            placement: session.placement().clone(),
            outputs: session.output_names(),
            load_secs: started.elapsed().as_secs_f64(),
        };
        self.sessions.insert(model, session);
        Ok(loaded)
    }

    fn run(&mut self, request: &RunRequest, ticket: u64) -> Result<RunResult, EngineError> {
        let session = self.sessions.get_mut(&request.model).ok_or(EngineError::UnknownModel)?;
        session.run(&request.inputs, &self.cancels, ticket)
    }
}
