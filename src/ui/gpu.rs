//! The glue between egui and our renderer: paint callbacks that carry this frame's numbers, and nothing else.

use super::ctx::ViewCtx;
use super::plain;
use super::state::{AppState, OverlayKind};
use super::waker::Waker;
use crate::analysis::{ImageId, Outcome, OutcomeId};
use crate::input::DecodedImage;
use crate::render::{self, BarsFrame, ContentKey, HeatmapFrame, HeatmapStyle, Overlay, Renderer, Uploaded};
use crate::routing::{LayerIdx, LayerRouting, PatchGrid, PatchIdx, PixelRect, SlotWeight};
use eframe::egui_wgpu::{self, CallbackResources, CallbackTrait, ScreenDescriptor, wgpu};
use egui::{PaintCallbackInfo, Rect, Ui, vec2};
use std::sync::Arc;

pub use crate::render::{Adapters, DeviceHealth, PaneId};
pub use eframe::egui_wgpu::RenderState;

/// How the window asks for its device: with the adapter's own limits, which our shaders need on some backends.
#[must_use]
pub fn configuration(adapters: Adapters) -> egui_wgpu::WgpuConfiguration {
    let mut setup = egui_wgpu::WgpuSetupCreateNew::without_display_handle();
    let preference = setup.power_preference;
    setup.device_descriptor = Arc::new(render::device_descriptor);
    setup.native_adapter_selector = Some(Arc::new(move |found, surface| {
        render::choose_adapter(found, surface, adapters, preference).map_err(|error| error.to_string())
    }));
    egui_wgpu::WgpuConfiguration { wgpu_setup: setup.into(), ..Default::default() }
}

/// Listens to the window's device.
#[must_use]
pub fn listen(state: &RenderState, waker: &Waker) -> DeviceHealth {
    let waker = waker.clone();
    DeviceHealth::listen(&state.device, move || waker.wake())
}

/// Puts our renderer into egui's resources. Gives what it does without, in words.
///
/// # Errors
/// What the adapter lacks, in words.
pub fn install(state: &RenderState) -> Result<Option<&'static str>, String> {
    let renderer =
        Renderer::new(&state.device, &state.queue, state.target_format).map_err(|error| error.to_string())?;
    let without = (!renderer.computes_statistics()).then_some(
        "The charts are drawn from the CPU's numbers: this graphics adapter has no compute shaders, which only costs time",
    );
    state.renderer.write().callback_resources.insert(renderer);
    Ok(without)
}

/// What the screen draws: photos with their pixels, and results.
pub struct Contents<'a> {
    /// The photos.
    pub images: Vec<(ImageId, &'a DecodedImage)>,
    /// The results.
    pub outcomes: Vec<&'a Outcome>,
}

impl Contents<'_> {
    /// The names of all of it, to see whether anything changed.
    #[must_use]
    pub fn ids(&self) -> (Vec<ImageId>, Vec<OutcomeId>) {
        let images = self.images.iter().map(|(id, _)| *id).collect();
        (images, self.outcomes.iter().map(|outcome| outcome.id).collect())
    }
}

/// Uploads what the screen draws and is not there yet, and frees everything else. Gives a sentence for each thing that
/// the GPU did not take.
#[must_use]
pub fn bring(state: &RenderState, contents: &Contents<'_>) -> Vec<String> {
    let mut egui_renderer = state.renderer.write();
    let Some(renderer) = egui_renderer.callback_resources.get_mut::<Renderer>() else { return Vec::new() };
    let images = contents.images.iter().map(|(id, _)| image_key(*id));
    let keys: Vec<ContentKey> = images.chain(contents.outcomes.iter().map(|outcome| outcome_key(outcome.id))).collect();
    renderer.retain(&keys);
    let mut troubles = Vec::new();
    for (id, image) in &contents.images {
        let uploaded = renderer.set_image(image_key(*id), [image.width, image.height], &image.rgba);
        troubles.extend(uploaded.err());
    }
    for outcome in &contents.outcomes {
        let analysis = &outcome.analysis;
        let measures = analysis.layers.iter().map(|stats| &stats.tokens);
        match renderer.set_routing(outcome_key(outcome.id), &analysis.trace, measures) {
            Ok(Uploaded::Whole) => {}
            Ok(Uploaded::WithoutGateProbs(reason)) | Err(reason) => troubles.push(reason),
        }
    }
    troubles.iter().map(ToString::to_string).collect()
}

fn image_key(id: ImageId) -> ContentKey {
    ContentKey(id.0 << 1)
}

