//! Valid small models, and mutants of them: attributes, sizes, types and wires flipped, nodes dropped and doubled, bytes
//! changed. The same number gives the same mutant on every machine.

#![allow(dead_code, reason = "shared by tests and benches that use different parts")]

mod operators;

use moescope::model::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use prost::Message;
use std::fs;
use std::path::Path;

/// A valid model.
pub struct Seed {
    pub name: String,
    pub model: ModelProto,
}

/// The fixtures, and a model for each of many operators; `root` is the folder of the repository.
pub fn seeds(root: &str) -> Vec<Seed> {
    let folder = Path::new(root).join("tests/fixtures/models");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let read = |path: &Path| Seed {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        model: ModelProto::decode(fs::read(path).expect("a fixture").as_slice()).expect("a model"),
    };
    files.iter().map(|path| read(path)).chain(operators::seeds()).collect()
}

/// SplitMix64 (Steele, Lea and Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len())) }
    }

    fn pick_mut<'a, T>(&mut self, from: &'a mut [T]) -> Option<&'a mut T> {
        if from.is_empty() {
            return None;
        }
        let at = self.below(from.len());
        from.get_mut(at)
    }

    /// A whole number that programs tend to forget about.
    fn int(&mut self) -> i64 {
        const ODD: [i64; 18] = [
            0,
            1,
            -1,
            2,
            -2,
            3,
            7,
            16,
            255,
            -128,
            65_536,
            1 << 31,
            -(1 << 31),
            i32::MAX as i64,
            1 << 40,
            i64::MAX,
            i64::MIN,
            1 << 62,
        ];
        self.pick(&ODD).copied().unwrap_or(0)
    }

    fn float(&mut self) -> f32 {
        const ODD: [f32; 9] =
            [0.0, -0.0, 1.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE];
        self.pick(&ODD).copied().unwrap_or(0.0)
    }
}

/// The bytes of mutant `number`: one of the seeds with one to four changes.
pub fn mutant(seeds: &[Seed], number: u64) -> Vec<u8> {
    let mut random = Random(number);
    let Some(seed) = random.pick(seeds) else { return Vec::new() };
    let mut model = seed.model.clone();
    for _ in 0..=random.below(4) {
        change(&mut model, seeds, &mut random);
    }
    let mut bytes = model.encode_to_vec();
    if random.one_in(16) {
        change_bytes(&mut bytes, &mut random);
    }
    bytes
}

/// The bytes of a model with one change; `None` for bytes that are no model.
pub fn changed(bytes: &[u8], seeds: &[Seed], random: &mut Random) -> Option<Vec<u8>> {
    let mut model = ModelProto::decode(bytes).ok()?;
    change(&mut model, seeds, random);
    Some(model.encode_to_vec())
}

fn change_bytes(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(8) {
        let byte = random.next() as u8;
        if let Some(place) = random.pick_mut(bytes) {
            *place = byte;
        }
    }
    if random.one_in(4) {
        bytes.truncate(random.below(bytes.len() + 1));
    }
}

fn change(model: &mut ModelProto, seeds: &[Seed], random: &mut Random) {
    if random.one_in(24) {
        if let Some(set) = random.pick_mut(&mut model.opset_import) {
            set.version = [1, 6, 9, 11, 13, 18, 21, 23, 26][random.below(9)];
        }
        return;
    }
    let Some(graph) = &mut model.graph else { return };
    let graph = inner_graph(graph, random);
    match random.below(4) {
        0 => change_values(graph, random),
        1 => change_wires(graph, random),
        _ => change_node(graph, seeds, random),
    }
}

/// The graph itself or, now and then, the body of one of its nodes.
fn inner_graph<'a>(graph: &'a mut GraphProto, random: &mut Random) -> &'a mut GraphProto {
    let has_body = |node: &NodeProto| node.attribute.iter().any(|attribute| attribute.g.is_some());
    if !graph.node.iter().any(has_body) || random.one_in(2) {
        return graph;
    }
    let bodies =
        graph.node.iter_mut().flat_map(|node| &mut node.attribute).filter_map(|attribute| attribute.g.as_mut());
    let mut bodies: Vec<&mut GraphProto> = bodies.collect();
    let at = random.below(bodies.len());
    bodies.swap_remove(at)
}

