//! Every pattern that is to be found and every one that is to be rejected, in graphs of a few nodes. Whole exports of
//! whole models are in `tests/zoo.rs`.

mod choices;
mod found;
mod moe;
mod optimised;
mod rejected;

use super::{RouterReport, find_routers};
use crate::model::graph::ModelGraph;
use crate::model::proto::ModelProto;

fn report(model: &ModelProto) -> RouterReport {
    find_routers(&ModelGraph::new(model).unwrap())
}
