//! Routings whose tokens have different numbers of experts, and routers without gate probabilities.

use super::*;
use crate::routing::{LayerBalance, TokenMeasures, compare};

const A: ExpertIdx = ExpertIdx(0);
const B: ExpertIdx = ExpertIdx(1);
const C: ExpertIdx = ExpertIdx(2);

/// Three tokens: two experts, one that was dropped, and none.
fn ragged(gate_probs: Vec<f32>) -> LayerRouting {
    let choices = [vec![(C, 0.75), (A, 0.25)], vec![(B, 0.0)], vec![]];
    LayerRouting::of_choices("layer", 3, gate_probs, &choices).unwrap()
}

#[test]
fn tokens_may_have_different_numbers_of_experts() {
    let routing = ragged(vec![]);
    assert_eq!((routing.num_tokens(), routing.top_k(), routing.has_gate_probs()), (3, 2, false));
    let rows: Vec<_> = routing.patches().map(|patch| (routing.experts_of(patch), routing.weights_of(patch))).collect();
    assert_eq!(rows, [(&[C, A][..], &[0.75, 0.25][..]), (&[B], &[0.0]), (&[], &[])]);
    assert_eq!(routing.assignments().collect::<Vec<_>>(), [(C, 0.75), (A, 0.25), (B, 0.0)]);
    assert!(routing.gate_probs_of(PatchIdx(1)).is_empty());
    assert_eq!([0, 1, 2].map(|patch| routing.num_serving(PatchIdx(patch))), [2, 0, 0], "one was dropped");
}

#[test]
fn ranks_that_are_left_out_count_nowhere() {
    let first = |ranks| ragged(vec![]).first_ranks(TopK::new(ranks, 3).unwrap());
    let one = first(1);
    assert_eq!((one.num_tokens(), one.top_k()), (3, 1));
    assert_eq!(one.assignments().collect::<Vec<_>>(), [(C, 0.75), (B, 0.0)]);
    assert_eq!(LayerBalance::of(&one).load, [0, 1, 1]);
    assert_eq!([first(2), first(3)], [ragged(vec![]), ragged(vec![])]);
}

#[test]
fn what_a_token_does_not_use_counts_nowhere() {
    let routing = ragged(vec![0.25, 0.0, 0.75, 0.5, 0.5, 0.0, 1.0, 0.0, 0.0]);
    let balance = LayerBalance::of(&routing);
    assert_eq!(balance.load, [1, 1, 1]);
    assert_eq!(balance.gate_mass, [0.25, 0.0, 0.75]);
    assert_eq!(balance.importance, [1.75, 0.5, 0.75]);
    assert_eq!((balance.dropped, balance.unserved_tokens, balance.non_finite), (1, 2, 0));
    let same = compare(&routing, &routing).unwrap();
    assert_eq!((same.changed_share, same.mean_jaccard, same.mean_agreement), (0.0, 1.0, 1.0));
}

#[test]
fn without_gate_probabilities_nothing_is_said_of_them() {
    let measures = TokenMeasures::of(&ragged(vec![]));
    assert!(measures.entropy.len() == 3 && measures.entropy.iter().chain(&measures.margin).all(|x| x.is_nan()));
    assert_eq!((measures.non_finite, measures.unnormalized), (0, 0));
}

#[test]
fn choices_that_cannot_be_are_refused() {
    let refused = |gate_probs: Vec<f32>, choices: &[Vec<(ExpertIdx, f32)>]| {
        LayerRouting::of_choices("layer", 2, gate_probs, choices).unwrap_err().to_string()
    };
    assert!(refused(vec![], &[vec![(C, 1.0)]]).contains("chose expert 2"));
    assert!(refused(vec![], &[vec![(A, 1.0), (B, 1.0), (A, 1.0)]]).contains("not 3"));
    assert!(refused(vec![0.5], &[vec![(A, 1.0)]]).contains("gate_probs has 1 values, 2 were expected"));
}
