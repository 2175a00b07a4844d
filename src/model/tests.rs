//! Descriptions and cards of models that are encoded here, and of the fixtures that Python's `onnx` wrote.

use super::geometry::{Basis, Reason, guess};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    ValueInfoProto,
};
use super::routers::routers_of;
use super::{
    CardSource, Dim, Layout, ModelCard, ModelDescription, ModelError, decode_model, describe_model, map_file,
    read_model,
};
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name)
}

/// Writes `bytes` to a file of its own and reads it as a model.
fn read(bytes: &[u8]) -> Result<ModelDescription, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::write(&path, bytes).unwrap();
    read_model(&path)
}

fn node(op_type: &str, domain: &str, bodies: Vec<GraphProto>) -> NodeProto {
    let attribute = bodies.into_iter().map(|g| AttributeProto { g: Some(g), ..Default::default() }).collect();
    NodeProto { op_type: op_type.into(), attribute, domain: domain.into(), ..Default::default() }
}

fn small_model() -> ModelProto {
    let body = GraphProto { node: vec![node("Add", "", vec![]); 2], ..Default::default() };
    let weight = |name: &str, dims: &[i64]| TensorProto { dims: dims.into(), name: name.into(), ..Default::default() };
    let output = ValueInfoProto { name: "out".into(), ..Default::default() };
    let graph = GraphProto {
        node: vec![node("Loop", "", vec![body]), node("Gelu", "com.microsoft", vec![]), node("Add", "ai.onnx", vec![])],
        name: "small".into(),
        initializer: vec![weight("w", &[3, 4]), weight("scalar", &[])],
        input: vec![ValueInfoProto { name: "w".into(), ..Default::default() }],
        output: vec![output],
        ..Default::default()
    };
    ModelProto {
        ir_version: 8,
        producer_name: "test".into(),
        producer_version: "1".into(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        metadata_props: vec![StringStringEntryProto { key: "a".into(), value: "b".into() }],
        ..Default::default()
    }
}

#[test]
fn a_model_is_described() {
    let model = read(&small_model().encode_to_vec()).unwrap();
    assert_eq!((model.ir_version, model.producer.as_str(), model.graph_name.as_str()), (8, "test 1", "small"));
    assert_eq!(model.opsets["ai.onnx"], 17);
    assert_eq!(model.metadata["a"], "b");
    assert_eq!(model.num_weights, 13);
    assert_eq!(model.num_nodes, 5);
    let operators: Vec<(&str, usize)> = model.operators.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(operators, [("Add", 3), ("Loop", 1), ("com.microsoft.Gelu", 1)]);
    assert!(model.inputs[0].has_default);
}

#[test]
fn a_model_that_python_wrote_is_described() {
    let model = read_model(&fixture("tiny_moe.onnx")).unwrap();
    assert_eq!(model.file_bytes, fs::metadata(fixture("tiny_moe.onnx")).unwrap().len());
    let inputs: Vec<String> = model.inputs.iter().map(|input| format!("{}: {input}", input.name)).collect();
    assert_eq!(inputs, ["pixel_values: float32 [batch, 3, 8, 8]", "top_k: int64 [1]"]);
    assert_eq!(model.inputs.iter().map(|input| input.has_default).collect::<Vec<_>>(), [false, true]);
    assert_eq!(model.outputs[0].dims.as_deref(), Some([Dim::Symbol("batch".into()), Dim::Size(5)].as_slice()));
    // 8×3×4×4 and 8×5, per layer 8×4 and 4×8×8, and the small integers that shape them.
    assert_eq!(model.num_weights, 384 + 40 + 2 * (32 + 256 + 2) + 2 + 1 + 1 + 3);
}

#[test]
fn sizes_add_up_without_overflow() {
    let mut model = small_model();
    let weight = |dims| TensorProto { dims, name: "w".into(), ..Default::default() };
    model.graph.as_mut().unwrap().initializer = vec![weight(vec![1 << 59]), weight(vec![i64::MAX, i64::MAX, 0])];
    assert_eq!(read(&model.encode_to_vec()).unwrap().num_weights, 1 << 59);
    model.graph.as_mut().unwrap().initializer = vec![weight(vec![1 << 59]); 40];
    assert_eq!(read(&model.encode_to_vec()).unwrap().num_weights, u64::MAX);
}

/// A message with one field of bytes.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![tag << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut message);
    message.extend_from_slice(bytes);
    message
}

