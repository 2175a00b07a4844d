//! What a limit on each expert's tokens would drop. The bundled exports run without such a limit; training did not
//! always, so the question "what would have overflowed?" is answered from the observed choices.

use super::{ExpertIdx, LayerRouting, PatchIdx};
use serde::Serialize;

/// Tokens that each expert may take: ⌈T · k · factor / E⌉, rounded up to a multiple of `multiple_of` (V-MoE rounds to 4;
/// 1 leaves it). `tokens` counts the whole GROUP that shares the limit, which may be several images. 0 for no experts.
#[must_use]
pub fn expert_capacity(tokens: usize, top_k: usize, num_experts: usize, factor: f64, multiple_of: usize) -> usize {
    if num_experts == 0 {
        return 0;
    }
    let slots = (tokens as f64 * top_k as f64 * factor / num_experts as f64).ceil().max(0.0) as usize;
    slots.next_multiple_of(multiple_of.max(1))
}

/// Who is served first where an expert has more tokens than capacity. In both, every first choice is placed before any
/// second choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Tokens in their order.
    FirstCome,
    /// Batch priority routing (V-MoE): tokens by their largest gate probability, the largest first.
    LargestGate,
}

/// An assignment that found its expert full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DroppedAssignment {
    /// The token.
    pub patch: PatchIdx,
    /// The expert that was full.
    pub expert: ExpertIdx,
    /// Which of the token's choices it was, from 0.
    pub rank: usize,
}

/// What a capacity drops.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overflow {
    /// Tokens that each expert takes at most.
    pub capacity: usize,
    /// Dropped assignments in the order in which they were refused.
    pub dropped: Vec<DroppedAssignment>,
    /// Dropped over all assignments; 0 where there are none.
    pub dropped_share: f64,
    /// Tokens that lost every one of their k experts: they pass the layer unchanged.
    pub tokens_fully_dropped: usize,
}

/// Places the assignments of one layer into experts of limited `capacity`.
#[must_use]
pub fn overflow(routing: &LayerRouting, capacity: usize, priority: Priority) -> Overflow {
    let (tokens, top_k) = (routing.num_tokens(), routing.top_k());
    let order = serving_order(routing, priority);
    let mut taken = vec![0_usize; routing.num_experts()];
    let mut lost = vec![0_usize; tokens];
    let mut dropped = Vec::new();
    for rank in 0..top_k {
        for &patch in &order {
            let Some(&expert) = routing.experts_of(patch).get(rank) else { continue };
            let slots = &mut taken[expert.0 as usize];
            if *slots < capacity {
                *slots += 1;
            } else {
                lost[patch.0] += 1;
                dropped.push(DroppedAssignment { patch, expert, rank });
            }
        }
    }
    let dropped_share = dropped.len() as f64 / routing.assignments().count().max(1) as f64;
    let all_lost = |&(patch, &count): &(PatchIdx, &usize)| count > 0 && count == routing.experts_of(patch).len();
    let tokens_fully_dropped = routing.patches().zip(&lost).filter(all_lost).count();
    Overflow { capacity, dropped, dropped_share, tokens_fully_dropped }
}

/// Tokens in the order in which they are served; equal gates keep their order, NaN counts as no gate at all.
fn serving_order(routing: &LayerRouting, priority: Priority) -> Vec<PatchIdx> {
    let mut order: Vec<PatchIdx> = (0..routing.num_tokens()).map(PatchIdx).collect();
    if priority == Priority::LargestGate {
        let largest = |patch: &PatchIdx| routing.gate_probs_of(*patch).iter().copied().fold(0.0, f32::max);
        order.sort_by(|a, b| largest(b).total_cmp(&largest(a)));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::TopK;

    #[test]
    fn capacity_follows_the_systems_own_rounding() {
        for (tokens, top_k, experts, factor, multiple, expected) in [
            (6, 2, 4, 1.0, 1, 3),
            (196, 1, 8, 1.0, 1, 25),
            (196, 1, 8, 1.25, 1, 31),
            (197, 2, 8, 1.05, 4, 52),
            (0, 2, 8, 1.0, 4, 0),
            (10, 1, 0, 1.0, 1, 0),
            (10, 1, 4, -1.0, 0, 0),
        ] {
            assert_eq!(expert_capacity(tokens, top_k, experts, factor, multiple), expected, "{tokens} {top_k}");
        }
    }

    #[test]
    fn no_capacity_drops_all_and_enough_drops_none() {
        let gates = vec![f32::NAN, 0.5, 0.5, 0.5];
        let routing = LayerRouting::new("l", 2, TopK::new(2, 2).unwrap(), gates, &[0, 1, 1, 0], vec![0.5; 4]).unwrap();
        let none = overflow(&routing, 0, Priority::LargestGate);
        assert_eq!((none.dropped.len(), none.dropped_share, none.tokens_fully_dropped), (4, 1.0, 2));
        let all = overflow(&routing, 2, Priority::FirstCome);
        assert_eq!((all.dropped.len(), all.dropped_share, all.tokens_fully_dropped), (0, 0.0, 0));
        let empty = LayerRouting::new("l", 2, TopK::new(1, 2).unwrap(), vec![], &[], vec![]).unwrap();
        assert_eq!(overflow(&empty, 1, Priority::FirstCome).dropped_share, 0.0);
    }
}
