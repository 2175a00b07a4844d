//! Every number of one patch: its experts, their combine weights, and the full gate vector.

use crate::analysis::{LayerSource, Outcome, TokenPlace};
use crate::routing::{ExpertIdx, LayerRouting, PatchIdx};
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, RADIUS, SWATCH, space};
use crate::ui::panels::changes;
use crate::ui::panels::legend::{ABOUT_SHARED, shared_experts};
use crate::ui::panels::slots::slots_ui;
use crate::ui::widgets::shared_swatch;
use egui::{Color32, CornerRadius, Rect, Sense, Ui, vec2};

/// With more experts than this only the most probable ones get a row.
const MAX_ROWS: usize = 8;

/// Heading, and one row per expert of the hovered or pinned patch, the most probable first.
pub fn inspector_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let (Some(layer), Some(shown)) = (ctx.state.shown_layer(), ctx.state.shown()) else { return };
    let Some(patch) = ctx.inspected() else {
        ui.label(design::heading("Patch"));
        ui.weak("Point at a patch to see its gate; click to pin it");
        return;
    };
    heading_ui(ui, ctx, shown, patch);
    if layer.num_serving(patch) == 0 {
        ui.weak("No expert handles it: it passes the layer by the residual connection alone");
    }
    // What the picture shows comes first.
    let slots_first = ctx.state.overlay().slot_weight().is_some();
    if let Some(slots) = layer.slots().filter(|_| slots_first) {
        slots_ui(ui, ctx, slots, patch);
    }
    header_ui(ui, layer);
    let rows = listed(layer, patch);
    for &expert in &rows {
        expert_row_ui(ui, ctx, layer, patch, expert);
    }
    if layer.num_experts() > rows.len() {
        let others = layer.num_experts() - rows.len();
        ui.weak(if layer.has_gate_probs() {
            format!("and {others} less probable experts")
        } else {
            format!("{others} experts are not chosen; the router has no probability for each")
        });
    }
    if let Some(shared) = shared_experts(ctx) {
        ui.horizontal(|ui| {
            shared_swatch(ui);
            ui.weak(shared).on_hover_text(ABOUT_SHARED);
        });
    }
    if let Some(slots) = layer.slots().filter(|_| !slots_first) {
        slots_ui(ui, ctx, slots, patch);
    }
}

/// Which token it is, with what there is to do with it.
fn heading_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, shown: &Outcome, patch: PatchIdx) {
    match ctx.state.shown_place() {
        Some(TokenPlace::Image) => {
            ui.label(design::heading("Whole image")).on_hover_text("This router decides once for the whole image");
        }
        Some(TokenPlace::Unplaced) => token_heading_ui(ui, ctx, patch),
        Some(TokenPlace::Patches(_)) | None => patch_heading_ui(ui, ctx, shown, patch),
    }
}

fn patch_heading_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, shown: &Outcome, patch: PatchIdx) {
    let (row, col) = shown.analysis.grid_or_whole(ctx.state.view.layer).row_col(patch);
    ui.horizontal(|ui| {
        ui.label(design::heading(&format!("Patch ({row}, {col})")))
            .on_hover_text(format!("Row {row}, column {col}, both from 0: patch {} of this image", patch.0));
        if ctx.state.view.pinned == Some(patch) {
            if ui.small_button("Unpin").on_hover_text("Key: Esc").clicked() {
                ctx.send(Command::Pin(patch));
            }
        } else {
            ui.weak("click to pin");
        }
    });
}

/// Tokens that cannot be pointed at are chosen by their number.
fn token_heading_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, patch: PatchIdx) {
    let count = ctx.state.shown_layer().map_or(0, LayerRouting::num_tokens);
    ui.horizontal(|ui| {
        let label = ui.label(design::heading("Token"));
        let mut chosen = patch.0;
        let number = egui::DragValue::new(&mut chosen).range(0..=count.saturating_sub(1)).speed(0.1);
        let response = ui.add(number).labelled_by(label.id).on_hover_text("Drag, or click and type a number");
        if response.changed() {
            ctx.send(Command::Pin(PatchIdx(chosen)));
        }
        ui.weak(format!("of {count}, from 0"));
    });
}

/// At most [`MAX_ROWS`], the most probable first; without probabilities the chosen ones.
fn listed(layer: &LayerRouting, patch: PatchIdx) -> Vec<ExpertIdx> {
    if !layer.has_gate_probs() {
        return layer.experts_of(patch).to_vec();
    }
    let order = crate::routing::top_indices(layer.gate_probs_of(patch), MAX_ROWS);
    order.into_iter().map(|expert| ExpertIdx(expert as u32)).collect()
}

/// Widths of the columns: expert, gate bar, gate probability, combine weight.
fn columns(width: f32, num_experts: usize) -> [f32; 4] {
    // A million experts need seven digits.
    let digits = if num_experts > 9_999 { 58.0 } else { 26.0 };
    let fixed = [SWATCH + digits, 48.0, 76.0];
    [fixed[0], (width - fixed.iter().sum::<f32>()).max(20.0), fixed[1], fixed[2]]
}

