//! What the flat view says of small graphs.

use super::testing::{Sketch, node, value, with_body, with_ints};
use super::{Dominators, GraphError, ModelGraph, Node, ValueId};
use crate::model::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto};

fn find(graph: &ModelGraph<'_>, name: &str) -> ValueId {
    graph.value_ids().find(|&id| graph.value(id).name == name).unwrap()
}

fn shape(graph: &ModelGraph<'_>, name: &str) -> Vec<i64> {
    graph.shape(find(graph, name)).unwrap().to_vec()
}

#[test]
fn shapes_are_inferred_through_what_depends_on_the_batch() {
    let mut sketch = Sketch::with_input(&[-1, 3, 32, 32]);
    sketch.weight("patch", &[24, 3, 8, 8]);
    let conv = with_ints(node("Conv", "x patch", "c", &[]), "strides", &[8, 8]);
    sketch.graph.node.push(conv);
    sketch.op("Shape", "c", "size", &[]);
    sketch.ints("two", &[0, 1]);
    sketch.op("Gather", "size two", "front", &[]);
    sketch.ints("rest", &[-1]);
    sketch.op("Concat", "front rest", "target", &[("axis", 0)]);
    sketch.op("Reshape", "c target", "flat", &[]);
    sketch.graph.node.push(with_ints(node("Transpose", "flat", "tokens", &[]), "perm", &[0, 2, 1]));
    sketch.weight("gate", &[24, 5]);
    sketch.op("MatMul", "tokens gate", "l", &[]);
    sketch.ints("k", &[2]);
    sketch.op("TopK", "l k", "v i", &[]);
    let model = sketch.model("v i");
    let graph = ModelGraph::new(&model).unwrap();
    assert_eq!(shape(&graph, "c"), [-1, 24, 4, 4]);
    assert_eq!(graph.value(find(&graph, "target")).ints.as_deref(), Some([None, Some(24), Some(-1)].as_slice()));
    assert_eq!(shape(&graph, "l")[2], 5);
    assert_eq!(shape(&graph, "i")[2], 2);
    assert_eq!((graph.value(find(&graph, "i")).element, graph.value(find(&graph, "v")).element), (7, 1));
}

/// As torch turns the pairs of F.pad round for `Pad`: a table of pairs, last pair first, befores in front of afters.
#[test]
fn tables_of_integers_are_cut_and_turned() {
    let mut sketch = Sketch::with_input(&[1, 10, 10, 16]);
    for (name, values) in [
        ("flat", [0, 0, 0, 2, 0, 3, 0, 0].as_slice()),
        ("pairs", &[-1, 2]),
        ("zero", &[0]),
        ("one", &[1]),
        ("last", &[-1]),
        ("far", &[i64::MIN + 1]),
    ] {
        sketch.ints(name, values);
    }
    sketch.op("Reshape", "flat pairs", "table", &[]);
    sketch.op("Slice", "table last far zero last", "turned", &[]);
    sketch.graph.node.push(with_ints(node("Transpose", "turned", "sides", &[]), "perm", &[1, 0]));
    sketch.op("Reshape", "sides last", "pads", &[]);
    sketch.op("Slice", "table zero one one", "befores", &[]);
    sketch.op("Pad", "x pads", "padded", &[]);
    let model = sketch.model("padded befores");
    let graph = ModelGraph::new(&model).unwrap();
    let ints = |name| graph.const_ints(find(&graph, name)).unwrap();
    assert_eq!(ints("turned"), [0, 0, 0, 3, 0, 2, 0, 0]);
    assert_eq!(ints("pads"), [0, 0, 0, 0, 0, 3, 2, 0]);
    assert_eq!(ints("befores"), [0, 0, 0, 0]);
    assert_eq!(shape(&graph, "padded"), [1, 13, 12, 16]);
}

/// As F.unfold and Swin's padding compute them: tables of indices, and remainders with the sign of the divisor.
#[test]
fn integers_are_computed_along_all_axes() {
    let mut sketch = Sketch::with_input(&[1, 3, 40, 32]);
    for (name, values) in [("starts", [0, 8, 16].as_slice()), ("steps", &[0, 1]), ("column", &[3, 1]), ("seven", &[7])]
    {
        sketch.ints(name, values);
    }
    sketch.op("Reshape", "starts column", "down", &[]);
    sketch.op("Add", "down steps", "table", &[]);
    sketch.op("Shape", "x", "size", &[]);
    sketch.op("Neg", "size", "less", &[]);
    sketch.op("Mod", "less seven", "missing", &[]);
    sketch.op("Add", "size missing", "padded", &[]);
    let model = sketch.model("table padded");
    let graph = ModelGraph::new(&model).unwrap();
    let ints = |name| graph.const_ints(find(&graph, name)).unwrap();
    assert_eq!(ints("table"), [0, 1, 8, 9, 16, 17]);
    assert_eq!(ints("missing"), [6, 4, 2, 3]);
    assert_eq!(ints("padded"), [7, 7, 42, 35]);
}

