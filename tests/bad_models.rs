//! Models that cannot be used: each is refused with a message that a person can act on, and nothing is refused that
//! ONNX Runtime would run rightly.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use moescope::analysis::OpenModel;
use moescope::engine::{Engine, EngineOptions, Execution, Isolation, LoadRequest};
use moescope::model::proto::{
    AttributeProto, DimensionProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use moescope::model::{ModelError, read_model};
use prost::Message;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const FLOAT: i32 = 1;
const INT64: i32 = 7;
const BOOL: i32 = 9;

fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeProto { op_type: op_type.into(), input: names(inputs), output: names(outputs), ..Default::default() }
}

fn named(name: &str, node: NodeProto) -> NodeProto {
    NodeProto { name: name.into(), ..node }
}

fn in_domain(domain: &str, node: NodeProto) -> NodeProto {
    NodeProto { domain: domain.into(), ..node }
}

/// A node with graphs in attributes.
fn with_bodies(node: NodeProto, bodies: &[(&str, GraphProto)]) -> NodeProto {
    let attribute = |(name, body): &(&str, GraphProto)| AttributeProto {
        name: (*name).into(),
        r#type: 5,
        g: Some(body.clone()),
        ..Default::default()
    };
    NodeProto { attribute: bodies.iter().map(attribute).collect(), ..node }
}

fn value(name: &str, elem_type: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&size| DimensionProto { dim_value: Some(size), ..Default::default() }).collect();
    let tensor = TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { tensor_type: Some(tensor), ..Default::default() });
    ValueInfoProto { name: name.into(), r#type, ..Default::default() }
}

/// A tensor of zeros.
fn tensor(name: &str, dims: &[i64]) -> TensorProto {
    let values = dims.iter().product::<i64>().clamp(0, 64) as usize;
    let raw_data = Some(vec![0; 4 * values].into());
    TensorProto { name: name.into(), data_type: FLOAT, dims: dims.into(), raw_data, ..Default::default() }
}

fn int64s(name: &str, values: &[i64]) -> TensorProto {
    let dims = vec![values.len() as i64];
    TensorProto { name: name.into(), data_type: INT64, dims, int64_data: values.into(), ..Default::default() }
}

fn graph(node: Vec<NodeProto>, output: &str) -> GraphProto {
    GraphProto { name: "graph".into(), node, output: vec![value(output, FLOAT, &[2, 2])], ..Default::default() }
}

/// A model from x and c to y; `weights` are its initializers.
fn model_with(nodes: Vec<NodeProto>, weights: Vec<TensorProto>) -> ModelProto {
    let inputs = vec![value("x", FLOAT, &[2, 2]), value("c", BOOL, &[])];
    let graph = GraphProto { input: inputs, initializer: weights, ..graph(nodes, "y") };
    let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version };
    ModelProto {
        ir_version: 8,
        graph: Some(graph),
        opset_import: vec![opset("", 17), opset("mine", 1)],
        ..Default::default()
    }
}

fn model(nodes: Vec<NodeProto>) -> ModelProto {
    model_with(nodes, Vec::new())
}

fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
    let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version };
    FunctionProto {
        name: name.into(),
        domain: "mine".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: nodes,
        opset_import: vec![opset("", 17), opset("mine", 1)],
        ..Default::default()
    }
}

fn call(name: &str, input: &str, output: &str) -> NodeProto {
    in_domain("mine", node(name, &[input], &[output]))
}

fn relu(input: &str, output: &str) -> NodeProto {
    node("Relu", &[input], &[output])
}

fn branches(then: GraphProto, other: GraphProto) -> NodeProto {
    with_bodies(node("If", &["c"], &["y"]), &[("then_branch", then), ("else_branch", other)])
}

fn plain_branch() -> GraphProto {
    graph(vec![relu("x", "o")], "o")
}

/// Functions that each call the one before twice: 2^n nodes.
fn doubling(times: usize) -> ModelProto {
    let double = |n: usize| {
        let callee = format!("f{}", n - 1);
        function(&format!("f{n}"), vec![call(&callee, "a", "t"), call(&callee, "t", "b")])
    };
    let functions = [function("f0", vec![relu("a", "b")])].into_iter().chain((1..=times).map(double)).collect();
    ModelProto { functions, ..model(vec![call(&format!("f{times}"), "x", "y")]) }
}

