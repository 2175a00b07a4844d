//! Every tensor that may be the gate of a router, the likeliest first: for a person who knows of a router that the finder
//! does not see, or who knows better what one of its tensors is.
//!
//! The finder asks whether experts follow, and is silent where it cannot see them. Here only the gate itself is looked at:
//! what makes the tensor, what chooses from it, what it is called. That proves nothing, so it is a list to choose from and
//! no finding.

mod rank;
#[cfg(test)]
mod tests;

use super::names::{node_name, tensor_ref};
use super::report::{GatingRule, RouterReport, TensorRef};
use crate::model::graph::{FastMap, ModelGraph, Node, ValueId, is_float};
use rank::Ranked;
use serde::Serialize;
use std::collections::HashMap;

/// More experts than this lie on no axis of a gate: routers of more choose among halves of keys.
pub const MAX_EXPERTS: usize = 1 << 16;

/// Tensors beyond this many are not listed: nobody reads so far, and names can be searched for in the graph's own viewer.
const MAX_LISTED: usize = 20_000;

/// A tensor that may be a gate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateTensor {
    /// The tensor. Its `expert_axis` is the axis that experts would lie on.
    #[serde(flatten)]
    pub tensor: TensorRef,
    /// Size of that axis; `None` where the graph does not tell it.
    pub num_experts: Option<usize>,
    /// The operator that gives it.
    pub operator: String,
    /// What its numbers seem to be.
    pub values: GateValues,
    /// How experts seem to be chosen by it.
    pub rule: GatingRule,
    /// How many seem to be chosen, where the rule has such a number.
    pub top_k: Option<usize>,
    /// Why the finder took no router to be here, where it had looked.
    pub near_miss: Option<String>,
    /// The router that the finder found with it.
    pub router: Option<String>,
    /// What speaks for it, in parts of a sentence.
    pub evidence: Vec<String>,
}

/// What the numbers of a gate are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateValues {
    /// Scores of any size, before softmax or another function.
    #[default]
    Logits,
    /// Scores after that function.
    Probabilities,
}

impl GateValues {
    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::Probabilities => "probabilities",
        }
    }
}

impl GateTensor {
    /// The elements that are no experts: tokens of all images, where the graph tells their number.
    #[must_use]
    pub fn num_rows(&self) -> Option<usize> {
        let axis = self.tensor.expert_axis?;
        let others = self.tensor.shape.iter().enumerate().filter(|&(other, _)| other != axis);
        let sizes = others.map(|(_, &size)| usize::try_from(size).ok());
        sizes.into_iter().try_fold(1_usize, |rows, size| rows.checked_mul(size?))
    }

    /// Whether a person who looks for `words` means this tensor: all of them occur in its name, its operator, its place, its
    /// type or its router. If `nearly`, it is enough that the letters of each occur in its name in their order: `blk3gate`
    /// means `block.3.mlp.gate`.
    #[must_use]
    pub fn is_meant(&self, words: &str, nearly: bool) -> bool {
        let name = self.tensor.name.to_lowercase();
        let around = self.tensor.place.iter().map(|step| step.label.as_str());
        let text: Vec<&str> = around.chain(self.router.as_deref()).chain([self.operator.as_str()]).collect();
        let text = format!("{name} {} {}", text.join(" "), self.tensor).to_lowercase();
        let is_meant = |word: &str| text.contains(word) || nearly && is_within(word, &name);
        words.to_lowercase().split_whitespace().all(is_meant)
    }
}

/// Whether the letters of `word` occur in `text` in their order.
fn is_within(word: &str, text: &str) -> bool {
    let mut letters = text.chars();
    word.chars().all(|letter| letters.any(|other| other == letter))
}

/// The tensors that may be gates, the likeliest first. `report` is what the finder made of the same graph.
#[must_use]
pub fn gate_tensors(graph: &ModelGraph<'_>, report: &RouterReport) -> Vec<GateTensor> {
    let mut ranked: FastMap<ValueId, Ranked> = FastMap::default();
    for value in graph.value_ids() {
        if let Some(axis) = experts_axis(graph, value) {
            ranked.insert(value, Ranked::of_value(graph, value, axis));
        }
    }
    rank::decided(graph, report, &mut ranked);
    let mut listed: Vec<(ValueId, Ranked)> = ranked.into_iter().collect();
    listed.sort_by_key(|(value, ranked)| (std::cmp::Reverse(ranked.points), graph.producer(*value), *value));
    listed.truncate(MAX_LISTED);
    let found = found(report);
    listed.into_iter().map(|(value, ranked)| listed_as(graph, value, ranked, &found)).collect()
}

/// The axis that experts would lie on, for a value of floats that a node computes from the data: the last one, or that of
/// the channels behind a convolution.
fn experts_axis(graph: &ModelGraph<'_>, value: ValueId) -> Option<usize> {
    let of = graph.value(value);
    let (_, node) = graph.producing(value)?;
    let is_data = of.is_data && !of.name.is_empty() && (of.element == 0 || is_float(of.element));
    // What stands for a body's inputs has no name by which it could be shown.
    let stands = node.stands.is_some();
    let shape = graph.shape(value).filter(|_| is_data && stands)?;
    let axis = if is_convolution(node) { 1 } else { shape.len().checked_sub(1)? };
    is_number_of_experts(*shape.get(axis)?).then_some(axis)
}

/// Whether an axis of this size may be that of experts; a negative one is not known.
fn is_number_of_experts(size: i64) -> bool {
    size < 0 || (2..=MAX_EXPERTS as i64).contains(&size)
}

fn is_convolution(node: &Node<'_>) -> bool {
    matches!(node.op, "Conv" | "FusedConv" | "ConvInteger" | "QLinearConv")
}

/// The routers that were found, by the names of their gates.
fn found(report: &RouterReport) -> HashMap<&str, Vec<(&TensorRef, &str)>> {
    let mut found: HashMap<&str, Vec<(&TensorRef, &str)>> = HashMap::new();
    for router in &report.routers {
        let gates = [&router.tensors.gate_logits, &router.tensors.gate_probs];
        for tensor in gates.into_iter().flatten() {
            found.entry(&tensor.name).or_default().push((tensor, &router.name));
        }
    }
    found
}

fn listed_as(
    graph: &ModelGraph<'_>,
    value: ValueId,
    ranked: Ranked,
    found: &HashMap<&str, Vec<(&TensorRef, &str)>>,
) -> GateTensor {
    let Ranked { axis, values, rule, top_k, near_miss, evidence, .. } = ranked;
    let tensor = tensor_ref(graph, value, Some(axis), true);
    let same = |(other, _): &&(&TensorRef, &str)| other.place == tensor.place;
    let router = found.get(tensor.name.as_str()).and_then(|found| found.iter().find(same));
    let router = router.map(|(_, name)| (*name).to_owned());
    let size = tensor.shape.get(axis).and_then(|&size| usize::try_from(size).ok());
    let num_experts = size.or_else(|| usize::try_from(super::scores::product_width(graph, value)?).ok());
    let operator = graph.producer(value).map_or_else(String::new, |id| node_name(graph, id));
    GateTensor { tensor, num_experts, operator, values, rule, top_k, near_miss, router, evidence }
}