#[test]
fn what_is_padded_or_scaled_has_a_shape() {
    let mut sketch = Sketch::with_input(&[1, 12, 10, 6]);
    sketch.ints("pads", &[0, 0, 1, 0, 0, 0, 2, 4]);
    sketch.op("Pad", "x pads", "padded", &[]);
    sketch.floats("scales", &[4], &[1.0, 1.0, 2.0, 0.5]);
    sketch.op("Resize", "x _ scales", "scaled", &[]);
    sketch.ints("sizes", &[1, 12, 7, 7]);
    sketch.op("Resize", "x _ _ sizes", "sized", &[]);
    sketch.op("SpaceToDepth", "x", "deep", &[("blocksize", 2)]);
    sketch.op("DepthToSpace", "x", "wide", &[("blocksize", 2)]);
    let model = sketch.model("padded scaled sized deep wide");
    let graph = ModelGraph::new(&model).unwrap();
    for (name, expected) in [
        ("padded", [1, 12, 13, 10]),
        ("scaled", [1, 12, 20, 3]),
        ("sized", [1, 12, 7, 7]),
        ("deep", [1, 48, 5, 3]),
        ("wide", [1, 3, 20, 12]),
    ] {
        assert_eq!(shape(&graph, name), expected, "{name}");
    }
}

#[test]
fn nodes_in_any_order_and_on_a_cycle() {
    let mut sketch = Sketch::with_input(&[2]);
    sketch.op("Relu", "b", "c", &[]);
    sketch.op("Relu", "x", "a", &[]);
    sketch.op("Add", "a a", "b", &[]);
    sketch.op("Add", "d c", "d", &[]);
    let model = sketch.model("c");
    let graph = ModelGraph::new(&model).unwrap();
    let names: Vec<&str> = graph.node_ids().map(|id| graph.node(id).name).collect();
    assert_eq!(names, ["Relu_a", "Add_b", "Relu_c"]);
}

#[test]
fn a_name_that_is_given_twice_does_no_harm() {
    let mut sketch = Sketch::with_input(&[2]);
    sketch.op("Relu", "b", "c", &[]);
    sketch.op("Exp", "x", "b", &[]);
    sketch.op("Abs", "x", "b", &[]);
    let model = sketch.model("c");
    assert_eq!(ModelGraph::new(&model).unwrap().num_nodes(), 3);
}

#[test]
fn outputs_that_are_left_out_are_no_names() {
    let mut sketch = Sketch::with_input(&[4, 5]);
    sketch.ints("k", &[2]);
    sketch.op("TopK", "x k", "_ i", &[]);
    sketch.op("TopK", "x k", "_ j", &[]);
    let model = sketch.model("i j");
    let graph = ModelGraph::new(&model).unwrap();
    assert_ne!(
        graph.node(graph.node_ids().next().unwrap()).output(0),
        graph.node(graph.node_ids().nth(1).unwrap()).output(0)
    );
}

