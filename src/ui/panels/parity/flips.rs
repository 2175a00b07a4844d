//! The images of a comparison, and the patches of the shown one that changed their experts: a click shows each in the
//! picture.

use super::difference;
use crate::analysis::{Flip, Parity};
use crate::routing::{ExpertIdx, LayerIdx, PatchGrid};
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, space};
use crate::ui::names::first_upper;
use egui::{Label, ScrollArea, TextStyle, Ui};

/// Most height of each of the lists, in points.
const LIST_HEIGHT: f32 = 150.0;

/// A row for each image, where there are several.
pub(super) fn images_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let images = &ctx.state.parity.images;
    if images.len() < 2 {
        return;
    }
    ui.add_space(space::S);
    ui.label(design::heading("Images"));
    let shown = ctx.state.images.current().map(|entry| entry.id);
    list_ui(ui, "parity images", images.len(), |ui, at| {
        let (id, result) = &images[at];
        let title = ctx.state.images.get(*id).map_or("closed image", |entry| &entry.title);
        let text = match result {
            Ok(parity) => format!("{title}: {}", image_text(parity)),
            Err(_) => format!("{title}: cannot be compared"),
        };
        if ui.selectable_label(shown == Some(*id), text).on_hover_text("Show this image").clicked() {
            ctx.send(Command::SelectImage(*id));
        }
    });
}

fn image_text(parity: &Parity) -> String {
    let class = if parity.same_best_class { "" } else { "; another best class" };
    format!("{} changed; logits differ by {}{class}", parity.num_flips(), difference(parity.max_logit_difference))
}

/// The patches of the shown image that changed, layer by layer, the smallest margin first.
pub(super) fn flips_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let Some(shown) = ctx.state.shown() else { return };
    ui.add_space(space::S);
    ui.label(design::heading("Patches of this image that changed"));
    let Some(parity) = ctx.shown_parity() else {
        ui.add(Label::new("This image was not compared at this top-k: compare again to see its patches").wrap());
        return;
    };
    if parity.num_flips() == 0 {
        ui.weak("None: every patch has the same experts on both");
        return;
    }
    list_ui(ui, "parity flips", parity.num_flips(), |ui, at| {
        let Some((layer, flip)) = nth_flip(parity, at) else { return };
        let text = flip_text(&ctx.state.layer_title(layer), flip, shown.analysis.grid(layer));
        let picked = ctx.state.view.layer == layer && ctx.state.view.pinned == Some(flip.patch);
        if ui.selectable_label(picked, text).on_hover_text("Show this patch in the picture").clicked() {
            ctx.send(Command::ShowPatch { layer, patch: flip.patch });
        }
    });
}

/// The flips of all layers counted through.
fn nth_flip(parity: &Parity, mut at: usize) -> Option<(LayerIdx, &Flip)> {
    for (layer, flips) in parity.layers.iter().map(|layer| &layer.flips).enumerate() {
        match flips.get(at) {
            Some(flip) => return Some((LayerIdx(layer), flip)),
            None => at -= flips.len(),
        }
    }
    None
}

fn flip_text(layer: &str, flip: &Flip, grid: Option<PatchGrid>) -> String {
    let experts = |experts: &[ExpertIdx]| {
        let experts: Vec<String> = experts.iter().map(|expert| expert.0.to_string()).collect();
        experts.join(" ")
    };
    let place = grid.map_or_else(
        || format!("token {}", flip.patch.0),
        |grid| {
            let (row, col) = grid.row_col(flip.patch);
            format!("patch ({row}, {col})")
        },
    );
    let (from, to) = (experts(&flip.from), experts(&flip.to));
    format!("{} · {place}: experts {from} → {to} · margin {:.1e}", first_upper(layer), flip.margin)
}

/// Rows of text, of which only those in view are laid out.
fn list_ui(ui: &mut Ui, name: &str, count: usize, mut row: impl FnMut(&mut Ui, usize)) {
    let height = ui.text_style_height(&TextStyle::Button).max(ui.spacing().interact_size.y);
    let area = ScrollArea::vertical().id_salt(name).max_height(LIST_HEIGHT).auto_shrink([false, true]);
    area.show_rows(ui, height, count, |ui, rows| rows.for_each(|at| row(ui, at)));
}
