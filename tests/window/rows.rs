//! What rows of the zoo need to be seen: tabs of tasks, iterations of a layer, slots, numbers of experts, shared experts.

use super::{click, has_text, settle::settle, window_with};
use egui::{Key, Role};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use moescope::routing::{ExpertIdx, LayerIdx, PatchIdx, SlotIdx, SlotWeight, compare};
use moescope::ui::app::{App, Start};
use moescope::ui::command::Command;
use moescope::ui::state::OverlayKind;
use std::path::Path;

/// The window with a row of the zoo, at its first layer.
fn row(name: &str) -> Harness<'static, App> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/zoo/rows").join(name).join("model.onnx");
    assert!(model.exists(), "{name}");
    let harness = window_with(Start { default_model: Some(model), layer: Some(0), ..Start::default() });
    assert!(harness.state().state().notices.is_empty(), "{name}: {:?}", harness.state().state().notices);
    harness
}

fn layer(harness: &Harness<'static, App>) -> usize {
    harness.state().state().view.layer.0
}

/// The labels of the list of layers, from top to bottom.
fn listed(harness: &Harness<'static, App>) -> Vec<String> {
    let rows =
        harness.query_all_by_label_contains("Layer ").filter(|node| node.accesskit_node().role() == Role::Button);
    rows.map(|node| node.accesskit_node().label().expect("a label")).collect()
}

fn press(harness: &mut Harness<'static, App>, key: Key) {
    harness.key_press(key);
    settle(harness);
}

#[test]
fn each_task_has_a_tab_with_its_layers() {
    for name in ["mod-squad", "mod-squad-dynamo", "adamv-moe"] {
        let mut harness = row(name);
        let layers = harness.state().state().shown().expect("a result").analysis.trace.layers.clone();
        let [first, second] = harness.state().state().results.outline().tasks() else { panic!("{name}: two tasks") };
        let (first, second) = (first.clone(), second.clone());
        let all_of = |task: &str| (1..=layers.len() / 2).map(|n| format!("Layer {n} · {task}: ")).collect::<Vec<_>>();
        let check = |harness: &Harness<'static, App>, task: &str| {
            let (found, expected) = (listed(harness), all_of(task));
            assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
            assert!(found.iter().zip(&expected).all(|(label, start)| label.starts_with(start)), "{name}: {found:?}");
        };
        check(&harness, &first);
        press(&mut harness, Key::PageDown);
        harness.get_by_label(&format!("Load · layer 2 · {first}"));
        let share = compare(&layers[1], &layers[1 + layers.len() / 2]).expect("comparable").common_ranks_changed_share;
        harness.get_by_label(&format!("{:.0} % differ from {second}", share * 100.0));
        click(&mut harness, &format!("Task {second}"));
        assert_eq!(layer(&harness), 1 + layers.len() / 2, "{name}: the same layer of the other task");
        check(&harness, &second);
        press(&mut harness, Key::PageDown);
        press(&mut harness, Key::PageDown);
        press(&mut harness, Key::PageUp);
        check(&harness, &second);
        assert!(layer(&harness) >= layers.len() / 2, "{name}: the arrows stay within the task");
        press(&mut harness, Key::T);
        check(&harness, &first);
        super::assert_controls_have_names(&harness);
    }
}

#[test]
fn iterations_over_the_same_experts_are_one_layer() {
    let mut harness = row("chain-of-experts");
    let titles = [(1, 1), (1, 2), (2, 1), (2, 2)].map(|(n, at)| format!("ayer {n} · iteration {at} of 2"));
    let labels = listed(&harness);
    assert_eq!(labels.len(), 4, "{labels:?}");
    for (at, title) in titles.iter().enumerate() {
        assert!(labels[at].starts_with(&format!("L{title}: ")), "{labels:?}");
        harness.get_by_label(&format!("Load · l{title}"));
        harness.get_by_label(&format!("Heatmap: Chosen expert, l{title}"));
        assert_eq!(layer(&harness), at);
        press(&mut harness, Key::ArrowDown);
    }
    assert!(has_text(&harness, " · 2 MoE layers × 8 experts"));
    harness.get_by_label("Layer 1  blocks.0");
    harness.get_by_label("Layer 2  blocks.1");
    click(&mut harness, &labels[1]);
    assert_eq!(layer(&harness), 1);
}

#[test]
fn one_slot_is_looked_at_with_its_weights() {
    let mut harness = row("soft-moe");
    let slots = harness.state().state().shown_slots().expect("slots").clone();
    assert_eq!((slots.num_slots(), slots.per_expert()), (16, 4));
    harness.get_by_label("Heatmap: Chosen expert, layer 1");
    harness.state().send(Command::Pin(PatchIdx(6)));
    press(&mut harness, Key::Period);
    harness.get_by_label("Heatmap: Slot dispatch, layer 1");
    harness.get_by_label("Shown expert 0");
    harness.get_by_label("Shown slot 1");
    for _ in 0..4 {
        press(&mut harness, Key::Period);
    }
    harness.get_by_label("Shown expert 1");
    let sentence = |slot: usize| {
        let [dispatch, combine] =
            [SlotWeight::Dispatch, SlotWeight::Combine].map(|weight| slots.of_patch(weight, PatchIdx(6))[slot]);
        let (expert, number) = (slot / 4, slot % 4);
        format!("Slot {number} of expert {expert}: dispatch weight {dispatch:.4}, combine weight {combine:.4}")
    };
    harness.get_by_label(&sentence(5));
    let top = |weight| format!("{:.3}", slots.largest(weight, SlotIdx(5)));
    harness.get_by_label(&format!("Slot dispatch: 0 to {}", top(SlotWeight::Dispatch)));
    click(&mut harness, "Heatmap: Slot dispatch");
    click(&mut harness, "Slot combine");
    harness.get_by_label(&format!("Slot combine: 0 to {}", top(SlotWeight::Combine)));
    press(&mut harness, Key::Num4);
    harness.get_by_label(&sentence(7));
    press(&mut harness, Key::Comma);
    harness.get_by_label(&sentence(6));
    super::assert_controls_have_names(&harness);
    harness.render().expect("a picture");
}

