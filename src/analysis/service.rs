//! The background worker of the window: one thread that always works toward the latest wish.
//!
//! The window states the WHOLE state it wants ([`Wanted`]); a newer wish replaces an older one, also in the middle of a
//! run. Only what changed is done again: the model, the decoded images, the input tensor and the results are kept.

use super::recent::Recent;
use super::version::ModelWatch;
use super::{Analysis, AnalysisError, ModelVersion, OpenError, OpenModel, analyse};
use crate::engine::{Engine, EngineError, Execution};
use crate::input::{DecodedImage, InputError, InputTensor, decode_file, decode_sample, preprocess};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Decoded images that are kept: the current one and its neighbours.
const KEPT_IMAGES: usize = 6;
/// Results that are kept: some images at all values of top-k.
const KEPT_OUTCOMES: usize = 64;
/// How often the files of the open model are looked at while nothing is to be done.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Names an image of this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(pub u64);

/// Names one result of this session; also the key under which the GPU keeps its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutcomeId(pub u64);

/// How the pixels of an image are obtained.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageSpec {
    /// From a file.
    File(PathBuf),
    /// From a sample that is built in, by its identifier.
    Sample(&'static str),
    /// They are there already (pasted).
    Decoded(Arc<DecodedImage>),
}

impl ImageSpec {
    /// Its pixels.
    ///
    /// # Errors
    /// Why a file is no image that can be shown.
    pub(super) fn decode(&self) -> Result<Arc<DecodedImage>, InputError> {
        match self {
            Self::File(path) => decode_file(path).map(Arc::new),
            Self::Sample(sample) => decode_sample(sample).map(Arc::new),
            Self::Decoded(decoded) => Ok(Arc::clone(decoded)),
        }
    }
}

/// The whole state that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The model; `None` shows the image alone.
    pub model: Option<ModelWish>,
    /// The image; `None` only opens the model.
    pub image: Option<(ImageId, ImageSpec)>,
    /// Experts per token; `None` is the model's default. Values outside of the model's range are clamped.
    pub top_k: Option<usize>,
    /// Also run the other values of top-k that [`compared_top_ks`] names.
    pub compare: bool,
}

/// A model, and how it shall run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelWish {
    /// The ONNX file.
    pub path: PathBuf,
    /// On what.
    pub execution: Execution,
    /// Counts how often the model was asked for again: another number opens it anew if its files have changed.
    pub reload: u64,
    /// Counts how often a person asked to open it in spite of what it did: another number lets it out of quarantine.
    pub pardon: u64,
}

/// One result.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Unique in this session.
    pub id: OutcomeId,
    /// The image.
    pub image: ImageId,
    /// The model.
    pub model: Arc<OpenModel>,
    /// What came out.
    pub analysis: Arc<Analysis>,
}

/// What the worker tells the window.
#[derive(Clone, Debug)]
pub enum Event {
    /// A model is being opened.
    ModelOpening(PathBuf),
    /// A model is open and ready.
    ModelOpened(Arc<OpenModel>),
    /// A model could not be opened; the one before stays.
    ModelFailed {
        /// The file.
        path: PathBuf,
        /// Whether it waits for a person to trust it; see [`ModelWish::pardon`].
        quarantined: bool,
        /// Where a file of weights has to be put for the model to open, where that is all that is missing.
        missing: Option<PathBuf>,
        /// What, why, and what to do next.
        message: String,
    },
    /// The files of the open model are not what was opened. It goes on as it was opened until it is asked for again.
    ModelChanged {
        /// The file.
        path: PathBuf,
        /// Whether it is no longer there.
        gone: bool,
    },
    /// The pixels of an image are there.
    ImageDecoded {
        /// Which image.
        image: ImageId,
        /// Its pixels.
        decoded: Arc<DecodedImage>,
    },
    /// An image could not be read or fed to the model.
    ImageFailed {
        /// Which image.
        image: ImageId,
        /// What, why, and what to do next.
        message: String,
    },
    /// A run finished, or its result was still there.
    Analysed(Outcome),
    /// The run of the model failed.
    RunFailed {
        /// Which image.
        image: ImageId,
        /// Whether the model waits for a person to trust it; see [`ModelWish::pardon`].
        quarantined: bool,
        /// What, why, and what to do next.
        message: String,
    },
    /// Everything of the latest wish is done.
    Idle,
}

/// The values of top-k that stand side by side: 1, 2, 4 and the largest.
#[must_use]
pub fn compared_top_ks(max: usize) -> Vec<usize> {
    let mut top_ks: Vec<usize> = [1, 2, 4].into_iter().filter(|&k| k < max).collect();
    top_ks.push(max);
    top_ks
}

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
    closed: bool,
}

/// What a result depends on.
#[derive(Clone, Debug, PartialEq)]
struct RunKey {
    model: ModelVersion,
    execution: Execution,
    image: ImageId,
    top_k: Option<usize>,
}

