//! Choices that are cut, made one after the other, or limited by what experts have room for.

use super::moe::{D, E, H, T, dense, expert, gate, gathered, looped, softmax_top_2};
use super::only;
use crate::model::graph::testing::{Sketch, node, with_ints};
use crate::model::routers::{Capacity, GatingRule, KeptRef, Priority, Router, TensorRef};

/// Training needs the next best, too; what counts is what is left after it was cut off.
#[test]
fn one_more_than_k_that_is_cut_off() {
    let mut sketch = gate();
    sketch.ints("three", &[3]);
    sketch.op("TopK", "l three", "v3 i3", &[]);
    for name in ["zero", "one", "end"] {
        sketch.ints(name, &[i64::from(name == "one") + 2 * i64::from(name == "end")]);
    }
    sketch.op("Slice", "v3 zero end one", "v", &[]);
    sketch.op("Slice", "i3 zero end one", "i", &[]);
    sketch.op("Softmax", "v", "w", &[("axis", -1)]);
    gathered(&mut sketch, "w");
    let router = only(sketch);
    assert_eq!((router.rule, router.top_k), (GatingRule::TopKThenSoftmax, Some(2)));
    assert_eq!(
        (router.tensors.expert_ids.unwrap().name, router.tensors.combine_weights.unwrap().name),
        ("i".into(), "w".into())
    );
}

/// GShard: the best, then the best of the others; their probabilities divided by their sum.
#[test]
fn two_arg_maxes_one_after_the_other() {
    let mut sketch = gate();
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    sketch.int("depth", E);
    sketch.weight("off_on", &[2]);
    sketch.scalar("low", f32::NEG_INFINITY);
    sketch.op("ArgMax", "p", "first", &[("axis", -1), ("keepdims", 0)]);
    sketch.op("OneHot", "first depth off_on", "m1", &[]);
    sketch.op("Cast", "m1", "b1", &[("to", 9)]);
    sketch.op("Where", "b1 low l", "rest", &[]);
    sketch.op("ArgMax", "rest", "second", &[("axis", -1), ("keepdims", 0)]);
    sketch.op("OneHot", "second depth off_on", "m2", &[]);
    sketch.einsum("te,te->t", "p m1", "g1");
    sketch.einsum("te,te->t", "p m2", "g2");
    sketch.op("Add", "g1 g2", "total", &[]);
    sketch.op("Div", "g1 total", "w1", &[]);
    sketch.op("Div", "g2 total", "w2", &[]);
    sketch.ints("last", &[1]);
    for n in ["1", "2"] {
        sketch.op("Unsqueeze", &format!("w{n} last"), &format!("u{n}"), &[]);
        sketch.op("Mul", &format!("u{n} m{n}"), &format!("d{n}"), &[]);
    }
    sketch.op("Add", "d1 d2", "spread", &[]);
    dense(&mut sketch, "spread");
    let router = only(sketch);
    assert_eq!((router.rule, router.top_k), (GatingRule::SoftmaxThenTopKRenormalized, Some(2)));
    assert_eq!((&router.tensors.expert_ids, &router.tensors.kept), (&None, &None));
    let name = |tensor: &Option<TensorRef>| tensor.as_ref().unwrap().name.clone();
    let ranks = router.tensors.ranks.iter().map(|rank| [name(&rank.expert_ids), name(&rank.combine_weights)]);
    assert_eq!(ranks.collect::<Vec<_>>(), [["first", "w1"], ["second", "w2"]]);
    assert!(router.warnings.iter().all(|warning| !warning.contains("no tensor lists all")), "{:?}", router.warnings);
}

