//! What looks like a router and is none.

use super::moe::{D, E, H, T, dense, expert, gate, gathered, head, softmax_top_2};
use super::report;
use crate::model::graph::testing::{Sketch, node, with_ints};
use crate::model::proto::ModelProto;

/// No router, and a reason for each place that was looked at.
fn none(model: &ModelProto) {
    let report = report(model);
    assert!(report.routers.is_empty(), "{:#?}", report.routers);
    assert!(!report.near_misses.is_empty(), "{:?}", report.looked_at);
    assert!(report.near_misses.iter().all(|miss| !miss.reason.is_empty() && !miss.node.is_empty()));
}

/// `y` = self-attention of `x` with residual connection and a feed-forward network behind it.
fn attention(sketch: &mut Sketch) {
    for part in ["q", "key", "value"] {
        sketch.weight(&format!("w_{part}"), &[D, D]);
        sketch.op("MatMul", &format!("x w_{part}"), part, &[]);
    }
    sketch.graph.node.push(with_ints(node("Transpose", "key", "key_t", &[]), "perm", &[1, 0]));
    sketch.op("MatMul", "q key_t", "scores", &[]);
    sketch.op("Softmax", "scores", "rows", &[("axis", -1)]);
    sketch.op("MatMul", "rows value", "mixed", &[]);
    sketch.op("Add", "mixed x", "z", &[]);
    expert(sketch, "mlp", "z", "f");
    sketch.op("Add", "z f", "y", &[]);
}

#[test]
fn attention_and_a_classifier() {
    let mut sketch = Sketch::with_input(&[T, D]);
    attention(&mut sketch);
    head(&mut sketch);
    sketch.op("Softmax", "logits", "probs", &[("axis", -1)]);
    sketch.ints("k", &[2]);
    sketch.op("TopK", "probs k", "best classes", &[]);
    none(&sketch.model("best classes"));
}

/// Sparse attention keeps the best of each row.
#[test]
fn top_k_on_rows_of_attention() {
    let mut sketch = Sketch::with_input(&[T, D]);
    for part in ["q", "key", "value"] {
        sketch.weight(&format!("w_{part}"), &[D, D]);
        sketch.op("MatMul", &format!("x w_{part}"), part, &[]);
    }
    sketch.graph.node.push(with_ints(node("Transpose", "key", "key_t", &[]), "perm", &[1, 0]));
    sketch.op("MatMul", "q key_t", "scores", &[]);
    sketch.ints("k", &[4]);
    sketch.op("TopK", "scores k", "v i", &[]);
    sketch.op("Softmax", "v", "w", &[("axis", -1)]);
    sketch.op("Shape", "scores", "size", &[]);
    sketch.op("ConstantOfShape", "size", "zeros", &[]);
    sketch.op("ScatterElements", "zeros i w", "rows", &[("axis", 1)]);
    sketch.op("MatMul", "rows value", "mixed", &[]);
    expert(&mut sketch, "mlp", "mixed", "y");
    head(&mut sketch);
    none(&sketch.model("logits"));
}

#[test]
fn a_detector_that_takes_its_best_boxes() {
    let mut sketch = Sketch::with_input(&[T, D]);
    sketch.weight("classes", &[D, E]);
    sketch.weight("boxes", &[D, 4]);
    sketch.op("MatMul", "x classes", "c", &[]);
    sketch.op("Sigmoid", "c", "s", &[]);
    sketch.op("MatMul", "x boxes", "b", &[]);
    sketch.graph.node.push(with_ints(node("ReduceMax", "s", "best", &[("keepdims", 0)]), "axes", &[-1]));
    sketch.op("ArgMax", "s", "class", &[("axis", -1), ("keepdims", 0)]);
    sketch.ints("k", &[3]);
    sketch.op("TopK", "best k", "score at", &[]);
    sketch.op("Gather", "b at", "box", &[]);
    sketch.op("Gather", "class at", "label", &[]);
    none(&sketch.model("score box label"));
}

/// The queries of a two-stage detector go on through a network.
#[test]
fn queries_that_a_detector_takes_from_its_tokens() {
    let mut sketch = Sketch::with_input(&[T, D]);
    sketch.weight("score", &[D, E]);
    sketch.op("MatMul", "x score", "s", &[]);
    sketch.graph.node.push(with_ints(node("ReduceMax", "s", "best", &[("keepdims", 0)]), "axes", &[-1]));
    sketch.ints("k", &[E]);
    sketch.op("TopK", "best k", "v at", &[]);
    sketch.op("Gather", "x at", "queries", &[]);
    expert(&mut sketch, "mlp", "queries", "y");
    head(&mut sketch);
    none(&sketch.model("logits"));
}

#[test]
fn a_codebook() {
    let mut sketch = gate();
    sketch.op("ArgMax", "l", "i", &[("axis", -1), ("keepdims", 0)]);
    sketch.weight("codes", &[E, D]);
    sketch.op("Gather", "codes i", "y", &[]);
    head(&mut sketch);
    none(&sketch.model("logits"));
}

