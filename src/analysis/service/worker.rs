//! The worker's thread: from a wish to its results, stage by stage, each kept for the next wish.

use super::super::recent::Recent;
use super::super::version::ModelWatch;
use super::super::{Analysis, AnalysisError, ChangeError, ModelVersion, OpenError, OpenModel, Setting, analyse_with};
use super::{Event, ImageId, ImageSpec, ModelWish, Outcome, OutcomeId, RunKey, Shared, Wanted, compared_top_ks};
use crate::engine::EngineError;
use crate::input::{DecodedImage, InputTensor, preprocess};
use std::ops::ControlFlow;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Decoded images that are kept: the current one and its neighbours.
const KEPT_IMAGES: usize = 6;
/// Results that are kept: some images at all values of top-k.
const KEPT_OUTCOMES: usize = 64;
/// How often the files of the open model are looked at while nothing is to be done.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A decoded image and the seconds that decoding took.
type Decoded = (Arc<DecodedImage>, f64);
/// An input tensor and the seconds that making it took.
type Tensor = (Arc<InputTensor>, f64);
/// What is run: an image through a model.
struct Subject {
    model: Arc<OpenModel>,
    image: ImageId,
    decoded: Decoded,
    tensor: Tensor,
}
/// The worker goes on, or leaves the wish: it failed (and said so), or a newer one is there.
type Step<T> = ControlFlow<(), T>;

pub(super) struct Worker {
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
    pub(super) fn new(shared: Arc<Shared>, events: Sender<Event>, wake: Box<dyn Fn() + Send>) -> Self {
        Self {
            shared,
            events,
            wake,
            model: None,
            last_wish: ModelWish::default(),
            watch: ModelWatch::default(),
            images: Recent::new(KEPT_IMAGES),
            tensors: Recent::new(KEPT_IMAGES),
            outcomes: Recent::new(KEPT_OUTCOMES),
            next_outcome: 0,
        }
    }

