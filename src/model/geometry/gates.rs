//! Every tensor that may be a gate, with what its tokens would be: what a person chooses from who names a router by hand.

use super::flow::Flow;
use super::image::Image;
use super::inputs::with_sizes;
use super::layers::{Lookup, place};
use super::reason::Basis;
use super::tokens::Found;
use crate::model::graph::{GraphError, ModelGraph};
use crate::model::proto::ModelProto;
use crate::model::routers::{GateTensor, RouterReport, gate_tensors};
use crate::model::{GridCard, InputCard, LayerCard, ModelCard, TensorPath, TokenLayout};
use serde::Serialize;

/// Following the pixels to more tensors than this takes longer than a person waits; of the others only their size tells.
const MAX_FOLLOWED: usize = 512;

/// A tensor that may be a gate, and what its tokens are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlacedGate {
    /// How a card names the tensor.
    pub path: String,
    /// The tensor, with sizes as they are when an image is fed.
    #[serde(flatten)]
    pub gate: GateTensor,
    /// What its tokens are.
    pub tokens: TokenLayout,
    /// How they lie on the image, where that is not as the card's own grid says.
    pub grid: Option<GridCard>,
    /// What that was read from.
    pub basis: Basis,
    /// The same in a sentence.
    pub reason: String,
}

impl PlacedGate {
    /// The layer that this tensor would be, as it looks: a person may change the rule, k, what its numbers are and the name.
    #[must_use]
    pub fn layer(&self) -> LayerCard {
        let GateTensor { tensor, num_experts, values, rule, top_k, .. } = &self.gate;
        let num_experts = num_experts.unwrap_or(2);
        let axis = tensor.expert_axis.unwrap_or(0);
        let mut layer = LayerCard {
            name: self.name(),
            num_experts,
            top_k: top_k.map(|k| k.clamp(1, num_experts)),
            rule: Some(*rule),
            expert_axis_from_end: tensor.shape.len().saturating_sub(axis + 1),
            tokens: self.tokens,
            grid: self.grid.clone(),
            chosen_by_hand: true,
            ..LayerCard::default()
        };
        layer.set_gate(&self.path, *values);
        layer
    }

    /// The module that the tensor's name tells of, without the operator's own part.
    fn name(&self) -> String {
        let name = self.gate.tensor.name.trim_matches('/');
        let module = name.rsplit_once('/').map_or(name, |(module, _)| module);
        if module.is_empty() { "router".to_owned() } else { module.replace('/', ".") }
    }
}

/// The tensors of `model` that may be gates, the likeliest first. `card` is its card or a guess of it, and `report` what
/// the finder found.
///
/// # Errors
/// [`GraphError`] for a graph that cannot be looked at as a whole.
pub fn gates(model: &ModelProto, card: &ModelCard, report: &RouterReport) -> Result<Vec<PlacedGate>, GraphError> {
    let image = image_of(&card.input);
    let sized = with_sizes(model, &image);
    let graph = ModelGraph::new(sized.as_ref().unwrap_or(model))?;
    let flow = image.value(&graph).map(|value| Flow::of(&graph, value, image.sides()));
    let lookup = Lookup::of(&graph);
    let listed = gate_tensors(&graph, report).into_iter().enumerate();
    let placed = listed.map(|(rank, gate)| {
        let flow = flow.as_ref().filter(|_| rank < MAX_FOLLOWED);
        let tensor = std::iter::once(&gate.tensor);
        let (found, basis, reason) = place(&graph, flow, &lookup, tensor, image.batch, Some(&card.grid));
        placed(gate, &found, (basis, reason), &card.grid)
    });
    Ok(placed.collect())
}

/// The places of those that a person means who looks for `words`; where none has the words as they are, of those whose names
/// have their letters.
#[must_use]
pub fn meant(gates: &[PlacedGate], words: &str) -> Vec<usize> {
    let meant = |nearly| (0..gates.len()).filter(|&at| gates[at].gate.is_meant(words, nearly)).collect::<Vec<_>>();
    Some(meant(false)).filter(|found| !found.is_empty()).unwrap_or_else(|| meant(true))
}

fn image_of(input: &InputCard) -> Image {
    Image {
        name: input.name.clone(),
        layout: input.layout,
        height: input.height,
        width: input.width,
        batch: input.batch.max(1),
        element: input.element,
        takes_any_size: false,
    }
}

fn placed(gate: GateTensor, found: &Found, (basis, reason): (Basis, String), of_card: &GridCard) -> PlacedGate {
    let grid = match found {
        Found::Grid(grid) if grid != of_card => Some(grid.clone()),
        _ => None,
    };
    let path = TensorPath::from(&gate.tensor).to_string();
    PlacedGate { path, tokens: found.layout(), grid, gate, basis, reason }
}