/// Residual quantisation has several.
#[test]
fn two_codebooks_that_the_same_index_reads() {
    let mut sketch = gate();
    sketch.op("ArgMax", "l", "i", &[("axis", -1), ("keepdims", 0)]);
    sketch.weight("codes", &[E, D]);
    sketch.weight("more_codes", &[E, D]);
    sketch.op("Gather", "codes i", "a", &[]);
    sketch.op("Gather", "more_codes i", "b", &[]);
    sketch.op("Add", "a b", "y", &[]);
    head(&mut sketch);
    none(&sketch.model("logits"));
}

#[test]
fn tokens_that_are_pruned() {
    let mut sketch = Sketch::with_input(&[T, D]);
    sketch.weight("score", &[D, 1]);
    sketch.op("MatMul", "x score", "s1", &[]);
    sketch.ints("second", &[1]);
    sketch.op("Squeeze", "s1 second", "s", &[]);
    sketch.ints("k", &[4]);
    sketch.op("TopK", "s k", "v i", &[]);
    sketch.op("Gather", "x i", "kept", &[]);
    expert(&mut sketch, "mlp", "kept", "y");
    head(&mut sketch);
    none(&sketch.model("logits"));
}

/// Two convolutions, and a softmax over the two that is computed from their sum (Li et al.: Selective Kernel Networks).
#[test]
fn selective_kernels() {
    let mut sketch = Sketch::with_input(&[1, 4, 8, 8]);
    for branch in ["a", "b"] {
        sketch.weight(&format!("kernel_{branch}"), &[6, 4, 1, 1]);
        sketch.op("Conv", &format!("x kernel_{branch}"), &format!("u{branch}"), &[]);
    }
    sketch.op("Add", "ua ub", "fused", &[]);
    sketch.op("GlobalAveragePool", "fused", "pooled", &[]);
    sketch.op("Flatten", "pooled", "flat", &[]);
    sketch.weight("gate", &[6, 2]);
    sketch.op("MatMul", "flat gate", "l", &[]);
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    sketch.ints("places", &[2, 3]);
    for (e, branch) in ["a", "b"].into_iter().enumerate() {
        sketch.int(&format!("c{e}"), e as i64);
        sketch.op("Gather", &format!("p c{e}"), &format!("g{e}"), &[("axis", 1)]);
        sketch.ints(&format!("wide{e}"), &[1, 2, 3]);
        sketch.op("Unsqueeze", &format!("g{e} wide{e}"), &format!("g{e}w"), &[]);
        sketch.op("Mul", &format!("u{branch} g{e}w"), &format!("v{branch}"), &[]);
    }
    sketch.op("Add", "va vb", "y", &[]);
    none(&sketch.model("y"));
}

/// Squeeze and excitation weights channels, not experts.
#[test]
fn squeeze_and_excitation() {
    let mut sketch = Sketch::with_input(&[1, 4, 8, 8]);
    sketch.op("GlobalAveragePool", "x", "pooled", &[]);
    sketch.weight("down", &[2, 4, 1, 1]);
    sketch.weight("up", &[4, 2, 1, 1]);
    sketch.op("Conv", "pooled down", "h", &[]);
    sketch.op("Relu", "h", "a", &[]);
    sketch.op("Conv", "a up", "s", &[]);
    sketch.op("Sigmoid", "s", "g", &[]);
    sketch.op("Mul", "x g", "y", &[]);
    assert!(report(&sketch.model("y")).routers.is_empty());
}

/// A gate over attention's heads, of which the model has as many as the layer before has experts.
#[test]
fn a_dense_layer_after_one_with_experts() {
    let mut sketch = gate();
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    dense(&mut sketch, "p");
    sketch.weight("again", &[D, E]);
    sketch.op("MatMul", "y again", "l2", &[]);
    sketch.op("Softmax", "l2", "p2", &[("axis", -1)]);
    let report = report(&sketch.model("p2"));
    assert_eq!(report.routers.len(), 1);
}

/// One expert that is always there, behind a sigmoid of its own.
#[test]
fn the_gate_of_a_shared_expert() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    gathered(&mut sketch, "v");
    sketch.weight("shared_gate", &[D, 1]);
    sketch.op("MatMul", "x shared_gate", "sg", &[]);
    sketch.op("Sigmoid", "sg", "sgs", &[]);
    expert(&mut sketch, "shared", "x", "always");
    sketch.op("Mul", "always sgs", "some", &[]);
    sketch.op("Add", "y some", "sum", &[]);
    sketch.weight("head", &[D, 3]);
    sketch.op("MatMul", "sum head", "logits", &[]);
    let report = report(&sketch.model("logits"));
    assert_eq!(
        report.routers.iter().map(|router| (router.num_experts, router.shared_experts)).collect::<Vec<_>>(),
        [(5, 1)]
    );
}

/// Tokens sorted by their expert: a second top-k, over ids.
#[test]
fn a_sort_of_the_chosen_ids() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    gathered(&mut sketch, "v");
    sketch.ints("flat", &[2 * T]);
    sketch.op("Reshape", "i flat", "ids", &[]);
    sketch.op("TopK", "ids flat", "sorted order", &[]);
    head(&mut sketch);
    let report = report(&sketch.model("logits order"));
    assert_eq!(report.routers.len(), 1, "{:?}", report.near_misses);
}

