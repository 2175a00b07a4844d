//! Which tensors carry the routing where more than one could, or where it has to be put together.

use super::experts::{Found, is_weight, lead};
use super::kinds::Kind;
use super::names::tensor_ref;
use super::report::{DispatchRef, KeptRef, ScoreFunction};
use super::scores::{is_passive, skip_passive};
use super::seeds::Candidate;
use super::walk::{Rank, Walk};
use crate::model::graph::{FastSet, ModelGraph, NodeId, ValueId, is_product};

/// The tensor that tells for which of the chosen experts there was room. A comparison says it plainly; one-hot places
/// without one are all zeros where there is none. With a `rank`, the one of that choice alone, whose `ids` are given.
pub(super) fn kept(
    graph: &ModelGraph<'_>,
    walk: &Walk<'_, '_>,
    ids: ValueId,
    top_k: Option<usize>,
    rank: Option<usize>,
) -> Option<KeptRef> {
    let says_all = |value: ValueId| match (rank, walk.rank(value)) {
        (None, Some(Rank::One(_))) => top_k == Some(1),
        (None, _) => true,
        (Some(rank), of) => of == Some(Rank::One(rank)),
    };
    let room = || walk.findings.room.iter().rev().filter(|(value, _)| says_all(*value));
    let plain = room().filter(|(_, place_axis)| place_axis.is_none());
    let placed = room().filter(|(_, place_axis)| place_axis.is_some());
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

/// How slots are mixed of tokens: the softmax over tokens, also one that is written out as a division by the sum.
pub(super) fn dispatch(graph: &ModelGraph<'_>, walk: &Walk<'_, '_>) -> Option<DispatchRef> {
    let &(id, value, scores) = walk.findings.softmaxes.iter().find(|(_, _, scores)| scores.over_tokens)?;
    let (node, rank) = (graph.node(id), graph.shape(value)?.len());
    let token_axis = if node.op == "Div" {
        let (_, sum) = graph.producing(skip_passive(graph, node.input(1)?))?;
        graph.reduced_axes(sum).filter(|axes| axes.len() == 1)?.first().copied()?
    } else {
        graph.axis(node, -1, rank)?
    };
    Some(DispatchRef { tensor: tensor_ref(graph, value, scores.axis, true), token_axis })
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

/// The weight of the one chosen expert that is made of a vector of its own, looked up by the choice: a sigmoid of its
/// product with the token (BASE layers: Lewis et al. 2021; StableMoE: Dai et al. 2022).
pub(super) fn weight_of_rows(graph: &ModelGraph<'_>, walk: &Walk<'_, '_>, found: &Found) -> Option<ValueId> {
    let ids = walk.findings.ids.and_then(|(ids, _)| graph.num_elements(ids));
    let of_each_token = |value: ValueId| match (graph.num_elements(value), ids) {
        (Some(count), Some(ids)) => count == ids,
        _ => graph.size_from_end(value, -1) == Some(1),
    };
    let (mut rows, mut products) = (FastSet::default(), FastSet::default());
    for &id in &found.region.nodes {
        let node = graph.node(id);
        let reads = |of: &FastSet<ValueId>| node.inputs.iter().flatten().any(|input| of.contains(input));
        let looks_up = node.op.starts_with("Gather")
            && node
                .input(0)
                .is_some_and(|list| is_weight(graph, list) && lead(graph, list).is_some_and(|(_, rank)| rank == 2))
            && node.input(1).is_some_and(|ids| matches!(walk.kind(ids), Some(Kind::Ids { .. })));
        let is_passive = is_passive(node.op);
        if looks_up || is_passive && reads(&rows) {
            rows.extend(node.outputs.iter().copied());
        } else if (is_product(node.op) || node.op == "Mul") && reads(&rows)
            || (is_passive || node.op == "ReduceSum") && reads(&products)
        {
            products.extend(node.outputs.iter().copied());
        } else if node.op == "Sigmoid" && reads(&products) {
            return node.output(0).filter(|&weight| of_each_token(weight));
        }
    }
    None
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

/// Heads of product keys: how many times each token chooses among the pairs. The sums of pairs have a row for each token
/// and head; what the queries were made of has one for each token.
pub(super) fn heads(graph: &ModelGraph<'_>, candidate: &Candidate) -> usize {
    let Some((pairs, [half, _])) = candidate.half_keys else { return 1 };
    let (Some(scores), Some(sums)) = (graph.node(half).input(0), graph.node(pairs).input(0)) else { return 1 };
    let by_rows = rows(graph, sums).zip(made_of(graph, scores).and_then(|tokens| rows(graph, tokens)));
    let by_rows = by_rows.filter(|(all, tokens)| *tokens > 0 && all % tokens == 0).map(|(all, tokens)| all / tokens);
    // Where the number of tokens is not fixed, heads are the axis before the last one: [.., heads, k].
    let in_front = || match graph.node(pairs).output(1).and_then(|ids| graph.shape(ids)) {
        Some([_, .., heads, _]) => Some(*heads),
        _ => None,
    };
    by_rows.or_else(in_front).and_then(|heads| usize::try_from(heads).ok()).filter(|&heads| heads > 0).unwrap_or(1)
}

/// Number of rows of the last axis.
fn rows(graph: &ModelGraph<'_>, value: ValueId) -> Option<i64> {
    let last = graph.size_from_end(value, -1).filter(|&size| size > 0)?;
    Some(graph.num_elements(value)? / last)
}

/// The tokens that a query was made of: behind its product with the keys, the data of the product before.
fn made_of(graph: &ModelGraph<'_>, scores: ValueId) -> Option<ValueId> {
    /// Longer ways from tokens to scores do not occur.
    const MAX_STEPS: usize = 64;
    let (mut at, mut products) = (scores, 0);
    for _ in 0..MAX_STEPS {
        let (_, node) = graph.producing(at)?;
        let mut data = graph.data_inputs(node).filter(|&input| graph.value(input).is_data);
        at = data.next()?;
        products += usize::from(is_product(node.op) && data.next().is_none());
        if products == 2 {
            return Some(at);
        }
    }
    None
}
