//! A person's way through the window, by the labels that a person (or a screen reader) finds there.
//! The real default model runs through the real ONNX Runtime; Mesa's lavapipe or a real adapter draws.
#![cfg(feature = "gui")]

#[path = "window/card_sheet.rs"]
mod card_sheet;
#[path = "window/change_routing.rs"]
mod change_routing;
#[path = "window/choose_router.rs"]
mod choose_router;
#[path = "window/missing_weights.rs"]
mod missing_weights;
#[path = "window/model_sheet.rs"]
mod model_sheet;
#[path = "window/parity_view.rs"]
mod parity_view;
#[path = "window/rows.rs"]
mod rows;
#[path = "window/settle.rs"]
mod settle;

use egui::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use moescope::engine::{Engine, EngineOptions};
use moescope::ui::app::{App, Start};
use moescope::ui::command::Command;
use moescope::ui::settings::Settings;
use settle::settle;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/default/moescope-default.onnx")
}

fn window_with(start: Start) -> Harness<'static, App> {
    let mut harness = Harness::builder().with_size([1280.0, 800.0]).wgpu().build_eframe(move |cc| {
        App::new(cc, Arc::new(Engine::start(EngineOptions::default())), &start, Settings::default(), None)
            .expect("threads")
    });
    settle(&mut harness);
    harness
}

/// The window as it opens for a new user.
fn window() -> Harness<'static, App> {
    window_with(Start { default_model: Some(model()), layer: Some(0), ..Start::default() })
}

fn click(harness: &mut Harness<'static, App>, label: &str) {
    harness.get_by_label(label).click();
    settle(harness);
}

/// A copy of a model of the repository in a folder of its own, open in the window.
fn open_copy(harness: &mut Harness<'static, App>, file: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.onnx");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), &model).expect("a file");
    harness.state().send(Command::OpenPaths(vec![model.clone()]));
    settle(harness);
    (folder, model)
}

/// Draws frames until `is_there`: some work is done apart from the window.
fn wait_for(harness: &mut Harness<'static, App>, is_there: impl Fn(&Harness<'static, App>) -> bool) {
    let start = Instant::now();
    while !is_there(harness) {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", harness.state().state().notices);
        std::thread::sleep(Duration::from_millis(5));
        harness.step();
    }
    settle(harness);
}

fn best(harness: &Harness<'static, App>) -> (String, f32) {
    let shown = harness.state().state().shown().expect("a result");
    let best = &shown.analysis.predictions[0];
    (best.label.clone(), best.probability)
}

/// The texts of all nodes, to look for one that contains a part.
fn has_text(harness: &Harness<'static, App>, part: &str) -> bool {
    harness.query_all_by_label_contains(part).next().is_some()
}

#[test]
fn opens_on_a_classified_sample_in_a_middle_layer() {
    let harness = window_with(Start { default_model: Some(model()), ..Start::default() });
    let (label, probability) = best(&harness);
    harness.get_by_label(&format!("{label}: {:.1} %", probability * 100.0));
    harness.get_by_label("Heatmap: Chosen expert, layer 3");
    assert!(harness.state().state().notices.is_empty(), "{:?}", harness.state().state().notices);
}

#[test]
fn another_sample_brings_another_prediction() {
    let mut harness = window();
    let before = best(&harness);
    let other = moescope::input::SAMPLES[1];
    click(&mut harness, &format!("Sample {}", other.title));
    let after = best(&harness);
    assert_ne!(before, after);
    harness.get_by_label(&format!("{}: {:.1} %", after.0, after.1 * 100.0));
    harness.get_by_label(&format!("Image {}", other.title));
    harness.key_press(egui::Key::ArrowLeft);
    settle(&mut harness);
    assert_eq!(best(&harness), before, "the arrow leads back to the first image");
}

