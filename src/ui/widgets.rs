//! Small building blocks that several panels share.

use super::ctx::ViewCtx;
use super::design::{RADIUS, SWATCH, space, strong_family};
use crate::routing::ExpertIdx;
use egui::{
    Align2, Color32, CornerRadius, FontId, Frame, Id, Rect, Response, Sense, Stroke, StrokeKind, TextStyle, Ui, Vec2,
    WidgetInfo, Window, vec2,
};

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

/// A window over the right side that can be moved, so that the picture stays in sight: `size` points large, or what the
/// whole window has room for, with `around` points above and below left free.
pub fn side_window(ui: &Ui, name: &str, size: Vec2, around: f32, content: impl FnOnce(&mut Ui)) {
    let room = ui.ctx().content_rect();
    let size = size.min(room.size() - vec2(40.0, around));
    Window::new(name)
        .id(Id::unique(name))
        .title_bar(false)
        .frame(Frame::window(ui.style()))
        .default_size(size)
        .min_width(360.0)
        .default_pos(room.right_top() + vec2(-size.x - 10.0, 44.0))
        .show(ui.ctx(), content);
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
            let stroke = Stroke::new(if picked { 2.0 } else { 1.0 }, ui.visuals().strong_text_color());
            painter.rect_stroke(rect, CornerRadius::same(4), stroke, StrokeKind::Inside);
        }
    }
    response
}

/// The mark of experts that handle every patch: round, and in no expert's colour.
pub fn shared_swatch(ui: &mut Ui) {
    let (rect, _) = ui.allocate_exact_size(vec2(SWATCH, SWATCH), Sense::hover());
    ui.painter().circle_filled(rect.center(), SWATCH / 2.0 - 1.0, ui.visuals().weak_text_color());
}

/// The frame around what a person should know before believing the pictures.
pub fn warning_frame(ui: &Ui) -> Frame {
    Frame::new()
        .fill(ui.visuals().faint_bg_color)
        .stroke(Stroke::new(1.0, ui.visuals().warn_fg_color))
        .corner_radius(RADIUS)
        .inner_margin(space::S)
}

/// A triangle with an exclamation mark (no bundled font has the sign), as high as a line of text.
pub fn warning_sign(painter: &egui::Painter, rect: Rect, color: Color32) {
    let side = rect.width().min(rect.height());
    let triangle = Rect::from_center_size(rect.center(), vec2(side, side * 0.88));
    let corners = vec![triangle.center_top(), triangle.right_bottom(), triangle.left_bottom()];
    painter.add(egui::Shape::closed_line(corners, Stroke::new(1.5, color)));
    let (x, top) = (triangle.center().x, triangle.top());
    painter.vline(x, top + side * 0.32..=top + side * 0.58, Stroke::new(1.5, color));
    painter.circle_filled(egui::pos2(x, top + side * 0.72), 0.9, color);
}

/// A name and a number with a tooltip, as a row of a two-column grid.
pub fn number_row(ui: &mut Ui, name: &str, number: impl Into<String>, explanation: &str) {
    ui.label(egui::RichText::new(name).weak()).on_hover_text(explanation);
    ui.label(number.into()).on_hover_text(explanation);
}

/// A number with its thousands apart: `6,878,138`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three figures and a unit: `6.88 million`.
#[must_use]
pub fn rounded(number: u64) -> String {
    let units = [(1_000_000_000_000_u64, "trillion"), (1_000_000_000, "billion"), (1_000_000, "million")];
    // From half a figure below on, three figures round up to the next unit.
    let unit = units.into_iter().find(|&(unit, _)| number as f64 >= unit as f64 * 0.9995);
    match unit {
        Some((unit, name)) => format!("{} {name}", three_figures(number as f64 / unit as f64)),
        None => count(number),
    }
}

/// Bytes with three figures: `27.6 MB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.into_iter().find(|&(unit, _)| number as f64 >= unit * 0.9995) {
        Some((unit, name)) => format!("{} {name}", three_figures(number as f64 / unit)),
        None => format!("{number} bytes"),
    }
}

fn three_figures(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
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
    use super::{bytes, count, rounded};

    #[test]
    fn large_numbers_are_easy_to_read() {
        for (number, exact, short) in [
            (0, "0", "0"),
            (999, "999", "999"),
            (123_456, "123,456", "123,456"),
            (999_499, "999,499", "999,499"),
            (999_600, "999,600", "1.00 million"),
            (6_878_138, "6,878,138", "6.88 million"),
            (46_700_000_000, "46,700,000,000", "46.7 billion"),
            (1_600_000_000_000, "1,600,000,000,000", "1.60 trillion"),
        ] {
            assert_eq!((count(number).as_str(), rounded(number).as_str()), (exact, short));
        }
        let sizes = [(0, "0 bytes"), (999, "999 bytes"), (27_600_000, "27.6 MB"), (2_147_483_648, "2.15 GB")];
        for (number, text) in sizes {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn milliseconds_keep_three_figures() {
        for (secs, text) in [(0.0012345, "1.23 ms"), (0.0146, "14.6 ms"), (0.9999, "1000 ms"), (12.0, "12000 ms")] {
            assert_eq!(super::millis(secs), text);
        }
    }
}
