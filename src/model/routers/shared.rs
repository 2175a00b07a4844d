//! Experts that handle every token beside the chosen ones: a second way from the router's input to its end, with weights
//! but without the router.

use super::experts::{Found, cone};
use super::names::weights_of;
use super::region::Regions;
use super::scores::skip_passive;
use crate::model::graph::{FastSet, ModelGraph, Node, NodeId, ValueId, is_product};

/// Nodes after the experts until their sum, shared experts included, is done.
const MAX_STEPS: usize = 16;

/// Shared experts are added one by one.
const MAX_SUMMANDS: usize = 64;

/// The number of networks that are added to the experts' outputs.
pub(super) fn shared_experts<'g, 'a>(
    graph: &'g ModelGraph<'a>,
    regions: &mut Regions<'g, 'a>,
    raw: ValueId,
    found: &Found,
    experts: &[ValueId],
) -> usize {
    let floor = found.region.entry;
    let experts = experts.iter().copied().collect();
    let mut summands = Summands { graph, regions, floor, experts };
    let cone = cone(graph, &found.region, raw);
    let mut count = 0;
    // Added to the experts' outputs, or the start of their sum.
    for &id in found.region.nodes.iter().filter(|&&id| id != found.region.merge) {
        count += summands.beside(id, |input| cone.contains(&input));
    }
    // Added to their sum.
    let mut at = found.region.merge;
    count += summands.beside(at, |input| cone.contains(&input));
    for _ in 0..MAX_STEPS {
        let Some(next) = summands.regions.dominators.after(at) else { break };
        let routed = std::mem::replace(&mut at, next);
        let node = graph.node(next);
        if let Some(product) = fused_product(graph, node) {
            if !summands.comes_from(product, routed) {
                count += usize::from(summands.is_network(product, 1));
            }
        } else if node.op == "Add" && graph.data_inputs(node).all(|input| graph.value(input).is_data) {
            let others: Vec<ValueId> =
                graph.data_inputs(node).filter(|&input| !summands.comes_from(input, routed)).collect();
            let added: usize = others.into_iter().map(|other| summands.networks(other, MAX_SUMMANDS)).sum();
            if added == 0 {
                break;
            }
            count += added;
        }
    }
    count
}

struct Summands<'r, 'g, 'a> {
    graph: &'g ModelGraph<'a>,
    regions: &'r mut Regions<'g, 'a>,
    floor: Option<NodeId>,
    experts: FastSet<ValueId>,
}

impl Summands<'_, '_, '_> {
    /// The number of networks that a node adds to what `routed` says is the experts'.
    fn beside(&mut self, id: NodeId, routed: impl Fn(ValueId) -> bool) -> usize {
        let node = self.graph.node(id);
        if let Some(product) = fused_product(self.graph, node) {
            let added = !routed(product) && node.input(2).is_some_and(routed);
            return usize::from(added && self.is_network(product, 1));
        }
        let adds = matches!(node.op, "Add" | "Sum") || node.op.starts_with("Scatter");
        if !adds || !node.inputs.iter().flatten().any(|&input| routed(input)) {
            return 0;
        }
        let others: Vec<ValueId> = self.graph.data_inputs(node).filter(|&input| !routed(input)).collect();
        others.into_iter().map(|other| self.networks(other, MAX_SUMMANDS)).sum()
    }

    fn comes_from(&mut self, value: ValueId, id: NodeId) -> bool {
        let last = self.graph.producer(value);
        last.is_some_and(|last| self.regions.back_from(&[last], self.floor).binary_search(&id).is_ok())
    }

    /// The number of networks whose sum a value is.
    fn networks(&mut self, value: ValueId, most: usize) -> usize {
        let value = skip_passive(self.graph, value);
        let Some((_, node)) = self.graph.producing(value) else { return 0 };
        if most > 1 && matches!(node.op, "Add" | "Sum") {
            let parts: Vec<ValueId> =
                self.graph.data_inputs(node).filter(|&input| self.graph.value(input).is_data).collect();
            if parts.len() > 1 {
                return parts.into_iter().map(|part| self.networks(part, most / 2)).sum();
            }
        }
        match (fused_product(self.graph, node), node.input(2)) {
            (Some(product), Some(added)) if most > 1 => {
                usize::from(self.is_network(product, 1)) + self.networks(added, most / 2)
            }
            _ => usize::from(self.is_network(value, 2)),
        }
    }

    /// Whether so many products with weights, of no router and no attention, lead to a value.
    fn is_network(&mut self, value: ValueId, least: usize) -> bool {
        let Some(last) = self.graph.producer(value) else { return false };
        let nodes = self.regions.back_from(&[last], self.floor);
        let mut products = 0;
        for &id in &nodes {
            let node = self.graph.node(id);
            if matches!(node.op, "Softmax" | "TopK" | "ArgMax") {
                return false;
            }
            let weights = node.inputs.iter().flatten().copied().filter(|&input| !self.graph.value(input).is_data);
            let mut matrices = weights.filter(|&weight| self.graph.shape(weight).is_some_and(|shape| shape.len() >= 2));
            if let (true, Some(weight)) = (is_product(node.op), matrices.next()) {
                if weights_of(self.graph, weight).iter().any(|root| self.experts.contains(root)) {
                    return false;
                }
                products += 1;
            }
        }
        products >= least
    }
}

/// What a `Gemm` multiplies with weights before it adds something computed to that: optimisers make one of a product and a
/// sum.
fn fused_product(graph: &ModelGraph<'_>, node: &Node<'_>) -> Option<ValueId> {
    let adds_data = node.input(2).is_some_and(|added| graph.value(added).is_data);
    (matches!(node.op, "Gemm" | "FusedGemm") && adds_data).then_some(node.input(0)).flatten()
}
