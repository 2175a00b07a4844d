//! What the colours mean: one per expert, or a scale of values. A click on an expert lights only its patches.

use crate::render::{ColorScale, LayerPalette};
use crate::routing::{ExpertIdx, LayerRouting};
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::space;
use crate::ui::panels::changes;
use crate::ui::state::OverlayKind;
use crate::ui::widgets;
use egui::{Color32, Id, Key, Rect, Role, Sense, TextEdit, Ui, WidgetInfo, vec2};

/// The scale of a heatmap of values, if one is shown, and a chip for each expert of the layer on screen; with more experts
/// than there are colours, for the busiest ones, and a box to find the others by their number.
pub fn legend_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let (Some(layer), Some(shown)) = (ctx.state.shown_layer(), ctx.state.shown()) else { return };
    let lit = ctx.state.view.lit_expert;
    let balance = shown.analysis.layers.get(ctx.state.view.layer.0).map(|stats| &stats.balance);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        scale_ui(ui, ctx, layer);
        let experts = chips(ctx, layer.num_experts());
        let num_others = layer.num_experts() - experts.len();
        ui.weak(if num_others > 0 { "Busiest experts" } else { "Expert" });
        for expert in experts {
            let picked = lit == Some(expert);
            let load = balance.and_then(|balance| balance.load.get(expert.0 as usize)).copied().unwrap_or(0);
            let chip = widgets::expert_chip(ui, ctx, expert, lit.is_none() || picked, picked).on_hover_text(format!(
                "Expert {} handles {load} of {} patches in this layer\nClick: only its patches stay lit. Right-click: ban it",
                expert.0,
                layer.num_tokens()
            ));
            if chip.clicked() {
                ctx.send(Command::LightExpert(expert));
            }
            changes::expert_menu(ui, ctx, &chip, expert);
        }
        if num_others > 0 {
            ui.weak(format!("{num_others} others are grey"));
            find_ui(ui, ctx, layer.num_experts());
        }
        shared_ui(ui, ctx);
        if lit.is_some() && ui.small_button("Light all").on_hover_text("Key: Esc").clicked() {
            ctx.send(Command::ClearSelection);
        }
    });
}

/// Experts that no router chooses, apart from those that it does: in no colour of theirs.
fn shared_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let Some(shared) = shared_experts(ctx) else { return };
    ui.add_space(space::S);
    widgets::shared_swatch(ui);
    ui.label(&shared).on_hover_text(ABOUT_SHARED);
}

/// What is said of the shared experts of the layer on screen, if it has any.
pub(super) fn shared_experts(ctx: &ViewCtx<'_>) -> Option<String> {
    match ctx.state.shown_source()?.card.shared_experts {
        0 => None,
        1 => Some("1 shared expert: every patch".to_owned()),
        count => Some(format!("{count} shared experts: every patch")),
    }
}

/// What a shared expert is.
pub(super) const ABOUT_SHARED: &str = "Shared experts handle every patch beside the chosen ones. They are no choice of the router, so that they have no gate, \
     no load that could be uneven, and no number among the others";

/// Every expert, or the busiest ones and the one that is lit.
fn chips(ctx: &ViewCtx<'_>, num_experts: usize) -> Vec<ExpertIdx> {
    if num_experts <= LayerPalette::ALL_COLORED {
        return (0..num_experts as u32).map(ExpertIdx).collect();
    }
    let order = ctx.state.results.usage(ctx.state.view.layer).map(|usage| usage.order.as_slice()).unwrap_or_default();
    let mut experts: Vec<_> = order.iter().take(LayerPalette::BUSIEST).copied().map(ExpertIdx).collect();
    experts.extend(ctx.state.view.lit_expert.filter(|lit| !experts.contains(lit)));
    experts
}

/// A box for the number of an expert; Enter lights its patches.
fn find_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, num_experts: usize) {
    let slot = Id::unique("find expert");
    let mut text = ui.data(|data| data.get_temp::<String>(slot)).unwrap_or_default();
    ui.add_space(space::S);
    let label = ui.weak("Find");
    let edit = TextEdit::singleline(&mut text).desired_width(64.0).hint_text("number");
    let response = ui.add(edit).labelled_by(label.id).on_hover_text(format!(
        "The number of an expert, 0 to {}, then Enter: only its patches stay lit",
        num_experts - 1
    ));
    let entered = response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    let found = text.trim().parse().ok().map(ExpertIdx).filter(|expert| (expert.0 as usize) < num_experts);
    if let (true, Some(expert)) = (entered, found) {
        if ctx.state.view.lit_expert != Some(expert) {
            ctx.send(Command::LightExpert(expert));
        }
        text.clear();
    }
    if !text.is_empty() && found.is_none() {
        ui.colored_label(ui.visuals().warn_fg_color, "no such expert");
    }
    ui.data_mut(|data| data.insert_temp(slot, text));
}

/// Name, lower end, colours and upper end of the scale of values.
fn scale_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, layer: &LayerRouting) {
    let overlay = ctx.state.overlay();
    let top = match overlay {
        _ if ctx.state.view.hide_overlay => return,
        OverlayKind::ChosenExpert => return,
        OverlayKind::GateProbability | OverlayKind::GateMargin => "1".to_owned(),
        OverlayKind::GateEntropy => {
            let experts = layer.num_experts();
            format!("ln {experts} = {:.2} nats", (experts as f64).ln())
        }
        OverlayKind::ExpertCount => layer.top_k().to_string(),
        OverlayKind::SlotDispatch | OverlayKind::SlotCombine => {
            let largest = layer.slots().zip(overlay.slot_weight());
            format!("{:.3}", largest.map_or(0.0, |(slots, weight)| slots.largest(weight, ctx.state.view.slot)))
        }
    };
    ui.weak(overlay.label()).on_hover_text(overlay.explanation());
    ui.label("0");
    let (rect, response) = ui.allocate_exact_size(vec2(96.0, 12.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("{}: 0 to {top}", overlay.label())));
    const STEPS: usize = 48;
    for step in 0..STEPS {
        let at = |step: usize| rect.left() + rect.width() * step as f32 / STEPS as f32;
        let [r, g, b] = ColorScale::default().color((step as f32 + 0.5) / STEPS as f32);
        let part = Rect::from_x_y_ranges(at(step)..=at(step + 1), rect.y_range());
        ui.painter().rect_filled(part, 0, Color32::from_rgb(r, g, b));
    }
    ui.label(top);
    ui.add_space(12.0);
}
