//! What is to be found.

use super::moe::{D, E, H, T, dense, expert, gate, gathered, head, looped, renormalize, softmax_top_2};
use super::{only, report};
use crate::model::graph::testing::{Sketch, node, value, with_body, with_ints};
use crate::model::proto::{FunctionProto, GraphProto, OperatorSetIdProto};
use crate::model::routers::{Confidence, ExpertForm, GatingRule, Groups, TopKSource};

fn name(tensor: Option<&crate::model::routers::TensorRef>) -> &str {
    tensor.map_or("", |tensor| tensor.name.as_str())
}

#[test]
fn softmax_then_top_k_with_gathered_weights() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    gathered(&mut sketch, "v");
    let router = only(sketch);
    assert_eq!((router.rule, router.num_experts, router.top_k), (GatingRule::SoftmaxThenTopK, 5, Some(2)));
    assert_eq!((router.top_k_source, router.confidence), (TopKSource::Constant, Confidence::Certain));
    assert_eq!((router.experts.form, router.experts.found), (ExpertForm::Gathered, 5));
    assert_eq!(router.experts.parameters, (2 * E * D * H) as u64);
    let tensors = &router.tensors;
    assert_eq!([name(tensors.gate_logits.as_ref()), name(tensors.gate_probs.as_ref())], ["l", "p"]);
    assert_eq!([name(tensors.expert_ids.as_ref()), name(tensors.combine_weights.as_ref())], ["i", "v"]);
    assert_eq!(router.name, "layer.gate");
    assert!(router.evidence.iter().any(|sentence| sentence.contains("Gather_up_i")), "{:?}", router.evidence);
}

#[test]
fn softmax_then_top_k_renormalised_in_a_loop_over_experts() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    renormalize(&mut sketch, "v");
    looped(&mut sketch, "w", &[0, 1, 2, 3, 4]);
    let router = only(sketch);
    assert_eq!((router.rule, router.num_experts), (GatingRule::SoftmaxThenTopKRenormalized, 5));
    assert_eq!((router.experts.form, router.experts.found, router.frozen), (ExpertForm::Branches, 5, false));
    assert!(!router.experts.all_executed);
    assert_eq!(name(router.tensors.combine_weights.as_ref()), "w");
    assert_eq!(router.experts.weights[3], ["experts.3.up", "experts.3.down"]);
}

#[test]
fn an_export_that_lost_experts_is_told() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    looped(&mut sketch, "v", &[0, 2, 3]);
    let router = only(sketch);
    assert_eq!((router.num_experts, router.experts.found, router.frozen), (5, 3, true));
    assert!(router.confidence < Confidence::Certain);
    assert!(router.warnings.iter().any(|warning| warning.contains("lost the others")), "{:?}", router.warnings);
}

#[test]
fn top_k_then_softmax_spread_over_all_experts() {
    let mut sketch = gate();
    sketch.op("TopK", "l k", "v i", &[]);
    sketch.op("Softmax", "v", "w", &[("axis", -1)]);
    sketch.op("Shape", "l", "size", &[]);
    sketch.op("ConstantOfShape", "size", "zeros", &[]);
    sketch.op("ScatterElements", "zeros i w", "spread", &[("axis", 1)]);
    dense(&mut sketch, "spread");
    let router = only(sketch);
    assert_eq!((router.rule, router.num_experts), (GatingRule::TopKThenSoftmax, 5));
    assert!(router.experts.all_executed && router.warnings.iter().any(|warning| warning.contains("all experts")));
    let weights = router.tensors.combine_weights.unwrap();
    assert_eq!((weights.name.as_str(), weights.dense), ("w", false));
}

