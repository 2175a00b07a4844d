//! The names of the classes: ImageNet's, from a file, or none.

use super::draft::{Draft, origin};
use super::rows::{below_ui, name_menu, row_ui};
use crate::model::imagenet_labels;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::widgets::count;
use egui::{ComboBox, Label, RichText, Ui};

/// The row of the names.
pub(super) fn labels_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, draft: &mut Draft) {
    let Draft { model, card } = draft;
    let labels = &mut card.labels;
    let from = origin(model, "labels", *labels != model.card.labels, "");
    let imagenet = imagenet_labels().unwrap_or_default();
    row_ui(ui, "Names", "Names of the classes, in the order of the scores", from, |ui, _| {
        let is_imagenet = !labels.is_empty() && *labels == imagenet;
        let chosen = match labels.len() {
            0 => "Numbers".to_owned(),
            _ if is_imagenet => "ImageNet-1k".to_owned(),
            named => format!("{} names", count(named as u64)),
        };
        let menu = ComboBox::from_id_salt("class names").selected_text(&chosen).show_ui(ui, |ui| {
            if !imagenet.is_empty() && ui.selectable_label(is_imagenet, "ImageNet-1k").clicked() {
                *labels = imagenet.to_vec();
            }
            let help = "One name per line, or a JSON list";
            if ui.selectable_label(false, "From a text file…").on_hover_text(help).clicked() {
                ctx.send(Command::ShowLabelsDialog(model.path.clone()));
            }
            if ui.selectable_label(labels.is_empty(), "Numbers").clicked() {
                labels.clear();
            }
        });
        name_menu(&menu.response, "Class names", &chosen);
    });
    if !labels.is_empty() {
        let first: Vec<&str> = labels.iter().take(6).map(String::as_str).collect();
        below_ui(ui, |ui| {
            drop(ui.add(Label::new(RichText::new(format!("{}, …", first.join(", "))).small().weak()).truncate()));
        });
    }
}
