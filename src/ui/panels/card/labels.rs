//! The names of the classes: lists that come with the program, from a file, or none.

use super::draft::{Draft, Origin, origin};
use super::rows::{below_ui, name_menu, row_ui};
use crate::analysis::OpenModel;
use crate::model::{coco_labels, coco_labels_by_id, imagenet_labels};
use crate::ui::command::{Command, LabelsOf};
use crate::ui::ctx::ViewCtx;
use crate::ui::widgets::count;
use egui::{ComboBox, Label, RichText, Ui};

/// Lists of names that come with the program.
fn known(of: LabelsOf) -> Vec<(&'static str, Vec<String>)> {
    let imagenet = imagenet_labels().map(|names| ("ImageNet-1k", names.to_vec()));
    let coco = [("COCO, 80 classes", coco_labels().to_vec()), ("COCO, by id", coco_labels_by_id())];
    match of {
        LabelsOf::Classes => imagenet.into_iter().collect(),
        LabelsOf::Boxes => coco.into_iter().chain(imagenet).collect(),
    }
}

/// The row of the names of the image's classes.
pub(super) fn classes_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, draft: &mut Draft) {
    let Draft { model, card } = draft;
    let from = origin(model, "labels", card.labels != model.card.labels, "");
    labels_ui(ui, ctx, model, LabelsOf::Classes, &mut card.labels, from);
}

/// A row of names of classes: those that are known, from a file, or none.
pub(super) fn labels_ui(
    ui: &mut Ui,
    ctx: &ViewCtx<'_>,
    model: &OpenModel,
    of: LabelsOf,
    labels: &mut Vec<String>,
    from: Origin<'_>,
) {
    let name = match of {
        LabelsOf::Classes => "Class names",
        LabelsOf::Boxes => "Box names",
    };
    row_ui(ui, "Names", "Names of the classes, in the order of the scores", from, |ui, _| {
        let known = known(of);
        let of_list = known.iter().find(|(_, names)| names == labels).map(|(title, _)| *title);
        let chosen = match (labels.len(), of_list) {
            (0, _) => "Numbers".to_owned(),
            (_, Some(title)) => title.to_owned(),
            (named, None) => format!("{} names", count(named as u64)),
        };
        let menu = ComboBox::from_id_salt(name).selected_text(&chosen).show_ui(ui, |ui| {
            for (title, names) in known {
                if ui.selectable_label(of_list == Some(title), title).clicked() {
                    *labels = names;
                }
            }
            let help = "One name per line, or a JSON list";
            if ui.selectable_label(false, "From a text file…").on_hover_text(help).clicked() {
                ctx.send(Command::ShowLabelsDialog(model.path.clone(), of));
            }
            if ui.selectable_label(labels.is_empty(), "Numbers").clicked() {
                labels.clear();
            }
        });
        name_menu(&menu.response, name, &chosen);
    });
    if !labels.is_empty() {
        let first: Vec<&str> = labels.iter().take(6).map(String::as_str).collect();
        below_ui(ui, |ui| {
            drop(ui.add(Label::new(RichText::new(format!("{}, …", first.join(", "))).small().weak()).truncate()));
        });
    }
}