#[test]
fn sigmoid_with_a_bias_for_the_choice_within_groups() {
    let mut sketch = Sketch::with_input(&[T, D]);
    sketch.weight("gate", &[D, 6]);
    sketch.weight("bias", &[6]);
    sketch.op("MatMul", "x gate", "l", &[]);
    sketch.op("Sigmoid", "l", "p", &[]);
    sketch.op("Add", "p bias", "c", &[]);
    sketch.ints("grouped", &[T, 3, 2]);
    sketch.op("Reshape", "c grouped", "cg", &[]);
    sketch.ints("one", &[1]);
    sketch.ints("k", &[2]);
    sketch.op("TopK", "cg one", "gv gi", &[]);
    sketch.ints("last_axis", &[-1]);
    sketch.op("ReduceSum", "gv last_axis", "gs", &[("keepdims", 0)]);
    sketch.op("TopK", "gs k", "gtv gti", &[]);
    sketch.op("Shape", "gs", "size", &[]);
    sketch.op("ConstantOfShape", "size", "zeros", &[]);
    sketch.weight("ones", &[T, 2]);
    sketch.op("ScatterElements", "zeros gti ones", "gm", &[("axis", 1)]);
    sketch.op("Unsqueeze", "gm last_axis", "gm3", &[]);
    sketch.op("Mul", "cg gm3", "cm", &[]);
    sketch.ints("flat", &[T, 6]);
    sketch.op("Reshape", "cm flat", "s", &[]);
    sketch.op("TopK", "s k", "sv i", &[]);
    sketch.op("GatherElements", "p i", "v", &[("axis", 1)]);
    renormalize(&mut sketch, "v");
    sketch.scalar("factor", 2.5);
    sketch.op("Mul", "w factor", "ws", &[]);
    sketch.weight("up", &[6, D, H]);
    sketch.weight("down", &[6, H, D]);
    sketch.graph.node.extend([node("Gather", "up i", "up_i", &[]), node("Gather", "down i", "down_i", &[])]);
    sketch.einsum("td,tkdh->tkh", "x up_i", "h");
    sketch.op("Relu", "h", "a", &[]);
    sketch.einsum("tkh,tkhd,tk->td", "a down_i ws", "y");
    let router = only(sketch);
    assert_eq!((router.rule, router.num_experts, router.top_k), (GatingRule::SigmoidThenTopKRenormalized, 6, Some(2)));
    assert!(router.selection_bias);
    assert_eq!((router.groups, router.scale), (Some(Groups { n: 3, kept: 2 }), Some(2.5)));
    let tensors = &router.tensors;
    assert_eq!([name(tensors.gate_probs.as_ref()), name(tensors.expert_ids.as_ref())], ["p", "i"]);
    assert_eq!(name(tensors.combine_weights.as_ref()), "ws");
}

#[test]
fn square_root_of_softplus() {
    let mut sketch = gate();
    sketch.op("Softplus", "l", "sp", &[]);
    sketch.op("Sqrt", "sp", "p", &[]);
    sketch.op("TopK", "p k", "v i", &[]);
    gathered(&mut sketch, "v");
    assert_eq!(only(sketch).rule, GatingRule::SqrtSoftplusThenTopK);
}

#[test]
fn a_softmax_that_is_written_out() {
    let mut sketch = gate();
    sketch.ints("last_axis", &[-1]);
    sketch.graph.node.push(with_ints(node("ReduceMax", "l", "top", &[("keepdims", 1)]), "axes", &[-1]));
    sketch.op("Sub", "l top", "lower", &[]);
    sketch.op("Exp", "lower", "e", &[]);
    sketch.op("ReduceSum", "e last_axis", "sum", &[("keepdims", 1)]);
    sketch.op("Div", "e sum", "p", &[]);
    sketch.op("TopK", "p k", "v i", &[]);
    gathered(&mut sketch, "v");
    let router = only(sketch);
    assert_eq!((router.rule, name(router.tensors.gate_probs.as_ref())), (GatingRule::SoftmaxThenTopK, "p"));
}

