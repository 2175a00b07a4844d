//! A model that is ready, and the way of one image through it. Synchronous and without a window: the headless commands
//! call it directly, the window from a thread of its own.

use super::layers::LayerPlan;
use super::{Analysis, AnalysisError, ModelVersion, ShownLayer, assemble};
use crate::engine::{
    EditedModel, Engine, EngineError, Execution, LoadRequest, ModelHandle, NotStarted, Placement, Provider, RunRequest,
    RunResult, Tensor, TensorData,
};
use crate::input::{DecodedImage, InputTensor};
use crate::model::geometry::Reason;
use crate::model::routers::{RouterReport, routers_of};
use crate::model::{
    CardSource, FixedInputCard, ModelCard, ModelDescription, ModelError, decode_model, map_file, sidecar_path,
};
use std::path::{Path, PathBuf};
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
}

impl OpenModel {
    /// Reads the file and its card, then has the engine load it; blocks until it is ready.
    ///
    /// # Errors
    /// [`OpenError::Model`] before ONNX Runtime sees the file, else [`OpenError::Engine`].
    pub fn open(engine: &Engine, path: &Path, execution: &Execution) -> Result<Self, OpenError> {
        // A cancel that comes while we still read the file counts as well.
        let since = engine.ticket();
        // Looked at before anything is read: what is written meanwhile counts as a change.
        let version = ModelVersion::look(path, [sidecar_path(path)]);
        let file = map_file(path)?;
        let model = decode_model(path, &file)?;
        let description = ModelDescription::of(path, file.len() as u64, &model);
        let routers = Arc::new(routers_of(&model));
        let (card, card_source, reasons) = description.card_or_guess(&model, &routers)?;
        let version = version.with(description.external_files.iter().cloned());
        let plan = LayerPlan::new(&card, &routers, &description);
        let load = |edited| {
            let weights = description.external_files.clone();
            let request = LoadRequest { edited, weights, ..LoadRequest::new(path, execution.clone()) };
            engine.load_since(since, &request)
        };
        let (layers, loaded, hidden_routing) = match plan.shown(&model, &file, path) {
            Ok((layers, None)) => (layers, load(None), None),
            Ok((layers, Some(edited))) => match load(Some(EditedModel(edited))) {
                // The model may be one that runs, only not with its routing shown.
                Err(EngineError::Load { reason, .. }) => (plan.without_edit(), load(None), Some(reason)),
                loaded => (layers, loaded, None),
            },
            Err(error) => (plan.without_edit(), load(None), Some(error.to_string())),
        };
        let loaded = loaded.map_err(|error| explained(error, &description))?;
        Ok(Self {
            path: path.to_path_buf(),
            card,
            card_source,
            reasons,
            version,
            description,
            routers,
            layers,
            hidden_routing,
            handle: loaded.model,
            execution: execution.clone(),
            provider: loaded.provider,
            not_started: loaded.not_started,
            placement: loaded.placement,
            load_secs: loaded.load_secs,
        })
    }

    /// What had to be assumed because the model has no card; `None` for a model with one.
    #[must_use]
    pub fn assumption(&self) -> Option<&str> {
        (self.card_source == CardSource::Assumed).then_some(self.card.description.as_str())
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
        let top_k = self.card.top_k.as_ref().zip(top_k).map(|(card, top_k)| Tensor {
            name: card.input.clone(),
            shape: vec![1],
            data: TensorData::I64([top_k as i64].into()),
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

/// Why ONNX Runtime refused a model, told by what the file has that it does not take, where that is known: ONNX Runtime
/// itself names the first such thing only.
fn explained(error: EngineError, description: &ModelDescription) -> OpenError {
    match (&error, description.unsupported()) {
        (EngineError::Load { .. }, Some(unsupported)) => unsupported.into(),
        _ => error.into(),
    }
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
