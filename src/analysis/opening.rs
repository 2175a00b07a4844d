//! From a file to a model that runs and shows its routing.
//!
//! The file is read and understood by our own parser first. ONNX Runtime then loads it as it is, and, where routers have to
//! be made visible, edited as well; what was edited counts only once it has been proved to compute the same
//! ([`load_proved`]). Whatever goes wrong with the edit, the model itself still opens.

use super::controls::Controls;
use super::edited::{EditError, Original, load_proved};
use super::layers::LayerPlan;
use super::{Baseline, ModelVersion, OpenError, OpenModel, ShownLayer};
use crate::engine::{EditedModel, Engine, EngineError, Execution, LoadRequest, Loaded, Tensor};
use crate::input::{DecodedImage, ImageSource, preprocess};
use crate::model::geometry::{Geometry, Reason, guess_in};
use crate::model::graph::Indexed;
use crate::model::proto::ModelProto;
use crate::model::routers::{RouterReport, routers_in};
use crate::model::{
    CardSource, InstrumentPlan, Instrumented, ModelCard, ModelDescription, ModelError, decode_model, instrument,
    map_file, sidecar_path,
};
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

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
        let (file, model) = guarded(path, || read(path))??;
        let model = guarded(path, || Indexed::new(&model))?;
        let Understood { description, routers, card, card_source, reasons, mut plan } =
            guarded(path, || Understood::of(path, &file, &model))??;
        let version = version.with(description.external_files.iter().cloned());
        let looked_up = plan.look_up(&model);
        let weights = description.external_files.clone();
        let request = LoadRequest { weights, ..LoadRequest::new(path, execution.clone()) };
        let loaded = engine.load_since(since, &request).map_err(|error| explained(error, &description))?;
        let load_secs = loaded.load_secs;
        let mut opened = Self {
            path: path.to_path_buf(),
            card,
            card_source,
            reasons,
            version,
            description,
            routers: Arc::clone(&routers),
            layers: plan.without_edit(),
            hidden_routing: None,
            controls: Controls::default(),
            handle: loaded.model,
            execution: execution.clone(),
            provider: loaded.provider,
            not_started: loaded.not_started,
            placement: loaded.placement,
            load_secs,
        };
        if plan.needs_edit() {
            let original = Original { request: &request, model: &model, file: &file, report: &routers };
            if let Err(error) = opened.show_routing(engine, &original, &plan, looked_up) {
                engine.unload(opened.handle)?;
                return Err(error.into());
            }
        }
        Ok(opened)
    }

    /// Puts an edited model in the place of the original, one whose outputs carry the routing. A layer that a person chose
    /// and that cannot be shown does not keep the others from it. `looked_up` tells of layers whose tensors are not there.
    fn show_routing(
        &mut self,
        engine: &Engine,
        original: &Original<'_>,
        plan: &LayerPlan,
        looked_up: Result<(), String>,
    ) -> Result<(), EngineError> {
        let shown = match looked_up {
            Ok(()) => self.show_plan(engine, original, plan)?,
            Err(missing) => Err(missing),
        };
        let Err(reason) = shown else { return Ok(()) };
        let Some((rest, chosen)) = plan.without_chosen() else {
            self.hide(reason);
            return Ok(());
        };
        let reason = format!("{chosen}, chosen by hand: {reason}");
        let others = if rest.needs_edit() { self.show_plan(engine, original, &rest)? } else { Ok(()) };
        match others {
            Ok(()) => self.hidden_routing = Some(reason),
            Err(others) => self.hide(format!("{reason} {others}")),
        }
        Ok(())
    }

    /// The same for one plan; or why its layers cannot be shown.
    fn show_plan(
        &mut self,
        engine: &Engine,
        original: &Original<'_>,
        plan: &LayerPlan,
    ) -> Result<Result<(), String>, EngineError> {
        let everything = InstrumentPlan::everything(plan.tensors());
        let baseline = Baseline::of(engine, self.handle, self.probe()).map_err(EditError::from);
        match baseline.and_then(|baseline| load_proved(engine, original, &everything, &baseline)) {
            Ok(proved) => {
                self.take(engine, proved.loaded.clone(), plan.shown(&proved.instrumented.outputs))?;
                self.controls = Controls::of(proved, &self.routers, &mut self.card);
            }
            // Nothing can be proved of a model that draws random numbers, or that runs on some images only, as exports do
            // whose experts were fixed while tracing.
            Err(error @ (EditError::Random | EditError::Engine(EngineError::Run { .. }))) => {
                match shown_unproved(engine, original, plan) {
                    Ok((loaded, instrumented)) => {
                        self.take(engine, loaded, plan.shown(&instrumented.outputs))?;
                        self.controls = Controls::none(error.to_string());
                    }
                    Err(reason) => return Ok(Err(reason)),
                }
            }
            Err(EditError::Engine(error @ (EngineError::Cancelled | EngineError::Gone))) => return Err(error),
            Err(error) => return Ok(Err(error.to_string())),
        }
        Ok(Ok(()))
    }

    /// Routing that could not be made visible can not be changed either.
    fn hide(&mut self, reason: String) {
        self.controls = Controls::none(reason.clone());
        self.hidden_routing = Some(reason);
    }

    /// Runs by another session from now on.
    fn take(&mut self, engine: &Engine, loaded: Loaded, layers: Vec<ShownLayer>) -> Result<(), EngineError> {
        engine.unload(self.handle)?;
        self.handle = loaded.model;
        self.provider = loaded.provider;
        self.placement = loaded.placement;
        self.load_secs += loaded.load_secs;
        self.layers = layers;
        Ok(())
    }

    /// Inputs to prove an edit on: an image of noise has something of everything.
    pub(super) fn probe(&self) -> Vec<Tensor> {
        let (width, height) = (self.card.input.width, self.card.input.height);
        let mut state = 0x2545_f491_u32;
        let mut byte = || {
            // Marsaglia's xorshift
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 24) as u8
        };
        let rgba = (0..width * height).flat_map(|_| [byte(), byte(), byte(), u8::MAX]).collect();
        let image = DecodedImage { source: ImageSource::Clipboard(0), width, height, rgba };
        preprocess(&image, &self.card.input).map_or_else(|_| Vec::new(), |tensor| self.inputs(&tensor, None))
    }
}

