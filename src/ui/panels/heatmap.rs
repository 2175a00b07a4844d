//! The big picture: the photo with pan and zoom, and over it what the routers did.

use crate::analysis::{ImageId, Outcome, TokenPlace};
use crate::input::DecodedImage;
use crate::render::{ColorScale, text_color_on};
use crate::routing::{LayerRouting, PatchGrid, PatchIdx};
use crate::ui::camera::{Camera, image_from_screen};
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::RADIUS;
use crate::ui::gpu::{self, HEATMAP_PANE, Picture};
use crate::ui::panels::detections::boxes_ui;
use crate::ui::plain::outline;
use crate::ui::state::{OverlayKind, Sheet};
use egui::{Align2, FontId, Rect, Response, Sense, Ui, Vec2, pos2, vec2};
use std::sync::Arc;

/// Smallest patch on the screen, in points, that has room for a number.
const MIN_PATCH_FOR_NUMBER: f32 = 26.0;

/// What the panel remembers by itself: where the person looks.
#[derive(Debug, Default)]
pub struct HeatmapUi {
    /// Pan and zoom.
    pub camera: Camera,
    /// The patch under the pointer.
    pub hovered: Option<PatchIdx>,
    /// The image that the camera looks at.
    subject: Option<ImageId>,
    /// A zoom asked for by a command, in screen pixels per image pixel.
    pub wanted_zoom: Option<f32>,
}

/// The picture in all the room that is left.
pub fn heatmap_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, local: &mut HeatmapUi) {
    let (pane, response) = ui.allocate_exact_size(ui.available_size(), Sense::click_and_drag());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, description(ctx)));
    ui.painter().rect_filled(pane, 0, ui.visuals().extreme_bg_color);
    let Some((id, pixels, outcome)) = subject(ctx) else {
        empty_ui(ui, ctx, pane);
        return;
    };
    if local.subject != Some(id) {
        local.subject = Some(id);
        local.camera.fit();
    }
    let size = vec2(pixels.width as f32, pixels.height as f32);
    if let Some(zoom) = local.wanted_zoom.take() {
        local.camera.set_scale(zoom / ui.ctx().pixels_per_point(), pane, size);
    }
    steer(ui, &response, &mut local.camera, pane, size);
    let image_rect = local.camera.image_rect(pane, size);
    let grid = outcome.and_then(|outcome| outcome.analysis.grid(ctx.state.view.layer));
    update_hover(ui, &response, local, grid, (image_rect, size));
    if let (true, Some(patch)) = (response.clicked(), local.hovered) {
        ctx.send(Command::Pin(patch));
    }
    let hovered = local.hovered;
    let overlay = gpu::overlay(ctx.state);
    gpu::picture_ui(
        ui,
        ctx,
        &Picture { pane: HEATMAP_PANE, image: id, pixels, outcome, overlay, image_rect, hovered },
        pane,
    );
    if let (Some(layer), Some(grid), false) = (ctx.state.shown_layer(), grid, ctx.state.view.hide_overlay) {
        numbers_ui(ui, ctx, layer, (grid, image_rect, size), pane);
    }
    if let Some(grid) = grid {
        flips_ui(ui, ctx, (grid, image_rect, size), pane);
    }
    boxes_ui(ui, ctx, (image_rect, size), pane);
    no_place_ui(ui, ctx, pane);
    progress_ui(ui, ctx, pane);
}

/// Why there is no heatmap over the photo, where the tokens of the layer are no patches of it.
fn no_place_ui(ui: &Ui, ctx: &ViewCtx<'_>, pane: Rect) {
    let text = match ctx.state.shown_place() {
        Some(TokenPlace::Image) => "This router decides once for the whole image: see the gate on the right",
        Some(TokenPlace::Unplaced) => {
            "The tokens of this layer have no known place on the image: see them one by one on the right"
        }
        Some(TokenPlace::Patches(_)) | None => return,
    };
    let font = egui::TextStyle::Body.resolve(ui.style());
    let galley = ui.painter().layout(text.to_owned(), font, ui.visuals().text_color(), (pane.width() - 48.0).max(60.0));
    let rect =
        Rect::from_center_size(pane.center_top() + vec2(0.0, 12.0 + galley.size().y), galley.size() + vec2(24.0, 12.0));
    ui.painter().rect_filled(rect, RADIUS, ui.visuals().window_fill.gamma_multiply(0.92));
    ui.painter().galley(rect.min + vec2(12.0, 6.0), galley, ui.visuals().text_color());
}

