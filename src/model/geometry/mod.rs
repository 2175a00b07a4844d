//! How a model without a card is fed, and where its tokens lie on the image: read from the graph as far as it says so,
//! and marked as assumed where it does not.
//!
//! Nothing in an ONNX file tells a class token from a patch, or a window from a row. But the way of every pixel through
//! the graph does: `flow` follows places instead of values, up to the routers, and `tokens` reads off there what each
//! token stands for. That takes in convolutional patches, pixels cut by reshapes, hierarchical models, Swin's shifted
//! windows and text around an image alike, without a pattern for any of them.

mod flow;
mod gates;
mod head;
mod image;
mod inputs;
mod layers;
mod normalization;
mod outputs;
mod places;
mod reason;
mod roles;
#[cfg(test)]
mod tests;
mod tokens;

pub use gates::{PlacedGate, gates, meant};
pub use normalization::Normalization;
pub use reason::{Basis, Reason};

use super::graph::{Indexed, ModelGraph};
use super::labels::imagenet_labels;
use super::proto::ModelProto;
use super::routers::RouterReport;
use super::{
    Channels, CropRule, DetectionCard, DetectionStyle, GatingCard, InputCard, InputElement, ModelCard,
    ModelDescription, ModelError, ParameterCard, ResizeCard, ResizeFilter, ResizeRule,
};
use flow::Flow;
use head::Head;
use image::{Image, USUAL_SIDE, USUAL_SIDE_OF_DETECTORS};
use reason::Reasons;
use std::collections::BTreeMap;

/// A card for a model that has none, with what each of its fields rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Geometry {
    /// The card; it fits the graph as far as [`ModelCard::check`] sees.
    pub card: ModelCard,
    /// Why its fields have their values, in the order of the card.
    pub reasons: Vec<Reason>,
}

impl Geometry {
    /// Whether nothing but assumption says what a field is.
    #[must_use]
    pub fn is_assumed(&self, field: &str) -> bool {
        self.reasons.iter().any(|reason| reason.field == field && reason.basis == Basis::Assumed)
    }
}

/// Guesses the card of `model`, which `description` describes and whose routers `report` has.
///
/// # Errors
/// [`ModelError::NoCard`] where no input takes an image, or nothing that could be shown comes out.
pub fn guess(
    description: &ModelDescription,
    model: &ModelProto,
    report: &RouterReport,
) -> Result<Geometry, ModelError> {
    guess_in(description, &Indexed::new(model), report)
}

/// The same for a model whose graph is indexed already.
///
/// # Errors
/// Those of [`guess`].
pub fn guess_in(
    description: &ModelDescription,
    model: &Indexed<'_>,
    report: &RouterReport,
) -> Result<Geometry, ModelError> {
    guess_at(USUAL_SIDE, description, model, report)
}

/// The same with `usual_side` for an image whose size nothing tells.
fn guess_at(
    usual_side: u32,
    description: &ModelDescription,
    model: &Indexed<'_>,
    report: &RouterReport,
) -> Result<Geometry, ModelError> {
    let unclear = |reason: String| ModelError::NoCard {
        path: description.path.clone(),
        reason,
        sidecar: description.sidecar_path(),
    };
    let mut reasons = Reasons::default();
    let whole = model.graph().map_err(|error| unclear(error.to_string()))?;
    let image = Image::find(description, whole, usual_side, &mut reasons).map_err(unclear)?;
    // Once more with every size fixed, where not all are: what a shape depends on can then be computed.
    let sized = inputs::with_sizes(model.model(), &image);
    let of_sized = sized.as_ref().map(ModelGraph::new).transpose().map_err(|error| unclear(error.to_string()))?;
    let graph = of_sized.as_ref().unwrap_or(whole);
    let (detection, boxes_text) = outputs::detection(graph).unzip();
    if image.takes_any_size && detection.is_some() && usual_side != USUAL_SIDE_OF_DETECTORS {
        return guess_at(USUAL_SIDE_OF_DETECTORS, description, model, report);
    }
    let value = image.value(graph);
    let flow = value.map(|value| Flow::of(graph, value, image.sides()));
    let (logits, classes) = outputs::logits(graph, flow.as_ref(), image.batch, detection.as_ref(), &mut reasons);
    if let (Some(card), Some(text)) = (&detection, boxes_text) {
        reasons.add("detection", Basis::Assumed, format!("{text} Format, units and activation are usual for it."));
        if card.scores.is_empty() {
            reasons.add("detection.scores", Basis::Assumed, "They stand beside the boxes.");
        }
    }
    if logits.is_empty() && detection.is_none() && report.routers.is_empty() {
        return Err(unclear("it has no routers, and no output is a table of class scores or holds boxes".into()));
    }
    let head = value.map(|value| Head::of(graph, value));
    let input = input_card(head.as_ref(), &image, detection.as_ref(), &mut reasons);
    let labels = labels(classes, &mut reasons);
    let top_k = inputs::top_k(graph, report, &mut reasons);
    let told = layers::layers(graph, flow.as_ref(), &image, report, &mut reasons);
    let inputs = inputs::fixed(description, graph, &image, top_k.as_ref(), &told, &mut reasons);
    let card = ModelCard {
        schema: ModelCard::SCHEMA.into(),
        name: description.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        description: assumptions(&reasons),
        license: String::new(),
        input,
        inputs,
        top_k,
        logits,
        labels,
        detection,
        grid: told.grid,
        gating: gating(report),
        layers: told.layers,
        parameters: Some(ParameterCard { total: report.parameters.total, activated: BTreeMap::new() }),
        assumed: Vec::new(),
    };
    Ok(Geometry { card, reasons: reasons.0 })
}