/// A file, and the model that our own parser makes of it.
pub(super) fn read(path: &Path) -> Result<(Bytes, ModelProto), ModelError> {
    let file = map_file(path)?;
    let model = decode_model(path, &file)?;
    Ok((file, model))
}

/// What a file says.
struct Understood {
    description: ModelDescription,
    routers: Arc<RouterReport>,
    card: ModelCard,
    card_source: CardSource,
    reasons: Vec<Reason>,
    plan: LayerPlan,
}

impl Understood {
    fn of(path: &Path, file: &Bytes, model: &Indexed<'_>) -> Result<Self, ModelError> {
        let description = ModelDescription::of(path, file.len() as u64, model.model());
        let routers = Arc::new(routers_in(model));
        let (mut card, card_source, reasons) = description.card_or_guess_in(model, &routers)?;
        if card.layers.is_empty() && !routers.routers.is_empty() {
            let guessed = guess_in(&description, model, &routers);
            card = guessed.map_or(card.clone(), |guessed| with_layers_found(card, guessed));
        }
        let mut plan = LayerPlan::new(&card, &routers, &description);
        if let Ok(graph) = model.graph() {
            plan.locate(graph, &routers);
        }
        Ok(Self { description, routers, card, card_source, reasons, plan })
    }
}

/// A graph of unknown origin may find a fault of ours; it must not end the program, nor the thread that serves the window.
fn guarded<T>(path: &Path, understand: impl FnOnce() -> T) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(understand)).map_err(|_| OpenError::Fault { path: path.to_owned() })
}

/// A model with its routing as outputs, where no run of it can be compared with another.
fn shown_unproved(
    engine: &Engine,
    original: &Original<'_>,
    plan: &LayerPlan,
) -> Result<(Loaded, Instrumented), String> {
    let outputs = InstrumentPlan::only(plan.tensors());
    let instrumented = instrument(original.model, original.file, &original.request.model, original.report, &outputs)
        .map_err(|error| error.to_string())?;
    let request = LoadRequest { edited: Some(EditedModel(instrumented.encode())), ..original.request.clone() };
    let loaded = engine.load(&request).map_err(|error| error.to_string())?;
    Ok((loaded, instrumented))
}

/// A card that says how the model is fed and nothing of its routers: where their tokens lie, the graph says.
fn with_layers_found(mut card: ModelCard, guessed: Geometry) -> ModelCard {
    let grid = guessed.card.grid;
    card.layers = guessed.card.layers;
    for layer in &mut card.layers {
        layer.grid.get_or_insert_with(|| grid.clone());
    }
    card
}

/// Why ONNX Runtime refused a model, told by what the file has that it does not take, where that is known: ONNX Runtime
/// itself names the first such thing only.
fn explained(error: EngineError, description: &ModelDescription) -> OpenError {
    match (&error, description.unsupported()) {
        (EngineError::Load { .. }, Some(unsupported)) => unsupported.into(),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_ours_is_told_as_an_error() {
        let fault = guarded(Path::new("odd.onnx"), || -> u8 { panic!("a fault") }).unwrap_err();
        assert!(fault.to_string().contains("odd.onnx") && fault.to_string().contains("card"), "{fault}");
        assert_eq!(guarded(Path::new("plain.onnx"), || 3), Ok(3));
    }
}
