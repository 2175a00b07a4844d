//! Weights as they are applied: after the scale of an expert, without those that are no experts, token by token.

use super::moe::{D, E, T, dense, gate, gathered, head, looped, renormalize, softmax_top_2};
use super::{only, report};
use crate::model::graph::testing::{node, with_ints};
use crate::model::routers::{GatingRule, Router, ScoreFunction, TensorRef};

fn name(tensor: Option<&TensorRef>) -> (&str, bool) {
    tensor.map_or(("", false), |tensor| (tensor.name.as_str(), tensor.dense))
}

fn ids_and_weights(router: &Router) -> [(&str, bool); 2] {
    [name(router.tensors.expert_ids.as_ref()), name(router.tensors.combine_weights.as_ref())]
}

/// Gemma 4: the weights of the chosen, times a number of each expert.
#[test]
fn a_scale_of_each_expert() {
    for (op, ids) in [("Gather", "i"), ("GatherND", "i_of_one")] {
        let mut sketch = gate();
        softmax_top_2(&mut sketch);
        renormalize(&mut sketch, "v");
        sketch.weight("scales", &[E]);
        sketch.op("Unsqueeze", "i last_axis", "i_of_one", &[]);
        sketch.op(op, &format!("scales {ids}"), "scale", &[]);
        sketch.op("Mul", "w scale", "scaled", &[]);
        gathered(&mut sketch, "scaled");
        let router = only(sketch);
        assert_eq!(router.rule, GatingRule::SoftmaxThenTopKRenormalized);
        assert_eq!(ids_and_weights(&router), [("i", false), ("scaled", false)], "{op}");
    }
}

/// AdaMoE: numbers from 3 on are null experts, whose weight is taken away.
#[test]
fn numbers_that_are_no_experts() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    sketch.int("three", 3);
    sketch.op("Less", "i three", "real", &[]);
    sketch.op("Cast", "real", "real_f", &[("to", 1)]);
    sketch.op("Mul", "v real_f", "own", &[]);
    renormalize(&mut sketch, "own");
    looped(&mut sketch, "w", &[0, 1, 2]);
    let router = only(sketch);
    assert_eq!((router.num_experts, router.experts.found, router.frozen), (5, 5, false));
    assert_eq!((router.rule, ids_and_weights(&router)[1].0), (GatingRule::SoftmaxThenTopKRenormalized, "w"));
    assert!(router.warnings[0].starts_with("3 of 5 experts are networks"), "{:?}", router.warnings);
}

/// ZAYA: the last number skips all experts; it is written over by expert 0 with a weight of zero.
#[test]
fn a_number_that_skips_all_experts() {
    let mut sketch = gate();
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    sketch.op("TopK", "p k", "v i0", &[]);
    sketch.int("last", E - 1);
    sketch.op("Equal", "i0 last", "skips", &[]);
    sketch.int("first", 0);
    sketch.scalar("nothing", 0.0);
    sketch.op("Where", "skips nothing v", "w", &[]);
    sketch.op("Where", "skips first i0", "i", &[]);
    for e in 0..E - 1 {
        sketch.int(&format!("n{e}"), e);
        sketch.op("Equal", &format!("i n{e}"), &format!("is{e}"), &[]);
        sketch.op("Cast", &format!("is{e}"), &format!("f{e}"), &[("to", 1)]);
        sketch.op("Mul", &format!("f{e} w"), &format!("fw{e}"), &[]);
        let sum = node("ReduceSum", &format!("fw{e} places"), &format!("g{e}"), &[("keepdims", 1)]);
        sketch.graph.node.push(sum);
        super::moe::expert(&mut sketch, &format!("experts.{e}"), "x", &format!("o{e}"));
        sketch.op("Mul", &format!("o{e} g{e}"), &format!("wo{e}"), &[]);
    }
    sketch.ints("places", &[1]);
    sketch.op("Add", "wo0 wo1", "s1", &[]);
    sketch.op("Add", "s1 wo2", "s2", &[]);
    sketch.op("Add", "s2 wo3", "y", &[]);
    let router = only(sketch);
    assert_eq!((router.num_experts, router.experts.found, router.frozen), (5, 5, false), "{:?}", router.warnings);
    assert_eq!(ids_and_weights(&router), [("i0", false), ("w", false)]);
}

/// DynMoE: every expert whose score passes its limit, and the best where none does, all with the same weight.
#[test]
fn limits_with_the_best_expert_to_fall_back_on() {
    let mut sketch = gate();
    sketch.op("Sigmoid", "l", "p", &[]);
    sketch.weight("limits", &[E]);
    sketch.op("Greater", "p limits", "over", &[]);
    sketch.op("Cast", "over", "over_f", &[("to", 1)]);
    sketch.ints("last_axis", &[-1]);
    sketch.scalar("nothing", 0.0);
    sketch.op("ReduceSum", "over_f last_axis", "number", &[]);
    sketch.op("Equal", "number nothing", "none", &[]);
    sketch.op("Cast", "none", "none_f", &[("to", 1)]);
    sketch.op("ArgMax", "p", "best", &[("axis", -1), ("keepdims", 0)]);
    sketch.int("depth", E);
    sketch.weight("off_on", &[2]);
    sketch.op("OneHot", "best depth off_on", "hot", &[]);
    sketch.op("Mul", "none_f hot", "instead", &[]);
    sketch.op("Add", "over_f instead", "taken", &[]);
    sketch.op("ReduceSum", "taken last_axis", "count", &[]);
    sketch.op("Div", "taken count", "share", &[]);
    dense(&mut sketch, "share");
    let router = only(sketch);
    assert_eq!((router.rule, router.score, router.top_k), (GatingRule::Threshold, ScoreFunction::Sigmoid, None));
    assert_eq!((router.experts.found, router.frozen), (5, false), "{:?}", router.warnings);
    assert_eq!(ids_and_weights(&router), [("", false), ("share", true)]);
}

