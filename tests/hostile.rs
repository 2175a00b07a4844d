//! Files that end ONNX Runtime by a signal or keep it busy for good, opened one after another in one window.
#![cfg(feature = "gui")]

#[path = "window/settle.rs"]
mod settle;

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use moescope::engine::{Engine, EngineOptions, Isolation, Limits};
use moescope::model::ModelCard;
use moescope::model::proto::{ModelProto, StringStringEntryProto, TensorTypeProto, TypeProto, ValueInfoProto};
use moescope::ui::app::{App, Start};
use moescope::ui::command::Command;
use moescope::ui::settings::Settings;
use moescope::ui::state::Notice;
use prost::Message;
use settle::settle;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn hostile_models() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests/hostile_models")).expect("the folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut models: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "onnx")).collect();
    models.sort();
    assert!(models.len() >= 15, "{models:?}");
    models
}

fn window(deadline: Duration) -> Harness<'static, App> {
    let default_model = Some(root().join("models/default/moescope-default.onnx"));
    let start = Start { default_model, ..Start::default() };
    let isolation = Isolation::Process { program: env!("CARGO_BIN_EXE_moescope").into() };
    let limits = Limits { load: deadline, run: deadline, ..Limits::default() };
    let options = EngineOptions { isolation, limits, ..EngineOptions::default() };
    let harness = Harness::builder().with_size([1280.0, 800.0]).wgpu();
    harness.build_eframe(move |cc| {
        App::new(cc, Arc::new(Engine::start(options)), &start, Settings::default(), None).expect("threads")
    })
}

#[test]
fn every_hostile_model_ends_in_a_message_and_the_next_good_one_works() {
    let mut harness = window(Duration::from_secs(10));
    settle(&mut harness);
    let best = |harness: &Harness<'static, App>| {
        harness.state().state().shown().expect("a result").analysis.predictions[0].clone()
    };
    let before = best(&harness);
    for model in hostile_models() {
        harness.state().send(Command::OpenPaths(vec![model.clone()]));
        settle(&mut harness);
        let name = model.file_name().expect("a name").to_string_lossy().into_owned();
        harness.get_by_label(&format!("Could not open the model {name}"));
        assert_eq!(best(&harness), before, "{name}: what was shown stays");
        let first = harness.state().state().notices.iter().position(|notice| notice.title.contains(&name));
        harness.state().send(Command::DismissNotice(first.expect("the notice")));
        settle(&mut harness);
    }
    harness.state().send(Command::OpenDefaultModel);
    harness.state().send(Command::SetTopK(1));
    settle(&mut harness);
    let shown = harness.state().state().shown().expect("a result");
    assert_eq!(shown.analysis.top_k, Some(1), "the bundled model runs on");
    assert!(harness.state().state().notices.is_empty(), "{:?}", harness.state().state().notices);
}

/// The file with a card, without which it would be refused before ONNX Runtime sees it. The first input and output of the
/// graph become what the card says.
fn with_card(file: &Path, folder: &Path) -> PathBuf {
    let mut model = ModelProto::decode(std::fs::read(file).expect("a file").as_slice()).expect("a model");
    let graph = model.graph.as_mut().expect("a graph");
    let floats = TypeProto { tensor_type: Some(TensorTypeProto { elem_type: 1, shape: None }), ..TypeProto::default() };
    let name_of = |end: Option<&mut ValueInfoProto>| {
        let end = end.expect("an input and an output");
        end.r#type = Some(floats.clone());
        end.name.clone()
    };
    let (input, logits) = (name_of(graph.input.first_mut()), name_of(graph.output.first_mut()));
    let weights = |input: &ValueInfoProto| serde_json::json!({"name": input.name, "shape": [5], "fill": 1});
    let card = serde_json::json!({
        "schema": ModelCard::SCHEMA, "name": "hostile", "logits": logits,
        "inputs": graph.input[1..].iter().map(weights).collect::<Vec<_>>(),
        "input": {
            "name": input, "layout": "NCHW", "height": 8, "width": 8, "crop": "none",
            "resize": {"rule": "stretch", "size": 8, "filter": "bilinear"},
            "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
        },
        "grid": {"rows": 1, "cols": 1},
    });
    model.metadata_props =
        vec![StringStringEntryProto { key: ModelCard::METADATA_KEY.into(), value: card.to_string() }];
    let path = folder.join(file.file_name().expect("a name"));
    std::fs::write(&path, model.encode_to_vec()).expect("room");
    path
}

/// Most of the files want what no image is; these two reach ONNX Runtime with one.
#[test]
fn a_window_outlives_models_that_end_their_worker() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut harness = window(Duration::from_secs(10));
    settle(&mut harness);
    for (name, phase) in [("SIGSEGV_7_13412.onnx", "loading"), ("SIGSEGV_7_17159.onnx", "running")] {
        let model = with_card(&root().join("tests/hostile_models").join(name), folder.path());
        harness.state().send(Command::OpenPaths(vec![model]));
        settle(&mut harness);
        harness.render().expect("the window still draws");
        let notices = &harness.state().state().notices;
        let ended = format!("{name} ended its worker process while {phase} (SIGSEGV");
        let said = |notice: &Notice| notice.title.contains(&ended) || notice.details.contains(&ended);
        assert!(notices.iter().any(said), "{name}: {notices:?}");
        while !harness.state().state().notices.is_empty() {
            harness.state().send(Command::DismissNotice(0));
            harness.run_steps(2);
        }
    }
    harness.state().send(Command::OpenDefaultModel);
    settle(&mut harness);
    let shown = harness.state().state().shown().expect("a result");
    assert!(shown.model.path.ends_with("moescope-default.onnx"), "{}", shown.model.path.display());
    assert!(harness.state().state().notices.is_empty(), "{:?}", harness.state().state().notices);
}
