//! The models that are loaded, with everything of ONNX Runtime, and how requests about them are answered.

use super::cancel::Cancels;
use super::environment::environment;
use super::session::ModelSession;
use crate::engine::protocol::{Request, Response};
use crate::engine::{Backend, EngineError, LoadRequest, Loaded, ModelHandle, RunRequest, RunResult};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Every loaded model with its session.
pub(in crate::engine) struct Sessions {
    cancels: Arc<Cancels>,
    sessions: HashMap<ModelHandle, ModelSession>,
    /// How many models were ever loaded; handles are never used twice.
    num_loaded: u64,
}

impl Sessions {
    /// None yet. What `cancels` counts stops what is asked of them.
    pub(in crate::engine) fn new(cancels: Arc<Cancels>) -> Self {
        Self { cancels, sessions: HashMap::new(), num_loaded: 0 }
    }

    /// Fulfils a request; `ticket` is of the moment when it was made. Outputs of a run may lie in ONNX Runtime's memory
    /// until they are dropped.
    pub(in crate::engine) fn answer(&mut self, request: Request, ticket: u64) -> Response {
        self.fulfil(request, ticket).unwrap_or_else(Response::Failed)
    }

    fn fulfil(&mut self, request: Request, ticket: u64) -> Result<Response, EngineError> {
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
