//! The table of layers, with a small chart in each row: how many patches of each range of margins changed their experts.

use super::difference;
use crate::analysis::{LayerSum, MarginBin};
use crate::routing::LayerIdx;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{RADIUS, space};
use crate::ui::names::first_upper;
use egui::text::{LayoutJob, TextWrapping};
use egui::{Align2, Color32, Rect, Role, Sense, TextStyle, Ui, WidgetInfo, pos2, vec2};

/// Height of a row, in points.
pub(super) const ROW_HEIGHT: f32 = 28.0;
/// Width of the chart, and of the numbers before and behind it, in points.
const CHART_WIDTH: f32 = 126.0;
const FLIPPED_WIDTH: f32 = 96.0;
const GATES_WIDTH: f32 = 64.0;

/// Where the columns begin: name, patches that changed, chart, gates; the last number is the whole width.
pub(super) fn columns(width: f32) -> [f32; 5] {
    let gates = width - GATES_WIDTH;
    let chart = gates - CHART_WIDTH - space::S;
    [space::S, chart - FLIPPED_WIDTH, chart, gates, width - space::S]
}

pub(super) fn heading_ui(ui: &mut Ui, [name, flipped, chart, _, end]: [f32; 5]) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 18.0), Sense::hover());
    let help = "By margin: seven columns, from below 1e-6 on the left to above 0.1 on the right. The filled part is the share \
                of the patches there that changed their experts";
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, help));
    let font = TextStyle::Small.resolve(ui.style());
    let color = ui.visuals().weak_text_color();
    let text = |x: f32, align, text: &str| {
        ui.painter().text(pos2(rect.left() + x, rect.center().y), align, text, font.clone(), color);
    };
    text(name, Align2::LEFT_CENTER, "Layer");
    text(flipped, Align2::LEFT_CENTER, "Changed");
    text(chart, Align2::LEFT_CENTER, "Margin <1e-6 … >0.1");
    text(end, Align2::RIGHT_CENTER, "Gates ≤");
    response.on_hover_text(help);
}

/// One layer; a click shows it in the picture.
pub(super) fn row_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, (at, layer): (usize, &LayerSum), columns: [f32; 5]) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW_HEIGHT), Sense::click());
    let current = ctx.state.view.layer == LayerIdx(at);
    let told = sentence(&ctx.state.layer_title(LayerIdx(at)), layer);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, current, &told));
    if response.clicked() {
        ctx.send(Command::SelectLayer(LayerIdx(at)));
    }
    if ui.is_rect_visible(rect) {
        let color = ui.style().interact_selectable(&response, current).text_color();
        if current || response.hovered() || response.has_focus() {
            let fill = ui.style().interact_selectable(&response, current).bg_fill;
            ui.painter().rect_filled(rect, RADIUS, fill);
        }
        paint_row(ui, rect, (ctx.state.results.outline().number(LayerIdx(at)), layer), columns, color);
    }
    response.on_hover_text(told);
}

fn paint_row(
    ui: &Ui,
    rect: Rect,
    (number, layer): (usize, &LayerSum),
    [name, flipped, chart, _, end]: [f32; 5],
    color: Color32,
) {
    let font = TextStyle::Body.resolve(ui.style());
    let mut job = LayoutJob::simple_singleline(format!("{number}  {}", layer.name), font.clone(), color);
    job.wrap = TextWrapping::truncate_at_width(flipped - name - space::S);
    let galley = ui.painter().layout_job(job);
    ui.painter().galley(pos2(rect.left() + name, rect.center().y - galley.size().y / 2.0), galley, color);
    let text = |x: f32, align, text: String| {
        ui.painter().text(pos2(rect.left() + x, rect.center().y), align, text, font.clone(), color);
    };
    text(flipped, Align2::LEFT_CENTER, format!("{} of {}", layer.flipped, layer.patches));
    text(end, Align2::RIGHT_CENTER, difference(layer.max_gate_difference));
    let bins = Rect::from_min_size(rect.min + vec2(chart, 4.0), vec2(CHART_WIDTH - space::S, rect.height() - 8.0));
    paint_bins(ui, bins, &layer.by_margin);
}

/// A column for each range of margins: grey where there are patches, filled from below by the share that changed.
fn paint_bins(ui: &Ui, rect: Rect, bins: &[MarginBin]) {
    let width = rect.width() / bins.len().max(1) as f32;
    let (ground, filled) = (ui.visuals().weak_text_color().gamma_multiply(0.3), ui.visuals().hyperlink_color);
    for (at, bin) in bins.iter().enumerate() {
        let left = rect.left() + at as f32 * width;
        let column = Rect::from_min_max(pos2(left + 1.0, rect.top()), pos2(left + width - 1.0, rect.bottom()));
        if bin.patches == 0 {
            ui.painter().rect_filled(column.with_min_y(rect.bottom() - 1.0), 0, ground);
            continue;
        }
        ui.painter().rect_filled(column, 0, ground);
        let share = bin.flipped as f32 / bin.patches as f32;
        // One of thousands has to be seen as well.
        let height = if bin.flipped > 0 { (rect.height() * share).max(2.0) } else { 0.0 };
        ui.painter().rect_filled(column.with_min_y(rect.bottom() - height), 0, filled);
    }
}

/// Everything that the row of a layer of this title shows.
fn sentence(title: &str, layer: &LayerSum) -> String {
    let bins = layer.by_margin.iter().filter(|bin| bin.patches > 0).map(bin_text);
    let bins: Vec<String> = bins.collect();
    format!(
        "{}: {} of {} patches changed experts; by margin: {}; gates differ by {} at most",
        first_upper(title),
        layer.flipped,
        layer.patches,
        bins.join(", "),
        difference(layer.max_gate_difference)
    )
}

fn bin_text(bin: &MarginBin) -> String {
    match bin.below {
        below if below.is_finite() => format!("{} of {} below {below:.0e}", bin.flipped, bin.patches),
        _ => format!("{} of {} above", bin.flipped, bin.patches),
    }
}
