//! The model card beside the open picture: how the model is fed and where its patches lie, with what each of it rests on.
//! A guess is only as good as the person who looks at it, so here it can be corrected and kept.

mod boxes;
mod draft;
mod image;
mod labels;
mod rows;
#[cfg(test)]
mod tests;
mod tokens;

use crate::analysis::OpenModel;
use crate::model::CardSource;
use crate::ui::command::{Command, LabelsOf};
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, space};
use crate::ui::state::{Sheet, file_name};
use crate::ui::widgets;
use draft::Draft;
pub(super) use draft::card_to_save;
use egui::{Align, Frame, Label, Layout, Panel, ScrollArea, Ui, vec2};
use std::path::Path;
use std::sync::Arc;

/// Width of the sheet, and what is left free above and below it, in points.
const WIDTH: f32 = 470.0;
const AROUND: f32 = 84.0;
/// Width that a scroll bar takes when the pointer comes near, with some air, in points.
const SCROLL_BAR: i8 = 14;

/// What the sheet remembers by itself: the card as it would be saved.
#[derive(Default)]
pub struct CardUi {
    draft: Option<Draft>,
}

impl CardUi {
    /// The draft for a model; it begins anew with every model that is opened.
    fn draft_of(&mut self, model: &Arc<OpenModel>) -> &mut Draft {
        let kept = self.draft.take().filter(|draft| draft.is_of(model));
        self.draft.insert(kept.unwrap_or_else(|| Draft::of(model)))
    }

    /// Takes names of classes that were read from a file, if the model that they were asked for is still open.
    pub fn take_labels(&mut self, model: &Path, of: LabelsOf, labels: Vec<String>) {
        let Some(draft) = self.draft.as_mut().filter(|draft| draft.model.path == model) else { return };
        match (of, &mut draft.card.detection) {
            (LabelsOf::Classes, _) => draft.card.labels = labels,
            (LabelsOf::Boxes, Some(boxes)) => boxes.labels = labels,
            (LabelsOf::Boxes, None) => {}
        }
    }
}

/// The sheet, if it is open: over the right side, so that the picture stays in sight.
pub fn card_ui(ui: &Ui, ctx: &ViewCtx<'_>, local: &mut CardUi) {
    if ctx.state.sheet != Some(Sheet::Card) {
        return;
    }
    let height = ui.ctx().content_rect().height() - AROUND;
    widgets::side_window(ui, "model card", vec2(WIDTH, height), AROUND, |ui| {
        header_ui(ui, ctx);
        match &ctx.state.model.open {
            Some(model) => draft_ui(ui, ctx, local.draft_of(model)),
            None => drop(ui.weak("No model is open: open one with Ctrl+M")),
        }
    });
}

fn header_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    ui.horizontal(|ui| {
        ui.label(design::heading("Model card"));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.button("Close").on_hover_text("Key: M. What was changed stays until another model is open").clicked()
            {
                ctx.send(Command::ToggleSheet(Sheet::Card));
            }
        });
    });
    ui.separator();
}

fn draft_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, draft: &mut Draft) {
    let below = Frame::new().inner_margin(egui::Margin { top: 6, ..egui::Margin::ZERO });
    Panel::bottom("card buttons").frame(below).show(ui, |ui| footer_ui(ui, ctx, draft));
    // The scroll bar comes over what it scrolls; the chips at the right end keep clear of it.
    let beside_bar = Frame::new().inner_margin(egui::Margin { right: SCROLL_BAR, ..egui::Margin::ZERO });
    ScrollArea::vertical().id_salt("model card").auto_shrink(false).show(ui, |ui| {
        beside_bar.show(ui, |ui| fields_ui(ui, ctx, draft));
    });
}

/// All rows of the card that a person may look at and correct.
fn fields_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, draft: &mut Draft) {
    ui.add(Label::new(source_text(&draft.model)).wrap());
    rows::part_ui(ui, "Image");
    image::image_ui(ui, draft);
    rows::part_ui(ui, "Tokens");
    tokens::tokens_ui(ui, draft);
    if !draft.card.logits.is_empty() {
        rows::part_ui(ui, "Classes");
        labels::classes_ui(ui, ctx, draft);
    }
    if draft.card.detection.is_some() {
        rows::part_ui(ui, "Boxes");
        boxes::boxes_ui(ui, ctx, draft);
    }
    if !draft.card.inputs.is_empty() {
        rows::part_ui(ui, "Further inputs");
        tokens::inputs_ui(ui, draft);
    }
}

/// Where the open card is from, and what saving would do.
fn source_text(model: &OpenModel) -> String {
    match &model.card_source {
        CardSource::Assumed => "This model came without a card. How it is fed was read from its graph as far as that \
                                tells; the rest is assumed. Correct what is wrong and save it."
            .to_owned(),
        CardSource::Metadata => {
            "This card is inside the model's file. One that is saved beside the file is used instead.".to_owned()
        }
        CardSource::Sidecar(path) => format!("This card is {}, beside the model.", file_name(path)),
    }
}

/// What is wrong with the card, the buttons, and where it is saved.
fn footer_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, draft: &mut Draft) {
    let fault = draft.card.check(&draft.model.description).err();
    if let Some(fault) = &fault {
        let text = egui::RichText::new(format!("Cannot be saved: {fault}")).color(ui.visuals().error_fg_color);
        ui.add(Label::new(text).wrap());
    }
    let place = draft.model.description.sidecar_path();
    ui.horizontal(|ui| {
        ui.add_enabled_ui(fault.is_none(), |ui| {
            let help = "Write the card beside the model, and open the model with it";
            if ui.button(design::strong("Save card")).on_hover_text(help).clicked() {
                ctx.send(Command::SaveCard(Arc::clone(&draft.model), Box::new(draft.card.clone())));
            }
        });
        let help = "Back to how the model is fed now";
        if ui.add_enabled(draft.is_changed(), egui::Button::new("Reset")).on_hover_text(help).clicked() {
            draft.reset();
        }
        ui.add_space(space::XS);
        let text = egui::RichText::new(format!("as {}, beside the model", file_name(&place))).weak();
        ui.add(Label::new(text).truncate()).on_hover_text(place.display().to_string());
    });
}