/// Tutel: a top-k taken apart, whose second choices stand behind all first ones. Each choice has its weight and its room.
fn taken_apart(limit: impl Fn(&mut Sketch)) -> Router {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    sketch.int("depth", E);
    sketch.weight("off_on", &[2]);
    sketch.ints("one", &[1]);
    sketch.ints("tokens", &[0]);
    limit(&mut sketch);
    sketch.op("Split", "i", "i1 i2", &[("axis", -1), ("num_outputs", 2)]);
    sketch.ints("flat", &[-1]);
    for n in ["1", "2"] {
        sketch.op("Reshape", &format!("i{n} flat"), &format!("e{n}"), &[]);
        sketch.op("OneHot", &format!("e{n} depth off_on"), &format!("m{n}"), &[]);
        sketch.einsum("te,te->t", &format!("p m{n}"), &format!("g{n}"));
        sketch.op("CumSum", &format!("m{n} tokens"), &format!("c{n}"), &[]);
    }
    sketch.op("ReduceSum", "m1 tokens", "before", &[("keepdims", 1)]);
    sketch.op("Add", "before c2", "behind", &[]);
    for (n, places) in [("1", "c1"), ("2", "behind")] {
        sketch.op("Mul", &format!("{places} m{n}"), &format!("own{n}"), &[]);
        sketch.op("ReduceSum", &format!("own{n} one"), &format!("place{n}"), &[("keepdims", 0)]);
        sketch.op("LessOrEqual", &format!("place{n} room"), &format!("fits{n}"), &[]);
        sketch.op("Cast", &format!("fits{n}"), &format!("f{n}"), &[("to", 1)]);
        sketch.op("Mul", &format!("g{n} f{n}"), &format!("w{n}"), &[]);
        sketch.op("Unsqueeze", &format!("w{n} one"), &format!("u{n}"), &[]);
        sketch.op("Mul", &format!("u{n} m{n}"), &format!("d{n}"), &[]);
    }
    sketch.op("Add", "d1 d2", "spread", &[]);
    dense(&mut sketch, "spread");
    only(sketch)
}

#[test]
fn the_room_of_each_choice_by_itself() {
    let constant = |sketch: &mut Sketch| sketch.scalar("room", 3.0);
    // T · 1.25 / E, worked out while the model runs.
    let computed = |sketch: &mut Sketch| {
        sketch.op("ReduceSum", "p", "all", &[("keepdims", 0)]);
        sketch.scalar("share", 0.25);
        sketch.op("Mul", "all share", "places", &[]);
        sketch.op("Ceil", "places", "room", &[]);
    };
    for (limit, per_expert) in [(&constant as &dyn Fn(&mut Sketch), Some(3)), (&computed, None)] {
        let router = taken_apart(limit);
        assert_eq!(router.capacity.map(|capacity| capacity.per_expert), Some(per_expert));
        assert_eq!(router.tensors.expert_ids.as_ref().unwrap().name, "i", "all choices are in one tensor");
        assert_eq!((&router.tensors.combine_weights, &router.tensors.kept), (&None, &None));
        let names = router.tensors.ranks.iter().map(|rank| {
            assert_eq!(rank.expert_ids, None);
            let weights = rank.combine_weights.as_ref().unwrap().name.clone();
            (weights, rank.kept.as_ref().unwrap().tensor.name.clone())
        });
        assert_eq!(names.collect::<Vec<_>>(), [("g1".into(), "fits1".into()), ("g2".into(), "fits2".into())]);
    }
}

/// Softmax, top 2, how many tokens chose the same expert before, and experts on what they have room for.
fn with_places(room: impl Fn(&mut Sketch)) -> Router {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    sketch.int("depth", E);
    sketch.ints("off_on", &[0, 1]);
    sketch.op("OneHot", "i depth off_on", "hot", &[]);
    sketch.int("along", 0);
    sketch.op("CumSum", "hot along", "sums", &[]);
    sketch.op("Mul", "sums hot", "own", &[]);
    sketch.graph.node.push(with_ints(node("ReduceMax", "own", "place", &[("keepdims", 0)]), "axes", &[-1]));
    room(&mut sketch);
    gathered(&mut sketch, "kept_v");
    only(sketch)
}

/// All tokens are one group.
const FOUR_PLACES: Capacity =
    Capacity { per_expert: Some(4), group_tokens: Some(T as usize), groups: Some(1), priority: Priority::FirstCome };

fn name(kept: Option<&KeptRef>) -> (&str, Option<usize>, Option<usize>, bool) {
    kept.map_or(("", None, None, false), |kept| {
        (kept.tensor.name.as_str(), kept.tensor.expert_axis, kept.place_axis, kept.tensor.dense)
    })
}

