//! Which outputs hold class scores and boxes.

use super::flow::Flow;
use super::reason::{Basis, Reasons};
use crate::model::graph::{ModelGraph, ValueId, is_float, is_product};
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
pub(super) fn logits(
    graph: &ModelGraph<'_>,
    flow: Option<&Flow<'_, '_>>,
    batch: usize,
    detection: Option<&DetectionCard>,
    reasons: &mut Reasons,
) -> (String, Option<usize>) {
    let outputs = float_outputs(graph);
    let has_boxes = |name: &str| detection.is_some_and(|card| name == card.boxes || name == card.scores);
    let is_one_table = |output: &&Output<'_>| {
        is_table(output.shape, batch) && varying(flow, output).is_empty() && !has_boxes(output.name)
    };
    let tables: Vec<&Output<'_>> = outputs.iter().filter(is_one_table).collect();
    let classes = |output: &Output<'_>| output.shape[1];
    let is_named = |output: &&&Output<'_>| {
        let name = output.name.to_lowercase();
        ["logit", "score", "prob", "class"].iter().any(|word| name.contains(word))
    };
    let by_name = tables.iter().filter(is_named).max_by_key(|output| classes(output));
    let Some(chosen) = by_name.or_else(|| tables.iter().max_by_key(|output| classes(output))) else {
        let others = outputs.iter().filter(|output| !has_boxes(output.name));
        let others: Vec<String> = others.filter_map(|output| not_classes(flow, output, batch)).collect();
        let text = format!("No output is a table of scores, [batch, classes]. {}", others.join(" "));
        reasons.add("logits", Basis::Graph, text.trim_end());
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

/// A row of numbers for each image. Convolutional classifiers leave rows and columns of 1 behind the classes; one axis of 1
/// behind them is a single number for each of several tokens.
fn is_table(shape: &[i64], batch: usize) -> bool {
    matches!(shape, [images, _] | [images, _, 1, 1] if *images < 0 || usize::try_from(*images) == Ok(batch))
}

/// The axes of an output along which its elements lie in different places of the image: those of a map or a sequence of
/// patches, never of class scores.
fn varying(flow: Option<&Flow<'_, '_>>, output: &Output<'_>) -> Vec<usize> {
    let places = flow.and_then(|flow| flow.places(output.value));
    places.map_or_else(Vec::new, |places| (0..places.shape().len()).filter(|&axis| places.differs(axis)).collect())
}

/// What an output is that holds no class scores of the image, where its shape tells.
fn not_classes(flow: Option<&Flow<'_, '_>>, output: &Output<'_>, batch: usize) -> Option<String> {
    let &Output { name, shape, .. } = output;
    let size = |axis: usize| if shape[axis] < 0 { "several".to_owned() } else { shape[axis].to_string() };
    let numbers = |axis: usize| if shape[axis] == 1 { "a number".into() } else { format!("{} numbers", size(axis)) };
    let images = usize::try_from(shape.first().copied().unwrap_or(-1)).is_ok_and(|images| images != batch);
    let text = match (shape.len(), varying(flow, output).as_slice()) {
        (4, [1, 2]) => format!("a map: {} for each of {} × {} places", numbers(3), size(1), size(2)),
        (4, [2, 3]) => format!("a map: {} for each of {} × {} places", numbers(1), size(2), size(3)),
        (3, [1, 2]) => format!("a map: a number for each of {} × {} places", size(1), size(2)),
        (3, [2]) => format!("{} for each of {} patches", numbers(1), size(2)),
        (3, [1]) => format!("{} for each of {} patches", numbers(2), size(1)),
        (2, [1]) => format!("a number for each of {} patches", size(1)),
        (2, [0]) => format!("{} for each of {} patches", numbers(1), size(0)),
        (4, []) if shape[2..] != [1, 1] => {
            format!("a map: {} for each of {} × {} places", numbers(1), size(2), size(3))
        }
        (3, _) => format!("a sequence: {} for each of {} steps", numbers(2), size(1)),
        (2, []) if images => format!("{} for each of {} rows, which are not the images", numbers(1), size(0)),
        _ => return None,
    };
    Some(format!("{name} is {text}."))
}

/// The outputs with boxes, if there are any, and how they were known.
pub(super) fn detection(graph: &ModelGraph<'_>) -> Option<(DetectionCard, String)> {
    let outputs = float_outputs(graph);
    let chosen = || chosen_of_batch(graph, &outputs);
    lists(graph, &outputs).or_else(|| scored(graph, &outputs)).or_else(chosen).or_else(|| rows(graph, &outputs))
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
    let is_detr = classes.is_none() && is_named(scores.name, &["logit"]) && !is_focal(count, scores);
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
    let count = if count < 0 { "several".to_owned() } else { count.to_string() };
    let text =
        format!("{} holds four numbers for each of {count} boxes, and {} their scores.", boxes.name, scores.name);
    Some((card, text))
}

/// Whether the scores of `count` queries are trained one by one (focal loss): those of DETR's successors are, which have many
/// queries and no class for nothing.
fn is_focal(count: i64, scores: &Output<'_>) -> bool {
    /// DETR has 100 queries, for panoptic segmentation as well; Deformable DETR, DINO and RT-DETR have 300 and more.
    const MOST_OF_DETR: i64 = 100;
    match scores.shape.last() {
        // COCO has 80 classes with numbers up to 90, Objects365 has 365; DETR's "no object" stands behind them.
        Some(80 | 90 | 91 | 365 | 366) => true,
        Some(92 | 251) => false,
        _ => count > MOST_OF_DETR,
    }
}

/// Boxes and their scores in one output, classes in another one, as MMDetection's exports give them.
fn scored(graph: &ModelGraph<'_>, outputs: &[Output<'_>]) -> Option<(DetectionCard, String)> {
    let is_boxes =
        |output: &&Output<'_>| matches!(output.shape, [_, _, 5] | [_, 5]) && is_named(output.name, &["box", "det"]);
    let boxes = outputs.iter().find(is_boxes)?;
    let is_classes = |&&value: &&ValueId| {
        let value = graph.value(value);
        !is_float(value.element) && is_named(value.name, &["class", "label"])
    };
    let classes = graph.value(*graph.outputs().iter().find(is_classes)?).name;
    let card = DetectionCard {
        classes: classes.to_owned(),
        format: BoxFormat::Xyxy,
        ..one_output(DetectionStyle::Scored, boxes.name)
    };
    Some((card, format!("{} holds boxes with their scores, and {classes} their classes.", boxes.name)))
}

