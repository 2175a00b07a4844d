//! The JSON object of one classified image. `docs/classify-json.md` documents it; a change that could break a reader
//! raises [`Record::SCHEMA`].

use crate::analysis::{Analysis, LayerStats, OpenModel, Prediction, StageSeconds};
use crate::routing::{AuxLossShare, ExpertIdx, GateInformation, LayerRouting, LoadStats, PixelRect, aux_loss};
use serde::Serialize;
use std::borrow::Cow;
use std::path::Path;

/// One image.
#[derive(Serialize)]
pub(super) struct Record<'a> {
    schema: &'static str,
    image: Cow<'a, str>,
    image_size: [u32; 2],
    seen: PixelRect,
    model: Cow<'a, str>,
    model_name: &'a str,
    assumption: Option<String>,
    provider: &'static str,
    top_k: Option<usize>,
    seconds: StageSeconds,
    predictions: &'a [Prediction],
    oddities: Vec<String>,
    layers: Vec<LayerRecord<'a>>,
}

/// One MoE layer; patches in row-major order.
#[derive(Serialize)]
struct LayerRecord<'a> {
    name: &'a str,
    num_experts: usize,
    top_k: usize,
    grid: Option<[usize; 2]>,
    experts: Vec<&'a [ExpertIdx]>,
    weights: Vec<&'a [f32]>,
    gate_entropy: &'a [f32],
    margin: &'a [f32],
    load: &'a [u64],
    importance: &'a [f64],
    gate_mass: &'a [f64],
    metrics: Metrics<'a>,
}

/// Measures of one layer.
#[derive(Serialize)]
struct Metrics<'a> {
    load: &'a LoadStats,
    importance: &'a LoadStats,
    gate: &'a GateInformation,
    aux_loss_top_one: f64,
    aux_loss_assignments: f64,
    non_finite_values: u64,
    non_finite_tokens: usize,
    unnormalized_tokens: usize,
}

impl<'a> Record<'a> {
    /// Name and version of the format.
    pub(super) const SCHEMA: &'static str = "moescope-classify/1";

    pub(super) fn new(image: &'a Path, model: &'a OpenModel, analysis: &'a Analysis) -> Self {
        let grids = analysis.places.iter().map(|place| place.tokens.grid().map(|grid| [grid.rows, grid.cols]));
        let layers = analysis.trace.layers.iter().zip(&analysis.layers).zip(grids);
        Self {
            schema: Self::SCHEMA,
            image: image.to_string_lossy(),
            image_size: [analysis.image.width, analysis.image.height],
            seen: analysis.seen,
            model: model.path.to_string_lossy(),
            model_name: &model.card.name,
            assumption: model.assumption(),
            provider: analysis.provider.name(),
            top_k: analysis.top_k,
            seconds: analysis.seconds,
            predictions: &analysis.predictions,
            oddities: analysis.oddities(model),
            layers: layers.map(|((routing, stats), grid)| layer(routing, stats, grid)).collect(),
        }
    }
}

fn layer<'a>(routing: &'a LayerRouting, stats: &'a LayerStats, grid: Option<[usize; 2]>) -> LayerRecord<'a> {
    let (balance, top_k) = (&stats.balance, routing.top_k());
    LayerRecord {
        name: routing.name(),
        num_experts: routing.num_experts(),
        top_k,
        grid,
        experts: routing.patches().map(|patch| routing.experts_of(patch)).collect(),
        weights: routing.patches().map(|patch| routing.weights_of(patch)).collect(),
        gate_entropy: &stats.tokens.entropy,
        margin: &stats.tokens.margin,
        load: &balance.load,
        importance: &balance.importance,
        gate_mass: &balance.gate_mass,
        metrics: Metrics {
            load: &balance.load_stats,
            importance: &balance.importance_stats,
            gate: &stats.information,
            aux_loss_top_one: aux_loss(routing, AuxLossShare::TopOne),
            aux_loss_assignments: aux_loss(routing, AuxLossShare::Assignments),
            non_finite_values: balance.non_finite,
            non_finite_tokens: stats.tokens.non_finite,
            unnormalized_tokens: stats.tokens.unnormalized,
        },
    }
}
