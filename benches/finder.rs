//! How long it takes to look for routers: linear in the number of nodes, and at most 50 ms for 5,000 of them.
//!
//! `cargo bench --bench finder --no-default-features` prints nodes, routers found, and the time that it takes to decode the
//! file, to check it (at most 50 ms for 100,000 nodes), to view it as a graph and to find the routers, for vision
//! transformers of growing depth in which every other feed-forward network is a loop over experts.
//! A small model that is looked at again and again stays in the processor's caches, which a large one never does. So each
//! size is measured on as many models as make the largest, one after the other: what still grows per node is the
//! finder's doing, or the price of a view that no longer fits into the caches itself.
//!
//! Then what opening does with the graphs of models/zoo before anything runs: routers found, the card guessed, the edit
//! made. With one view for all three, against a view for each.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use bytes::Bytes;
use moescope::model::geometry::{guess, guess_in};
use moescope::model::graph::{Indexed, ModelGraph};
use moescope::model::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use moescope::model::routers::{RouterReport, find_routers, routers_in, routers_of};
use moescope::model::{InstrumentPlan, ModelDescription, decode_model, instrument, map_file};
use prost::Message;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const TOKENS: i64 = 197;
const WIDTH: i64 = 64;
const EXPERTS: i64 = 16;

/// Nodes of all models of one size together.
const TOTAL: usize = 100_000;

fn main() {
    println!(
        "{:>9} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "nodes", "routers", "decode ms", "checks ms", "view ms", "finder ms", "ns / node"
    );
    for wanted in [1_000, 5_000, 10_000, TOTAL] {
        let models: Vec<ModelProto> = (0..TOTAL / wanted).map(|_| transformer(wanted)).collect();
        let file: Bytes = models[0].encode_to_vec().into();
        let (mut best, mut kept) = ([Duration::MAX; 4], Vec::new());
        let (mut nodes, mut routers) = (0, 0);
        for _ in 0..5 {
            let mut sums = [Duration::ZERO; 4];
            let mut add = |stage: usize, since: Instant| sums[stage] += since.elapsed();
            for model in &models {
                let start = Instant::now();
                let decoded = ModelProto::decode(file.clone());
                add(0, start);
                let start = Instant::now();
                let checked = decode_model(Path::new("model.onnx"), &file);
                add(1, start);
                // Tidying up after a million small pieces of memory is put off to whoever asks for a large one next.
                kept.extend([decoded.ok(), checked.ok()]);
                let start = Instant::now();
                let Ok(graph) = ModelGraph::new(model) else { return };
                add(2, start);
                let start = Instant::now();
                routers = find_routers(&graph).routers.len();
                add(3, start);
                nodes = graph.num_nodes();
            }
            best = std::array::from_fn(|stage| best[stage].min(sums[stage]));
        }
        let [decode, decode_and_checks, view, finder] = best.map(|time| time.as_secs_f64() * 1e3 / models.len() as f64);
        let checks = decode_and_checks - decode;
        let relative = (view + finder) * 1e6 / nodes as f64;
        println!("{nodes:>9} {routers:>8} {decode:>10.2} {checks:>10.2} {view:>10.2} {finder:>10.2} {relative:>10.0}");
    }
    opening();
}

/// All rows of the zoo, in turns.
fn opening() {
    let rows: Vec<(ModelProto, Bytes, ModelDescription)> = rows();
    let mut best = [Duration::MAX; 2];
    for _ in 0..5 {
        let ways: [fn(&ModelProto, &Bytes, &ModelDescription); 2] = [with_one_view, with_a_view_each];
        for (best, way) in best.iter_mut().zip(ways) {
            let start = Instant::now();
            rows.iter().for_each(|(model, file, description)| way(model, file, description));
            *best = start.elapsed().min(*best);
        }
    }
    let [shared, apart] = best.map(|time| time.as_secs_f64() * 1e3);
    let (ratio, count) = (shared / apart, rows.len());
    println!("opening {count} models: one view {shared:.0} ms, a view each {apart:.0} ms: {ratio:.2}");
}

fn rows() -> Vec<(ModelProto, Bytes, ModelDescription)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/zoo/rows");
    let paths = std::fs::read_dir(folder).expect("the zoo").flatten().map(|row| row.path().join("model.onnx"));
    let opened = |path: PathBuf| {
        let file = map_file(&path).ok()?;
        let model = decode_model(&path, &file).ok()?;
        let description = ModelDescription::of(&path, file.len() as u64, &model);
        Some((model, file, description))
    };
    paths.filter_map(opened).collect()
}

fn plan(report: &RouterReport) -> InstrumentPlan {
    let ids = report.routers.iter().filter_map(|router| router.tensors.expert_ids.clone());
    InstrumentPlan::everything(ids.collect())
}

fn with_one_view(model: &ModelProto, file: &Bytes, description: &ModelDescription) {
    let model = Indexed::new(model);
    let report = routers_in(&model);
    black_box(guess_in(description, &model, &report).is_ok());
    black_box(instrument(&model, file, &description.path, &report, &plan(&report)).is_ok());
}

fn with_a_view_each(model: &ModelProto, file: &Bytes, description: &ModelDescription) {
    let report = routers_of(model);
    black_box(guess(description, model, &report).is_ok());
    black_box(instrument(&Indexed::new(model), file, &description.path, &report, &plan(&report)).is_ok());
}

