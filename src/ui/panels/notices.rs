//! Messages: what went wrong, why, and what to do next. They stay until they are dismissed and cover nothing.

use crate::report::CopyProgress;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, RADIUS, space};
use crate::ui::state::{MissingFile, file_name};
use crate::ui::widgets::bytes;

/// A card for each message, below the copy that is being made.
pub fn notices_ui(ui: &mut egui::Ui, ctx: &ViewCtx<'_>) {
    if let Some((missing, progress)) = &ctx.state.copying {
        copy_ui(ui, ctx, missing, *progress);
    }
    for (at, notice) in ctx.state.notices.iter().enumerate() {
        let error = ui.visuals().error_fg_color;
        let frame = egui::Frame::new()
            .fill(ui.visuals().faint_bg_color)
            .stroke(egui::Stroke::new(1.0, error))
            .corner_radius(RADIUS)
            .inner_margin(space::S);
        frame.show(ui, |ui| {
            ui.horizontal(|ui| {
                ui.label(design::strong(&notice.title).color(error));
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                    if ui.small_button("Dismiss").clicked() {
                        ctx.send(Command::DismissNotice(at));
                    }
                    for action in notice.actions.iter().rev() {
                        if ui.small_button(action.label()).on_hover_text(action.explanation()).clicked() {
                            ctx.send(action.command());
                        }
                    }
                    if ui.small_button("Copy").on_hover_text("Copy this message").clicked() {
                        ctx.send(Command::CopyText(format!("{}\n{}", notice.title, notice.details)));
                    }
                });
            });
            ui.add(egui::Label::new(&notice.details).wrap());
        });
        ui.add_space(space::XS);
    }
}

/// How far the copy of a file is that a model needs.
fn copy_ui(ui: &mut egui::Ui, ctx: &ViewCtx<'_>, missing: &MissingFile, progress: CopyProgress) {
    let frame = egui::Frame::new().fill(ui.visuals().faint_bg_color).corner_radius(RADIUS).inner_margin(space::S);
    frame.show(ui, |ui| {
        ui.horizontal(|ui| {
            ui.label(format!("Copying {} beside its model", file_name(&missing.place)));
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                if ui.small_button("Stop").on_hover_text("Stop, and leave nothing of it").clicked() {
                    ctx.send(Command::StopCopy);
                }
                let CopyProgress { done, total } = progress;
                let share = if total > 0 { done as f32 / total as f32 } else { 0.0 };
                let text = format!("{} of {}", bytes(done), bytes(total));
                ui.add(egui::ProgressBar::new(share).text(text));
            });
        });
    });
    ui.add_space(space::XS);
}
