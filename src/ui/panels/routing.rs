//! What the model does, and how it can be made to do something else: experts per token, and the layer's own controls.

use crate::analysis::{OpenModel, ShownLayer};
use crate::model::TopKInput;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design;
use crate::ui::names::first_upper;
use crate::ui::panels::changes::changes_ui;
use egui::{Slider, SliderClamping};

/// Heading, the top-k slider and what can be changed about the layer on screen; the model is run again with every change.
pub fn routing_ui(ui: &mut egui::Ui, ctx: &ViewCtx<'_>) {
    ui.label(design::heading("Routing"));
    let Some(model) = &ctx.state.model.open else {
        ui.weak("No model is open");
        return;
    };
    let (Some(range), Some(mut top_k)) = (&model.card.top_k, ctx.state.wanted_top_k()) else {
        return fixed_ui(ui, ctx, model);
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
    // Banned experts are nobody's.
    let most = ctx.state.most_top_k().unwrap_or(range.max);
    let slider = Slider::new(&mut top_k, range.min..=most).clamping(SliderClamping::Always).step_by(1.0);
    let response = ui.add(slider).on_hover_text("Keys: [ and ]");
    response.widget_info(|| egui::WidgetInfo::slider(true, top_k as f64, "Experts per token (top-k)"));
    if response.changed() {
        ctx.send(Command::SetTopK(top_k));
    }
    if model.controls.top_k_in_nodes() {
        ui.weak("k lies in the model's nodes: a session for each value").on_hover_text(
            "k is an attribute of ONNX Runtime's MoE operator. It was changed in memory, and the model loaded again with it; the file is as it was. With the router's tensors made visible, the outputs were proved to be the original's on an image of noise",
        );
    } else if range.input == TopKInput::Edited {
        ui.weak("k was made changeable in memory; the file is as it was").on_hover_text(
            "The graph has k as a constant. It was made an input, and proved on an image of noise: at the model's own k, the outputs are the original's",
        );
    }
    changes_ui(ui, ctx);
    if let Some(layer) = ctx.state.shown_source() {
        rule_ui(ui, layer);
    }
}

/// What is said of a model in which no gate was found.
fn unrouted(model: &OpenModel) -> String {
    match model.routers.fixed.first() {
        Some(fixed) => format!("{}. The model's sheet tells which expert takes which", fixed.sentence()),
        None => "This model has no routers: it classifies, and there is no routing to show".to_owned(),
    }
}

/// What can be said of a model whose top-k cannot be set.
fn fixed_ui(ui: &mut egui::Ui, ctx: &ViewCtx<'_>, model: &OpenModel) {
    if model.layers.is_empty() {
        match &model.hidden_routing {
            Some(reason) => {
                ui.colored_label(ui.visuals().warn_fg_color, format!("Its routing cannot be shown: {reason}"))
            }
            None => ui.weak(unrouted(model)),
        };
        return;
    }
    let Some(layer) = ctx.state.shown_source() else {
        ui.weak("This model's top-k is fixed: its graph has no input for it");
        return;
    };
    rule_ui(ui, layer);
    let router = layer.router.and_then(|router| model.routers.routers.get(router));
    let fixed = match layer.card.top_k.or(router.and_then(|router| router.top_k)) {
        Some(top_k) => format!("k is fixed: {top_k} of {} experts", layer.card.num_experts),
        None => format!("No fixed number of experts per token; {} experts", layer.card.num_experts),
    };
    let response = ui.weak(fixed);
    if let Some(obstacle) = &model.controls.top_k_obstacle {
        response.on_hover_text(obstacle);
    } else if model.misses_top_k() {
        response.on_hover_text("Whether it can be changed is found out as soon as nothing else is to be done");
    }
    changes_ui(ui, ctx);
}

/// The rule of the layer on screen, where it was read from the graph, and what of its routing is not the graph's own.
fn rule_ui(ui: &mut egui::Ui, layer: &ShownLayer) {
    if let Some(rule) = layer.card.rule {
        ui.label(first_upper(rule.name())).on_hover_text(rule.sentence());
    }
    if layer.card.chosen_by_hand {
        ui.colored_label(ui.visuals().warn_fg_color, "Chosen by hand").on_hover_text(
            "A person said that this tensor is a router's, and by which rule. Whether experts really follow is not checked",
        );
    }
    let recomputed = layer.recomputed();
    if recomputed.choices {
        let from = layer.card.gate().map_or("logits", |(_, values)| values.name());
        ui.colored_label(ui.visuals().warn_fg_color, format!("Experts and weights are worked out from the {from}"))
            .on_hover_text(
                "The graph does not give its choice as a tensor. It is computed again here by the rule above",
            );
    } else if recomputed.gate_probs {
        ui.weak("Gate probabilities are computed from the logits")
            .on_hover_text("The graph has none as a tensor. Experts and combine weights are the graph's own");
    }
}
