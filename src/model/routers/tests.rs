//! Every pattern that is to be found and every one that is to be rejected, in graphs of a few nodes. Whole exports of
//! whole models are in `tests/zoo.rs`.

mod applied;
mod choices;
mod fixed;
mod found;
mod moe;
mod optimised;
mod rejected;

use super::{Router, RouterReport, find_routers};
use crate::model::graph::ModelGraph;
use crate::model::graph::testing::Sketch;
use crate::model::proto::ModelProto;

fn report(model: &ModelProto) -> RouterReport {
    find_routers(&ModelGraph::new(model).unwrap())
}

/// The only router of a graph that ends in `y`.
fn only(mut sketch: Sketch) -> Router {
    moe::head(&mut sketch);
    the_only(&report(&sketch.model("logits")))
}

fn the_only(report: &RouterReport) -> Router {
    let [router] = report.routers.as_slice() else {
        panic!("{} routers; {:?}", report.routers.len(), report.near_misses)
    };
    router.clone()
}
