//! The page with models of the zoo and the tensors that their graphs have; nothing is run.

use super::super::tests::{open, zoo};
use super::super::{ModelUi, model_ui};
use super::*;
use crate::model::geometry::{gates, meant};
use crate::model::routers::{GateValues, GatingRule};
use crate::model::{decode_model, map_file};
use crate::ui::panels::testing::Alone;
use crate::ui::settings::Settings;
use crate::ui::state::AppState;
use egui::Key;
use egui_kittest::kittest::Queryable;

/// The page about a row of the zoo, as it is once its tensors are listed.
fn page(row: &str) -> (Alone, Arc<OpenModel>) {
    let mut model = open(&zoo(row));
    let decoded = decode_model(&model.path, &map_file(&model.path).unwrap()).unwrap();
    (model.card, model.card_source, model.reasons) = model.description.card_or_guess(&decoded, &model.routers).unwrap();
    let model = Arc::new(model);
    let listed = gates(&decoded, &model.card, &model.routers).unwrap();
    let mut state = AppState::new(Settings::default(), None);
    state.model.open = Some(Arc::clone(&model));
    state.sheet = Some(Sheet::Model);
    let mut local = ModelUi::default();
    local.choose.listed = Some((Arc::clone(&model), Listing::Here(Arc::new(listed))));
    let mut alone = Alone::new(state, local, |ui, ctx, local| model_ui(ui, ctx, local));
    alone.click("Choose a router yourself");
    (alone, model)
}

/// The layer that a click on the button would keep.
fn saved(page: &mut Alone) -> LayerCard {
    page.click("Save and show");
    match page.sent().last() {
        Some(Command::SaveCard(_, card)) => card.layers.last().unwrap().clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tensor_is_found_picked_and_told_what_it_is_by_the_keyboard_alone() {
    let (mut page, _) = page("mixtral");
    page.harness.get_by_label("Search tensors").focus();
    page.harness.run_steps(2);
    page.harness.get_by_label("Search tensors").type_text("blocks.1 router gate matmul");
    page.harness.run_steps(3);
    assert!(page.has("1 of "), "one tensor is meant");
    page.harness.key_press(Key::Enter);
    page.harness.run_steps(3);
    assert!(page.has("the tokens are the 4 × 4 patches") && page.has("already: it would be shown twice"));
    let layer = saved(&mut page);
    assert_eq!(layer.gate(), Some(("/blocks.1/mlp/router/gate/MatMul_output_0", GateValues::Logits)));
    assert_eq!((layer.num_experts, layer.top_k, layer.chosen_by_hand), (8, Some(2), true));
    assert_eq!(layer.rule, Some(GatingRule::TopKThenSoftmax));
}

#[test]
fn what_a_person_says_is_what_is_kept() {
    let (mut page, model) = page("dense-sovit");
    assert!(model.card.layers.is_empty());
    let first = page.harness.query_all_by_label_contains("Tensor ").next().unwrap();
    first.click();
    page.harness.run_steps(3);
    page.harness.get_by_label_contains("Rule: ").click();
    page.harness.run_steps(3);
    page.click("sigmoid, then top-k, renormalised");
    page.harness.get_by_label_contains("It holds: ").click();
    page.harness.run_steps(3);
    page.click("probabilities");
    let layer = saved(&mut page);
    assert_eq!(layer.rule, Some(GatingRule::SigmoidThenTopKRenormalized));
    assert!(matches!(layer.gate(), Some((_, GateValues::Probabilities))) && layer.top_k.is_some());
}

#[test]
fn what_was_assumed_stays_marked_and_a_layer_can_be_taken_out_again() {
    let (mut page, model) = page("mixtral");
    page.harness.query_all_by_label_contains("Tensor ").next().unwrap().click();
    page.harness.run_steps(3);
    page.click("Save and show");
    let Some(Command::SaveCard(_, card)) = page.sent().last().cloned() else { panic!("nothing was saved") };
    let assumed = model.reasons.iter().filter(|reason| reason.is_assumed() && reason.field.starts_with("input"));
    assert!(assumed.clone().count() > 0 && assumed.clone().all(|reason| card.assumed.contains(reason)));

    // Opened with it, the page lists the layer.
    let name = card.layers.last().unwrap().name.clone();
    let open = Arc::new(OpenModel { card: (*card).clone(), ..(*model).clone() });
    page.state().model.open = Some(open);
    page.harness.run_steps(3);
    page.click(&format!("Remove {name}"));
    let Some(Command::SaveCard(_, without)) = page.sent().last() else { panic!("nothing was saved") };
    assert!(without.layers.iter().all(|layer| !layer.chosen_by_hand) && without.layers.len() + 1 == card.layers.len());
}

#[test]
fn words_mean_names_operators_and_sizes() {
    let (page, model) = page("mixtral");
    drop(page);
    let decoded = decode_model(&model.path, &map_file(&model.path).unwrap()).unwrap();
    let listed = gates(&decoded, &model.card, &model.routers).unwrap();
    let found = |words: &str| meant(&listed, words);
    assert_eq!(found("").len(), listed.len());
    let gate = found("blocks.1 router gate matmul");
    assert_eq!(
        gate.iter().map(|&at| listed[at].path.as_str()).collect::<Vec<_>>(),
        ["/blocks.1/mlp/router/gate/MatMul_output_0"]
    );
    assert!(found("blk1mlprtgate").contains(&gate[0]), "letters may be left out");
    assert!((1..listed.len()).contains(&found("[16, 8]").len()) && found("no such tensor, zzz").is_empty());
}
