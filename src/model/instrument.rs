//! Makes inner tensors of a model outputs, without touching its file and without copying its weights.
//!
//! The edited model is a small file of its own: every larger weight becomes external data that points into the original
//! file, which has to lie in the same folder. A tensor inside a local function or a body is handed on through every call
//! and node around it, as one more output of each.

use super::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto,
    ValueInfoProto, attribute_type,
};
use super::routers::{PlaceStep, TensorRef};
use bytes::Bytes;
use std::collections::HashSet;

/// Smaller weights stay where they are: ONNX Runtime folds constants only if their values lie in the model.
const MIN_EXTERNAL_BYTES: usize = 1024;

/// A model with more outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposed {
    /// To be encoded into a file beside the original one.
    pub model: ModelProto,
    /// For each tensor that was asked for, the output that gives it.
    pub outputs: Vec<String>,
}

/// Why a tensor cannot become an output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstrumentError {
    /// The place does not exist in this model.
    #[error("{tensor} is not where it was found ({place}); look for the routers of this model again")]
    Place {
        /// The tensor.
        tensor: String,
        /// The call or body that is missing.
        place: String,
    },
    /// The tensor has no name.
    #[error("the model leaves the tensor out; it cannot be shown")]
    Nameless,
}

/// Makes `tensors` outputs of `model`, which was decoded from `file`, the content of the file `file_name`.
///
/// A tensor in the body of a loop comes with one more axis in front, for the iterations.
///
/// # Errors
/// [`InstrumentError`] for a tensor that is not in this model.
pub fn expose(
    model: &ModelProto,
    file: &Bytes,
    file_name: &str,
    tensors: &[&TensorRef],
) -> Result<Exposed, InstrumentError> {
    let mut model = model.clone();
    let mut graph = model.graph.take().unwrap_or_default();
    point_at_file(&mut graph, file, file_name);
    let mut outputs = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let name = hand_out(&mut graph.node, &mut model.functions, tensor, &tensor.place)?;
        if !graph.output.iter().any(|output| output.name == name) {
            graph.output.push(ValueInfoProto { name: name.clone(), ..Default::default() });
        }
        outputs.push(name);
    }
    model.graph = Some(graph);
    Ok(Exposed { model, outputs })
}

/// Replaces the bytes of larger weights by where they lie in the file.
fn point_at_file(graph: &mut GraphProto, file: &Bytes, file_name: &str) {
    let whole = file.as_ptr_range();
    for tensor in &mut graph.initializer {
        let Some(raw) = tensor.raw_data.as_ref().filter(|raw| raw.len() >= MIN_EXTERNAL_BYTES) else { continue };
        let place = raw.as_ptr_range();
        if place.start < whole.start || place.end > whole.end {
            continue;
        }
        let offset = place.start as usize - whole.start as usize;
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
        tensor.external_data = vec![
            entry("location", file_name.to_owned()),
            entry("offset", offset.to_string()),
            entry("length", raw.len().to_string()),
        ];
        tensor.data_location = Some(TensorProto::EXTERNAL);
        tensor.raw_data = None;
    }
}

/// Gives the name under which a tensor inside `place` can be read where `nodes` stand.
fn hand_out(
    nodes: &mut [NodeProto],
    functions: &mut [FunctionProto],
    tensor: &TensorRef,
    place: &[PlaceStep],
) -> Result<String, InstrumentError> {
    let Some((step, inner)) = place.split_first() else {
        return if tensor.name.is_empty() { Err(InstrumentError::Nameless) } else { Ok(tensor.name.clone()) };
    };
    let missing = || InstrumentError::Place { tensor: tensor.name.clone(), place: step.label.clone() };
    let node = nodes.get_mut(step.node).ok_or_else(missing)?;
    let index = match &step.body {
        None => of_function(node, functions, tensor, inner).transpose().ok_or_else(missing)??,
        Some(body) => of_body(node, body, functions, tensor, inner).transpose().ok_or_else(missing)??,
    };
    let owner = if node.name.is_empty() { node.op_type.clone() } else { node.name.clone() };
    if node.output.len() <= index {
        node.output.resize(index + 1, String::new());
    }
    if node.output[index].is_empty() {
        let taken: HashSet<String> = nodes.iter().flat_map(|node| node.output.iter().cloned()).collect();
        let wished = format!("{owner}.{}", tensor.name);
        let name = (0..).map(|n| if n == 0 { wished.clone() } else { format!("{wished}.{n}") });
        let name = name.into_iter().find(|name| !taken.contains(name)).unwrap_or(wished);
        nodes[step.node].output[index] = name;
    }
    Ok(nodes[step.node].output[index].clone())
}

