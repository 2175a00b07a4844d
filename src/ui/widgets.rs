//! Small building blocks that several panels share.

use super::ctx::ViewCtx;
use super::design::{space, strong_family};
use crate::routing::ExpertIdx;
use egui::{Align2, Color32, CornerRadius, FontId, Rect, Response, Sense, StrokeKind, TextStyle, Ui, WidgetInfo, vec2};

/// A row with a name on the left, a number on the right, and a bar (0 to 1) below them.
pub fn bar_row(ui: &mut Ui, name: &str, number: &str, share: f32, color: Color32) -> Response {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 24.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(egui::Role::Label, true, format!("{name}: {number}")));
    if !ui.is_rect_visible(rect) {
        return response;
    }
    let font = TextStyle::Body.resolve(ui.style());
    let painter = ui.painter_at(rect);
    let number = painter.layout_no_wrap(number.to_owned(), font.clone(), ui.visuals().text_color());
    let mut name = egui::text::LayoutJob::simple_singleline(name.to_owned(), font, ui.visuals().text_color());
    name.wrap = egui::text::TextWrapping::truncate_at_width(rect.width() - number.size().x - space::S);
    painter.galley(rect.min, ui.painter().layout_job(name), Color32::PLACEHOLDER);
    painter.galley(egui::pos2(rect.right() - number.size().x, rect.top()), number, Color32::PLACEHOLDER);
    let track = Rect::from_min_max(egui::pos2(rect.left(), rect.bottom() - 5.0), rect.max - vec2(0.0, 1.0));
    painter.rect_filled(track, CornerRadius::same(2), ui.visuals().widgets.inactive.bg_fill);
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let filled = track.with_max_x(track.left() + track.width() * share);
    painter.rect_filled(filled, CornerRadius::same(2), color);
    response
}

/// A button in the colour of an expert with its number; `lit` is false while another expert is picked out.
pub fn expert_chip(ui: &mut Ui, ctx: &ViewCtx<'_>, expert: ExpertIdx, lit: bool, picked: bool) -> Response {
    let label = expert.0.to_string();
    let width = 22.0 + 7.0 * label.len().saturating_sub(1) as f32;
    let (rect, response) = ui.allocate_exact_size(vec2(width, 22.0), Sense::click());
    response.widget_info(|| WidgetInfo::selected(egui::Role::Button, true, picked, format!("Expert {label}")));
    if ui.is_rect_visible(rect) {
        let fade = if lit { 1.0 } else { 0.3 };
        let painter = ui.painter();
        painter.rect_filled(rect, CornerRadius::same(4), ctx.color_of(expert).gamma_multiply(fade));
        let font = FontId::new(12.0, strong_family());
        let text = if lit { ctx.text_color_on(expert) } else { ui.visuals().weak_text_color() };
        painter.text(rect.center(), Align2::CENTER_CENTER, label, font, text);
        if picked || response.has_focus() || response.hovered() {
            let stroke = egui::Stroke::new(if picked { 2.0 } else { 1.0 }, ui.visuals().strong_text_color());
            painter.rect_stroke(rect, CornerRadius::same(4), stroke, StrokeKind::Inside);
        }
    }
    response
}

/// A name and a number with a tooltip, as a row of a two-column grid.
pub fn number_row(ui: &mut Ui, name: &str, number: impl Into<String>, explanation: &str) {
    ui.label(egui::RichText::new(name).weak()).on_hover_text(explanation);
    ui.label(number.into()).on_hover_text(explanation);
}

/// Seconds as milliseconds with three figures.
#[must_use]
pub fn millis(secs: f64) -> String {
    let millis = secs * 1e3;
    if millis < 10.0 {
        format!("{millis:.2} ms")
    } else if millis < 100.0 {
        format!("{millis:.1} ms")
    } else {
        format!("{millis:.0} ms")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn milliseconds_keep_three_figures() {
        for (secs, text) in [(0.0012345, "1.23 ms"), (0.0146, "14.6 ms"), (0.9999, "1000 ms"), (12.0, "12000 ms")] {
            assert_eq!(super::millis(secs), text);
        }
    }
}
