//! One image through one model: from file to predictions, routing and statistics.

mod agreement;
mod assemble;
mod change;
mod comparison;
mod controls;
mod declared;
mod detections;
mod edited;
mod layers;
mod located;
mod opening;
mod parameters;
mod parity;
mod pipeline;
mod places;
mod proof;
mod reading;
mod recent;
mod service;
mod sessions;
mod thumbnails;
mod version;

use assemble::assemble;
pub use change::{ChangeError, LayerChange, RoutingChange};
pub use comparison::{Comparison, ComparisonEvent, ComparisonWish};
pub use controls::{Controls, LayerOffer};
pub use detections::Detection;
pub use edited::{EditError, Original, ProvedModel, load_proved};
pub use layers::{LayerSource, ShownLayer};
pub use parity::{Flip, LayerParity, LayerSum, MarginBin, Parity, ParityError, ParitySum};
pub use pipeline::{OpenError, OpenModel, Setting, analyse, analyse_with};
pub use places::TokenPlace;
pub use proof::{Baseline, Proof, Verdict, prove};
pub use reading::{Dispatch, Kept, LayerRecipe, ReadingError, Recomputed, ShownTensor, TokenCount};
pub use service::{AnalysisService, Event, ImageId, ImageSpec, ModelWish, Outcome, OutcomeId, Wanted, compared_top_ks};
pub use thumbnails::{Thumbnail, Thumbnails};
pub use version::ModelVersion;

use crate::engine::{EngineError, Provider};
use crate::input::DecodedImage;
use crate::routing::{
    ExpertIdx, GateInformation, LayerBalance, LayerIdx, LayerRouting, PatchGrid, PatchIdx, PixelRect, RoutingError,
    RoutingTrace, TokenMeasures,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that is known about one image after one run of the model. Frozen: panels and reports only read it.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// The image.
    pub image: Arc<DecodedImage>,
    /// The `top_k` that the model was run with; `None` where the model has no such input.
    pub top_k: Option<usize>,
    /// What was changed about its routing. Unless it is none, nothing here is what the model does by itself.
    pub change: RoutingChange,
    /// The part of the image that the model saw, in pixels of the image.
    pub seen: PixelRect,
    /// Class logits; empty for a model that classifies nothing.
    pub logits: Vec<f32>,
    /// The most probable classes, the best first; at most [`Analysis::NUM_PREDICTIONS`].
    pub predictions: Vec<Prediction>,
    /// The objects that a detector found, the most probable first; empty for other models.
    pub detections: Vec<Detection>,
    /// What every router did.
    pub trace: RoutingTrace,
    /// Measures of every layer of [`trace`](Self::trace), in its order, computed once.
    pub layers: Vec<LayerStats>,
    /// Where the tokens of every layer lie, in the same order.
    pub places: Vec<LayerPlace>,
    /// Layers that could not be read, and why, in words.
    pub unreadable: Vec<String>,
    /// Where the time went.
    pub seconds: StageSeconds,
    /// The provider that ran the model.
    pub provider: Provider,
}

impl Analysis {
    /// How many predictions are kept.
    pub const NUM_PREDICTIONS: usize = 5;

    /// How the patches of a layer lie on the image; `None` where its tokens have no place there.
    #[must_use]
    pub fn grid(&self, layer: LayerIdx) -> Option<PatchGrid> {
        self.places.get(layer.0)?.tokens.grid()
    }

    /// The experts of the patches whose middle lies in a rectangle (pixels of the image), each with the number of those
    /// patches that chose it, the most first. Empty where the layer's tokens have no place on the image.
    #[must_use]
    pub fn experts_in(&self, layer: LayerIdx, rect: PixelRect) -> Vec<(ExpertIdx, usize)> {
        let (Some(grid), Some(routing)) = (self.grid(layer), self.trace.layers.get(layer.0)) else { return Vec::new() };
        let is_inside = |&patch: &PatchIdx| {
            let pixels = grid.pixels_from_patch(patch);
            let (x, y) = (pixels.x + pixels.width / 2.0 - rect.x, pixels.y + pixels.height / 2.0 - rect.y);
            (0.0..rect.width).contains(&x) && (0.0..rect.height).contains(&y)
        };
        let mut counts = BTreeMap::new();
        for patch in routing.patches().filter(is_inside) {
            routing.experts_of(patch).iter().for_each(|expert| *counts.entry(*expert).or_insert(0) += 1);
        }
        let mut experts: Vec<(ExpertIdx, usize)> = counts.into_iter().collect();
        experts.sort_by_key(|&(expert, count)| (std::cmp::Reverse(count), expert));
        experts
    }

