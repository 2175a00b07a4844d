//! Loads a model edited, as far as it can be proved: with all that was planned, else with nothing but more outputs.

use super::change::LayerChange;
use super::proof::{BAN, Baseline, Proof, prove};
use crate::engine::{EditedModel, Engine, EngineError, LoadRequest, Loaded, Tensor, TensorData};
use crate::model::graph::Indexed;
use crate::model::routers::RouterReport;
use crate::model::{
    ControlInput, InstrumentError, InstrumentPlan, Instrumented, Obstacle, Offer, RouterControls, instrument,
};
use crate::routing::ExpertIdx;
use bytes::Bytes;
use std::ops::RangeInclusive;

/// A model whose file was read.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// As it was loaded.
    pub request: &'a LoadRequest,
    /// The file, decoded, with the index of its graph.
    pub model: &'a Indexed<'a>,
    /// The file's content, which `model` was decoded from.
    pub file: &'a Bytes,
    /// Its routers.
    pub report: &'a RouterReport,
}

impl Original<'_> {
    /// What it gives on one input: loads it, runs it twice, and unloads it.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be loaded or run.
    pub fn baseline(&self, engine: &Engine, inputs: Vec<Tensor>) -> Result<Baseline, EngineError> {
        let handle = engine.load(&LoadRequest { edited: None, ..self.request.clone() })?.model;
        let baseline = Baseline::of(engine, handle, inputs);
        engine.unload(handle)?;
        baseline
    }
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

impl ProvedModel {
    /// The k that all routers together can be given; `None` where no k can be changed. Routers without a k, such as soft
    /// ones, do not count.
    ///
    /// # Errors
    /// Why the k of a router cannot be changed at all.
    pub fn top_k_range(&self) -> Result<Option<RangeInclusive<usize>>, Obstacle> {
        let mut most: Option<usize> = None;
        for controls in &self.instrumented.routers {
            if let Some(limit) = self.largest_top_k(controls)? {
                most = Some(most.map_or(limit, |most| most.min(limit)));
            }
        }
        Ok(most.map(|most| 1..=most))
    }

    /// The inputs with which every router that has a k takes `top_k` experts: by its k where that became an input, else by
    /// leaving out the ranks behind.
    ///
    /// # Errors
    /// Why a router cannot.
    pub fn with_top_k(&self, top_k: usize) -> Result<Vec<Tensor>, Obstacle> {
        let mut inputs: Vec<Tensor> = Vec::new();
        for controls in &self.instrumented.routers {
            let Some(most) = self.largest_top_k(controls)? else { continue };
            if !(1..=most).contains(&top_k) {
                return Err(controls.top_k.clone().err().unwrap_or(Obstacle::OutOfRange { most }));
            }
            let of_k = self.instrumented.input(&controls.top_k).map(|input| (input, vec![top_k as i64].into()));
            let tensor = of_k.map(|(input, k)| (input, TensorData::I64(k))).or_else(|| {
                let ranks = self.instrumented.input(&controls.rank_weights)?;
                let weights = (0..ranks.control.most()).map(|rank| if rank < top_k { 1.0 } else { 0.0 });
                Some((ranks, TensorData::F32(weights.collect::<Vec<f32>>().into())))
            });
            let Some((input, data)) = tensor else { continue };
            if !inputs.iter().any(|other| other.name == input.name) {
                inputs.push(Tensor { name: input.name.clone(), shape: vec![data.len()], data });
            }
        }
        Ok(inputs)
    }

    /// Adds the inputs that change one router to `inputs`, which may leave ranks of it out already.
    ///
    /// # Errors
    /// Why a control that the change needs does not exist.
    pub fn add_change(&self, inputs: &mut Vec<Tensor>, router: usize, change: &LayerChange) -> Result<(), Obstacle> {
        let controls = self.instrumented.routers.get(router).ok_or(Obstacle::Unseen)?;
        if !change.banned.is_empty() {
            let bias = self.input_of(&controls.selection_bias)?;
            let of_expert = |expert| if change.banned.contains(&ExpertIdx(expert as u32)) { BAN } else { 0.0 };
            inputs.push(floats(bias, (0..bias.control.most()).map(of_expert)));
        }
        if !change.left_out.is_empty() {
            let ranks = self.input_of(&controls.rank_weights)?;
            let given = inputs.iter().position(|input| input.name == ranks.name).map(|at| inputs.swap_remove(at).data);
            let before = given.as_ref().map(TensorData::to_floats);
            let before = |rank: usize| before.as_ref().and_then(|given| given.get(rank)).copied().unwrap_or(1.0);
            let of_rank = |rank| if change.left_out.contains(&rank) { 0.0 } else { before(rank) };
            inputs.push(floats(ranks, (0..ranks.control.most()).map(of_rank)));
        }
        Ok(())
    }

