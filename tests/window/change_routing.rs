//! Banning an expert and leaving a rank out, as a person does it; and everything that says so until it is reset.

use super::{best, click, has_text, settle, window};
use egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use moescope::routing::PatchIdx;
use moescope::ui::app::App;
use moescope::ui::command::Command;
use std::path::PathBuf;

/// Loads of the experts of the first layer on screen.
fn loads(harness: &Harness<'static, App>) -> Vec<u64> {
    harness.state().state().shown().expect("a result").analysis.layers[0].balance.load.clone()
}

fn press(harness: &mut Harness<'static, App>, key: Key) {
    harness.key_press(key);
    settle(harness);
}

#[test]
fn a_banned_expert_is_gone_and_everything_says_so_until_it_is_reset() {
    let mut harness = window();
    let (before, loads_before) = (best(&harness), loads(&harness));
    let busiest = (0..8).max_by_key(|&expert| loads_before[expert]).expect("an expert");
    assert!(!has_text(&harness, "Changed routing"));
    click(&mut harness, &format!("Expert {busiest}"));
    click(&mut harness, &format!("Ban expert {busiest}"));

    let now = loads(&harness);
    assert_eq!((now[busiest], now.iter().sum::<u64>()), (0, loads_before.iter().sum()), "the others took its patches");
    let after = best(&harness);
    assert_ne!(after, before);
    harness.get_by_label(&format!("{}: {:.1} %", after.0, after.1 * 100.0));
    let notice = format!("Changed routing: expert {busiest} banned in layer 1; not what the model does by itself");
    harness.get_by_label(&notice);
    let unchanged = harness.state().state().results.unchanged().expect("the model as it is").clone();
    assert_eq!(unchanged.outcome.analysis.predictions[0].label, before.0);
    let had = |patch: PatchIdx| {
        let experts = unchanged.outcome.analysis.trace.layers[0].experts_of(patch);
        experts.iter().any(|expert| expert.0 as usize == busiest)
    };
    let share = (0..196).filter(|&patch| had(PatchIdx(patch))).count() as f64 / 196.0 * 100.0;
    assert!(has_text(&harness, &format!("Top-1 {} {:.1} %", before.0, before.1 * 100.0)));
    assert!(has_text(&harness, &format!("Patches with other experts: layer 1 {share:.0} %")), "as many as had it");
    assert_eq!(harness.query_all_by_label("changed").count(), 3, "predictions, load and layers are marked");
    harness.get_by_label("k = 4: 0 % differ");
    assert!(harness.query_by_label("k = 8: shown").is_none() && !has_text(&harness, "k = 8"), "only seven are left");
    super::assert_controls_have_names(&harness);

    click(&mut harness, "Reset");
    assert_eq!((best(&harness), loads(&harness)), (before, loads_before));
    assert!(!has_text(&harness, "Changed routing") && !has_text(&harness, "changed"));
    assert!(has_text(&harness, "k = 8"));
}

#[test]
fn the_keyboard_and_the_menu_of_an_expert_ban_it_too() {
    let mut harness = window();
    let before = best(&harness);
    let changed =
        |harness: &Harness<'static, App>| harness.state().state().shown().expect("a result").analysis.change_in_words();
    click(&mut harness, "Expert 2");
    press(&mut harness, Key::B);
    assert_eq!(changed(&harness), "expert 2 banned in layer 1");
    harness.get_by_label("Expert 5").click_secondary();
    harness.run_steps(3);
    click(&mut harness, "Ban expert 5 in layer 1");
    assert_eq!(changed(&harness), "experts 2 and 5 banned in layer 1");
    click(&mut harness, "Allow expert 2");
    press(&mut harness, Key::PageDown);
    click(&mut harness, "Rank 2 has a say");
    assert_eq!(changed(&harness), "expert 5 banned in layer 1; rank 2 left out in layer 2");
    let shown = harness.state().state().shown().expect("a result");
    let layer = &shown.analysis.trace.layers[1];
    assert!(layer.patches().all(|patch| layer.weights_of(patch)[1] == 0.0));
    press(&mut harness, Key::R);
    assert_eq!((changed(&harness).as_str(), best(&harness)), ("", before));
    assert!(harness.state().state().notices.is_empty(), "{:?}", harness.state().state().notices);
}

#[test]
fn the_k_of_an_operator_is_changed_by_the_slider_and_its_choice_is_not() {
    let mut harness = window();
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/zoo/rows/contrib-moe/model.onnx");
    harness.state().send(Command::OpenPaths(vec![model]));
    settle(&mut harness);
    harness.get_by_label("k lies in the model's nodes: a session for each value");
    let of_k = |harness: &Harness<'static, App>| {
        let shown = harness.state().state().shown().expect("a result").analysis.clone();
        (shown.top_k, shown.trace.layers[0].top_k(), shown.logits.clone())
    };
    let (own, _, logits) = of_k(&harness);
    press(&mut harness, Key::CloseBracket);
    let (k, experts, other) = of_k(&harness);
    assert_eq!((k, experts), (own.map(|own| own + 1), k.expect("a number")));
    assert_ne!(other, logits);
    click(&mut harness, "Expert 0");
    press(&mut harness, Key::B);
    let state = harness.state().state();
    assert!(state.changes.wanted.is_none(), "the button is disabled, and the key does nothing");
    assert!(state.ban_obstacle().expect("a reason").contains("MoE operator"));
}
