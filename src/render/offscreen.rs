//! The same pictures without a window: for PNG files and for tests.

use super::{
    ContentKey, HeatmapFrame, HeatmapStyle, Overlay, PaneId, RenderError, Renderer, Uploaded, device_descriptor,
};
use crate::routing::{PatchGrid, RoutingTrace, TokenMeasures};
use image::RgbaImage;
use std::sync::mpsc;

/// A device without a window, and a [`Renderer`] on it.
#[derive(Debug)]
pub struct Offscreen {
    device: wgpu::Device,
    queue: wgpu::Queue,
    renderer: Renderer,
}

/// A heatmap to draw as a picture of its own.
#[derive(Clone, Copy, Debug)]
pub struct HeatmapPicture<'a> {
    /// Size of the image in pixels.
    pub image_size: [u32; 2],
    /// 8-bit RGBA, straight alpha, `width * height * 4` bytes from top to bottom.
    pub rgba: &'a [u8],
    /// The routing of all layers.
    pub trace: &'a RoutingTrace,
    /// The MoE layer to show, from 0.
    pub layer: usize,
    /// How that layer's patches lie on the image.
    pub grid: PatchGrid,
    /// How it looks.
    pub style: HeatmapStyle,
}

impl Offscreen {
    /// The format of every picture.
    const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

    /// Opens an adapter; `WGPU_BACKEND` and `WGPU_POWER_PREF` choose among several, and a software one serves too.
    ///
    /// # Errors
    /// [`RenderError::NoAdapter`], [`RenderError::Device`] or [`RenderError::Unsupported`], each with what to do.
    pub fn new() -> Result<Self, RenderError> {
        let (device, queue) = pollster::block_on(open_device())?;
        Self::on(device, queue)
    }

    /// On a device that is open already.
    pub(super) fn on(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self, RenderError> {
        let renderer = Renderer::new(&device, &queue, Self::FORMAT)?;
        Ok(Self { device, queue, renderer })
    }

    #[cfg(test)]
    pub(super) fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The renderer, to upload with and to prepare panes.
    pub fn renderer(&mut self) -> &mut Renderer {
        &mut self.renderer
    }

    /// Draws one heatmap that fills a picture of `size` pixels, the image in proportion in its middle.
    ///
    /// # Errors
    /// As [`draw`](Self::draw), [`Renderer::set_image`] and [`Renderer::set_routing`];
    /// [`RenderError::GateProbsTooLarge`] when they are asked for.
    pub fn draw_heatmap(&mut self, picture: &HeatmapPicture<'_>, size: [u32; 2]) -> Result<RgbaImage, RenderError> {
        let (image, routing, pane) = (ContentKey(0), ContentKey(1), PaneId(0));
        let measures: Vec<_> = picture.trace.layers.iter().map(TokenMeasures::of).collect();
        self.renderer.retain(&[]);
        self.renderer.set_image(image, picture.image_size, picture.rgba)?;
        let uploaded = self.renderer.set_routing(routing, picture.trace, &measures)?;
        if let (Uploaded::WithoutGateProbs(reason), Overlay::GateProb { .. } | Overlay::Slot { .. }) =
            (uploaded, picture.style.overlay)
        {
            return Err(reason);
        }
        let image_size = picture.image_size.map(|side| side as f32);
        let frame = HeatmapFrame {
            image,
            routing: Some(routing),
            layer: picture.layer,
            grid: picture.grid,
            image_size,
            view_px: [0.0, 0.0, size[0] as f32, size[1] as f32],
            image_px: fitted(image_size, size.map(|side| side as f32)),
            hovered: None,
            pinned: None,
            style: picture.style,
        };
        self.renderer.prepare_heatmap(pane, &frame);
        self.draw(size, |renderer, pass| renderer.paint_heatmap(pass, pane))
    }

    /// Draws what `paint` paints into a transparent picture and reads it back, as straight-alpha RGBA.
    ///
    /// # Errors
    /// [`RenderError::PictureSize`] when a side is 0 or beyond the device's limit; [`RenderError::ReadBack`] when the
    /// device was lost.
    pub fn draw(
        &self,
        size: [u32; 2],
        paint: impl FnOnce(&Renderer, &mut wgpu::RenderPass<'_>),
    ) -> Result<RgbaImage, RenderError> {
        let [width, height] = size;
        let limit = self.device.limits().max_texture_dimension_2d;
        if !(1..=limit).contains(&width) || !(1..=limit).contains(&height) {
            return Err(RenderError::PictureSize { width, height, limit });
        }
        let target = self.create_target(size);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let view = target.create_view(&wgpu::TextureViewDescriptor::default());
            let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
                label: Some("offscreen"),
                color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                    view: &view,
                    depth_slice: None,
                    resolve_target: None,
                    ops: wgpu::Operations {
                        load: wgpu::LoadOp::Clear(wgpu::Color::TRANSPARENT),
                        store: wgpu::StoreOp::Store,
                    },
                })],
                ..Default::default()
            });
            paint(&self.renderer, &mut pass);
        }
        self.read_back(encoder, &target)
    }

    /// The statistics of an uploaded layer as the GPU has them, in the words of shaders/layer_stats.wgsl.
    #[cfg(test)]
    pub(super) fn read_stats(&self, routing: ContentKey, layer: usize) -> Result<Vec<u32>, RenderError> {
        let routing = self.renderer.routing(routing).ok_or_else(|| read_back_error(&"it is not uploaded"))?;
        let range = &routing.layers[layer].stats;
        let size = range.end - range.start;
        let buffer = self.create_mappable(size);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&routing.stats, range.start, &buffer, 0, size);
        self.queue.submit([encoder.finish()]);
        Ok(bytemuck::pod_collect_to_vec(&read_buffer(&self.device, &buffer)?))
    }

    fn create_mappable(&self, size: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size,
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        })
    }

    fn create_target(&self, [width, height]: [u32; 2]) -> wgpu::Texture {
        self.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("offscreen"),
            size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: Self::FORMAT,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        })
    }

    fn read_back(&self, mut encoder: wgpu::CommandEncoder, target: &wgpu::Texture) -> Result<RgbaImage, RenderError> {
        let row = 4 * target.width();
        let padded_row = row.next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let buffer = self.create_mappable(u64::from(padded_row) * u64::from(target.height()));
        encoder.copy_texture_to_buffer(
            target.as_image_copy(),
            wgpu::TexelCopyBufferInfo {
                buffer: &buffer,
                layout: wgpu::TexelCopyBufferLayout {
                    offset: 0,
                    bytes_per_row: Some(padded_row),
                    rows_per_image: None,
                },
            },
            target.size(),
        );
        self.queue.submit([encoder.finish()]);
        let bytes = read_buffer(&self.device, &buffer)?;
        let pixels = bytes.chunks_exact(padded_row as usize).flat_map(|padded| &padded[..row as usize]);
        let mut picture = RgbaImage::from_vec(target.width(), target.height(), pixels.copied().collect())
            .ok_or_else(|| read_back_error(&"the picture is incomplete"))?;
        picture.pixels_mut().for_each(unmultiply);
        Ok(picture)
    }
}