    /// The grid of a layer, or one patch over all that the model saw.
    #[must_use]
    pub fn grid_or_whole(&self, layer: LayerIdx) -> PatchGrid {
        self.grid(layer).unwrap_or(PatchGrid { rows: 1, cols: 1, seen: self.seen })
    }

    /// What was changed about the routing, as part of a sentence, with layers by their number from 1 on. Empty for none.
    #[must_use]
    pub fn change_in_words(&self) -> String {
        self.in_words(&self.change)
    }

    /// The same of any change of this model: `expert 3 banned in layer 2`.
    #[must_use]
    pub fn in_words(&self, change: &RoutingChange) -> String {
        change.in_words(|source| {
            let of_source = |(at, place): (usize, &LayerPlace)| (place.source == source).then_some(at + 1);
            let numbers: Vec<usize> = self.places.iter().enumerate().filter_map(of_source).collect();
            match numbers[..] {
                [] => format!("layer {}", source + 1),
                [number] => format!("layer {number}"),
                [first, .., last] => format!("layers {first} to {last}"),
            }
        })
    }

    /// Experts that have patches although they are banned, in sentences: where a rule first chooses groups of experts, a
    /// ban may leave it nothing else.
    fn banned_in_vain(&self) -> impl Iterator<Item = String> {
        let layers = self.trace.layers.iter().zip(&self.places);
        let banned = layers.flat_map(|(routing, place)| {
            let banned = self.change.of(place.source).map(|change| &change.banned).into_iter().flatten();
            banned.map(move |&expert| (routing, expert))
        });
        banned.filter_map(|(routing, expert)| {
            let has = |patch: &PatchIdx| {
                let mut choices = routing.experts_of(*patch).iter().zip(routing.weights_of(*patch));
                choices.any(|(&chosen, &weight)| chosen == expert && weight != 0.0)
            };
            let (count, all) = (routing.patches().filter(has).count(), routing.num_tokens());
            let (name, expert) = (routing.name(), expert.0);
            (count > 0).then(|| {
                format!("{name}: expert {expert} is banned, and the rule left {count} of {all} patches no other")
            })
        })
    }

    /// What of the model's outputs cannot be as a router or a classifier means it, in words; empty for a sound result.
    /// `model` is the one that was run: not all gates have to sum to 1.
    /// The values stay as the model gave them, and every measure leaves out those that are not finite.
    #[must_use]
    pub fn oddities(&self, model: &OpenModel) -> Vec<String> {
        let scores = self.logits.iter().filter(|score| !score.is_finite()).count();
        let scores =
            (scores > 0).then(|| format!("{scores} of {} class scores are NaN or infinite", self.logits.len()));
        let layers = self.trace.layers.iter().zip(&self.layers).zip(&self.places);
        let sums_to_one = |place: &LayerPlace| {
            model.layers.get(place.source).is_some_and(|layer| layer.gates_sum_to_one(&model.card.gating))
        };
        // What a person chose and does not see has to be told where the picture is.
        let chosen = model.card.layers.iter().any(|layer| layer.chosen_by_hand);
        let hidden = model.hidden_routing.as_ref().filter(|_| chosen);
        let hidden = hidden.map(|reason| format!("a layer cannot be shown. {reason}"));
        scores
            .into_iter()
            .chain(hidden)
            .chain(self.unreadable.iter().cloned())
            .chain(self.banned_in_vain())
            .chain(layers.flat_map(|((routing, stats), place)| stats.oddities(routing, sums_to_one(place))))
            .collect()
    }
}

/// A layer of an analysis among the layers of its model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerPlace {
    /// Where its tokens lie.
    pub tokens: TokenPlace,
    /// Which of [`OpenModel::layers`] it is. A router in a loop gives a layer for each iteration.
    pub source: usize,
}