#[test]
fn deep_nesting_is_refused() {
    let graphs_in_graphs = |depth| (0..depth).fold(Vec::new(), |graph, _| field(1, &field(5, &field(6, &graph))));
    let model = |depth| {
        let mut bytes = small_model().encode_to_vec();
        bytes.extend(field(7, &graphs_in_graphs(depth)));
        bytes
    };
    assert!(read(&model(10)).is_ok());
    for depth in [100, 5_000] {
        assert!(matches!(read(&model(depth)), Err(ModelError::TooDeep { .. })));
    }
}

#[test]
fn what_is_no_model_is_named_with_a_remedy() {
    let whole = small_model().encode_to_vec();
    let no_graph = ModelProto { graph: Some(GraphProto::default()), ..small_model() }.encode_to_vec();
    let cases: [(&[u8], &str); 6] = [
        (b"", "empty (0 bytes)"),
        (&whole[..whole.len() / 2], "damaged or cut off"),
        (&no_graph, "damaged or cut off"),
        (&[0xf0; 64], "first bytes f0 f0"),
        (b"<!doctype html><title>404</title>", "a web page"),
        (b"PK\x03\x04 archive/data.pkl", "a PyTorch checkpoint. Export the model"),
    ];
    for (bytes, text) in cases {
        let error = read(bytes).unwrap_err().to_string();
        assert!(error.contains("model.onnx is not an ONNX model: it is") && error.contains(text), "{error}");
    }
}

#[test]
fn files_that_cannot_be_opened_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [(folder.path().join("none.onnx"), "does not exist"), (folder.path().into(), "a folder")] {
        let error = read_model(&path).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains(text), "{error}");
    }
}

/// A copy of tiny_moe.onnx, with a sidecar that is its card after `change`.
fn with_sidecar(change: impl FnOnce(&mut Value)) -> (TempDir, ModelDescription) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::copy(fixture("tiny_moe.onnx"), &path).unwrap();
    let model = read_model(&path).unwrap();
    let mut card = serde_json::from_str(&model.metadata[ModelCard::METADATA_KEY]).unwrap();
    change(&mut card);
    fs::write(folder.path().join("model.card.json"), card.to_string()).unwrap();
    (folder, model)
}

#[test]
fn the_card_in_the_file_is_read() {
    let (card, source) = read_model(&fixture("tiny_moe.onnx")).unwrap().card().unwrap();
    assert_eq!(source, CardSource::Metadata);
    assert_eq!((card.name.as_str(), card.input.layout, card.layers.len()), ("Tiny MoE", Layout::Nchw, 2));
    assert_eq!(card.parameters.unwrap().activated[&2], 600);
}

#[test]
fn the_documented_example_is_the_card_of_the_fixture() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/README.md")).unwrap();
    let example = readme.split("```json").nth(1).unwrap().split("```").next().unwrap();
    let (card, _) = read_model(&fixture("tiny_moe.onnx")).unwrap().card().unwrap();
    assert_eq!(serde_json::from_str::<ModelCard>(example).unwrap(), card);
}

#[test]
fn the_card_beside_the_file_wins() {
    let (folder, model) = with_sidecar(|card| card["name"] = json!("Corrected"));
    let (card, source) = model.card().unwrap();
    assert_eq!(card.name, "Corrected");
    assert_eq!(source, CardSource::Sidecar(folder.path().join("model.card.json")));
}

/// Sets a field, which may be a new one.
fn put(card: &mut Value, field: &str, value: Value) {
    if let Some(known) = card.pointer_mut(field) {
        *known = value;
    } else {
        let (object, name) = field.rsplit_once('/').unwrap();
        card.pointer_mut(object).unwrap()[name] = value;
    }
}

