//! Experts that no gate chooses, and what only looks like them; and dense networks beside experts that one does.

use super::moe::{D, H, T, expert, gate, gathered, softmax_top_2};
use super::{only, report};
use crate::model::graph::testing::{Sketch, node, with_ints};
use crate::model::routers::{FixedRouting, FixedRule, Takes};

fn found(sketch: Sketch) -> Vec<FixedRouting> {
    let report = report(&sketch.model("y"));
    assert_eq!(report.routers.len(), 0);
    report.fixed
}

/// The first tokens to one expert, the rest to the other, along `axis` of `x`.
fn split(axis: i64, sizes: [i64; 2]) -> Sketch {
    let mut sketch = Sketch::with_input(&[T, D]);
    sketch.ints("sizes", &sizes);
    sketch.op("Split", "x sizes", "x0 x1", &[("axis", axis)]);
    sketch
}

#[test]
fn by_position() {
    let mut sketch = split(0, [6, 4]);
    expert(&mut sketch, "layer.a", "x0", "o0");
    expert(&mut sketch, "layer.b", "x1", "o1");
    sketch.op("Concat", "o0 o1", "y", &[("axis", 0)]);
    let found = found(sketch);
    let [fixed] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((&fixed.rule, fixed.num_experts, fixed.name.as_str()), (&FixedRule::Position, 2, "layer"));
    let takes: Vec<&Takes> = fixed.experts.iter().map(|expert| &expert.takes).collect();
    assert_eq!(takes, [&Takes::Range { start: 0, end: 6 }, &Takes::Range { start: 6, end: 10 }]);
    assert_eq!(fixed.parameters as i64, 2 * 2 * D * H);
    assert_eq!(fixed.assignment(), ["expert 0 takes tokens 0 to 5", "expert 1 takes tokens 6 to 9"]);
}

/// Two kinds of tokens, of which a truth value for each says which expert it takes.
#[test]
fn by_a_mask_for_two() {
    let mut sketch = Sketch::with_input(&[T, D]);
    sketch.input("types", 7, &[T, 1]);
    sketch.int("image", 1);
    sketch.op("Equal", "types image", "is_image", &[]);
    expert(&mut sketch, "layer.a", "x", "o0");
    expert(&mut sketch, "layer.b", "x", "o1");
    sketch.op("Where", "is_image o0 o1", "y", &[]);
    let found = found(sketch);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].rule, FixedRule::Input { name: "types".to_owned() });
    assert!(matches!(&found[0].experts[0].takes, Takes::Equal { tensor, equals: 1 } if tensor.name == "types"));
}

/// Tokens at places that the file lists are written back to them.
#[test]
fn by_places() {
    let mut sketch = Sketch::with_input(&[T, D]);
    sketch.floats("y0", &[T, D], &vec![0.0; (T * D) as usize]);
    for (n, places) in [("0", [0, 3, 5, 8, 9]), ("1", [1, 2, 4, 6, 7])] {
        sketch.ints(&format!("at{n}"), &places);
        sketch.ints(&format!("back{n}"), &[1]);
        sketch.op("Gather", &format!("x at{n}"), &format!("x{n}"), &[]);
        expert(&mut sketch, &format!("experts.{n}"), &format!("x{n}"), &format!("o{n}"));
        sketch.op("Unsqueeze", &format!("at{n} back{n}"), &format!("where{n}"), &[]);
    }
    sketch.op("ScatterND", "y0 where0 o0", "y1", &[]);
    sketch.op("ScatterND", "y1 where1 o1", "y", &[]);
    let found = found(sketch);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].rule, FixedRule::Position);
    assert_eq!(found[0].experts[1].takes, Takes::Positions { positions: vec![1, 2, 4, 6, 7] });
}

