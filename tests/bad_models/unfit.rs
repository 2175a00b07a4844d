//! Valid models that cannot be used here: ONNX Runtime does not take them, or nothing tells how they are fed.

use super::builder::{STRING, function, node, value, write};
use moescope::analysis::OpenModel;
use moescope::engine::{Engine, EngineOptions, Execution};
use moescope::model::proto::{FunctionProto, ModelProto, NodeProto, OperatorSetIdProto};
use moescope::model::read_model;
use prost::Message;
use std::fs;
use std::path::Path;

/// A classifier that needs no card, changed.
fn classifier(change: impl FnOnce(&mut ModelProto)) -> ModelProto {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/tiny_classifier.onnx");
    let mut model = ModelProto::decode(fs::read(path).unwrap().as_slice()).unwrap();
    change(&mut model);
    model
}

#[test]
fn what_onnx_runtime_does_not_take_is_listed_with_what_it_takes() {
    let engine = Engine::start(EngineOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let first = |model: &mut ModelProto| -> NodeProto { model.graph.as_mut().unwrap().node[0].clone() };
    let rename = |model: &mut ModelProto, at: usize, domain: &str, operator: &str| {
        let node = &mut model.graph.as_mut().unwrap().node[at];
        (node.domain, node.op_type) = (domain.into(), operator.into());
    };
    let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version };
    let cases = [
        (
            classifier(|model| model.ir_version = 14),
            "newer ONNX Runtime: it was written with the file format's IR version 14, and this version takes up to 13",
        ),
        (
            classifier(|model| model.opset_import[0].version = 27),
            "operator set ai.onnx 27, and this version takes up to 26",
        ),
        (
            classifier(|model| model.opset_import.push(opset("ai.onnx.ml", 9))),
            "operator set ai.onnx.ml 9, and this version takes up to 5",
        ),
        (
            classifier(|model| {
                rename(model, 0, "my.ops", "Fancy");
                rename(model, 1, "com.microsoft", "Frobnicate");
                model.opset_import.push(opset("my.ops", 3));
            }),
            "does not know: com.microsoft.Frobnicate, my.ops.Fancy. Libraries of custom operators are never loaded",
        ),
        (
            classifier(|model| {
                rename(model, 1, "", "Swish");
                let fancy = NodeProto { op_type: "Fancy".into(), attribute: vec![], ..first(model) };
                let body = FunctionProto { domain: "mine".into(), ..function("F", vec![fancy]) };
                model.functions = vec![body, function("Unused", vec![node("Ignored", &["a"], &["b"])])];
                rename(model, 0, "mine", "F");
                model.opset_import.push(opset("mine", 1));
            }),
            "does not know: Fancy, Swish (since operator set 24; the model asks for 17). ",
        ),
    ];
    for (model, text) in cases {
        let path = write(folder.path(), &model);
        let error = OpenModel::open(&engine, &path, &Execution::default()).unwrap_err().to_string();
        assert!(error.starts_with(path.to_str().unwrap()) && error.contains(text), "{error}");
    }
}

#[test]
fn what_a_graph_does_not_tell_is_asked_for() {
    let engine = Engine::start(EngineOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let inputs = |model: &mut ModelProto| model.graph.as_mut().unwrap().input.len();
    let cases = [
        (
            classifier(|model| model.graph.as_mut().unwrap().input.clear()),
            "has no model card, and it has no inputs that an image could be given to. Write a card to",
        ),
        (
            classifier(|model| {
                assert_eq!(inputs(model), 1);
                model.graph.as_mut().unwrap().input.push(value("words", STRING, &[1]));
            }),
            "has no model card, and what its graph says is not enough: inputs[0]: words is string [1]",
        ),
    ];
    for (model, text) in cases {
        let path = write(folder.path(), &model);
        let error = OpenModel::open(&engine, &path, &Execution::default()).unwrap_err().to_string();
        assert!(error.starts_with(path.to_str().unwrap()) && error.contains(text), "{error}");
    }
}

/// Reading what never ends would keep the window from opening anything else.
#[cfg(unix)]
#[test]
fn a_card_that_is_no_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &classifier(|_| {}));
    let card = folder.path().join("model.card.json");
    assert!(std::process::Command::new("mkfifo").arg(&card).status().unwrap().success());
    let refused = || read_model(&path).unwrap().card().unwrap_err().to_string();
    assert!(refused().contains("model.card.json is not valid: it is not a regular file"), "{}", refused());
    fs::remove_file(&card).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &card).unwrap();
    assert!(refused().contains("it is not a regular file"), "{}", refused());
}
