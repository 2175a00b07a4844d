//! Experts per token: the one control that changes what the model does.

use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design;
use egui::{Slider, SliderClamping};

/// Heading and the top-k slider; the model is run again with every value.
pub fn routing_ui(ui: &mut egui::Ui, ctx: &ViewCtx<'_>) {
    ui.label(design::heading("Routing"));
    let Some(model) = &ctx.state.model.open else {
        ui.weak("No model is open");
        return;
    };
    let (Some(range), Some(mut top_k)) = (&model.card.top_k, ctx.state.wanted_top_k()) else {
        ui.weak(if model.card.layers.is_empty() {
            "This model has no routers: it classifies, and there is no routing to show"
        } else {
            "This model's top-k is fixed: its graph has no input for it"
        });
        return;
    };
    ui.horizontal(|ui| {
        let label = ui.label("Experts per token (top-k)").on_hover_text(
            "How many experts handle each patch. The model is run again, since a change in one layer changes every later one",
        );
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let is_default = top_k == range.default;
            let reset = egui::Button::new(format!("default {}", range.default)).small();
            if ui.add_enabled(!is_default, reset).on_hover_text("The value that the model was trained for").clicked() {
                ctx.send(Command::SetTopK(range.default));
            }
        });
        label
    });
    ui.spacing_mut().slider_width = ui.available_width() - 48.0;
    let slider = Slider::new(&mut top_k, range.min..=range.max).clamping(SliderClamping::Always).step_by(1.0);
    let response = ui.add(slider).on_hover_text("Keys: [ and ]");
    response.widget_info(|| egui::WidgetInfo::slider(true, top_k as f64, "Experts per token (top-k)"));
    if response.changed() {
        ctx.send(Command::SetTopK(top_k));
    }
}