fn header_ui(ui: &mut Ui, layer: &LayerRouting) {
    let [expert, bar, ..] = columns(ui.available_width(), layer.num_experts());
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 15.0), Sense::hover());
    let font = egui::TextStyle::Small.resolve(ui.style());
    let color = ui.visuals().weak_text_color();
    let text = |x: f32, align, text: &str| {
        ui.painter().text(egui::pos2(rect.left() + x, rect.center().y), align, text, font.clone(), color);
    };
    text(0.0, egui::Align2::LEFT_CENTER, "Expert");
    if layer.has_gate_probs() {
        text(expert, egui::Align2::LEFT_CENTER, "Gate probability");
    }
    text(expert + bar + 44.0 + 80.0, egui::Align2::RIGHT_CENTER, "Combine weight");
}

fn expert_row_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, layer: &LayerRouting, patch: PatchIdx, expert: ExpertIdx) {
    let rank = layer.experts_of(patch).iter().position(|chosen| *chosen == expert);
    let weight = rank.map(|rank| layer.weights_of(patch)[rank]);
    let probability = layer.gate_probs_of(patch).get(expert.0 as usize).copied();
    let width = ui.available_width();
    let (rect, response) = ui.allocate_exact_size(vec2(width, 17.0), Sense::hover());
    let chosen = match (rank, weight) {
        (Some(rank), Some(weight)) => choice_words(rank, weight, knows_drops(ctx)),
        _ => "not chosen".to_owned(),
    };
    let gate = probability.map_or_else(String::new, |probability| format!("gate probability {probability:.4}, "));
    let sentence = format!("Expert {}: {gate}{chosen}", expert.0);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &sentence));
    if ui.is_rect_visible(rect) {
        let widths = columns(width, layer.num_experts());
        paint_row(ui, (rect, widths), (expert, ctx.color_of(expert)), probability, rank.zip(weight));
    }
    changes::expert_menu(ui, ctx, &response, expert);
    response.on_hover_text(sentence);
}

/// Whether the graph tells for which choices the experts of the layer on screen had room.
fn knows_drops(ctx: &ViewCtx<'_>) -> bool {
    match ctx.state.shown_source().map(|layer| &layer.source) {
        Some(LayerSource::Read(recipe)) => recipe.knows_drops(),
        Some(LayerSource::Declared) | None => false,
    }
}

/// What became of a choice.
fn choice_words(rank: usize, weight: f32, knows_drops: bool) -> String {
    let rank = rank + 1;
    match (weight == 0.0, knows_drops) {
        (true, true) => format!("chosen at rank {rank}, but dropped: the expert had no room for it"),
        (true, false) => format!("chosen at rank {rank}, but without a say: combine weight 0"),
        (false, _) => format!("chosen at rank {rank}, combine weight {weight:.4}"),
    }
}

fn paint_row(
    ui: &Ui,
    (rect, [expert_width, bar_width, number_width, weight_width]): (Rect, [f32; 4]),
    (expert, expert_color): (ExpertIdx, Color32),
    probability: Option<f32>,
    chosen: Option<(usize, f32)>,
) {
    let painter = ui.painter();
    let fade = if chosen.is_some() { 1.0 } else { 0.45 };
    let swatch = Rect::from_min_size(egui::pos2(rect.left(), rect.center().y - SWATCH / 2.0), vec2(SWATCH, SWATCH));
    painter.rect_filled(swatch, CornerRadius::same(3), expert_color.gamma_multiply(fade));
    let font = egui::TextStyle::Body.resolve(ui.style());
    let color = if chosen.is_some() { ui.visuals().text_color() } else { ui.visuals().weak_text_color() };
    let left = egui::Align2::LEFT_CENTER;
    painter.text(swatch.right_center() + vec2(space::XS, 0.0), left, expert.0, font.clone(), color);
    let number_right = rect.left() + expert_width + bar_width + number_width - space::S;
    let right = egui::Align2::RIGHT_CENTER;
    if let Some(probability) = probability {
        let track = Rect::from_min_size(
            egui::pos2(rect.left() + expert_width, rect.top() + 4.0),
            vec2(bar_width - space::XS, rect.height() - 8.0),
        );
        painter.rect_filled(track, CornerRadius::same(2), ui.visuals().widgets.inactive.bg_fill);
        let share = if probability.is_finite() { probability.clamp(0.0, 1.0) } else { 0.0 };
        let bar = track.with_max_x(track.left() + track.width() * share);
        painter.rect_filled(bar, CornerRadius::same(RADIUS / 3), expert_color.gamma_multiply(fade));
        painter.text(
            egui::pos2(number_right, rect.center().y),
            right,
            format!("{probability:.3}"),
            font.clone(),
            color,
        );
    }
    if let Some((rank, weight)) = chosen {
        let text = format!("#{}  {}{weight:.3}", rank + 1, if weight == 0.0 { "× " } else { "" });
        let at = egui::pos2(number_right + weight_width, rect.center().y);
        painter.text(at, right, text, font, ui.visuals().strong_text_color());
    }
}

#[cfg(test)]
mod tests {
    use super::choice_words;

    #[test]
    fn a_choice_without_weight_says_why_where_that_is_known() {
        assert_eq!(choice_words(0, 0.25, true), "chosen at rank 1, combine weight 0.2500");
        assert_eq!(choice_words(1, 0.0, true), "chosen at rank 2, but dropped: the expert had no room for it");
        assert_eq!(choice_words(1, 0.0, false), "chosen at rank 2, but without a say: combine weight 0");
    }
}
