//! The same pictures by egui's own means, for graphics adapters that cannot run our shaders: the photo as one of egui's
//! textures, a rectangle per patch and per bar. Slower, and without grid lines and patterns, but every colour is right.

use super::ctx::ViewCtx;
use super::gpu::{BarsStyle, Picture};
use crate::analysis::{ImageId, Outcome};
use crate::input::DecodedImage;
use crate::render::{ColorScale, LayerPalette, Overlay, fitted_to_texture};
use crate::routing::{ExpertIdx, LayerIdx, LayerRouting, PatchIdx, TokenMeasures};
use egui::{Color32, ColorImage, Id, Painter, Rect, Stroke, StrokeKind, TextureHandle, TextureOptions, Ui, pos2, vec2};

/// Every adapter that egui draws on has textures of this side.
const MAX_TEXTURE_SIDE: u32 = 2048;
/// What is left of the overlay of a patch that did not choose the lit expert.
const UNLIT: f32 = 0.12;

/// Draws a picture into a rectangle of the screen.
pub fn picture_ui(ui: &Ui, ctx: &ViewCtx<'_>, picture: &Picture<'_>, pane: Rect) {
    let painter = ui.painter_at(pane);
    let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    painter.image(photo(ui, picture.image, picture.pixels).id(), picture.image_rect, uv, Color32::WHITE);
    let layer_index = ctx.state.view.layer.0;
    let Some(analysis) = picture.outcome.map(|outcome| &outcome.analysis) else { return };
    let (Some(layer), Some(stats)) = (analysis.trace.layers.get(layer_index), analysis.layers.get(layer_index)) else {
        return;
    };
    let Some(grid) = analysis.grid(ctx.state.view.layer) else { return };
    let scale = picture.image_rect.width() / picture.pixels.width as f32;
    let rect_of = |patch: PatchIdx| {
        let pixels = grid.pixels_from_patch(patch);
        let corner = picture.image_rect.min + vec2(pixels.x, pixels.y) * scale;
        Rect::from_min_size(corner, vec2(pixels.width, pixels.height) * scale)
    };
    let colors = PatchColors {
        layer,
        measures: &stats.tokens,
        palette: LayerPalette::of(&stats.balance.load),
        overlay: picture.overlay,
        lit: ctx.state.view.lit_expert,
        opacity: ctx.state.settings.opacity,
    };
    for patch in (0..grid.num_patches().min(layer.num_tokens())).map(PatchIdx) {
        if let (rect, Some(color)) = (rect_of(patch), colors.of(patch)) {
            painter.rect_filled(rect, 0, color);
        }
    }
    let pinned = ctx.state.view.pinned.filter(|_| picture.is_main());
    for (patch, width) in [(picture.hovered, 1.5), (pinned, 2.5)] {
        if let Some(patch) = patch.filter(|patch| patch.0 < grid.num_patches()) {
            outline(&painter, rect_of(patch), width);
        }
    }
}

/// A light line with a dark one on either side: visible on every photo.
pub fn outline(painter: &Painter, rect: Rect, width: f32) {
    painter.rect_stroke(rect, 0, Stroke::new(width + 2.0, Color32::from_black_alpha(150)), StrokeKind::Middle);
    painter.rect_stroke(rect, 0, Stroke::new(width, Color32::WHITE), StrokeKind::Middle);
}

/// The photo's texture; that of the last one is kept.
fn photo(ui: &Ui, id: ImageId, pixels: &DecodedImage) -> TextureHandle {
    let slot = Id::unique("photo without shaders");
    let kept = ui.data(|data| data.get_temp::<(u64, TextureHandle)>(slot));
    if let Some((_, texture)) = kept.filter(|(kept, _)| *kept == id.0) {
        return texture;
    }
    let (size, rgba) = fitted_to_texture([pixels.width, pixels.height], &pixels.rgba, MAX_TEXTURE_SIDE);
    let image = ColorImage::from_rgba_premultiplied(size.map(|side| side as usize), &rgba);
    let texture = ui.ctx().load_texture("photo", image, TextureOptions::LINEAR);
    ui.data_mut(|data| data.insert_temp(slot, (id.0, texture.clone())));
    texture
}

