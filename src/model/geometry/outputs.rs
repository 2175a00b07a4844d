//! Which outputs hold class scores and boxes.

use super::reason::{Basis, Reasons};
use crate::model::graph::{ModelGraph, ValueId, is_float};
use crate::model::{BoxFormat, BoxUnits, DetectionCard, DetectionStyle, ScoreActivation};

/// An output with its shape for one batch; −1 for sizes that depend on the data.
struct Output<'a> {
    value: ValueId,
    name: &'a str,
    shape: &'a [i64],
}

/// The outputs of floats whose number of axes is known.
fn float_outputs<'a>(graph: &'a ModelGraph<'_>) -> Vec<Output<'a>> {
    let outputs = graph.outputs().iter().filter(|&&value| {
        // An exporter may leave the type open.
        let element = graph.value(value).element;
        is_float(element) || element == 0
    });
    let described =
        |&value: &ValueId| Some(Output { value, name: graph.value(value).name, shape: graph.shape(value)? });
    outputs.filter_map(described).collect()
}

/// Name and width of the output with class scores; an empty name where there is none.
pub(super) fn logits(graph: &ModelGraph<'_>, batch: usize, reasons: &mut Reasons) -> (String, Option<usize>) {
    let outputs = float_outputs(graph);
    // Convolutional classifiers leave rows and columns of 1 behind the classes.
    let is_table = |output: &&Output<'_>| {
        matches!(output.shape, [images, _, rest @ ..]
            if (*images < 0 || usize::try_from(*images) == Ok(batch)) && rest.iter().all(|&size| size == 1))
    };
    let tables: Vec<&Output<'_>> = outputs.iter().filter(is_table).collect();
    let classes = |output: &Output<'_>| output.shape[1];
    let is_named = |output: &&&Output<'_>| {
        let name = output.name.to_lowercase();
        ["logit", "score", "prob", "class"].iter().any(|word| name.contains(word))
    };
    let by_name = tables.iter().filter(is_named).max_by_key(|output| classes(output));
    let Some(chosen) = by_name.or_else(|| tables.iter().max_by_key(|output| classes(output))) else {
        reasons.add("logits", Basis::Graph, "No output is a table of scores, [batch, classes].");
        return (String::new(), None);
    };
    let (basis, text) = match tables.len() {
        1 => (Basis::Graph, format!("{} is the only output that is a table, [batch, classes].", chosen.name)),
        count if by_name.is_some() => {
            (Basis::Assumed, format!("{} is named like class scores; {count} outputs are tables.", chosen.name))
        }
        count => (Basis::Assumed, format!("{} has the most columns of {count} outputs that are tables.", chosen.name)),
    };
    reasons.add("logits", basis, text);
    (chosen.name.to_owned(), usize::try_from(classes(chosen)).ok())
}

/// The outputs with boxes, if there are any.
pub(super) fn detection(graph: &ModelGraph<'_>, reasons: &mut Reasons) -> Option<DetectionCard> {
    let outputs = float_outputs(graph);
    let found = lists(graph, &outputs).or_else(|| rows(graph, &outputs));
    if let Some((card, text)) = &found {
        reasons.add("detection", Basis::Assumed, format!("{text} Format, units and activation are usual for it."));
        if card.scores.is_empty() {
            reasons.add("detection.scores", Basis::Assumed, "They stand beside the boxes.");
        }
    }
    found.map(|(card, _)| card)
}

fn is_named(name: &str, words: &[&str]) -> bool {
    let name = name.to_lowercase();
    words.iter().any(|word| name.contains(word))
}

