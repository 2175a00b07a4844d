//! Hands new inputs of a model in, to any place in it.

use super::places::{body_of, called};
use crate::model::proto::{
    DimensionProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};
use crate::model::routers::PlaceStep;

/// `TensorProto.DataType`.
pub(super) const FLOAT: i32 = 1;
/// `TensorProto.DataType`.
pub(super) const INT64: i32 = 7;

/// From this version on, only weights that are listed among the inputs can be given.
const OPTIONAL_INPUTS_IR: i64 = 4;

/// The values that an input has where it is not given.
pub(super) enum Default {
    Ints(Vec<i64>),
    Floats(Vec<f32>),
}

/// Adds an input with one axis.
pub(super) fn add(model: &mut ModelProto, name: &str, default: Default) {
    allow_defaults(model);
    let Some(graph) = &mut model.graph else { return };
    let (element, len) = match &default {
        Default::Ints(ints) => (INT64, ints.len()),
        Default::Floats(floats) => (FLOAT, floats.len()),
    };
    let mut tensor =
        TensorProto { dims: vec![len as i64], data_type: element, name: name.to_owned(), ..TensorProto::default() };
    match default {
        Default::Ints(ints) => tensor.int64_data = ints,
        Default::Floats(floats) => tensor.float_data = floats,
    }
    let dim = DimensionProto { dim_value: Some(len as i64), ..DimensionProto::default() };
    let tensor_type = TensorTypeProto { elem_type: element, shape: Some(TensorShapeProto { dim: vec![dim] }) };
    let r#type = Some(TypeProto { tensor_type: Some(tensor_type), ..TypeProto::default() });
    graph.initializer.push(tensor);
    graph.input.push(ValueInfoProto { name: name.to_owned(), r#type, ..ValueInfoProto::default() });
}

/// In older files every weight is listed as an input and none can be given.
fn allow_defaults(model: &mut ModelProto) {
    if model.ir_version >= OPTIONAL_INPUTS_IR {
        return;
    }
    model.ir_version = OPTIONAL_INPUTS_IR;
    if let Some(GraphProto { input, initializer, .. }) = &mut model.graph {
        input.retain(|input| !initializer.iter().any(|weight| weight.name == input.name));
    }
}

/// Makes the main graph's `name` readable at a place. Bodies read what is around them; a function gets one more input,
/// which its call gives (it must have no other call).
pub(super) fn hand_in(model: &mut ModelProto, place: &[PlaceStep], name: &str) -> Option<()> {
    let graph = model.graph.as_mut()?;
    within(&mut graph.node, &mut model.functions, place, name)
}

fn within(nodes: &mut [NodeProto], functions: &mut [FunctionProto], place: &[PlaceStep], name: &str) -> Option<()> {
    let Some((step, inner)) = place.split_first() else { return Some(()) };
    let node = nodes.get_mut(step.node)?;
    if let Some(body) = &step.body {
        return within(&mut body_of(node, body)?.node, functions, inner, name);
    }
    let index = called(node, functions)?;
    let function = &mut functions[index];
    if !function.input.iter().any(|input| input == name) {
        // Inputs at the end may be left out.
        node.input.resize(function.input.len(), String::new());
        node.input.push(name.to_owned());
        function.input.push(name.to_owned());
    }
    let mut nodes = std::mem::take(&mut function.node);
    let result = within(&mut nodes, functions, inner, name);
    functions[index].node = nodes;
    result
}
