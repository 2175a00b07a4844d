//! A router that a person chooses by its tensor, in the window: looked for, picked, saved, seen, and taken out again.

use super::{click, has_text, open_copy, settle::settle, wait_for, window};
use egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use moescope::routing::LayerRouting;
use moescope::ui::app::App;
use moescope::ui::command::Command;

fn layers(harness: &Harness<'static, App>) -> Vec<LayerRouting> {
    harness.state().state().shown().expect("a result").analysis.trace.layers.clone()
}

/// Opens the page, looks for `words`, and picks the first tensor.
fn pick(harness: &mut Harness<'static, App>, words: &str) {
    harness.key_press(Key::I);
    settle(harness);
    click(harness, "Choose a router yourself");
    wait_for(harness, |harness| harness.query_by_label("Search tensors").is_some());
    super::assert_controls_have_names(harness);
    harness.get_by_label("Search tensors").focus();
    harness.run_steps(2);
    harness.get_by_label("Search tensors").type_text(words);
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    super::assert_controls_have_names(harness);
}

#[test]
fn a_chosen_tensor_is_shown_as_the_router_that_it_is_and_taken_out_again() {
    let mut harness = window();
    let _folder = open_copy(&mut harness, "models/zoo/rows/mixtral/model.onnx");
    let before = layers(&harness);
    pick(&mut harness, "blocks.1 router gate matmul");
    assert!(has_text(&harness, "the tokens are the 4 × 4 patches"));
    click(&mut harness, "Save and show");
    wait_for(&mut harness, |harness| layers(harness).len() == before.len() + 1);
    settle(&mut harness);
    let state = harness.state().state();
    assert_eq!((state.view.layer.0, state.sheet), (before.len(), None), "the layer is shown");
    assert!(state.notices.is_empty(), "{:?}", state.notices);
    let (after, found) = (layers(&harness), &before[1]);
    let chosen = &after[before.len()];
    assert_eq!(&after[..before.len()], &before[..], "the others are as they were");
    for patch in found.patches() {
        assert_eq!(chosen.experts_of(patch), found.experts_of(patch), "{patch:?}");
        let weights = chosen.weights_of(patch).iter().zip(found.weights_of(patch));
        assert!(weights.clone().all(|(a, b)| (a - b).abs() < 1e-5), "{patch:?}");
    }
    harness.get_by_label("Chosen by hand");
    harness.get_by_label("Experts and weights are worked out from the logits");

    harness.key_press(Key::I);
    settle(&mut harness);
    let name = harness.state().state().model.open.as_ref().expect("a model").card.layers.last().expect("a layer");
    let remove = format!("Remove {}", name.name);
    wait_for(&mut harness, |harness| harness.query_by_label(&remove).is_some());
    click(&mut harness, &remove);
    wait_for(&mut harness, |harness| layers(harness).len() == before.len());
    assert_eq!(layers(&harness), before);
}

#[test]
fn a_dense_model_shows_what_a_person_chooses() {
    let mut harness = window();
    let _folder = open_copy(&mut harness, "models/zoo/rows/dense-sovit/model.onnx");
    assert!(layers(&harness).is_empty());
    pick(&mut harness, "blocks.0 mlp up matmul");
    click(&mut harness, "Save and show");
    wait_for(&mut harness, |harness| !layers(harness).is_empty());
    harness.get_by_label("Chosen by hand");
    assert!(harness.state().state().notices.is_empty(), "{:?}", harness.state().state().notices);
}

/// A size that turns out to be another one when the model runs: what was there before stays, and the reason is told.
#[test]
fn a_wrong_choice_is_told_and_changes_no_other_layer() {
    let mut harness = window();
    let _folder = open_copy(&mut harness, "models/zoo/rows/mixtral/model.onnx");
    let before = layers(&harness);
    let open = harness.state().state().model.open.clone().expect("a model");
    let mut card = open.card.clone();
    card.top_k = None;
    let mut wrong = card.layers[0].clone();
    (wrong.router, wrong.chosen_by_hand, wrong.name) = (None, true, "a wrong one".to_owned());
    // A product of the first block, which has no five columns.
    let mut products = open.description.inner_tensors.iter().filter(|name| name.contains("MatMul"));
    wrong.gate_logits = products.find(|name| name.contains("blocks.0")).cloned();
    wrong.num_experts = 5;
    card.layers.push(wrong);
    harness.state().send(Command::SaveCard(open, Box::new(card)));
    wait_for(&mut harness, |harness| !harness.state().state().notices.is_empty());
    let notices = format!("{:?}", harness.state().state().notices);
    assert!(notices.contains("a wrong one") && notices.contains("experts"), "{notices}");
    assert_eq!(layers(&harness), before);
}