/// A learned memory that attention reads: its keys and values are weights with an axis of items, but no experts.
#[test]
fn a_memory_of_learned_values() {
    let mut sketch = gate();
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    sketch.weight("values", &[E, D]);
    sketch.op("MatMul", "p values", "y", &[]);
    expert(&mut sketch, "mlp", "y", "z");
    none(&sketch.model("z"));
}

#[test]
fn a_model_without_any_choice_says_what_was_looked_for() {
    let mut sketch = Sketch::with_input(&[T, D]);
    sketch.weight("w", &[D, H]);
    sketch.op("MatMul", "x w", "y", &[]);
    let report = report(&sketch.model("y"));
    assert!(report.routers.is_empty() && report.near_misses.is_empty());
    assert_eq!((report.looked_at.nodes, report.looked_at.softmax), (1, 0));
}

/// As many pooled vectors as heads, each with a network of its own, but nothing chooses or weights those.
#[test]
fn a_pooling_by_attention_with_a_network_for_each_query() {
    let mut sketch = gate();
    sketch.op("Softmax", "l", "p", &[("axis", 0)]);
    sketch.graph.node.push(with_ints(node("Transpose", "p", "pt", &[]), "perm", &[1, 0]));
    sketch.op("MatMul", "pt x", "pooled", &[]);
    for e in 0..E {
        sketch.int(&format!("c{e}"), e);
        sketch.op("Gather", &format!("pooled c{e}"), &format!("x{e}"), &[]);
        expert(&mut sketch, &format!("head{e}"), &format!("x{e}"), &format!("o{e}"));
    }
    let outputs: Vec<String> = (0..E).map(|e| format!("o{e}")).collect();
    sketch.op("Concat", &outputs.join(" "), "y", &[("axis", 0)]);
    head(&mut sketch);
    none(&sketch.model("logits"));
}

/// The same logits, normalised over both axes, carry tokens to latents and latents to tokens; then each has its network.
#[test]
fn attention_both_ways() {
    let mut sketch = gate();
    sketch.op("Softmax", "l", "over_tokens", &[("axis", 0)]);
    sketch.op("Softmax", "l", "over_latents", &[("axis", 1)]);
    sketch.graph.node.push(with_ints(node("Transpose", "over_tokens", "ot", &[]), "perm", &[1, 0]));
    sketch.op("MatMul", "ot x", "latents", &[]);
    sketch.op("MatMul", "over_latents latents", "tokens", &[]);
    expert(&mut sketch, "of_latents", "latents", "a");
    expert(&mut sketch, "of_tokens", "tokens", "b");
    sketch.op("Concat", "a b", "y", &[("axis", 0)]);
    head(&mut sketch);
    none(&sketch.model("logits"));
}

/// The probability of a class is that of its group times that within the group.
#[test]
fn a_hierarchy_of_classes() {
    let mut sketch = gate();
    sketch.op("Softmax", "l", "groups", &[("axis", -1)]);
    for e in 0..E {
        sketch.weight(&format!("classes{e}"), &[D, H]);
        sketch.op("MatMul", &format!("x classes{e}"), &format!("s{e}"), &[]);
        sketch.op("Softmax", &format!("s{e}"), &format!("within{e}"), &[("axis", -1)]);
        for (name, index) in [("from", e), ("to", e + 1), ("axis", 1)] {
            sketch.ints(&format!("{name}{e}"), &[index]);
        }
        sketch.op("Slice", &format!("groups from{e} to{e} axis{e}"), &format!("g{e}"), &[]);
        sketch.op("Mul", &format!("within{e} g{e}"), &format!("o{e}"), &[]);
    }
    let outputs: Vec<String> = (0..E).map(|e| format!("o{e}")).collect();
    sketch.op("Concat", &outputs.join(" "), "y", &[("axis", 1)]);
    none(&sketch.model("y"));
}

/// The best of all classes of all queries, their boxes found by a division that rounds down, written with comparisons.
#[test]
fn a_detector_that_divides_with_comparisons() {
    let mut sketch = gate();
    expert(&mut sketch, "box", "x", "boxes");
    sketch.op("Sigmoid", "l", "p", &[]);
    sketch.ints("flat", &[T * E]);
    sketch.op("Reshape", "p flat", "scores", &[]);
    sketch.op("TopK", "scores k", "best index", &[]);
    sketch.int("classes", E);
    sketch.int("zero", 0);
    sketch.op("Less", "index zero", "negative", &[]);
    sketch.op("Cast", "zero", "false", &[("to", 9)]);
    sketch.op("Equal", "negative false", "is_positive", &[]);
    sketch.op("Cast", "is_positive", "correction", &[("to", 7)]);
    sketch.op("Div", "index classes", "quotient", &[]);
    sketch.op("Sub", "quotient correction", "query", &[]);
    sketch.op("Gather", "boxes query", "y", &[]);
    none(&sketch.model("best y"));
}
