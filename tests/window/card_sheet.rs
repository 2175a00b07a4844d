//! A model without a card: what was assumed is looked at, corrected, and kept as a card beside the model.

use super::{best, click, has_text, open_copy, settle::settle, wait_for, window};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use moescope::model::geometry::Normalization;
use moescope::model::{CardSource, read_model};
use moescope::ui::app::App;
use std::fs;

const WARNING: &str = "Preprocessing assumed: this model has no card";

fn has_card(harness: &Harness<'static, App>) -> bool {
    let open = harness.state().state().model.open.as_ref();
    open.is_some_and(|open| matches!(open.card_source, CardSource::Sidecar(_)))
}

#[test]
fn an_assumed_normalisation_is_corrected_and_kept() {
    let mut harness = window();
    let (folder, model) = open_copy(&mut harness, "tests/fixtures/models/tiny_classifier.onnx");
    let before = best(&harness);
    click(&mut harness, WARNING);
    super::assert_controls_have_names(&harness);
    click(&mut harness, "Normalisation: ImageNet");
    click(&mut harness, "0…255");
    click(&mut harness, "Save card");
    wait_for(&mut harness, has_card);

    let (card, source) = read_model(&model).expect("a model").card().expect("a card");
    assert_eq!(source, CardSource::Sidecar(folder.path().join("model.card.json")));
    assert_eq!((card.input.mean, card.input.std), (Normalization::ZERO_TO_255.mean, Normalization::ZERO_TO_255.std));
    assert!(harness.query_by_label(WARNING).is_none());
    harness.get_by_label("This card is model.card.json, beside the model.");
    harness.get_by_label("Normalisation: 0…255");
    assert_ne!(best(&harness), before, "the predictions follow");
    assert!(harness.state().state().notices.is_empty(), "{:?}", harness.state().state().notices);
    click(&mut harness, "Close");
    assert!(harness.query_by_label("Save card").is_none());
}

#[test]
fn a_guess_that_is_saved_as_it_is_changes_no_routing() {
    let mut harness = window();
    for row in ["swin-moe", "mixtral"] {
        let _copy = open_copy(&mut harness, &format!("models/zoo/rows/{row}/model.onnx"));
        let shown = |harness: &Harness<'static, App>| {
            let shown = harness.state().state().shown().expect("a result");
            (shown.analysis.trace.clone(), shown.analysis.places.clone(), shown.analysis.logits.clone())
        };
        let before = shown(&harness);
        assert!(!has_card(&harness) && !before.0.layers.is_empty());
        if harness.query_by_label("Save card").is_none() {
            harness.key_press(egui::Key::M);
            settle(&mut harness);
        }
        click(&mut harness, "Save card");
        wait_for(&mut harness, has_card);
        assert!(shown(&harness) == before, "{row}");
        assert!(harness.state().state().notices.is_empty(), "{:?}", harness.state().state().notices);
    }
}

#[test]
fn a_card_that_cannot_be_written_is_told() {
    let mut harness = window();
    let (folder, _) = open_copy(&mut harness, "tests/fixtures/models/tiny_classifier.onnx");
    fs::create_dir(folder.path().join("model.card.json")).expect("a folder in the way");
    click(&mut harness, WARNING);
    click(&mut harness, "Save card");
    wait_for(&mut harness, |harness| has_text(harness, "The card of model.onnx was not saved"));
    harness.get_by_label(WARNING);
}
