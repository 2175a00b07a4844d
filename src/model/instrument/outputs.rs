//! Hands inner tensors out: a tensor inside a local function or a body becomes one more output of every call and node
//! around it.

use super::InstrumentError;
use super::places::{body_of, called};
use crate::model::proto::{AttributeProto, FunctionProto, NodeProto, TensorProto, ValueInfoProto, attribute_type};
use crate::model::routers::{PlaceStep, TensorRef};
use bytes::Bytes;
use std::collections::HashSet;

/// Gives the name under which a tensor inside `place` can be read where `nodes` stand.
pub(super) fn hand_out(
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
    let Some(called) = called(call, functions) else { return Ok(None) };
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
    // It may be an output already, and yet not what is asked for: what the body carries from one iteration to the next is
    // not one per iteration, and what a branch gives is another tensor where the other branch runs.
    let inside = hand_out(&mut graph.node, functions, tensor, place)?;
    let name = format!("{inside}.shown");
    let known = graph.output.iter().position(|output| output.name == name);
    if known.is_none() {
        graph.node.push(NodeProto {
            op_type: "Identity".into(),
            input: vec![inside],
            output: vec![name.clone()],
            ..Default::default()
        });
    }
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
