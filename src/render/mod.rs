//! Everything the GPU draws: the photo with its routing over it, and the load bars.
//!
//! Drawing thousands of patches as shapes costs the window milliseconds per frame. Here the data is uploaded once per
//! image and per analysis, a frame brings only a few numbers, and the shaders in `shaders/` look up each pixel's patch, so
//! that a frame costs the same for 14 × 14 and for 128 × 128 patches.
//!
//! [`Renderer`] works inside any render pass: the window's, and the one of [`offscreen`] that makes PNG files. Only this
//! module names wgpu. [`expert_color`] and [`ColorScale`] give the very colours that the shaders use.

mod buffers;
mod device;
mod error;
mod frame;
mod guard;
mod health;
mod layout;
pub mod offscreen;
mod palette;
mod palette_table;
mod pane;
mod photo;
mod pipelines;
mod scale;
mod sections;

pub use device::{Adapters, choose_adapter, device_descriptor};
pub use error::RenderError;
pub use frame::{BarsFrame, ContentKey, HeatmapFrame, HeatmapStyle, Overlay, PaneId};
pub use health::DeviceHealth;
pub use palette::{LayerPalette, busiest_experts, expert_color, text_color_on};
pub use photo::fitted_to_texture;
pub use scale::ColorScale;

#[cfg(test)]
mod tests;

use crate::routing::{RoutingTrace, TokenMeasures};
use buffers::{LayerBuffers, RoutingBuffers};
use layout::{BarsUniform, HeatmapFeatures, HeatmapUniform};
use pane::Pane;
use photo::Photo;
use pipelines::Pipelines;
use sections::Sections;
use std::collections::HashMap;

/// Draws heatmaps and load bars into render passes of one target format.
///
/// A pipeline is built once; photos and routings live here by [`ContentKey`] until [`Renderer::retain`] lets them go.
/// For each frame, `prepare_…` every pane before the render pass and `paint_…` it within.
#[derive(Debug)]
pub struct Renderer {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipelines: Pipelines,
    /// What could not be uploaded is remembered too, so that it is tried once and not in every frame.
    photos: HashMap<ContentKey, Result<Photo, RenderError>>,
    routings: HashMap<ContentKey, Result<RoutingBuffers, RenderError>>,
    panes: HashMap<PaneId, Pane>,
    /// Bound where a heatmap shows a photo alone.
    no_layer: LayerBuffers,
    /// Bound where the photo is not there yet.
    no_photo: Photo,
}

