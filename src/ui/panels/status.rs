//! The bottom line: what is on screen, in one sentence.

use crate::analysis::TokenPlace;
use crate::routing::{LayerRouting, PatchIdx, SlotWeight};
use crate::ui::ctx::ViewCtx;

/// Name and size of the image, the layer, and the patch under the pointer.
pub fn status_ui(ui: &mut egui::Ui, ctx: &ViewCtx<'_>) {
    ui.horizontal_centered(|ui| {
        ui.add(egui::Label::new(egui::RichText::new(sentence(ctx)).small()).truncate());
    });
}

fn sentence(ctx: &ViewCtx<'_>) -> String {
    let Some(shown) = ctx.state.shown() else {
        let text = match (ctx.state.model.opening, ctx.state.images.current()) {
            (true, _) => "Loading the model…",
            (false, Some(image)) => &image.title,
            (false, None) => "Nothing is open",
        };
        return text.to_owned();
    };
    let title = ctx.state.images.get(shown.image).map_or("closed image", |entry| &entry.title);
    let image = &shown.analysis.image;
    let mut parts = vec![title.to_owned(), format!("{} × {} pixels", image.width, image.height)];
    if let Some(layer) = ctx.state.shown_layer() {
        let place = ctx.state.shown_place();
        parts.push(match place {
            Some(TokenPlace::Image) => "one decision for the whole image".to_owned(),
            Some(TokenPlace::Patches(_)) => format!("{} patches", layer.num_tokens()),
            _ => format!("{} tokens", layer.num_tokens()),
        });
        parts.push(ctx.state.layer_title(ctx.state.view.layer));
        if let Some(patch) = ctx.inspected() {
            let token = if matches!(place, Some(TokenPlace::Patches(_))) { "patch" } else { "token" };
            let told = slot_words(ctx, layer, patch).unwrap_or_else(|| expert_words(layer, patch));
            parts.push(format!("{token} {}: {told}", patch.0));
        }
    }
    if !shown.analysis.change.is_none() {
        parts.push("changed routing".to_owned());
    }
    if ctx.state.updating {
        parts.push("updating…".to_owned());
    }
    parts.join("  ·  ")
}

/// The experts of a patch, the best first.
fn expert_words(layer: &LayerRouting, patch: PatchIdx) -> String {
    const MOST: usize = 4;
    let pairs = layer.experts_of(patch).iter().zip(layer.weights_of(patch)).take(MOST);
    let experts: Vec<String> = pairs.map(|(expert, weight)| format!("expert {} ({weight:.2})", expert.0)).collect();
    if experts.is_empty() { "no expert".to_owned() } else { experts.join(", ") }
}

/// The weights of the slot on screen with a patch, while one is.
fn slot_words(ctx: &ViewCtx<'_>, layer: &LayerRouting, patch: PatchIdx) -> Option<String> {
    ctx.state.overlay().slot_weight()?;
    let (slots, slot) = (layer.slots()?, ctx.state.view.slot);
    let (expert, number) = slots.place_of(slot);
    let of = |weight: SlotWeight| slots.of_patch(weight, patch).get(slot.0).copied();
    let (dispatch, combine) = (of(SlotWeight::Dispatch)?, of(SlotWeight::Combine)?);
    Some(format!("slot {number} of expert {}, dispatch {dispatch:.4}, combine {combine:.4}", expert.0))
}
