//! Ways through a model that reach everything, whatever it is nested in.

use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto};

/// The graphs in a node's attributes, such as the body of a loop.
pub(super) fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// Calls `see` with every tensor of the model that ONNX Runtime may read: weights and attributes, those of bodies and
/// functions included. Stops at the first error.
pub(super) fn tensors<'a, E>(
    model: &'a ModelProto,
    see: &mut impl FnMut(&'a TensorProto) -> Result<(), E>,
) -> Result<(), E> {
    let functions = model.functions.iter();
    functions.clone().flat_map(|function| &function.node).try_for_each(|node| of_node(node, see))?;
    functions.flat_map(|function| &function.attribute_proto).try_for_each(|attribute| of_attribute(attribute, see))?;
    model.graph.iter().try_for_each(|graph| of_graph(graph, see))
}

fn of_graph<'a, E>(graph: &'a GraphProto, see: &mut impl FnMut(&'a TensorProto) -> Result<(), E>) -> Result<(), E> {
    graph.initializer.iter().try_for_each(&mut *see)?;
    graph.sparse_initializer.iter().flat_map(parts).try_for_each(&mut *see)?;
    graph.node.iter().try_for_each(|node| of_node(node, see))
}

fn of_node<'a, E>(node: &'a NodeProto, see: &mut impl FnMut(&'a TensorProto) -> Result<(), E>) -> Result<(), E> {
    node.attribute.iter().try_for_each(|attribute| of_attribute(attribute, see))
}

fn of_attribute<'a, E>(
    attribute: &'a AttributeProto,
    see: &mut impl FnMut(&'a TensorProto) -> Result<(), E>,
) -> Result<(), E> {
    attribute.t.iter().chain(&attribute.tensors).try_for_each(&mut *see)?;
    attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors).flat_map(parts).try_for_each(&mut *see)?;
    attribute.g.iter().chain(&attribute.graphs).try_for_each(|graph| of_graph(graph, see))
}

fn parts(tensor: &SparseTensorProto) -> impl Iterator<Item = &TensorProto> {
    tensor.values.iter().chain(&tensor.indices)
}
