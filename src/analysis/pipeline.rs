//! A model that is ready, and the way of one image through it. Synchronous and without a window: the headless commands
//! call it directly, the window from a thread of its own.

use super::change::{ChangeError, RoutingChange};
use super::{Analysis, AnalysisError, Controls, ModelVersion, ShownLayer, assemble};
use crate::engine::{
    Engine, EngineError, Execution, ModelHandle, NotStarted, Placement, Provider, RunRequest, RunResult, Tensor,
    TensorData,
};
use crate::input::{DecodedImage, InputTensor};
use crate::model::geometry::{Basis, Reason};
use crate::model::routers::RouterReport;
use crate::model::{CardSource, FixedInputCard, ModelCard, ModelDescription, ModelError};
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
    /// What each field of a guessed card rests on; of a card that came with the model, what nobody looked at yet.
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
    /// The engine's handle of the session that runs the model as it is.
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

/// What a model is run with, beside an image. The default is the model as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setting {
    /// Experts per token; `None` is the model's default.
    pub top_k: Option<usize>,
    /// What is changed about its routing.
    pub change: RoutingChange,
}

impl Setting {
    /// The model as it is, but for its k.
    #[must_use]
    pub fn of_top_k(top_k: Option<usize>) -> Self {
        Self { top_k, ..Self::default() }
    }
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
    /// Whether both are one and the same opened model, of which more may be known in one of them.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.handle == other.handle && self.version == other.version
    }

    /// What had to be assumed because the model has no card, or one that nobody looked at; else `None`.
    #[must_use]
    pub fn assumption(&self) -> Option<String> {
        const MOST: usize = 16;
        let assumed = self.reasons.iter().filter(|reason| reason.basis == Basis::Assumed && !is_repeated(reason));
        let mut texts: Vec<&str> = assumed.map(|reason| reason.text.as_str()).collect();
        // Mean and deviation rest on the same.
        texts.dedup();
        // A model may have thousands of inputs; nobody would read of each.
        let more = texts.len().saturating_sub(MOST);
        texts.truncate(MOST);
        let more = (more > 0).then(|| format!("And {more} more."));
        texts.extend(more.as_deref());
        match (&self.card_source, texts.is_empty()) {
            (CardSource::Assumed, _) => {
                let read = "This model has no card; what it says of itself was read from its graph.";
                Some(format!("{read} {}", texts.join(" ")))
            }
            (_, false) => Some(format!("Parts of this model's card were assumed: {}", texts.join(" "))),
            (_, true) => None,
        }
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
            (None, Some(top_k)) => {
                let reason = self.controls.top_k_obstacle.clone();
                Err(AnalysisError::FixedTopK { top_k, reason: reason.unwrap_or_default() })
            }
        }
    }

    /// The graph's own inputs by name for one image. `top_k` is one that [`top_k`](Self::top_k) gave, for a model that has
    /// an input for it.
    pub(super) fn inputs(&self, tensor: &InputTensor, top_k: Option<usize>) -> Vec<Tensor> {
        let image = Tensor {
            name: self.card.input.name.clone(),
            shape: tensor.shape.to_vec(),
            data: TensorData::F32(Arc::clone(&tensor.data).into()),
        };
        let name = self.card.top_k.as_ref().and_then(|card| card.input.name());
        let top_k = name.zip(top_k).map(|(name, top_k)| Tensor {
            name: name.to_owned(),
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

    /// What the engine is asked for to run the model on one image. A session that the setting needs is loaded, and proved,
    /// when it is first asked for.
    ///
    /// # Errors
    /// [`AnalysisError::Engine`], or a setting that this model cannot run with.
    pub fn request(
        &self,
        engine: &Engine,
        tensor: &InputTensor,
        setting: &Setting,
    ) -> Result<RunRequest, AnalysisError> {
        let top_k = self.top_k(setting.top_k)?;
        let mut inputs = self.inputs(tensor, top_k);
        let model = self.session_for(engine, top_k, &setting.change, &mut inputs)?;
        Ok(RunRequest { model, inputs })
    }

    /// The setting with the k that the model will run with. A session that it needs is loaded, and proved.
    ///
    /// # Errors
    /// Those of [`request`](Self::request).
    pub fn checked(&self, engine: &Engine, setting: Setting) -> Result<Setting, AnalysisError> {
        let top_k = self.top_k(setting.top_k)?;
        self.session_for(engine, top_k, &setting.change, &mut Vec::new())?;
        Ok(Setting { top_k, ..setting })
    }

    /// The session that runs with a setting; inputs that it needs are added to those of the model as it is.
    fn session_for(
        &self,
        engine: &Engine,
        top_k: Option<usize>,
        change: &RoutingChange,
        inputs: &mut Vec<Tensor>,
    ) -> Result<ModelHandle, AnalysisError> {
        let other_k = self.edited_top_k(top_k).filter(|_| !self.controls.top_k_in_nodes());
        if change.is_none() && other_k.is_none() {
            return self.session_at(engine, top_k);
        }
        let refused = |reason| ChangeError::Model { reason };
        let proved = self.changeable(engine)?.map_err(refused)?;
        if let Some(top_k) = other_k {
            inputs.extend(proved.with_top_k(top_k).map_err(|obstacle| refused(obstacle.to_string()))?);
        }
        self.add_change(&proved, inputs, top_k, change)?;
        Ok(proved.loaded.model)
    }

    /// What a run of one image with `setting` gave: predictions, routing and every statistic of it. The seconds of decoding
    /// and preprocessing are left at 0 for the caller to fill in.
    ///
    /// # Errors
    /// Every [`AnalysisError`] about outputs and routing: the card and the model do not fit together.
    pub fn read(
        &self,
        image: &Arc<DecodedImage>,
        tensor: &InputTensor,
        setting: Setting,
        run: &RunResult,
    ) -> Result<Analysis, AnalysisError> {
        let top_k = setting.top_k;
        let layers = self.layers.iter().enumerate().map(|(at, layer)| (layer, self.ranks_at(at, top_k)));
        assemble(&self.card, layers, image, tensor, setting, run)
    }

    /// Runs the model on one image and gives its outputs as they are.
    ///
    /// # Errors
    /// Those of [`request`](Self::request).
    pub fn run(&self, engine: &Engine, tensor: &InputTensor, setting: &Setting) -> Result<RunResult, AnalysisError> {
        Ok(engine.run(&self.request(engine, tensor, setting)?)?)
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
    analyse_with(engine, model, image, tensor, &Setting::of_top_k(top_k))
}

/// The same with any setting.
///
/// # Errors
/// Those of [`analyse`], and [`AnalysisError::Change`] where the routing cannot be changed as the setting says.
pub fn analyse_with(
    engine: &Engine,
    model: &OpenModel,
    image: &Arc<DecodedImage>,
    tensor: &InputTensor,
    setting: &Setting,
) -> Result<Analysis, AnalysisError> {
    let setting = Setting { top_k: model.top_k(setting.top_k)?, change: setting.change.clone() };
    let run = model.run(engine, tensor, &setting)?;
    model.read(image, tensor, setting, &run)
}
