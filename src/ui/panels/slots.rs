//! The slots of a Soft MoE with one patch: how much of the patch each slot is mixed of, and how much of each slot the patch
//! gets back.

use crate::routing::{PatchIdx, SlotIdx, SlotWeight, SlotWeights, top_indices};
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{RADIUS, SWATCH, space};
use egui::{Align2, CornerRadius, Rect, Role, Sense, TextStyle, Ui, WidgetInfo, pos2, vec2};

/// With more slots than this only those with the largest combine weights get a row.
const MAX_ROWS: usize = 6;
/// Width of each column of numbers.
const NUMBER: f32 = 76.0;

/// A heading, and a row per slot: the one on screen, then those with the largest combine weights.
pub fn slots_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, slots: &SlotWeights, patch: PatchIdx) {
    ui.add_space(space::XS);
    header_ui(ui);
    let shown = ctx.state.overlay().slot_weight().map(|_| ctx.state.view.slot);
    let rows = listed(slots, patch, shown);
    for &slot in &rows {
        slot_row_ui(ui, ctx, slots, (patch, slot), shown == Some(slot));
    }
    let others = slots.num_slots() - rows.len();
    if others > 0 {
        ui.weak(format!("and {others} other slots"));
    }
}

/// The slots that get a row, in their order.
fn listed(slots: &SlotWeights, patch: PatchIdx, shown: Option<SlotIdx>) -> Vec<SlotIdx> {
    let order = top_indices(slots.of_patch(SlotWeight::Combine, patch), MAX_ROWS).into_iter().map(SlotIdx);
    shown.into_iter().chain(order.filter(|slot| Some(*slot) != shown)).take(MAX_ROWS).collect()
}

fn header_ui(ui: &mut Ui) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 15.0), Sense::hover());
    let font = TextStyle::Small.resolve(ui.style());
    let color = ui.visuals().weak_text_color();
    let text = |x: f32, align: Align2, text: &str| {
        ui.painter().text(pos2(x, rect.center().y), align, text, font.clone(), color);
    };
    text(rect.left(), Align2::LEFT_CENTER, "Slot");
    text(rect.right() - NUMBER - space::XS, Align2::RIGHT_CENTER, "Dispatch");
    text(rect.right() - space::XS, Align2::RIGHT_CENTER, "Combine");
    response.on_hover_text(
        "Dispatch weight: this patch's share of what the slot's expert gets.\nCombine weight: the slot's share of what this \
         patch gets back.",
    );
}

fn slot_row_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, slots: &SlotWeights, (patch, slot): (PatchIdx, SlotIdx), picked: bool) {
    let (expert, number) = slots.place_of(slot);
    let [dispatch, combine] = [SlotWeight::Dispatch, SlotWeight::Combine]
        .map(|weight| slots.of_patch(weight, patch).get(slot.0).copied().unwrap_or(f32::NAN));
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 17.0), Sense::click());
    let sentence =
        format!("Slot {number} of expert {}: dispatch weight {dispatch:.4}, combine weight {combine:.4}", expert.0);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, picked, &sentence));
    if response.clicked() {
        ctx.send(Command::SelectSlot(slot));
    }
    if ui.is_rect_visible(rect) {
        let visuals = ui.style().interact_selectable(&response, picked);
        let painter = ui.painter();
        if picked || response.hovered() || response.has_focus() {
            painter.rect_filled(rect, CornerRadius::same(RADIUS / 2), visuals.bg_fill);
        }
        let swatch = Rect::from_min_size(pos2(rect.left(), rect.center().y - SWATCH / 2.0), vec2(SWATCH, SWATCH));
        painter.rect_filled(swatch, CornerRadius::same(3), ctx.color_of(expert));
        let (font, color) = (TextStyle::Body.resolve(ui.style()), visuals.text_color());
        let name = format!("{} · slot {number}", expert.0);
        let beside = swatch.right_center() + vec2(space::XS, 0.0);
        painter.text(beside, Align2::LEFT_CENTER, name, font.clone(), color);
        for (right, weight) in [(rect.right() - NUMBER, dispatch), (rect.right(), combine)] {
            let at = pos2(right - space::XS, rect.center().y);
            painter.text(at, Align2::RIGHT_CENTER, format!("{weight:.4}"), font.clone(), color);
        }
    }
    response.on_hover_text(format!("{sentence}\nClick: the heatmap shows this slot"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_that_a_patch_takes_most_from_are_listed_and_the_one_on_screen() {
        // One patch, 8 slots; slot s has s % 5.
        let combine: Vec<f32> = (0..8).map(|slot| (slot % 5) as f32).collect();
        let slots = SlotWeights::new("layer", 4, 2, vec![0.0; 8], combine).unwrap();
        let rows = |shown: Option<usize>| {
            listed(&slots, PatchIdx(0), shown.map(SlotIdx)).into_iter().map(|slot| slot.0).collect::<Vec<_>>()
        };
        assert_eq!(rows(None), [4, 3, 2, 7, 1, 6]);
        assert_eq!(rows(Some(7)), [7, 4, 3, 2, 1, 6]);
        assert_eq!(rows(Some(0)), [0, 4, 3, 2, 7, 1]);
    }
}
