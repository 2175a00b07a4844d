//! The pieces that the small graphs are made of.

use crate::model::graph::testing::{Sketch, node, with_ints};

/// Tokens, width of a token, experts, and width of an expert in all small graphs; all different.
pub(super) const T: i64 = 10;
pub(super) const D: i64 = 12;
pub(super) const E: i64 = 5;
pub(super) const H: i64 = 7;

/// `x` [T, D] and the gate's logits `l` [T, E].
pub(super) fn gate() -> Sketch {
    let mut sketch = Sketch::with_input(&[T, D]);
    sketch.weight("layer.gate.weight", &[D, E]);
    sketch.op("MatMul", "x layer.gate.weight", "l", &[]);
    sketch.int("two", 2);
    sketch.ints("k", &[2]);
    sketch
}

/// `p` = softmax of the logits, and the best two: `v`, `i` [T, 2].
pub(super) fn softmax_top_2(sketch: &mut Sketch) {
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    sketch.op("TopK", "p k", "v i", &[]);
}

/// Each token gathers the weights of its experts `i`, weighted by `w` [T, 2]: `y` [T, D].
pub(super) fn gathered(sketch: &mut Sketch, weights: &str) {
    sketch.weight("up", &[E, D, H]);
    sketch.weight("down", &[E, H, D]);
    sketch.op("Gather", "up i", "up_i", &[]);
    sketch.op("Gather", "down i", "down_i", &[]);
    sketch.ints("places", &[1, 2]);
    sketch.op("Unsqueeze", "x places", "x4", &[]);
    sketch.op("MatMul", "x4 up_i", "h", &[]);
    sketch.op("Relu", "h", "a", &[]);
    sketch.op("MatMul", "a down_i", "o4", &[]);
    sketch.ints("third", &[2]);
    sketch.op("Squeeze", "o4 third", "o", &[]);
    sketch.op("Unsqueeze", &format!("{weights} third"), "w3", &[]);
    sketch.op("Mul", "o w3", "wo", &[]);
    sketch.ints("second", &[1]);
    sketch.op("ReduceSum", "wo second", "y", &[("keepdims", 0)]);
}

/// One expert of its own, `input` [.., D] → `output`.
pub(super) fn expert(sketch: &mut Sketch, name: &str, input: &str, output: &str) {
    sketch.weight(&format!("{name}.up"), &[D, H]);
    sketch.weight(&format!("{name}.down"), &[H, D]);
    sketch.op("MatMul", &format!("{input} {name}.up"), &format!("{name}.h"), &[]);
    sketch.op("Relu", &format!("{name}.h"), &format!("{name}.a"), &[]);
    sketch.op("MatMul", &format!("{name}.a {name}.down"), output, &[]);
}

/// All experts on all tokens, weighted by the columns of `weights` [T, E]: `y`.
pub(super) fn dense(sketch: &mut Sketch, weights: &str) {
    for e in 0..E {
        expert(sketch, &format!("experts.{e}"), "x", &format!("o{e}"));
        sketch.int(&format!("c{e}"), e);
        sketch.op("Gather", &format!("{weights} c{e}"), &format!("g{e}"), &[("axis", 1)]);
        sketch.ints(&format!("last{e}"), &[1]);
        sketch.op("Unsqueeze", &format!("g{e} last{e}"), &format!("g{e}c"), &[]);
        sketch.op("Mul", &format!("o{e} g{e}c"), &format!("wo{e}"), &[]);
    }
    let mut sum = "wo0".to_owned();
    for e in 1..E {
        let next = if e == E - 1 { "y".to_owned() } else { format!("s{e}") };
        sketch.op("Add", &format!("{sum} wo{e}"), &next, &[]);
        sum = next;
    }
}

/// Each expert on the tokens that its row of a one-hot mask has, for the experts `hit`: `y`.
pub(super) fn looped(sketch: &mut Sketch, weights: &str, hit: &[i64]) {
    sketch.int("depth", E);
    sketch.ints("off_on", &[0, 1]);
    sketch.op("OneHot", "i depth off_on", "hot", &[]);
    sketch.graph.node.push(with_ints(node("Transpose", "hot", "mask", &[]), "perm", &[2, 1, 0]));
    sketch.op("Shape", "x", "size", &[]);
    sketch.op("ConstantOfShape", "size", "y0", &[]);
    for (n, &e) in hit.iter().enumerate() {
        sketch.int(&format!("c{e}"), e);
        sketch.op("Gather", &format!("mask c{e}"), &format!("m{e}"), &[]);
        sketch.op("NonZero", &format!("m{e}"), &format!("nz{e}"), &[]);
        sketch.graph.node.push(node("Split", &format!("nz{e}"), &format!("r{e} t{e}"), &[("axis", 0)]));
        sketch.ints(&format!("front{e}"), &[0]);
        sketch.op("Squeeze", &format!("t{e} front{e}"), &format!("token{e}"), &[]);
        sketch.op("Gather", &format!("x token{e}"), &format!("x{e}"), &[]);
        expert(sketch, &format!("experts.{e}"), &format!("x{e}"), &format!("o{e}"));
        sketch.graph.node.push(with_ints(
            node("Transpose", &format!("nz{e}"), &format!("at{e}"), &[]),
            "perm",
            &[1, 0],
        ));
        sketch.graph.node.push(with_ints(node("Transpose", weights, &format!("wt{e}"), &[]), "perm", &[1, 0]));
        sketch.op("GatherND", &format!("wt{e} at{e}"), &format!("w{e}"), &[]);
        sketch.ints(&format!("last{e}"), &[1]);
        sketch.op("Unsqueeze", &format!("w{e} last{e}"), &format!("w{e}c"), &[]);
        sketch.op("Mul", &format!("o{e} w{e}c"), &format!("wo{e}"), &[]);
        sketch.op("Unsqueeze", &format!("token{e} last{e}"), &format!("where{e}"), &[]);
        let next = if n + 1 == hit.len() { "y".to_owned() } else { format!("y{}", n + 1) };
        sketch.op("ScatterND", &format!("y{n} where{e} wo{e}"), &next, &[]);
    }
}

/// `w` = `v` ÷ sum over the choices.
pub(super) fn renormalize(sketch: &mut Sketch, values: &str) {
    sketch.ints("last_axis", &[-1]);
    sketch.op("ReduceSum", &format!("{values} last_axis"), "total", &[("keepdims", 1)]);
    sketch.op("Div", &format!("{values} total"), "w", &[]);
}

/// A classifier's head behind `y`.
pub(super) fn head(sketch: &mut Sketch) {
    sketch.weight("head", &[D, 3]);
    sketch.op("MatMul", "y head", "logits", &[]);
}