/// A card of boxes in pixels with scores beside them.
fn one_output(style: DetectionStyle, boxes: &str) -> DetectionCard {
    let is_chosen = matches!(style, DetectionStyle::Chosen | DetectionStyle::ChosenOfBatch);
    DetectionCard {
        style,
        boxes: boxes.to_owned(),
        scores: String::new(),
        classes: String::new(),
        format: if is_chosen { BoxFormat::Xyxy } else { BoxFormat::Cxcywh },
        units: BoxUnits::Pixels,
        activation: ScoreActivation::None,
        labels: Vec::new(),
    }
}

/// Boxes with their scores in one output, as YOLO gives them.
fn rows(graph: &ModelGraph<'_>, outputs: &[Output<'_>]) -> Option<(DetectionCard, String)> {
    /// Detectors that choose by themselves keep 300 boxes at most.
    const MAX_CHOSEN: i64 = 1000;
    /// Classes of COCO, on which YOLO's published weights are trained.
    const COCO: i64 = 80;
    let candidates = outputs.iter().filter(|output| output.shape.len() == 3 && !is_plain_head(graph, output.value));
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
    let card = one_output(style, output.name);
    let what = match style {
        DetectionStyle::Chosen => "chosen boxes, with score and class",
        DetectionStyle::YoloColumns => "a column for each box and its class scores",
        _ => "a row for each box and its class scores",
    };
    Some((card, format!("{} is {:?}, as detectors give it: {what}.", output.name, output.shape)))
}

/// Rows of image, box, class and score behind the graph's own choice of boxes, whose number depends on the image.
fn chosen_of_batch(graph: &ModelGraph<'_>, outputs: &[Output<'_>]) -> Option<(DetectionCard, String)> {
    let output = outputs.iter().find(|output| matches!(output.shape, [count, 7] if *count < 0))?;
    graph.node_ids().find(|&id| graph.node(id).op == "NonMaxSuppression")?;
    let text = format!("{} is [several, 7] behind a NonMaxSuppression: image, box, class and score.", output.name);
    Some((one_output(DetectionStyle::ChosenOfBatch, output.name), text))
}