#[test]
fn another_layer_brings_another_chart() {
    let mut harness = window();
    let layers = harness.state().state().shown().expect("a result").analysis.trace.layers.clone();
    assert!(layers.len() >= 4, "the default model has at least four MoE layers");
    harness.get_by_label("Load · layer 1");
    click(&mut harness, &format!("Layer 3: {}", layers[2].name()));
    harness.get_by_label("Load · layer 3");
    harness.get_by_label("Heatmap: Chosen expert, layer 3");
    harness.key_press(egui::Key::PageDown);
    settle(&mut harness);
    harness.get_by_label("Load · layer 4");
}

#[test]
fn top_k_runs_the_model_again_and_everything_follows() {
    let mut harness = window();
    let before = best(&harness);
    harness.key_press(egui::Key::CloseBracket);
    harness.step();
    assert_eq!(best(&harness), before, "the old result stays until the new one is there");
    settle(&mut harness);
    let shown = harness.state().state().shown().expect("a result");
    assert_eq!(shown.analysis.top_k, Some(3));
    let patches = shown.analysis.grid_or_whole(moescope::routing::LayerIdx(0)).num_patches() as u64;
    for (layer, stats) in shown.analysis.trace.layers.iter().zip(&shown.analysis.layers) {
        assert_eq!(layer.top_k(), 3);
        assert_eq!(stats.balance.load.iter().sum::<u64>(), patches * 3, "{}", layer.name());
    }
    assert_ne!(best(&harness).1, before.1, "the model was run again, so its probabilities changed");
    harness.get_by_label("k = 3: shown");
    click(&mut harness, "default 2");
    assert_eq!(best(&harness), before, "the default brings back the first result");
}

#[test]
fn a_small_multiple_becomes_the_shown_one() {
    let mut harness = window();
    let multiple = harness.state().state().results.multiples().last().expect("a row of multiples").clone();
    assert_eq!(multiple.top_k, 8);
    let changed = multiple.changed[0].expect("comparable").common_ranks_changed_share;
    assert_eq!(changed, 0.0, "no layer comes before the first, so its first choices cannot change");
    click(&mut harness, "k = 8: 0 % differ");
    assert_eq!(harness.state().state().shown().expect("a result").analysis.top_k, Some(8));
}

#[test]
fn a_clicked_patch_stays_in_the_inspector() {
    let mut harness = window();
    let picture = harness.get_by_label("Heatmap: Chosen expert, layer 1").rect();
    harness.hover_at(picture.center());
    harness.run_steps(2);
    assert!(has_text(&harness, "gate probability"), "the inspector shows the patch under the pointer");
    harness.get_by_label("Heatmap: Chosen expert, layer 1").click();
    harness.run_steps(3);
    let pinned = harness.state().state().view.pinned.expect("a pinned patch");
    harness.hover_at(egui::pos2(5.0, 5.0));
    harness.run_steps(3);
    let layer = harness.state().state().shown_layer().expect("a layer");
    let (expert, weight) = (layer.experts_of(pinned)[0].0, layer.weights_of(pinned)[0]);
    let probability = layer.gate_probs_of(pinned)[expert as usize];
    harness.get_by_label(&format!(
        "Expert {expert}: gate probability {probability:.4}, chosen at rank 1, combine weight {weight:.4}"
    ));
    click(&mut harness, "Unpin");
    assert_eq!(harness.state().state().view.pinned, None);
}

#[test]
fn the_pin_is_moved_by_the_keyboard() {
    let mut harness = window();
    let pinned = |harness: &Harness<'static, App>| {
        let state = harness.state().state();
        let grid = state.shown().expect("a result").analysis.grid_or_whole(moescope::routing::LayerIdx(0));
        state.view.pinned.map(|patch| grid.row_col(patch))
    };
    harness.key_press_modifiers(egui::Modifiers::SHIFT, egui::Key::ArrowDown);
    settle(&mut harness);
    assert_eq!(pinned(&harness), Some((7, 7)), "the first press pins the middle");
    for (key, expected) in [(egui::Key::ArrowRight, (7, 8)), (egui::Key::ArrowUp, (6, 8))] {
        harness.key_press_modifiers(egui::Modifiers::SHIFT, key);
        settle(&mut harness);
        assert_eq!(pinned(&harness), Some(expected), "after {key:?}");
    }
    harness.get_by_label("Patch (6, 8)");
    harness.get_by_label("Load · layer 1");
}