/// Changes a weight, or the type of an input or output.
fn change_values(graph: &mut GraphProto, random: &mut Random) {
    if random.one_in(3) {
        let ends = graph.input.iter_mut().chain(&mut graph.output);
        let mut tensors: Vec<_> = ends.filter_map(|value| value.r#type.as_mut()?.tensor_type.as_mut()).collect();
        let Some(tensor) = random.pick_mut(&mut tensors) else { return };
        if random.one_in(3) {
            tensor.elem_type = random.below(24) as i32;
        } else if let Some(dim) = tensor.shape.as_mut().and_then(|shape| random.pick_mut(&mut shape.dim)) {
            dim.dim_param = None;
            dim.dim_value = Some([0, 1, 2, 3, 5, -1][random.below(6)]);
        }
    } else if let Some(weight) = random.pick_mut(&mut graph.initializer) {
        change_tensor(weight, random);
    }
}

fn change_tensor(tensor: &mut TensorProto, random: &mut Random) {
    match random.below(6) {
        0 => tensor.data_type = random.below(24) as i32,
        1 => drop(tensor.dims.pop()),
        2 => tensor.dims.push(random.int()),
        3 => {
            let value = random.int();
            if let Some(dim) = random.pick_mut(&mut tensor.dims) {
                *dim = value;
            }
        }
        4 => tensor.dims.reverse(),
        _ => {
            let (raw, value) = (tensor.raw_data.take().unwrap_or_default(), random.int());
            let mut bytes = raw.to_vec();
            let places = bytes.len() / 8;
            if places > 0 {
                let at = random.below(places) * 8;
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            tensor.raw_data = Some(bytes.into());
            if let Some(place) = random.pick_mut(&mut tensor.int64_data) {
                *place = value;
            }
        }
    }
}

/// Changes what nodes take and give.
fn change_wires(graph: &mut GraphProto, random: &mut Random) {
    let mut names: Vec<String> = graph.node.iter().flat_map(|node| node.output.clone()).collect();
    names.extend(graph.input.iter().map(|input| input.name.clone()));
    names.extend(graph.initializer.iter().map(|weight| weight.name.clone()));
    names.push(String::new());
    let name = random.pick(&names).cloned().unwrap_or_default();
    let Some(node) = random.pick_mut(&mut graph.node) else { return };
    match random.below(6) {
        0 => node.input.push(name),
        1 => drop(node.input.pop()),
        2 => node.input.reverse(),
        3 => node.output.push(format!("more{}", random.below(3))),
        _ => {
            if let Some(input) = random.pick_mut(&mut node.input) {
                *input = name;
            }
        }
    }
}

/// Changes an operator, its attributes, or the list of nodes.
fn change_node(graph: &mut GraphProto, seeds: &[Seed], random: &mut Random) {
    if graph.node.is_empty() {
        return;
    }
    let at = random.below(graph.node.len());
    match random.below(10) {
        0 if graph.node.len() > 1 => drop(graph.node.remove(at)),
        1 => {
            let double = graph.node[at].clone();
            let output = double.output.iter().map(|name| format!("{name}'")).collect();
            graph.node.push(NodeProto { output, name: String::new(), ..double });
        }
        2 => {
            if let Some(other) = other_node(seeds, random) {
                (graph.node[at].op_type, graph.node[at].domain) = (other.op_type, other.domain);
            }
        }
        3 => {
            if let Some(other) = other_node(seeds, random) {
                graph.node[at].attribute.extend(other.attribute.first().cloned());
            }
        }
        _ => change_attribute(&mut graph.node[at], random),
    }
}

fn other_node(seeds: &[Seed], random: &mut Random) -> Option<NodeProto> {
    let graph = random.pick(seeds)?.model.graph.as_ref()?;
    random.pick(&graph.node).cloned()
}

fn change_attribute(node: &mut NodeProto, random: &mut Random) {
    if node.attribute.is_empty() {
        return;
    }
    let at = random.below(node.attribute.len());
    let attribute = &mut node.attribute[at];
    match random.below(12) {
        0 => drop(node.attribute.remove(at)),
        1 => attribute.r#type = random.below(14) as i32,
        2 => drop(attribute.ints.pop()),
        3 => attribute.ints.push(random.int()),
        4 => attribute.s = attribute.s.as_ref().map(|text| text.iter().rev().copied().collect()),
        _ => change_numbers(attribute, random),
    }
}

fn change_numbers(attribute: &mut AttributeProto, random: &mut Random) {
    let (int, float) = (random.int(), random.float());
    attribute.i = attribute.i.map(|_| int);
    attribute.f = attribute.f.map(|_| float);
    if let Some(place) = random.pick_mut(&mut attribute.ints) {
        *place = int;
    }
    if let Some(place) = random.pick_mut(&mut attribute.floats) {
        *place = float;
    }
    if let Some(tensor) = &mut attribute.t {
        change_tensor(tensor, random);
    }
}