impl Renderer {
    /// Builds the pipelines for a target format; 8-bit formats without sRGB conversion (as egui prefers) show the exact
    /// colours.
    ///
    /// # Errors
    /// [`RenderError::Unsupported`] when the device was made without storage buffers; make it with
    /// [`device_descriptor`].
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, target: wgpu::TextureFormat) -> Result<Self, RenderError> {
        device::check(device)?;
        guard::watched(device, || Self::build(device, queue, target))
    }

    fn build(device: &wgpu::Device, queue: &wgpu::Queue, target: wgpu::TextureFormat) -> Result<Self, RenderError> {
        let pipelines = Pipelines::new(device, queue, target, device::can_compute(device));
        let no_layer = LayerBuffers::empty(device, &pipelines);
        let no_photo = Photo::new(device, queue, &pipelines, [1, 1], &[0; 4])?;
        Ok(Self {
            device: device.clone(),
            queue: queue.clone(),
            pipelines,
            photos: HashMap::new(),
            routings: HashMap::new(),
            panes: HashMap::new(),
            no_layer,
            no_photo,
        })
    }

    /// Whether the statistics that charts are drawn from are computed on the GPU. Where it has no compute shaders they are
    /// computed on the CPU and uploaded.
    #[must_use]
    pub fn computes_statistics(&self) -> bool {
        self.pipelines.stats.is_some()
    }

    /// Uploads a photo with its mip levels, unless its key is known: 8-bit RGBA with straight alpha, `width * height * 4`
    /// bytes from top to bottom. A photo beyond the device's limits is reduced, which no later call has to know.
    ///
    /// # Errors
    /// [`RenderError::OutOfMemory`] or [`RenderError::Upload`]; the same again for a key that failed before.
    pub fn set_image(&mut self, key: ContentKey, size: [u32; 2], rgba: &[u8]) -> Result<(), RenderError> {
        let Self { device, queue, pipelines, .. } = self;
        let upload = || guard::watched(device, || Photo::new(device, queue, pipelines, size, rgba));
        self.photos.entry(key).or_insert_with(upload).as_ref().map(drop).map_err(Clone::clone)
    }

    /// Uploads the routing of all layers at once, unless its key is known, and computes the statistics of the charts.
    /// `measures` holds one entry per layer of `trace`.
    ///
    /// # Errors
    /// [`RenderError::TooLarge`] when the routing exceeds what the GPU takes even without gate probabilities,
    /// [`RenderError::OutOfMemory`] or [`RenderError::Upload`]; the same again for a key that failed before.
    pub fn set_routing<'a>(
        &mut self,
        key: ContentKey,
        trace: &RoutingTrace,
        measures: impl IntoIterator<Item = &'a TokenMeasures>,
    ) -> Result<Uploaded, RenderError> {
        let Self { device, queue, pipelines, .. } = self;
        let upload = || RoutingBuffers::new(device, queue, pipelines, trace, measures);
        let routing = self.routings.entry(key).or_insert_with(upload);
        routing.as_ref().map(|routing| routing.uploaded.clone()).map_err(Clone::clone)
    }

    /// Whether a photo or a routing is uploaded under this key.
    #[must_use]
    pub fn has(&self, key: ContentKey) -> bool {
        self.photo(key).is_some() || self.routing(key).is_some()
    }

    /// Frees every photo and routing whose key is not listed, and the panes that show none of the rest.
    pub fn retain(&mut self, keys: &[ContentKey]) {
        self.photos.retain(|key, _| keys.contains(key));
        self.routings.retain(|key, _| keys.contains(key));
        self.panes.retain(|_, pane| pane.shows(keys));
    }

    /// Takes this frame's numbers of a heatmap. A photo or routing that is not uploaded is left out of the picture.
    pub fn prepare_heatmap(&mut self, pane: PaneId, frame: &HeatmapFrame) {
        let layer = self.layer(frame.routing, frame.layer);
        let photo = self.photo(frame.image).unwrap_or(&self.no_photo);
        let uniform = HeatmapUniform::new(frame, layer.shape, photo.size);
        let features = HeatmapFeatures::new(frame, &uniform, photo.size);
        self.pipelines.prepare_heatmap(&self.device, features);
        let contents = [Some(frame.image), frame.routing];
        let pane = self.write_pane(pane, contents, frame.layer, bytemuck::bytes_of(&uniform));
        pane.features = Some(features);
        pane.viewport = whole_pixels(frame.view_px);
    }

    /// Draws a prepared heatmap over the pane's rectangle, as far as the pass's scissor reaches. Sets the viewport.
    pub fn paint_heatmap(&self, pass: &mut wgpu::RenderPass<'_>, pane: PaneId) {
        let Some(pane) = self.panes.get(&pane) else { return };
        let Some(pipeline) = pane.features.and_then(|features| self.pipelines.heatmap(features)) else { return };
        let photo = pane.contents[0].and_then(|key| self.photo(key)).unwrap_or(&self.no_photo);
        let layer = self.layer(pane.contents[1], pane.layer);
        let [x, y, width, height] = pane.viewport;
        pass.set_viewport(x, y, width, height, 0.0, 1.0);
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &layer.bind_group, &[]);
        pass.set_bind_group(1, &pane.bind_group, &[]);
        pass.set_bind_group(2, &photo.bind_group, &[]);
        pass.draw(0..3, 0..1);
    }

    /// Takes this frame's numbers of a load chart.
    pub fn prepare_bars(&mut self, pane: PaneId, frame: &BarsFrame) {
        let layer = self.layer(Some(frame.routing), frame.layer);
        let uniform = BarsUniform::new(frame, layer.shape);
        self.write_pane(pane, [None, Some(frame.routing)], frame.layer, bytemuck::bytes_of(&uniform));
    }

    /// Draws a prepared load chart's bars; everything around them is left as it is.
    pub fn paint_bars(&self, pass: &mut wgpu::RenderPass<'_>, pane: PaneId) {
        let Some(pane) = self.panes.get(&pane) else { return };
        let layer = self.layer(pane.contents[1], pane.layer);
        pass.set_pipeline(&self.pipelines.bars);
        pass.set_bind_group(0, &layer.bind_group, &[]);
        pass.set_bind_group(1, &pane.bind_group, &[]);
        pass.draw(0..3, 0..1);
    }

    fn photo(&self, key: ContentKey) -> Option<&Photo> {
        self.photos.get(&key)?.as_ref().ok()
    }

    fn routing(&self, key: ContentKey) -> Option<&RoutingBuffers> {
        self.routings.get(&key)?.as_ref().ok()
    }

    fn layer(&self, routing: Option<ContentKey>, layer: usize) -> &LayerBuffers {
        let routing = routing.and_then(|key| self.routing(key));
        routing.and_then(|routing| routing.layers.get(layer)).unwrap_or(&self.no_layer)
    }

    fn write_pane(&mut self, id: PaneId, contents: [Option<ContentKey>; 2], layer: usize, uniform: &[u8]) -> &mut Pane {
        let pane = self.panes.entry(id).or_insert_with(|| Pane::new(&self.device, &self.pipelines));
        pane.contents = contents;
        pane.layer = layer;
        pane.write(&self.queue, uniform);
        pane
    }
}

/// How much of a routing the GPU took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// Everything.
    Whole,
    /// Everything but the gate probabilities, whose overlay shows no values; the error says why.
    WithoutGateProbs(RenderError),
}

impl Uploaded {
    fn new(sections: &Sections, limits: &wgpu::Limits) -> Self {
        if sections.has_gate_probs {
            return Self::Whole;
        }
        let limit = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        Self::WithoutGateProbs(RenderError::GateProbsTooLarge { bytes: sections.gate_prob_bytes(), limit })
    }
}

/// A rectangle with its edges on the pixel edges nearest to them.
fn whole_pixels([x, y, width, height]: [f32; 4]) -> [f32; 4] {
    let (left, top) = (x.round(), y.round());
    [left, top, (x + width).round() - left, (y + height).round() - top]
}