fn outcome_key(id: OutcomeId) -> ContentKey {
    ContentKey(id.0 << 1 | 1)
}

/// The overlay that the settings ask for.
#[must_use]
pub fn overlay(state: &AppState) -> Overlay {
    if state.view.hide_overlay {
        return Overlay::None;
    }
    let of_slot = |weight| Overlay::Slot { weight, slot: state.view.slot };
    match state.overlay() {
        OverlayKind::ChosenExpert => Overlay::ChosenExpert { rank: state.view.rank },
        OverlayKind::GateProbability => Overlay::GateProb { expert: state.view.gate_expert as u32 },
        OverlayKind::GateEntropy => Overlay::Entropy,
        OverlayKind::GateMargin => Overlay::Margin,
        OverlayKind::ExpertCount => Overlay::ExpertCount,
        OverlayKind::SlotDispatch => of_slot(SlotWeight::Dispatch),
        OverlayKind::SlotCombine => of_slot(SlotWeight::Combine),
    }
}

/// What one picture shows.
pub struct Picture<'a> {
    /// Its name in this frame.
    pub pane: PaneId,
    /// The image's own name.
    pub image: ImageId,
    /// Its pixels.
    pub pixels: &'a Arc<DecodedImage>,
    /// The routing to draw over it.
    pub outcome: Option<&'a Outcome>,
    /// What of the routing.
    pub overlay: Overlay,
    /// Where the whole image lies on the screen, in points.
    pub image_rect: Rect,
    /// The patch to outline.
    pub hovered: Option<PatchIdx>,
}

impl Picture<'_> {
    /// Whether this is the big picture.
    #[must_use]
    pub fn is_main(&self) -> bool {
        self.pane == HEATMAP_PANE
    }
}

/// Draws a picture into a rectangle of the screen.
pub fn picture_ui(ui: &Ui, ctx: &ViewCtx<'_>, picture: &Picture<'_>, pane: Rect) {
    if pane.width() < 1.0 || pane.height() < 1.0 {
        return;
    }
    if !ctx.can_draw {
        return plain::picture_ui(ui, ctx, picture, pane);
    }
    let size = vec2(picture.pixels.width as f32, picture.pixels.height as f32);
    let whole = PixelRect { x: 0.0, y: 0.0, width: size.x, height: size.y };
    let without = PatchGrid { rows: 1, cols: 1, seen: whole };
    let small = !picture.is_main();
    let pixels_per_point = ui.ctx().pixels_per_point();
    let frame = HeatmapFrame {
        image: image_key(picture.image),
        routing: picture.outcome.map(|outcome| outcome_key(outcome.id)),
        layer: ctx.state.view.layer.0,
        grid: picture.outcome.map_or(without, |outcome| outcome.analysis.grid_or_whole(ctx.state.view.layer)),
        image_size: size.into(),
        view_px: physical(pane, pixels_per_point),
        image_px: physical(picture.image_rect, pixels_per_point),
        hovered: picture.hovered.map(|patch| patch.0 as u32),
        pinned: ctx.state.view.pinned.filter(|_| !small).map(|patch| patch.0 as u32),
        style: style(ui, ctx, picture, small),
    };
    let paint = Paint { pane: picture.pane, drawing: Drawing::Heatmap(Box::new(frame)) };
    ui.painter().add(egui_wgpu::Callback::new_paint_callback(pane, paint));
}

fn style(ui: &Ui, ctx: &ViewCtx<'_>, picture: &Picture<'_>, small: bool) -> HeatmapStyle {
    let settings = &ctx.state.settings;
    let has_routing = picture.outcome.is_some_and(|outcome| outcome.analysis.grid(ctx.state.view.layer).is_some());
    HeatmapStyle {
        overlay: if has_routing { picture.overlay } else { Overlay::None },
        opacity: settings.opacity,
        weight_opacity: true,
        grid_lines: settings.grid && !small && has_routing,
        dim_outside: settings.crop && picture.outcome.is_some(),
        scale_max: scale_max(ctx, picture),
        lit_expert: ctx.state.view.lit_expert.filter(|_| has_routing).map(|expert| expert.0),
        background: ui.visuals().extreme_bg_color.to_normalized_gamma_f32(),
        dark: ui.visuals().dark_mode,
        pixels_per_point: ui.ctx().pixels_per_point(),
        ..HeatmapStyle::default()
    }
}

