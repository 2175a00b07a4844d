//! How a detector's outputs become boxes: what no graph tells of them, and a picture shows at once when it is wrong.

use super::draft::{Draft, Origin, origin};
use super::labels::labels_ui;
use super::rows::{below_ui, menu_ui, row_ui};
use crate::model::geometry::Basis;
use crate::model::{BoxFormat, BoxUnits, DetectionCard, DetectionStyle, ScoreActivation};
use crate::ui::command::LabelsOf;
use crate::ui::ctx::ViewCtx;
use egui::{Label, RichText, Ui};

const STYLES: [(DetectionStyle, &str, &str); 8] = [
    (DetectionStyle::Lists, "Lists", "Boxes and scores in outputs of their own"),
    (DetectionStyle::Detr, "DETR", "The same, with a last class that says that there is nothing"),
    (DetectionStyle::YoloColumns, "YOLO, columns", "A column is a box and its class scores (version 8 on)"),
    (DetectionStyle::YoloRows, "YOLO, rows", "A row is a box and its class scores"),
    (
        DetectionStyle::YoloObjectness,
        "YOLO, objectness",
        "A row is a box, whether it is an object, and its class scores",
    ),
    (DetectionStyle::Chosen, "Chosen", "A row is a box, its score and its class: the model has chosen already"),
    (
        DetectionStyle::ChosenOfBatch,
        "Chosen, of a batch",
        "A row is the image's number, a box, its class and its score",
    ),
    (DetectionStyle::Scored, "Scored", "A row is a box and its score; the classes are an output of their own"),
];
const FORMATS: [(BoxFormat, &str, &str); 3] = [
    (BoxFormat::Xyxy, "Corners", "Left, top, right, bottom (xyxy)"),
    (BoxFormat::Cxcywh, "Centre and size", "Centre, width, height (cxcywh)"),
    (BoxFormat::Xywh, "Corner and size", "Left, top, width, height (xywh), as COCO has it"),
];
const UNITS: [(BoxUnits, &str, &str); 2] = [
    (BoxUnits::Normalized, "Fractions", "Of the model's input, 0 to 1"),
    (BoxUnits::Pixels, "Pixels", "Of the model's input"),
];
const ACTIVATIONS: [(ScoreActivation, &str, &str); 3] = [
    (ScoreActivation::None, "Probabilities", "The scores are probabilities as they come"),
    (ScoreActivation::Sigmoid, "Sigmoid", "The logistic function of each score is still to be taken"),
    (ScoreActivation::Softmax, "Softmax", "A softmax over the classes is still to be taken"),
];

/// The rows about boxes.
pub(super) fn boxes_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, draft: &mut Draft) {
    let Draft { model, card } = draft;
    let (Some(boxes), Some(open)) = (&mut card.detection, &model.card.detection) else { return };
    let from = |changed| origin(model, "detection", changed, "");
    // Why boxes are there at all is told once.
    let usual = |changed| match from(changed) {
        Origin::Guess(Basis::Assumed, _) => Origin::Guess(Basis::Assumed, "As usual for such outputs."),
        origin => origin,
    };
    let help = "How boxes and scores are spread over the model's outputs";
    row_ui(ui, "Outputs", help, from(boxes.style != open.style), |ui, _| {
        // The other styles need other outputs than this model's card names.
        let outputs = |style| (has_scores_apart(style), style == DetectionStyle::Scored);
        let is_possible = |style: DetectionStyle| outputs(style) == outputs(open.style);
        let possible: Vec<_> = STYLES.into_iter().filter(|(style, ..)| is_possible(*style)).collect();
        menu_ui(ui, "Box outputs", &mut boxes.style, &possible);
    });
    if has_scores_apart(boxes.style) {
        below_ui(ui, |ui| drop(ui.add(Label::new(RichText::new(outputs(boxes)).small().weak()).wrap())));
    }
    row_ui(ui, "Format", "What the four numbers of a box are", usual(boxes.format != open.format), |ui, _| {
        menu_ui(ui, "Box format", &mut boxes.format, &FORMATS);
    });
    row_ui(ui, "Units", "What a box is measured in", usual(boxes.units != open.units), |ui, _| {
        menu_ui(ui, "Box units", &mut boxes.units, &UNITS);
    });
    // Who has chosen already has done all to the scores.
    if !has_chosen(boxes.style) {
        let help = "What is still to be done to the scores";
        row_ui(ui, "Scores", help, usual(boxes.activation != open.activation), |ui, _| {
            menu_ui(ui, "Box scores", &mut boxes.activation, &ACTIVATIONS);
        });
    }
    let changed = boxes.labels != open.labels;
    let names =
        origin(model, "detection.labels", changed, "Nothing tells the names of the classes: they are numbered.");
    labels_ui(ui, ctx, model, LabelsOf::Boxes, &mut boxes.labels, names);
}

fn has_chosen(style: DetectionStyle) -> bool {
    matches!(style, DetectionStyle::Chosen | DetectionStyle::ChosenOfBatch | DetectionStyle::Scored)
}

fn has_scores_apart(style: DetectionStyle) -> bool {
    matches!(style, DetectionStyle::Lists | DetectionStyle::Detr)
}

fn outputs(boxes: &DetectionCard) -> String {
    let named = [("boxes", &boxes.boxes), ("scores", &boxes.scores), ("classes", &boxes.classes)];
    let named = named.into_iter().filter(|(_, output)| !output.is_empty());
    named.map(|(what, output)| format!("{what} in {output}")).collect::<Vec<_>>().join(", ")
}
