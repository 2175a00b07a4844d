//! Loads a model edited, as far as it can be proved: with all that was planned, else with nothing but more outputs.

use super::proof::{Proof, prove};
use crate::engine::{EditedModel, Engine, EngineError, LoadRequest, Loaded, ModelHandle, Tensor};
use crate::model::proto::ModelProto;
use crate::model::routers::RouterReport;
use crate::model::{InstrumentError, InstrumentPlan, Instrumented, Obstacle, instrument};
use bytes::Bytes;

/// A model whose file was read and whose session is ready.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// As it was loaded.
    pub request: &'a LoadRequest,
    /// The session of the file as it is.
    pub handle: ModelHandle,
    /// The file, decoded.
    pub model: &'a ModelProto,
    /// The file's content, which `model` was decoded from.
    pub file: &'a Bytes,
    /// Its routers.
    pub report: &'a RouterReport,
}

/// An edited model that is loaded and proved.
#[derive(Clone, Debug)]
pub struct ProvedModel {
    /// Its session.
    pub loaded: Loaded,
    /// Its outputs, and its controls; those that could not be proved are taken back, with the reason.
    pub instrumented: Instrumented,
    /// What the proof gave.
    pub proof: Proof,
}

/// Why a model cannot be used edited.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EditError {
    /// The plan does not fit the model.
    #[error(transparent)]
    Instrument(#[from] InstrumentError),
    /// The model cannot be run, edited or not.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The edited model does not compute what the original does.
    #[error("{0}")]
    Unproved(String),
    /// The original draws random numbers: more outputs can be had from [`instrument`], but nothing can be proved.
    #[error("The model draws random numbers, so that no two runs agree and nothing can be proved.")]
    Random,
}

/// Edits a model, loads it beside the original, and proves it on one input. Where the controls keep it from being
/// proved, it comes with the outputs of the plan alone.
///
/// # Errors
/// [`EditError`]; then only the original can be used.
pub fn load_proved(
    engine: &Engine,
    original: &Original<'_>,
    plan: &InstrumentPlan,
    inputs: &[Tensor],
) -> Result<ProvedModel, EditError> {
    match attempt(engine, original, plan, inputs) {
        Err(EditError::Unproved(reason)) if *plan != InstrumentPlan::only(plan.expose.clone()) => {
            let outputs = InstrumentPlan::only(plan.expose.clone());
            let mut proved = attempt(engine, original, &outputs, inputs)?;
            let refused = || Err(Obstacle::Unproved { reason: reason.clone() });
            for router in &mut proved.instrumented.routers {
                for offer in [&mut router.top_k, &mut router.selection_bias, &mut router.rank_weights] {
                    if *offer == Err(Obstacle::NotPlanned) {
                        *offer = refused();
                    }
                }
            }
            Ok(proved)
        }
        result => result,
    }
}

fn attempt(
    engine: &Engine,
    original: &Original<'_>,
    plan: &InstrumentPlan,
    inputs: &[Tensor],
) -> Result<ProvedModel, EditError> {
    let mut instrumented = instrument(original.model, original.file, &original.request.model, original.report, plan)?;
    let request = LoadRequest { edited: Some(EditedModel(instrumented.encode())), ..original.request.clone() };
    let loaded = engine.load(&request).map_err(|error| match error {
        EngineError::Load { reason, .. } => {
            EditError::Unproved(format!("ONNX Runtime does not take the edited model ({reason})."))
        }
        other => other.into(),
    })?;
    let proved = prove(engine, original.handle, loaded.model, &instrumented, inputs).map_err(EditError::from);
    let proved = proved.and_then(|proof| match &proof.unchanged {
        Ok(_) => Ok(proof),
        Err(_) if proof.is_random => Err(EditError::Random),
        Err(reason) => Err(EditError::Unproved(reason.clone())),
    });
    match proved {
        Ok(proof) => {
            proof.withdraw_from(&mut instrumented);
            Ok(ProvedModel { loaded, instrumented, proof })
        }
        Err(error) => {
            engine.unload(loaded.model)?;
            Err(error)
        }
    }
}