/// The value at the upper end of the colour scale: of a slot its largest weight, since most are far below 1.
fn scale_max(ctx: &ViewCtx<'_>, picture: &Picture<'_>) -> f32 {
    let Overlay::Slot { weight, slot } = picture.overlay else { return 1.0 };
    let layer = picture.outcome.and_then(|outcome| outcome.analysis.trace.layers.get(ctx.state.view.layer.0));
    layer.and_then(LayerRouting::slots).map_or(1.0, |slots| slots.largest(weight, slot))
}

/// The pane of the big picture.
pub const HEATMAP_PANE: PaneId = PaneId(0);

/// Draws a result small: what the model saw is fitted into a rectangle.
pub fn thumbnail_ui(ui: &Ui, ctx: &ViewCtx<'_>, pane: PaneId, outcome: &Outcome, overlay: Overlay, rect: Rect) {
    let analysis = &outcome.analysis;
    let seen = analysis.seen;
    let scale = (rect.size() / vec2(seen.width, seen.height).max(vec2(1.0, 1.0))).min_elem();
    let middle = vec2(seen.x + seen.width / 2.0, seen.y + seen.height / 2.0);
    let size = vec2(analysis.image.width as f32, analysis.image.height as f32);
    let image_rect = Rect::from_min_size(rect.center() - middle * scale, size * scale);
    let picture = Picture {
        pane,
        image: outcome.image,
        pixels: &analysis.image,
        outcome: Some(outcome),
        overlay,
        image_rect,
        hovered: None,
    };
    picture_ui(ui, ctx, &picture, rect);
}

/// How a load chart looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct BarsStyle {
    /// Load at the upper edge; the largest of the layer if there is none.
    pub y_max: Option<f32>,
    /// Whether each expert's importance is marked.
    pub importance_marks: bool,
}

/// Draws the load of one layer as bars into a rectangle of the screen.
pub fn bars_ui(
    ui: &Ui,
    ctx: &ViewCtx<'_>,
    pane: PaneId,
    outcome: &Outcome,
    layer: LayerIdx,
    (rect, style): (Rect, BarsStyle),
) {
    if rect.width() < 1.0 || rect.height() < 1.0 {
        return;
    }
    if !ctx.can_draw {
        return plain::bars_ui(ui, ctx, outcome, layer, (rect, style));
    }
    let lit = ctx.state.view.lit_expert.filter(|_| layer == ctx.state.view.layer);
    let pixels_per_point = ui.ctx().pixels_per_point();
    let experts = outcome.analysis.trace.layers.get(layer.0).map_or(0, LayerRouting::num_experts);
    let frame = BarsFrame {
        routing: outcome_key(outcome.id),
        layer: layer.0,
        view_px: physical(rect, pixels_per_point),
        plot_px: physical(rect, pixels_per_point),
        x_range: [-0.5, experts as f32 - 0.5],
        y_max: style.y_max,
        bar_width: 0.8,
        importance_marks: style.importance_marks,
        lit_expert: lit.map(|expert| expert.0),
        hovered: None,
        pixels_per_point,
    };
    let paint = Paint { pane, drawing: Drawing::Bars(frame) };
    ui.painter().add(egui_wgpu::Callback::new_paint_callback(rect, paint));
}

/// x, y, width and height in physical pixels.
fn physical(rect: Rect, pixels_per_point: f32) -> [f32; 4] {
    [rect.left(), rect.top(), rect.width(), rect.height()].map(|points| points * pixels_per_point)
}

/// One pane in one frame.
struct Paint {
    pane: PaneId,
    drawing: Drawing,
}

enum Drawing {
    Heatmap(Box<HeatmapFrame>),
    Bars(BarsFrame),
}

impl CallbackTrait for Paint {
    fn prepare(
        &self,
        _device: &wgpu::Device,
        _queue: &wgpu::Queue,
        _screen: &ScreenDescriptor,
        _encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        let Some(renderer) = resources.get_mut::<Renderer>() else { return Vec::new() };
        match &self.drawing {
            Drawing::Heatmap(frame) => renderer.prepare_heatmap(self.pane, frame),
            Drawing::Bars(frame) => renderer.prepare_bars(self.pane, frame),
        }
        Vec::new()
    }

    fn paint(&self, _info: PaintCallbackInfo, pass: &mut wgpu::RenderPass<'static>, resources: &CallbackResources) {
        let Some(renderer) = resources.get::<Renderer>() else { return };
        match self.drawing {
            Drawing::Heatmap(_) => renderer.paint_heatmap(pass, self.pane),
            Drawing::Bars(_) => renderer.paint_bars(pass, self.pane),
        }
    }
}
