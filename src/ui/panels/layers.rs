//! The overview: every MoE layer with the load of its experts, to choose the layer on screen.

use crate::analysis::Outcome;
use crate::routing::{LayerIdx, LayerRouting};
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, RADIUS, space};
use crate::ui::gpu::{self, BarsStyle, PaneId};
use crate::ui::names::short_names;
use crate::ui::panels::changes;
use egui::{CornerRadius, Rect, Sense, Ui, vec2};

const ROW_HEIGHT: f32 = 26.0;
const FIRST_PANE: u64 = 1000;

/// Height that shows every layer of a small model, and some of a large one, in points.
#[must_use]
pub fn wanted_height(num_layers: usize) -> f32 {
    const MOST_ROWS: usize = 8;
    34.0 + num_layers.clamp(1, MOST_ROWS) as f32 * (ROW_HEIGHT + 2.0)
}

/// Heading and a row per layer: its number, its name, and small bars of its load.
pub fn layers_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    ui.horizontal(|ui| {
        ui.label(design::heading("MoE layers")).on_hover_text(
            "Each bar is one expert: how many patches it handles in that layer. Expert numbers of different layers have nothing to do with each other",
        );
        changes::mark_ui(ui, ctx);
    });
    let Some(shown) = ctx.state.shown() else {
        ui.weak("None yet");
        return;
    };
    if shown.analysis.trace.layers.is_empty() {
        ui.weak("This model has no routers");
        return;
    }
    egui::ScrollArea::vertical().id_salt("layers").auto_shrink(false).min_scrolled_height(ROW_HEIGHT).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 2.0;
        let names: Vec<&str> = shown.analysis.trace.layers.iter().map(LayerRouting::name).collect();
        for (at, short) in short_names(&names).into_iter().enumerate() {
            layer_row_ui(ui, ctx, shown, LayerIdx(at), short);
        }
    });
}

fn layer_row_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, shown: &Outcome, at: LayerIdx, short: &str) {
    let layer = &shown.analysis.trace.layers[at.0];
    let stats = &shown.analysis.layers[at.0].balance;
    let current = ctx.state.view.layer == at;
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW_HEIGHT), Sense::click());
    let name = format!("Layer {}: {}", at.0 + 1, layer.name());
    response.widget_info(|| egui::WidgetInfo::selected(egui::Role::Button, true, current, &name));
    if response.clicked() {
        ctx.send(Command::SelectLayer(at));
    }
    if ui.is_rect_visible(rect) {
        let visuals = ui.style().interact_selectable(&response, current);
        if current || response.hovered() || response.has_focus() {
            ui.painter().rect_filled(rect, CornerRadius::same(RADIUS), visuals.bg_fill);
        }
        let label = egui::RichText::new(format!("{}  {short}", at.0 + 1)).color(visuals.text_color());
        let room = rect.width() / 2.0 - space::S;
        let truncate = Some(egui::TextWrapMode::Truncate);
        let label = egui::WidgetText::from(label).into_galley(ui, truncate, room, egui::TextStyle::Body);
        let corner = rect.left_center() + vec2(space::S, -label.size().y / 2.0);
        ui.painter().galley(corner, label, visuals.text_color());
        let bars = Rect::from_min_max(rect.center_top() + vec2(4.0, 3.0), rect.max - vec2(space::S, 3.0));
        gpu::bars_ui(ui, ctx, PaneId(FIRST_PANE + at.0 as u64), shown, at, (bars, BarsStyle::default()));
    }
    let load = &stats.load_stats;
    response.on_hover_text(format!(
        "{name}\n{} experts, {} of them dead for this image\nCV of the load {:.3}, effective experts {:.2}",
        layer.num_experts(),
        load.dead,
        load.cv,
        load.effective_experts
    ));
}
