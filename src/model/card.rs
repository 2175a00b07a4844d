//! The model card: JSON inside the ONNX file (`metadata_props`, key `moescope.card`) or beside it
//! (`NAME.card.json`). `models/README.md` documents it.

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
    /// The run-time `top_k` input, if the graph has one.
    #[serde(default)]
    pub top_k: Option<TopKCard>,
    /// Name of the output with the class logits `[batch, classes]`.
    pub logits: String,
    /// Class names in the order of the logits; empty where unknown.
    #[serde(default)]
    pub labels: Vec<String>,
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
}

/// The image input and its preprocessing: `x = (byte / 255 − mean) / std` after resize and crop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputCard {
    /// Name of the graph input.
    pub name: String,
    /// Order of the axes.
    pub layout: Layout,
    /// Height in pixels that the model takes.
    pub height: u32,
    /// Width in pixels that the model takes.
    pub width: u32,
    /// How the image is scaled first.
    pub resize: ResizeCard,
    /// How the scaled image is cut to `height` × `width`.
    pub crop: CropRule,
    /// Mean of each of R, G, B, in fractions of 255.
    pub mean: [f32; 3],
    /// Standard deviation of each of R, G, B, in fractions of 255.
    pub std: [f32; 3],
}

/// Order of the axes of the image input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// `[batch, 3, height, width]`
    #[serde(rename = "NCHW")]
    Nchw,
    /// `[batch, height, width, 3]`
    #[serde(rename = "NHWC")]
    Nhwc,
}

/// How the image is scaled before the crop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResizeCard {
    /// Which side becomes `size`.
    pub rule: ResizeRule,
    /// Pixels.
    pub size: u32,
    /// Interpolation; antialiased when shrinking, as Pillow does it.
    pub filter: ResizeFilter,
}

/// Which side becomes [`ResizeCard::size`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeRule {
    /// The shorter side becomes `size`, the other follows the aspect ratio (rounded).
    ShorterSide,
    /// Both sides become the model's input size; the aspect ratio is lost.
    Stretch,
}

/// Interpolation, antialiased when shrinking, as Pillow does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeFilter {
    /// Triangle filter.
    Bilinear,
    /// Catmull-Rom (a = −0.5), Pillow's BICUBIC.
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos,
}

/// How the scaled image is cut to the model's input size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CropRule {
    /// The middle; offset `floor((size − crop) / 2)`.
    Center,
    /// Nothing is cut (with [`ResizeRule::Stretch`]).
    None,
}

/// The run-time `top_k` input of the graph, int64 `[1]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopKCard {
    /// Name of the graph input.
    pub input: String,
    /// Smallest value, at least 1.
    pub min: usize,
    /// Largest value, at most the number of experts.
    pub max: usize,
    /// The value the model was made for.
    pub default: usize,
}

/// How the tokens of one image lie on its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GridCard {
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub cols: usize,
    /// Class and register tokens before the first patch.
    #[serde(default)]
    pub prefix_tokens: usize,
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

/// One MoE layer and the outputs that carry its routing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCard {
    /// Name for people.
    pub name: String,
    /// E.
    pub num_experts: usize,
    /// Output with the gate probabilities `[batch × tokens, E]`.
    pub gate_probs: String,
    /// Output with the chosen experts `[batch × tokens, k]`, int64.
    pub expert_ids: String,
    /// Output with the combine weights `[batch × tokens, k]`.
    pub combine_weights: String,
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
}
