//! What it costs to edit a model and to load it edited: `cargo bench --bench instrument --no-default-features`.
//!
//! A generated model of 150 MB: blocks of experts in stacked weights inside the file, as exporters write it.
//! Bars: editing (controls for every router, and the bytes that are loaded) takes at most 5 ms and copies no weight, and
//! the edited model loads as fast as the file. Exits with 1 when one is missed.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::print_stdout, reason = "its result")]

use bytes::Bytes;
use moescope::engine::{EditedModel, Engine, EngineOptions, Execution, LoadRequest, Provider};
use moescope::model::graph::Indexed;
use moescope::model::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use moescope::model::routers::routers_in;
use moescope::model::{InstrumentPlan, decode_model, instrument, map_file};
use prost::Message;
use std::process::ExitCode;
use std::time::Instant;

const TOKENS: i64 = 197;
const WIDTH: i64 = 256;
const HIDDEN: i64 = 512;
const EXPERTS: i64 = 12;
const BLOCKS: usize = 12;
const TURNS: usize = 15;

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, mixtures().encode_to_vec()).expect("the model is written");
    let file = map_file(&path).expect("the file is mapped");
    let model = decode_model(&path, &file).expect("the model is decoded");
    let indexed = Indexed::new(&model);
    let report = routers_in(&indexed);
    assert_eq!(report.routers.len(), BLOCKS);
    let ids = report.routers.iter().filter_map(|router| router.tensors.expert_ids.clone()).collect();
    let plan = InstrumentPlan::everything(ids);

    let mut edited = Bytes::new();
    let editing = median((0..TURNS).map(|_| {
        let started = Instant::now();
        let instrumented = instrument(&indexed, &file, &path, &report, &plan).expect("the model is edited");
        edited = instrumented.encode();
        millis(started)
    }));
    println!("{:.0} MB in the file, {:.0} kB edited", file.len() as f64 / 1e6, edited.len() as f64 / 1e3);
    println!("editing: {editing:.2} ms (bar 5)");

    let engine = Engine::start(EngineOptions::default());
    let plain = LoadRequest::new(path, Execution::on(Provider::Cpu));
    let with_edit = LoadRequest { edited: Some(EditedModel(edited.clone())), ..plain.clone() };
    let mut loads = [Vec::new(), Vec::new()];
    for turn in 0..=TURNS {
        for side in [turn % 2, 1 - turn % 2] {
            let loaded = engine.load([&plain, &with_edit][side]).expect("the model loads");
            engine.unload(loaded.model).expect("the engine is there");
            // The first load opens the library.
            if turn > 0 {
                loads[side].push(loaded.load_secs * 1e3);
            }
        }
    }
    let [plain, with_edit] = loads.map(|loads| median(loads.into_iter()));
    let ratio = with_edit / plain;
    println!("load: {plain:.0} ms as it is, {with_edit:.0} ms edited: {ratio:.2} (bar 1.00)");
    let small = edited.len() < file.len() / 100;
    if editing <= 5.0 && ratio <= 1.0 && small { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Blocks of a softmax gate whose best two experts, with weights of their own, are looked up and added up by a mask.
fn mixtures() -> ModelProto {
    let mut graph = GraphProto { name: "mixtures".into(), ..GraphProto::default() };
    graph.input.push(tokens("x0", true));
    ints(&mut graph, "k", &[2]);
    ints(&mut graph, "last", &[-1]);
    ints(&mut graph, "ids", &(0..EXPERTS).collect::<Vec<_>>());
    for block in 0..BLOCKS {
        let name = |part: &str| format!("blocks.{block}.{part}");
        let x = format!("x{block}");
        weight(&mut graph, &name("gate"), &[WIDTH, EXPERTS]);
        weight(&mut graph, &name("up"), &[EXPERTS, WIDTH, HIDDEN]);
        weight(&mut graph, &name("down"), &[EXPERTS, HIDDEN, WIDTH]);
        op(&mut graph, "MatMul", &[&x, &name("gate")], &[&name("logits")], &[]);
        op(&mut graph, "Softmax", &[&name("logits")], &[&name("probs")], &[("axis", -1)]);
        op(&mut graph, "TopK", &[&name("probs"), "k"], &[&name("values"), &name("chosen")], &[]);
        op(&mut graph, "Unsqueeze", &[&name("chosen"), "last"], &[&name("chosen3")], &[]);
        op(&mut graph, "Equal", &[&name("chosen3"), "ids"], &[&name("equal")], &[]);
        op(&mut graph, "Cast", &[&name("equal")], &[&name("mask")], &[("to", 1)]);
        op(&mut graph, "Unsqueeze", &[&name("values"), "last"], &[&name("values3")], &[]);
        op(&mut graph, "Mul", &[&name("mask"), &name("values3")], &[&name("masked")], &[]);
        ints(&mut graph, &name("ranks"), &[1]);
        op(&mut graph, "ReduceSum", &[&name("masked"), &name("ranks")], &[&name("table")], &[("keepdims", 0)]);
        op(&mut graph, "MatMul", &[&x, &name("up")], &[&name("inner")], &[]);
        op(&mut graph, "Relu", &[&name("inner")], &[&name("active")], &[]);
        op(&mut graph, "MatMul", &[&name("active"), &name("down")], &[&name("out")], &[]);
        op(&mut graph, "Transpose", &[&name("table")], &[&name("turned")], &[]);
        op(&mut graph, "Unsqueeze", &[&name("turned"), "last"], &[&name("weights")], &[]);
        op(&mut graph, "Mul", &[&name("out"), &name("weights")], &[&name("weighted")], &[]);
        ints(&mut graph, &name("experts"), &[0]);
        op(&mut graph, "ReduceSum", &[&name("weighted"), &name("experts")], &[&name("sum")], &[("keepdims", 0)]);
        op(&mut graph, "Add", &[&x, &name("sum")], &[&format!("x{}", block + 1)], &[]);
    }
    graph.output.push(tokens(&format!("x{BLOCKS}"), false));
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

fn tokens(name: &str, sized: bool) -> ValueInfoProto {
    let dim = |size| DimensionProto { dim_value: Some(size), ..DimensionProto::default() };
    let shape = sized.then(|| TensorShapeProto { dim: vec![dim(TOKENS), dim(WIDTH)] });
    let r#type = Some(TypeProto { tensor_type: Some(TensorTypeProto { elem_type: 1, shape }), ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}

fn weight(graph: &mut GraphProto, name: &str, dims: &[i64]) {
    let count = dims.iter().product::<i64>();
    let raw: Vec<u8> = (0..count).flat_map(|n| ((n % 97) as f32 / 970.0 - 0.05).to_le_bytes()).collect();
    let (dims, raw_data) = (dims.to_vec(), Some(raw.into()));
    graph.initializer.push(TensorProto { name: name.into(), dims, data_type: 1, raw_data, ..TensorProto::default() });
}

fn ints(graph: &mut GraphProto, name: &str, int64_data: &[i64]) {
    let (dims, int64_data) = (vec![int64_data.len() as i64], int64_data.to_vec());
    graph.initializer.push(TensorProto { name: name.into(), dims, data_type: 7, int64_data, ..TensorProto::default() });
}

fn op(graph: &mut GraphProto, op: &str, inputs: &[&str], outputs: &[&str], attributes: &[(&str, i64)]) {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let int = |(name, value): &(&str, i64)| AttributeProto {
        name: (*name).to_owned(),
        r#type: 2,
        i: Some(*value),
        ..AttributeProto::default()
    };
    graph.node.push(NodeProto {
        op_type: op.into(),
        name: format!("{op} {}", outputs[0]),
        input: names(inputs),
        output: names(outputs),
        attribute: attributes.iter().map(int).collect(),
        ..NodeProto::default()
    });
}