/// What a card may say beyond the documented example, and that it is kept when it is written and read again.
#[test]
fn what_a_card_may_say_is_taken() {
    let windows = json!({"windows": {"rows": 1, "cols": 2, "shift_rows": 1, "shift_cols": 0}});
    for (field, value) in [
        ("/grid/order", windows.clone()),
        ("/grid", json!({"rows": 2, "cols": 2, "prefix_tokens": 1, "suffix_tokens": 7, "order": windows})),
        ("/grid", json!({"rows": 2, "cols": 2, "prefix_tokens": 1, "order": {"listed": [3, null, 1, 0, null, 2]}})),
        ("/layers/0/tokens", json!("image")),
        ("/layers/0/tokens", json!("unplaced")),
        ("/layers/0/grid", json!({"rows": 1, "cols": 1, "prefix_tokens": 0})),
        ("/layers/0/combine_weights", json!("@3.body:weights")),
        (
            "/layers/0",
            json!({"name": "chosen by hand", "num_experts": 4, "gate_logits": "layer0.logits", "top_k": 2,
            "rule": "softmax_then_top_k"}),
        ),
        ("/layers/0/task", json!("depth")),
        ("/layers/0/iteration", json!(1)),
        ("/layers/0/shared_experts", json!(2)),
        ("/input/channels", json!("BGR")),
        ("/input/batch", json!(3)),
        ("/input/pad", json!(0)),
        (
            "/detection",
            json!({"style": "detr", "boxes": "layer0.gate_probs", "scores": "logits", "activation": "softmax",
            "format": "cxcywh", "units": "normalized", "labels": ["cat"]}),
        ),
    ] {
        let (folder, model) = with_sidecar(|card| put(card, field, value.clone()));
        let card = model.card().map(|(card, _)| card).unwrap_or_else(|error| panic!("{field}: {error}"));
        let written = serde_json::to_value(&card).unwrap();
        assert_eq!(written.pointer(field), Some(&value), "{}", folder.path().display());
        assert_eq!(serde_json::from_value::<ModelCard>(written).unwrap(), card, "{field}");
    }
}

#[test]
fn a_wrong_card_is_told_by_field() {
    let cases = [
        ("/schema", json!("moescope-card/9"), "its schema is \"moescope-card/9\""),
        ("/name", json!(" "), "name is empty"),
        ("/name", json!("n".repeat(5000)), "name has 5000 bytes; at most 4096"),
        ("/labels", json!(["l".repeat(5000), "b", "c", "d", "e"]), "a label has 5000 bytes"),
        ("/layers", json!(vec![json!({"name": "l", "num_experts": 4}); 5000]), "layers are 5000; at most 4096"),
        ("/logits", json!("logit"), "logits is \"logit\", but the model has no such output (it has logits, layer0."),
        ("/logits", json!("layer0.expert_ids"), "not float"),
        ("/labels", json!(["ant"]), "labels has 1 names, but the model has 5 classes"),
        ("/input/name", json!("image"), "input.name is \"image\""),
        ("/input/name", json!("top_k"), "int64 [1], not float32"),
        ("/input/layout", json!("NHWC"), "[8, 8, 3]"),
        ("/input/layout", json!("CHW"), "unknown variant `CHW`"),
        ("/input/height", json!(0), "input.height"),
        ("/input/width", json!(16), "[3, 8, 16]"),
        ("/input/std", json!([0.5, 0.0, 0.5]), "input.std"),
        ("/input/std", json!([0.5, -1.0, 0.5]), "input.std"),
        ("/input/mean", json!([1e300, 0, 0]), "input.mean"),
        ("/input/resize/size", json!(7), "input.resize.size is 7; 8 (the crop)"),
        ("/input/crop", json!("none"), "input.crop is none"),
        ("/top_k/input", json!("k"), "top_k.input"),
        ("/top_k/input", json!("pixel_values"), "not int64"),
        ("/top_k/min", json!(0), "1 ≤ min"),
        ("/top_k/default", json!(5), "1 ≤ min"),
        ("/top_k/max", json!(5), "top_k.max is 5, but layer layer 0 has 4 experts"),
        ("/grid/rows", json!(0), "grid"),
        ("/grid/rows", json!(usize::MAX), "grid"),
        ("/layers/1/num_experts", json!(0), "layers[1]: num_experts is 0"),
        ("/layers/1/num_experts", json!(5), "has 4 columns"),
        ("/layers/0/expert_ids", json!("layer0.gate_probs"), "layers[0]: expert_ids names layer0.gate_probs"),
        ("/layers/0/top_k", json!(5), "layers[0]: top_k is 5; 1 to 4 is possible"),
        ("/layers/0/expert_ids", json!(""), "rule must say"),
        ("/layers/0/grid", json!({"rows": 0, "cols": 1}), "layers[0]: grid has 0 rows"),
        ("/layers/0/tokens", json!("words"), "unknown variant `words`"),
        ("/grid/order", json!({"windows": {"rows": 2, "cols": 3}}), "windows of 2 × 3 patches, which do not divide"),
        ("/grid/order", json!({"windows": {"rows": 1, "cols": 1, "shift_rows": 2}}), "shifted by 2 rows"),
        ("/grid", json!({"rows": 1, "cols": 3, "order": {"listed": [0, 1, 0]}}), "grid lists patch 0 twice"),
        ("/grid", json!({"rows": 1, "cols": 3, "order": {"listed": [0, 1, 3]}}), "or has no such patch: of its 3"),
        ("/grid", json!({"rows": 1, "cols": 3, "order": {"listed": [0, null, 2]}}), "grid lists no token of patch 1"),
        ("/grid/suffix_tokens", json!(1 << 30), "grid has 0 and 1073741824 other tokens"),
        ("/input/element", json!("uint8"), "float32 [batch, 3, 8, 8], not uint8"),
        ("/input/batch", json!(0), "input.batch is 0"),
        ("/input/resize/rule", json!("longer_side"), "input.crop is center"),
        ("/inputs", json!([{"name": "task", "shape": [], "fill": 0}]), "inputs[0]: name is \"task\""),
        ("/inputs", json!([{"name": "pixel_values", "shape": [], "fill": 0}]), "feeds pixel_values once more"),
        (
            "/detection",
            json!({"style": "lists", "boxes": "logits", "format": "xyxy", "units": "pixels"}),
            "detection.scores is empty",
        ),
        (
            "/detection",
            json!({"style": "yolo_rows", "boxes": "box", "format": "xyxy", "units": "pixels"}),
            "detection.boxes is \"box\"",
        ),
        ("/layers/0/gate_probs", json!("gates"), "layers[0]: gate_probs is \"gates\""),
        ("/layers", json!(3), "invalid type"),
    ];
    for (field, value, text) in cases {
        let (_folder, model) = with_sidecar(|card| put(card, field, value));
        let error = model.card().unwrap_err();
        let told = error.to_string();
        assert!(matches!(error, ModelError::Card { .. }) && told.contains("model.card.json"), "{field}: {told}");
        assert!(told.contains(text), "{field}: {told}");
    }
}