#[test]
fn choices_that_are_compared_with_a_capacity() {
    let router = with_places(|sketch| {
        sketch.int("four", 4);
        sketch.op("LessOrEqual", "place four", "kept", &[]);
        sketch.op("Cast", "kept", "kept_f", &[("to", 1)]);
        sketch.op("Mul", "v kept_f", "kept_v", &[]);
    });
    assert_eq!(router.capacity, Some(FOUR_PLACES));
    assert_eq!(name(router.tensors.kept.as_ref()), ("kept", Some(1), None, false));
    assert_eq!(router.tensors.combine_weights.unwrap().name, "v");
}

#[test]
fn places_that_are_one_hot_vectors() {
    let router = with_places(|sketch| {
        sketch.int("four", 4);
        sketch.op("OneHot", "place four off_on", "slot", &[]);
        sketch.op("Cast", "slot", "slot_f", &[("to", 1)]);
        sketch.ints("last", &[-1]);
        sketch.op("ReduceSum", "slot_f last", "any", &[("keepdims", 0)]);
        sketch.op("Mul", "v any", "kept_v", &[]);
    });
    assert_eq!(router.capacity, Some(FOUR_PLACES));
    assert_eq!(name(router.tensors.kept.as_ref()), ("slot_f", Some(1), Some(2), false));
}

/// The sum over experts begins with a dense layer, which is no part of the first expert.
#[test]
fn experts_that_are_added_to_a_dense_layer() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    sketch.op("Shape", "l", "size", &[]);
    sketch.op("ConstantOfShape", "size", "zeros", &[]);
    sketch.op("ScatterElements", "zeros i v", "spread", &[("axis", 1)]);
    sketch.weight("base", &[D, D]);
    sketch.op("MatMul", "x base", "s0", &[]);
    for e in 0..E {
        expert(&mut sketch, &format!("experts.{e}"), "x", &format!("o{e}"));
        sketch.ints(&format!("from{e}"), &[e]);
        sketch.ints(&format!("to{e}"), &[e + 1]);
        sketch.ints(&format!("axis{e}"), &[1]);
        sketch.op("Slice", &format!("spread from{e} to{e} axis{e}"), &format!("g{e}"), &[]);
        sketch.op("Mul", &format!("o{e} g{e}"), &format!("wo{e}"), &[]);
        let next = if e == E - 1 { "y".to_owned() } else { format!("s{}", e + 1) };
        sketch.op("Add", &format!("s{e} wo{e}"), &next, &[]);
    }
    let router = only(sketch);
    assert_eq!((router.experts.found as i64, router.experts.parameters as i64), (E, 2 * E * D * H));
    assert!(!router.warnings.iter().any(|warning| warning.contains("different ways")), "{:?}", router.warnings);
    assert_eq!(router.tensors.expert_ids.unwrap().shape, [T, 2]);
}

/// Two products more than the others have: the warning says which expert, and what it has.
#[test]
fn experts_that_are_built_in_different_ways() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    sketch.op("Shape", "l", "size", &[]);
    sketch.op("ConstantOfShape", "size", "zeros", &[]);
    sketch.op("ScatterElements", "zeros i v", "spread", &[("axis", 1)]);
    dense(&mut sketch, "spread");
    let wide = sketch.graph.initializer.iter_mut().filter(|weight| weight.name.starts_with("experts.3."));
    wide.for_each(|weight| weight.dims.iter_mut().filter(|size| **size == H).for_each(|size| *size = 2 * H));
    let router = only(sketch);
    let warning = router.warnings.iter().find(|warning| warning.contains("different ways")).expect("a warning");
    assert!(warning.contains("expert 3 has MatMul 12×14, MatMul 14×12"), "{warning}");
    assert!(warning.contains("expert 0 has MatMul 7×12, MatMul 12×7"), "{warning}");
    assert_eq!(router.experts.found as i64, E);
}

/// The last expert copies what it is given: the export lost nothing, and says who has weights.
#[test]
fn an_expert_without_weights() {
    let hit: Vec<i64> = (0..E).collect();
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    looped(&mut sketch, "v", &hit);
    let last = format!("experts.{}", E - 1);
    sketch.graph.node.retain(|node| !node.input.iter().chain(&node.output).any(|name| name.starts_with(&last)));
    sketch.op("Identity", &format!("x{}", E - 1), &format!("o{}", E - 1), &[]);
    let router = only(sketch);
    assert_eq!((router.frozen, router.experts.found as i64), (false, E));
    assert!(
        router.warnings.iter().any(|warning| warning.starts_with("4 of 5 experts are networks")),
        "{:?}",
        router.warnings
    );
}

