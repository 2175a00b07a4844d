//! Small graphs, whole and broken.

use moescope::model::proto::{
    AttributeProto, DimensionProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use moescope::model::read_model;
use prost::Message;
use std::fs;
use std::path::{Path, PathBuf};

pub const FLOAT: i32 = 1;
pub const INT64: i32 = 7;
pub const STRING: i32 = 8;
pub const BOOL: i32 = 9;

pub fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeProto { op_type: op_type.into(), input: names(inputs), output: names(outputs), ..Default::default() }
}

pub fn named(name: &str, node: NodeProto) -> NodeProto {
    NodeProto { name: name.into(), ..node }
}

pub fn in_domain(domain: &str, node: NodeProto) -> NodeProto {
    NodeProto { domain: domain.into(), ..node }
}

/// A node with graphs in attributes.
pub fn with_bodies(node: NodeProto, bodies: &[(&str, GraphProto)]) -> NodeProto {
    let attribute = |(name, body): &(&str, GraphProto)| AttributeProto {
        name: (*name).into(),
        r#type: 5,
        g: Some(body.clone()),
        ..Default::default()
    };
    NodeProto { attribute: bodies.iter().map(attribute).collect(), ..node }
}

pub fn value(name: &str, elem_type: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&size| DimensionProto { dim_value: Some(size), ..Default::default() }).collect();
    let tensor = TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { tensor_type: Some(tensor), ..Default::default() });
    ValueInfoProto { name: name.into(), r#type, ..Default::default() }
}

/// A tensor of zeros.
pub fn tensor(name: &str, dims: &[i64]) -> TensorProto {
    let values = dims.iter().product::<i64>().clamp(0, 64) as usize;
    let raw_data = Some(vec![0; 4 * values].into());
    TensorProto { name: name.into(), data_type: FLOAT, dims: dims.into(), raw_data, ..Default::default() }
}

pub fn int64s(name: &str, values: &[i64]) -> TensorProto {
    let dims = vec![values.len() as i64];
    TensorProto { name: name.into(), data_type: INT64, dims, int64_data: values.into(), ..Default::default() }
}

pub fn graph(node: Vec<NodeProto>, output: &str) -> GraphProto {
    GraphProto { name: "graph".into(), node, output: vec![value(output, FLOAT, &[2, 2])], ..Default::default() }
}

/// A model from x and c to y; `weights` are its initializers.
pub fn model_with(nodes: Vec<NodeProto>, weights: Vec<TensorProto>) -> ModelProto {
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

pub fn model(nodes: Vec<NodeProto>) -> ModelProto {
    model_with(nodes, Vec::new())
}

pub fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
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

pub fn call(name: &str, input: &str, output: &str) -> NodeProto {
    in_domain("mine", node(name, &[input], &[output]))
}

pub fn relu(input: &str, output: &str) -> NodeProto {
    node("Relu", &[input], &[output])
}

pub fn branches(then: GraphProto, other: GraphProto) -> NodeProto {
    with_bodies(node("If", &["c"], &["y"]), &[("then_branch", then), ("else_branch", other)])
}

pub fn plain_branch() -> GraphProto {
    graph(vec![relu("x", "o")], "o")
}

/// Functions that each call the one before twice: 2^n nodes.
pub fn doubling(times: usize) -> ModelProto {
    let double = |n: usize| {
        let callee = format!("f{}", n - 1);
        function(&format!("f{n}"), vec![call(&callee, "a", "t"), call(&callee, "t", "b")])
    };
    let functions = [function("f0", vec![relu("a", "b")])].into_iter().chain((1..=times).map(double)).collect();
    ModelProto { functions, ..model(vec![call(&format!("f{times}"), "x", "y")]) }
}

pub fn write(folder: &Path, model: &ModelProto) -> PathBuf {
    let path = folder.join("model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

/// The error of reading a model; its text names the file.
pub fn refusal(name: &str, model: &ModelProto) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    let error = read_model(&path).expect_err(name).to_string();
    assert!(error.starts_with(path.to_str().unwrap()) && !error.contains('\n'), "{name}: {error}");
    error
}