#[test]
fn whatever_reaches_half_of_the_best_score() {
    let mut sketch = gate();
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    sketch.graph.node.push(with_ints(node("ReduceMax", "p", "best", &[("keepdims", 1)]), "axes", &[-1]));
    sketch.scalar("half", 0.5);
    sketch.op("Mul", "best half", "limit", &[]);
    sketch.op("GreaterOrEqual", "p limit", "over", &[]);
    sketch.op("Cast", "over", "over_f", &[("to", 1)]);
    sketch.op("Mul", "p over_f", "kept", &[]);
    renormalize(&mut sketch, "kept");
    dense(&mut sketch, "w");
    let router = only(sketch);
    assert_eq!((router.rule, router.top_k), (GatingRule::Threshold, None));
    assert_eq!(ids_and_weights(&router), [("", false), ("w", true)]);
}

/// Sparse upcycling (Komatsuzaki et al. 2023): experts choose tokens, and a token's weights are divided by their sum.
#[test]
fn expert_choice_that_is_divided_token_by_token() {
    let mut sketch = gate();
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    sketch.op("TopK", "p k", "v i", &[("axis", 0)]);
    sketch.op("Shape", "l", "size", &[]);
    sketch.op("ConstantOfShape", "size", "zeros", &[]);
    sketch.op("ScatterElements", "zeros i v", "taken", &[("axis", 0)]);
    sketch.ints("last_axis", &[1]);
    sketch.op("ReduceSum", "taken last_axis", "total", &[("keepdims", 1)]);
    sketch.scalar("little", 1e-9);
    sketch.op("Add", "total little", "some", &[]);
    sketch.op("Div", "taken some", "share", &[]);
    dense(&mut sketch, "share");
    let router = only(sketch);
    assert_eq!((router.rule, router.num_experts), (GatingRule::ExpertChoice, 5));
    assert_eq!(ids_and_weights(&router), [("", false), ("share", true)]);
    assert_eq!(router.tensors.combine_weights.unwrap().expert_axis, Some(1));
}

/// BASE layers: the best expert, weighted by the sigmoid of the token's product with its vector.
#[test]
fn a_weight_made_of_the_chosen_experts_vector() {
    let mut sketch = gate();
    sketch.op("ArgMax", "l", "i", &[("axis", -1), ("keepdims", 1)]);
    sketch.weight("vectors", &[E, D]);
    sketch.ints("flat", &[T]);
    sketch.op("Reshape", "i flat", "i1", &[]);
    sketch.op("Gather", "vectors i1", "own", &[]);
    sketch.op("Mul", "x own", "products", &[]);
    sketch.ints("one", &[1]);
    sketch.op("ReduceSum", "products one", "likeness", &[("keepdims", 1)]);
    sketch.op("Sigmoid", "likeness", "a", &[]);
    sketch.weight("up", &[E, D, D]);
    sketch.op("Gather", "up i1", "up_i", &[]);
    sketch.op("Unsqueeze", "x one", "x3", &[]);
    sketch.op("MatMul", "x3 up_i", "h", &[]);
    sketch.op("Squeeze", "h one", "o", &[]);
    sketch.op("Mul", "a o", "y", &[]);
    let router = only(sketch);
    assert_eq!((router.rule, router.top_k), (GatingRule::ArgMax, Some(1)));
    assert_eq!(name(router.tensors.combine_weights.as_ref()), ("a", false));
}

/// V-MoE's noise, left in an export.
#[test]
fn noise_that_is_added_to_the_logits_is_told() {
    let mut sketch = gate();
    sketch.op("RandomNormalLike", "l", "noise", &[]);
    sketch.op("Add", "l noise", "noisy", &[]);
    sketch.op("Softmax", "noisy", "p", &[("axis", -1)]);
    sketch.op("TopK", "p k", "v i", &[]);
    gathered(&mut sketch, "v");
    let router = only(sketch);
    assert!(router.warnings.iter().any(|warning| warning.contains("random numbers")), "{:?}", router.warnings);
}

/// Prompts of a pool (L2P: Wang et al. 2022) are looked up like experts' weights, and stand before the tokens.
#[test]
fn prompts_that_are_looked_up_are_no_experts() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    sketch.weight("prompts", &[E, 3, D]);
    sketch.op("Gather", "prompts i", "chosen", &[]);
    sketch.ints("flat", &[2 * T * 3, D]);
    sketch.op("Reshape", "chosen flat", "before", &[]);
    sketch.op("Concat", "before x", "all", &[("axis", 0)]);
    super::moe::expert(&mut sketch, "mlp", "all", "y");
    head(&mut sketch);
    let report = report(&sketch.model("logits"));
    assert!(report.routers.is_empty(), "{:#?}", report.routers);
    assert!(report.near_misses.iter().any(|miss| miss.reason.contains("prompts")), "{:?}", report.near_misses);
}
