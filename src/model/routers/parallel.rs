//! A dense network that runs beside the experts on every token and is added to what they give, but does not read what the
//! router reads: Arctic (Snowflake 2024) has norms of their own for both, and gives the experts the data before attention.
//! Shared experts, which read the router's input, are found by `shared`.

use super::scores::is_passive;
use crate::model::graph::{FastSet, ModelGraph, NodeId, ValueId, is_product};

/// Nodes between the experts' end and the sum that ends the layer, and summands of that.
const MAX_STEPS: usize = 32;

/// Nodes of a dense network, with a norm that is written out.
const MAX_NODES: usize = 64;

/// The number of dense networks in the sum that the experts' outputs, put together at `merge`, end in.
pub(super) fn dense_beside(graph: &ModelGraph<'_>, merge: NodeId) -> usize {
    let Some((sum, routed)) = residual_sum(graph, merge) else { return 0 };
    let summands = summands(graph, sum);
    let known: FastSet<ValueId> = summands.iter().copied().collect();
    let is_dense = |&summand: &ValueId| summand != routed && ends_at(graph, summand, &known);
    let beside = summands.iter().filter(|summand| is_dense(summand)).count();
    // What else is added is the stream that both are added to.
    if beside + 1 < summands.len() { beside } else { 0 }
}

/// The last of the sums that the experts' outputs go through, and the summand of the first that they are.
fn residual_sum(graph: &ModelGraph<'_>, merge: NodeId) -> Option<(ValueId, ValueId)> {
    let mut at = graph.node(merge).output(0)?;
    let mut found: Option<(ValueId, ValueId)> = None;
    for _ in 0..MAX_STEPS {
        let mut readers = graph.data_consumers(at);
        let (Some(reader), None) = (readers.next(), readers.next()) else { break };
        let node = graph.node(reader);
        let output = node.output(0)?;
        let adds = node.op == "Add" && graph.data_inputs(node).all(|input| graph.value(input).is_data);
        if adds {
            found = Some((output, found.map_or(at, |(_, routed)| routed)));
        } else if found.is_some() || !is_passive(node.op) {
            break;
        }
        at = output;
    }
    found
}

/// What a sum adds up: sums that nothing else reads are parts of it.
fn summands(graph: &ModelGraph<'_>, sum: ValueId) -> Vec<ValueId> {
    let mut found = Vec::new();
    let mut waiting = vec![sum];
    while let Some(value) = waiting.pop() {
        let is_part = value == sum || graph.data_consumers(value).nth(1).is_none();
        match graph.producing(value) {
            Some((_, node))
                if is_part
                    && node.op == "Add"
                    && found.len() < MAX_STEPS
                    && graph.data_inputs(node).all(|input| graph.value(input).is_data) =>
            {
                waiting.extend(graph.data_inputs(node));
            }
            _ => found.push(value),
        }
    }
    found
}

/// Whether layers of weights, and nothing that mixes tokens or chooses, lead from another of the summands to one.
fn ends_at(graph: &ModelGraph<'_>, summand: ValueId, summands: &FastSet<ValueId>) -> bool {
    let mut seen: FastSet<NodeId> = FastSet::default();
    let mut waiting = vec![summand];
    let (mut products, mut begins) = (0, false);
    while let Some(value) = waiting.pop() {
        if value != summand && summands.contains(&value) {
            begins = true;
            continue;
        }
        let Some((id, node)) = graph.producing(value) else { return false };
        if !seen.insert(id) {
            continue;
        }
        let data: Vec<ValueId> = graph.data_inputs(node).filter(|&input| graph.value(input).is_data).collect();
        let chooses = matches!(node.op, "Softmax" | "TopK" | "ArgMax") || node.op.starts_with("Scatter");
        if seen.len() > MAX_NODES || chooses || is_product(node.op) && data.len() != 1 {
            return false;
        }
        products += usize::from(is_product(node.op));
        waiting.extend(data);
    }
    begins && products >= 2
}