/// Adds an output to the function that a node calls; gives its index. `None` where there is no such function.
fn of_function(
    call: &NodeProto,
    functions: &mut [FunctionProto],
    tensor: &TensorRef,
    place: &[PlaceStep],
) -> Result<Option<usize>, InstrumentError> {
    let called = functions.iter().position(|function| {
        (&function.domain, &function.name, &function.overload) == (&call.domain, &call.op_type, &call.overload)
    });
    let Some(called) = called else { return Ok(None) };
    let mut nodes = std::mem::take(&mut functions[called].node);
    let name = hand_out(&mut nodes, functions, tensor, place);
    functions[called].node = nodes;
    let (name, outputs) = (name?, &mut functions[called].output);
    Ok(Some(outputs.iter().position(|output| *output == name).unwrap_or_else(|| {
        outputs.push(name);
        outputs.len() - 1
    })))
}

/// Adds an output to a body, and what else its node needs for that; gives its index among the node's outputs.
fn of_body(
    owner: &mut NodeProto,
    body: &str,
    functions: &mut [FunctionProto],
    tensor: &TensorRef,
    place: &[PlaceStep],
) -> Result<Option<usize>, InstrumentError> {
    let owner_loops = owner.op_type != "If";
    let Some(graph) = body_of(owner, body) else { return Ok(None) };
    let mut name = hand_out(&mut graph.node, functions, tensor, place)?;
    if owner_loops {
        // What the body carries from one iteration to the next is an output already, but not one per iteration.
        let shown = format!("{name}.shown");
        let copy = NodeProto {
            op_type: "Identity".into(),
            input: vec![name],
            output: vec![shown.clone()],
            ..Default::default()
        };
        graph.node.push(copy);
        name = shown;
    }
    let known = graph.output.iter().position(|output| output.name == name);
    let at = known.unwrap_or_else(|| {
        graph.output.push(ValueInfoProto { name, ..Default::default() });
        graph.output.len() - 1
    });
    if owner_loops {
        // A loop's body gives its condition first, which the node does not.
        return Ok(Some(if owner.op_type == "Loop" { at.saturating_sub(1) } else { at }));
    }
    let other = if body == "then_branch" { "else_branch" } else { "then_branch" };
    if let (None, Some(other)) = (known, body_of(owner, other)) {
        other.node.push(empty(&format!("{}.absent", tensor.name), tensor.element));
        other.output.push(ValueInfoProto { name: format!("{}.absent", tensor.name), ..Default::default() });
    }
    Ok(Some(at))
}

fn body_of<'n>(node: &'n mut NodeProto, name: &str) -> Option<&'n mut GraphProto> {
    node.attribute.iter_mut().find(|attribute| attribute.name == name)?.g.as_mut()
}

/// A tensor without elements, for the branch that does not have what the other shows.
fn empty(name: &str, element: i32) -> NodeProto {
    let value = TensorProto { dims: vec![0], data_type: element, raw_data: Some(Bytes::new()), ..Default::default() };
    let attribute =
        AttributeProto { name: "value".into(), r#type: attribute_type::TENSOR, t: Some(value), ..Default::default() };
    NodeProto {
        op_type: "Constant".into(),
        output: vec![name.into()],
        attribute: vec![attribute],
        ..Default::default()
    }
}
