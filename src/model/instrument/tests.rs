//! What is written into a small graph. What it computes afterwards is in `tests/instrument.rs`.

use super::*;
use crate::model::graph::testing::Sketch;
use crate::model::proto::NodeProto;
use crate::model::routers::routers_in;

const EXPERTS: i64 = 5;

/// Tokens [10, 12] through experts whose weights are gathered by the best two of a softmax.
fn mixture() -> ModelProto {
    let mut sketch = Sketch::with_input(&[10, 12]);
    sketch.weight("gate.weight", &[12, EXPERTS]);
    sketch.weight("up", &[EXPERTS, 12, 7]);
    sketch.weight("down", &[EXPERTS, 7, 12]);
    for (name, ints) in [("k", &[2][..]), ("places", &[1, 2]), ("second", &[1]), ("third", &[2])] {
        sketch.ints(name, ints);
    }
    sketch.op("MatMul", "x gate.weight", "l", &[]);
    sketch.op("Softmax", "l", "p", &[("axis", -1)]);
    sketch.op("TopK", "p k", "v i", &[("sorted", 0)]);
    sketch.op("Gather", "up i", "up_i", &[]);
    sketch.op("Gather", "down i", "down_i", &[]);
    sketch.op("Unsqueeze", "x places", "x4", &[]);
    sketch.op("MatMul", "x4 up_i", "h", &[]);
    sketch.op("Relu", "h", "a", &[]);
    sketch.op("MatMul", "a down_i", "o4", &[]);
    sketch.op("Squeeze", "o4 third", "o", &[]);
    sketch.op("Unsqueeze", "v third", "w", &[]);
    sketch.op("Mul", "o w", "wo", &[]);
    sketch.op("ReduceSum", "wo second", "y", &[("keepdims", 0)]);
    sketch.model("y")
}

fn edited(model: &ModelProto, plan: &InstrumentPlan) -> Instrumented {
    let model = Indexed::new(model);
    let report = routers_in(&model);
    assert_eq!(report.routers.len(), 1);
    instrument(&model, &Bytes::new(), Path::new("m.onnx"), &report, plan).unwrap()
}

fn nodes(model: &ModelProto) -> &[NodeProto] {
    &model.graph.as_ref().unwrap().node
}

fn inputs(model: &ModelProto) -> Vec<&str> {
    model.graph.as_ref().unwrap().input.iter().map(|input| input.name.as_str()).collect()
}

/// Whatever reaches the second largest logit is taken: a ban would lower that limit, and let the banned expert in.
#[test]
fn experts_that_are_taken_by_a_comparison_keep_their_choice() {
    let mut sketch = Sketch::with_input(&[10, 12]);
    sketch.weight("gate.weight", &[12, EXPERTS]);
    sketch.weight("up", &[EXPERTS, 12, 7]);
    sketch.weight("down", &[EXPERTS, 7, 12]);
    for (name, ints) in [("k", &[2][..]), ("one", &[1]), ("end", &[2])] {
        sketch.ints(name, ints);
    }
    sketch.scalar("low", f32::NEG_INFINITY);
    sketch.op("MatMul", "x gate.weight", "l", &[]);
    sketch.op("TopK", "l k", "v i", &[]);
    sketch.op("Slice", "v one end one", "limit", &[]);
    sketch.op("GreaterOrEqual", "l limit", "taken", &[]);
    sketch.op("Where", "taken l low", "kept", &[]);
    sketch.op("Softmax", "kept", "w", &[("axis", -1)]);
    sketch.einsum("td,edh->teh", "x up", "h");
    sketch.op("Relu", "h", "a", &[]);
    sketch.einsum("teh,ehd,te->td", "a down w", "y");
    let edited = edited(&sketch.model("y"), &InstrumentPlan::everything(Vec::new()));
    assert_eq!(edited.inputs, []);
    assert_eq!(edited.routers[0].selection_bias, Err(Obstacle::Compared));
}

#[test]
fn every_control_is_an_input_with_a_default() {
    let edited = edited(&mixture(), &InstrumentPlan::everything(Vec::new()));
    let controls: Vec<Control> = edited.inputs.iter().map(|input| input.control).collect();
    let expected = [
        Control::RankWeights { num_ranks: 5 },
        Control::TopK { default: 2, max: 5 },
        Control::SelectionBias { num_experts: 5 },
    ];
    assert_eq!(controls, expected);
    let graph = edited.model.graph.as_ref().unwrap();
    for input in &edited.inputs {
        assert!(inputs(&edited.model).contains(&input.name.as_str()));
        let default = graph.initializer.iter().find(|tensor| tensor.name == input.name).unwrap();
        match input.control {
            Control::TopK { .. } => assert_eq!(default.int64_data, [2]),
            Control::SelectionBias { .. } => assert_eq!(default.float_data, [0.0; 5]),
            Control::RankWeights { .. } => assert_eq!(default.float_data, [1.0; 5]),
        }
    }
}

#[test]
fn every_node_stands_after_what_it_reads() {
    let edited = edited(&mixture(), &InstrumentPlan::everything(Vec::new()));
    let graph = edited.model.graph.as_ref().unwrap();
    let mut known: Vec<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    known.extend(inputs(&edited.model));
    for node in nodes(&edited.model) {
        assert!(node.input.iter().all(|input| known.contains(&input.as_str())), "{node:?}");
        assert!(node.output.iter().all(|output| !known.contains(&output.as_str())), "{node:?} gives a name again");
        known.extend(node.output.iter().map(String::as_str));
    }
    let top_k = nodes(&edited.model).iter().find(|node| node.op_type == "TopK").unwrap();
    assert!(top_k.attribute.is_empty(), "ranks need an order");
}

#[test]
fn without_a_plan_nothing_changes_but_the_outputs() {
    let model = mixture();
    let edited = edited(&model, &InstrumentPlan::default());
    assert_eq!(nodes(&edited.model), nodes(&model));
    assert_eq!(inputs(&edited.model), inputs(&model));
    assert_eq!(edited.routers[0].top_k, Err(Obstacle::NotPlanned));
}

#[test]
fn names_of_the_model_are_left_alone() {
    let mut model = mixture();
    model.graph.as_mut().unwrap().node[1].output[0] = "moescope.p".into();
    model.graph.as_mut().unwrap().node[2].input[0] = "moescope.p".into();
    let edited = edited(&model, &InstrumentPlan::everything(Vec::new()));
    assert!(edited.inputs.iter().all(|input| input.name.starts_with("moescope_.")), "{:?}", edited.inputs);
}

#[test]
fn models_with_older_operators_are_told_what_to_do() {
    let mut model = mixture();
    model.opset_import[0].version = 10;
    let edited = edited(&model, &InstrumentPlan::everything(Vec::new()));
    assert_eq!(nodes(&edited.model), nodes(&model));
    assert_eq!(edited.routers[0].selection_bias, Err(Obstacle::OldOperators { version: 10 }));
}

/// Before IR version 4 all weights are listed as inputs, and no input has a default.
#[test]
fn weights_that_are_listed_as_inputs_do_not_become_inputs() {
    let mut model = mixture();
    model.ir_version = 3;
    let graph = model.graph.as_mut().unwrap();
    let listed =
        graph.initializer.iter().map(|tensor| ValueInfoProto { name: tensor.name.clone(), ..Default::default() });
    graph.input.extend(listed.collect::<Vec<_>>());
    let edited = edited(&model, &InstrumentPlan::everything(Vec::new()));
    assert_eq!(edited.model.ir_version, 4);
    assert_eq!(inputs(&edited.model).len(), 1 + 3);
}