#[test]
fn what_is_no_fixed_routing() {
    // Two networks on all tokens, side by side.
    let mut wide = Sketch::with_input(&[T, D]);
    expert(&mut wide, "a", "x", "o0");
    expert(&mut wide, "b", "x", "o1");
    wide.op("Concat", "o0 o1", "y", &[("axis", 0)]);
    // Features are divided, not tokens.
    let mut features = Sketch::with_input(&[T, 2 * D]);
    features.ints("sizes", &[D, D]);
    features.op("Split", "x sizes", "x0 x1", &[("axis", 1)]);
    expert(&mut features, "a", "x0", "o0");
    expert(&mut features, "b", "x1", "o1");
    features.op("Concat", "o0 o1", "y", &[("axis", 1)]);
    // Both parts go through the same network.
    let mut shared = split(0, [6, 4]);
    expert(&mut shared, "a", "x0", "o0");
    shared.op("MatMul", "x1 a.up", "h1", &[]);
    shared.op("MatMul", "h1 a.down", "o1", &[]);
    shared.op("Concat", "o0 o1", "y", &[("axis", 0)]);
    // One layer each is a projection.
    let mut thin = split(0, [6, 4]);
    for n in ["0", "1"] {
        thin.weight(&format!("w{n}"), &[D, D]);
        thin.op("MatMul", &format!("x{n} w{n}"), &format!("o{n}"), &[]);
    }
    thin.op("Concat", "o0 o1", "y", &[("axis", 0)]);
    // The networks mix their tokens.
    let mut mixing = split(0, [5, 5]);
    for n in ["0", "1"] {
        expert(&mut mixing, &format!("e{n}"), &format!("x{n}"), &format!("v{n}"));
        mixing.graph.node.push(with_ints(node("Transpose", &format!("v{n}"), &format!("t{n}"), &[]), "perm", &[1, 0]));
        mixing.op("MatMul", &format!("v{n} t{n}"), &format!("s{n}"), &[]);
        mixing.op("MatMul", &format!("s{n} v{n}"), &format!("o{n}"), &[]);
    }
    mixing.op("Concat", "o0 o1", "y", &[("axis", 0)]);
    // What decides is computed from the features.
    let mut decided = Sketch::with_input(&[T, D]);
    decided.scalar("zero", 0.0);
    decided.op("Greater", "x zero", "positive", &[]);
    expert(&mut decided, "a", "x", "o0");
    expert(&mut decided, "b", "x", "o1");
    decided.op("Where", "positive o0 o1", "y", &[]);
    // Buffers that something fills by its own measure.
    let mut buffers = Sketch::with_input(&[T, D]);
    buffers.weight("places", &[D, 8]);
    buffers.op("MatMul", "x places", "dispatch", &[]);
    buffers.graph.node.push(with_ints(node("Transpose", "dispatch", "by_place", &[]), "perm", &[1, 0]));
    buffers.op("MatMul", "by_place x", "filled", &[]);
    buffers.ints("sizes", &[4, 4]);
    buffers.op("Split", "filled sizes", "x0 x1", &[("axis", 0)]);
    expert(&mut buffers, "a", "x0", "o0");
    expert(&mut buffers, "b", "x1", "o1");
    buffers.op("Concat", "o0 o1", "y", &[("axis", 0)]);
    for (name, sketch) in [
        ("wide", wide),
        ("buffers", buffers),
        ("features", features),
        ("shared", shared),
        ("thin", thin),
        ("mixing", mixing),
        ("decided", decided),
    ] {
        assert_eq!(report(&sketch.model("y")).fixed, [], "{name}");
    }
}

/// A mixture behind a norm, added to the stream together with what `beside` makes.
fn beside(beside: impl Fn(&mut Sketch)) -> usize {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    gathered(&mut sketch, "v");
    // The stream goes on, so that it is no part of a sum.
    for node in &mut sketch.graph.node {
        node.output.iter_mut().filter(|name| *name == "y").for_each(|name| "routed".clone_into(name));
    }
    sketch.graph.input[0].name = "stream".into();
    sketch.weight("scale", &[D]);
    sketch.graph.node.insert(0, node("Mul", "stream scale", "x", &[]));
    sketch.weight("other", &[D]);
    sketch.op("Mul", "stream other", "normed", &[]);
    beside(&mut sketch);
    sketch.op("Add", "stream dense", "sum", &[]);
    sketch.op("Add", "sum routed", "y", &[]);
    only(sketch).shared_experts
}

/// Arctic: what is added for every token stands behind a norm of its own.
#[test]
fn a_dense_network_beside_the_experts() {
    assert_eq!(beside(|sketch| expert(sketch, "dense_mlp", "normed", "dense")), 1);
    // One layer is no network, and attention is none either.
    let thin = |sketch: &mut Sketch| {
        sketch.weight("w", &[D, D]);
        sketch.op("MatMul", "normed w", "dense", &[]);
    };
    assert_eq!(beside(thin), 0);
    let attention = |sketch: &mut Sketch| {
        sketch.weight("q", &[D, D]);
        sketch.weight("o", &[D, D]);
        sketch.op("MatMul", "normed q", "query", &[]);
        sketch.graph.node.push(with_ints(node("Transpose", "query", "key", &[]), "perm", &[1, 0]));
        sketch.op("MatMul", "query key", "scores", &[]);
        sketch.op("Softmax", "scores", "attention", &[("axis", -1)]);
        sketch.op("MatMul", "attention query", "mixed", &[]);
        sketch.op("MatMul", "mixed o", "dense", &[]);
    };
    assert_eq!(beside(attention), 0);
}
