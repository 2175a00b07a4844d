//! The side that owns ONNX Runtime: a thread with the library, the environment and the sessions.
//!
//! It lives in the worker process, or in the program itself when isolation is off; both give the same results because
//! both are this.

mod cancel;
mod environment;
mod node_log;
mod placement;
mod providers;
mod session;
mod tensor;
mod worker;

use super::protocol::{Request, Response};
use super::{Backend, EngineError, LoadRequest, Loaded, ModelHandle, RunRequest, RunResult};
use cancel::Cancels;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use worker::{Job, Worker};

/// Opens the library and makes the environment, so that the first load need not. What is wrong with it is told by that
/// load.
pub(super) fn warm_up(library: Option<&Path>) {
    drop(environment::environment(library));
}

/// A handle to the thread that owns ONNX Runtime's sessions. Share it by `Arc`; callers are served in order.
///
/// Dropping it waits for the thread to end.
#[derive(Debug)]
pub(super) struct Host {
    jobs: mpsc::Sender<Job>,
    cancels: Arc<Cancels>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// Starts the thread and returns at once. `library` is the path of ONNX Runtime's library, if one was asked for;
    /// else it is searched as [`super::find_library`] does. Whether it can be used shows at the first
    /// [`load`](Self::load).
    #[must_use]
    pub(super) fn start(library: Option<PathBuf>) -> Self {
        let (jobs, inbox) = mpsc::channel();
        let cancels = Arc::new(Cancels::default());
        let worker = Worker::new(library, Arc::clone(&cancels));
        // Where the system gives no thread, the inbox is dropped with the closure and every call answers `Gone`.
        let thread = thread::Builder::new().name("moescope-engine".into()).spawn(move || worker.serve(&inbox)).ok();
        Self { jobs, cancels, thread }
    }

    /// Loads a model by one backend and blocks until it is ready.
    ///
    /// # Errors
    /// [`EngineError::Library`] without a usable library, [`EngineError::Provider`] when the provider does not start,
    /// [`EngineError::Load`] when ONNX Runtime refuses the model,
    /// [`EngineError::Cancelled`] after [`cancel`](Self::cancel).
    pub(super) fn load(&self, request: &LoadRequest, backend: &Backend, ticket: u64) -> Result<Loaded, EngineError> {
        match self.ask(Request::Load(request.clone(), backend.clone()), ticket)? {
            Response::Loaded(loaded) => Ok(loaded),
            _ => Err(EngineError::Gone),
        }
    }

    /// Runs a loaded model and blocks until every output is there. Inputs with a default may be left out.
    ///
    /// # Errors
    /// [`EngineError::UnknownModel`] for a handle of another engine or an unloaded model, [`EngineError::Run`] when the
    /// inputs do not fit the model or the run fails, [`EngineError::Cancelled`] after [`cancel`](Self::cancel).
    pub(super) fn run(&self, request: &RunRequest) -> Result<RunResult, EngineError> {
        match self.ask(Request::Run(request.clone()), self.ticket())? {
            Response::Ran(result) => Ok(result),
            _ => Err(EngineError::Gone),
        }
    }

    /// Forgets a model and frees its memory. A handle that is not known is no error.
    ///
    /// # Errors
    /// [`EngineError::Gone`] when the engine has ended.
    pub(super) fn unload(&self, model: ModelHandle) -> Result<(), EngineError> {
        self.ask(Request::Unload(model), self.ticket()).map(|_| ())
    }

    /// Cancels every load and run that was asked for before this call, from any thread, without waiting: a run in flight
    /// ends at its next node, within about a millisecond, a load at its next step, within some tens of milliseconds.
    /// What is asked for afterwards is not touched.
    pub(super) fn cancel(&self) {
        self.cancels.cancel();
    }

    /// See [`Cancels::ticket`].
    pub(super) fn ticket(&self) -> u64 {
        self.cancels.ticket()
    }

    /// Has a request fulfilled without waiting for it. `reply` is called on the engine's thread, and never when that has
    /// ended. Outputs of a run may lie in ONNX Runtime's memory and are to be copied before `reply` returns.
    pub(super) fn submit(&self, request: Request, ticket: u64, reply: impl FnOnce(Response) + Send + 'static) {
        let job = Job { request, ticket, reply: Box::new(reply) };
        // A job that nobody takes is dropped, and its reply with it: whoever waits for that sees it.
        let _ = self.jobs.send(job);
    }

    fn ask(&self, request: Request, ticket: u64) -> Result<Response, EngineError> {
        let (reply, answer) = mpsc::channel();
        // A caller that has gone away does not miss the answer.
        self.submit(request, ticket, move |response| drop(reply.send(plain(response))));
        match answer.recv() {
            Ok(Response::Failed(error)) => Err(error),
            Ok(response) => Ok(response),
            Err(mpsc::RecvError) => Err(EngineError::Gone),
        }
    }
}

/// The same without anything of ONNX Runtime in it.
fn plain(mut response: Response) -> Response {
    if let Response::Ran(result) = &mut response {
        result.outputs.iter_mut().for_each(|output| output.data = output.data.owned());
    }
    response
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.ask(Request::Shutdown, self.ticket());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
