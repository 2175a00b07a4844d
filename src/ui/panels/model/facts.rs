//! How the pages of the sheet write down a fact: its name on the left, its value on the right, where it can be selected
//! and copied.

use crate::ui::design::{self, space};
use crate::ui::widgets::{warning_frame, warning_sign};
use egui::{Color32, Frame, Label, RichText, Sense, Ui, WidgetText, vec2};

/// Width of the names, in points.
const NAME_WIDTH: f32 = 132.0;

/// A name and its value, which wraps.
pub(super) fn fact_ui(ui: &mut Ui, name: &str, value: impl Into<WidgetText>) {
    row_ui(ui, name, |ui| drop(ui.add(Label::new(value).wrap())));
}

/// A name and what `value` draws.
pub(super) fn row_ui(ui: &mut Ui, name: &str, value: impl FnOnce(&mut Ui)) {
    ui.horizontal_top(|ui| {
        let height = ui.text_style_height(&egui::TextStyle::Body);
        ui.allocate_ui(vec2(NAME_WIDTH, height), |ui| {
            ui.set_min_width(NAME_WIDTH);
            ui.add(Label::new(RichText::new(name).weak()).wrap());
        });
        ui.vertical(value);
    });
}

/// The heading of a part of a page.
pub(super) fn part_ui(ui: &mut Ui, heading: &str) {
    ui.add_space(space::S);
    ui.label(design::heading(heading));
}

/// Rows of columns whose widths are fractions of the room; what is too long is cut, and whole on hover.
pub(super) fn table_ui<const N: usize>(ui: &mut Ui, widths: [f32; N], rows: impl IntoIterator<Item = [String; N]>) {
    let height = ui.text_style_height(&egui::TextStyle::Body) + 4.0;
    let room = ui.available_width() - (N as f32) * ui.spacing().item_spacing.x;
    for (at, row) in rows.into_iter().enumerate() {
        let fill = if at % 2 == 0 { ui.visuals().faint_bg_color } else { Color32::TRANSPARENT };
        Frame::new().fill(fill).corner_radius(2).show(ui, |ui| {
            ui.horizontal(|ui| {
                for (column, (text, width)) in row.into_iter().zip(widths).enumerate() {
                    ui.allocate_ui(vec2(room * width, height), |ui| {
                        ui.set_min_width(room * width);
                        let text = RichText::new(text);
                        ui.add(Label::new(if column == 0 { text } else { text.weak() }).truncate());
                    });
                }
            });
        });
    }
}

/// Sentences that a person should know before believing the pictures, in a frame of their own.
pub(super) fn warnings_ui<'a>(ui: &mut Ui, warnings: impl IntoIterator<Item = (&'a str, String)>) {
    let mut warnings = warnings.into_iter().peekable();
    if warnings.peek().is_none() {
        return;
    }
    let warn = ui.visuals().warn_fg_color;
    warning_frame(ui).show(ui, |ui| {
        for (warning, whose) in warnings {
            ui.horizontal_top(|ui| {
                let (rect, _) = ui.allocate_exact_size(vec2(14.0, 18.0), Sense::hover());
                warning_sign(ui.painter(), rect, warn);
                ui.vertical(|ui| {
                    ui.add(Label::new(warning).wrap());
                    if !whose.is_empty() {
                        ui.weak(whose);
                    }
                });
            });
        }
    });
    ui.add_space(space::XS);
}
