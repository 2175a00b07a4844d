//! Which tensors carry the routing where more than one could, or where it has to be put together.

use super::names::tensor_ref;
use super::report::{KeptRef, ScoreFunction};
use super::walk::Walk;
use crate::model::graph::{ModelGraph, NodeId, ValueId};

/// The tensor that tells for which of the chosen experts there was room. A comparison says it plainly; one-hot places
/// without one are all zeros where there is none.
pub(super) fn kept(graph: &ModelGraph<'_>, walk: &Walk<'_, '_>, ids: ValueId, top_k: Option<usize>) -> Option<KeptRef> {
    let plain = walk.findings.room.iter().rev().filter(|(_, place_axis)| place_axis.is_none());
    let placed = walk.findings.room.iter().rev().filter(|(_, place_axis)| place_axis.is_some());
    plain.chain(placed).find_map(|&(value, place_axis)| {
        let mut shape = graph.shape(value)?.to_vec();
        if let Some(axis) = place_axis {
            shape.remove(axis);
        }
        let last = shape.len().checked_sub(1);
        let counts = |shape: &[i64]| shape.iter().filter(|&&size| size != 1).copied().collect::<Vec<_>>();
        let (axis, dense) = if counts(&shape) == counts(graph.shape(ids)?) {
            (last.filter(|&last| top_k.is_some_and(|k| shape[last] == k as i64)), false)
        } else if last.is_some_and(|last| walk.width == Some(shape[last])) {
            (last, true)
        } else {
            return None;
        };
        Some(KeptRef { tensor: tensor_ref(graph, value, axis, dense), place_axis })
    })
}

/// The function that makes weights of the scores of pairs.
pub(super) fn pair_score(graph: &ModelGraph<'_>, pairs: NodeId) -> ScoreFunction {
    let readers = graph.node(pairs).output(0).into_iter().flat_map(|values| graph.data_consumers(values));
    let ops: Vec<&str> = readers.map(|reader| graph.node(reader).op).collect();
    if ops.contains(&"Softmax") {
        ScoreFunction::Softmax
    } else if ops.contains(&"Sigmoid") {
        ScoreFunction::Sigmoid
    } else {
        ScoreFunction::None
    }
}

pub(super) type Ids = (ValueId, Option<usize>);
pub(super) type Weights = (ValueId, Option<usize>, bool);

/// The experts that a choice among pairs stands for, and their weights.
pub(super) fn pair_tensors(graph: &ModelGraph<'_>, pairs: NodeId) -> (Option<Ids>, Option<Weights>) {
    let node = graph.node(pairs);
    let reader = |output: usize, ops: &[&str]| {
        let value = node.output(output)?;
        graph.data_consumers(value).find(|&reader| ops.contains(&graph.node(reader).op))
    };
    let ids = reader(1, &["GatherElements", "Gather", "GatherND"]).and_then(|reader| graph.node(reader).output(0));
    let weights = reader(0, &["Softmax", "Sigmoid"]).and_then(|reader| graph.node(reader).output(0)).or(node.output(0));
    let last = |value: ValueId| graph.shape(value).and_then(|shape| shape.len().checked_sub(1));
    (ids.map(|ids| (ids, last(ids))), weights.map(|weights| (weights, last(weights), false)))
}
