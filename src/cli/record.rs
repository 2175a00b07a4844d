//! The JSON object of one classified image. `docs/classify-json.md` documents it; a change that could break a reader
//! raises [`Record::SCHEMA`].

use super::change::{self, LayerChangeRecord};
use crate::analysis::{Analysis, Detection, LayerPlace, LayerStats, OpenModel, Prediction, ShownLayer, StageSeconds};
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
    routing_change: Vec<LayerChangeRecord<'a>>,
    seconds: StageSeconds,
    predictions: &'a [Prediction],
    detections: &'a [Detection],
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
    recomputed: Vec<&'static str>,
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
    dropped: u64,
    unserved_tokens: u64,
    non_finite_values: u64,
    non_finite_tokens: usize,
    unnormalized_tokens: usize,
}

impl<'a> Record<'a> {
    /// Name and version of the format.
    pub(super) const SCHEMA: &'static str = "moescope-classify/1";

    pub(super) fn new(image: &'a Path, model: &'a OpenModel, analysis: &'a Analysis) -> Self {
        let layers = analysis.trace.layers.iter().zip(&analysis.layers).zip(&analysis.places);
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
            routing_change: change::records(model, &analysis.change),
            seconds: analysis.seconds,
            predictions: &analysis.predictions,
            detections: &analysis.detections,
            oddities: analysis.oddities(model),
            layers: layers.map(|((routing, stats), place)| layer(model, routing, stats, place)).collect(),
        }
    }
}

fn layer<'a>(
    model: &OpenModel,
    routing: &'a LayerRouting,
    stats: &'a LayerStats,
    place: &LayerPlace,
) -> LayerRecord<'a> {
    let (balance, top_k) = (&stats.balance, routing.top_k());
    let recomputed = model.layers.get(place.source).map(ShownLayer::recomputed).unwrap_or_default();
    let fields =
        [("gate_probs", recomputed.gate_probs), ("experts", recomputed.choices), ("weights", recomputed.choices)];
    LayerRecord {
        name: routing.name(),
        num_experts: routing.num_experts(),
        top_k,
        grid: place.tokens.grid().map(|grid| [grid.rows, grid.cols]),
        recomputed: fields.into_iter().filter_map(|(field, is)| is.then_some(field)).collect(),
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
            dropped: balance.dropped,
            unserved_tokens: balance.unserved_tokens,
            non_finite_values: balance.non_finite,
            non_finite_tokens: stats.tokens.non_finite,
            unnormalized_tokens: stats.tokens.unnormalized,
        },
    }
}
