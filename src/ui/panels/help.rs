//! The sheet of shortcuts.

use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design;
use crate::ui::shortcuts::{OTHERS, SHORTCUTS};
use crate::ui::state::Sheet;

/// A modal window with every shortcut.
pub fn help_ui(ui: &egui::Ui, ctx: &ViewCtx<'_>) {
    if ctx.state.sheet != Some(Sheet::Shortcuts) {
        return;
    }
    let modal = egui::Modal::new(egui::Id::unique("shortcuts")).show(ui.ctx(), |ui| {
        ui.set_width(640.0);
        ui.label(design::heading("Keyboard shortcuts"));
        ui.add_space(design::space::S);
        let table = SHORTCUTS.iter().map(|shortcut| (shortcut.text, shortcut.action));
        let rows: Vec<(&str, &str)> = table.chain(OTHERS.iter().copied()).collect();
        let half = rows.len().div_ceil(2);
        egui::Grid::new("shortcut rows").num_columns(4).spacing([20.0, 4.0]).striped(true).show(ui, |ui| {
            for row in 0..half {
                for (keys, action) in [rows.get(row), rows.get(half + row)].into_iter().flatten() {
                    ui.label(design::strong(*keys));
                    ui.label(*action);
                }
                ui.end_row();
            }
        });
        ui.add_space(design::space::S);
        ui.label("Mouse: drag to pan, wheel to zoom, click a patch to pin it, click an expert to light it");
        ui.add_space(design::space::S);
        ui.button("Close").clicked()
    });
    if modal.inner || modal.should_close() {
        ctx.send(Command::ToggleSheet(Sheet::Shortcuts));
    }
}
