//! Finds the routers of any Mixture-of-Experts model from its graph alone, and says why it believes so.
//!
//! Nothing in an ONNX file says "router": a gate is a product, a softmax and a top-k among hundreds of others, and each
//! exporter and each paper writes it differently. So the finder asks two questions, in this order:
//!
//! 1. Where may something be chosen or weighted (`seeds`)? At a top-k, an arg-max, a softmax, a sigmoid. All that is
//!    decided on the same logits is one candidate, and what its values mean is worked out from there (`walk`, `rule`).
//! 2. Do experts follow (`experts`, `branches`)? Only that tells a router from attention, from a detector's choice of
//!    boxes, from a codebook. They lie between the place where the candidate's data come from and the place where
//!    everything that depends on it comes together again, which dominators give (`region`).
//!
//! Experts that no gate chooses answer neither question; they are looked for by themselves (`fixed`).
//!
//! The work is linear in the number of nodes.

mod assemble;
mod blocks;
mod branches;
mod capacity;
mod contrib;
mod experts;
mod fixed;
mod gate_tensors;
mod kernels;
mod kinds;
mod names;
mod objections;
mod parallel;
mod parameters;
mod per_image;
mod ranks;
mod region;
mod report;
mod rows;
mod rule;
mod scores;
mod seeds;
mod shared;
mod tensors;
#[cfg(test)]
mod tests;
mod walk;
mod warnings;
mod words;

pub use gate_tensors::{GateTensor, GateValues, MAX_EXPERTS, gate_tensors};
pub use parameters::RunTopK;
pub use report::{
    Capacity, Confidence, DispatchRef, ExpertForm, Experts, FixedExpert, FixedRouting, FixedRule, GatingRule, Groups,
    KeptRef, LookedAt, NearMiss, Parameters, Part, PlaceStep, Priority, RankTensors, Router, RouterReport,
    RouterTensors, ScoreFunction, Takes, TensorRef, TopKSource,
};

pub(super) use names::place;
pub(super) use scores::is_scored;

use super::graph::{FastSet, Indexed, ModelGraph, ValueId};
use super::proto::ModelProto;
use assemble::{Assembled, assemble};
use region::Regions;

/// Near misses beyond this many say nothing new.
const MAX_NEAR_MISSES: usize = 200;

/// Finds the routers of a model that was decoded. A graph that cannot be looked at as a whole (its functions unfold to too
/// many nodes) has none that are known; the report says why.
#[must_use]
pub fn routers_of(model: &ModelProto) -> RouterReport {
    routers_in(&Indexed::new(model))
}

/// The same for a model whose graph is indexed already.
#[must_use]
pub fn routers_in(model: &Indexed<'_>) -> RouterReport {
    match model.graph() {
        Ok(graph) => find_routers(graph),
        Err(error) => {
            let near_misses = vec![NearMiss { node: "the whole graph".to_owned(), reason: error.to_string() }];
            RouterReport { near_misses, ..RouterReport::default() }
        }
    }
}

/// Finds the routers of a model.
#[must_use]
pub fn find_routers(graph: &ModelGraph<'_>) -> RouterReport {
    let (candidates, mut looked_at) = seeds::candidates(graph);
    let mut regions = Regions::new(graph);
    let mut found: Vec<Assembled> = Vec::new();
    let mut near_misses = Vec::new();
    for candidate in &candidates {
        match assemble(graph, &mut regions, candidate) {
            Ok(router) => found.push(router),
            // Nobody would take an activation between two layers for a router.
            Err(_) if candidate.seeds.iter().all(|&seed| graph.node(seed).op == "Relu") => {}
            Err(miss) if near_misses.len() < MAX_NEAR_MISSES => near_misses.push(miss),
            Err(_) => {}
        }
    }
    for id in graph.node_ids() {
        if let Some(router) = contrib::router(graph, id) {
            looked_at.moe_operators += 1;
            found.push(router);
        }
    }
    found.sort_by_key(|router| router.at);
    let chosen: FastSet<ValueId> = found.iter().flat_map(|router| router.weights.iter().copied()).collect();
    let fixed = fixed::find(graph, &chosen);
    parameters::number_sets(&mut found);
    let mut routers: Vec<Router> = found.into_iter().map(|found| found.router).collect();
    number(&mut routers);
    let parameters = parameters::count(parameters::total(graph), &routers, &[]);
    RouterReport { routers, fixed, near_misses, looked_at, parameters, parts: parameters::parts(graph) }
}

/// Gives routers their places, and makes their names unique.
fn number(routers: &mut [Router]) {
    let mut names = std::collections::HashMap::new();
    for (layer, router) in routers.iter_mut().enumerate() {
        router.layer = layer;
        let times = names.entry(router.name.clone()).or_insert(0_usize);
        *times += 1;
        if *times > 1 {
            router.name = format!("{} ({times})", router.name);
        }
    }
}
