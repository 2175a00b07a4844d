//! Names of nodes and tensors as people are told them.

use super::report::{PlaceStep, TensorRef};
use crate::model::graph::{ModelGraph, NodeId, ScopeId, Source, ValueId};

/// Operator and name of a node.
pub(super) fn node_name(graph: &ModelGraph<'_>, id: NodeId) -> String {
    let node = graph.node(id);
    let name =
        if node.name.is_empty() { node.output(0).map_or("", |output| graph.value(output).name) } else { node.name };
    format!("{} {name}", node.op)
}

/// A reference to a value that survives the graph.
pub(super) fn tensor_ref(graph: &ModelGraph<'_>, id: ValueId, expert_axis: Option<usize>, dense: bool) -> TensorRef {
    let value = graph.value(id);
    let place = place(graph, value.scope);
    let shape = value.shape.as_ref().map_or_else(Vec::new, |shape| shape.to_vec());
    TensorRef { name: value.name.to_owned(), place, element: value.element, shape, expert_axis, dense }
}

/// The calls and bodies around a scope, outermost first.
pub(in crate::model) fn place(graph: &ModelGraph<'_>, scope: ScopeId) -> Vec<PlaceStep> {
    let mut place = Vec::new();
    let mut scope = graph.scope(scope);
    while let Some(parent) = scope.parent {
        place.push(PlaceStep { node: scope.owner, body: scope.body.map(str::to_owned), label: scope.label.clone() });
        scope = graph.scope(parent);
    }
    place.reverse();
    place
}

/// The weights that a value is made of, where it is made of weights only.
pub(super) fn weights_of(graph: &ModelGraph<'_>, id: ValueId) -> Vec<ValueId> {
    /// Weights are stacked and transposed, not computed by long programs.
    const MAX_VALUES: usize = 8192;
    let mut found = Vec::new();
    let mut stack = vec![id];
    let mut steps = 0;
    while let Some(value) = stack.pop() {
        steps += 1;
        if steps > MAX_VALUES {
            break;
        }
        match graph.value(value).source {
            Source::Initializer(_) | Source::Input(Some(_)) | Source::Constant(_) => found.push(value),
            Source::Node(node) => stack.extend(graph.data_inputs(graph.node(node))),
            Source::Input(None) | Source::Unknown => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Number of values in a weight.
pub(super) fn weight_len(graph: &ModelGraph<'_>, id: ValueId) -> u64 {
    graph.num_elements(id).and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

/// A name for a router, from the names of the nodes and weights that it is made of: the module path that exporters keep.
pub(super) fn router_name(graph: &ModelGraph<'_>, gate: ValueId, number: usize) -> String {
    let producer = graph.producing(gate);
    let weights = producer.iter().flat_map(|(_, node)| node.inputs.iter().flatten().copied());
    let weight = weights.filter(|&input| !graph.value(input).is_data).find_map(|input| {
        let roots = weights_of(graph, input);
        roots.first().map(|&root| graph.value(root).name.to_owned())
    });
    let from_weight = weight.as_deref().and_then(|name| path_of(name, '.'));
    let from_node = producer.and_then(|(_, node)| path_of(node.name, '/'));
    from_weight.or(from_node).unwrap_or_else(|| format!("router {number}"))
}

/// The path without its last part; `None` where a name has no path.
fn path_of(name: &str, separator: char) -> Option<String> {
    let (path, _) = name.trim_matches(separator).rsplit_once(separator)?;
    let path = path.trim_matches(separator);
    (!path.is_empty() && path.chars().any(char::is_alphabetic)).then(|| path.replace(separator, "."))
}
