//! Models run in processes of their own, one for each model, because a model is untrusted: ONNX Runtime aborts, crashes
//! or hangs on some files, and nothing inside the same process can stop that.
//!
//! [`Workers`] is the program's side and [`serve_worker`] the other. A process of its own for each model means that a bad
//! one takes no other with it, that it can be locked in with its own folder alone, and that what it leaked is gone when
//! it is closed. A worker that has died is replaced when its model is wanted again.

mod arena;
mod calls;
mod child;
mod last_words;
mod quarantine;
mod sandbox;
mod stamp;
mod wire;
mod worker;

pub use child::{WorkerArgs, serve_worker};
pub use sandbox::{Freedom, isolation_of, probe_isolation};

use super::library::find_library;
use super::protocol::{Phase, Response};
use super::runtime::Backend;
use super::{EngineError, Limits, LoadRequest, Loaded, ModelHandle, RunRequest, RunResult, Tensor};
use calls::Calls;
use quarantine::Quarantine;
use stamp::FileStamp;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use worker::{Fault, Start, Worker};

/// The program's side: every open model with its worker.
#[derive(Debug)]
pub(super) struct Workers {
    program: PathBuf,
    /// The library that most models run with, if there is one.
    library: Option<PathBuf>,
    limits: Limits,
    /// A process with that library that warms up before anybody asks for it.
    next: Mutex<Option<JoinHandle<io::Result<Worker>>>>,
    models: Mutex<HashMap<ModelHandle, Arc<Model>>>,
    num_loaded: AtomicU64,
    calls: Calls,
    quarantine: Mutex<Quarantine>,
}

/// A model that was loaded, and will be again whenever its worker is gone.
#[derive(Debug)]
struct Model {
    request: LoadRequest,
    backend: Backend,
    /// The request's files as they were before they were read.
    stamps: Vec<FileStamp>,
    worker: Mutex<Option<Arc<Worker>>>,
}

impl Workers {
    /// Returns at once; the first process starts in the background.
    pub(super) fn start(program: PathBuf, library: Option<&Path>, limits: Limits) -> Self {
        let workers = Self {
            program,
            // Without any, the first load says what is missing.
            library: find_library(library).ok(),
            limits,
            next: Mutex::default(),
            models: Mutex::default(),
            num_loaded: AtomicU64::new(0),
            calls: Calls::default(),
            quarantine: Mutex::default(),
        };
        workers.prepare();
        workers
    }

    pub(super) fn ticket(&self) -> u64 {
        self.calls.ticket()
    }

    pub(super) fn load(&self, request: &LoadRequest, backend: &Backend, ticket: u64) -> Result<Loaded, EngineError> {
        let stamps = stamps(request);
        let (worker, mut loaded) = self.start_with(request, backend, ticket)?;
        loaded.model = ModelHandle(self.num_loaded.fetch_add(1, Ordering::Relaxed) + 1);
        let worker = Mutex::new(Some(Arc::new(worker)));
        let model = Model { request: request.clone(), backend: backend.clone(), stamps, worker };
        lock(&self.models).insert(loaded.model, Arc::new(model));
        Ok(loaded)
    }

    pub(super) fn run(&self, request: &RunRequest) -> Result<RunResult, EngineError> {
        let ticket = self.calls.ticket();
        let model = lock(&self.models).get(&request.model).cloned().ok_or(EngineError::UnknownModel)?;
        let mut slot = lock(&model.worker);
        let mut answer = self.run_once(&model, &mut slot, &request.inputs, ticket)?;
        if let Err(Fault::Lost(_)) = answer {
            // It ended while nothing ran, such as when the machine ran out of memory: the next one may fare better.
            *slot = None;
            answer = self.run_once(&model, &mut slot, &request.inputs, ticket)?;
        }
        match answer {
            Ok(Response::Ran(result)) => Ok(result),
            Ok(Response::Failed(error)) => Err(error),
            Ok(_) => Err(EngineError::Worker { reason: "it gave a wrong answer".into() }),
            Err(fault) => {
                match (&fault, slot.as_ref()) {
                    (Fault::Cancelled, Some(worker)) => settle_later(Arc::clone(worker)),
                    _ => *slot = None,
                }
                Err(self.blame((&model.request, &model.backend), Phase::Running, self.limits.run, fault))
            }
        }
    }