/// An expert that is missing before others is one that the export lost.
#[test]
fn an_expert_that_an_export_left_out() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    looped(&mut sketch, "v", &[0, 1, 3, 4]);
    let router = only(sketch);
    assert_eq!((router.frozen, router.experts.found), (true, 4));
}

/// Experts of all kinds, weighted by their columns: `n` a network, `z` nothing at all, `c` a copy, `k` α₁ x + α₂ v.
fn of_kinds(kinds: &str) -> Router {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    sketch.op("Shape", "l", "size", &[]);
    sketch.op("ConstantOfShape", "size", "zeros", &[]);
    sketch.op("ScatterElements", "zeros i v", "spread", &[("axis", 1)]);
    sketch.ints("behind", &[1]);
    let mut sum = String::new();
    for (e, kind) in kinds.chars().enumerate() {
        let output = match kind {
            'z' => continue,
            'c' => "x".to_owned(),
            'n' => {
                expert(&mut sketch, &format!("experts.{e}"), "x", &format!("o{e}"));
                format!("o{e}")
            }
            _ => {
                sketch.weight(&format!("alpha{e}"), &[D, 2]);
                sketch.weight(&format!("v{e}"), &[D]);
                sketch.op("MatMul", &format!("x alpha{e}"), &format!("al{e}"), &[]);
                sketch.op("Softmax", &format!("al{e}"), &format!("a{e}"), &[("axis", -1)]);
                sketch.op("Split", &format!("a{e}"), &format!("ax{e} av{e}"), &[("axis", 1), ("num_outputs", 2)]);
                sketch.op("Mul", &format!("x ax{e}"), &format!("ox{e}"), &[]);
                sketch.op("Mul", &format!("v{e} av{e}"), &format!("ov{e}"), &[]);
                sketch.op("Add", &format!("ox{e} ov{e}"), &format!("o{e}"), &[]);
                format!("o{e}")
            }
        };
        sketch.int(&format!("c{e}"), e as i64);
        sketch.op("Gather", &format!("spread c{e}"), &format!("g{e}"), &[("axis", 1)]);
        sketch.op("Unsqueeze", &format!("g{e} behind"), &format!("gc{e}"), &[]);
        sketch.op("Mul", &format!("{output} gc{e}"), &format!("wo{e}"), &[]);
        if sum.is_empty() {
            sum = format!("wo{e}");
        } else {
            sketch.op("Add", &format!("{sum} wo{e}"), &format!("s{e}"), &[]);
            sum = format!("s{e}");
        }
    }
    sketch.op("Identity", &sum, "y", &[]);
    only(sketch)
}

/// MoE++ has experts that give nothing and leave no trace, that copy, and constants with a small gate of their own. What is
/// missing among the networks was lost.
#[test]
fn experts_that_are_no_networks() {
    for (kinds, found, frozen, said) in [
        (
            "nnzck",
            4,
            false,
            "2 of 5 experts are networks; 1 mix a vector of their own with what they are given; 1 only",
        ),
        ("kcznn", 4, false, "1 left no trace in the graph"),
        ("nnkkz", 4, false, "2 of 5 experts are networks; 2 mix"),
        ("nnnck", 5, false, "3 of 5 experts are networks"),
        ("nznck", 4, true, "the export lost the others"),
        ("zznnk", 3, true, "the export lost the others"),
        ("nnznn", 4, true, "the export lost the others"),
    ] {
        let router = of_kinds(kinds);
        assert_eq!((router.num_experts, router.experts.found, router.frozen), (5, found, frozen), "{kinds}");
        assert!(router.warnings.iter().any(|warning| warning.contains(said)), "{kinds}: {:?}", router.warnings);
        let unlike = router.warnings.iter().any(|warning| warning.contains("built in different ways"));
        assert!(!unlike, "{kinds}: {:?}", router.warnings);
    }
}