/// Waits for the device and copies a mappable buffer.
fn read_buffer(device: &wgpu::Device, buffer: &wgpu::Buffer) -> Result<Vec<u8>, RenderError> {
    let (sender, receiver) = mpsc::channel();
    // The receiver outlives the wait below, so that sending cannot fail.
    buffer.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
    device.poll(wgpu::PollType::wait_indefinitely()).map_err(|error| read_back_error(&error))?;
    receiver.recv().map_err(|error| read_back_error(&error))?.map_err(|error| read_back_error(&error))?;
    Ok(buffer.get_mapped_range(..).map_err(|error| read_back_error(&error))?.to_vec())
}

fn read_back_error(reason: &dyn std::fmt::Display) -> RenderError {
    RenderError::ReadBack { reason: reason.to_string() }
}

/// Straight alpha, as image files have it.
fn unmultiply(pixel: &mut image::Rgba<u8>) {
    let [r, g, b, alpha] = pixel.0;
    if (1..255).contains(&alpha) {
        let divide = |channel: u8| (u16::from(channel) * 255 / u16::from(alpha)).min(255) as u8;
        pixel.0 = [divide(r), divide(g), divide(b), alpha];
    }
}

/// The largest rectangle of the image's proportions in the middle of a picture: x, y, width, height.
fn fitted(image: [f32; 2], picture: [f32; 2]) -> [f32; 4] {
    let scale = (picture[0] / image[0]).min(picture[1] / image[1]);
    let [width, height] = image.map(|side| side * scale);
    [(picture[0] - width) / 2.0, (picture[1] - height) / 2.0, width, height]
}

/// OpenGL comes last: merely asking for it makes some systems without a display complain on stderr.
async fn open_device() -> Result<(wgpu::Device, wgpu::Queue), RenderError> {
    let wanted = wgpu::Backends::from_env();
    let adapter = match open_adapter(wanted.unwrap_or(wgpu::Backends::PRIMARY)).await {
        Err(_) if wanted.is_none() => open_adapter(wgpu::Backends::GL).await?,
        result => result?,
    };
    adapter
        .request_device(&device_descriptor(&adapter))
        .await
        .map_err(|error| RenderError::Device { adapter: adapter.get_info().name, reason: error.to_string() })
}

pub(super) async fn open_adapter(backends: wgpu::Backends) -> Result<wgpu::Adapter, RenderError> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor { backends, ..descriptor });
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::from_env().unwrap_or_default(),
        ..Default::default()
    };
    instance.request_adapter(&options).await.map_err(|error| RenderError::NoAdapter { reason: error.to_string() })
}