#[test]
fn an_expert_of_the_legend_is_lit_alone() {
    let mut harness = window();
    click(&mut harness, "Expert 2");
    assert_eq!(harness.state().state().view.lit_expert.map(|expert| expert.0), Some(2));
    click(&mut harness, "Light all");
    assert_eq!(harness.state().state().view.lit_expert, None);
}

#[test]
fn bad_files_end_in_a_message_and_leave_the_picture() {
    let mut harness = window();
    let before = best(&harness);
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.png");
    fs::write(&empty, b"").expect("a file");
    let text = folder.path().join("text.onnx");
    fs::write(&text, b"this is no model").expect("a file");
    for path in [folder.path().join("missing.jpg"), folder.path().to_owned(), empty, text] {
        harness.state().send(Command::OpenPaths(vec![path.clone()]));
        settle(&mut harness);
        let state = harness.state().state();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let notice = state.notices.last().expect("a message");
        assert!(notice.title.contains(&name) && notice.details.len() > 10, "{notice:?} for {name}");
        assert_eq!(best(&harness), before, "what was shown stays after {name}");
        harness.get_by_label(&harness.state().state().notices.last().expect("a message").title.clone());
        click(&mut harness, "Dismiss");
        assert!(harness.state().state().notices.is_empty());
    }
}

/// A file as the system hands it over when it is dropped on the window.
#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        fs::read(&self.0).map_err(|error| error.to_string())
    }
}

#[test]
fn dropped_files_and_pasted_pixels_are_opened() {
    let mut harness = window();
    let sample = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/samples/espresso.jpg");
    harness.input_mut().dropped_files.push(Arc::new(Dropped(sample)));
    harness.step();
    settle(&mut harness);
    harness.get_by_label("Image espresso.jpg");
    let dropped = best(&harness);

    let pixels = Arc::new(egui::ColorImage::filled([300, 200], egui::Color32::from_rgb(200, 30, 30)));
    harness.event(egui::Event::PasteImage(pixels));
    harness.step();
    settle(&mut harness);
    harness.get_by_label("Image Pasted image 1");
    let shown = harness.state().state().shown().expect("a result");
    assert_eq!((shown.analysis.image.width, &shown.analysis.image.rgba[..4]), (300, &[200, 30, 30, 255][..]));
    assert_ne!(best(&harness), dropped);
}

#[test]
fn a_typed_path_is_opened() {
    let mut harness = window();
    let sample = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/samples/espresso.jpg");
    let path_box = harness.get_by_label("Path of an image or model");
    path_box.focus();
    path_box.type_text(&sample.display().to_string());
    harness.run_steps(2);
    harness.key_press(egui::Key::Enter);
    settle(&mut harness);
    harness.get_by_label("Image espresso.jpg");
}

#[test]
fn images_of_extreme_shapes_are_shown() {
    let mut harness = window();
    let folder = tempfile::tempdir().expect("a folder");
    for (width, height) in [(1, 1), (20_000, 50)] {
        let path = folder.path().join(format!("{width}.png"));
        image::RgbImage::from_pixel(width, height, image::Rgb([90, 160, 40])).save(&path).expect("a file");
        harness.state().send(Command::OpenPaths(vec![path]));
        settle(&mut harness);
        let state = harness.state().state();
        assert_eq!(state.shown().expect("a result").analysis.image.width, width);
        assert!(state.notices.is_empty(), "{:?}", state.notices);
        harness.render().expect("a picture");
    }
}