/// The error of reading a model; its text names the file.
fn refusal(name: &str, model: &ModelProto) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    let error = read_model(&path).expect_err(name).to_string();
    assert!(error.starts_with(path.to_str().unwrap()) && !error.contains('\n'), "{name}: {error}");
    error
}

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
    let recursive = |functions| ModelProto { functions, ..model(vec![call("f", "x", "y")]) };
    let f = || function("f", vec![relu("a", "b")]);
    let cases = [
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

/// A model whose weight w lies in another file.
fn external(location: &str, offset: &str, length: Option<&str>) -> ModelProto {
    let entry = |(key, value): (&str, &str)| StringStringEntryProto { key: key.into(), value: value.into() };
    let entries =
        [("location", location), ("offset", offset)].into_iter().chain(length.map(|length| ("length", length)));
    let weight = TensorProto {
        raw_data: None,
        data_location: Some(TensorProto::EXTERNAL),
        external_data: entries.map(entry).collect(),
        ..tensor("w", &[2, 2])
    };
    model_with(vec![node("Add", &["x", "w"], &["y"])], vec![weight])
}

fn write(folder: &Path, model: &ModelProto) -> std::path::PathBuf {
    let path = folder.join("model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

#[test]
fn weights_beside_the_model_are_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("w.bin"), [0; 20]).unwrap();
    fs::write(folder.path().join("sub/w.bin"), [0; 16]).unwrap();
    for (location, offset, length) in
        [("w.bin", "0", Some("16")), ("w.bin", "4", None), ("./w.bin", "0", Some("0")), ("sub/w.bin", "0", None)]
    {
        let read = read_model(&write(folder.path(), &external(location, offset, length)));
        assert_eq!(read.unwrap().external_files, [folder.path().join(location)], "{location}");
    }
}

#[test]
fn weights_in_files_that_are_not_the_models_own_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    fs::create_dir_all(folder.join("folder")).unwrap();
    fs::write(root.path().join("secret"), [0; 64]).unwrap();
    fs::write(folder.join("w.bin"), [0; 20]).unwrap();
    fs::hard_link(root.path().join("secret"), folder.join("hard")).unwrap();
    let absolute = folder.join("w.bin").to_str().unwrap().to_owned();
    let mut cases = vec![
        ("../secret", "0", None, "is not inside of the model's folder. Put it beside"),
        ("folder/../w.bin", "0", None, "is not inside of the model's folder"),
        (&absolute, "0", None, "is not inside of the model's folder"),
        ("*/_ORT_MEM_ADDR_/*", "4096", Some("16"), "is not inside of the model's folder"),
        ("", "0", None, "but gives no name"),
        ("none.bin", "0", None, "which is missing. Put it into the folder"),
        ("w.bin/w.bin", "0", None, "which is missing"),
        ("w.bin\0", "0", None, "cannot be read"),
        ("folder", "0", None, "not a regular file"),
        ("w.bin", "5", None, "too short: 16 bytes from byte 5 on are needed, and it has 20. Get the file again"),
        ("w.bin", "0", Some("21"), "too short: 21 bytes"),
        ("w.bin", "18446744073709551615", None, "too short"),
        ("w.bin", "-4", None, "the offset there is \"-4\", not a number"),
        ("w.bin", "0", Some("all"), "the length there is \"all\""),
    ];
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(root.path().join("secret"), folder.join("out")).unwrap();
        symlink("w.bin", folder.join("in")).unwrap();
        symlink(root.path(), folder.join("up")).unwrap();
        symlink("/dev/zero", folder.join("zero")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(folder.join("fifo")).status().unwrap();
        assert!(fifo.success());
        cases.extend([
            ("hard", "0", None, "a hard link: the same file has other names elsewhere. Put a copy of it there"),
            ("out", "0", None, "a symbolic link and may lead anywhere"),
            ("in", "0", None, "a symbolic link"),
            ("zero", "0", None, "a symbolic link"),
            ("up/secret", "0", None, "not inside of the model's folder"),
            ("fifo", "0", None, "not a regular file"),
        ]);
    }
    for (location, offset, length, text) in cases {
        let error = read_model(&write(&folder, &external(location, offset, length))).unwrap_err();
        assert!(matches!(error, ModelError::External { .. }), "{location}: {error}");
        let error = error.to_string();
        assert!(error.contains("keeps the values of \"w\" in the file") && error.contains(text), "{location}: {error}");
    }
}

#[test]
fn a_missing_file_is_offered_to_be_put_only_where_that_is_safe() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::write(folder.join("file"), [0; 4]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(root.path(), folder.join("up")).unwrap();
    for (location, offered) in [
        ("none.bin", true),
        ("sub/none.bin", true),
        ("other/none.bin", false),
        ("file/none.bin", false),
        ("up/none.bin", false),
        (".profile", false),
        ("../none.bin", false),
        ("/none.bin", false),
    ] {
        let error = read_model(&write(&folder, &external(location, "0", None))).unwrap_err();
        let place = offered.then(|| folder.join(location));
        assert_eq!(error.missing_file(), place, "{location}: {error}");
    }
}

