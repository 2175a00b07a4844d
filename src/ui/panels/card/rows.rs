//! Rows of the sheet: a name, a control, and where the value is from.

use super::draft::Origin;
use crate::model::geometry::Basis;
use crate::ui::design::{self, RADIUS, space};
use egui::{
    Align, ComboBox, CornerRadius, Frame, Id, Label, Layout, Margin, Response, RichText, Role, Ui, WidgetInfo, vec2,
};

/// Width of the names, in points.
const NAME_WIDTH: f32 = 96.0;

/// A part of the sheet begins.
pub(super) fn part_ui(ui: &mut Ui, title: &str) {
    ui.add_space(space::S);
    ui.label(design::strong(title));
    ui.separator();
}

/// A row; the control gets the identity of its name. What is assumed says why below it.
pub(super) fn row_ui(ui: &mut Ui, name: &str, help: &str, origin: Origin<'_>, control: impl FnOnce(&mut Ui, Id)) {
    ui.horizontal(|ui| {
        let name = Label::new(RichText::new(name)).truncate();
        let size = vec2(NAME_WIDTH, ui.spacing().interact_size.y);
        let name = ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
            ui.set_min_width(NAME_WIDTH);
            ui.add(name).on_hover_text(help)
        });
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            chip_ui(ui, origin);
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| control(ui, name.inner.id));
        });
    });
    if let Origin::Guess(Basis::Assumed, why) = origin {
        below_ui(ui, |ui| drop(ui.add(Label::new(RichText::new(why).small().weak()).wrap())));
    }
}

/// Something below the control of a row.
pub(super) fn below_ui(ui: &mut Ui, content: impl FnOnce(&mut Ui)) {
    let left = (NAME_WIDTH + space::S) as i8;
    Frame::new().inner_margin(Margin { left, bottom: 3, ..Margin::ZERO }).show(ui, content);
}

fn chip_ui(ui: &mut Ui, origin: Origin<'_>) {
    let visuals = ui.visuals();
    let (text, color, why) = match origin {
        Origin::Card => return,
        Origin::Changed => ("changed", visuals.hyperlink_color, "Changed on this sheet, and not saved"),
        Origin::Guess(Basis::Graph, why) => ("read from the graph", visuals.weak_text_color(), why),
        Origin::Guess(Basis::Preset, why) => ("usual for its kind", visuals.weak_text_color(), why),
        Origin::Guess(Basis::Assumed, why) => ("assumed", visuals.warn_fg_color, why),
    };
    let chip = Frame::new()
        .fill(visuals.faint_bg_color)
        .stroke(visuals.window_stroke)
        .corner_radius(CornerRadius::same(RADIUS));
    chip.inner_margin(Margin::symmetric(6, 1)).show(ui, |ui| {
        ui.label(RichText::new(text).small().color(color)).on_hover_text(why);
    });
}

/// A menu of a few values, each with its name and what it means.
pub(super) fn menu_ui<T: Copy + PartialEq>(ui: &mut Ui, name: &str, value: &mut T, values: &[(T, &str, &str)]) {
    let chosen = values.iter().find(|(of, ..)| of == value).map_or("Other", |(_, text, _)| *text);
    let menu = ComboBox::from_id_salt(name).selected_text(chosen).show_ui(ui, |ui| {
        for (of, text, help) in values {
            ui.selectable_value(value, *of, *text).on_hover_text(*help);
        }
    });
    name_menu(&menu.response, name, chosen);
}

/// The name under which a menu is found, with what is chosen.
pub(super) fn name_menu(menu: &Response, name: &str, chosen: &str) {
    menu.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, format!("{name}: {chosen}")));
}
