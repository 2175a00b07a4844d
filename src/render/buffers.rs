//! The routing of an analysis on the GPU: one upload, from which both the heatmap and the statistics are made.

use super::layout::LayerShape;
use super::palette::LayerPalette;
use super::pipelines::{Pipelines, STATS_INVOCATIONS, STATS_TILE};
use super::sections::{HEADER, Section, Sections, TOTALS};
use super::{RenderError, Uploaded, guard};
use crate::routing::{LayerBalance, LayerRouting, RoutingTrace, SlotWeight, TokenMeasures};

/// All layers of one analysis.
#[derive(Debug)]
pub(super) struct RoutingBuffers {
    pub layers: Vec<LayerBuffers>,
    pub uploaded: Uploaded,
    #[cfg(test)]
    pub stats: wgpu::Buffer,
}

/// One layer, as shaders/layer.wgsl declares it.
#[derive(Debug)]
pub(super) struct LayerBuffers {
    pub shape: LayerShape,
    pub bind_group: wgpu::BindGroup,
    #[cfg(test)]
    pub stats: std::ops::Range<u64>,
}

impl RoutingBuffers {
    /// Uploads all layers and computes their statistics, on the GPU where it can compute.
    pub fn new<'a>(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        pipelines: &Pipelines,
        trace: &RoutingTrace,
        measures: impl IntoIterator<Item = &'a TokenMeasures>,
    ) -> Result<Self, RenderError> {
        let shapes: Vec<_> = trace.layers.iter().map(LayerShape::of).collect();
        let sections = Sections::new(&shapes, &device.limits())?;
        guard::watched(device, || {
            let routing = buffer(device, "routing", sections.routing_size, |words| {
                for ((section, layer), measures) in sections.layers.iter().zip(&trace.layers).zip(measures) {
                    write_routing(words, section, layer, measures, sections.has_gate_probs_of(section));
                }
            })?;
            let stats = buffer(device, "statistics", sections.stats_size, |words| {
                if pipelines.stats.is_none() {
                    sections.layers.iter().zip(&trace.layers).for_each(|(section, layer)| {
                        write_stats(words, section, &LayerBalance::of(layer));
                    });
                }
            })?;
            compute_stats(device, queue, pipelines, &sections, [&routing, &stats]);
            let layers = sections.layers.iter().map(|section| LayerBuffers {
                shape: section.shape,
                bind_group: bind(device, &pipelines.layer_layout, section, [&routing, &stats]),
                #[cfg(test)]
                stats: section.stats.clone(),
            });
            Ok(Self {
                layers: layers.collect(),
                uploaded: Uploaded::new(&sections, &device.limits()),
                #[cfg(test)]
                stats,
            })
        })
    }
}

impl LayerBuffers {
    /// No token and no expert.
    pub fn empty(device: &wgpu::Device, pipelines: &Pipelines) -> Self {
        let shape = LayerShape::default();
        let section = Section { shape, routing: 0..4 * HEADER as u64, stats: 0..4 * TOTALS as u64 };
        let [routing, stats] = [&section.routing, &section.stats].map(|range| {
            let descriptor = descriptor("no layer", range.end);
            device.create_buffer(&wgpu::BufferDescriptor { mapped_at_creation: false, ..descriptor })
        });
        let bind_group = bind(device, &pipelines.layer_layout, &section, [&routing, &stats]);
        Self {
            shape,
            bind_group,
            #[cfg(test)]
            stats: section.stats,
        }
    }
}

/// Places of one buffer that are written before the GPU sees it.
struct Words(wgpu::BufferViewMut);

impl Words {
    /// Writes values from a byte on and returns the byte behind them.
    fn write<T: bytemuck::Pod>(&mut self, at: u64, values: &[T]) -> u64 {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let start = at as usize;
        self.0.slice(start..start + bytes.len()).copy_from_slice(bytes);
        at + bytes.len() as u64
    }
}

fn descriptor(label: &'static str, size: u64) -> wgpu::BufferDescriptor<'static> {
    let usage = wgpu::BufferUsages::STORAGE
        | if cfg!(test) { wgpu::BufferUsages::COPY_SRC } else { wgpu::BufferUsages::empty() };
    wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: true }
}