    /// Runs in the model's worker; in a new one if that has gone.
    fn run_once(
        &self,
        model: &Model,
        slot: &mut Option<Arc<Worker>>,
        inputs: &[Tensor],
        ticket: u64,
    ) -> Result<Result<Response, Fault>, EngineError> {
        let worker = match slot.as_ref().filter(|worker| worker.is_alive()) {
            Some(worker) => Arc::clone(worker),
            // Results of other files must not pass for the ones that were opened, and nobody has checked those files.
            None if stamps(&model.request) != model.stamps => {
                return Err(EngineError::Changed { model: model.request.model.clone() });
            }
            None => Arc::clone(slot.insert(Arc::new(self.start_with(&model.request, &model.backend, ticket)?.0))),
        };
        self.calls.cancellable(ticket, &worker, || worker.run(inputs, self.limits.run))
    }

    pub(super) fn unload(&self, model: ModelHandle) {
        let model = lock(&self.models).remove(&model);
        // Ends the process, outside of the lock.
        drop(model);
    }

    pub(super) fn cancel(&self) {
        self.calls.cancel();
    }

    pub(super) fn pardon(&self, model: &Path) {
        lock(&self.quarantine).pardon(model);
    }

    /// A worker with the model in it.
    fn start_with(
        &self,
        request: &LoadRequest,
        backend: &Backend,
        ticket: u64,
    ) -> Result<(Worker, Loaded), EngineError> {
        if let Some(deaths) = lock(&self.quarantine).holds(&request.model, backend.provider) {
            return Err(EngineError::Quarantined { model: request.model.clone(), deaths });
        }
        // The message about it names the model as it was asked for; the worker's sandbox needs its place.
        let model = std::path::absolute(&request.model).unwrap_or_else(|_| request.model.clone());
        let order = LoadRequest { model, ..request.clone() };
        let worker = Arc::new(self.take(&backend.library)?);
        let answer =
            self.calls.cancellable(ticket, &worker, || worker.load(order, backend.clone(), self.limits.load))?;
        let worker = Arc::into_inner(worker).ok_or(EngineError::Gone)?;
        match answer {
            Ok(Response::Loaded(loaded)) => Ok((worker, loaded)),
            Ok(Response::Failed(error)) => Err(error),
            Ok(_) => Err(EngineError::Worker { reason: "it gave a wrong answer".into() }),
            Err(fault) => Err(self.blame((request, backend), Phase::Loading, self.limits.load, fault)),
        }
    }

    /// Remembers whose fault it was, and has the next worker ready before it is wanted.
    fn blame(
        &self,
        (request, backend): (&LoadRequest, &Backend),
        phase: Phase,
        limit: Duration,
        fault: Fault,
    ) -> EngineError {
        let model = request.model.clone();
        let error = match fault {
            Fault::Cancelled => return EngineError::Cancelled,
            Fault::Lost(reason) => return EngineError::Worker { reason },
            Fault::Died(how) => EngineError::Died { model, phase, how },
            Fault::Deadline => EngineError::Deadline { model, phase, secs: limit.as_secs_f64() },
        };
        lock(&self.quarantine).count(&request.model, backend.provider);
        self.prepare();
        error
    }

    /// Starts a process in the background, unless one is there.
    fn prepare(&self) {
        let Some(library) = &self.library else { return };
        let mut next = lock(&self.next);
        if next.is_none() {
            let start = self.how(library);
            let start = move || Worker::start(&start);
            *next = std::thread::Builder::new().name("moescope-start".into()).spawn(start).ok();
        }
    }

    /// The process that warmed up, if it suits; else a new one.
    fn take(&self, library: &Path) -> Result<Worker, EngineError> {
        let suits = self.library.as_deref() == Some(library);
        let prepared = if suits { lock(&self.next).take() } else { None };
        let prepared = prepared.and_then(|start| start.join().ok()).and_then(Result::ok);
        match prepared.filter(Worker::is_alive) {
            Some(worker) => Ok(worker),
            None => Worker::start(&self.how(library)).map_err(|error| EngineError::Worker {
                reason: format!("{} cannot be started: {error}", self.program.display()),
            }),
        }
    }

    fn how(&self, library: &Path) -> Start {
        let (program, library) = (self.program.clone(), library.to_path_buf());
        Start { program, library, memory_bytes: self.limits.memory_bytes }
    }
}

fn stamps(request: &LoadRequest) -> Vec<FileStamp> {
    [&request.model].into_iter().chain(&request.weights).map(|path| FileStamp::of(path)).collect()
}

/// Sees to it that a cancelled run ends in time, while its caller goes on.
fn settle_later(worker: Arc<Worker>) {
    // Without a thread the next run does it.
    drop(std::thread::Builder::new().name("moescope-settle".into()).spawn(move || worker.settle()));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
