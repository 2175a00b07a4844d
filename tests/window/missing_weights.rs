//! A model whose weights are in another file that is not there: the message offers to put it there.

use super::{best, click, wait_for, window};
use egui_kittest::kittest::Queryable;
use moescope::model::proto::{ModelProto, StringStringEntryProto, TensorProto};
use moescope::ui::command::Command;
use moescope::ui::state::MissingFile;
use prost::Message;
use std::fs;
use std::path::Path;

/// The tiny classifier with its largest weight in `weights.bin`, and the bytes of that file.
fn with_external_weight(model: &Path) -> Vec<u8> {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/tiny_classifier.onnx");
    let mut proto = ModelProto::decode(&fs::read(tiny).expect("a model")[..]).expect("an ONNX model");
    let weights = &mut proto.graph.as_mut().expect("a graph").initializer;
    let weight = weights.iter_mut().max_by_key(|weight| weight.raw_data.as_deref().map_or(0, <[u8]>::len));
    let weight = weight.expect("a weight");
    let data = weight.raw_data.take().expect("raw data").to_vec();
    let location = StringStringEntryProto { key: "location".into(), value: "weights.bin".into() };
    (weight.data_location, weight.external_data) = (Some(TensorProto::EXTERNAL), vec![location]);
    fs::write(model, proto.encode_to_vec()).expect("a file");
    data
}

#[test]
fn missing_weights_are_named_and_the_model_opens_once_they_are_there() {
    let mut harness = window();
    let before = best(&harness);
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.onnx");
    let weights = with_external_weight(&model);
    harness.state().send(Command::OpenPaths(vec![model.clone()]));
    super::settle(&mut harness);
    harness.get_by_label("Locate…");
    let details = harness.state().state().notices[0].details.clone();
    assert!(details.contains("weights.bin") && details.contains(&folder.path().display().to_string()), "{details}");
    assert_eq!(best(&harness), before, "what was shown stays");
    click(&mut harness, "Try again");
    harness.get_by_label("Locate…");
    fs::write(folder.path().join("weights.bin"), weights).expect("a file");
    click(&mut harness, "Try again");
    let state = harness.state().state();
    assert!(state.notices.is_empty(), "{:?}", state.notices);
    assert_eq!(state.model.open.as_ref().map(|open| open.path.clone()), Some(model));
    assert_ne!(best(&harness), before);
}

#[test]
fn a_located_file_is_copied_and_its_model_opens() {
    let mut harness = window();
    let folder = tempfile::tempdir().expect("a folder");
    let [model, place, found] = ["model.onnx", "weights.bin", "found.bin"].map(|name| folder.path().join(name));
    fs::write(&found, with_external_weight(&model)).expect("a file");
    let missing = MissingFile { model: model.clone(), place };
    harness.state().send(Command::PlaceFile(missing, found));
    wait_for(&mut harness, |harness| harness.state().state().model.wanted.as_ref() == Some(&model));
    let state = harness.state().state();
    assert_eq!(state.model.open.as_ref().map(|open| open.path.clone()), Some(model));
    assert!(state.copying.is_none() && state.notices.is_empty(), "{:?}", state.notices);
}
