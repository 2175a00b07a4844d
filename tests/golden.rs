//! The bundled model through our engine against Python's ONNX Runtime (fixtures/golden.json, made by
//! fixtures/make_golden.py): chosen experts exactly, weights within 1e-5, logits within 1e-4.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use moescope::engine::{Engine, LoadRequest, RunRequest, Tensor, TensorData};
use moescope::model::{CardSource, read_model};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn model_path() -> PathBuf {
    project("models/default/moescope-default.onnx")
}

/// The image of make_golden.py.
fn image() -> Tensor {
    let indices = (0..3 * 224 * 224).map(|index| (index / (224 * 224), index / 224 % 224, index % 224));
    let byte = indices.map(|(channel, row, col)| (channel * 83 + row / 16 * 37 + col / 16 * 59 + row * col % 31) % 256);
    let data = byte.map(|byte: u32| byte as f32 / 127.5 - 1.0).collect();
    Tensor { name: "pixels".into(), shape: vec![1, 3, 224, 224], data: TensorData::F32(data) }
}

fn top_k(k: i64) -> Tensor {
    Tensor { name: "top_k".into(), shape: vec![1], data: TensorData::I64([k].into()) }
}

fn check(k: &str, name: &str, found: &TensorData, expected: &Value) {
    let expected = expected.as_array().unwrap();
    match found {
        TensorData::I64(found) => {
            let expected: Vec<i64> = expected.iter().map(|id| id.as_i64().unwrap()).collect();
            assert_eq!(&**found, expected, "k = {k}, {name}");
        }
        TensorData::F32(found) => {
            assert_eq!(found.len(), expected.len(), "k = {k}, {name}");
            let tolerance = if name == "logits" { 1e-4 } else { 1e-5 };
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                let expected = expected.as_f64().unwrap();
                assert!(
                    (f64::from(*found) - expected).abs() < tolerance,
                    "k = {k}, {name}[{index}]: {found}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn the_bundled_model_gives_what_python_gives() {
    let golden: Value =
        serde_json::from_str(&fs::read_to_string(project("tests/fixtures/golden.json")).unwrap()).unwrap();
    let sha256 = fs::read_to_string(model_path().with_extension("onnx.sha256")).unwrap();
    assert!(
        sha256.starts_with(golden["model_sha256"].as_str().unwrap()),
        "the model has changed: run tests/fixtures/make_golden.py"
    );
    let engine = Engine::start(None);
    let loaded = engine.load(&LoadRequest { model: model_path(), threads: None }).unwrap();
    for (k, expected) in golden["runs"].as_object().unwrap() {
        let inputs = vec![image(), top_k(k.parse().unwrap())];
        let outputs = engine.run(&RunRequest { model: loaded.model, inputs }).unwrap().outputs;
        let expected = expected.as_object().unwrap();
        assert_eq!(expected.len(), 9, "logits, and two outputs of each of four layers");
        for (name, expected) in expected {
            let found = outputs.iter().find(|output| &output.name == name).unwrap();
            check(k, name, &found.data, expected);
        }
    }
}

#[test]
fn the_bundled_model_has_a_card_that_holds() {
    let model = read_model(&model_path()).unwrap();
    let (card, source) = model.card().unwrap();
    assert_eq!(source, CardSource::Metadata);
    assert_eq!((card.layers.len(), card.labels.len(), card.grid.rows, card.grid.cols), (4, 1000, 14, 14));
    assert_eq!(card.top_k.unwrap().default, 2);
    let total = card.parameters.unwrap().total;
    assert!(model.num_weights.abs_diff(total) < total / 100, "{} weights, {total} parameters", model.num_weights);
}
