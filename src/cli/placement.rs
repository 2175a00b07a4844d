//! `moescope placement`: which of a model's nodes run on which provider, as ONNX Runtime tells it.

use super::args::{ModelArgs, PlacementArgs};
use super::console::print;
use super::failure::Failure;
use super::load::Session;
use crate::engine::{NotStarted, Placement, Provider};
use serde::Serialize;
use std::io::{self, Write};

/// What is printed as JSON.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    model: String,
    /// The provider that the model was loaded with.
    provider: Provider,
    not_started: &'a [NotStarted],
    num_nodes: usize,
    /// Of those, on the provider.
    num_nodes_on_provider: usize,
    moe_layers: usize,
    #[serde(flatten)]
    placement: &'a Placement,
}

pub(super) fn run(args: &PlacementArgs, model: &ModelArgs) -> Result<(), Failure> {
    let session = Session::open(model)?;
    let model = &session.model;
    let report = Report {
        schema: "moescope-placement/1",
        model: model.path.to_string_lossy().into_owned(),
        provider: model.provider,
        not_started: &model.not_started,
        num_nodes: model.placement.num_nodes(),
        num_nodes_on_provider: model.placement.num_nodes_on(model.provider),
        moe_layers: model.layers.len(),
        placement: &model.placement,
    };
    Ok(print(&report, args.json, |out| write_text(out, &report))?)
}

/// The sentence, then a row for each operator and provider.
fn write_text(out: &mut impl Write, report: &Report<'_>) -> io::Result<()> {
    let Report { model, provider, placement, moe_layers, .. } = report;
    writeln!(out, "{model} · {}", placement.sentence(*provider))?;
    if placement.copies > 0 && *moe_layers > 0 {
        writeln!(
            out,
            "{:.1} copies for each of {moe_layers} MoE layers",
            placement.copies as f64 / *moe_layers as f64
        )?;
    }
    for op in &placement.ops {
        let name = Provider::from_ort_name(&op.provider).map_or(op.provider.as_str(), |provider| provider.name());
        writeln!(out, "{:>6}  {:<28} {name}", op.count, op.op)?;
    }
    Ok(())
}