impl RunKey {
    /// Whether a run is what a wish asks for first.
    fn serves(&self, wanted: &Wanted) -> bool {
        wanted.model.as_ref().is_some_and(|model| model.path == self.model.path() && model.execution == self.execution)
            && wanted.image.as_ref().map(|(id, _)| *id) == Some(self.image)
            && wanted.top_k == self.top_k
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
        let worker = Worker {
            shared: Arc::clone(&shared),
            events: sender,
            wake: Box::new(wake),
            model: None,
            last_wish: ModelWish::default(),
            watch: ModelWatch::default(),
            images: Recent::new(KEPT_IMAGES),
            tensors: Recent::new(KEPT_IMAGES),
            outcomes: Recent::new(KEPT_OUTCOMES),
            next_outcome: 0,
        };
        let thread = std::thread::Builder::new().name("moescope-analysis".into()).spawn(move || worker.run())?;
        Ok(Self { shared, events, thread: Some(thread) })
    }

    /// Replaces the latest wish. A run in flight that no longer serves it is cancelled.
    pub fn want(&self, wanted: Wanted) {
        let mut slot = self.shared.slot();
        let opens_another = slot.opening.as_ref().is_some_and(|opening| wanted.model.as_ref() != Some(opening));
        if opens_another || slot.running.as_ref().is_some_and(|running| !running.serves(&wanted)) {
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
            if slot.running.is_some() || slot.opening.is_some() {
                self.shared.engine.cancel();
            }
            self.shared.changed.notify_one();
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A decoded image and the seconds that decoding took.
type Decoded = (Arc<DecodedImage>, f64);
/// An input tensor and the seconds that making it took.
type Tensor = (Arc<InputTensor>, f64);
/// The worker goes on, or leaves the wish: it failed (and said so), or a newer one is there.
type Step<T> = ControlFlow<(), T>;

struct Worker {
    shared: Arc<Shared>,
    events: Sender<Event>,
    wake: Box<dyn Fn() + Send>,
    model: Option<Arc<OpenModel>>,
    /// The model of the last wish that was taken up.
    last_wish: ModelWish,
    watch: ModelWatch,
    images: Recent<ImageId, Decoded>,
    tensors: Recent<(ModelVersion, ImageId), Tensor>,
    outcomes: Recent<RunKey, Outcome>,
    next_outcome: u64,
}

impl Worker {
    fn run(mut self) {
        while let Some(wanted) = self.next_wish() {
            if self.serve(&wanted).is_continue() {
                self.tell(Event::Idle);
            }
        }
    }

    /// Waits for a wish and looks after the files of the open model meanwhile; `None` when the service is closed.
    fn next_wish(&mut self) -> Option<Wanted> {
        loop {
            {
                let mut slot = self.shared.slot();
                if slot.wanted.is_none() && !slot.closed {
                    let waited = self.shared.changed.wait_timeout(slot, LOOK_EVERY);
                    slot = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                if slot.closed {
                    return None;
                }
                if let Some(wanted) = slot.wanted.take() {
                    return Some(wanted);
                }
            }
            self.look_after_model();
        }
    }

    fn look_after_model(&mut self) {
        let Some(model) = &self.model else { return };
        if let Some(now) = self.watch.changed(&model.version) {
            self.tell(Event::ModelChanged { path: model.path.clone(), gone: !now.is_there() });
        }
    }

    fn serve(&mut self, wanted: &Wanted) -> Step<()> {
        self.look_after_model();
        // An image that cannot be read must not keep the model from opening, so its failure counts only afterwards.
        let image = wanted.image.as_ref().map(|(id, spec)| (*id, self.decoded(*id, spec)));
        self.go_on()?;
        let Some(wish) = &wanted.model else { return Step::Continue(()) };
        let model = self.opened(wish)?;
        let Some((id, decoded)) = image else { return Step::Continue(()) };
        let decoded = decoded?;
        self.go_on()?;
        let tensor = self.tensor(&model, id, &decoded)?;
        let Some(range) = model.card.top_k.clone() else {
            return self.outcome(&model, (id, &decoded), &tensor, wanted.top_k, None);
        };
        let first = wanted.top_k.unwrap_or(range.default).clamp(range.min, range.max);
        self.outcome(&model, (id, &decoded), &tensor, wanted.top_k, Some(first))?;
        if wanted.compare {
            for top_k in compared_top_ks(range.max).into_iter().filter(|&k| k != first && k >= range.min) {
                self.outcome(&model, (id, &decoded), &tensor, Some(top_k), Some(top_k))?;
            }
        }
        Step::Continue(())
    }

    fn decoded(&mut self, id: ImageId, spec: &ImageSpec) -> Step<Decoded> {
        if let Some(decoded) = self.images.get(&id) {
            return Step::Continue(decoded);
        }
        let start = Instant::now();
        match spec.decode() {
            Ok(image) => {
                let decoded = (image, start.elapsed().as_secs_f64());
                self.images.insert(id, decoded.clone());
                self.tell(Event::ImageDecoded { image: id, decoded: Arc::clone(&decoded.0) });
                Step::Continue(decoded)
            }
            Err(error) => self.fail(Event::ImageFailed { image: id, message: error.to_string() }),
        }
    }

    fn opened(&mut self, wish: &ModelWish) -> Step<Arc<OpenModel>> {
        let before = std::mem::replace(&mut self.last_wish, wish.clone());
        if before.pardon != wish.pardon {
            self.shared.engine.pardon(&wish.path);
        }
        let is_current = |model: &&Arc<OpenModel>| {
            let asked_again = before.reload != wish.reload;
            (&model.path, &model.execution) == (&wish.path, &wish.execution)
                && (!asked_again || model.version.now() == model.version)
        };
        if let Some(model) = self.model.as_ref().filter(is_current) {
            return Step::Continue(Arc::clone(model));
        }
        self.tell(Event::ModelOpening(wish.path.clone()));
        self.shared.slot().opening = Some(wish.clone());
        // A newer wish that came before this could not cancel the load.
        let opened =
            self.go_on().is_continue().then(|| OpenModel::open(&self.shared.engine, &wish.path, &wish.execution));
        self.shared.slot().opening = None;
        match opened.unwrap_or(Err(OpenError::Engine(EngineError::Cancelled))) {
            Ok(model) => {
                let model = Arc::new(model);
                if let Some(before) = self.model.replace(Arc::clone(&model)) {
                    // An engine that has ended keeps nothing to forget.
                    drop(self.shared.engine.unload(before.handle));
                }
                self.tell(Event::ModelOpened(Arc::clone(&model)));
                Step::Continue(model)
            }
            Err(OpenError::Engine(EngineError::Cancelled)) => Step::Break(()),
            Err(error) => self.fail(Event::ModelFailed {
                path: wish.path.clone(),
                quarantined: matches!(error, OpenError::Engine(EngineError::Quarantined { .. })),
                missing: match &error {
                    OpenError::Model(error) => error.missing_file(),
                    OpenError::Engine(_) | OpenError::Fault { .. } => None,
                },
                message: error.to_string(),
            }),
        }
    }

    fn tensor(&mut self, model: &OpenModel, id: ImageId, (image, _): &Decoded) -> Step<Tensor> {
        let key = (model.version.clone(), id);
        if let Some(tensor) = self.tensors.get(&key) {
            return Step::Continue(tensor);
        }
        let start = Instant::now();
        match preprocess(image, &model.card.input) {
            Ok(tensor) => {
                let tensor = (Arc::new(tensor), start.elapsed().as_secs_f64());
                self.tensors.insert(key, tensor.clone());
                Step::Continue(tensor)
            }
            Err(error) => self.fail(Event::ImageFailed { image: id, message: error.to_string() }),
        }
    }

    /// Runs the model, unless the result is still there, and tells it. `wished` is the top-k as the wish names it.
    fn outcome(
        &mut self,
        model: &Arc<OpenModel>,
        (id, (image, decode)): (ImageId, &Decoded),
        (tensor, preprocess): &Tensor,
        wished: Option<usize>,
        top_k: Option<usize>,
    ) -> Step<()> {
        self.go_on()?;
        let key = RunKey { model: model.version.clone(), execution: model.execution.clone(), image: id, top_k };
        if let Some(outcome) = self.outcomes.get(&key) {
            self.tell(Event::Analysed(outcome));
            return Step::Continue(());
        }
        let running = RunKey { top_k: wished, ..key.clone() };
        match self.run_model(running, || analyse(&self.shared.engine, model, image, tensor, top_k)) {
            Ok(mut analysis) => {
                analysis.seconds.decode = *decode;
                analysis.seconds.preprocess = *preprocess;
                self.next_outcome += 1;
                let outcome = Outcome {
                    id: OutcomeId(self.next_outcome),
                    image: id,
                    model: Arc::clone(model),
                    analysis: Arc::new(analysis),
                };
                self.outcomes.insert(key, outcome.clone());
                self.tell(Event::Analysed(outcome));
                Step::Continue(())
            }
            Err(AnalysisError::Engine(EngineError::Cancelled)) => Step::Break(()),
            Err(error) => self.fail(Event::RunFailed {
                image: id,
                quarantined: matches!(error, AnalysisError::Engine(EngineError::Quarantined { .. })),
                message: error.to_string(),
            }),
        }
    }

    /// Runs the model as the run in flight. A cancellation that was meant for the run before it is not taken for ours.
    fn run_model(
        &self,
        running: RunKey,
        run: impl Fn() -> Result<Analysis, AnalysisError>,
    ) -> Result<Analysis, AnalysisError> {
        self.shared.slot().running = Some(running);
        let mut result = run();
        while matches!(result, Err(AnalysisError::Engine(EngineError::Cancelled))) && self.go_on().is_continue() {
            result = run();
        }
        self.shared.slot().running = None;
        result
    }

    /// Breaks when a newer wish is there.
    fn go_on(&self) -> Step<()> {
        let slot = self.shared.slot();
        if slot.closed || slot.wanted.is_some() { Step::Break(()) } else { Step::Continue(()) }
    }

    fn tell(&self, event: Event) {
        // The window may have closed meanwhile; then nobody is left to tell.
        if self.events.send(event).is_ok() {
            (self.wake)();
        }
    }

    fn fail<T>(&self, event: Event) -> Step<T> {
        self.tell(event);
        Step::Break(())
    }
}