    fn input_of(&self, offer: &Offer) -> Result<&ControlInput, Obstacle> {
        let index = offer.clone()?;
        self.instrumented.inputs.get(index).ok_or(Obstacle::Unseen)
    }

    /// The largest k of one router; `None` where it has none.
    fn largest_top_k(&self, controls: &RouterControls) -> Result<Option<usize>, Obstacle> {
        match (&controls.top_k, &controls.rank_weights, controls.own_top_k) {
            (Ok(index), ..) => Ok(self.instrumented.inputs.get(*index).map(|input| input.control.most())),
            (Err(_), Ok(_), Some(own)) => Ok(Some(own)),
            (Err(Obstacle::NoChoice | Obstacle::ByScores | Obstacle::OfTokens), ..) => Ok(None),
            (Err(Obstacle::BestOnly), ..) => Ok(Some(1)),
            (Err(why), ..) => Err(why.clone()),
        }
    }
}

fn floats(input: &ControlInput, values: impl Iterator<Item = f32>) -> Tensor {
    let values: Vec<f32> = values.collect();
    Tensor { name: input.name.clone(), shape: vec![values.len()], data: TensorData::F32(values.into()) }
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

/// Edits a model, loads it, and proves it against what the original gives. Where the controls keep it from being proved,
/// it comes with the outputs of the plan alone.
///
/// # Errors
/// [`EditError`]; then only the original can be used.
pub fn load_proved(
    engine: &Engine,
    original: &Original<'_>,
    plan: &InstrumentPlan,
    baseline: &Baseline,
) -> Result<ProvedModel, EditError> {
    if plan.operator_top_k.is_some() {
        return with_operator_top_k(engine, original, plan, baseline);
    }
    match attempt(engine, original, plan, baseline) {
        Err(EditError::Unproved(reason)) if *plan != InstrumentPlan::only(plan.expose.clone()) => {
            let outputs = InstrumentPlan::only(plan.expose.clone());
            let mut proved = attempt(engine, original, &outputs, baseline)?;
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

/// Proves everything but the k of operators, which changes what the model computes, and loads it with that.
fn with_operator_top_k(
    engine: &Engine,
    original: &Original<'_>,
    plan: &InstrumentPlan,
    baseline: &Baseline,
) -> Result<ProvedModel, EditError> {
    let with_own = InstrumentPlan { operator_top_k: None, ..plan.clone() };
    let mut proved = load_proved(engine, original, &with_own, baseline)?;
    engine.unload(proved.loaded.model)?;
    let (loaded, other) = load_with_operator_top_k(engine, original, plan)?;
    (proved.loaded, proved.instrumented.model) = (loaded, other.model);
    Ok(proved)
}

/// Loads a model with another k in its operators. Nothing is proved: the same plan without that k has to be already.
pub(super) fn load_with_operator_top_k(
    engine: &Engine,
    original: &Original<'_>,
    plan: &InstrumentPlan,
) -> Result<(Loaded, Instrumented), EditError> {
    let path = &original.request.model;
    let other = instrument(original.model, original.file, path, original.report, plan)?;
    let edited = Some(EditedModel(other.encode()));
    let loaded = engine.load(&LoadRequest { edited, ..original.request.clone() })?;
    Ok((loaded, other))
}

fn attempt(
    engine: &Engine,
    original: &Original<'_>,
    plan: &InstrumentPlan,
    baseline: &Baseline,
) -> Result<ProvedModel, EditError> {
    let mut instrumented = instrument(original.model, original.file, &original.request.model, original.report, plan)?;
    let request = LoadRequest { edited: Some(EditedModel(instrumented.encode())), ..original.request.clone() };
    let loaded = engine.load(&request).map_err(|error| match error {
        EngineError::Load { reason, .. } => {
            EditError::Unproved(format!("ONNX Runtime does not take the edited model ({reason})."))
        }
        other => other.into(),
    })?;
    let proved = prove(engine, baseline, loaded.model, &instrumented).map_err(EditError::from);
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