/// Boxes in an output of their own, scores in another one.
fn lists(graph: &ModelGraph<'_>, outputs: &[Output<'_>]) -> Option<(DetectionCard, String)> {
    let is_boxes = |output: &&Output<'_>| {
        output.shape.last() == Some(&4)
            && matches!(output.shape.len(), 2 | 3)
            && is_named(output.name, &["box", "bbox", "det"])
    };
    let boxes = outputs.iter().find(is_boxes)?;
    let count = boxes.shape[boxes.shape.len() - 2];
    let is_scores = |output: &&Output<'_>| {
        let axis =
            if output.shape.len() == boxes.shape.len() { output.shape.len() - 2 } else { output.shape.len() - 1 };
        let is_table = output.shape.len() == boxes.shape.len() || output.shape.len() + 1 == boxes.shape.len();
        output.value != boxes.value
            && is_table
            && is_named(output.name, &["score", "logit", "prob", "conf", "class"])
            && output.shape.get(axis) == Some(&count)
    };
    let scores = outputs.iter().find(is_scores)?;
    let is_classes = |&&value: &&ValueId| {
        let value = graph.value(value);
        !is_float(value.element) && is_named(value.name, &["class", "label"])
    };
    let classes = graph.outputs().iter().find(is_classes).map(|&value| graph.value(value).name.to_owned());
    // DETR gives logits with one class more, for nothing; its boxes are fractions, as every Sigmoid's are.
    let is_detr = classes.is_none() && is_named(scores.name, &["logit"]);
    let is_normalized = graph.op_of(boxes.value) == "Sigmoid";
    let activation = match graph.op_of(scores.value) {
        "Sigmoid" | "Softmax" => ScoreActivation::None,
        _ if is_detr => ScoreActivation::Softmax,
        _ if classes.is_some() => ScoreActivation::None,
        _ => ScoreActivation::Sigmoid,
    };
    let card = DetectionCard {
        style: if is_detr { DetectionStyle::Detr } else { DetectionStyle::Lists },
        boxes: boxes.name.to_owned(),
        scores: scores.name.to_owned(),
        classes: classes.unwrap_or_default(),
        format: if is_normalized { BoxFormat::Cxcywh } else { BoxFormat::Xyxy },
        units: if is_normalized { BoxUnits::Normalized } else { BoxUnits::Pixels },
        activation,
        labels: Vec::new(),
    };
    let text =
        format!("{} holds four numbers for each of {count} boxes, and {} their scores.", boxes.name, scores.name);
    Some((card, text))
}

/// Boxes with their scores in one output, as YOLO gives them.
fn rows(graph: &ModelGraph<'_>, outputs: &[Output<'_>]) -> Option<(DetectionCard, String)> {
    /// Detectors that choose by themselves keep 300 boxes at most.
    const MAX_CHOSEN: i64 = 1000;
    /// Classes of COCO, on which YOLO's published weights are trained.
    const COCO: i64 = 80;
    let candidates = outputs.iter().filter(|output| output.shape.len() == 3);
    let mut styles = candidates.filter_map(|output| {
        let &[_, second, last] = output.shape else { return None };
        let is_head = is_named(output.name, &["output", "det", "pred", "box", "yolo"]);
        let style = match (second, last) {
            (count, 6) if count <= MAX_CHOSEN && is_named(output.name, &["det", "output", "box"]) => {
                DetectionStyle::Chosen
            }
            (width, count) if width >= 5 && count > 4 * width && is_head => DetectionStyle::YoloColumns,
            (count, width) if width == 5 + COCO && count > width && is_head => DetectionStyle::YoloObjectness,
            (count, width) if width >= 5 && count > 4 * width && is_head => DetectionStyle::YoloRows,
            _ => return None,
        };
        Some((output, style))
    });
    let (output, style) = styles.next()?;
    // A table of class scores beside it would be another kind of model.
    if graph.outputs().len() > 1 && outputs.iter().any(|output| output.shape.len() == 2) {
        return None;
    }
    let card = DetectionCard {
        style,
        boxes: output.name.to_owned(),
        scores: String::new(),
        classes: String::new(),
        format: if style == DetectionStyle::Chosen { BoxFormat::Xyxy } else { BoxFormat::Cxcywh },
        units: BoxUnits::Pixels,
        activation: ScoreActivation::None,
        labels: Vec::new(),
    };
    let what = match style {
        DetectionStyle::Chosen => "chosen boxes, with score and class",
        DetectionStyle::YoloColumns => "a column for each box and its class scores",
        _ => "a row for each box and its class scores",
    };
    Some((card, format!("{} is {:?}, as detectors give it: {what}.", output.name, output.shape)))
}