#[test]
fn the_largest_one_by_arg_max_with_capacity() {
    let mut sketch = gate();
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    sketch.graph.node.push(with_ints(node("ReduceMax", "p", "v", &[("keepdims", 0)]), "axes", &[-1]));
    sketch.op("ArgMax", "p", "i", &[("axis", -1), ("keepdims", 0)]);
    sketch.int("depth", E);
    sketch.weight("off_on", &[2]);
    sketch.op("OneHot", "i depth off_on", "hot", &[]);
    sketch.int("zero", 0);
    sketch.op("CumSum", "hot zero", "place", &[]);
    sketch.scalar("room", 3.0);
    sketch.op("LessOrEqual", "place room", "fits", &[]);
    sketch.op("Cast", "fits", "fits_f", &[("to", 1)]);
    sketch.op("Mul", "hot fits_f", "kept", &[]);
    sketch.weight("up", &[E, D, H]);
    sketch.weight("down", &[E, H, D]);
    sketch.einsum("te,td,edh->teh", "kept x up", "h");
    sketch.op("Relu", "h", "a", &[]);
    sketch.einsum("teh,ehd,t->td", "a down v", "y");
    let router = only(sketch);
    assert_eq!((router.rule, router.top_k), (GatingRule::SoftmaxThenTopK, Some(1)));
    assert_eq!((router.top_k_source, router.experts.form), (TopKSource::Operator, ExpertForm::Stacked));
    assert_eq!(router.capacity.unwrap().per_expert, Some(3));
    assert_eq!([name(router.tensors.expert_ids.as_ref()), name(router.tensors.combine_weights.as_ref())], ["i", "v"]);
}

#[test]
fn every_expert_weighted_by_a_softmax() {
    let mut sketch = gate();
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    dense(&mut sketch, "p");
    let router = only(sketch);
    assert_eq!((router.rule, router.num_experts, router.top_k), (GatingRule::Soft, 5, None));
    assert!(!router.experts.all_executed && router.warnings.is_empty(), "{:?}", router.warnings);
}

#[test]
fn outputs_of_all_experts_stacked_and_picked() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    sketch.ints("second", &[1]);
    let mut stack = String::new();
    for e in 0..E {
        expert(&mut sketch, &format!("experts.{e}"), "x", &format!("o{e}"));
        sketch.op("Unsqueeze", &format!("o{e} second"), &format!("u{e}"), &[]);
        stack += &format!("u{e} ");
    }
    sketch.op("Concat", &stack, "all", &[("axis", 1)]);
    sketch.ints("third", &[2]);
    sketch.op("Unsqueeze", "i third", "i3", &[]);
    sketch.ints("wide", &[1, 1, D]);
    sketch.op("Expand", "i3 wide", "i3w", &[]);
    sketch.op("GatherElements", "all i3w", "o", &[("axis", 1)]);
    sketch.op("Unsqueeze", "v third", "w3", &[]);
    sketch.op("Mul", "o w3", "wo", &[]);
    sketch.op("ReduceSum", "wo second", "y", &[("keepdims", 0)]);
    let router = only(sketch);
    assert_eq!((router.experts.form, router.experts.found), (ExpertForm::Branches, 5));
    assert!(router.experts.all_executed);
}

/// As many tokens for each expert as there are experts must not pass for a choice among those; the gate may have the experts
/// first.
#[test]
fn experts_that_choose_tokens() {
    for (room, experts_first) in [(4, false), (E, false), (T, false), (4, true), (E, true)] {
        let mut sketch = gate();
        if experts_first {
            sketch.graph.node.clear();
            sketch.einsum("de,td->et", "layer.gate.weight x", "lt");
            sketch.op("Softmax", "lt", "pt", &[("axis", 0)]);
        } else {
            sketch.op("Softmax", "l", "p", &[("axis", -1)]);
            sketch.graph.node.push(with_ints(node("Transpose", "p", "pt", &[]), "perm", &[1, 0]));
        }
        sketch.ints("room", &[room]);
        sketch.op("TopK", "pt room", "v i", &[]);
        sketch.op("Gather", "x i", "taken", &[]);
        sketch.weight("up", &[E, D, H]);
        sketch.weight("down", &[E, H, D]);
        sketch.op("MatMul", "taken up", "h", &[]);
        sketch.op("Relu", "h", "a", &[]);
        sketch.op("MatMul", "a down", "o", &[]);
        sketch.ints("third", &[2]);
        sketch.op("Unsqueeze", "v third", "v3", &[]);
        sketch.op("Mul", "o v3", "wo", &[]);
        sketch.op("Shape", "x", "size", &[]);
        sketch.op("ConstantOfShape", "size", "zeros", &[]);
        sketch.op("Unsqueeze", "i third", "i3", &[]);
        sketch.op("ScatterND", "zeros i3 wo", "y", &[]);
        let router = only(sketch);
        let rule = (router.rule, router.num_experts, router.top_k);
        assert_eq!(rule, (GatingRule::ExpertChoice, 5, None), "{room} {experts_first}");
        let capacity = router.capacity.unwrap();
        assert_eq!((capacity.per_expert, capacity.group_tokens), (Some(room as usize), Some(T as usize)));
        assert_eq!(name(router.tensors.expert_ids.as_ref()), "i");
    }
}

