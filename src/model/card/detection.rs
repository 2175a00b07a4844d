//! The part of the model card about detectors: which outputs hold boxes, and how to read them.

use serde::{Deserialize, Serialize};

/// The outputs of a detector. B images, N boxes or object queries, C classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionCard {
    /// How boxes, scores and classes are spread over the outputs.
    pub style: DetectionStyle,
    /// Name of the output with the boxes.
    pub boxes: String,
    /// Name of the output with the scores; empty where the boxes' output has them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scores: String,
    /// Name of the output with the classes; empty where the scores tell them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub classes: String,
    /// What a box's four numbers are.
    pub format: BoxFormat,
    /// What they are measured in.
    pub units: BoxUnits,
    /// What the graph leaves to be done to make scores probabilities.
    #[serde(default)]
    pub activation: ScoreActivation,
    /// Names of the C classes of boxes; empty where unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// How boxes, scores and classes are spread over the outputs of a detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectionStyle {
    /// `boxes` [B, N, 4], `scores` [B, N, C], or [B, N] with `classes` [B, N]; the axis of images may be missing.
    Lists,
    /// `boxes` [B, N, 4], `scores` [B, N, C + 1], whose last class is "no object".
    Detr,
    /// `boxes` [B, 4 + C, N]: a column is a box and its class scores (YOLO from version 8 on).
    YoloColumns,
    /// `boxes` [B, N, 4 + C]: a row is a box and its class scores.
    YoloRows,
    /// `boxes` [B, N, 5 + C]: a row is a box, how likely it is an object at all, and its class scores (YOLO up to
    /// version 7).
    YoloObjectness,
    /// `boxes` [B, N, 6]: a row is a box, its score and its class, as detectors give it that have chosen already.
    Chosen,
    /// `boxes` [N, 7]: a row is the number of the image, a box, its class and its score (YOLO version 7, exported with its
    /// choice).
    ChosenOfBatch,
    /// `boxes` [B, N, 5], a row is a box and its score, with `classes` [B, N] (MMDetection).
    Scored,
}

/// What the four numbers of a box are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxFormat {
    /// Left, top, right, bottom.
    Xyxy,
    /// Centre, width, height.
    Cxcywh,
    /// Left, top, width, height, as COCO's annotations have them.
    Xywh,
}

/// What a box is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxUnits {
    /// Fractions of the model's input.
    Normalized,
    /// Pixels of the model's input.
    Pixels,
}

/// What makes scores probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreActivation {
    /// Nothing: they are.
    #[default]
    None,
    /// The logistic function of each.
    Sigmoid,
    /// Softmax over the classes.
    Softmax,
}
