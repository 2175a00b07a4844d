//! The pipelines and the layouts of what they bind. All are built once per renderer; those of the heatmap, of which a
//! session needs a few of many, when the first frame asks for them.

use super::layout::HeatmapFeatures;
use super::scale::{ColorScale, scale_table};
use std::collections::HashMap;

/// Storage buffers that one shader stage binds: the routing and the statistics of a layer.
pub(super) const STORAGE_BUFFERS: u32 = 2;
/// Invocations per workgroup of layer_stats.wgsl, and how many experts a workgroup of `sum_importance` takes at a time.
pub(super) const STATS_INVOCATIONS: u32 = 128;
pub(super) const STATS_TILE: u32 = 8;
/// Bytes that a workgroup of layer_stats.wgsl shares: two floats and a padded vector of three numbers per invocation.
pub(super) const STATS_STORAGE: u32 = STATS_INVOCATIONS * (4 + 4 + 16);
/// Format of photos and colour scales: bytes as they are.
pub(super) const TEXEL_FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

pub(super) const HEATMAP_WGSL: &str = concat!(
    include_str!("../../shaders/common.wgsl"),
    include_str!("../../shaders/layer.wgsl"),
    include_str!("../../shaders/heatmap.wgsl")
);
pub(super) const LOAD_BARS_WGSL: &str = concat!(
    include_str!("../../shaders/common.wgsl"),
    include_str!("../../shaders/layer.wgsl"),
    include_str!("../../shaders/load_bars.wgsl")
);
pub(super) const LAYER_STATS_WGSL: &str =
    concat!(include_str!("../../shaders/layer.wgsl"), include_str!("../../shaders/layer_stats.wgsl"));
pub(super) const MIPMAP_WGSL: &str = include_str!("../../shaders/mipmap.wgsl");

#[derive(Debug)]
pub(super) struct Pipelines {
    heatmap: DrawPass,
    heatmaps: HashMap<HeatmapFeatures, wgpu::RenderPipeline>,
    target: wgpu::TextureFormat,
    pub bars: wgpu::RenderPipeline,
    pub mipmap: wgpu::RenderPipeline,
    /// `None` where the device cannot compute.
    pub stats: Option<StatsPipelines>,
    /// Uniform and colour scales.
    pub pane_layout: wgpu::BindGroupLayout,
    /// The buffers of a layer, to draw from.
    pub layer_layout: wgpu::BindGroupLayout,
    /// Photo and sampler.
    pub photo_layout: wgpu::BindGroupLayout,
    /// The larger mip level.
    pub mipmap_layout: wgpu::BindGroupLayout,
    pub scales: wgpu::TextureView,
    pub photo_sampler: wgpu::Sampler,
}

impl Pipelines {
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue, target: wgpu::TextureFormat, can_compute: bool) -> Self {
        let fragment = wgpu::ShaderStages::FRAGMENT;
        let pane_layout = bind_group_layout(device, "pane", fragment, &[UNIFORM, TEXTURE]);
        let layer_layout = bind_group_layout(device, "layer", fragment, &[READ; STORAGE_BUFFERS as usize]);
        let photo_layout = bind_group_layout(device, "photo", fragment, &[TEXTURE, SAMPLER]);
        let mipmap_layout = bind_group_layout(device, "mipmap", fragment, &[TEXTURE]);

        let heatmap = DrawPass::new(device, "heatmap", HEATMAP_WGSL, &[&layer_layout, &pane_layout, &photo_layout]);
        let bars = DrawPass::new(device, "load bars", LOAD_BARS_WGSL, &[&layer_layout, &pane_layout]);
        let mipmap = DrawPass::new(device, "mipmap", MIPMAP_WGSL, &[&mipmap_layout]);
        Self {
            bars: bars.pipeline(device, target, Some(BLEND), &[target_constant(target)]),
            mipmap: mipmap.pipeline(device, TEXEL_FORMAT, None, &[]),
            heatmap,
            heatmaps: HashMap::new(),
            target,
            stats: can_compute.then(|| StatsPipelines::new(device)),
            pane_layout,
            layer_layout,
            photo_layout,
            mipmap_layout,
            scales: upload_scales(device, queue),
            photo_sampler: device.create_sampler(&wgpu::SamplerDescriptor {
                label: Some("photo"),
                mag_filter: wgpu::FilterMode::Linear,
                min_filter: wgpu::FilterMode::Linear,
                ..Default::default()
            }),
        }
    }

    /// Builds the pipeline of some features, unless it is there.
    pub fn prepare_heatmap(&mut self, device: &wgpu::Device, features: HeatmapFeatures) {
        self.heatmaps.entry(features).or_insert_with(|| {
            let mut constants = vec![target_constant(self.target)];
            constants.extend(features.constants());
            let blend = (!features.is_opaque).then_some(BLEND);
            self.heatmap.pipeline(device, self.target, blend, &constants)
        });
    }

    /// A prepared pipeline.
    pub fn heatmap(&self, features: HeatmapFeatures) -> Option<&wgpu::RenderPipeline> {
        self.heatmaps.get(&features)
    }
}

const BLEND: wgpu::BlendState = wgpu::BlendState::PREMULTIPLIED_ALPHA_BLENDING;