#[test]
fn slots_that_are_means_of_all_tokens() {
    let mut sketch = Sketch::with_input(&[T, D]);
    sketch.weight("phi", &[D, 15]);
    sketch.op("MatMul", "x phi", "l", &[]);
    sketch.op("Softmax", "l", "dispatch", &[("axis", 0)]);
    sketch.op("Softmax", "l", "combine", &[("axis", 1)]);
    sketch.einsum("ts,td->sd", "dispatch x", "slots");
    sketch.ints("by_expert", &[5, 3, D]);
    sketch.op("Reshape", "slots by_expert", "s3", &[]);
    sketch.weight("up", &[5, D, D]);
    sketch.op("MatMul", "s3 up", "o3", &[]);
    sketch.ints("flat", &[15, D]);
    sketch.op("Reshape", "o3 flat", "o", &[]);
    sketch.op("MatMul", "combine o", "y", &[]);
    let router = only(sketch);
    assert_eq!((router.rule, router.num_experts), (GatingRule::SoftMoe, 5));
    let dispatch = router.tensors.dispatch.unwrap();
    assert_eq!((dispatch.tensor.name.as_str(), dispatch.token_axis), ("dispatch", 0));
}

#[test]
fn the_fewest_experts_that_reach_a_sum() {
    let mut sketch = gate();
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    sketch.ints("all", &[E]);
    sketch.op("TopK", "p all", "sorted order", &[]);
    sketch.int("last", -1);
    sketch.op("CumSum", "sorted last", "sums", &[]);
    sketch.scalar("limit", 0.8);
    sketch.op("Less", "sums limit", "keep", &[]);
    sketch.scalar("zero", 0.0);
    sketch.op("Where", "keep sorted zero", "kept", &[]);
    sketch.op("Shape", "p", "size", &[]);
    sketch.op("ConstantOfShape", "size", "zeros", &[]);
    sketch.op("ScatterElements", "zeros order kept", "w", &[("axis", 1)]);
    dense(&mut sketch, "w");
    let router = only(sketch);
    assert_eq!((router.rule, router.num_experts, router.top_k), (GatingRule::TopP, 5, None));
    assert_eq!(name(router.tensors.expert_ids.as_ref()), "order");
}

#[test]
fn pairs_of_half_keys() {
    let mut sketch = Sketch::with_input(&[T, D]);
    for half in ["a", "b"] {
        sketch.weight(&format!("keys_{half}"), &[D, 8]);
        sketch.op("MatMul", &format!("x keys_{half}"), &format!("s{half}"), &[]);
    }
    sketch.ints("k", &[4]);
    sketch.op("TopK", "sa k", "va ia", &[]);
    sketch.op("TopK", "sb k", "vb ib", &[]);
    sketch.ints("third", &[2]);
    sketch.ints("second", &[1]);
    for (from, axes, to) in
        [("va", "third", "va3"), ("vb", "second", "vb3"), ("ia", "third", "ia3"), ("ib", "second", "ib3")]
    {
        sketch.op("Unsqueeze", &format!("{from} {axes}"), to, &[]);
    }
    sketch.int("side", 8);
    sketch.op("Mul", "ia3 side", "rows", &[]);
    sketch.op("Add", "va3 vb3", "sums", &[]);
    sketch.op("Add", "rows ib3", "numbers", &[]);
    sketch.ints("flat", &[T, 16]);
    sketch.op("Reshape", "sums flat", "sums2", &[]);
    sketch.op("Reshape", "numbers flat", "numbers2", &[]);
    sketch.op("TopK", "sums2 k", "v at", &[]);
    sketch.op("GatherElements", "numbers2 at", "i", &[("axis", 1)]);
    sketch.op("Softmax", "v", "w", &[("axis", -1)]);
    sketch.weight("down", &[64, D]);
    sketch.weight("up", &[64, D]);
    sketch.op("Gather", "down i", "down_i", &[]);
    sketch.op("Gather", "up i", "up_i", &[]);
    sketch.einsum("td,tkd->tk", "x down_i", "h");
    sketch.op("Relu", "h", "a", &[]);
    sketch.op("Mul", "a w", "aw", &[]);
    sketch.einsum("tk,tkd->td", "aw up_i", "y");
    let router = only(sketch);
    assert_eq!((router.rule, router.num_experts, router.top_k), (GatingRule::ProductKey, 64, Some(4)));
    assert_eq!(router.experts.form, ExpertForm::Rows);
    assert_eq!([name(router.tensors.expert_ids.as_ref()), name(router.tensors.combine_weights.as_ref())], ["i", "w"]);
}

