//! Files that end ONNX Runtime by a signal or keep it busy for good, opened one after another in one window.
#![cfg(feature = "gui")]

#[path = "window/settle.rs"]
mod settle;

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use moescope::engine::{Engine, EngineOptions, Isolation, Limits};
use moescope::ui::app::{App, Start};
use moescope::ui::command::Command;
use moescope::ui::settings::Settings;
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

fn window() -> Harness<'static, App> {
    let default_model = Some(root().join("models/default/moescope-default.onnx"));
    let start = Start { default_model, ..Start::default() };
    let isolation = Isolation::Process { program: env!("CARGO_BIN_EXE_moescope").into() };
    let deadline = Duration::from_secs(10);
    let limits = Limits { load: deadline, run: deadline, ..Limits::default() };
    let options = EngineOptions { isolation, limits, ..EngineOptions::default() };
    let harness = Harness::builder().with_size([1280.0, 800.0]).wgpu();
    harness.build_eframe(move |cc| {
        App::new(cc, Arc::new(Engine::start(options)), &start, Settings::default(), None).expect("threads")
    })
}

#[test]
fn every_hostile_model_ends_in_a_message_and_the_next_good_one_works() {
    let mut harness = window();
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
