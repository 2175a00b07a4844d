//! What the model takes the image for.

use crate::analysis::OpenModel;
use crate::model::CardSource;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, space};
use crate::ui::panels::changes;
use crate::ui::panels::detections::detections_ui;
use crate::ui::state::Sheet;
use crate::ui::widgets;
use egui::{Button, RichText};

/// Heading, and the five most probable classes with bars.
pub fn predictions_ui(ui: &mut egui::Ui, ctx: &ViewCtx<'_>) {
    ui.horizontal(|ui| {
        ui.label(design::heading("Predictions"))
            .on_hover_text("The most probable classes: softmax over all of the model's logits");
        changes::mark_ui(ui, ctx);
        if ctx.state.updating {
            ui.weak("updating…");
        }
    });
    let Some(shown) = ctx.state.shown() else {
        ui.weak(match ctx.state.model.open {
            Some(_) => "Open an image to classify it",
            None => "They need a model",
        });
        return;
    };
    if let Some(assumption) = shown.model.assumption() {
        let warn = ui.visuals().warn_fg_color;
        let text = match shown.model.card_source {
            CardSource::Assumed => "Preprocessing assumed: this model has no card",
            CardSource::Metadata | CardSource::Sidecar(_) => "Preprocessing assumed: its card says so",
        };
        let text = RichText::new(text).color(warn);
        let help = format!("{assumption}\n\nClick to look at what was assumed and to correct it (key: M)");
        let is_open = ctx.state.sheet == Some(Sheet::Card);
        if ui.add(Button::new(text)).on_hover_text(help).clicked() && !is_open {
            ctx.send(Command::ToggleSheet(Sheet::Card));
        }
    }
    if let Some(text) = no_classes(&shown.model) {
        ui.weak("No class scores").on_hover_text(text);
    }
    for prediction in &shown.analysis.predictions {
        let percent = format!("{:.1} %", prediction.probability * 100.0);
        let name = format!("{}: {percent}", prediction.label);
        widgets::bar_row(ui, &prediction.label, &percent, prediction.probability, ui.visuals().hyperlink_color)
            .on_hover_text(format!("{}\nClass {} of {}", name, prediction.index, shown.analysis.logits.len()));
    }
    ui.add_space(space::XS);
    detections_ui(ui, ctx);
}

/// Why a model that detects nothing either has no predictions, and what its outputs are instead.
fn no_classes(model: &OpenModel) -> Option<String> {
    let card = &model.card;
    let reason = model.reasons.iter().find(|reason| reason.field == "logits");
    (card.logits.is_empty() && card.detection.is_none())
        .then(|| reason.map_or_else(|| "Its card names no output with class scores.".to_owned(), |it| it.text.clone()))
}