/// The result on screen, or the pixels alone while there is no result yet.
fn subject<'a>(ctx: &'a ViewCtx<'_>) -> Option<(ImageId, &'a Arc<DecodedImage>, Option<&'a Outcome>)> {
    if let Some(shown) = ctx.state.shown() {
        return Some((shown.image, &shown.analysis.image, Some(shown)));
    }
    ctx.state.decoded.as_ref().map(|(id, pixels)| (*id, pixels, None))
}

fn description(ctx: &ViewCtx<'_>) -> String {
    let overlay = if ctx.state.view.hide_overlay { "photo only" } else { ctx.state.overlay().label() };
    match ctx.state.shown() {
        Some(_) => format!("Heatmap: {overlay}, {}", ctx.state.layer_title(ctx.state.view.layer)),
        None => "Heatmap: nothing to show yet".to_owned(),
    }
}

fn empty_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, pane: Rect) {
    let text = if ctx.state.updating || ctx.state.model.opening {
        "Loading…"
    } else {
        "Drop an image here, open one with Ctrl+O, or click a sample on the left"
    };
    let font = FontId::proportional(15.0);
    ui.painter().text(pane.center(), Align2::CENTER_CENTER, text, font, ui.visuals().weak_text_color());
}

fn steer(ui: &Ui, response: &Response, camera: &mut Camera, pane: Rect, size: Vec2) {
    if response.dragged() && response.drag_delta() != Vec2::ZERO {
        camera.pan(response.drag_delta(), pane, size);
    }
    if response.double_clicked() {
        camera.fit();
    }
    let Some(pointer) = response.hover_pos() else { return };
    let (pinch, scroll) = ui.input(|input| (input.zoom_delta(), input.smooth_scroll_delta.y));
    let factor = pinch * (scroll / 200.0).exp();
    if factor != 1.0 {
        camera.zoom(factor, pointer, pane, size);
    }
}

fn update_hover(
    ui: &Ui,
    response: &Response,
    local: &mut HeatmapUi,
    grid: Option<PatchGrid>,
    (image_rect, size): (Rect, Vec2),
) {
    let hovered = response.hover_pos().zip(grid).and_then(|(pointer, grid)| {
        let at = image_from_screen(pointer, image_rect, size);
        grid.patch_from_pixel(at.x, at.y)
    });
    if hovered != local.hovered {
        local.hovered = hovered;
        // The inspector was drawn before this panel; it shows the new patch in the next frame.
        ui.ctx().request_repaint();
    }
}

/// A frame around each patch that has other experts on another provider, while that is looked at.
fn flips_ui(ui: &Ui, ctx: &ViewCtx<'_>, (grid, image_rect, size): (PatchGrid, Rect, Vec2), pane: Rect) {
    let parity = if ctx.state.sheet == Some(Sheet::Parity) { ctx.shown_parity() } else { None };
    let Some(layer) = parity.and_then(|parity| parity.layers.get(ctx.state.view.layer.0)) else { return };
    let (painter, scale) = (ui.painter_at(pane), image_rect.width() / size.x);
    for flip in layer.flips.iter().filter(|flip| flip.patch.0 < grid.num_patches()) {
        let pixels = grid.pixels_from_patch(flip.patch);
        let corner = image_rect.min + vec2(pixels.x, pixels.y) * scale;
        outline(&painter, Rect::from_min_size(corner, vec2(pixels.width, pixels.height) * scale).shrink(1.0), 1.5);
    }
}

