//! A photo as a texture with mip levels, so that it neither shimmers when reduced nor blurs at its own size.

use super::RenderError;
use super::pipelines::{Pipelines, TEXEL_FORMAT};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, ResizeOptions, Resizer};
use std::borrow::Cow;

/// Texels that one photo may take: 256 MiB, and a third more for its mip levels.
const MAX_TEXELS: u64 = 1 << 26;

/// An uploaded photo, premultiplied.
#[derive(Debug)]
pub(super) struct Photo {
    /// Size of the texture: that of the image, or smaller.
    pub size: [u32; 2],
    pub bind_group: wgpu::BindGroup,
}

impl Photo {
    /// `rgba` has straight alpha and `size[0] * size[1] * 4` bytes.
    pub fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        pipelines: &Pipelines,
        size: [u32; 2],
        rgba: &[u8],
    ) -> Result<Self, RenderError> {
        let (size, texels) = fitted_to_texture(size, rgba, device.limits().max_texture_dimension_2d);
        let texture = create_texture(device, size);
        queue.write_texture(
            texture.as_image_copy(),
            &texels,
            wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * size[0]), rows_per_image: None },
            wgpu::Extent3d { width: size[0], height: size[1], depth_or_array_layers: 1 },
        );
        fill_mip_levels(device, queue, pipelines, &texture);
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("photo"),
            layout: &pipelines.photo_layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::TextureView(&view) },
                wgpu::BindGroupEntry { binding: 1, resource: wgpu::BindingResource::Sampler(&pipelines.photo_sampler) },
            ],
        });
        Ok(Self { size, bind_group })
    }
}

/// What a texture of at most `max_side` holds of an image of 8-bit RGBA with straight alpha: its size, and its texels,
/// premultiplied.
#[must_use]
pub fn fitted_to_texture(size: [u32; 2], rgba: &[u8], max_side: u32) -> ([u32; 2], Cow<'_, [u8]>) {
    fit(size, premultiplied(rgba), max_side)
}

/// Filtering mixes neighbours, and a transparent one must not lend its colour.
fn premultiplied(rgba: &[u8]) -> Cow<'_, [u8]> {
    if rgba.chunks_exact(4).all(|texel| texel[3] == 255) {
        return Cow::Borrowed(rgba);
    }
    let mut texels = rgba.to_vec();
    for texel in texels.chunks_exact_mut(4) {
        let alpha = u16::from(texel[3]);
        for channel in &mut texel[..3] {
            *channel = ((u16::from(*channel) * alpha + 127) / 255) as u8;
        }
    }
    Cow::Owned(texels)
}

/// Reduces an image, in proportion, to what a texture may hold.
fn fit(size: [u32; 2], texels: Cow<'_, [u8]>, max_side: u32) -> ([u32; 2], Cow<'_, [u8]>) {
    let fitted = fitted_size(size, max_side);
    if fitted == size {
        return (size, texels);
    }
    let mut reduced = Image::new(fitted[0], fitted[1], PixelType::U8x4);
    // Already premultiplied.
    let options = ResizeOptions::new().use_alpha(false);
    let resized = ImageRef::new(size[0], size[1], &texels, PixelType::U8x4)
        .is_ok_and(|source| Resizer::new().resize(&source, &mut reduced, &options).is_ok());
    debug_assert!(resized, "{size:?} RGBA pixels in {} bytes", texels.len());
    (fitted, Cow::Owned(reduced.into_vec()))
}

fn fitted_size([width, height]: [u32; 2], max_side: u32) -> [u32; 2] {
    let by_side = f64::from(max_side) / f64::from(width.max(height));
    let by_area = (MAX_TEXELS as f64 / (f64::from(width) * f64::from(height))).sqrt();
    let scale = by_side.min(by_area);
    if scale >= 1.0 {
        return [width, height];
    }
    [width, height].map(|side| ((f64::from(side) * scale) as u32).max(1))
}

fn create_texture(device: &wgpu::Device, [width, height]: [u32; 2]) -> wgpu::Texture {
    let usage =
        wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::RENDER_ATTACHMENT;
    device.create_texture(&wgpu::TextureDescriptor {
        label: Some("photo"),
        size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
        mip_level_count: width.max(height).ilog2() + 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: TEXEL_FORMAT,
        usage,
        view_formats: &[],
    })
}

/// Each level from the one before.
fn fill_mip_levels(device: &wgpu::Device, queue: &wgpu::Queue, pipelines: &Pipelines, texture: &wgpu::Texture) {
    let view = |level| {
        texture.create_view(&wgpu::TextureViewDescriptor {
            base_mip_level: level,
            mip_level_count: Some(1),
            ..Default::default()
        })
    };
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("mipmap") });
    for level in 1..texture.mip_level_count() {
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("mipmap"),
            layout: &pipelines.mipmap_layout,
            entries: &[wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::TextureView(&view(level - 1)),
            }],
        });
        let target = view(level);
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("mipmap"),
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: &target,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations { load: wgpu::LoadOp::Clear(wgpu::Color::BLACK), store: wgpu::StoreOp::Store },
            })],
            ..Default::default()
        });
        pass.set_pipeline(&pipelines.mipmap);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.draw(0..3, 0..1);
    }
    queue.submit([encoder.finish()]);
}
