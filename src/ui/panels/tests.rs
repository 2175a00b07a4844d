//! Panels alone, with states that no bundled model brings about: a layer of thousands of experts.

use super::testing::state_of;
use super::{legend::legend_ui, load::load_ui, toolbar::toolbar_ui};
use crate::routing::{ExpertIdx, LayerRouting, TopK};
use crate::ui::command::{Command, CommandSender};
use crate::ui::ctx::ViewCtx;
use crate::ui::state::{AppState, OverlayKind};
use crate::ui::waker::Waker;
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use std::sync::mpsc::channel;

const NUM_EXPERTS: usize = 4096;
const PATCHES: usize = 196;

/// Patch p chooses expert 100 · (p mod 30): thirty experts with 6 or 7 patches each.
fn state() -> AppState {
    let chosen: Vec<i64> = (0..PATCHES as i64).map(|patch| 100 * (patch % 30)).collect();
    let top_k = TopK::new(1, NUM_EXPERTS).unwrap();
    let probs = vec![1.0 / NUM_EXPERTS as f32; PATCHES * NUM_EXPERTS];
    let layer = LayerRouting::new("peer", NUM_EXPERTS, top_k, probs, &chosen, vec![1.0; PATCHES]).unwrap();
    state_of(vec![layer], 14, 14)
}

/// One panel, whose commands change the state as in the window.
fn harness(panel: fn(&mut egui::Ui, &ViewCtx<'_>)) -> Harness<'static, AppState> {
    let (sender, inbox) = channel();
    let mut prepared = false;
    Harness::builder().with_size([700.0, 500.0]).build_ui_state(
        move |ui, state: &mut AppState| {
            if !std::mem::replace(&mut prepared, true) {
                crate::ui::design::install(ui.ctx());
                return;
            }
            while let Ok(command) = inbox.try_recv() {
                state.apply(command);
            }
            let commands = CommandSender::new(sender.clone(), Waker::new(ui.ctx()));
            panel(ui, &ViewCtx::new(state, &commands, false, None));
        },
        state(),
    )
}

#[test]
fn the_legend_of_thousands_of_experts_shows_the_busiest_and_finds_the_rest() {
    let mut harness = harness(legend_ui);
    harness.run_steps(3);
    // 196 = 6 · 30 + 16: sixteen experts handle a patch more than the other fourteen.
    for busiest in [0, 100, 1500, 1900] {
        harness.get_by_label(&format!("Expert {busiest}"));
    }
    assert!(harness.query_by_label("Expert 2000").is_none(), "only twenty");
    harness.get_by_label("4076 others are grey");
    let enter = |harness: &mut Harness<'static, AppState>, text: &str| {
        let find = harness.get_by_role(Role::TextInput);
        find.focus();
        find.type_text(text);
        harness.run_steps(2);
        harness.key_press(egui::Key::Enter);
        harness.run_steps(3);
    };
    enter(&mut harness, "4095");
    assert_eq!(harness.state().view.lit_expert, Some(ExpertIdx(4095)));
    harness.get_by_label("Expert 4095");
    enter(&mut harness, "4096");
    assert_eq!(harness.state().view.lit_expert, Some(ExpertIdx(4095)), "there is no expert 4096");
    harness.get_by_label("no such expert");
}

#[test]
fn the_load_of_thousands_of_experts_is_a_usage_curve() {
    let mut harness = harness(load_ui);
    harness.run_steps(3);
    let chart = harness.get_by_label("Usage curve: 30 of 4096 experts handle a patch").rect();
    // The first rank begins at the left edge, right of the axis.
    let first_rank = chart.left_center() + egui::vec2(45.0, 20.0);
    harness.hover_at(first_rank);
    harness.run_steps(2);
    harness.drag_at(first_rank);
    harness.run_steps(1);
    harness.drop_at(first_rank);
    harness.run_steps(3);
    let lit = harness.state().view.lit_expert.expect("a click lights an expert");
    assert_eq!(lit, ExpertIdx(0), "the first of the busiest");
    harness.get_by_label("4066");
}

#[test]
fn the_expert_of_a_gate_is_typed_where_a_list_would_have_thousands() {
    let mut harness = harness(toolbar_ui);
    harness.state_mut().apply(Command::SetOverlay(OverlayKind::GateProbability));
    harness.state_mut().apply(Command::SetOverlayIndex(7));
    harness.run_steps(3);
    harness.get_by_label("Shown expert 7");
}
