//! ONNX Runtime's own MoE operators, which hide choice, experts and weights in one node.

use super::assemble::Assembled;
use super::names::{node_name, router_name, tensor_ref, weight_len, weights_of};
use super::report::{Confidence, ExpertForm, Experts, GatingRule, Router, RouterTensors, ScoreFunction, TopKSource};
use crate::model::graph::{ModelGraph, Node, NodeId, ValueId};

/// A softmax over all experts and the best k of them. The sparse mixer, which masks what lies far below the best, is not
/// told by standard operators.
fn inner_rule(graph: &ModelGraph<'_>, node: &Node<'_>) -> Option<GatingRule> {
    let is_set = |name| graph.int(node, name).unwrap_or(0) != 0;
    match (is_set("use_sparse_mixer"), is_set("normalize_routing_weights")) {
        (true, _) => None,
        (false, true) => Some(GatingRule::SoftmaxThenTopKRenormalized),
        (false, false) => Some(GatingRule::SoftmaxThenTopK),
    }
}

/// The router of a `MoE` or `QMoE` node of `com.microsoft`.
pub(super) fn router(graph: &ModelGraph<'_>, id: NodeId) -> Option<Assembled> {
    let node = graph.node(id);
    if !matches!((node.domain, node.op), ("com.microsoft", "MoE" | "QMoE")) {
        return None;
    }
    let logits = node.input(1)?;
    let stacked: Vec<ValueId> = node.inputs.iter().skip(2).flatten().copied().collect();
    let leading = stacked.first().and_then(|&weight| graph.shape(weight)?.first().copied());
    let num_experts =
        leading.or_else(|| graph.size_from_end(logits, -1)).and_then(|size| usize::try_from(size).ok())?;
    let top_k = usize::try_from(graph.int(node, "k").unwrap_or(1)).ok();
    let mut weights: Vec<ValueId> = stacked.iter().flat_map(|&weight| weights_of(graph, weight)).collect();
    weights.sort_unstable();
    weights.dedup();
    let axis = graph.shape(logits).and_then(|shape| shape.len().checked_sub(1));
    let router = Router {
        name: router_name(graph, logits, 0),
        layer: 0,
        rule: GatingRule::ContribMoe,
        inner_rule: inner_rule(graph, node),
        score: ScoreFunction::Softmax,
        num_experts,
        top_k,
        top_k_source: TopKSource::Attribute,
        selection_bias: false,
        groups: None,
        scale: None,
        capacity: None,
        per_image: false,
        shared_experts: 0,
        heads: 1,
        frozen: false,
        tensors: RouterTensors { gate_logits: Some(tensor_ref(graph, logits, axis, true)), ..RouterTensors::default() },
        experts: Experts {
            found: num_experts,
            form: ExpertForm::Operator,
            weights: vec![weights.iter().map(|&weight| graph.value(weight).name.to_owned()).collect()],
            parameters: weights.iter().map(|&weight| weight_len(graph, weight)).sum(),
            all_executed: false,
            set: 0,
        },
        evidence: vec![format!(
            "{} holds router and experts; its second input is the gate logits.",
            node_name(graph, id)
        )],
        confidence: Confidence::Certain,
        warnings: vec![
            "The operator does not give its choice: experts and weights are worked out from its logits, not observed."
                .to_owned(),
        ],
    };
    Some(Assembled { router, at: id, weights })
}
