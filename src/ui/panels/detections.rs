//! The objects that a detector found: a list beside the picture, boxes over it, and which experts handled what lies in
//! them.

use crate::analysis::Detection;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, space};
use crate::ui::widgets;
use egui::{Align2, Color32, Rect, Stroke, StrokeKind, Ui, Vec2, vec2};

/// More rows than this would leave no room for the rest.
const MOST_ROWS: usize = 6;
/// Experts that are named for one box.
const MOST_EXPERTS: usize = 4;

/// Heading, and the most probable objects with bars; nothing for a model that detects none.
pub fn detections_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let Some(shown) = ctx.state.shown().filter(|shown| shown.model.card.detection.is_some()) else { return };
    ui.label(design::heading("Objects")).on_hover_text(format!(
        "Boxes of at least {:.0} %. How the model's outputs are to be read as boxes stands in its card",
        Detection::MIN_PROBABILITY * 100.0
    ));
    let detections = &shown.analysis.detections;
    if detections.is_empty() {
        ui.weak(format!("None is as probable as {:.0} %", Detection::MIN_PROBABILITY * 100.0));
    }
    for detection in detections.iter().take(MOST_ROWS) {
        let percent = format!("{:.1} %", detection.probability * 100.0);
        let color = ui.visuals().hyperlink_color;
        widgets::bar_row(ui, &detection.label, &percent, detection.probability, color)
            .on_hover_text(description(ctx, detection));
    }
    if detections.len() > MOST_ROWS {
        ui.weak(format!("and {} less probable ones", detections.len() - MOST_ROWS));
    }
    ui.add_space(space::XS);
}

/// What it is, where, and which experts of the layer on screen handled its patches.
fn description(ctx: &ViewCtx<'_>, detection: &Detection) -> String {
    let rect = &detection.rect;
    let place = format!(
        "{}: {:.1} %\n{:.0} × {:.0} pixels at ({:.0}, {:.0})",
        detection.label,
        detection.probability * 100.0,
        rect.width,
        rect.height,
        rect.x,
        rect.y
    );
    let experts = ctx.state.shown().map(|shown| shown.analysis.experts_in(ctx.state.view.layer, *rect));
    let experts = experts.unwrap_or_default();
    if experts.is_empty() {
        return format!("{place}\nNo patch of this layer has its middle in it");
    }
    let named = experts.iter().take(MOST_EXPERTS);
    let named: Vec<String> = named.map(|(expert, count)| format!("expert {} ({count})", expert.0)).collect();
    let rest = experts.len().saturating_sub(MOST_EXPERTS);
    let rest = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    let layer = ctx.state.layer_title(ctx.state.view.layer);
    format!("{place}\nIts patches in {layer}: {}{rest} (patches that chose it)", named.join(", "))
}

/// The boxes over the picture, each with its name.
pub fn boxes_ui(ui: &Ui, ctx: &ViewCtx<'_>, (image_rect, size): (Rect, Vec2), pane: Rect) {
    let Some(shown) = ctx.state.shown() else { return };
    let painter = ui.painter_at(pane);
    let scale = image_rect.width() / size.x;
    let font = egui::TextStyle::Small.resolve(ui.style());
    // The least probable first, so that the best name lies on top.
    for detection in shown.analysis.detections.iter().rev() {
        let at = &detection.rect;
        let corner = image_rect.min + vec2(at.x, at.y) * scale;
        let rect = Rect::from_min_size(corner, vec2(at.width, at.height) * scale);
        painter.rect_stroke(rect, 2, Stroke::new(4.0, Color32::from_black_alpha(150)), StrokeKind::Middle);
        painter.rect_stroke(rect, 2, Stroke::new(2.0, Color32::WHITE), StrokeKind::Middle);
        let text = format!("{} {:.0} %", detection.label, detection.probability * 100.0);
        let galley = painter.layout_no_wrap(text, font.clone(), Color32::WHITE);
        let label = Align2::LEFT_BOTTOM.anchor_size(rect.left_top(), galley.size() + vec2(8.0, 2.0));
        let label = label.translate(vec2(0.0, (pane.top() - label.top()).max(0.0)));
        painter.rect_filled(label, 2, Color32::from_black_alpha(190));
        painter.galley(label.min + vec2(4.0, 1.0), galley, Color32::WHITE);
    }
}
