//! Changes what a model shows and how it routes, without touching its file and without copying its weights.
//!
//! Few models were exported with a way to look at their routers or to change them, and a person should not have to export
//! one again for that. So inner tensors become outputs, a constant k becomes an input, and the choice and the weights of
//! experts get inputs that leave everything as it is until they are given other values. The edited model is small: its
//! weights stay in the original file (`weights`).
//!
//! What an exporter baked into shapes cannot be seen from here with certainty: nothing that is offered here is to be
//! believed before [`crate::analysis::prove`] has run it.

mod choice;
mod controls;
mod inputs;
mod outputs;
mod places;
mod plan;
mod rewrite;
#[cfg(test)]
mod tests;
mod weights;

pub use plan::{Control, ControlInput, InstrumentPlan, Instrumented, Obstacle, Offer, RouterControls, TopKInputs};

use super::graph::Indexed;
use super::proto::{ModelProto, ValueInfoProto};
use super::routers::{RouterReport, TensorRef};
use bytes::Bytes;
use prost::Message;
use std::path::Path;

/// A model with more outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposed {
    /// To be loaded in place of the original file (`engine::LoadRequest::edited`), whose weights it uses.
    pub model: ModelProto,
    /// For each tensor that was asked for, the output that gives it.
    pub outputs: Vec<String>,
}

/// Why a tensor cannot become an output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstrumentError {
    /// The place does not exist in this model.
    #[error("{tensor} is not where it was found ({place}); look for the routers of this model again")]
    Place {
        /// The tensor.
        tensor: String,
        /// The call or body that is missing.
        place: String,
    },
    /// The tensor has no name.
    #[error("the model leaves the tensor out; it cannot be shown")]
    Nameless,
    /// Weights inside a file are found again by its name.
    #[error("the file's name is no Unicode text, so that its weights could not be found again; rename it")]
    FileName,
}

/// Makes `tensors` outputs of `model`, which was decoded from `file`, the content of the file at `path`.
///
/// A tensor in the body of a loop comes with one more axis in front, for the iterations.
///
/// # Errors
/// [`InstrumentError`] for a tensor that is not in this model.
pub fn expose(
    model: &ModelProto,
    file: &Bytes,
    path: &Path,
    tensors: &[&TensorRef],
) -> Result<Exposed, InstrumentError> {
    let mut model = model.clone();
    weights::point_at_file(&mut model, file, path)?;
    let mut graph = model.graph.take().unwrap_or_default();
    let mut outputs = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let name = outputs::hand_out(&mut graph.node, &mut model.functions, tensor, &tensor.place)?;
        if !graph.output.iter().any(|output| output.name == name) {
            graph.output.push(ValueInfoProto { name: name.clone(), ..Default::default() });
        }
        outputs.push(name);
    }
    model.graph = Some(graph);
    Ok(Exposed { model, outputs })
}

/// Makes the tensors of `plan` outputs of `source`, which was decoded from `file`, the content of the file at `path`, and
/// adds the controls of `plan` to the routers of `report`, where that is possible.
///
/// Every control is an input with a default, with which the model computes what it did before.
///
/// # Errors
/// [`InstrumentError`] for a tensor or router that is not in this model.
pub fn instrument(
    source: &Indexed<'_>,
    file: &Bytes,
    path: &Path,
    report: &RouterReport,
    plan: &InstrumentPlan,
) -> Result<Instrumented, InstrumentError> {
    let tensors: Vec<&TensorRef> = plan.expose.iter().chain(needed(report, plan)).collect();
    let Exposed { model: mut edited, mut outputs } = expose(source.model(), file, path, &tensors)?;
    // A model whose graph cannot be looked at has no routers that are known.
    let Ok(graph) = source.graph() else {
        outputs.truncate(plan.expose.len());
        return Ok(Instrumented { model: edited, outputs, inputs: Vec::new(), routers: Vec::new(), is_half: false });
    };
    let (inputs, mut routers) = controls::add_controls(&mut edited, graph, report, plan)?;
    for (controls, router) in routers.iter_mut().zip(&report.routers) {
        let exposed = |tensor: &Option<TensorRef>| {
            let tensor = tensor.as_ref().filter(|tensor| ranks_last(tensor))?;
            let index = tensors.iter().position(|exposed| *exposed == tensor)?;
            Some(outputs[index].clone())
        };
        controls.expert_ids = exposed(&router.tensors.expert_ids);
        controls.combine_weights = exposed(&router.tensors.combine_weights);
    }
    outputs.truncate(plan.expose.len());
    let is_half = choice::computes_in_half(graph);
    Ok(Instrumented { model: edited, outputs, inputs, routers, is_half })
}

/// What a proof of the plan's controls looks at.
fn needed<'r>(report: &'r RouterReport, plan: &InstrumentPlan) -> impl Iterator<Item = &'r TensorRef> {
    let controls = plan.top_k != TopKInputs::None || plan.selection_bias || plan.rank_weights;
    let routers = report.routers.iter().filter(move |_| controls);
    let tensors = routers.flat_map(|router| [&router.tensors.expert_ids, &router.tensors.combine_weights]);
    tensors.flatten().filter(|tensor| !tensor.name.is_empty())
}

/// Whether the last axis of a tensor is that of ranks or experts.
fn ranks_last(tensor: &TensorRef) -> bool {
    tensor.expert_axis.is_none_or(|axis| axis + 1 == tensor.shape.len())
}

impl Instrumented {
    /// The edited model as `engine::EditedModel` wants it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.model.encode_to_vec().into()
    }
}
