//! The row above the picture: what the heatmap shows and how strongly.

use crate::render::LayerPalette;
use crate::routing::SlotIdx;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::space;
use crate::ui::state::OverlayKind;
use egui::{ComboBox, DragValue, Slider, Ui, vec2};

/// Overlay, rank or expert, opacity, grid, crop, zoom.
pub fn toolbar_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    ui.horizontal_wrapped(|ui| {
        overlay_box(ui, ctx);
        index_box(ui, ctx);
        opacity_ui(ui, ctx);
        ui.add_space(space::XS);
        let toggles = [
            ("Grid", "Patch grid (key: G)", ctx.state.settings.grid, Command::ToggleGrid),
            ("Crop", "Dim what the model did not see (key: C)", ctx.state.settings.crop, Command::ToggleCrop),
        ];
        for (text, help, mut on, command) in toggles {
            if ui.checkbox(&mut on, text).on_hover_text(help).clicked() {
                ctx.send(command);
            }
        }
        if ui.button("Fit").on_hover_text("Show the whole image (key: F)").clicked() {
            ctx.send(Command::FitImage);
        }
        if ui.button("1:1").on_hover_text("One image pixel per screen pixel (key: 0)").clicked() {
            ctx.send(Command::ZoomToPixels);
        }
    });
}

/// The slider wraps as one with its label, and does without its number where there is little room.
fn opacity_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    const WIDTH: f32 = 130.0;
    const WIDTH_OF_NUMBER: f32 = 60.0;
    let roomy = ui.max_rect().width() > 560.0;
    let mut opacity = ctx.state.settings.opacity * 100.0;
    let width = if roomy { WIDTH + WIDTH_OF_NUMBER } else { WIDTH };
    ui.allocate_ui(vec2(width, ui.spacing().interact_size.y), |ui| {
        ui.spacing_mut().slider_width = 76.0;
        let label = ui.label("Opacity");
        let slider = Slider::new(&mut opacity, 0.0..=100.0).suffix(" %").fixed_decimals(0).show_value(roomy);
        let response = ui.add(slider).labelled_by(label.id).on_hover_text("How strongly the heatmap covers the photo");
        if response.changed() {
            ctx.send(Command::SetOpacity(opacity / 100.0));
        }
    });
}

fn overlay_box(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let current = ctx.state.overlay();
    let text = if ctx.state.view.hide_overlay { "Photo only" } else { current.label() };
    let response = ComboBox::from_id_salt("overlay").selected_text(text).width(132.0).show_ui(ui, |ui| {
        for overlay in ctx.state.overlays() {
            let picked = overlay == current && !ctx.state.view.hide_overlay;
            if ui.selectable_label(picked, overlay.label()).on_hover_text(overlay.explanation()).clicked() {
                ctx.send(Command::SetOverlay(overlay));
            }
        }
        if ui.selectable_label(ctx.state.view.hide_overlay, "Photo only").on_hover_text("Key: Space").clicked() {
            ctx.send(Command::ToggleOverlay);
        }
    });
    let name = format!("Heatmap: {text}");
    response
        .response
        .on_hover_text("What the heatmap shows")
        .widget_info(|| egui::WidgetInfo::labeled(egui::Role::ComboBox, true, name.clone()));
}

/// Which rank, or which expert; nothing where the overlay needs neither.
fn index_box(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let Some(layer) = ctx.state.shown_layer() else { return };
    let (noun, count, current, first) = match ctx.state.overlay() {
        OverlayKind::ChosenExpert => ("rank", layer.top_k(), ctx.state.view.rank, 1),
        OverlayKind::GateProbability => ("expert", layer.num_experts(), ctx.state.view.gate_expert, 0),
        OverlayKind::SlotDispatch | OverlayKind::SlotCombine => return slot_boxes(ui, ctx),
        OverlayKind::GateEntropy | OverlayKind::GateMargin | OverlayKind::ExpertCount => return,
    };
    let explanation = format!("Which {noun} the heatmap shows (keys: 1 to 9)");
    if let Some(at) = choice(ui, "overlay index", (noun, first), count, current, &explanation) {
        ctx.send(Command::SetOverlayIndex(at));
    }
}

/// The expert, and which of its slots.
fn slot_boxes(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let Some(slots) = ctx.state.shown_slots() else { return };
    let per_expert = slots.per_expert();
    let (expert, slot) = slots.place_of(ctx.state.view.slot);
    let experts = slots.num_slots() / per_expert;
    let explanation = "Whose slot the heatmap shows (keys: , and . for the previous and the next slot)";
    let chosen = choice(ui, "slot's expert", ("expert", 0), experts, expert.0 as usize, explanation);
    if let Some(expert) = chosen {
        ctx.send(Command::SelectSlot(SlotIdx(expert * per_expert + slot)));
    }
    let explanation = "Which slot of this expert the heatmap shows (keys: 1 to 9; , and . for all slots)";
    if let Some(slot) = choice(ui, "slot", ("slot", 0), per_expert, slot, explanation) {
        ctx.send(Command::SelectSlot(SlotIdx(expert.0 as usize * per_expert + slot)));
    }
}

/// A list of `count` numbered things, counted on screen from `first`; of thousands, a number to drag. The one that was
/// chosen now.
fn choice(
    ui: &mut Ui,
    salt: &str,
    (noun, first): (&str, usize),
    count: usize,
    current: usize,
    explanation: &str,
) -> Option<usize> {
    let name = |at: usize| format!("{noun} {}", at + first);
    if count > LayerPalette::ALL_COLORED {
        return drag(ui, (noun, first), count, current, explanation);
    }
    let mut chosen = None;
    let response = ComboBox::from_id_salt(salt).selected_text(name(current)).width(76.0).show_ui(ui, |ui| {
        for at in 0..count {
            if ui.selectable_label(at == current, name(at)).clicked() {
                chosen = Some(at);
            }
        }
    });
    response
        .response
        .on_hover_text(explanation)
        .widget_info(|| egui::WidgetInfo::labeled(egui::Role::ComboBox, true, format!("Shown {}", name(current))));
    chosen
}

/// A number to drag or to type: a list of thousands is none.
fn drag(ui: &mut Ui, (noun, first): (&str, usize), count: usize, current: usize, explanation: &str) -> Option<usize> {
    let last = count - 1 + first;
    let mut number = current + first;
    let drag = DragValue::new(&mut number).range(first..=last).prefix(format!("{noun} "));
    let response = ui.add(drag).on_hover_text(format!("{explanation}; {first} to {last}"));
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::SpinButton, true, format!("Shown {noun} {number}")));
    response.changed().then(|| number - first)
}
