//! Lists of nodes by their places: the main graph's, a local function's, a body's.

use crate::model::proto::{FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto};
use crate::model::routers::PlaceStep;

/// The body in an attribute of a node.
pub(super) fn body_of<'n>(node: &'n mut NodeProto, name: &str) -> Option<&'n mut GraphProto> {
    node.attribute.iter_mut().find(|attribute| attribute.name == name)?.g.as_mut()
}

/// Where the function that a node calls stands in the list of functions.
pub(super) fn called(call: &NodeProto, functions: &[FunctionProto]) -> Option<usize> {
    functions.iter().position(|function| {
        (&function.domain, &function.name, &function.overload) == (&call.domain, &call.op_type, &call.overload)
    })
}

/// Does something with the list of nodes at a place; `None` where there is none.
pub(super) fn at_place<R>(
    model: &mut ModelProto,
    place: &[PlaceStep],
    edit: impl FnOnce(&mut Vec<NodeProto>) -> R,
) -> Option<R> {
    let graph = model.graph.as_mut()?;
    within(&mut graph.node, &mut model.functions, place, edit)
}

fn within<R>(
    nodes: &mut Vec<NodeProto>,
    functions: &mut Vec<FunctionProto>,
    place: &[PlaceStep],
    edit: impl FnOnce(&mut Vec<NodeProto>) -> R,
) -> Option<R> {
    let Some((step, inner)) = place.split_first() else { return Some(edit(nodes)) };
    let node = nodes.get_mut(step.node)?;
    if let Some(body) = &step.body {
        return within(&mut body_of(node, body)?.node, functions, inner, edit);
    }
    let index = called(node, functions)?;
    let mut nodes = std::mem::take(&mut functions[index].node);
    let result = within(&mut nodes, functions, inner, edit);
    functions[index].node = nodes;
    result
}

/// Gives every call on the way to a place a function of its own, so that a change there changes no other call. `None`
/// where there is no such place.
pub(super) fn unshare(model: &mut ModelProto, place: &[PlaceStep]) -> Option<()> {
    for depth in 0..place.len() {
        let (around, step) = (&place[..depth], &place[depth]);
        if step.body.is_some() {
            continue;
        }
        let call = at_place(model, around, |nodes| nodes.get(step.node).cloned())??;
        if num_calls(model, &call) < 2 {
            continue;
        }
        let mut own = model.functions[called(&call, &model.functions)?].clone();
        let taken = |name: &str| model.functions.iter().any(|function| function.name == name);
        let name = (1_usize..).map(|n| format!("{}_{n}", own.name)).find(|name| !taken(name))?;
        own.name.clone_from(&name);
        model.functions.push(own);
        at_place(model, around, |nodes| nodes[step.node].op_type = name)?;
    }
    Some(())
}

fn num_calls(model: &ModelProto, call: &NodeProto) -> usize {
    fn count(nodes: &[NodeProto], call: &NodeProto) -> usize {
        let bodies = nodes.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.g.as_ref());
        let same = |node: &&NodeProto| {
            (&node.domain, &node.op_type, &node.overload) == (&call.domain, &call.op_type, &call.overload)
        };
        nodes.iter().filter(same).count() + bodies.map(|body| count(&body.node, call)).sum::<usize>()
    }
    let main = model.graph.iter().map(|graph| count(&graph.node, call)).sum::<usize>();
    main + model.functions.iter().map(|function| count(&function.node, call)).sum::<usize>()
}

/// Does something with every node, those in functions and bodies included.
pub(super) fn for_each_node(model: &mut ModelProto, edit: &mut impl FnMut(&mut NodeProto)) {
    fn visit(nodes: &mut [NodeProto], edit: &mut impl FnMut(&mut NodeProto)) {
        for node in nodes {
            edit(node);
            for attribute in &mut node.attribute {
                if let Some(body) = &mut attribute.g {
                    visit(&mut body.node, edit);
                }
            }
        }
    }
    if let Some(graph) = &mut model.graph {
        visit(&mut graph.node, edit);
    }
    for function in &mut model.functions {
        visit(&mut function.node, edit);
    }
}

/// Does something with every tensor that the file holds or names, those in functions and bodies included.
pub(super) fn for_each_tensor(model: &mut ModelProto, edit: &mut impl FnMut(&mut TensorProto)) {
    model.graph.iter_mut().flat_map(|graph| &mut graph.initializer).for_each(&mut *edit);
    for_each_node(model, &mut |node| {
        for attribute in &mut node.attribute {
            attribute.t.iter_mut().chain(&mut attribute.tensors).for_each(&mut *edit);
            attribute.g.iter_mut().flat_map(|body| &mut body.initializer).for_each(&mut *edit);
        }
    });
}

/// Takes out the sizes that the file notes for inner tensors: with another k some are wrong, and ONNX Runtime plans its
/// memory by them. It infers those that hold.
pub(super) fn forget_sizes(model: &mut ModelProto) {
    let forget = |ty: &mut Option<TypeProto>| {
        if let Some(tensor) = ty.as_mut().and_then(|ty| ty.tensor_type.as_mut()) {
            tensor.shape = None;
        }
    };
    for_each_node(model, &mut |node| {
        for body in node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()) {
            // A loop needs the sizes of what its body takes.
            body.value_info.clear();
            body.output.iter_mut().for_each(|value| forget(&mut value.r#type));
        }
    });
    if let Some(graph) = &mut model.graph {
        graph.value_info.clear();
    }
    model.functions.iter_mut().for_each(|function| function.value_info.clear());
}
