//! The pages about the graph as a whole: where its nodes run, what it is made of, what it says in words, and what looked
//! like a router and is none.

use super::facts::{fact_ui, part_ui, table_ui};
use crate::analysis::OpenModel;
use crate::engine::Provider;
use crate::model::routers::RouterReport;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, space};
use crate::ui::widgets::{bytes, count};
use egui::{Label, RichText, ScrollArea, Ui};

/// More of a text is not shown; copying gives all.
const MAX_CHARS: usize = 6000;

/// Which nodes run on which provider, as ONNX Runtime told it.
pub(super) fn placement_ui(ui: &mut Ui, model: &OpenModel) {
    let placement = &model.placement;
    ui.label(design::heading("Where its nodes run"));
    ui.add(Label::new(placement.sentence(model.provider)).wrap());
    let layers = model.routers.routers.len();
    if placement.copies > 0 && layers > 0 {
        let each = placement.copies as f64 / layers as f64;
        ui.add(Label::new(format!("{each:.1} copies for each of {layers} MoE layers")).wrap());
    }
    ui.weak("Counted are the nodes of the graph that ONNX Runtime made of the model's: it fuses and folds some");
    for not_started in &model.not_started {
        fact_ui(ui, "Not used", not_started.to_string());
    }
    ui.add_space(space::S);
    let rows = placement.ops.iter().map(|op| {
        let provider = Provider::from_ort_name(&op.provider).map_or(op.provider.as_str(), |provider| provider.name());
        [op.op.clone(), count(op.count as u64), provider.to_owned()]
    });
    table_ui(ui, [0.5, 0.15, 0.35], rows);
}

/// Parameters by part, and the operators.
pub(super) fn parts_ui(ui: &mut Ui, model: &OpenModel) {
    ui.label(design::heading("Parts")).on_hover_text("By the first parts of the weights' names");
    let parts = model.routers.parts.iter();
    let rows =
        parts.map(|(name, part)| [name.clone(), format!("{} parameters", count(part.parameters)), bytes(part.bytes)]);
    table_ui(ui, [0.5, 0.3, 0.2], rows);
    let description = &model.description;
    part_ui(
        ui,
        &format!("Operators: {} kinds, {} nodes", description.operators.len(), count(description.num_nodes as u64)),
    );
    let mut operators: Vec<(&String, &usize)> = description.operators.iter().collect();
    operators.sort_by_key(|&(_, times)| std::cmp::Reverse(times));
    let rows = operators.chunks(2).map(|two| {
        let cell = |at: usize| {
            two.get(at).map_or_else(Default::default, |(name, times)| [(*name).clone(), count(**times as u64)])
        };
        let ([left, times_left], [right, times_right]) = (cell(0), cell(1));
        [left, times_left, right, times_right]
    });
    table_ui(ui, [0.38, 0.12, 0.38, 0.12], rows);
}

/// Free text by key.
pub(super) fn metadata_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, model: &OpenModel) {
    ui.label(design::heading("Metadata"));
    if model.description.metadata.is_empty() {
        ui.weak("The file says nothing in words");
    }
    for (key, value) in &model.description.metadata {
        ui.add_space(space::S);
        ui.horizontal(|ui| {
            ui.label(design::strong(key));
            ui.weak(bytes(value.len() as u64));
            let copy = ui.small_button("Copy").on_hover_text(format!("Copy all of {key}"));
            copy.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, format!("Copy {key}")));
            if copy.clicked() {
                ctx.send(Command::CopyText(value.clone()));
            }
        });
        let shown = value.char_indices().nth(MAX_CHARS).map_or(value.as_str(), |(end, _)| &value[..end]);
        ScrollArea::vertical().id_salt(key).max_height(180.0).auto_shrink([false, true]).show(ui, |ui| {
            ui.add(Label::new(RichText::new(shown).small()).wrap());
            if shown.len() < value.len() {
                ui.weak("… and more: copy it to see all");
            }
        });
    }
}

/// What looked like a router at first.
pub(super) fn near_misses_ui(ui: &mut Ui, report: &RouterReport) {
    ui.label(design::heading("Near misses")).on_hover_text("What looked like a router at first, and why it is none");
    ui.add(Label::new(format!("The finder {}.", report.looked_at.sentence())).wrap());
    if report.near_misses.is_empty() {
        ui.weak("Nothing looked like a router that is none");
    }
    ui.add_space(space::XS);
    for miss in &report.near_misses {
        ui.horizontal_wrapped(|ui| {
            ui.label(design::strong(&miss.node));
            ui.label(&miss.reason);
        });
    }
}
