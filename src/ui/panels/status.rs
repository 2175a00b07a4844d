//! The bottom line: what is on screen, in one sentence.

use crate::analysis::TokenPlace;
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
        parts.push(format!("layer {}", ctx.state.view.layer.0 + 1));
        if let Some(patch) = ctx.inspected() {
            let pairs = layer.experts_of(patch).iter().zip(layer.weights_of(patch)).take(4);
            let experts: Vec<String> =
                pairs.map(|(expert, weight)| format!("expert {} ({weight:.2})", expert.0)).collect();
            let token = if matches!(place, Some(TokenPlace::Patches(_))) { "patch" } else { "token" };
            let experts = if experts.is_empty() { "no expert".to_owned() } else { experts.join(", ") };
            parts.push(format!("{token} {}: {experts}", patch.0));
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