/// A function whose attribute the call gives, and that hands one input on.
#[test]
fn calls_are_expanded() {
    let mut sketch = Sketch::with_input(&[4, 5]);
    let mut inner = node("Softmax", "a", "b", &[]);
    inner.attribute.push(AttributeProto {
        name: "axis".into(),
        ref_attr_name: "along".into(),
        r#type: 2,
        ..Default::default()
    });
    sketch.functions.push(FunctionProto {
        name: "F".into(),
        domain: "local".into(),
        input: vec!["a".into()],
        output: vec!["b".into(), "a".into()],
        attribute: vec!["along".into()],
        node: vec![inner],
        ..Default::default()
    });
    for (n, input) in ["x", "y0"].into_iter().enumerate() {
        let mut call = node("F", input, &format!("y{n} same{n}"), &[("along", n as i64)]);
        call.domain = "local".into();
        sketch.graph.node.push(call);
    }
    let model = sketch.model("y1 same1");
    let graph = ModelGraph::new(&model).unwrap();
    let softmaxes: Vec<&Node<'_>> =
        graph.node_ids().map(|id| graph.node(id)).filter(|node| node.op == "Softmax").collect();
    assert_eq!(softmaxes.iter().map(|node| graph.int(node, "axis")).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert_eq!(softmaxes[1].input(0), softmaxes[0].output(0));
    assert_eq!(graph.op_of(find(&graph, "same0")), "Identity");
}

#[test]
fn functions_that_call_each_other_without_end_are_refused() {
    let mut sketch = Sketch::with_input(&[1]);
    let call = |name: &str| {
        let mut call = node(name, "a", "b", &[]);
        call.domain = "local".into();
        call
    };
    for (name, other) in [("F", "G"), ("G", "F")] {
        sketch.functions.push(FunctionProto {
            name: name.into(),
            domain: "local".into(),
            input: vec!["a".into()],
            output: vec!["b".into()],
            node: vec![call(other)],
            ..Default::default()
        });
    }
    let mut start = call("F");
    start.input = vec!["x".into()];
    sketch.graph.node.push(start);
    assert_eq!(ModelGraph::new(&sketch.model("b")).err(), Some(GraphError::TooDeep));
    assert_eq!(ModelGraph::new(&ModelProto::default()).err(), Some(GraphError::NoGraph));
}

/// Each function calls the one before it ten times: 10^9 nodes, were they all written down.
#[test]
fn functions_that_explode_are_refused() {
    let mut sketch = Sketch::with_input(&[1]);
    for level in 0..9 {
        let nodes = (0..10).map(|n| {
            let op = if level == 0 { "Relu".to_owned() } else { format!("F{}", level - 1) };
            let mut call = node(&op, &format!("v{n}"), &format!("v{}", n + 1), &[]);
            call.domain = if level == 0 { String::new() } else { "local".into() };
            call
        });
        sketch.functions.push(FunctionProto {
            name: format!("F{level}"),
            domain: "local".into(),
            input: vec!["v0".into()],
            output: vec!["v10".into()],
            node: nodes.collect(),
            ..Default::default()
        });
    }
    let mut call = node("F8", "x", "y", &[]);
    call.domain = "local".into();
    sketch.graph.node.push(call);
    assert_eq!(ModelGraph::new(&sketch.model("y")).err(), Some(GraphError::TooLarge));
}

#[test]
fn what_comes_together_where() {
    let mut sketch = Sketch::with_input(&[4]);
    sketch.op("Relu", "x", "in", &[]);
    sketch.op("Exp", "in", "a", &[]);
    sketch.op("Abs", "in", "b", &[]);
    sketch.op("Neg", "b", "c", &[]);
    sketch.op("Add", "a c", "m", &[]);
    sketch.op("Add", "m in", "out", &[]);
    sketch.weight("w", &[4, 99]);
    sketch.op("MatMul", "out w", "y", &[]);
    // `b` is shown besides: that is no second way out.
    let model = sketch.model("y b");
    let graph = ModelGraph::new(&model).unwrap();
    let dominators = Dominators::new(&graph);
    let at = |name: &str| graph.producer(find(&graph, name)).unwrap();
    let name = |id| graph.node(id).name;
    assert_eq!(dominators.after(at("b")).map(name), Some("Neg_c"));
    assert_eq!(dominators.after(at("a")).map(name), Some("Add_m"));
    assert_eq!(dominators.after(at("in")).map(name), Some("Add_out"));
    assert_eq!(dominators.before(at("m")).map(name), Some("Relu_in"));
    assert_eq!(dominators.before(at("y")).map(name), Some("Add_out"));
    assert_eq!(dominators.before(at("in")).map(name), None);
}

#[test]
fn bodies_stand_beside_their_nodes() {
    let mut sketch = Sketch::with_input(&[4, 5]);
    sketch.int("times", 3);
    let body = GraphProto {
        node: vec![
            node("Relu", "inside", "next", &[]),
            node("Identity", "go", "go_on", &[]),
            node("Add", "x n", "seen", &[]),
        ],
        input: vec![value("n", 7, &[]), value("go", 9, &[]), value("inside", 1, &[4, 5])],
        output: vec![value("go_on", 9, &[]), value("next", 1, &[4, 5]), value("seen", 1, &[4, 5])],
        ..Default::default()
    };
    sketch.graph.node.push(with_body(node("Loop", "times _ x", "last all", &[]), "body", body));
    let model = sketch.model("last all");
    let graph = ModelGraph::new(&model).unwrap();
    assert_eq!(graph.op_of(find(&graph, "n")), Node::COUNTER);
    assert_eq!(graph.op_of(find(&graph, "inside")), Node::CARRY);
    assert_eq!((graph.op_of(find(&graph, "last")), graph.op_of(find(&graph, "all"))), (Node::LAST, Node::STACK));
    assert_eq!(shape(&graph, "all"), [-1, 4, 5]);
    let scope = graph.scope(graph.value(find(&graph, "next")).scope);
    assert_eq!((scope.body, scope.owner), (Some("body"), 0));
}

/// Quantisers append the nodes that they make, so that a body may read what comes later in its file.
#[test]
fn a_body_reads_what_its_file_gives_later() {
    let body = GraphProto {
        node: vec![node("Add", "inside late", "next", &[]), node("Identity", "go", "go_on", &[])],
        input: vec![value("n", 7, &[]), value("go", 9, &[]), value("inside", 1, &[4])],
        output: vec![value("go_on", 9, &[]), value("next", 1, &[4])],
        ..Default::default()
    };
    let mut sketch = Sketch::with_input(&[4]);
    sketch.int("times", 3);
    sketch.graph.node.push(with_body(node("Loop", "times _ x", "last", &[]), "body", body));
    sketch.op("Relu", "x", "late", &[]);
    let model = sketch.model("last");
    let graph = ModelGraph::new(&model).unwrap();
    let late = find(&graph, "late");
    assert_eq!(
        (graph.op_of(late), graph.value_ids().filter(|&id| graph.value(id).name == "late").count()),
        ("Relu", 1)
    );
    let reader = graph.consumers(late)[0];
    assert_eq!((graph.node(reader).op, reader > graph.producer(late).unwrap()), ("Add", true));
}
