//! What optimisers make of a graph: fused operators, sums inside products, and nodes in an order of their own.

use super::moe::{D, E, H, T, dense, expert, gate, gathered, head, renormalize, softmax_top_2};
use super::{report, the_only};
use crate::model::graph::testing::{Sketch, node, with_text};
use crate::model::proto::ModelProto;
use crate::model::routers::{ExpertForm, GatingRule, Router, ScoreFunction};

fn finished(mut sketch: Sketch) -> ModelProto {
    head(&mut sketch);
    sketch.model("logits")
}

/// The logits are no tensor any more; the scores are.
#[test]
fn a_sigmoid_inside_the_gates_product() {
    let mut sketch = Sketch::with_input(&[T, D]);
    sketch.weight("gate", &[D, E]);
    let mut gate = with_text(node("FusedGemm", "x gate", "p", &[]), "activation", "Sigmoid");
    gate.domain = "com.microsoft".into();
    sketch.graph.node.push(gate);
    sketch.ints("k", &[2]);
    sketch.op("TopK", "p k", "v i", &[]);
    renormalize(&mut sketch, "v");
    gathered(&mut sketch, "w");
    let router = the_only(&report(&finished(sketch)));
    assert_eq!((router.rule, router.score), (GatingRule::SigmoidThenTopKRenormalized, ScoreFunction::Sigmoid));
    assert_eq!(router.tensors.gate_logits, None);
    assert_eq!(router.tensors.gate_probs.unwrap().name, "p");
}

/// Slices of one tensor become one `Split`; the gate before it belongs to no expert.
#[test]
fn columns_of_a_soft_gate_that_are_split() {
    let mut sketch = Sketch::with_input(&[T, D]);
    expert(&mut sketch, "first", "x", "o0");
    sketch.weight("gate", &[D, 2]);
    sketch.op("MatMul", "x gate", "l", &[]);
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    sketch.op("Split", "p", "g0 g1", &[("axis", 1)]);
    expert(&mut sketch, "second", "x", "o1");
    sketch.op("Mul", "o0 g0", "w0", &[]);
    sketch.op("Mul", "o1 g1", "w1", &[]);
    sketch.op("Add", "w0 w1", "y", &[]);
    let router = the_only(&report(&finished(sketch)));
    assert_eq!((router.rule, router.num_experts), (GatingRule::Soft, 2));
    assert_eq!((router.experts.form, router.experts.parameters), (ExpertForm::Branches, (4 * D * H) as u64));
}

/// A product and the sum behind it become one `Gemm`, whose third input is what the experts gave.
#[test]
fn a_shared_expert_whose_last_product_adds_the_experts() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    gathered(&mut sketch, "v");
    sketch.weight("shared.up", &[D, H]);
    sketch.weight("shared.down", &[H, D]);
    sketch.op("MatMul", "x shared.up", "sh", &[]);
    sketch.op("Relu", "sh", "sa", &[]);
    sketch.op("Gemm", "sa shared.down y", "z", &[]);
    sketch.weight("other", &[D, 3]);
    sketch.op("MatMul", "z other", "logits", &[]);
    assert_eq!(the_only(&report(&sketch.model("logits"))).shared_experts, 1);
}

/// Files that optimisers write may run the shared expert before the router.
#[test]
fn a_shared_expert_before_the_router() {
    let mut sketch = Sketch::with_input(&[T, D]);
    sketch.op("Relu", "x", "x0", &[]);
    expert(&mut sketch, "shared", "x0", "shared.o");
    let mut routed = gate();
    softmax_top_2(&mut routed);
    gathered(&mut routed, "v");
    routed.op("Add", "y shared.o", "z", &[]);
    for node in &mut routed.graph.node {
        node.input.iter_mut().filter(|name| *name == "x").for_each(|name| "x0".clone_into(name));
    }
    sketch.graph.node.extend(routed.graph.node);
    sketch.graph.initializer.extend(routed.graph.initializer);
    sketch.weight("other", &[D, 3]);
    sketch.op("MatMul", "z other", "logits", &[]);
    assert_eq!(the_only(&report(&sketch.model("logits"))).shared_experts, 1);
}

/// Any order of the nodes gives the same router; only the evidence names its nodes in their order.
#[test]
fn nodes_in_reverse() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    dense(&mut sketch, "p");
    let model = finished(sketch);
    let mut reversed = model.clone();
    reversed.graph.as_mut().unwrap().node.reverse();
    let said = |model| Router { evidence: Vec::new(), ..the_only(&report(model)) };
    assert_eq!(said(&reversed), said(&model));
}