/// Whether a value is what one product gives, in another shape: raw scores, such as a text's or those of patches. Boxes are
/// put together of several parts, or computed from such numbers.
fn is_plain_head(graph: &ModelGraph<'_>, value: ValueId) -> bool {
    /// Longer ways from a product to an output do more than bring it into shape.
    const MAX_STEPS: usize = 16;
    let mut at = value;
    for _ in 0..MAX_STEPS {
        let Some((_, node)) = graph.producing(at) else { return false };
        let data = graph.data_inputs(node).filter(|&input| graph.value(input).is_data).collect::<Vec<_>>();
        match (node.op, data.as_slice()) {
            (op, [_]) if is_product(op) => return true,
            (
                "Reshape" | "Transpose" | "Flatten" | "Squeeze" | "Unsqueeze" | "Identity" | "Cast" | "Add" | "Softmax"
                | "LogSoftmax" | "Sigmoid",
                [only],
            ) => at = *only,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::graph::testing::{Sketch, node, with_ints};

    /// A map of 4 × 3 patches of eight numbers each, `map`, and the same as rows of tokens, `tokens`.
    fn patches() -> Sketch {
        let mut sketch = Sketch::with_input(&[1, 3, 64, 48]);
        sketch.weight("patch", &[8, 3, 16, 16]);
        let conv = with_ints(node("Conv", "x patch", "map", &[]), "strides", &[16, 16]);
        sketch.graph.node.push(with_ints(conv, "kernel_shape", &[16, 16]));
        sketch.ints("flat", &[1, 8, 12]);
        sketch.op("Reshape", "map flat", "columns", &[]);
        sketch.graph.node.push(with_ints(node("Transpose", "columns", "tokens", &[]), "perm", &[0, 2, 1]));
        sketch.weight("head", &[8, 2]);
        sketch.ints("last", &[-1]);
        sketch
    }

    /// The output with class scores, why it is that, and how boxes would be read.
    fn told(sketch: Sketch, outputs: &str) -> (String, String, Option<DetectionStyle>) {
        let model = sketch.model(outputs);
        let graph = ModelGraph::new(&model).unwrap();
        let flow = Flow::of(&graph, graph.inputs()[0], [2, 3]);
        let detection = detection(&graph).map(|(card, _)| card);
        let mut reasons = Reasons::default();
        let (name, _) = logits(&graph, Some(&flow), 1, detection.as_ref(), &mut reasons);
        (name, reasons.0[0].text.clone(), detection.map(|card| card.style))
    }

    #[test]
    fn maps_and_sequences_are_no_class_scores_and_no_boxes() {
        let mut segments = patches();
        segments.weight("classes", &[21, 8, 1, 1]);
        segments.op("Conv", "map classes", "logits", &[]);
        let mut depth = patches();
        depth.op("MatMul", "tokens head", "pairs", &[]);
        depth.op("ReduceMean", "pairs last", "logits", &[("keepdims", 0)]);
        let mut tokens = patches();
        tokens.op("MatMul", "tokens head", "output", &[]);
        let mut scores = patches();
        scores.weight("one", &[8, 1]);
        scores.op("MatMul", "tokens one", "scores", &[]);
        let mut rows = patches();
        rows.ints("rows", &[12, 8]);
        rows.op("Reshape", "tokens rows", "flat_tokens", &[]);
        rows.op("MatMul", "flat_tokens head", "class_scores", &[]);
        let mut text = patches();
        text.input("ids", 7, &[1, 16]);
        text.weight("words", &[100, 8]);
        text.op("Gather", "words ids", "embedded", &[]);
        text.op("MatMul", "embedded head", "logits", &[]);
        for (sketch, output, expected) in [
            (segments, "logits", "logits is a map: 21 numbers for each of 4 × 3 places."),
            (depth, "logits", "logits is a number for each of 12 patches."),
            (tokens, "output", "output is 2 numbers for each of 12 patches."),
            (scores, "scores", "scores is a number for each of 12 patches."),
            (rows, "class_scores", "class_scores is 2 numbers for each of 12 patches."),
            (text, "logits", "logits is a sequence: 2 numbers for each of 16 steps."),
        ] {
            let expected = format!("No output is a table of scores, [batch, classes]. {expected}");
            assert_eq!(told(sketch, output), (String::new(), expected, None));
        }
    }

    /// Of long sequences with names like a detector's: those that are put together of parts are boxes.
    #[test]
    fn raw_scores_of_many_places_are_no_yolo() {
        for is_head in [true, false] {
            let mut sketch = patches();
            sketch.ints("many", &[1, 96, 1]);
            sketch.op("Reshape", "map many", "cells", &[]);
            sketch.weight("wide", &[1, 9]);
            sketch.op("MatMul", "cells wide", if is_head { "output0" } else { "raw" }, &[]);
            if !is_head {
                sketch.ints("parts", &[4, 5]);
                sketch.op("Split", "raw parts", "sides classes", &[("axis", 2)]);
                sketch.op("Exp", "sides", "boxes", &[]);
                sketch.op("Concat", "boxes classes", "output0", &[("axis", 2)]);
            }
            let (logits, _, style) = told(sketch, "output0");
            assert_eq!((logits.as_str(), style.is_none()), ("", is_head));
        }
    }

    /// The class token's scores are the image's, and what a mean has made of all patches as well.
    #[test]
    fn what_is_gathered_from_all_patches_is_the_images() {
        let mut sketch = patches();
        sketch.ints("one", &[1]);
        sketch.op("ReduceMean", "tokens one", "pooled", &[("keepdims", 0)]);
        sketch.op("MatMul", "pooled head", "answers", &[]);
        assert_eq!(told(sketch, "answers").0, "answers");
        let mut sketch = patches();
        sketch.weight("class", &[1, 1, 8]);
        sketch.op("Concat", "class tokens", "all", &[("axis", 1)]);
        sketch.int("first", 0);
        sketch.op("Gather", "all first", "token", &[("axis", 1)]);
        sketch.op("MatMul", "token head", "answers", &[]);
        assert_eq!(told(sketch, "answers").0, "answers");
    }
}
