//! What a heatmap or chart on screen owns: a small uniform buffer. All panes of a frame are prepared before the first is
//! painted, so that one buffer for all of them would show the last one's numbers everywhere.

use super::ContentKey;
use super::layout::{HeatmapFeatures, PANE_UNIFORM_SIZE};
use super::pipelines::Pipelines;

/// What one heatmap or chart on screen keeps between its preparation and its painting.
#[derive(Debug)]
pub(super) struct Pane {
    uniform: wgpu::Buffer,
    /// What the uniform buffer holds. Most frames of a window repaint a pane as it was, and a write costs the main thread
    /// as much as all the rest of a frame.
    written: Vec<u8>,
    pub bind_group: wgpu::BindGroup,
    /// Photo and routing.
    pub contents: [Option<ContentKey>; 2],
    pub layer: usize,
    /// A heatmap's pipeline; a chart has none of its own.
    pub features: Option<HeatmapFeatures>,
    /// x, y, width and height on the target, in whole pixels.
    pub viewport: [f32; 4],
}

impl Pane {
    pub fn new(device: &wgpu::Device, pipelines: &Pipelines) -> Self {
        let uniform = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("pane"),
            size: PANE_UNIFORM_SIZE,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("pane"),
            layout: &pipelines.pane_layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: uniform.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: wgpu::BindingResource::TextureView(&pipelines.scales) },
            ],
        });
        Self {
            uniform,
            written: Vec::new(),
            bind_group,
            contents: [None; 2],
            layer: 0,
            features: None,
            viewport: [0.0; 4],
        }
    }

    /// Takes this frame's numbers.
    pub fn write(&mut self, queue: &wgpu::Queue, uniform: &[u8]) {
        if self.written != uniform {
            queue.write_buffer(&self.uniform, 0, uniform);
            self.written = uniform.to_vec();
        }
    }

    /// Whether anything it shows is among these.
    pub fn shows(&self, keys: &[ContentKey]) -> bool {
        self.contents.iter().flatten().any(|key| keys.contains(key))
    }
}
