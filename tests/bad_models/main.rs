//! Models that cannot be used: each is refused with a message that a person can act on, and nothing is refused that
//! ONNX Runtime would run rightly.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod builder;
mod external;
mod unfit;

use builder::{
    FLOAT, branches, call, doubling, function, graph, in_domain, int64s, model, model_with, named, node, plain_branch,
    refusal, relu, tensor, value, write,
};
use moescope::engine::{Engine, EngineOptions, Execution, LoadRequest};
use moescope::model::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto};
use moescope::model::read_model;
use prost::Message;
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn graphs_that_nothing_could_run_are_refused_by_name() {
    let cycle = vec![node("Add", &["x", "b"], &["a"]), relu("a", "b"), relu("b", "y")];
    let inner = graph(cycle.clone(), "y");
    let own_output = graph(vec![relu("y", "o")], "o");
    let taken = vec![value("x", FLOAT, &[2, 2]), value("x", FLOAT, &[2, 2])];
    let mut two_inputs = model(vec![relu("x", "y")]);
    two_inputs.graph.as_mut().unwrap().input = taken;
    let shaped = |op: &str, inputs: &[&str], shape: &[i64]| {
        let weights = vec![int64s("shape", shape), tensor("one", &[1])];
        let sum = node("ReduceSum", &["q"], &["r"]);
        model_with(vec![node(op, inputs, &["q"]), sum, node("Add", &["x", "r"], &["y"])], weights)
    };
    let mut by_node = shaped("ConstantOfShape", &["made"], &[1]);
    let made =
        AttributeProto { name: "value".into(), r#type: 4, t: Some(int64s("", &[1 << 41])), ..Default::default() };
    let made = NodeProto { attribute: vec![made], ..node("Constant", &[], &["made"]) };
    by_node.graph.as_mut().unwrap().node.insert(0, made);
    let mut in_a_branch = model_with(vec![branches(plain_branch(), plain_branch())], vec![int64s("shape", &[1 << 40])]);
    let body = graph(vec![node("ConstantOfShape", &["shape"], &["o"])], "o");
    in_a_branch.graph.as_mut().unwrap().node[0].attribute[0].g = Some(body);
    let mut no_outputs = model(vec![relu("x", "y")]);
    no_outputs.graph.as_mut().unwrap().output.clear();
    let recursive = |functions| ModelProto { functions, ..model(vec![call("f", "x", "y")]) };
    let f = || function("f", vec![relu("a", "b")]);
    let cases = [
        ("no outputs", no_outputs, "its graph has no outputs"),
        ("a circle", model(cycle), "in a circle: \"Add → a\" → \"Relu → b\""),
        ("a circle in a branch", model(vec![branches(inner, plain_branch())]), "in a circle: \"Add → a\""),
        ("a node of itself", model(vec![named("n", node("Add", &["x", "y"], &["y"]))]), "in a circle: \"n\""),
        ("a branch of its own output", model(vec![branches(own_output, plain_branch())]), "in a circle: \"If → y\""),
        ("two nodes for a value", model(vec![relu("x", "y"), relu("c", "y")]), "the value \"y\" has two sources"),
        ("one node twice", model(vec![node("Split", &["x"], &["y", "y"])]), "the value \"y\" has two sources"),
        ("a node gives an input", model(vec![relu("x", "c"), relu("x", "y")]), "the value \"c\" has two sources"),
        (
            "a node gives a weight",
            model_with(vec![relu("x", "w"), relu("w", "y")], vec![tensor("w", &[2, 2])]),
            "\"w\" has two sources",
        ),
        ("an input twice", two_inputs, "the value \"x\" has two sources"),
        (
            "two of a name",
            model(vec![named("n\n", relu("x", "a")), named("n\n", relu("a", "y"))]),
            "two nodes have the name \"n\\n\"",
        ),
        (
            "a function of itself",
            recursive(vec![function("f", vec![call("f", "a", "b")])]),
            "functions call each other in a circle: \"f\"",
        ),
        (
            "two functions of each other",
            recursive(vec![function("f", vec![call("g", "a", "b")]), function("g", vec![call("f", "a", "b")])]),
            "in a circle: \"f\" → \"g\"",
        ),
        ("a function twice", recursive(vec![f(), f()]), "function \"f\" is there twice"),
        ("2^30 nodes", doubling(30), "unfold to 1073741824 nodes; 10000000 are possible"),
        ("2^70 nodes", doubling(70), "unfold to 18446744073709551615 nodes"),
        (
            "a negative size",
            model_with(vec![relu("x", "y")], vec![tensor("w", &[-1, 2])]),
            "tensor \"w\" has the impossible shape [-1, 2]",
        ),
        (
            "an overflow",
            model_with(vec![relu("x", "y")], vec![TensorProto { dims: vec![1 << 62, 4], ..tensor("w", &[1]) }]),
            "impossible shape [4611686018427387904, 4]",
        ),
        (
            "4 TiB",
            shaped("ConstantOfShape", &["shape"], &[1 << 40]),
            "\"ConstantOfShape → q\" asks for a tensor of shape [1099",
        ),
        ("an overflow at run time", shaped("ConstantOfShape", &["shape"], &[1 << 62, 8]), "no machine can hold"),
        ("8 TiB by a node", by_node, "of shape [2199023255552], which no machine can hold"),
        ("4 TiB in a branch", in_a_branch, "of shape [1099511627776]"),
        ("4 TiB by expanding", shaped("Expand", &["one", "shape"], &[1 << 40, 4]), "\"Expand → q\""),
    ];
    for (name, model, text) in cases {
        let error = refusal(name, &model);
        assert!(error.contains("is not a valid model") && error.contains(text), "{name}: {error}");
        assert!(error.contains("Get the file again, or export it again"), "{name}: {error}");
    }
}

#[test]
fn messages_stay_short_whatever_the_names_are() {
    let long = "n".repeat(1 << 16);
    let chain = (0..50).map(|at| relu(&format!("{long}{}", (at + 1) % 50), &format!("{long}{at}"))).collect();
    let two = model(vec![named(&long, relu("x", "a")), named(&long, relu("a", "y"))]);
    for model in [model(chain), two] {
        let error = refusal("long names", &model);
        assert!(error.chars().count() < 1500, "{} characters", error.len());
    }
}

/// What is unusual but right: our checks pass it, and ONNX Runtime loads it.
#[test]
fn nothing_is_refused_that_runs() {
    let twice = vec![tensor("w", &[2, 2]), tensor("w", &[2, 2])];
    let shadow =
        GraphProto { initializer: vec![tensor("w", &[2, 2])], ..graph(vec![node("Add", &["x", "w"], &["o"])], "o") };
    let same_name = graph(vec![named("n", relu("x", "o"))], "o");
    let later = graph(vec![relu("z", "o")], "o");
    let twice_out = |mut model: ModelProto| {
        let graph = model.graph.as_mut().unwrap();
        graph.output.push(graph.output[0].clone());
        model
    };
    let onto_itself = |mut model: ModelProto| {
        model.graph.as_mut().unwrap().output[0].name = "x".into();
        model
    };
    let listed_as_input = |mut model: ModelProto| {
        model.graph.as_mut().unwrap().input.push(value("w", FLOAT, &[2, 2]));
        ModelProto { ir_version: 3, ..model }
    };
    let add = || vec![node("Add", &["x", "w"], &["y"])];
    let empty = tensor("none", &[0, 2]);
    let cases = [
        ("nodes out of order", model(vec![relu("a", "y"), relu("x", "a")])),
        ("no nodes", onto_itself(model(vec![]))),
        ("an output twice", twice_out(model(vec![relu("x", "y")]))),
        ("a weight twice", model_with(add(), twice)),
        ("a weight that is listed as an input", listed_as_input(model_with(add(), vec![tensor("w", &[2, 2])]))),
        (
            "a weight that a branch hides",
            model_with(vec![branches(shadow, plain_branch())], vec![tensor("w", &[2, 2])]),
        ),
        ("names that a branch uses again", model(vec![named("n", branches(same_name, plain_branch()))])),
        ("a branch of a later node", model(vec![branches(later, plain_branch()), relu("x", "z")])),
        (
            "an empty weight",
            model_with(
                vec![node("Concat", &["none", "x"], &["y"])]
                    .into_iter()
                    .map(|concat| {
                        let axis = AttributeProto { name: "axis".into(), r#type: 2, i: Some(0), ..Default::default() };
                        NodeProto { attribute: vec![axis], ..concat }
                    })
                    .collect(),
                vec![empty],
            ),
        ),
        ("local functions", doubling(8)),
        (
            "a function that hides an operator",
            ModelProto {
                functions: vec![FunctionProto {
                    domain: String::new(),
                    ..function("Relu", vec![node("Abs", &["a"], &["b"])])
                }],
                ..model(vec![relu("x", "y")])
            },
        ),
        ("an operator of ONNX Runtime's own", model(vec![in_domain("com.microsoft", node("Gelu", &["x"], &["y"]))])),
        ("ONNX's domain by its long name", model(vec![in_domain("ai.onnx", relu("x", "y"))])),
        (
            "a constant shape that fits",
            model_with(
                vec![node("ConstantOfShape", &["s"], &["q"]), node("Add", &["x", "q"], &["y"])],
                vec![int64s("s", &[2, 2])],
            ),
        ),
        (
            "branches in branches",
            (0..28).fold(model(vec![branches(plain_branch(), plain_branch())]), |mut model, _| {
                let graph = model.graph.as_mut().unwrap();
                let mut inner = graph.node[0].clone();
                inner.output = vec!["o".into()];
                graph.node = vec![branches(self::graph(vec![inner], "o"), plain_branch())];
                model
            }),
        ),
    ];
    let engine = Engine::start(EngineOptions::default());
    let folder = tempfile::tempdir().unwrap();
    for (name, model) in cases {
        let path = folder.path().join("model.onnx");
        fs::write(&path, model.encode_to_vec()).unwrap();
        read_model(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let request = LoadRequest::new(path, Execution::default());
        let loaded = engine.load(&request).unwrap_or_else(|error| panic!("{name}: {error}"));
        engine.unload(loaded.model).unwrap();
    }
}

#[test]
fn nesting_without_end_is_told_as_such() {
    let mut nested = model(vec![branches(plain_branch(), plain_branch())]);
    for _ in 0..40 {
        let body = nested.graph.take().unwrap();
        nested.graph = Some(graph(vec![branches(body, plain_branch())], "y"));
    }
    assert!(refusal("branches in branches", &nested).contains("is nested too deeply"));
}

/// A chain of 100,000 nodes costs some tens of milliseconds with optimisation; this is the bound of a slow machine's
/// unoptimised build, against anything that would grow faster than the file.
#[test]
fn large_graphs_are_checked_quickly() {
    let name = |at: usize| if at == 0 { "x".to_owned() } else { format!("v{at}") };
    let chain = |at: usize| named(&format!("n{at}"), relu(&name(at), &name(at + 1)));
    let mut nodes: Vec<NodeProto> = (0..100_000).map(chain).collect();
    nodes.push(relu(&name(100_000), "y"));
    nodes.reverse();
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &model(nodes));
    let start = Instant::now();
    assert_eq!(read_model(&path).unwrap().num_nodes, 100_001);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
