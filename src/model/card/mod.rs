//! The model card: JSON inside the ONNX file (`metadata_props`, key `moescope.card`) or beside it
//! (`NAME.card.json`). `models/README.md` documents it.

mod detection;
mod input;
mod tensor_path;
mod tokens;
mod top_k;

pub use detection::{BoxFormat, BoxUnits, DetectionCard, DetectionStyle, ScoreActivation};
pub use input::{Channels, CropRule, InputCard, InputElement, Layout, ResizeCard, ResizeFilter, ResizeRule};
pub use tensor_path::TensorPath;
pub use tokens::{GridCard, TokenLayout, TokenOrder};
pub use top_k::{TopKCard, TopKInput};

use super::geometry::Reason;
use super::routers::{GateValues, GatingRule, Router};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that the program must know of a model to feed it and to read its routing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Always [`ModelCard::SCHEMA`].
    pub schema: String,
    /// Short name for the title bar.
    pub name: String,
    /// One or two sentences.
    #[serde(default)]
    pub description: String,
    /// Licence of the weights.
    #[serde(default)]
    pub license: String,
    /// The image input and its preprocessing.
    pub input: InputCard,
    /// Further inputs that the graph needs, with what they are always fed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<FixedInputCard>,
    /// The k that may differ from run to run, if there is one.
    #[serde(default)]
    pub top_k: Option<TopKCard>,
    /// Name of the output with the class logits `[batch, classes]`; empty for a model that classifies nothing.
    #[serde(default)]
    pub logits: String,
    /// Class names in the order of the logits; empty where unknown.
    #[serde(default)]
    pub labels: Vec<String>,
    /// The outputs with boxes, where the model detects objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection: Option<DetectionCard>,
    /// How the tokens of one image lie on its input.
    pub grid: GridCard,
    /// How gates become combine weights.
    #[serde(default)]
    pub gating: GatingCard,
    /// The MoE layers in the order in which they run; empty for a model without routers.
    #[serde(default)]
    pub layers: Vec<LayerCard>,
    /// Parameter counts.
    #[serde(default)]
    pub parameters: Option<ParameterCard>,
    /// What in this card was assumed and nobody looked at yet: it is marked wherever results are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<Reason>,
}

/// An input of the graph that is not the image, and what it is always fed: the ids of a prompt, a task, noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FixedInputCard {
    /// Name of the graph input.
    pub name: String,
    /// Sizes of its axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its values.
    pub fill: Fill,
}

impl FixedInputCard {
    /// All its values, row-major.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        let count = self.shape.iter().product();
        let (same, each) = match &self.fill {
            Fill::Value(value) => (Some(std::iter::repeat_n(*value, count)), None),
            Fill::Values(values) => (None, Some(values.iter().copied())),
        };
        same.into_iter().flatten().chain(each.into_iter().flatten())
    }
}

/// The values of a [`FixedInputCard`], converted to the input's element type when they are fed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fill {
    /// The same everywhere.
    Value(f64),
    /// One for each element, row-major.
    Values(Vec<f64>),
}

/// How gates become combine weights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatingCard {
    /// Name of the rule, such as `softmax_of_top_k`.
    pub rule: String,
    /// The rule in one sentence.
    #[serde(default)]
    pub description: String,
}

impl GatingCard {
    /// Whether the gates of a token sum to 1; a sigmoid for each expert does not make them.
    #[must_use]
    pub fn sums_to_one(&self) -> bool {
        !self.rule.contains("sigmoid")
    }
}