/// Every measure of one layer for one image.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerStats {
    /// How evenly the experts were used.
    pub balance: LayerBalance,
    /// Gate entropy and margin of each patch, for the heatmap.
    pub tokens: TokenMeasures,
    /// How much a patch's gates differ from the mean gates.
    pub information: GateInformation,
}

impl LayerStats {
    /// Measures one layer.
    #[must_use]
    pub fn of(routing: &LayerRouting) -> Self {
        let (balance, tokens) = (LayerBalance::of(routing), TokenMeasures::of(routing));
        let information = GateInformation::of(&balance, &tokens);
        Self { balance, tokens, information }
    }

    fn oddities(&self, routing: &LayerRouting, sums_to_one: bool) -> impl Iterator<Item = String> + use<> {
        let (name, patches) = (routing.name(), routing.num_tokens());
        let non_finite = (self.balance.non_finite > 0).then(|| {
            let (values, tokens) = (self.balance.non_finite, self.tokens.non_finite);
            format!("{name}: {values} gates and weights are NaN or infinite ({tokens} of {patches} patches)")
        });
        let unnormalized = (self.tokens.unnormalized > 0 && sums_to_one)
            .then(|| format!("{name}: the gates of {} of {patches} patches do not sum to 1", self.tokens.unnormalized));
        non_finite.into_iter().chain(unnormalized)
    }
}

/// One class with its probability (softmax over all logits).
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Prediction {
    /// Class name, or `class N` where the model has no labels.
    pub label: String,
    /// Index of the class in the logits.
    pub index: usize,
    /// Softmax over all classes.
    pub probability: f32,
}

/// Seconds spent in each stage of one analysis.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct StageSeconds {
    /// File to pixels.
    pub decode: f64,
    /// Pixels to input tensor.
    pub preprocess: f64,
    /// Inside ONNX Runtime's run call.
    pub inference: f64,
    /// Outputs to checked routing, statistics and predictions.
    pub statistics: f64,
}

/// Why an image could not be analysed with a model that was opened.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AnalysisError {
    /// The engine could not run the model.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What the routers gave is no routing.
    #[error("the model's outputs do not fit its card: {0}")]
    Routing(#[from] RoutingError),
    /// An output that the card names did not come.
    #[error("the model card names the output {name:?}, but the model gave {}", given(.found))]
    MissingOutput {
        /// The name in the card.
        name: String,
        /// The outputs that came.
        found: Vec<String>,
    },
    /// An output has other values than its use asks for.
    #[error("the output {name:?} holds {found}; the model card needs {expected} there")]
    OutputType {
        /// The output.
        name: String,
        /// The element type that is there.
        found: &'static str,
        /// The element type that is needed.
        expected: &'static str,
    },
    /// An output's shape does not fit the card.
    #[error("the output {name:?} has shape {found:?}; the model card needs {expected}")]
    OutputShape {
        /// The output.
        name: String,
        /// The shape that is there.
        found: Vec<usize>,
        /// The shape that is needed, in words.
        expected: String,
    },
    /// The routing cannot be changed as it was asked for.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A `top_k` was asked for, and the model has none to set.
    #[error(
        "top-k {top_k} was asked for, but this model has no top_k input: run it without. {}",
        if reason.is_empty() { "No router was found in it whose k could be changed." } else { reason }
    )]
    FixedTopK {
        /// The value asked for.
        top_k: usize,
        /// Why the graph's own k cannot be changed, in a sentence; empty where there is none.
        reason: String,
    },
    /// A `top_k` was asked for that the model cannot run with.
    #[error("top-k must be between {min} and {max} for this model, not {top_k}")]
    TopKRange {
        /// The value asked for.
        top_k: usize,
        /// The smallest that the card allows.
        min: usize,
        /// The largest that the card allows.
        max: usize,
    },
}

/// The outputs that a model gave, or the first few of them; texts and lists do not count.
fn given(names: &[String]) -> String {
    const MOST: usize = 8;
    match names {
        [] => "no tensor of numbers".to_owned(),
        names if names.len() <= MOST => format!("only {}", names.join(", ")),
        names => format!("only {} and {} more", names[..MOST].join(", "), names.len() - MOST),
    }
}
