//! Reads what an ONNX file says about itself, without ONNX Runtime: an untrusted file meets our own parser first.

use super::elements::element_name;
use super::error::GraphFault;
use super::graph::{FastMap, FastSet};
use super::proto::{DimensionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto};
use super::sniff::{Sniffed, sniff, unparsable};
use super::structure::domain;
use super::support::unknown_operators;
use super::visit::bodies;
use super::{ModelError, external, map_file, structure};
use bytes::Bytes;
use prost::Message;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// What an ONNX file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelDescription {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub file_bytes: u64,
    /// Version of the file format.
    pub ir_version: i64,
    /// Version of each operator set by domain; ONNX's own is `ai.onnx`.
    pub opsets: BTreeMap<String, i64>,
    /// The program that wrote it, with its version; may be empty.
    pub producer: String,
    /// The graph's name.
    pub graph_name: String,
    /// Inputs in the graph's order; those with a default come with [`ValueDescription::has_default`].
    pub inputs: Vec<ValueDescription>,
    /// Outputs in the graph's order.
    pub outputs: Vec<ValueDescription>,
    /// Free text by key, such as the model card.
    pub metadata: BTreeMap<String, String>,
    /// Names of the tensors that the nodes of the main graph give.
    pub inner_tensors: HashSet<String>,
    /// Number of nodes, those of bodies of loops and branches included.
    pub num_nodes: usize,
    /// How often each operator occurs; operators of other domains as `domain.Operator`.
    pub operators: BTreeMap<String, usize>,
    /// Operators that ONNX Runtime is not known to have, with the version that has it where there is one.
    pub unknown_operators: Vec<String>,
    /// Files that hold weights; they were checked as the model was.
    pub external_files: Vec<PathBuf>,
    /// Number of values in all weights of the graph.
    pub num_weights: u64,
}

/// An input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueDescription {
    /// Its name.
    pub name: String,
    /// Element type, such as `float32`; `unknown` where it is no tensor.
    pub element: &'static str,
    /// Axes, outermost first; `None` where the graph does not even give their number.
    pub dims: Option<Vec<Dim>>,
    /// Whether an input may be left out.
    pub has_default: bool,
}

/// One axis of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this size.
    Size(usize),
    /// Any size, with a name, such as `batch`.
    Symbol(String),
    /// Any size.
    Any,
}

impl Dim {
    /// The size, where it is fixed.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        match self {
            Self::Size(size) => Some(*size),
            Self::Symbol(_) | Self::Any => None,
        }
    }
}

/// As people write it: `float32 [batch, 3, 224, 224]`.
impl fmt::Display for ValueDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.element)?;
        let Some(dims) = &self.dims else { return Ok(()) };
        let dims = dims.iter().map(|dim| match dim {
            Dim::Size(size) => size.to_string(),
            Dim::Symbol(name) => name.clone(),
            Dim::Any => "?".to_owned(),
        });
        write!(f, " [{}]", dims.collect::<Vec<_>>().join(", "))
    }
}

/// Reads a model's description.
///
/// # Errors
/// [`ModelError::Open`] when the file cannot be read; everything that [`decode_model`] finds.
pub fn read_model(path: &Path) -> Result<ModelDescription, ModelError> {
    describe_model(path, &map_file(path)?)
}

/// The description of a model whose bytes are there already; `path` is where they come from.
///
/// # Errors
/// Everything that [`decode_model`] finds.
pub fn describe_model(path: &Path, bytes: &Bytes) -> Result<ModelDescription, ModelError> {
    Ok(ModelDescription::of(path, bytes.len() as u64, &decode_model(path, bytes)?))
}