#[test]
fn kernels_that_are_mixed() {
    let mut sketch = Sketch::with_input(&[1, 4, 8, 8]);
    sketch.op("GlobalAveragePool", "x", "pooled", &[]);
    sketch.op("Flatten", "pooled", "flat", &[]);
    sketch.weight("gate", &[4, E]);
    sketch.weight("kernels", &[E, 6 * 4 * 9]);
    sketch.op("MatMul", "flat gate", "l", &[]);
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    sketch.op("MatMul", "p kernels", "mixed", &[]);
    sketch.ints("kernel", &[6, 4, 3, 3]);
    sketch.op("Reshape", "mixed kernel", "w", &[]);
    sketch.op("Conv", "x w", "z", &[]);
    sketch.op("Relu", "z", "y", &[]);
    let report = report(&sketch.model("y"));
    let router = &report.routers[0];
    assert_eq!((router.rule, router.experts.form, router.per_image), (GatingRule::Soft, ExpertForm::Kernels, true));
}

#[test]
fn k_from_an_input_of_the_model() {
    let mut sketch = gate();
    sketch.graph.initializer.retain(|tensor| tensor.name != "k");
    sketch.input("top_k", 7, &[1]);
    sketch.ints("top_k", &[3]);
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    sketch.op("TopK", "p top_k", "v i", &[]);
    gathered(&mut sketch, "v");
    let router = only(sketch);
    assert_eq!((router.top_k, router.top_k_source), (Some(3), TopKSource::Input { name: "top_k".into() }));
}

/// What is shown as an output besides does not hide where everything comes together.
#[test]
fn routing_that_is_an_output_already() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    looped(&mut sketch, "v", &[0, 1, 2, 3, 4]);
    head(&mut sketch);
    let report = report(&sketch.model("logits p i v"));
    assert_eq!((report.routers.len(), report.routers[0].experts.found), (1, 5));
}

#[test]
fn a_shared_expert_is_set_apart() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    gathered(&mut sketch, "v");
    let last = sketch.graph.node.last_mut().unwrap();
    last.output[0] = "routed".into();
    expert(&mut sketch, "shared", "x", "always");
    sketch.op("Add", "routed always", "sum", &[]);
    sketch.op("Add", "sum x", "y", &[]);
    assert_eq!(only(sketch).shared_experts, 1);
}

#[test]
fn the_router_inside_a_function() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    let router_nodes = sketch.graph.node.split_off(0);
    sketch.functions.push(FunctionProto {
        name: "Router".into(),
        domain: "local".into(),
        input: vec!["x".into(), "layer.gate.weight".into(), "k".into()],
        output: vec!["v".into(), "i".into()],
        node: router_nodes,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        ..Default::default()
    });
    let mut call = node("Router", "x layer.gate.weight k", "v i", &[]);
    call.domain = "local".into();
    sketch.graph.node.push(call);
    gathered(&mut sketch, "v");
    let router = only(sketch);
    assert_eq!((router.rule, router.num_experts), (GatingRule::SoftmaxThenTopK, 5));
    let probs = router.tensors.gate_probs.unwrap();
    assert_eq!((probs.name.as_str(), probs.place.len(), probs.place[0].node), ("p", 1, 0));
    assert!(router.tensors.expert_ids.unwrap().place.is_empty());
}

