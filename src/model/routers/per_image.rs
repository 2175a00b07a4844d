//! Whether a router decides for a whole image rather than for a token of it.

use super::scores::expert_axis;
use crate::model::graph::{ModelGraph, Node, ValueId};

/// Whether the gate decides once per image: as many decisions as images, or a gate behind a pooling over all places.
pub(super) fn per_image(graph: &ModelGraph<'_>, raw: ValueId) -> bool {
    let Some(shape) = graph.shape(raw) else { return false };
    // A convolution gives the experts as channels.
    let experts = expert_axis(graph, raw, raw);
    let others = shape.iter().enumerate().filter(|&(axis, _)| Some(axis) != experts).map(|(_, &size)| size);
    let others: Vec<i64> = others.collect();
    let decisions = others.iter().try_fold(1_i64, |product, &size| (size >= 0).then(|| product.saturating_mul(size)));
    let image = graph.inputs().iter().find_map(|&input| graph.shape(input).filter(|shape| shape.len() == 4));
    let images = image.map(|shape| shape[0]);
    match (decisions, images) {
        (Some(decisions), Some(images)) if images > 0 => decisions == images,
        _ => others.iter().skip(1).all(|&size| size == 1) && is_pooled(graph, raw),
    }
}

/// Whether a value is computed from a mean over all places by few small layers.
fn is_pooled(graph: &ModelGraph<'_>, mut value: ValueId) -> bool {
    for _ in 0..16 {
        let Some((_, node)) = graph.producing(value) else { return false };
        let rank = node.input(0).and_then(|input| graph.shape(input)).map_or(0, <[i64]>::len);
        let over_places = |node: &Node<'_>| {
            graph.reduced_axes(node).is_some_and(|axes| !axes.contains(&(rank.max(1) - 1)) || axes.len() > 1)
        };
        match node.op {
            "GlobalAveragePool" | "GlobalMaxPool" => return true,
            "ReduceMean" | "ReduceMax" if over_places(node) => return true,
            "Flatten" => return true,
            "Reshape" if lays_flat(graph, node) => return true,
            _ => {}
        }
        match node.inputs.iter().flatten().copied().find(|&input| graph.value(input).is_data) {
            Some(input) => value = input,
            None => return false,
        }
    }
    false
}

/// Whether a reshape puts all that is known of an image into one row.
fn lays_flat(graph: &ModelGraph<'_>, node: &Node<'_>) -> bool {
    let shapes = node.input(0).and_then(|from| graph.shape(from)).zip(node.output(0).and_then(|to| graph.shape(to)));
    let Some((&[_, ref places @ ..], &[_, width])) = shapes else { return false };
    let size = places.iter().try_fold(1_i64, |product, &size| (size > 0).then(|| product.checked_mul(size)).flatten());
    places.len() > 1 && size == Some(width)
}
