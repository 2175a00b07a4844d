//! Which layers of a model are shown, and which outputs of the graph carry their routing.
//!
//! A card may name outputs, inner tensors, a router that the finder finds, or nothing at all: then every router that was
//! found is a layer. What is no output of the graph becomes one, in an edited model that the engine loads in place of the
//! file's (`model::instrument`); the file itself is not touched.

use super::located::locate;
use super::reading::{LayerRecipe, Recomputed};
use crate::model::graph::{Indexed, ModelGraph};
use crate::model::routers::{GatingRule, Router, RouterReport, ScoreFunction, TensorRef};
use crate::model::{GatingCard, LayerCard, ModelCard, ModelDescription, TensorPath};

/// One MoE layer that is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownLayer {
    /// What the card says of it, or what was found.
    pub card: LayerCard,
    /// Where its routing comes from.
    pub source: LayerSource,
    /// The router of the model's report that it is, by its place there; `None` where that is not known for certain.
    pub router: Option<usize>,
}

/// Where a layer's routing comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerSource {
    /// Outputs of the graph, laid out as the model card documents it.
    Declared,
    /// Tensors of any layout, and what is computed again from them.
    Read(Box<LayerRecipe>),
}

impl ShownLayer {
    /// Whether a token's gate probabilities are parts of a whole; sigmoids of each expert are not. `gating` is the model
    /// card's, for layers that it declares.
    #[must_use]
    pub fn gates_sum_to_one(&self, gating: &GatingCard) -> bool {
        match &self.source {
            LayerSource::Declared => gating.sums_to_one(),
            LayerSource::Read(recipe) => recipe.score == ScoreFunction::Softmax && recipe.rule != GatingRule::Other,
        }
    }

    /// Whether it shows a router that was found: it names it, or its tensors have the same values.
    #[must_use]
    pub fn shows(&self, router: &Router) -> bool {
        self.router == Some(router.layer)
    }

    /// What of the layer's routing is computed again, because the graph does not have it.
    #[must_use]
    pub fn recomputed(&self) -> Recomputed {
        match &self.source {
            LayerSource::Declared => Recomputed::default(),
            LayerSource::Read(recipe) => recipe.recomputed(),
        }
    }
}

/// The layers of a model, before it is known whether their tensors can be shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LayerPlan {
    layers: Vec<PlannedLayer>,
}

/// A layer that is going to be shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlannedLayer {
    pub card: LayerCard,
    /// The place of its router in the report, where that is known.
    pub router: Option<usize>,
    /// `None` where the card's outputs are read as the card documents them.
    recipe: Option<LayerRecipe<TensorRef>>,
}

impl LayerPlan {
    /// The card's layers, or else the routers that were found.
    pub fn new(card: &ModelCard, routers: &RouterReport, description: &ModelDescription) -> Self {
        let of_card = card.layers.iter().map(|layer| PlannedLayer::of_card(layer, routers, description));
        let found = || routers.routers.iter().map(PlannedLayer::found).collect();
        Self { layers: if card.layers.is_empty() { found() } else { of_card.collect() } }
    }

    /// The layers with the outputs of the graph as it is: those that would need others are left out.
    pub fn without_edit(&self) -> Vec<ShownLayer> {
        let declared = self.layers.iter().filter(|layer| layer.recipe.is_none());
        declared.map(|layer| layer.shown(LayerSource::Declared)).collect()
    }

    /// Fills in which router each layer is, where that is certain, and puts the layers that a person chose where they run.
    pub fn locate(&mut self, graph: &ModelGraph<'_>, report: &RouterReport) {
        locate(&mut self.layers, graph, report);
    }

