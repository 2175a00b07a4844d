//! Which found router each layer shows, and where in the graph it lies. A layer of a card has only names of tensors: it is
//! a router's if it shows values of that router, under whatever name, and of no other as many. Nothing is guessed: a layer
//! that cannot be matched has no controls.

use super::layers::PlannedLayer;
use crate::model::graph::ModelGraph;
use crate::model::routers::RouterReport;
use crate::model::{Origin, TensorPath, origins};

/// Tells the layers their routers, and puts those that a person chose where they run among the others.
pub(super) fn locate(layers: &mut Vec<PlannedLayer>, graph: &ModelGraph<'_>, report: &RouterReport) {
    if layers.iter().all(|layer| layer.router.is_some() && !layer.card.chosen_by_hand) {
        return;
    }
    let of_layers: Vec<Vec<TensorPath>> = layers.iter().map(PlannedLayer::tensor_paths).collect();
    let of_routers: Vec<Vec<TensorPath>> = report
        .routers
        .iter()
        .map(|router| router.tensors.named().map(|(_, tensor)| TensorPath::from(tensor)).collect())
        .collect();
    let of_layers = traced(graph, &of_layers);
    let of_routers = traced(graph, &of_routers);
    for (layer, origins) in layers.iter_mut().zip(&of_layers) {
        layer.router = layer.router.or_else(|| alike(origins, &of_routers));
    }
    let first_made = |origins: &Vec<Origin>| origins.iter().min().copied();
    let placed: Vec<Option<Origin>> = of_layers.iter().map(first_made).collect();
    order(layers, &placed);
}

/// The origins of the tensors of each group.
fn traced(graph: &ModelGraph<'_>, groups: &[Vec<TensorPath>]) -> Vec<Vec<Origin>> {
    let mut found = origins(graph, &groups.concat()).into_iter();
    groups.iter().map(|group| found.by_ref().take(group.len()).flatten().collect()).collect()
}

/// The router that has the most of a layer's values; `None` where that is no router, or more than one.
fn alike(layer: &[Origin], routers: &[Vec<Origin>]) -> Option<usize> {
    let shared = |router: &Vec<Origin>| layer.iter().filter(|origin| router.contains(origin)).count();
    let counts: Vec<usize> = routers.iter().map(shared).collect();
    let most = counts.iter().copied().max().filter(|&most| most > 0)?;
    let mut best = counts.iter().enumerate().filter(|&(_, &count)| count == most);
    let (at, _) = best.next()?;
    best.next().is_none().then_some(at)
}

/// A card lists its layers in the order in which they run; only what was chosen by hand was added to it at the end.
fn order(layers: &mut Vec<PlannedLayer>, placed: &[Option<Origin>]) {
    let all = std::mem::take(layers).into_iter().zip(placed.iter().copied());
    let (mut chosen, listed): (Vec<_>, Vec<_>) = all.partition(|(layer, _)| layer.card.chosen_by_hand);
    // What has no place stays behind.
    chosen.sort_by_key(|&(_, place)| (place.is_none(), place));
    let mut chosen = chosen.into_iter().peekable();
    for (layer, place) in listed {
        let is_before =
            |(_, other): &(PlannedLayer, Option<Origin>)| other.is_some() && place.is_some() && *other < place;
        while let Some((earlier, _)) = chosen.next_if(is_before) {
            layers.push(earlier);
        }
        layers.push(layer);
    }
    layers.extend(chosen.map(|(layer, _)| layer));
}