/// A buffer that `fill` writes in place. A model without routers has none of it, and no buffer may be empty.
fn buffer(
    device: &wgpu::Device,
    label: &'static str,
    size: u64,
    fill: impl FnOnce(&mut Words),
) -> Result<wgpu::Buffer, RenderError> {
    let buffer = device.create_buffer(&descriptor(label, size.max(4)));
    let view = buffer.get_mapped_range_mut(..).map_err(|error| RenderError::Upload { reason: error.to_string() })?;
    let mut words = Words(view);
    fill(&mut words);
    drop(words);
    buffer.unmap();
    Ok(buffer)
}

fn write_routing(
    words: &mut Words,
    section: &Section,
    layer: &LayerRouting,
    measures: &TokenMeasures,
    has_gate_probs: bool,
) {
    let LayerShape { num_tokens, num_experts, top_k, .. } = section.shape;
    let palette = LayerPalette::of_routing(layer);
    let rgba = |expert: u32| {
        let [r, g, b] = palette.color(expert);
        [r, g, b, 255]
    };
    let colors: Vec<[u8; 4]> = (0..num_experts).map(rgba).collect();
    let experts: Vec<u32> = layer.experts().iter().map(|expert| expert.0).collect();
    // Transparent where a token has no expert at this rank.
    let chosen_colors: Vec<[u8; 4]> =
        experts.iter().map(|&expert| colors.get(expert as usize).copied().unwrap_or_default()).collect();
    let mut at = words.write(section.routing.start, &[num_tokens, num_experts, top_k, u32::from(has_gate_probs)]);
    at = words.write(at, &colors);
    at = words.write(at, &experts);
    at = words.write(at, layer.weights());
    at = words.write(at, &chosen_colors);
    at = words.write(at, &measures.entropy);
    at = words.write(at, &measures.margin);
    if has_gate_probs {
        at = words.write(at, layer.gate_probs());
    }
    if let Some(slots) = layer.slots().filter(|_| section.shape.num_slots > 0) {
        for weight in [SlotWeight::Dispatch, SlotWeight::Combine] {
            at = words.write(at, slots.table(weight));
        }
    }
}

/// What layer_stats.wgsl computes, for a device that cannot.
fn write_stats(words: &mut Words, section: &Section, balance: &LayerBalance) {
    let load: Vec<u32> = balance.load.iter().map(|&load| load as u32).collect();
    let importance: Vec<f32> = balance.importance.iter().map(|&importance| importance as f32).collect();
    let mut totals = [0; TOTALS];
    totals[0] = load.iter().sum();
    totals[1] = load.iter().copied().max().unwrap_or(0);
    totals[2] = balance.load_stats.dead as u32;
    totals[3] = (balance.importance.iter().sum::<f64>() as f32).to_bits();
    totals[4] = importance.iter().copied().fold(0.0, f32::max).to_bits();
    let mut at = words.write(section.stats.start, &totals);
    at = words.write(at, &load);
    words.write(at, &importance);
}

fn compute_stats(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    pipelines: &Pipelines,
    sections: &Sections,
    buffers: [&wgpu::Buffer; 2],
) {
    let Some(stats) = &pipelines.stats else { return };
    let most = device.limits().max_compute_workgroups_per_dimension;
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("statistics") });
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for section in &sections.layers {
            let LayerShape { num_tokens, num_experts, top_k, .. } = section.shape;
            let importance = sections
                .has_gate_probs_of(section)
                .then_some((&stats.sum_importance, num_experts.div_ceil(STATS_TILE)));
            let count = (&stats.count_loads, (num_tokens * top_k).div_ceil(STATS_INVOCATIONS));
            pass.set_bind_group(0, &bind(device, &stats.layout, section, buffers), &[]);
            for (pipeline, workgroups) in [Some(count), importance, Some((&stats.total, 1))].into_iter().flatten() {
                pass.set_pipeline(pipeline);
                pass.dispatch_workgroups(workgroups.clamp(1, most), 1, 1);
            }
        }
    }
    queue.submit([encoder.finish()]);
}

/// One layer's part of the two buffers.
fn bind(
    device: &wgpu::Device,
    layout: &wgpu::BindGroupLayout,
    section: &Section,
    buffers: [&wgpu::Buffer; 2],
) -> wgpu::BindGroup {
    let entry = |(binding, (buffer, range)): (u32, (_, &std::ops::Range<u64>))| wgpu::BindGroupEntry {
        binding,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer,
            offset: range.start,
            size: wgpu::BufferSize::new(range.end - range.start),
        }),
    };
    let parts = buffers.into_iter().zip([&section.routing, &section.stats]);
    let entries: Vec<_> = (0..).zip(parts).map(entry).collect();
    device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some("layer"), layout, entries: &entries })
}
