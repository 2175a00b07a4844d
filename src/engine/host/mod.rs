//! The side that owns ONNX Runtime: the library, the environment and the [`Sessions`].
//!
//! They live in the worker process, or on a thread of the program itself, the [`Host`], when isolation is off; both give
//! the same results because both are this.

mod cancel;
mod environment;
mod node_log;
mod placement;
mod providers;
mod session;
mod sessions;
mod tensor;

pub(super) use cancel::Cancels;
pub(super) use sessions::Sessions;

use super::protocol::{Request, Response};
use super::{Backend, EngineError, LoadRequest, Loaded, ModelHandle, RunRequest, RunResult};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

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
        let sessions = Sessions::new(Arc::clone(&cancels));
        let serve = move || {
            // Callers have a model to read before they can ask; the library is opened meanwhile. What is wrong with it is
            // told by the first load.
            warm_up(library.as_deref());
            serve(sessions, &inbox);
        };
        // Where the system gives no thread, the inbox is dropped with the closure and every call answers `Gone`.
        let thread = thread::Builder::new().name("moescope-engine".into()).spawn(serve).ok();
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

    fn ask(&self, request: Request, ticket: u64) -> Result<Response, EngineError> {
        let (reply, answer) = mpsc::channel();
        // A job that nobody takes is dropped, and its reply with it, which shows next.
        let _ = self.jobs.send(Job { request, ticket, reply });
        match answer.recv() {
            Ok(Response::Failed(error)) => Err(error),
            Ok(response) => Ok(response),
            Err(mpsc::RecvError) => Err(EngineError::Gone),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.ask(Request::Shutdown, self.ticket());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A request on its way to the thread.
struct Job {
    request: Request,
    /// See [`Cancels::ticket`].
    ticket: u64,
    reply: mpsc::Sender<Response>,
}

/// Serves until [`Request::Shutdown`] comes or nobody is left to ask.
fn serve(mut sessions: Sessions, inbox: &mpsc::Receiver<Job>) {
    for Job { request, ticket, reply } in inbox {
        let last = request == Request::Shutdown;
        // A caller that has gone away does not miss the answer.
        drop(reply.send(plain(sessions.answer(request, ticket))));
        if last {
            break;
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
