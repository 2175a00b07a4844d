//! The routing of an analysis on the GPU.

use super::layout::LayerShape;
use super::pipelines::{Pipelines, WORKGROUP_SIZE};
use super::{RenderError, expert_color};
use crate::routing::{LayerRouting, RoutingTrace, TokenMeasures};
use wgpu::util::DeviceExt;

/// A chosen expert that does not exist, where there is none: buffers must not be empty.
const NO_EXPERT: u32 = u32::MAX;

/// All layers of one analysis.
#[derive(Debug)]
pub(super) struct RoutingBuffers {
    pub layers: Vec<LayerBuffers>,
}

impl RoutingBuffers {
    pub fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        pipelines: &Pipelines,
        trace: &RoutingTrace,
        measures: &[TokenMeasures],
    ) -> Result<Self, RenderError> {
        // All before the first upload: whoever draws may ask for the same routing in every frame.
        trace.layers.iter().try_for_each(|routing| check_size(device, routing))?;
        let layers = trace.layers.iter().zip(measures);
        let layers: Vec<_> =
            layers.map(|(routing, measures)| LayerBuffers::new(device, pipelines, routing, measures)).collect();
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("load count") });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipelines.load_count);
            for layer in &layers {
                layer.count_loads(device, pipelines, &mut pass);
            }
        }
        queue.submit([encoder.finish()]);
        Ok(Self { layers })
    }
}

/// Weights, gate probabilities, and two measures per token share a buffer.
fn check_size(device: &wgpu::Device, routing: &LayerRouting) -> Result<(), RenderError> {
    let values = routing.weights().len() + routing.gate_probs().len() + 2 * routing.num_tokens();
    let bytes = (values * size_of::<f32>()) as u64;
    let limits = device.limits();
    let limit = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
    if bytes <= limit {
        Ok(())
    } else {
        Err(RenderError::LayerTooLarge { layer: routing.name().to_owned(), bytes, limit })
    }
}

/// One layer, as shaders/layer.wgsl declares it.
#[derive(Debug)]
pub(super) struct LayerBuffers {
    pub shape: LayerShape,
    pub bind_group: wgpu::BindGroup,
    pub loads: wgpu::Buffer,
    experts: wgpu::Buffer,
}

impl LayerBuffers {
    fn new(device: &wgpu::Device, pipelines: &Pipelines, routing: &LayerRouting, measures: &TokenMeasures) -> Self {
        let shape = LayerShape {
            num_tokens: routing.num_tokens() as u32,
            num_experts: routing.num_experts() as u32,
            top_k: routing.top_k() as u32,
        };
        let parts = [routing.weights(), &measures.entropy, &measures.margin, routing.gate_probs()];
        let experts: Vec<u32> = routing.experts().iter().map(|expert| expert.0).collect();
        Self::upload(device, pipelines, shape, &experts, &parts.concat())
    }

    /// No token and no expert.
    pub fn empty(device: &wgpu::Device, pipelines: &Pipelines) -> Self {
        Self::upload(device, pipelines, LayerShape::default(), &[], &[])
    }

    fn upload(
        device: &wgpu::Device,
        pipelines: &Pipelines,
        shape: LayerShape,
        experts: &[u32],
        values: &[f32],
    ) -> Self {
        let palette: Vec<[u8; 4]> = (0..shape.num_experts.max(1)).map(rgba_of).collect();
        let chosen = experts.iter().map(|&expert| palette[expert as usize]);
        let colors: Vec<[u8; 4]> = palette.iter().copied().chain(chosen).collect();
        let experts = storage_buffer(device, "chosen experts", if experts.is_empty() { &[NO_EXPERT] } else { experts });
        let values = storage_buffer(device, "routing values", if values.is_empty() { &[0.0] } else { values });
        let colors = storage_buffer(device, "expert colours", &colors);
        let loads = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("loads"),
            size: u64::from(shape.num_experts.max(1)) * size_of::<u32>() as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let bind_group = bind_buffers(device, &pipelines.layer_layout, &[&experts, &values, &loads, &colors]);
        Self { shape, bind_group, loads, experts }
    }

    fn count_loads(&self, device: &wgpu::Device, pipelines: &Pipelines, pass: &mut wgpu::ComputePass<'_>) {
        let assignments = self.shape.num_tokens * self.shape.top_k;
        let most = device.limits().max_compute_workgroups_per_dimension;
        let bind_group = bind_buffers(device, &pipelines.load_count_layout, &[&self.experts, &self.loads]);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(assignments.div_ceil(WORKGROUP_SIZE).clamp(1, most), 1, 1);
    }
}

fn rgba_of(expert: u32) -> [u8; 4] {
    let [r, g, b] = expert_color(expert);
    [r, g, b, 255]
}

fn storage_buffer<T: bytemuck::Pod>(device: &wgpu::Device, label: &str, contents: &[T]) -> wgpu::Buffer {
    device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: Some(label),
        contents: bytemuck::cast_slice(contents),
        usage: wgpu::BufferUsages::STORAGE,
    })
}

fn bind_buffers(device: &wgpu::Device, layout: &wgpu::BindGroupLayout, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
    let resources = buffers.iter().map(|buffer| buffer.as_entire_binding());
    let entries: Vec<_> =
        (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
    device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
}