    /// Works until the service is closed.
    pub(super) fn run(mut self) {
        while let Some(wanted) = self.next_wish() {
            if self.serve(&wanted).is_continue() {
                self.tell(Event::Idle);
                // With a k to set the same wish asks for more: the result at that k, and others beside it.
                if self.finds_top_k(&wanted) && self.serve(&wanted).is_continue() {
                    self.tell(Event::Idle);
                }
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
        self.run_all(wanted, wish, &Subject { model, image: id, decoded, tensor })
    }

    /// The run that is wished for, the same without the change, and the other values of top-k.
    fn run_all(&mut self, wanted: &Wanted, wish: &ModelWish, subject: &Subject) -> Step<()> {
        let change = &wanted.setting.change;
        if !change.is_none() && !subject.model.are_controls_known() {
            self.prove(&subject.model, wish)?;
        }
        let range = subject.model.card.top_k.clone();
        let first =
            range.as_ref().map(|range| wanted.setting.top_k.unwrap_or(range.default).clamp(range.min, range.max));
        let setting = |top_k: Option<usize>| Setting { top_k, change: change.clone() };
        if let Err(error) = self.outcome(subject, &wanted.setting, setting(first))? {
            return self.fail(Event::ChangeRefused { change: change.clone(), message: error.to_string() });
        }
        if !change.is_none() {
            let [wished, unchanged] = [wanted.setting.top_k, first].map(Setting::of_top_k);
            drop(self.outcome(subject, &wished, unchanged)?);
        }
        let Some(range) = range.filter(|_| wanted.compare) else { return Step::Continue(()) };
        for top_k in compared_top_ks(range.max).into_iter().filter(|&k| k >= range.min && Some(k) != first) {
            // One for which the change leaves too few experts has no result.
            drop(self.outcome(subject, &setting(Some(top_k)), setting(Some(top_k)))?);
        }
        Step::Continue(())
    }

    /// Finds out whether the k of a model whose card has none can be changed, as long as nothing else is wanted; whether it
    /// can.
    fn finds_top_k(&mut self, wanted: &Wanted) -> bool {
        let missing = self.model.clone().filter(|model| model.misses_top_k());
        let Some((model, wish)) = missing.zip(wanted.model.as_ref()) else { return false };
        match self.with_controls(&model, wish) {
            Ok(known) => self.know(known),
            // It is taken up again after the next wish.
            Err(EngineError::Cancelled) => {}
            // Nobody asked for it, and a model on which this fails shall not be tried with it again and again.
            Err(error) => self.know(model.without_controls(&error.to_string())),
        }
        self.model.as_ref().is_some_and(|model| model.card.top_k.is_some())
    }

    /// Sees to it that what can be changed about the model's routing is known.
    fn prove(&mut self, model: &Arc<OpenModel>, wish: &ModelWish) -> Step<()> {
        match self.with_controls(model, wish) {
            Ok(known) => {
                self.know(known);
                Step::Continue(())
            }
            Err(EngineError::Cancelled) => Step::Break(()),
            Err(error) => self.fail_to_run(&error.into()),
        }
    }

    fn know(&mut self, known: OpenModel) {
        let offers = known.known_offers().unwrap_or_default().into();
        let known = Arc::new(known);
        self.model = Some(Arc::clone(&known));
        self.tell(Event::Offers { model: known, offers });
    }

    /// The model with what can be changed about its routing, which takes some runs of it.
    fn with_controls(&self, model: &Arc<OpenModel>, wish: &ModelWish) -> Result<OpenModel, EngineError> {
        self.shared.slot().proving = Some(wish.clone());
        let mut known = Err(EngineError::Cancelled);
        // A newer wish that came before this could not cancel the proof; one that it serves does not end it.
        while matches!(known, Err(EngineError::Cancelled)) && self.go_on().is_continue() {
            known = model.with_controls(&self.shared.engine);
        }
        self.shared.slot().proving = None;
        known
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
                    before.close(&self.shared.engine);
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

    /// Runs the model, unless the result is still there, and tells it. `wished` is the setting as a wish would name it.
    fn outcome(&mut self, subject: &Subject, wished: &Setting, setting: Setting) -> Step<Result<(), ChangeError>> {
        self.go_on()?;
        let Subject { model, image, decoded: (pixels, decode), tensor: (tensor, preprocess) } = subject;
        let key = |setting| {
            let (model, execution) = (model.version.clone(), model.execution.clone());
            RunKey { model, execution, image: *image, setting }
        };
        if let Some(outcome) = self.outcomes.get(&key(setting.clone())) {
            self.tell(Event::Analysed(outcome));
            return Step::Continue(Ok(()));
        }
        let run = || analyse_with(&self.shared.engine, model, pixels, tensor, &setting);
        match self.run_model(key(wished.clone()), run) {
            Ok(mut analysis) => {
                analysis.seconds.decode = *decode;
                analysis.seconds.preprocess = *preprocess;
                self.next_outcome += 1;
                let outcome = Outcome {
                    id: OutcomeId(self.next_outcome),
                    image: *image,
                    model: Arc::clone(model),
                    analysis: Arc::new(analysis),
                };
                self.outcomes.insert(key(setting), outcome.clone());
                self.tell(Event::Analysed(outcome));
                Step::Continue(Ok(()))
            }
            Err(AnalysisError::Engine(EngineError::Cancelled)) => Step::Break(()),
            Err(AnalysisError::Change(error)) => Step::Continue(Err(error)),
            Err(error) => self.fail_to_run(&error),
        }
    }

    fn fail_to_run<T>(&self, error: &AnalysisError) -> Step<T> {
        self.fail(Event::RunFailed {
            quarantined: matches!(error, AnalysisError::Engine(EngineError::Quarantined { .. })),
            message: error.to_string(),
        })
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