/// The constant of common.wgsl.
fn target_constant(target: wgpu::TextureFormat) -> (&'static str, f64) {
    ("target_encodes_srgb", f64::from(u8::from(target.is_srgb())))
}

const UNIFORM: wgpu::BindingType = buffer_binding(wgpu::BufferBindingType::Uniform);
const READ: wgpu::BindingType = buffer_binding(wgpu::BufferBindingType::Storage { read_only: true });
const READ_WRITE: wgpu::BindingType = buffer_binding(wgpu::BufferBindingType::Storage { read_only: false });
const TEXTURE: wgpu::BindingType = wgpu::BindingType::Texture {
    sample_type: wgpu::TextureSampleType::Float { filterable: true },
    view_dimension: wgpu::TextureViewDimension::D2,
    multisampled: false,
};
const SAMPLER: wgpu::BindingType = wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering);

const fn buffer_binding(ty: wgpu::BufferBindingType) -> wgpu::BindingType {
    wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None }
}

fn bind_group_layout(
    device: &wgpu::Device,
    name: &str,
    visibility: wgpu::ShaderStages,
    types: &[wgpu::BindingType],
) -> wgpu::BindGroupLayout {
    let entry = |(binding, &ty)| wgpu::BindGroupLayoutEntry { binding, visibility, ty, count: None };
    let entries: Vec<_> = (0..).zip(types).map(entry).collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(name), entries: &entries })
}

/// A shader that draws, and the layouts of what it binds.
#[derive(Debug)]
struct DrawPass {
    name: &'static str,
    module: wgpu::ShaderModule,
    layout: wgpu::PipelineLayout,
}

impl DrawPass {
    fn new(device: &wgpu::Device, name: &'static str, wgsl: &'static str, layouts: &[&wgpu::BindGroupLayout]) -> Self {
        Self { name, module: shader_module(device, name, wgsl), layout: pipeline_layout(device, name, layouts) }
    }

    fn pipeline(
        &self,
        device: &wgpu::Device,
        format: wgpu::TextureFormat,
        blend: Option<wgpu::BlendState>,
        constants: &[(&str, f64)],
    ) -> wgpu::RenderPipeline {
        let target = wgpu::ColorTargetState { format, blend, write_mask: wgpu::ColorWrites::ALL };
        let compilation_options = wgpu::PipelineCompilationOptions { constants, ..Default::default() };
        device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some(self.name),
            layout: Some(&self.layout),
            vertex: wgpu::VertexState {
                module: &self.module,
                entry_point: None,
                compilation_options: compilation_options.clone(),
                buffers: &[],
            },
            fragment: Some(wgpu::FragmentState {
                module: &self.module,
                entry_point: None,
                compilation_options,
                targets: &[Some(target)],
            }),
            primitive: wgpu::PrimitiveState::default(),
            depth_stencil: None,
            multisample: wgpu::MultisampleState::default(),
            multiview_mask: None,
            cache: None,
        })
    }
}

/// The steps of layer_stats.wgsl, in their order.
#[derive(Debug)]
pub(super) struct StatsPipelines {
    pub count_loads: wgpu::ComputePipeline,
    pub sum_importance: wgpu::ComputePipeline,
    pub total: wgpu::ComputePipeline,
    /// The routing of a layer, and its statistics to fill.
    pub layout: wgpu::BindGroupLayout,
}

impl StatsPipelines {
    fn new(device: &wgpu::Device) -> Self {
        let layout = bind_group_layout(device, "statistics", wgpu::ShaderStages::COMPUTE, &[READ, READ_WRITE]);
        let pipeline_layout = pipeline_layout(device, "statistics", &[&layout]);
        let module = shader_module(device, "statistics", LAYER_STATS_WGSL);
        let pipeline = |entry_point| {
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(entry_point),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(entry_point),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            })
        };
        Self {
            count_loads: pipeline("count_loads"),
            sum_importance: pipeline("sum_importance"),
            total: pipeline("total"),
            layout,
        }
    }
}

fn pipeline_layout(device: &wgpu::Device, name: &str, layouts: &[&wgpu::BindGroupLayout]) -> wgpu::PipelineLayout {
    let bind_group_layouts: Vec<_> = layouts.iter().copied().map(Some).collect();
    device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(name),
        bind_group_layouts: &bind_group_layouts,
        immediate_size: 0,
    })
}

fn shader_module(device: &wgpu::Device, name: &str, wgsl: &'static str) -> wgpu::ShaderModule {
    device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(name),
        source: wgpu::ShaderSource::Wgsl(wgsl.into()),
    })
}

fn upload_scales(device: &wgpu::Device, queue: &wgpu::Queue) -> wgpu::TextureView {
    let descriptor = wgpu::TextureDescriptor {
        label: Some("colour scales"),
        size: wgpu::Extent3d {
            width: ColorScale::STEPS as u32,
            height: ColorScale::ALL.len() as u32,
            depth_or_array_layers: 1,
        },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: TEXEL_FORMAT,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    };
    let order = wgpu::util::TextureDataOrder::default();
    let texture = wgpu::util::DeviceExt::create_texture_with_data(device, queue, &descriptor, order, &scale_table());
    texture.create_view(&wgpu::TextureViewDescriptor::default())
}