/// What colours a patch.
struct PatchColors<'a> {
    layer: &'a LayerRouting,
    measures: &'a TokenMeasures,
    palette: LayerPalette,
    overlay: Overlay,
    lit: Option<ExpertIdx>,
    opacity: f32,
}

impl PatchColors<'_> {
    /// The overlay's colour; none where nothing is shown, as for a rank that does not exist.
    fn of(&self, patch: PatchIdx) -> Option<Color32> {
        let experts = self.layer.experts_of(patch);
        let lit_rank = self.lit.map(|lit| experts.iter().position(|&expert| expert == lit));
        let fade = if lit_rank == Some(None) { UNLIT } else { 1.0 };
        let opaque = match self.overlay {
            Overlay::None => return None,
            Overlay::ChosenExpert { rank } => {
                let rank = lit_rank.flatten().unwrap_or(rank);
                let weight = *self.layer.weights_of(patch).get(rank)?;
                let [r, g, b] = self.palette.color(experts.get(rank)?.0);
                return Some(translucent([r, g, b], self.opacity * fade * finite(weight)));
            }
            Overlay::GateProb { expert } => *self.layer.gate_probs_of(patch).get(expert as usize)?,
            Overlay::Entropy => self.measures.entropy.get(patch.0)? / (self.layer.num_experts() as f32).ln().max(1e-6),
            Overlay::Margin => *self.measures.margin.get(patch.0)?,
            Overlay::ExpertCount => self.layer.num_serving(patch) as f32 / self.layer.top_k() as f32,
            Overlay::Slot { weight, slot } => {
                let slots = self.layer.slots()?;
                *slots.of_patch(weight, patch).get(slot.0)? / slots.largest(weight, slot).max(f32::MIN_POSITIVE)
            }
        };
        Some(translucent(ColorScale::default().color(finite(opaque)), self.opacity * fade))
    }
}

fn finite(value: f32) -> f32 {
    if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 }
}

fn translucent([r, g, b]: [u8; 3], opacity: f32) -> Color32 {
    Color32::from_rgb(r, g, b).gamma_multiply(opacity.clamp(0.0, 1.0))
}

/// Draws the load of one layer as bars into a rectangle of the screen.
pub fn bars_ui(ui: &Ui, ctx: &ViewCtx<'_>, outcome: &Outcome, layer: LayerIdx, (rect, style): (Rect, BarsStyle)) {
    let Some(stats) = outcome.analysis.layers.get(layer.0) else { return };
    let load = &stats.balance.load;
    let palette = LayerPalette::of(load);
    let lit = ctx.state.view.lit_expert.filter(|_| layer == ctx.state.view.layer);
    let largest = load.iter().copied().max().unwrap_or(0).max(1) as f32;
    let y_max = style.y_max.unwrap_or(largest);
    let painter = ui.painter_at(rect);
    // Where several experts share a point, the one with the largest load shows.
    let step = (load.len() as f32 / rect.width().max(1.0)).max(1.0);
    let columns = (load.len() as f32 / step).ceil() as usize;
    for column in 0..columns {
        let experts = (column as f32 * step) as usize..(((column + 1) as f32 * step) as usize).min(load.len());
        let Some(expert) = experts.max_by_key(|&expert| load[expert]) else { continue };
        let width = rect.width() / columns as f32;
        let left = rect.left() + column as f32 * width;
        let top = rect.bottom() - rect.height() * (load[expert] as f32 / y_max).min(1.0);
        let bar = Rect::from_min_max(pos2(left + 0.1 * width, top), pos2(left + 0.9 * width, rect.bottom()));
        let opacity = if lit.is_none_or(|lit| lit.0 as usize == expert) { 1.0 } else { 0.22 };
        painter.rect_filled(bar, 0, translucent(palette.color(expert as u32), opacity));
    }
}
