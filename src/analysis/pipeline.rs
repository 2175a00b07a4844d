//! A model that is ready, and the way of one image through it. Synchronous and without a window: the headless commands
//! call it directly, the window from a thread of its own.

use super::{Analysis, AnalysisError, Controls, ModelVersion, ShownLayer, assemble};
use crate::engine::{
    Engine, EngineError, Execution, ModelHandle, NotStarted, Placement, Provider, RunRequest, RunResult, Tensor,
    TensorData,
};
use crate::input::{DecodedImage, InputTensor};
use crate::model::geometry::{Basis, Reason};
use crate::model::routers::RouterReport;
use crate::model::{CardSource, FixedInputCard, ModelCard, ModelDescription, ModelError, TopKInput};
use std::path::PathBuf;
use std::sync::Arc;

/// A model whose card was read and whose session is ready.
#[derive(Clone, Debug)]
pub struct OpenModel {
    /// The ONNX file.
    pub path: PathBuf,
    /// How to feed it and where its routing comes out.
    pub card: ModelCard,
    /// Where the card came from; [`CardSource::Assumed`] is to be marked wherever results are shown.
    pub card_source: CardSource,
    /// What each field of a guessed card rests on; empty for a card that came with the model.
    pub reasons: Vec<Reason>,
    /// The files that it was read from, as they were before.
    pub version: ModelVersion,
    /// What the file says about itself.
    pub description: ModelDescription,
    /// The routers that its graph has, whatever its card says.
    pub routers: Arc<RouterReport>,
    /// The layers that are shown, in the order in which they run.
    pub layers: Vec<ShownLayer>,
    /// Why routers that were found are not shown; `None` where nothing is missing.
    pub hidden_routing: Option<String>,
    /// What can be changed about its routers, beyond what its own inputs change.
    pub controls: Controls,
    /// The engine's handle.
    pub handle: ModelHandle,
    /// How it was asked to run.
    pub execution: Execution,
    /// The provider that the session was made with.
    pub provider: Provider,
    /// The providers that were tried before it, and why they did not start.
    pub not_started: Vec<NotStarted>,
    /// Which of the model's nodes run on which provider.
    pub placement: Placement,
    /// Seconds that the engine took to load it.
    pub load_secs: f64,
}

/// Why a model could not be opened.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// The file is no model that we can feed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// ONNX Runtime is missing or refused it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Our own reading of it failed in a way that nobody thought of.
    #[error(
        "{} could not be understood because of a fault in this program; please report it with the file. Nothing else was \
         harmed. A card beside the model may help: models/README.md describes it",
        .path.display()
    )]
    Fault {
        /// The file.
        path: PathBuf,
    },
}

impl OpenModel {
    /// What had to be assumed because the model has no card; `None` for a model with one.
    #[must_use]
    pub fn assumption(&self) -> Option<String> {
        let assumed = self.reasons.iter().filter(|reason| reason.basis == Basis::Assumed && !is_repeated(reason));
        let texts: Vec<&str> = assumed.map(|reason| reason.text.as_str()).collect();
        (self.card_source == CardSource::Assumed).then(|| {
            format!("This model has no card; what it says of itself was read from its graph. {}", texts.join(" "))
        })
    }

    /// The `top_k` to run with: the wish if it is possible, else the model's default; `None` for a model without the
    /// input.
    ///
    /// # Errors
    /// [`AnalysisError::FixedTopK`] or [`AnalysisError::TopKRange`] for a wish that cannot be fulfilled.
    pub fn top_k(&self, wish: Option<usize>) -> Result<Option<usize>, AnalysisError> {
        match (&self.card.top_k, wish) {
            (Some(card), None) => Ok(Some(card.default)),
            (Some(card), Some(top_k)) if (card.min..=card.max).contains(&top_k) => Ok(wish),
            (Some(card), Some(top_k)) => Err(AnalysisError::TopKRange { top_k, min: card.min, max: card.max }),
            (None, None) => Ok(None),
            (None, Some(top_k)) => Err(AnalysisError::FixedTopK { top_k }),
        }
    }

    /// The graph's inputs by name for one image. `top_k` is one that [`top_k`](Self::top_k) gave.
    #[must_use]
    pub fn inputs(&self, tensor: &InputTensor, top_k: Option<usize>) -> Vec<Tensor> {
        let image = Tensor {
            name: self.card.input.name.clone(),
            shape: tensor.shape.to_vec(),
            data: TensorData::F32(Arc::clone(&tensor.data).into()),
        };
        let top_k = self.card.top_k.as_ref().zip(top_k).map_or_else(Vec::new, |(card, top_k)| match &card.input {
            TopKInput::Edited => self.controls.top_k_inputs(top_k),
            TopKInput::Graph(name) => {
                vec![Tensor { name: name.clone(), shape: vec![1], data: TensorData::I64([top_k as i64].into()) }]
            }
        });
        let fixed = self.card.inputs.iter().map(|fixed| self.fixed_input(fixed));
        [image].into_iter().chain(top_k).chain(fixed).collect()
    }

    /// A further input with the values that the card gives it; the engine makes them what the graph takes.
    fn fixed_input(&self, fixed: &FixedInputCard) -> Tensor {
        let input = self.description.inputs.iter().find(|input| input.name == fixed.name);
        let is_float = input.is_some_and(|input| input.element.contains("float"));
        let values = fixed.values();
        let data = match is_float {
            true => TensorData::F32(values.map(|value| value as f32).collect::<Vec<_>>().into()),
            false => TensorData::I64(values.map(|value| value as i64).collect::<Vec<_>>().into()),
        };
        Tensor { name: fixed.name.clone(), shape: fixed.shape.clone(), data }
    }

    /// Runs the model on one image and gives its outputs as they are.
    ///
    /// # Errors
    /// [`AnalysisError::Engine`], or a `top_k` that this model cannot run with.
    pub fn run(&self, engine: &Engine, tensor: &InputTensor, top_k: Option<usize>) -> Result<RunResult, AnalysisError> {
        let inputs = self.inputs(tensor, self.top_k(top_k)?);
        Ok(engine.run(&RunRequest { model: self.handle, inputs })?)
    }
}

/// Of layers that are alike the first speaks for all.
fn is_repeated(reason: &Reason) -> bool {
    reason.field.starts_with("layers[") && !reason.field.starts_with("layers[0]")
}

/// Runs `model` on one preprocessed image and measures what its routers did; blocks until it is done. `top_k` of `None`
/// is the model's default. [`Analysis::seconds`] has inference and statistics; the caller adds decoding and
/// preprocessing where it did them.
///
/// # Errors
/// [`AnalysisError`]: the run failed or was cancelled, or the outputs do not fit the card.
pub fn analyse(
    engine: &Engine,
    model: &OpenModel,
    image: &Arc<DecodedImage>,
    tensor: &InputTensor,
    top_k: Option<usize>,
) -> Result<Analysis, AnalysisError> {
    let top_k = model.top_k(top_k)?;
    let run = model.run(engine, tensor, top_k)?;
    assemble(&model.card, &model.layers, image, tensor, top_k, &run)
}