    /// Fills in what the graph of `model` knows of tensors that a card names inside bodies and functions.
    ///
    /// # Errors
    /// The layers with tensors that the graph does not have, in a sentence.
    pub fn look_up(&mut self, model: &Indexed<'_>) -> Result<(), String> {
        let is_inside = |tensor: &TensorRef| !tensor.place.is_empty();
        let by_card = |layer: &&mut PlannedLayer| {
            layer.card.router.is_none() && layer.recipe.iter().flat_map(LayerRecipe::tensors).any(is_inside)
        };
        let mut layers = self.layers.iter_mut().filter(by_card).peekable();
        if layers.peek().is_none() {
            return Ok(());
        }
        let graph = model.graph().map_err(ToString::to_string)?;
        let missing = |layer: &mut PlannedLayer| {
            let name = layer.recipe.as_mut()?.look_up(graph).err()?;
            Some(format!("{} names the tensor {name}, which the model does not have", layer.card.name))
        };
        let missing: Vec<String> = layers.filter_map(missing).collect();
        if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
    }

    /// The plan without the layers that a person chose, with the names of those; `None` where there are none.
    pub fn without_chosen(&self) -> Option<(Self, String)> {
        let (chosen, rest): (Vec<_>, Vec<_>) = self.layers.iter().cloned().partition(|layer| layer.card.chosen_by_hand);
        let names: Vec<&str> = chosen.iter().map(|layer| layer.card.name.as_str()).collect();
        (!names.is_empty()).then(|| (Self { layers: rest }, names.join(", ")))
    }

    /// Whether layers are read from tensors that the file may not have as outputs.
    pub fn needs_edit(&self) -> bool {
        self.layers.iter().any(|layer| layer.recipe.is_some())
    }

    /// The tensors that the layers are read from, each once.
    pub fn tensors(&self) -> Vec<TensorRef> {
        let mut tensors: Vec<TensorRef> = Vec::new();
        for tensor in self.layers.iter().filter_map(|layer| layer.recipe.as_ref()).flat_map(LayerRecipe::tensors) {
            if !tensors.contains(tensor) {
                tensors.push(tensor.clone());
            }
        }
        tensors
    }

    /// The layers, with the outputs that show [`tensors`](Self::tensors), in that order.
    pub fn shown(&self, outputs: &[String]) -> Vec<ShownLayer> {
        let tensors = self.tensors();
        let output_of = |tensor: &TensorRef| outputs.get(tensors.iter().position(|other| other == tensor)?).cloned();
        let source = |layer: &PlannedLayer| match &layer.recipe {
            None => LayerSource::Declared,
            Some(recipe) => LayerSource::Read(Box::new(recipe.shown(output_of))),
        };
        self.layers.iter().map(|layer| layer.shown(source(layer))).collect()
    }
}

impl PlannedLayer {
    fn of_card(layer: &LayerCard, routers: &RouterReport, description: &ModelDescription) -> Self {
        let named = layer.router.as_ref();
        let router = named.and_then(|name| routers.routers.iter().position(|router| router.name == *name));
        let recipe = match router.map(|at| &routers.routers[at]) {
            Some(router) => Some(LayerRecipe { name: layer.name.clone(), ..LayerRecipe::of(router) }),
            None if is_declared(layer, description) => None,
            None => Some(LayerRecipe::of_card(layer)),
        };
        Self { card: layer.clone(), router, recipe }
    }

    fn found(router: &Router) -> Self {
        Self { card: LayerCard::of_router(router), router: Some(router.layer), recipe: Some(LayerRecipe::of(router)) }
    }

    fn shown(&self, source: LayerSource) -> ShownLayer {
        ShownLayer { card: self.card.clone(), source, router: self.router }
    }

    /// The tensors that carry its routing, computed again or not.
    pub fn tensor_paths(&self) -> Vec<TensorPath> {
        let card = &self.card;
        match &self.recipe {
            Some(recipe) => recipe.all_tensors().map(TensorPath::from).collect(),
            None => {
                let outputs = [&card.gate_probs, &card.expert_ids, &card.combine_weights];
                let outputs = outputs.map(|output| TensorPath { place: Vec::new(), name: output.clone() });
                let logits = card.gate_logits.iter().map(|logits| TensorPath::parse(logits));
                outputs.into_iter().chain(logits).collect()
            }
        }
    }
}

/// Whether all three tensors are outputs of the graph.
fn is_declared(layer: &LayerCard, description: &ModelDescription) -> bool {
    let is_output = |name: &String| description.outputs.iter().any(|output| output.name == *name);
    [&layer.gate_probs, &layer.expert_ids, &layer.combine_weights].into_iter().all(is_output)
}
