//! The sheet about the model, opened and read as a person does it.

use super::{click, has_text, model, window};
use egui::Key;
use egui_kittest::kittest::Queryable;
use moescope::ui::command::Command as Wish;
use std::path::Path;
use std::process::Command;

#[test]
fn the_sheet_about_the_model_opens_by_its_name_and_by_a_key() {
    let mut harness = window();
    let layers = harness.state().state().model.open.as_ref().expect("a model").layers.len();
    click(&mut harness, &format!("moescope-default · {layers} MoE layers × 8 experts"));
    assert!(has_text(&harness, "Activated for a token at k = 2: "));
    super::assert_controls_have_names(&harness);
    click(&mut harness, "Where its nodes run");
    assert!(has_text(&harness, "nodes on CPU"));
    for (key, open) in [(Key::I, false), (Key::I, true), (Key::PageDown, true), (Key::Escape, false)] {
        harness.key_press(key);
        super::settle(&mut harness);
        assert_eq!(harness.state().state().sheet.is_some(), open, "after {key:?}");
    }
    harness.get_by_label("Load · layer 1");
}

#[test]
fn a_router_of_the_sheet_is_shown_in_the_picture() {
    let mut harness = window();
    harness.key_press(Key::I);
    super::settle(&mut harness);
    let name = harness.state().state().model.open.as_ref().expect("a model").routers.routers[3].name.clone();
    click(&mut harness, &format!("Router 4: {name}"));
    click(&mut harness, "Show in the picture");
    harness.get_by_label("Load · layer 4");
}

#[test]
fn the_copied_json_is_what_the_command_writes() {
    let mut harness = window();
    harness.key_press(Key::I);
    super::settle(&mut harness);
    harness.get_by_label("Copy as JSON").click();
    let mut copied = None;
    for _ in 0..5 {
        harness.step();
        let commands = &harness.output().platform_output.commands;
        copied = copied.or(commands.iter().find_map(|command| match command {
            egui::OutputCommand::CopyText(text) => Some(text.clone()),
            _ => None,
        }));
    }
    let command = Command::new(env!("CARGO_BIN_EXE_moescope")).arg("inspect").arg(model()).arg("--json").output();
    let printed = String::from_utf8(command.expect("the program").stdout).expect("text");
    assert_eq!(copied.expect("a text in the clipboard"), printed.trim_end());
}

/// A k that was edited into the graph counts as one that the file has.
#[test]
fn the_parameters_follow_a_k_that_was_made_changeable() {
    let mut harness = window();
    let row = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/zoo/rows/hf-mixtral-batched-torchscript/model.onnx");
    harness.state().send(Wish::OpenPaths(vec![row]));
    super::settle(&mut harness);
    harness.key_press(Key::I);
    super::settle(&mut harness);
    let model = harness.state().state().model.open.clone().expect("a model");
    let own = model.routers.parameters.activated.expect("a fixed k");
    // Two layers of experts of 16 × 48 + 24 × 16 parameters; the row's own k is 2.
    for (k, activated) in [(2, own), (1, own - 2 * 1152)] {
        harness.state().send(Wish::SetTopK(k));
        super::settle(&mut harness);
        let share = 100.0 * activated as f64 / model.routers.parameters.total as f64;
        let number = format!("{},{:03}", activated / 1000, activated % 1000);
        harness.get_by_label(&format!("Activated for a token at k = {k}: {number} · {share:.0} %"));
    }
}
