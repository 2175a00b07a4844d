//! Guesses of small graphs that are written down here; the models of the zoo are in `tests/geometry.rs`.

use super::{Basis, Geometry, guess};
use crate::model::graph::ModelGraph;
use crate::model::graph::testing::{Sketch, node, with_ints};
use crate::model::proto::ModelProto;
use crate::model::routers::find_routers;
use crate::model::{
    DetectionStyle, Fill, GridCard, InputElement, Layout, ModelDescription, ModelError, ResizeRule, ScoreActivation,
};
use std::path::Path;

fn try_guess(model: &ModelProto) -> Result<Geometry, ModelError> {
    let report = find_routers(&ModelGraph::new(model).unwrap());
    guess(&ModelDescription::of(Path::new("small.onnx"), 0, model), model, &report)
}

fn guessed(model: &ModelProto) -> Geometry {
    let geometry = try_guess(model).unwrap();
    geometry.card.check(&ModelDescription::of(Path::new("small.onnx"), 0, model)).unwrap();
    geometry
}

fn basis(geometry: &Geometry, field: &str) -> Basis {
    geometry
        .reasons
        .iter()
        .find(|reason| reason.field == field)
        .unwrap_or_else(|| panic!("no reason for {field}"))
        .basis
}

/// A convolution that cuts `from` into patches of 16 × 16 pixels, and a classifier of so many classes after it.
fn classifier(sketch: &mut Sketch, from: &str, classes: i64) {
    sketch.weight("patch.weight", &[8, 3, 16, 16]);
    let patches = with_ints(node("Conv", &format!("{from} patch.weight"), "map", &[]), "strides", &[16, 16]);
    sketch.graph.node.push(with_ints(patches, "kernel_shape", &[16, 16]));
    sketch.op("GlobalAveragePool", "map", "pooled", &[]);
    sketch.op("Flatten", "pooled", "flat", &[]);
    sketch.weight("head", &[8, classes]);
    sketch.op("MatMul", "flat head", "logits", &[]);
}

fn image_of(shape: &[i64], element: i32) -> Sketch {
    let mut sketch = Sketch::default();
    sketch.input("image", element, shape);
    sketch
}

#[test]
fn a_plain_classifier_is_read_and_its_normalisation_assumed() {
    let mut sketch = image_of(&[-1, 3, 64, 48], 1);
    classifier(&mut sketch, "image", 7);
    let geometry = guessed(&sketch.model("logits"));
    let card = &geometry.card;
    assert_eq!((card.input.layout, card.input.height, card.input.width), (Layout::Nchw, 64, 48));
    assert_eq!((card.logits.as_str(), &card.grid), ("logits", &GridCard::patches(4, 3)));
    assert_eq!((card.input.mean[0], card.labels.len()), (0.485, 0));
    for (field, expected) in [
        ("input.name", Basis::Graph),
        ("input.layout", Basis::Graph),
        ("input.height", Basis::Graph),
        ("grid", Basis::Graph),
        ("logits", Basis::Graph),
        ("input.mean", Basis::Assumed),
        ("input.resize", Basis::Assumed),
        ("labels", Basis::Assumed),
    ] {
        assert_eq!(basis(&geometry, field), expected, "{field}");
    }
}

#[test]
fn a_dynamic_size_is_that_of_the_position_embedding_or_the_usual_one() {
    for (positions, expected) in [(Some(65), (128, Basis::Graph)), (None, (224, Basis::Assumed))] {
        let mut sketch = image_of(&[-1, 3, -1, -1], 1);
        classifier(&mut sketch, "image", 7);
        if let Some(positions) = positions {
            sketch.ints("tokens", &[0, 8, -1]);
            sketch.op("Reshape", "map tokens", "columns", &[]);
            sketch.graph.node.push(with_ints(node("Transpose", "columns", "rows", &[]), "perm", &[0, 2, 1]));
            sketch.weight("class", &[1, 1, 8]);
            sketch.op("Concat", "class rows", "all", &[("axis", 1)]);
            sketch.weight("positions", &[1, positions, 8]);
            sketch.op("Add", "all positions", "placed", &[]);
        }
        let geometry = guessed(&sketch.model(if positions.is_some() { "logits placed" } else { "logits" }));
        assert_eq!((geometry.card.input.height, basis(&geometry, "input.height")), expected);
        assert_eq!(geometry.card.grid.rows, expected.0 as usize / 16);
    }
}