#[test]
fn weights_are_looked_for_wherever_a_tensor_can_be() {
    let weight = external("../secret", "0", None).graph.unwrap().initializer.remove(0);
    let attribute = AttributeProto { name: "value".into(), r#type: 4, t: Some(weight.clone()), ..Default::default() };
    let constant = NodeProto { attribute: vec![attribute], ..node("Constant", &[], &["o"]) };
    let branch = graph(vec![constant.clone()], "o");
    let in_function =
        ModelProto { functions: vec![function("f", vec![constant.clone()])], ..model(vec![call("f", "x", "y")]) };
    let branch_weight = GraphProto { initializer: vec![weight], ..plain_branch() };
    for (name, model) in [
        ("an attribute", model(vec![constant])),
        ("a branch", model(vec![branches(branch, plain_branch())])),
        ("a function", in_function),
        ("a weight of a branch", model(vec![branches(plain_branch(), branch_weight)])),
    ] {
        assert!(refusal(name, &model).contains("not inside of the model's folder"), "{name}");
    }
}

/// Hugging Face's cache: names that are links to files side by side in another folder, which a worker may read as well.
#[cfg(unix)]
#[test]
fn a_model_and_weights_that_are_both_links_are_read() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    let [blobs, names] = ["blobs", "snapshots/1a2b/onnx"].map(|name| root.path().join(name));
    fs::create_dir(&blobs).unwrap();
    fs::create_dir_all(&names).unwrap();
    fs::write(blobs.join("1f2e"), external("model.onnx_data", "0", None).encode_to_vec()).unwrap();
    fs::write(blobs.join("3d4c"), [0; 16]).unwrap();
    symlink("../../../blobs/1f2e", names.join("model.onnx")).unwrap();
    symlink("../../../blobs/3d4c", names.join("model.onnx_data")).unwrap();
    let path = names.join("model.onnx");
    assert_eq!(read_model(&path).unwrap().external_files, [names.join("model.onnx_data")]);
    for isolation in [Isolation::Off, Isolation::Process { program: env!("CARGO_BIN_EXE_moescope").into() }] {
        let engine = Engine::start(EngineOptions { isolation, ..EngineOptions::default() });
        engine.load(&LoadRequest::new(&path, Execution::default())).unwrap();
    }
}

/// A classifier that needs no card, changed.
fn classifier(change: impl FnOnce(&mut ModelProto)) -> ModelProto {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/tiny_classifier.onnx");
    let mut model = ModelProto::decode(fs::read(path).unwrap().as_slice()).unwrap();
    change(&mut model);
    model
}

#[test]
fn what_onnx_runtime_does_not_take_is_listed_with_what_it_takes() {
    let engine = Engine::start(EngineOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let first = |model: &mut ModelProto| -> NodeProto { model.graph.as_mut().unwrap().node[0].clone() };
    let rename = |model: &mut ModelProto, at: usize, domain: &str, operator: &str| {
        let node = &mut model.graph.as_mut().unwrap().node[at];
        (node.domain, node.op_type) = (domain.into(), operator.into());
    };
    let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version };
    let cases = [
        (
            classifier(|model| model.ir_version = 14),
            "newer ONNX Runtime: it was written with the file format's IR version 14, and this version takes up to 13",
        ),
        (
            classifier(|model| model.opset_import[0].version = 27),
            "operator set ai.onnx 27, and this version takes up to 26",
        ),
        (
            classifier(|model| model.opset_import.push(opset("ai.onnx.ml", 9))),
            "operator set ai.onnx.ml 9, and this version takes up to 5",
        ),
        (
            classifier(|model| {
                rename(model, 0, "my.ops", "Fancy");
                rename(model, 1, "com.microsoft", "Frobnicate");
                model.opset_import.push(opset("my.ops", 3));
            }),
            "does not know: com.microsoft.Frobnicate, my.ops.Fancy. Libraries of custom operators are never loaded",
        ),
        (
            classifier(|model| {
                rename(model, 1, "", "Swish");
                let fancy = NodeProto { op_type: "Fancy".into(), attribute: vec![], ..first(model) };
                let body = FunctionProto { domain: "mine".into(), ..function("F", vec![fancy]) };
                model.functions = vec![body, function("Unused", vec![node("Ignored", &["a"], &["b"])])];
                rename(model, 0, "mine", "F");
                model.opset_import.push(opset("mine", 1));
            }),
            "does not know: Fancy, Swish (since operator set 24; the model asks for 17). ",
        ),
    ];
    for (model, text) in cases {
        let path = write(folder.path(), &model);
        let error = OpenModel::open(&engine, &path, &Execution::default()).unwrap_err().to_string();
        assert!(error.starts_with(path.to_str().unwrap()) && error.contains(text), "{error}");
    }
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
