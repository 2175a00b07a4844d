//! Experts that lie side by side in one wide layer: its features are E blocks, and the gate weights whole blocks.
//!
//! Mixtures of attention heads (Jin et al. 2024) and of low-rank adapters are written so: no branch and no weight has an
//! axis of experts, but the features [.., E, d] between two layers have one for a moment.

use super::kinds::Kind;
use super::region::Region;
use super::report::ScoreFunction;
use super::scores::is_passive;
use super::walk::Walk;
use crate::model::graph::{ModelGraph, Node, NodeId, ValueId, is_product};

/// Nodes between the blocks and the layers around them.
const MAX_STEPS: usize = 24;

/// A gate that weights blocks of features: where it does, and the layer whose weights the blocks are.
pub(super) fn weighted_blocks(
    graph: &ModelGraph<'_>,
    region: &Region,
    walk: &Walk<'_, '_>,
    widths: &[i64],
) -> Option<Vec<(NodeId, ValueId, i64)>> {
    region.nodes.iter().find_map(|&id| {
        let blocks = Blocks::at(graph, walk, id, widths)?;
        let before = blocks.layer_before(graph).map(|weight| (id, weight, blocks.experts));
        let after = blocks.layer_after(graph).map(|weight| (id, weight, blocks.experts));
        match (before, after) {
            // What is weighted may be attention's: then only a choice tells heads from a gate on features.
            (None, Some(after)) if !walk.findings.choices.is_empty() => Some(vec![after]),
            (Some(before), Some(after)) => Some(vec![before, after]),
            (Some(before), None) if blocks.is_summed(graph) => Some(vec![before]),
            _ => None,
        }
    })
}

/// Features [.., E, d] that are multiplied with a weight for each of the E.
struct Blocks {
    features: ValueId,
    weighted: ValueId,
    axis: usize,
    experts: i64,
}

impl Blocks {
    fn at(graph: &ModelGraph<'_>, walk: &Walk<'_, '_>, id: NodeId, widths: &[i64]) -> Option<Self> {
        let node = graph.node(id);
        let weighs = |value: ValueId| match walk.kind(value) {
            Some(Kind::Picked(picked)) => picked.dense,
            Some(Kind::Scores(scores)) => scores.function == ScoreFunction::Softmax,
            _ => false,
        };
        let (a, b) = (node.input(0)?, node.input(1)?);
        let (gate, features) = match node.op {
            "Mul" if weighs(a) => (a, b),
            "Mul" if weighs(b) => (b, a),
            _ => return None,
        };
        if walk.kind(features).is_some() || !graph.value(features).is_data {
            return None;
        }
        let (gates, shape) = (graph.shape(gate)?, graph.shape(features)?);
        let axis = (0..gates.len()).rev().find(|&axis| gates[axis] != 1)?;
        let experts = widths.iter().copied().find(|&width| width > 1 && width == gates[axis])?;
        let fits = gates.len() == shape.len() && shape[axis] == experts;
        let is_wide = shape[axis + 1..].iter().any(|&size| size != 1);
        (fits && is_wide).then_some(Self { features, weighted: node.output(0)?, axis, experts })
    }

    /// The weights of the layer that made the blocks: its output was cut into E parts.
    fn layer_before(&self, graph: &ModelGraph<'_>) -> Option<ValueId> {
        let mut value = self.features;
        let mut is_cut = false;
        for _ in 0..MAX_STEPS {
            let (_, node) = graph.producing(value)?;
            if is_product(node.op) {
                let weight = weight_of(graph, node)?;
                if is_cut {
                    return Some(weight);
                }
            }
            let from = data_of(graph, node)?;
            if matches!(node.op, "Reshape" | "Unsqueeze") && self.cuts(graph, from, value) {
                is_cut = true;
            }
            value = from;
        }
        None
    }

    fn cuts(&self, graph: &ModelGraph<'_>, from: ValueId, to: ValueId) -> bool {
        let (Some([.., wide]), Some(cut)) = (graph.shape(from), graph.shape(to)) else { return false };
        matches!(cut, [.., experts, size] if *experts == self.experts && *size > 1 && experts * size == *wide)
    }

    /// The weights of the layer that reads the weighted blocks as one row of features.
    fn layer_after(&self, graph: &ModelGraph<'_>) -> Option<ValueId> {
        let size = *graph.shape(self.weighted)?.last()?;
        let mut value = self.weighted;
        let mut is_joined = false;
        for _ in 0..MAX_STEPS {
            let mut readers = graph.data_consumers(value);
            let (Some(reader), None) = (readers.next(), readers.next()) else { return None };
            let node = graph.node(reader);
            if is_product(node.op) {
                return weight_of(graph, node).filter(|_| is_joined);
            }
            if !is_passive(node.op) {
                return None;
            }
            value = node.output(0)?;
            is_joined |= graph.shape(value)?.last().is_some_and(|&last| last == self.experts * size);
        }
        None
    }

    /// Whether the weighted blocks are added up.
    fn is_summed(&self, graph: &ModelGraph<'_>) -> bool {
        graph
            .data_consumers(self.weighted)
            .map(|reader| graph.node(reader))
            .any(|node| node.op == "ReduceSum" && graph.reduced_axes(node).is_some_and(|axes| axes == [self.axis]))
    }
}

/// The matrix that a product multiplies data with.
fn weight_of(graph: &ModelGraph<'_>, product: &Node<'_>) -> Option<ValueId> {
    let mut weights = product.inputs.iter().flatten().copied().filter(|&input| !graph.value(input).is_data);
    weights.find(|&weight| graph.shape(weight).is_some_and(|shape| shape.len() >= 2))
}

/// The only data that a node reads.
fn data_of(graph: &ModelGraph<'_>, node: &Node<'_>) -> Option<ValueId> {
    let mut data: Vec<ValueId> = graph.data_inputs(node).filter(|&input| graph.value(input).is_data).collect();
    data.dedup();
    // An activation may be written out: x · sigmoid(x), for one.
    match data.as_slice() {
        [one] => Some(*one),
        [a, b] => {
            let reads =
                |value: ValueId, of: ValueId| graph.producing(value).is_some_and(|(_, node)| node.input(0) == Some(of));
            if reads(*b, *a) { Some(*a) } else { reads(*a, *b).then_some(*b) }
        }
        _ => None,
    }
}
