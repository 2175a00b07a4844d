//! One image through one model: from file to predictions, routing and statistics.

use crate::engine::Provider;
use crate::input::DecodedImage;
use crate::routing::{PatchGrid, RoutingTrace};
use std::sync::Arc;

/// Everything that is known about one image after one run of the model. Frozen: panels and reports only read it.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// The image.
    pub image: Arc<DecodedImage>,
    /// The `top_k` that the model was run with; `None` where the model has no such input.
    pub top_k: Option<usize>,
    /// How the patches lie on the image.
    pub grid: PatchGrid,
    /// Class logits.
    pub logits: Vec<f32>,
    /// The most probable classes, the best first; at most [`Analysis::NUM_PREDICTIONS`].
    pub predictions: Vec<Prediction>,
    /// What every router did.
    pub trace: RoutingTrace,
    /// Where the time went.
    pub seconds: StageSeconds,
    /// The provider that ran the model.
    pub provider: Provider,
}

impl Analysis {
    /// How many predictions are kept.
    pub const NUM_PREDICTIONS: usize = 5;
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