#[test]
fn slots_are_offered_where_there_are_any() {
    let mut harness = row("grok");
    press(&mut harness, Key::Period);
    harness.state().send(Command::SetOverlay(OverlayKind::SlotCombine));
    settle(&mut harness);
    harness.get_by_label("Heatmap: Chosen expert, layer 1");
    click(&mut harness, "Heatmap: Chosen expert");
    harness.get_by_label("Gate margin");
    for absent in ["Slot dispatch", "Slot combine", "Experts per patch"] {
        assert!(harness.query_by_label(absent).is_none(), "{absent}");
    }
}

#[test]
fn the_number_of_experts_of_each_patch_is_a_heatmap_where_it_differs() {
    for name in ["vmoe-expert-choice", "expert-choice-gather-dynamo", "top-p", "switch"] {
        let mut harness = row(name);
        click(&mut harness, "Heatmap: Chosen expert");
        click(&mut harness, "Experts per patch");
        let routing = harness.state().state().shown_layer().expect("a layer").clone();
        harness.get_by_label(&format!("Experts per patch: 0 to {}", routing.top_k()));
        let counts: Vec<usize> = routing.patches().map(|patch| routing.num_serving(patch)).collect();
        assert!(counts.iter().min() < counts.iter().max(), "{name}: {counts:?}");
        harness.render().expect("a picture");
        let Some(without) = counts.iter().position(|&count| count == 0) else { continue };
        harness.state().send(Command::Pin(PatchIdx(without)));
        settle(&mut harness);
        assert!(has_text(&harness, "the residual connection alone"), "{name}: patch {without}");
    }
}

#[test]
fn shared_experts_stand_apart() {
    for (name, count) in
        [("deepseek-moe", 2), ("deepseek-v3", 1), ("hf-llama4-eager-dynamo", 1), ("variant-shared-gate", 1)]
    {
        let harness = row(name);
        let words = if count == 1 { "1 shared expert".to_owned() } else { format!("{count} shared experts") };
        let places = harness.query_all_by_label(&format!("{words}: every patch")).count();
        assert!(places >= 2, "{name}: in the legend and at the chart, not {places}");
        let experts = harness.state().state().shown_layer().expect("a layer").num_experts();
        let chips = (0..experts).filter(|n| harness.query_by_label(&format!("Expert {n}")).is_some());
        assert_eq!(chips.count(), experts, "{name}: the routed ones have their chips, and no other has one");
        assert!(harness.query_by_label(&format!("Expert {experts}")).is_none(), "{name}");
    }
    assert!(!has_text(&row("grok"), "shared expert"));
}

#[test]
fn a_fixed_rule_is_told_where_no_gate_is() {
    let harness = row("multiway");
    let told =
        "Tokens are routed to 2 experts by a fixed rule, the position of a token: there is no gate. The model's sheet";
    assert!(has_text(&harness, told));
}

#[test]
fn a_drop_is_marked_and_told() {
    for name in ["vmoe", "vmoe-groups", "switch", "limoe", "gshard", "fairseq-moe", "tutel", "megatron-capacity-dynamo"]
    {
        let mut harness = row(name);
        let mut samples = moescope::input::SAMPLES.iter();
        let (layer, patch, rank) = loop {
            if let Some(dropped) = dropped(&harness) {
                break dropped;
            }
            let sample = samples.next().unwrap_or_else(|| panic!("{name} drops nothing of any sample"));
            harness.state().send(Command::OpenSample(sample.id));
            settle(&mut harness);
        };
        harness.state().send(Command::ShowPatch { layer, patch });
        settle(&mut harness);
        let routing = harness.state().state().shown_layer().expect("a layer");
        let ExpertIdx(expert) = routing.experts_of(patch)[rank];
        let told = format!("chosen at rank {}, but dropped: the expert had no room for it", rank + 1);
        assert!(has_text(&harness, &told), "{name}: expert {expert} of patch {}", patch.0);
        let total = harness.state().state().shown().expect("a result").analysis.layers[layer.0].balance.dropped;
        harness.get_by_label("Dropped");
        assert!(total > 0 && harness.query_all_by_label(&total.to_string()).count() > 0, "{name}: {total} dropped");
    }
}

/// Where every choice has tensors of its own, too, nothing is said to be unknown.
#[test]
fn drops_of_each_choice_by_itself_are_known() {
    for name in ["gshard", "tutel", "vmoe"] {
        let harness = row(name);
        harness.get_by_label("Dropped");
        assert!(!has_text(&harness, "is not known"), "{name}");
    }
}

/// A choice without weight.
fn dropped(harness: &Harness<'static, App>) -> Option<(LayerIdx, PatchIdx, usize)> {
    let layers = &harness.state().state().shown()?.analysis.trace.layers;
    layers.iter().enumerate().find_map(|(layer, routing)| {
        let rank = |patch: PatchIdx| routing.weights_of(patch).iter().position(|&weight| weight == 0.0);
        routing.patches().find_map(|patch| Some((LayerIdx(layer), patch, rank(patch)?)))
    })
}