/// The card of a model, given or guessed.
fn card_or_guess(path: &Path) -> Result<(ModelCard, CardSource, Vec<Reason>), ModelError> {
    let file = map_file(path)?;
    let model = decode_model(path, &file)?;
    ModelDescription::of(path, file.len() as u64, &model).card_or_guess(&model, &routers_of(&model))
}

#[test]
fn a_classifier_without_a_card_gets_a_guessed_one() {
    let path = fixture("tiny_classifier.onnx");
    assert!(matches!(read_model(&path).unwrap().card(), Err(ModelError::NoCard { .. })));
    let (card, source, reasons) = card_or_guess(&path).unwrap();
    assert_eq!(source, CardSource::Assumed);
    assert_eq!((card.input.name.as_str(), card.input.height, card.input.resize.size), ("image", 8, 9));
    assert_eq!((card.logits.as_str(), card.layers.len()), ("scores", 0));
    assert!(card.description.contains("Assumed: ImageNet's mean and deviation"), "{}", card.description);
    assert!(reasons.iter().any(|reason| reason.field == "input.mean" && reason.basis == Basis::Assumed));
}

#[test]
fn a_card_that_came_with_the_model_is_not_guessed_over() {
    let (card, source, reasons) = card_or_guess(&fixture("tiny_moe.onnx")).unwrap();
    assert_eq!((card.name.as_str(), source, reasons.len()), ("Tiny MoE", CardSource::Metadata, 0));
}

#[test]
fn a_model_that_takes_no_image_needs_a_card() {
    for (name, text) in [("loop.onnx", "none of its inputs takes an image"), ("casts.onnx", "x is float32 [3]")] {
        let error = card_or_guess(&fixture(name)).unwrap_err().to_string();
        assert!(error.contains(text) && error.contains("card.json"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..Default::default() })]

    /// Whatever is in the file, reading it ends with a description or an error.
    #[test]
    fn damaged_models_do_no_harm(at in 0..8044_usize, bytes in prop::collection::vec(any::<u8>(), 1..8), cut in 0..=8044_usize) {
        let mut model = fs::read(fixture("tiny_moe.onnx")).unwrap();
        let end = (at + bytes.len()).min(model.len());
        model[at..end].copy_from_slice(&bytes[..end - at]);
        model.truncate(cut.max(4096));
        let (path, file) = (Path::new("model.onnx"), Bytes::from(model));
        if let (Ok(description), Ok(model)) = (describe_model(path, &file), decode_model(path, &file)) {
            let routers = routers_of(&model);
            let _ = description.card_or_guess(&model, &routers);
            let _ = guess(&description, &model, &routers);
        }
    }
}
