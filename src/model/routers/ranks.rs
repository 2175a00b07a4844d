//! The tensors of each choice by itself, where the k choices of a token go ways of their own: GShard and fairseq choose the
//! best and then the best of the others, Tutel takes a top-k apart and counts first and second choices one after the other.

use super::kinds::Kind;
use super::names::tensor_ref;
use super::report::{RankTensors, RouterTensors};
use super::tensors::kept;
use super::walk::{Rank, Walk};
use crate::model::graph::{ModelGraph, ValueId};

/// More choices than this are made in one tensor.
const MAX_RANKS: usize = 16;

/// What `known` does not have of all choices, of each choice; none unless each choice has its expert and its weight.
pub(super) fn ranks(
    graph: &ModelGraph<'_>,
    walk: &Walk<'_, '_>,
    known: &RouterTensors,
    top_k: Option<usize>,
) -> Vec<RankTensors> {
    let Some(top_k) = top_k.filter(|&top_k| top_k > 1 && top_k <= MAX_RANKS) else { return Vec::new() };
    let lacks_kept = known.kept.is_none() && !walk.findings.room.is_empty();
    if known.expert_ids.is_some() && known.combine_weights.is_some() && !lacks_kept {
        return Vec::new();
    }
    let of_rank = |rank: usize| {
        let ids = ids(graph, walk, rank)?;
        let missing = |known: bool, value: Option<ValueId>| match known {
            true => Some(None),
            false => value.map(|value| Some(tensor_ref(graph, value, None, false))),
        };
        Some(RankTensors {
            expert_ids: missing(known.expert_ids.is_some(), Some(ids))?,
            combine_weights: missing(known.combine_weights.is_some(), walk.weights_of_rank(rank))?,
            kept: kept(graph, walk, ids, Some(1), Some(rank)).filter(|_| known.kept.is_none()),
        })
    };
    let mut ranks: Vec<RankTensors> = (0..top_k).map(of_rank).collect::<Option<_>>().unwrap_or_default();
    // Room that is known of some choices only would make the others seem to have had room.
    if ranks.iter().any(|rank| rank.kept.is_none()) {
        ranks.iter_mut().for_each(|rank| rank.kept = None);
    }
    ranks.retain(|rank| *rank != RankTensors::default());
    ranks
}

/// The first tensor that has the expert of one choice of every token, and nothing else.
fn ids(graph: &ModelGraph<'_>, walk: &Walk<'_, '_>, rank: usize) -> Option<ValueId> {
    let outputs = walk.nodes().flat_map(|id| graph.node(id).outputs.iter().copied());
    outputs.into_iter().find(|&value| {
        matches!(walk.kind(value), Some(Kind::Ids { .. }))
            && walk.rank(value) == Some(Rank::One(rank))
            && !graph.value(value).name.is_empty()
    })
}