/// One MoE layer and the tensors that carry its routing: outputs of the graph, or any inner tensor, written as a
/// [`TensorPath`], which is made an output when the model is opened.
///
/// Where a person chose a tensor by hand there may be only [`gate_logits`](Self::gate_logits), with
/// [`rule`](Self::rule) and [`top_k`](Self::top_k): choice and weights are computed again from it then, and marked so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCard {
    /// Name for people.
    pub name: String,
    /// E.
    pub num_experts: usize,
    /// Tensor with the gate probabilities `[batch × tokens, E]`; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gate_probs: String,
    /// Tensor with the chosen experts `[batch × tokens, k]`, int64; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expert_ids: String,
    /// Tensor with the combine weights `[batch × tokens, k]`; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub combine_weights: String,
    /// Tensor with the gate logits `[batch × tokens, E]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_logits: Option<String>,
    /// The axis of experts of gate logits and gate probabilities, counted from the last one, which is 0.
    #[serde(default, skip_serializing_if = "tokens::is_zero")]
    pub expert_axis_from_end: usize,
    /// Whether a person chose its tensor, where the finder found no router or another one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub chosen_by_hand: bool,
    /// k, where the choice is computed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// How logits become a choice and weights, where those are computed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<GatingRule>,
    /// Name of the router that the finder finds: its tensors are taken, wherever they lie in the graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<String>,
    /// What its tokens are.
    #[serde(default, skip_serializing_if = "TokenLayout::is_patches")]
    pub tokens: TokenLayout,
    /// How its tokens lie on the image, where that is not as [`ModelCard::grid`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridCard>,
    /// The task that it decides for, in a model of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Which iteration over the same experts this is, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iteration: Option<usize>,
    /// Experts that handle every token beside the chosen ones.
    #[serde(default, skip_serializing_if = "tokens::is_zero")]
    pub shared_experts: usize,
}

impl LayerCard {
    /// The rules by which a choice can be worked out from gate logits or probabilities alone.
    pub const RULES: [GatingRule; 9] = [
        GatingRule::SoftmaxThenTopK,
        GatingRule::SoftmaxThenTopKRenormalized,
        GatingRule::TopKThenSoftmax,
        GatingRule::SigmoidThenTopK,
        GatingRule::SigmoidThenTopKRenormalized,
        GatingRule::SqrtSoftplusThenTopK,
        GatingRule::SqrtSoftplusThenTopKRenormalized,
        GatingRule::ArgMax,
        GatingRule::Soft,
    ];

    /// A layer whose routing is in three tensors, as every card of the first version had it.
    #[must_use]
    pub fn of_tensors(name: &str, num_experts: usize, [gate_probs, expert_ids, combine_weights]: [&str; 3]) -> Self {
        Self {
            name: name.into(),
            num_experts,
            gate_probs: gate_probs.into(),
            expert_ids: expert_ids.into(),
            combine_weights: combine_weights.into(),
            ..Self::default()
        }
    }

    /// The layer of a router that was found, with nothing said of its tokens.
    #[must_use]
    pub fn of_router(router: &Router) -> Self {
        Self {
            name: router.name.clone(),
            num_experts: router.num_experts,
            router: Some(router.name.clone()),
            top_k: router.top_k,
            rule: Some(router.rule),
            shared_experts: router.shared_experts,
            ..Self::default()
        }
    }

    /// Says that its gate is the tensor `path`, of whose numbers `values` tells.
    pub fn set_gate(&mut self, path: &str, values: GateValues) {
        self.gate_logits = (values == GateValues::Logits).then(|| path.to_owned());
        self.gate_probs = if values == GateValues::Probabilities { path.to_owned() } else { String::new() };
    }

    /// The tensor of its gate and what its numbers are, where the card names one.
    #[must_use]
    pub fn gate(&self) -> Option<(&str, GateValues)> {
        let logits = self.gate_logits.as_deref().map(|path| (path, GateValues::Logits));
        logits
            .or_else(|| (!self.gate_probs.is_empty()).then_some((self.gate_probs.as_str(), GateValues::Probabilities)))
    }

    /// Whether choice and weights have to be computed again, because the card names no tensors of them.
    #[must_use]
    pub fn is_recomputed(&self) -> bool {
        self.expert_ids.is_empty() || self.combine_weights.is_empty()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Parameter counts: all of them, and those that one token passes through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterCard {
    /// All parameters.
    pub total: u64,
    /// Parameters activated for one token, by `top_k`.
    pub activated: BTreeMap<usize, u64>,
}

impl ModelCard {
    /// The schema that this version reads and writes.
    pub const SCHEMA: &str = "moescope-card/1";
    /// Key in the ONNX file's `metadata_props`.
    pub const METADATA_KEY: &str = "moescope.card";

    /// How the tokens of a layer lie on the image: its own grid, or the model's. Says nothing of a layer whose
    /// [`TokenLayout`] is not [`TokenLayout::Patches`].
    #[must_use]
    pub fn grid_of<'c>(&'c self, layer: &'c LayerCard) -> &'c GridCard {
        layer.grid.as_ref().unwrap_or(&self.grid)
    }
}
