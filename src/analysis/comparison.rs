//! Images through one model twice, on the CPU and on something else, in the background: which patches change their experts?
//!
//! It has an engine of its own, so that cancelling it stops nothing that the window runs, and the other way round.

use super::{Analysis, AnalysisError, ImageId, ImageSpec, OpenModel, Parity, analyse};
use crate::engine::{Engine, EngineError, Execution, Provider};
use crate::input::preprocess;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What is to be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparisonWish {
    /// Another number is another comparison, also of the same things.
    pub number: u64,
    /// The ONNX file.
    pub model: PathBuf,
    /// What the model runs on beside the CPU. Its provider has to be a required one: falling back to the CPU would
    /// compare that with itself.
    pub other: Execution,
    /// Experts per token; `None` where the model has no such input.
    pub top_k: Option<usize>,
    /// The images.
    pub images: Vec<(ImageId, ImageSpec)>,
}

/// What a comparison tells.
#[derive(Clone, Debug)]
pub enum ComparisonEvent {
    /// The model is ready on both sides.
    Ready,
    /// One image is done.
    Compared(ImageId, Parity),
    /// One image cannot be compared; the others go on.
    ImageFailed(ImageId, String),
    /// Nothing can be compared: what, why, and what to do next.
    Failed(String),
    /// All images are done.
    Done,
}

/// A comparison that runs, or has ended. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Comparison {
    shared: Arc<Shared>,
    events: Receiver<ComparisonEvent>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    stopped: AtomicBool,
}

impl Comparison {
    /// Starts at once, with an engine like `engine`. `wake` is called after every event, from another thread.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(engine: &Engine, wish: ComparisonWish, wake: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { engine: engine.sibling(), stopped: AtomicBool::new(false) });
        let (sender, events) = channel();
        let teller = Teller { shared: Arc::clone(&shared), events: sender, wake: Box::new(wake) };
        let run = move || {
            if let Some(end) = run(&wish, &teller) {
                teller.tell(end);
            }
        };
        std::thread::Builder::new().name("moescope-parity".into()).spawn(run)?;
        Ok(Self { shared, events })
    }

    /// The next event, if there is one; never waits.
    #[must_use]
    pub fn poll(&self) -> Option<ComparisonEvent> {
        self.events.try_recv().ok()
    }
}

impl Drop for Comparison {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.shared.engine.cancel();
    }
}

struct Teller {
    shared: Arc<Shared>,
    events: Sender<ComparisonEvent>,
    wake: Box<dyn Fn() + Send>,
}

impl Teller {
    fn tell(&self, event: ComparisonEvent) {
        // Nobody listens any more to a comparison that was dropped.
        if self.events.send(event).is_ok() {
            (self.wake)();
        }
    }

    fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Relaxed)
    }
}

/// Compares everything and gives the last event; `None` when it was stopped.
fn run(wish: &ComparisonWish, teller: &Teller) -> Option<ComparisonEvent> {
    let engine = &teller.shared.engine;
    let open = |execution: &Execution| {
        let opened = OpenModel::open(engine, &wish.model, execution).map_err(|error| error.to_string());
        let opened = opened.and_then(|mut model| {
            model.prepare_for(engine, wish.top_k).map_err(|error| error.to_string())?;
            Ok(model)
        });
        if teller.is_stopped() { None } else { Some(opened) }
    };
    let models = match (open(&Execution::on(Provider::Cpu))?, open(&wish.other)?) {
        (Ok(reference), Ok(other)) => [reference, other],
        (Err(error), _) | (_, Err(error)) => return Some(ComparisonEvent::Failed(error)),
    };
    teller.tell(ComparisonEvent::Ready);
    for (id, spec) in &wish.images {
        let compared = compare(engine, &models, spec, wish.top_k);
        if teller.is_stopped() {
            return None;
        }
        teller.tell(match compared {
            Ok(parity) => ComparisonEvent::Compared(*id, parity),
            Err(Fault::Image(message)) => ComparisonEvent::ImageFailed(*id, message),
            Err(Fault::Model(message)) => return Some(ComparisonEvent::Failed(message)),
        });
    }
    Some(ComparisonEvent::Done)
}

/// Whose fault it is that an image cannot be compared.
enum Fault {
    Image(String),
    Model(String),
}

impl From<AnalysisError> for Fault {
    fn from(error: AnalysisError) -> Self {
        match &error {
            // What one image brought about; the next one may run.
            AnalysisError::Engine(EngineError::Run { .. }) => Self::Image(error.to_string()),
            _ => Self::Model(error.to_string()),
        }
    }
}

fn compare(
    engine: &Engine,
    [reference, other]: &[OpenModel; 2],
    spec: &ImageSpec,
    top_k: Option<usize>,
) -> Result<Parity, Fault> {
    let image = spec.decode().map_err(|error| Fault::Image(error.to_string()))?;
    let tensor = preprocess(&image, &reference.card.input).map_err(|error| Fault::Image(error.to_string()))?;
    let analyse = |model| -> Result<Analysis, AnalysisError> { analyse(engine, model, &image, &tensor, top_k) };
    let (reference, other) = (analyse(reference)?, analyse(other)?);
    Parity::of(&reference, &other).map_err(|error| Fault::Model(error.to_string()))
}