/// A transformer of at least `nodes` nodes.
fn transformer(nodes: usize) -> ModelProto {
    let mut graph = Graph::default();
    graph.input("x0", &[1, TOKENS, WIDTH]);
    let mut layers = 0;
    while graph.graph.node.len() < nodes {
        let x = format!("x{layers}");
        let z = graph.attention(layers, &x);
        let y = if layers % 2 == 0 { graph.mlp(&format!("l{layers}"), &z) } else { graph.mixture(layers, &z) };
        layers += 1;
        graph.op("Add", &[&z, &y], &format!("x{layers}"), &[]);
    }
    graph.weight("head", &[WIDTH, 10]);
    graph.op("MatMul", &[&format!("x{layers}"), "head"], "logits", &[]);
    graph.graph.output.push(ValueInfoProto { name: "logits".into(), ..Default::default() });
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(graph.graph),
        ..Default::default()
    }
}

#[derive(Default)]
struct Graph {
    graph: GraphProto,
}

impl Graph {
    fn input(&mut self, name: &str, shape: &[i64]) {
        let dim = shape.iter().map(|&size| DimensionProto { dim_value: Some(size), ..Default::default() }).collect();
        let tensor = TensorTypeProto { elem_type: 1, shape: Some(TensorShapeProto { dim }) };
        let r#type = Some(TypeProto { tensor_type: Some(tensor), ..Default::default() });
        self.graph.input.push(ValueInfoProto { name: name.into(), r#type, ..Default::default() });
    }

    /// The finder reads shapes of weights, never their values.
    fn weight(&mut self, name: &str, dims: &[i64]) {
        let tensor = TensorProto { dims: dims.into(), data_type: 1, name: name.into(), ..Default::default() };
        self.graph.initializer.push(tensor);
    }

    fn ints(&mut self, name: &str, dims: &[i64], values: &[i64]) {
        let (dims, int64_data) = (dims.to_vec(), values.to_vec());
        self.graph.initializer.push(TensorProto {
            dims,
            data_type: 7,
            name: name.into(),
            int64_data,
            ..Default::default()
        });
    }

    fn op(&mut self, op: &str, inputs: &[&str], output: &str, attributes: &[(&str, &[i64])]) {
        let attribute = |(name, values): &(&str, &[i64])| AttributeProto {
            name: (*name).to_owned(),
            r#type: if values.len() == 1 { 2 } else { 7 },
            i: (values.len() == 1).then(|| values[0]),
            ints: if values.len() == 1 { Vec::new() } else { values.to_vec() },
            ..Default::default()
        };
        self.graph.node.push(NodeProto {
            op_type: op.into(),
            name: format!("{op} {output}"),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: output.split(' ').map(str::to_owned).collect(),
            attribute: attributes.iter().map(attribute).collect(),
            ..Default::default()
        });
    }

    fn product(&mut self, x: &str, weight: &str, dims: [i64; 2], output: &str) {
        self.weight(weight, &dims);
        self.op("MatMul", &[x, weight], output, &[]);
    }

    fn attention(&mut self, layer: usize, x: &str) -> String {
        let name = |part: &str| format!("l{layer}.{part}");
        for part in ["q", "k", "v"] {
            self.product(x, &name(&format!("{part}.weight")), [WIDTH, WIDTH], &name(part));
        }
        self.op("Transpose", &[&name("k")], &name("kt"), &[("perm", &[0, 2, 1])]);
        self.op("MatMul", &[&name("q"), &name("kt")], &name("scores"), &[]);
        self.op("Softmax", &[&name("scores")], &name("rows"), &[("axis", &[-1])]);
        self.op("MatMul", &[&name("rows"), &name("v")], &name("mixed"), &[]);
        self.product(&name("mixed"), &name("out.weight"), [WIDTH, WIDTH], &name("out"));
        self.op("Add", &[x, &name("out")], &name("z"), &[]);
        name("z")
    }

    fn mlp(&mut self, name: &str, x: &str) -> String {
        let part = |part: &str| format!("{name}.{part}");
        self.product(x, &part("up"), [WIDTH, 2 * WIDTH], &part("h"));
        self.op("Relu", &[&part("h")], &part("a"), &[]);
        self.product(&part("a"), &part("down"), [2 * WIDTH, WIDTH], &part("o"));
        part("o")
    }

    /// Softmax, top 2, and each expert on all tokens, weighted by its column.
    fn mixture(&mut self, layer: usize, x: &str) -> String {
        let name = |part: &str| format!("l{layer}.{part}");
        self.product(x, &name("gate.weight"), [WIDTH, EXPERTS], &name("l"));
        self.op("Softmax", &[&name("l")], &name("p"), &[("axis", &[-1])]);
        self.ints(&name("two"), &[1], &[2]);
        self.op("TopK", &[&name("p"), &name("two")], &format!("{} {}", name("kept"), name("ids")), &[]);
        self.op("Shape", &[&name("p")], &name("size"), &[]);
        self.op("ConstantOfShape", &[&name("size")], &name("zeros"), &[]);
        self.op("ScatterElements", &[&name("zeros"), &name("ids"), &name("kept")], &name("w"), &[("axis", &[2])]);
        self.ints(&name("last"), &[1], &[-1]);
        let mut sum = String::new();
        for expert in 0..EXPERTS {
            let own = |part: &str| format!("l{layer}.e{expert}.{part}");
            let output = self.mlp(&own("mlp"), x);
            self.ints(&own("number"), &[], &[expert]);
            self.op("Gather", &[&name("w"), &own("number")], &own("g"), &[("axis", &[2])]);
            self.op("Unsqueeze", &[&own("g"), &name("last")], &own("gate"), &[]);
            self.op("Mul", &[&output, &own("gate")], &own("y"), &[]);
            if expert == 0 {
                sum = own("y");
            } else {
                self.op("Add", &[&sum, &own("y")], &own("sum"), &[]);
                sum = own("sum");
            }
        }
        sum
    }
}
