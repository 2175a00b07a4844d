//! Tracing writes the number of rows of one image down; an export that did so fails on others.

use super::region::Region;
use super::scores::skip_passive;
use crate::model::graph::{ModelGraph, Node, ValueId};

/// Whether rows whose number differs from image to image are given a fixed shape: tracing writes the sizes of one image
/// down.
pub(super) fn fixes_rows(graph: &ModelGraph<'_>, region: &Region) -> bool {
    let reshapes = region.nodes.iter().map(|&id| graph.node(id)).filter(|node| node.op == "Reshape");
    let fixes = |node: &Node<'_>| {
        let (data, shape) = (node.input(0)?, graph.const_ints(node.input(1)?)?);
        let is_open = graph.shape(data).is_some_and(|sizes| sizes.len() > 1 && sizes[0] < 0);
        Some(is_open && shape.iter().all(|&size| size > 0) && picks_rows(graph, data))
    };
    reshapes.into_iter().any(|node| fixes(node) == Some(true))
}

/// Whether a value has the rows that chose an expert.
fn picks_rows(graph: &ModelGraph<'_>, mut value: ValueId) -> bool {
    /// An expert has few nodes.
    const MAX_STEPS: usize = 48;
    for _ in 0..MAX_STEPS {
        let Some((_, node)) = graph.producing(value) else { return false };
        let of_hits = |index: ValueId| {
            let index = skip_passive(graph, index);
            let before = graph.producing(index).and_then(|(_, node)| node.input(0));
            [Some(index), before.map(|before| skip_passive(graph, before))]
                .into_iter()
                .flatten()
                .any(|value| graph.op_of(value) == "NonZero")
        };
        if node.op.starts_with("Gather") {
            return node.input(1).is_some_and(of_hits);
        }
        match graph.data_inputs(node).find(|&input| graph.value(input).is_data) {
            Some(input) => value = input,
            None => return false,
        }
    }
    false
}