/// What is assumed of how an image is fed, in a sentence.
fn assumptions(reasons: &Reasons) -> String {
    let is_told = |reason: &&Reason| {
        // Height and width, and mean and deviation, are assumed together.
        let is_twin = matches!(reason.field.as_str(), "input.width" | "input.std");
        reason.basis == Basis::Assumed && reason.field.starts_with("input") && !is_twin
    };
    let assumed = reasons.0.iter().filter(is_told);
    let texts: Vec<&str> = assumed.map(|reason| reason.text.as_str()).collect();
    format!("No model card. {}", texts.join(" "))
}

/// 256 for 224 pixels, as torchvision's classifiers have it.
fn usual_resize(size: u32) -> u32 {
    (f64::from(size) * 256.0 / 224.0).round() as u32
}

/// The rule of the first router; each layer has its own besides.
fn gating(report: &RouterReport) -> GatingCard {
    let rule = report.routers.first().and_then(|router| serde_json::to_value(router.rule).ok());
    let rule = rule.and_then(|rule| rule.as_str().map(str::to_owned)).unwrap_or_default();
    GatingCard { rule, description: String::new() }
}

/// How the image is fed: the graph tells at most the range of the values.
fn input_card(
    head: Option<&Head>,
    image: &Image,
    detection: Option<&DetectionCard>,
    reasons: &mut Reasons,
) -> InputCard {
    let raw = head.and_then(Head::raw_range);
    let is_yolo = detection.is_some_and(|card| {
        !matches!(card.style, DetectionStyle::Detr | DetectionStyle::Lists | DetectionStyle::Scored)
    });
    let (normalization, basis, text) = normalization(image, raw, is_yolo);
    reasons.add("input.mean", basis, text.clone());
    reasons.add("input.std", basis, text);
    let (rule, crop, size, text) = if is_yolo {
        let text = "Assumed, as usual for such detectors: the whole image, in the middle of grey (letterbox).";
        (ResizeRule::LongerSide, CropRule::None, image.height.max(image.width), text.to_owned())
    } else if detection.is_some() {
        let text = "Assumed, as usual for such detectors: the whole image, stretched.";
        (ResizeRule::Stretch, CropRule::None, image.height.max(image.width), text.to_owned())
    } else {
        let size = usual_resize(image.height.max(image.width));
        let text =
            format!("Assumed, as usual for classifiers: the shorter side at {size} pixels, and the middle of it.");
        (ResizeRule::ShorterSide, CropRule::Center, size, text)
    };
    reasons.add("input.resize", Basis::Assumed, text);
    InputCard {
        name: image.name.clone(),
        layout: image.layout,
        height: image.height,
        width: image.width,
        resize: ResizeCard { rule, size, filter: ResizeFilter::Bilinear },
        crop,
        mean: normalization.mean,
        std: normalization.std,
        pad: InputCard::PAD,
        channels: Channels::Rgb,
        element: image.element,
        batch: image.batch,
    }
}

fn normalization(image: &Image, raw: Option<f32>, is_yolo: bool) -> (Normalization, Basis, String) {
    let name = &image.name;
    match raw {
        _ if image.element == InputElement::Uint8 => {
            (Normalization::ZERO_TO_255, Basis::Graph, format!("{name} takes bytes."))
        }
        Some(range) if range > 1.0 => {
            let text = format!("The graph normalises {name} itself, from values of 0 to 255.");
            (Normalization::ZERO_TO_255, Basis::Graph, text)
        }
        Some(_) => {
            let text = format!("The graph normalises {name} itself, from values of 0 to 1.");
            (Normalization::ZERO_TO_ONE, Basis::Graph, text)
        }
        None if is_yolo => {
            (Normalization::ZERO_TO_ONE, Basis::Assumed, "Assumed: values of 0 to 1, as YOLO has them.".into())
        }
        None => {
            let text = "Assumed: ImageNet's mean and deviation.";
            (Normalization::IMAGENET, Basis::Assumed, text.into())
        }
    }
}

fn labels(classes: Option<usize>, reasons: &mut Reasons) -> Vec<String> {
    let imagenet = imagenet_labels().unwrap_or_default();
    let (labels, text): (Vec<String>, _) = match classes {
        Some(1000) if !imagenet.is_empty() => {
            (imagenet.to_vec(), "1,000 classes: assumed to be ImageNet's, in their usual order.")
        }
        Some(1001) if !imagenet.is_empty() => {
            let background = ["background".to_owned()].into_iter();
            let text = "1,001 classes: assumed to be a background and ImageNet's 1,000, in their usual order.";
            (background.chain(imagenet.iter().cloned()).collect(), text)
        }
        Some(_) => (Vec::new(), "Nothing tells the classes' names: they are numbered."),
        None => return Vec::new(),
    };
    reasons.add("labels", Basis::Assumed, text);
    labels
}
