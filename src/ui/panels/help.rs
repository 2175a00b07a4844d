//! The sheet of shortcuts.

use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design;
use crate::ui::shortcuts::SHORTCUTS;

/// A modal window with every shortcut.
pub fn help_ui(ui: &egui::Ui, ctx: &ViewCtx<'_>) {
    if !ctx.state.help_open {
        return;
    }
    let modal = egui::Modal::new(egui::Id::unique("shortcuts")).show(ui.ctx(), |ui| {
        ui.set_width(400.0);
        ui.label(design::heading("Keyboard shortcuts"));
        ui.add_space(design::space::S);
        egui::Grid::new("shortcut rows").num_columns(2).spacing([24.0, 6.0]).striped(true).show(ui, |ui| {
            let digits = ("1 … 9", "Rank or expert that the heatmap shows");
            let rows = SHORTCUTS.iter().map(|shortcut| (shortcut.text, shortcut.action)).chain([digits]);
            for (keys, action) in rows {
                ui.label(design::strong(keys));
                ui.label(action);
                ui.end_row();
            }
        });
        ui.add_space(design::space::S);
        ui.label("Mouse: drag to pan, wheel to zoom, click a patch to pin it, click an expert to light it");
        ui.add_space(design::space::S);
        ui.button("Close").clicked()
    });
    if modal.inner || modal.should_close() {
        ctx.send(Command::ToggleHelp);
    }
}