#[test]
fn a_classifier_without_card_says_what_it_assumes() {
    let mut harness = window();
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/tiny_classifier.onnx");
    harness.state().send(Command::OpenPaths(vec![model]));
    settle(&mut harness);
    assert!(harness.state().state().shown().expect("a result").analysis.trace.layers.is_empty());
    harness.get_by_label("Preprocessing assumed: this model has no card");
    harness.get_by_label("This model has no routers");
    harness.key_press(egui::Key::CloseBracket);
    harness.key_press(egui::Key::ArrowDown);
    settle(&mut harness);
    assert!(harness.state().state().notices.is_empty());
}

#[test]
fn without_the_library_the_window_opens_and_says_what_to_do() {
    let start = Start { default_model: Some(model()), ..Start::default() };
    let mut harness = Harness::builder().with_size([1280.0, 800.0]).wgpu().build_eframe(move |cc| {
        let engine =
            Engine::start(EngineOptions { library: Some("no-such-library.so".into()), ..EngineOptions::default() });
        App::new(cc, Arc::new(engine), &start, Settings::default(), None).expect("threads")
    });
    settle(&mut harness);
    let state = harness.state().state();
    let notice = state.notices.last().expect("a message");
    assert!(notice.details.contains("no-such-library.so"), "{notice:?}");
    assert!(state.decoded.is_some(), "the photo is shown all the same");
}

#[test]
fn the_sheet_of_shortcuts_opens_and_closes() {
    let mut harness = window();
    click(&mut harness, "?");
    harness.get_by_label("Show or hide the heatmap");
    click(&mut harness, "Close");
    assert!(harness.query_by_label("Show or hide the heatmap").is_none());
    for key in [egui::Key::F1, egui::Key::Escape] {
        harness.key_press(key);
        settle(&mut harness);
        assert_eq!(harness.state().state().sheet.is_some(), key == egui::Key::F1, "after {key:?}");
    }
}

fn assert_controls_have_names(harness: &Harness<'static, App>) {
    let controls = [Role::Button, Role::CheckBox, Role::ComboBox, Role::Slider, Role::TextInput, Role::Image];
    let nameless: Vec<String> = harness
        .root()
        .children_recursive()
        .filter(|node| controls.contains(&node.accesskit_node().role()))
        .filter(|node| node.accesskit_node().label().is_none_or(|label| label.trim().is_empty()))
        .filter(|node| node.accesskit_node().labelled_by().next().is_none())
        .map(|node| format!("{:?} at {:?}", node.accesskit_node().role(), node.rect()))
        .collect();
    assert!(nameless.is_empty(), "{nameless:#?}");
}

#[test]
fn every_control_has_a_name() {
    assert_controls_have_names(&window());
}

#[test]
fn a_window_at_rest_asks_for_no_frames() {
    let mut harness = window();
    harness.remove_cursor();
    // Small pictures of the samples may still arrive, each with a frame of its own; then nothing may ask for one.
    let start = Instant::now();
    let mut frames_at_rest = 0;
    while frames_at_rest < 10 {
        let delays = harness.output().viewport_output.values().map(|output| output.repaint_delay);
        let delay = delays.min().expect("a viewport");
        frames_at_rest = if delay > Duration::from_secs(60) { frames_at_rest + 1 } else { 0 };
        assert!(start.elapsed() < Duration::from_secs(60), "still asks for a frame in {delay:?}");
        std::thread::sleep(Duration::from_millis(20));
        harness.step();
    }
}

#[test]
fn every_scale_and_theme_is_drawn() {
    let mut harness = window();
    for theme in [egui::ThemePreference::Light, egui::ThemePreference::Dark] {
        for zoom in [1.0, 2.0] {
            harness.state().send(Command::SetTheme(theme));
            harness.state().send(Command::SetZoom(zoom));
            settle(&mut harness);
            let picture = harness.render().expect("a picture");
            let colors: std::collections::HashSet<_> = picture.pixels().map(|pixel| pixel.0).collect();
            assert!(colors.len() > 500, "{theme:?} at {zoom}: only {} colours", colors.len());
        }
    }
}