/// Decodes the bytes of the file at `path` and checks all that can be told without running it: an untrusted file is not
/// given to ONNX Runtime, nor to anything else of ours, before. The decoded model has a graph with outputs.
///
/// # Errors
/// [`ModelError::NotOnnx`] when it is something else, [`ModelError::TooDeep`] or [`ModelError::Graph`] when nothing could
/// run it, [`ModelError::External`] when weights in other files cannot be used.
pub fn decode_model(path: &Path, bytes: &Bytes) -> Result<ModelProto, ModelError> {
    let not_onnx =
        |Sniffed { found, remedy }| ModelError::NotOnnx { path: path.to_owned(), found, remedy: remedy.into() };
    if let Some(sniffed) = sniff(bytes) {
        return Err(not_onnx(sniffed));
    }
    // Nesting is bounded: the decoder refuses what is deeper than 100 messages, as ONNX Runtime's does.
    let model =
        ModelProto::decode(bytes.clone()).map_err(|error| match error.to_string().contains("recursion limit") {
            true => ModelError::TooDeep { path: path.to_owned() },
            false => not_onnx(unparsable(bytes)),
        })?;
    let Some(graph) = &model.graph else { return Err(not_onnx(unparsable(bytes))) };
    let is_empty = graph.node.is_empty() && graph.output.is_empty();
    if is_empty || model.opset_import.is_empty() || model.ir_version <= 0 {
        return Err(not_onnx(unparsable(bytes)));
    }
    if graph.output.is_empty() {
        return Err(ModelError::Graph { path: path.to_owned(), fault: GraphFault::NoOutputs });
    }
    structure::check(&model).map_err(|fault| ModelError::Graph { path: path.to_owned(), fault })?;
    external::check(path, &model)?;
    Ok(model)
}

impl ModelDescription {
    /// The description of a model of so many bytes that [`decode_model`] made of the file at `path`.
    #[must_use]
    pub fn of(path: &Path, file_bytes: u64, model: &ModelProto) -> Self {
        let nothing = GraphProto::default();
        let graph = model.graph.as_ref().unwrap_or(&nothing);
        let operators = count_operators(graph);
        let weights: FastSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
        let inputs = graph.input.iter().map(|input| value(input, weights.contains(input.name.as_str())));
        let mut opsets = BTreeMap::new();
        for set in &model.opset_import {
            let version = opsets.entry(domain(&set.domain).to_owned()).or_insert(set.version);
            *version = set.version.max(*version);
        }
        Self {
            path: path.to_owned(),
            file_bytes,
            ir_version: model.ir_version,
            opsets,
            producer: format!("{} {}", model.producer_name, model.producer_version).trim().to_owned(),
            graph_name: graph.name.clone(),
            // Before IR version 4 every weight had to be listed as an input; those are not meant to be given.
            inputs: inputs.filter(|input| model.ir_version >= 4 || !input.has_default).collect(),
            outputs: graph.output.iter().map(|output| value(output, false)).collect(),
            metadata: model.metadata_props.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect(),
            inner_tensors: graph
                .node
                .iter()
                .flat_map(|node| &node.output)
                .filter(|name| !name.is_empty())
                .cloned()
                .collect(),
            num_nodes: operators.values().sum(),
            operators,
            unknown_operators: unknown_operators(model),
            external_files: external::files(path, model),
            num_weights: graph.initializer.iter().map(|tensor| num_values(&tensor.dims)).fold(0, u64::saturating_add),
        }
    }
}

fn count_operators(graph: &GraphProto) -> BTreeMap<String, usize> {
    fn add<'a>(nodes: &'a [NodeProto], counts: &mut FastMap<(&'a str, &'a str), usize>) {
        for node in nodes {
            *counts.entry((domain(&node.domain), node.op_type.as_str())).or_default() += 1;
            bodies(node).for_each(|body| add(&body.node, counts));
        }
    }
    let mut counts = FastMap::default();
    add(&graph.node, &mut counts);
    let name = |domain: &str, operator: &str| match domain {
        "ai.onnx" => operator.to_owned(),
        _ => format!("{domain}.{operator}"),
    };
    counts.into_iter().map(|((domain, operator), count)| (name(domain, operator), count)).collect()
}

/// Axes from an untrusted file: negative sizes count as nothing, products stop at the largest number.
fn num_values(dims: &[i64]) -> u64 {
    dims.iter().map(|&dim| u64::try_from(dim).unwrap_or(0)).fold(1, u64::saturating_mul)
}

fn value(info: &ValueInfoProto, has_default: bool) -> ValueDescription {
    let tensor = info.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref());
    let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
    ValueDescription {
        name: info.name.clone(),
        element: tensor.map_or("unknown", |tensor| element_name(tensor.elem_type)),
        dims: shape.map(|shape| shape.dim.iter().map(dim).collect()),
        has_default,
    }
}

fn dim(dim: &DimensionProto) -> Dim {
    match (dim.dim_value, &dim.dim_param) {
        (Some(size), _) => usize::try_from(size).map_or(Dim::Any, Dim::Size),
        (None, Some(name)) if !name.is_empty() => Dim::Symbol(name.clone()),
        _ => Dim::Any,
    }
}
