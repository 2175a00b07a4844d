//! Where routers may be: every node that chooses or weights, gathered by the logits that it does so on.

use super::report::{LookedAt, ScoreFunction};
use super::scores::{Trace, fused_function, is_mask, is_passive, skip_passive, trace};
use crate::model::graph::{FastSet, ModelGraph, Node, NodeId, ValueId, is_float, is_product};
use std::collections::BTreeMap;

/// Everything that is decided on the same logits.
#[derive(Debug)]
pub(super) struct Candidate {
    /// What the product of data and gate weights gave.
    pub raw: ValueId,
    /// The logits as each of the functions takes them.
    pub logits: Vec<ValueId>,
    /// The nodes that choose or weight, in order.
    pub seeds: Vec<NodeId>,
    /// For each of `logits`, the first of those that takes them.
    pub readers: Vec<NodeId>,
    /// The choice among pairs of half keys, with the two choices that made them.
    pub half_keys: Option<(NodeId, [NodeId; 2])>,
}

/// Finds all candidates, in the order in which they run.
pub(super) fn candidates(graph: &ModelGraph<'_>) -> (Vec<Candidate>, LookedAt) {
    let mut looked_at = LookedAt { nodes: graph.num_nodes(), ..LookedAt::default() };
    let mut by_raw: BTreeMap<ValueId, Candidate> = BTreeMap::new();
    let mut taken: FastSet<NodeId> = FastSet::default();
    for id in graph.node_ids() {
        let node = graph.node(id);
        let Some(scores) = seed(graph, node, &mut looked_at) else { continue };
        let Trace { raw, logits, half_keys } = trace(graph, scores);
        let candidate = by_raw.entry(raw).or_insert_with(|| Candidate {
            raw,
            logits: Vec::new(),
            seeds: Vec::new(),
            readers: Vec::new(),
            half_keys: None,
        });
        candidate.seeds.push(id);
        if !candidate.logits.contains(&logits) {
            candidate.logits.push(logits);
            candidate.readers.push(id);
        }
        if let (Some(halves), "TopK") = (half_keys, node.op) {
            candidate.half_keys = Some((id, halves));
            taken.extend(halves);
        }
    }
    // The choices among half keys belong to the choice among pairs, whichever logits they are made on.
    let mut candidates: Vec<Candidate> = by_raw.into_values().collect();
    candidates
        .retain(|candidate| candidate.half_keys.is_some() || !candidate.seeds.iter().all(|seed| taken.contains(seed)));
    candidates.sort_by_key(|candidate| graph.producer(candidate.raw));
    (candidates, looked_at)
}

/// The scores that a node chooses from or weights with, if it may belong to a router.
fn seed(graph: &ModelGraph<'_>, node: &Node<'_>, looked_at: &mut LookedAt) -> Option<ValueId> {
    let input = node.input(0)?;
    let of = graph.value(input);
    let usable = of.is_data && (of.element == 0 || is_float(of.element));
    if !usable {
        return None;
    }
    if let Some(output) = node.output(0).filter(|&output| fused_function(graph, output) == ScoreFunction::Sigmoid) {
        looked_at.sigmoid += usize::from(may_gate(graph, node, output));
        return may_gate(graph, node, output).then_some(output);
    }
    if !node.domain.is_empty() {
        return None;
    }
    match node.op {
        "TopK" => looked_at.top_k += 1,
        "ArgMax" => looked_at.arg_max += 1,
        "Softmax" | "LogSoftmax" => looked_at.softmax += 1,
        "Div" => {
            let sum = skip_passive(graph, node.input(1)?);
            let sum_node = graph.producing(sum)?.1;
            let written_out =
                sum_node.op == "ReduceSum" && sum_node.input(0) == Some(input) && graph.op_of(input) == "Exp";
            if !written_out {
                return None;
            }
            looked_at.softmax += 1;
        }
        "Sigmoid" => {
            if !may_gate(graph, node, input) {
                return None;
            }
            looked_at.sigmoid += 1;
        }
        "Relu" => {
            if !may_gate(graph, node, input) || feeds_weights(graph, node.output(0)?) {
                return None;
            }
            looked_at.relu += 1;
        }
        _ => return None,
    }
    Some(input)
}

/// Whether a layer of weights reads a value at once, as it reads what an activation between two layers gives.
fn feeds_weights(graph: &ModelGraph<'_>, value: ValueId) -> bool {
    /// An activation's readers; more are the columns of a router.
    const MAX_READERS: usize = 16;
    let mut waiting = vec![value];
    let mut read = 0;
    while let Some(value) = waiting.pop() {
        for reader in graph.data_consumers(value) {
            let node = graph.node(reader);
            read += 1;
            if is_product(node.op) && node.inputs.iter().flatten().any(|&input| !graph.value(input).is_data) {
                return true;
            }
            if is_passive(node.op) && read < MAX_READERS {
                waiting.extend(node.output(0));
            }
        }
    }
    false
}

/// Whether a sigmoid may weight experts: not the gate of a SiLU or GLU, which multiplies something of its own shape.
fn may_gate(graph: &ModelGraph<'_>, node: &Node<'_>, input: ValueId) -> bool {
    let Some(output) = node.output(0) else { return false };
    let shape = graph.shape(output);
    let multiplies_alike = graph.data_consumers(output).any(|reader| {
        let reader = graph.node(reader);
        let other = reader.inputs.iter().flatten().copied().find(|&other| other != output);
        reader.op == "Mul"
            && other.is_some_and(|other| {
                other == input
                    || graph.value(other).is_data
                        && !is_mask(graph, other)
                        && graph.shape(other) == shape
                        && shape.is_some()
            })
    });
    let wide = shape.and_then(|shape| shape.last().copied()).is_none_or(|size| size != 1);
    wide && !multiplies_alike
}