#[test]
fn the_layer_inside_a_branch() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    gathered(&mut sketch, "v");
    let branch =
        |nodes, output: &str| GraphProto { node: nodes, output: vec![value(output, 1, &[T, D])], ..Default::default() };
    let nodes = sketch.graph.node.split_off(0);
    sketch.input("flag", 9, &[]);
    let choose = with_body(node("If", "flag", "z", &[]), "then_branch", branch(nodes, "y"));
    let other = branch(vec![node("Identity", "x", "same", &[])], "same");
    sketch.graph.node.push(with_body(choose, "else_branch", other));
    sketch.weight("head", &[D, 3]);
    sketch.op("MatMul", "z head", "logits", &[]);
    let report = report(&sketch.model("logits"));
    assert_eq!(report.routers.len(), 1, "{:?}", report.near_misses);
    let ids = report.routers[0].tensors.expert_ids.as_ref().unwrap();
    assert_eq!(ids.place[0].body.as_deref(), Some("then_branch"));
}

#[test]
fn experts_that_a_loop_takes_one_by_one() {
    let mut sketch = gate();
    softmax_top_2(&mut sketch);
    sketch.op("Shape", "l", "size", &[]);
    sketch.op("ConstantOfShape", "size", "zeros", &[]);
    sketch.op("ScatterElements", "zeros i v", "w", &[("axis", 1)]);
    sketch.weight("up", &[E, D, H]);
    sketch.weight("down", &[E, H, D]);
    sketch.int("times", E);
    sketch.op("Shape", "x", "size_x", &[]);
    sketch.op("ConstantOfShape", "size_x", "y0", &[]);
    let body = GraphProto {
        node: vec![
            node("Gather", "up e", "up_e", &[]),
            node("Gather", "down e", "down_e", &[]),
            node("MatMul", "x up_e", "h", &[]),
            node("Relu", "h", "a", &[]),
            node("MatMul", "a down_e", "o", &[]),
            node("Gather", "w e", "w_e", &[("axis", 1)]),
            node("Unsqueeze", "w_e one", "w_ec", &[]),
            node("Mul", "o w_ec", "wo", &[]),
            node("Add", "y_in wo", "y_out", &[]),
            node("Identity", "go", "go_on", &[]),
        ],
        input: vec![value("e", 7, &[]), value("go", 9, &[]), value("y_in", 1, &[T, D])],
        output: vec![value("go_on", 9, &[]), value("y_out", 1, &[T, D])],
        ..Default::default()
    };
    sketch.ints("one", &[1]);
    sketch.graph.node.push(with_body(node("Loop", "times _ y0", "y", &[]), "body", body));
    let router = only(sketch);
    assert_eq!((router.experts.form, router.experts.found), (ExpertForm::Loop, 5));
}

#[test]
fn the_operator_of_onnx_runtime() {
    let mut sketch = gate();
    sketch.weight("fc1", &[E, H, D]);
    sketch.weight("fc2", &[E, D, H]);
    let mut moe = node("MoE", "x l fc1 _ fc2", "y", &[("k", 2)]);
    moe.domain = "com.microsoft".into();
    sketch.graph.node.push(moe);
    let router = only(sketch);
    assert_eq!((router.rule, router.num_experts, router.top_k), (GatingRule::ContribMoe, 5, Some(2)));
    assert_eq!(name(router.tensors.gate_logits.as_ref()), "l");
    assert!(router.tensors.combine_weights.is_none());
}

#[test]
fn parameters_total_activated_and_executed() {
    let expected = |all_executed: bool| {
        let experts = (2 * E * D * H) as u64;
        let rest = (D * E + D * 3) as u64;
        let active = rest + experts / E as u64 * 2;
        (rest + experts, experts, Some(active), Some(if all_executed { rest + experts } else { active }))
    };
    for all_executed in [false, true] {
        let mut sketch = gate();
        softmax_top_2(&mut sketch);
        if all_executed {
            sketch.op("Shape", "l", "size", &[]);
            sketch.op("ConstantOfShape", "size", "zeros", &[]);
            sketch.op("ScatterElements", "zeros i v", "w", &[("axis", 1)]);
            dense(&mut sketch, "w");
        } else {
            gathered(&mut sketch, "v");
        }
        head(&mut sketch);
        let parameters = report(&sketch.model("logits")).parameters;
        let counted = (parameters.total, parameters.experts, parameters.activated, parameters.executed);
        assert_eq!(counted, expected(all_executed));
    }
}