/// The number behind the colour, inside each patch that has room for it.
fn numbers_ui(
    ui: &Ui,
    ctx: &ViewCtx<'_>,
    layer: &LayerRouting,
    (grid, image_rect, size): (PatchGrid, Rect, Vec2),
    pane: Rect,
) {
    let scale = image_rect.width() / size.x;
    let patch_side = (grid.seen.width / grid.cols as f32).min(grid.seen.height / grid.rows as f32) * scale;
    if patch_side < MIN_PATCH_FOR_NUMBER {
        return;
    }
    let painter = ui.painter_at(pane);
    let font = FontId::proportional((patch_side * 0.28).clamp(9.0, 15.0));
    for patch in (0..grid.num_patches().min(layer.num_tokens())).map(PatchIdx) {
        let pixels = grid.pixels_from_patch(patch);
        let middle = pos2(pixels.x + pixels.width / 2.0, pixels.y + pixels.height / 2.0);
        let at = image_rect.min + middle.to_vec2() * scale;
        if pane.contains(at) {
            number_ui(ctx, layer, patch, &painter, (at, &font));
        }
    }
}

fn number_ui(
    ctx: &ViewCtx<'_>,
    layer: &LayerRouting,
    patch: PatchIdx,
    painter: &egui::Painter,
    (at, font): (egui::Pos2, &FontId),
) {
    let view = &ctx.state.view;
    let on_scale = |value: f32, top: f32| {
        let [r, g, b] = text_color_on(ColorScale::default().color(value / top.max(f32::MIN_POSITIVE)));
        egui::Color32::from_rgb(r, g, b)
    };
    let overlay = ctx.state.overlay();
    let (text, color) = match overlay {
        OverlayKind::ChosenExpert => {
            let experts = layer.experts_of(patch);
            if experts.is_empty() && view.rank == 0 && view.lit_expert.is_none() {
                // Only where patches have different numbers of experts: this one has none.
                return outlined(painter, at, "none", font, egui::Color32::WHITE);
            }
            let Some(expert) = experts.get(view.rank).copied() else { return };
            if view.lit_expert.is_some_and(|lit| lit != expert) {
                return;
            }
            // A cross stands for an expert that had no room, or no say for another reason.
            let dropped = if layer.weights_of(patch)[view.rank] == 0.0 { " ×" } else { "" };
            (format!("{}{dropped}", expert.0), ctx.text_color_on(expert))
        }
        OverlayKind::GateProbability => {
            let Some(probability) = layer.gate_probs_of(patch).get(view.gate_expert) else { return };
            (format!("{probability:.2}"), on_scale(*probability, 1.0))
        }
        OverlayKind::ExpertCount => {
            let count = layer.num_serving(patch);
            (count.to_string(), on_scale(count as f32, layer.top_k() as f32))
        }
        OverlayKind::SlotDispatch | OverlayKind::SlotCombine => {
            let Some((slots, weight)) = layer.slots().zip(overlay.slot_weight()) else { return };
            let Some(&share) = slots.of_patch(weight, patch).get(view.slot.0) else { return };
            (format!("{share:.3}"), on_scale(share, slots.largest(weight, view.slot)))
        }
        OverlayKind::GateEntropy | OverlayKind::GateMargin => return,
    };
    outlined(painter, at, &text, font, color);
}

/// Text that can be read on any ground.
fn outlined(painter: &egui::Painter, at: egui::Pos2, text: &str, font: &FontId, color: egui::Color32) {
    let outline = if color == egui::Color32::WHITE { egui::Color32::BLACK } else { egui::Color32::WHITE };
    let shadow = outline.gamma_multiply(0.55);
    for offset in [vec2(-0.8, 0.0), vec2(0.8, 0.0), vec2(0.0, -0.8), vec2(0.0, 0.8)] {
        painter.text(at + offset, Align2::CENTER_CENTER, text, font.clone(), shadow);
    }
    painter.text(at, Align2::CENTER_CENTER, text, font.clone(), color);
}

/// A thin line while a newer result is on its way; what is shown stays.
fn progress_ui(ui: &Ui, ctx: &ViewCtx<'_>, pane: Rect) {
    if !ctx.state.updating {
        return;
    }
    let line = Rect::from_min_size(pane.min, vec2(pane.width(), 2.0));
    ui.painter().rect_filled(line, 0, ui.visuals().hyperlink_color);
}