#[test]
fn channels_may_come_last() {
    for shape in [[1, 64, 64, 3], [-1, -1, -1, 3], [-1, -1, -1, -1]] {
        let mut sketch = image_of(&shape, 1);
        sketch.graph.node.push(with_ints(node("Transpose", "image", "turned", &[]), "perm", &[0, 3, 1, 2]));
        classifier(&mut sketch, "turned", 7);
        let geometry = guessed(&sketch.model("logits"));
        assert_eq!(
            (geometry.card.input.layout, basis(&geometry, "input.layout")),
            (Layout::Nhwc, Basis::Graph),
            "{shape:?}"
        );
    }
}

#[test]
fn a_graph_that_normalises_by_itself_is_fed_raw_values() {
    let means = |scale: f32| [0.485, 0.456, 0.406].map(|mean: f32| mean * scale);
    let stds = |scale: f32| [0.229, 0.224, 0.225].map(|std: f32| std * scale);
    // Operators with their constants, and the largest value that they are made for.
    type Steps<'c> = [(&'c str, &'c [f32])];
    let cases: [(&Steps<'_>, f32); 6] = [
        (&[("Sub", &means(255.0)), ("Div", &stds(255.0))], 255.0),
        (&[("Sub", &means(1.0)), ("Div", &stds(1.0))], 1.0),
        (&[("Div", &[255.0]), ("Sub", &means(1.0)), ("Div", &stds(1.0))], 255.0),
        (&[("Mul", &[1.0 / 127.5]), ("Add", &[-1.0])], 255.0),
        (&[("Mul", &[2.0]), ("Sub", &[1.0])], 1.0),
        (&[("Mul", &[1.0 / 255.0])], 255.0),
    ];
    for (steps, largest) in cases {
        let mut sketch = image_of(&[1, 3, 32, 32], 1);
        let mut at = "image".to_owned();
        for (n, (op, values)) in steps.iter().enumerate() {
            let shape: &[i64] = if values.len() == 3 { &[1, 3, 1, 1] } else { &[] };
            sketch.floats(&format!("c{n}"), shape, values);
            sketch.op(op, &format!("{at} c{n}"), &format!("y{n}"), &[]);
            at = format!("y{n}");
        }
        classifier(&mut sketch, &at, 7);
        let geometry = guessed(&sketch.model("logits"));
        let range = 1.0 / geometry.card.input.std[0];
        assert_eq!((range.round(), basis(&geometry, "input.std")), (largest, Basis::Graph), "{steps:?}");
        assert_eq!(geometry.card.input.mean, [0.0; 3], "{steps:?}");
    }
}

#[test]
fn bytes_and_halves_are_taken() {
    let mut sketch = image_of(&[1, 3, 32, 32], 2);
    sketch.op("Cast", "image", "floats", &[("to", 1)]);
    classifier(&mut sketch, "floats", 7);
    let geometry = guessed(&sketch.model("logits"));
    assert_eq!((geometry.card.input.element, basis(&geometry, "input.std")), (InputElement::Uint8, Basis::Graph));
    assert!((geometry.card.input.std[0] * 255.0 - 1.0).abs() < 1e-6);

    let mut sketch = image_of(&[1, 3, 32, 32], 10);
    classifier(&mut sketch, "image", 7);
    assert_eq!(guessed(&sketch.model("logits")).card.input.element, InputElement::Float16);
}

#[test]
fn the_image_is_found_among_other_inputs() {
    let mut sketch = Sketch::default();
    sketch.input("input_ids", 7, &[-1, -1]);
    sketch.input("noise", 1, &[1, 3, 16, 16]);
    sketch.input("attention_mask", 7, &[-1, -1]);
    sketch.input("pixel_values", 1, &[-1, 3, 32, 32]);
    classifier(&mut sketch, "pixel_values", 7);
    let geometry = guessed(&sketch.model("logits"));
    assert_eq!((geometry.card.input.name.as_str(), basis(&geometry, "input.name")), ("pixel_values", Basis::Assumed));
    let inputs: Vec<_> = geometry.card.inputs.iter().map(|input| (input.name.as_str(), input.fill.clone())).collect();
    let zero = Fill::Value(0.0);
    assert_eq!(inputs, [("input_ids", zero.clone()), ("noise", zero), ("attention_mask", Fill::Value(1.0))]);
    for index in 0..3 {
        assert_eq!(basis(&geometry, &format!("inputs[{index}]")), Basis::Assumed);
    }
}

#[test]
fn names_of_imagenets_classes_are_assumed() {
    for (classes, first) in [(1000, Some("tench")), (1001, Some("background")), (999, None)] {
        let mut sketch = image_of(&[1, 3, 32, 32], 1);
        classifier(&mut sketch, "image", classes);
        let geometry = guessed(&sketch.model("logits"));
        assert_eq!(geometry.card.labels.first().map(String::as_str), first);
        assert_eq!(basis(&geometry, "labels"), Basis::Assumed);
    }
}

/// As SqueezeNet gives them, and beside routing that is an output already.
#[test]
fn class_scores_are_told_from_other_tables() {
    let mut sketch = image_of(&[1, 3, 32, 32], 1);
    classifier(&mut sketch, "image", 1000);
    sketch.ints("map.shape", &[1, 1000, 1, 1]);
    sketch.op("Reshape", "logits map.shape", "scores", &[]);
    sketch.ints("token.shape", &[4, 250]);
    sketch.op("Reshape", "logits token.shape", "gate_probs", &[]);
    let geometry = guessed(&sketch.model("gate_probs scores"));
    assert_eq!((geometry.card.logits.as_str(), basis(&geometry, "logits")), ("scores", Basis::Graph));
    assert_eq!(geometry.card.labels.len(), 1000);
}

#[test]
fn outputs_with_boxes_are_told_by_shapes_and_names() {
    let detector = |outputs: &[(&str, &[i64])]| {
        let mut sketch = image_of(&[1, 3, 64, 64], 1);
        classifier(&mut sketch, "image", 7);
        for (name, shape) in outputs {
            sketch.weight(&format!("{name}.weight"), shape);
            sketch.op("Mul", &format!("{name}.weight flat1"), name, &[]);
        }
        sketch.ints("one", &[1]);
        sketch.op("ReduceMax", "flat", "flat1", &[("keepdims", 0)]);
        let reduce = sketch.graph.node.pop().unwrap();
        sketch.graph.node.insert(3, reduce);
        let names: Vec<&str> = outputs.iter().map(|(name, _)| *name).collect();
        guessed(&sketch.model(&names.join(" "))).card
    };
    let detr = detector(&[("logits2", &[1, 10, 92]), ("pred_boxes", &[1, 10, 4])]).detection.unwrap();
    assert_eq!((detr.style, detr.activation), (DetectionStyle::Detr, ScoreActivation::Softmax));
    assert_eq!((detr.boxes.as_str(), detr.scores.as_str()), ("pred_boxes", "logits2"));
    for (shape, style) in [
        ([1, 84, 8400], DetectionStyle::YoloColumns),
        ([1, 8400, 84], DetectionStyle::YoloRows),
        ([1, 25200, 85], DetectionStyle::YoloObjectness),
        ([1, 300, 6], DetectionStyle::Chosen),
    ] {
        let card = detector(&[("output0", &shape)]);
        assert_eq!(card.detection.unwrap().style, style, "{shape:?}");
        assert_eq!((card.input.resize.rule, card.logits.as_str()), (ResizeRule::LongerSide, ""), "{shape:?}");
    }
}

/// As DETR, RT-DETR and PaddlePaddle's detectors are exported: a mask over the image, and the size of the picture.
#[test]
fn what_lies_over_the_image_or_tells_its_size_is_fed_that() {
    let mut sketch = image_of(&[1, 3, 64, 48], 1);
    sketch.input("pixel_mask", 7, &[-1, -1, -1]);
    sketch.input("orig_target_sizes", 7, &[-1, 2]);
    sketch.input("im_shape", 1, &[-1, 2]);
    sketch.input("scale_factor", 1, &[-1, 2]);
    classifier(&mut sketch, "image", 7);
    let card = guessed(&sketch.model("logits")).card;
    let fed: Vec<_> =
        card.inputs.iter().map(|input| (input.shape.as_slice(), input.values().take(2).collect())).collect();
    let expected: [(&[usize], Vec<f64>); 4] = [
        (&[1, 64, 48], vec![1.0; 2]),
        (&[1, 2], vec![48.0, 64.0]),
        (&[1, 2], vec![64.0, 48.0]),
        (&[1, 2], vec![1.0; 2]),
    ];
    assert_eq!(fed, expected);
}

/// DETR's logits have a class for nothing; those of its successors are trained one by one.
#[test]
fn detectors_with_queries_are_told_by_their_numbers() {
    for (queries, classes, style) in [
        (100, 92, DetectionStyle::Detr),
        (10, 6, DetectionStyle::Detr),
        (300, 80, DetectionStyle::Lists),
        (300, 91, DetectionStyle::Lists),
        (900, 11, DetectionStyle::Lists),
    ] {
        let mut sketch = image_of(&[1, 3, 32, 32], 1);
        classifier(&mut sketch, "image", 7);
        for (name, width) in [("class_logits", classes), ("pred_boxes", 4)] {
            sketch.weight(&format!("{name}.queries"), &[1, queries, 7]);
            sketch.op("Mul", &format!("{name}.queries logits"), &format!("{name}.mixed"), &[]);
            sketch.weight(&format!("{name}.head"), &[7, width]);
            sketch.op("MatMul", &format!("{name}.mixed {name}.head"), name, &[]);
        }
        let card = guessed(&sketch.model("class_logits pred_boxes")).card;
        let detection = card.detection.unwrap();
        let activation =
            if style == DetectionStyle::Detr { ScoreActivation::Softmax } else { ScoreActivation::Sigmoid };
        assert_eq!((detection.style, detection.activation), (style, activation), "{queries} × {classes}");
        assert_eq!(card.logits, "", "{queries} × {classes}");
    }
}

/// As YOLO version 7 and MMDetection give what a NonMaxSuppression left; of any size of image, the usual one of detectors.
#[test]
fn boxes_that_the_graph_has_chosen_are_told_by_their_columns() {
    for (columns, style) in [(7, DetectionStyle::ChosenOfBatch), (5, DetectionStyle::Scored)] {
        let mut sketch = image_of(&[1, 3, -1, -1], 1);
        classifier(&mut sketch, "image", 7);
        sketch.weight("all.boxes", &[1, 9, 4]);
        sketch.weight("all.scores", &[1, 2, 9]);
        sketch.op("Add", "all.scores logits1", "scores", &[]);
        sketch.op("ReduceMax", "logits", "logits1", &[("keepdims", 0)]);
        sketch.op("NonMaxSuppression", "all.boxes scores", "selected", &[]);
        sketch.op("Cast", "selected", "numbers", &[("to", 1)]);
        sketch.weight("widen", &[3, columns]);
        sketch.op("MatMul", "numbers widen", "rows", &[]);
        let outputs = if columns == 7 {
            sketch.op("Identity", "rows", "output", &[]);
            "output"
        } else {
            sketch.ints("zero", &[0]);
            sketch.op("Unsqueeze", "rows zero", "dets", &[]);
            sketch.op("Identity", "selected", "labels", &[]);
            "dets labels"
        };
        let geometry = guessed(&sketch.model(outputs));
        assert_eq!(geometry.card.detection.as_ref().map(|card| card.style), Some(style), "{columns}");
        let told = (geometry.card.logits.as_str(), geometry.card.input.height, basis(&geometry, "input.height"));
        assert_eq!(told, ("", 640, Basis::Assumed), "{columns}");
    }
}

#[test]
fn what_takes_no_image_says_so() {
    let mut sketch = Sketch::with_input(&[1, 16, 8]);
    sketch.weight("w", &[8, 4]);
    sketch.op("MatMul", "x w", "y", &[]);
    let told = try_guess(&sketch.model("y")).unwrap_err().to_string();
    assert!(told.contains("none of its inputs takes an image") && told.contains("x is float32 [1, 16, 8]"), "{told}");
}
