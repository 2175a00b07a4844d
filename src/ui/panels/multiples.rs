//! The same image at several values of top-k, side by side.

use crate::render::Overlay;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{RADIUS, space};
use crate::ui::gpu::{self, PaneId};
use crate::ui::state::Multiple;
use egui::{Rect, Sense, StrokeKind, Ui, vec2};

/// Height of the whole row, in points.
pub const HEIGHT: f32 = 108.0;
const FIRST_PANE: u64 = 10;

/// A small picture for each top-k with how much of the routing differs; a click makes it the one that is shown.
pub fn multiples_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let multiples = ctx.state.results.multiples();
    if multiples.len() < 2 {
        return;
    }
    let gap = space::S;
    let width = ((ui.available_width() + gap) / multiples.len() as f32 - gap).min(190.0);
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = gap;
        for multiple in multiples {
            multiple_ui(ui, ctx, multiple, width);
        }
    });
}

fn multiple_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, multiple: &Multiple, width: f32) {
    let layer = ctx.state.view.layer;
    let is_shown = ctx.state.shown().is_some_and(|shown| shown.id == multiple.outcome.id);
    let (rect, response) = ui.allocate_exact_size(vec2(width, HEIGHT), Sense::click());
    let best = multiple.outcome.analysis.predictions.first();
    let changed = multiple.changed.get(layer.0).copied().flatten().map(|changed| changed.common_ranks_changed_share);
    let difference = if is_shown {
        "shown".to_owned()
    } else if ctx.state.results.is_stale(multiple) {
        "updating…".to_owned()
    } else {
        changed.map_or_else(String::new, |share| format!("{:.0} % differ", share * 100.0))
    };
    let name = format!("k = {}", multiple.top_k);
    response.widget_info(|| {
        egui::WidgetInfo::selected(egui::Role::Button, true, is_shown, format!("{name}: {difference}"))
    });
    if response.clicked() {
        ctx.send(Command::SetTopK(multiple.top_k));
    }
    if ui.is_rect_visible(rect) {
        let picture = rect.with_max_y(rect.bottom() - 34.0);
        let overlay = match gpu::overlay(ctx.state) {
            // Rank 3 does not exist at k = 1: the row compares the first choice there.
            Overlay::ChosenExpert { rank } => Overlay::ChosenExpert { rank: rank.min(multiple.top_k - 1) },
            other => other,
        };
        gpu::thumbnail_ui(ui, ctx, PaneId(FIRST_PANE + multiple.top_k as u64), &multiple.outcome, overlay, picture);
        let text = ui.visuals().text_color();
        let font = egui::TextStyle::Small.resolve(ui.style());
        let painter = ui.painter_at(rect);
        let line = |row: f32| rect.left_bottom() + vec2(4.0, -32.0 + row * 15.0);
        painter.text(line(0.0), egui::Align2::LEFT_TOP, format!("{name} · {difference}"), font.clone(), text);
        if let Some(best) = best {
            let said = format!("{} {:.0} %", best.label, best.probability * 100.0);
            painter.text(line(1.0), egui::Align2::LEFT_TOP, said, font, ui.visuals().weak_text_color());
        }
        let stroke = if is_shown {
            egui::Stroke::new(2.0, ui.visuals().hyperlink_color)
        } else if response.hovered() || response.has_focus() {
            ui.visuals().widgets.hovered.fg_stroke
        } else {
            ui.visuals().widgets.noninteractive.bg_stroke
        };
        ui.painter().rect_stroke(rect, RADIUS, stroke, StrokeKind::Inside);
    }
    response.on_hover_text(format!(
        "The model run with {name}.\n\"Differ\" is the share of patches of this layer whose first experts, as many as both runs have, are not the same set as in the shown run.\nClick to show it"
    ));
}

/// The part of a rectangle that a picture of a given size fills when fitted.
#[must_use]
pub fn fitted(pane: Rect, size: egui::Vec2) -> Rect {
    let scale = (pane.size() / size.max(vec2(1.0, 1.0))).min_elem();
    Rect::from_center_size(pane.center(), size * scale)
}
