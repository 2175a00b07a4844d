//! The background worker of the window: one thread that always works toward the latest wish.
//!
//! The window states the WHOLE state it wants ([`Wanted`]); a newer wish replaces an older one, also in the middle of a
//! run. Only what changed is done again: the model, the decoded images, the input tensor and the results are kept.

mod wishes;
mod worker;

pub use wishes::{Event, ImageId, ImageSpec, ModelWish, Outcome, OutcomeId, Wanted, compared_top_ks};

use super::{ModelVersion, Setting};
use crate::engine::{Engine, Execution};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use worker::Worker;

/// Handle to the worker thread. Dropping it cancels what runs and waits for the thread's end.
#[derive(Debug)]
pub struct AnalysisService {
    shared: Arc<Shared>,
    events: Receiver<Event>,
    thread: Option<JoinHandle<()>>,
}

/// What the handle and the thread share.
struct Shared {
    engine: Arc<Engine>,
    slot: Mutex<Slot>,
    changed: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The latest wish that nobody took up yet, and the run in flight.
#[derive(Default)]
struct Slot {
    wanted: Option<Wanted>,
    running: Option<RunKey>,
    opening: Option<ModelWish>,
    /// The model whose routing is being made changeable.
    proving: Option<ModelWish>,
    closed: bool,
}

impl Slot {
    fn is_busy(&self) -> bool {
        self.running.is_some() || self.opening.is_some() || self.proving.is_some()
    }

    /// Whether what is being done serves another wish than this one.
    fn is_in_the_way_of(&self, wanted: &Wanted) -> bool {
        let model = wanted.model.as_ref();
        self.opening.as_ref().is_some_and(|opening| model != Some(opening))
            || self.proving.as_ref().is_some_and(|proving| model != Some(proving) || wanted.setting.change.is_none())
            || self.running.as_ref().is_some_and(|running| !running.serves(wanted))
    }
}

/// What a result depends on.
#[derive(Clone, Debug, PartialEq)]
struct RunKey {
    model: ModelVersion,
    execution: Execution,
    image: ImageId,
    setting: Setting,
}

impl RunKey {
    /// Whether a run is what a wish asks for first.
    fn serves(&self, wanted: &Wanted) -> bool {
        wanted.model.as_ref().is_some_and(|model| model.path == self.model.path() && model.execution == self.execution)
            && wanted.image.as_ref().map(|(id, _)| *id) == Some(self.image)
            && wanted.setting == self.setting
    }
}

impl Shared {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AnalysisService {
    /// Starts the worker. `wake` is called after every event, from the worker's thread.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(engine: Arc<Engine>, wake: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { engine, slot: Mutex::default(), changed: Condvar::new() });
        let (sender, events) = channel();
        let worker = Worker::new(Arc::clone(&shared), sender, Box::new(wake));
        let thread = std::thread::Builder::new().name("moescope-analysis".into()).spawn(move || worker.run())?;
        Ok(Self { shared, events, thread: Some(thread) })
    }

    /// Replaces the latest wish. A run in flight that no longer serves it is cancelled.
    pub fn want(&self, wanted: Wanted) {
        let mut slot = self.shared.slot();
        if slot.is_in_the_way_of(&wanted) {
            self.shared.engine.cancel();
        }
        slot.wanted = Some(wanted);
        self.shared.changed.notify_one();
    }

    /// The next event, if there is one; never waits.
    #[must_use]
    pub fn poll(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}

impl Drop for AnalysisService {
    fn drop(&mut self) {
        {
            let mut slot = self.shared.slot();
            slot.closed = true;
            if slot.is_busy() {
                self.shared.engine.cancel();
            }
            self.shared.changed.notify_one();
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
