//! The uniforms as the shaders declare them, field by field. Tests compare sizes and offsets with the WGSL.

use super::frame::{BarsFrame, HeatmapFrame, HeatmapStyle, Overlay};
use bytemuck::{Pod, Zeroable};

/// In place of an expert or a patch.
const NONE: u32 = u32::MAX;

const WEIGHT_OPACITY: u32 = 1;
const GRID_LINES: u32 = 2;
const DIM_OUTSIDE: u32 = 4;
const DARK: u32 = 8;

/// What a shader needs to know of a layer to find its way through the layer's buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LayerShape {
    /// T.
    pub num_tokens: u32,
    /// E.
    pub num_experts: u32,
    /// k.
    pub top_k: u32,
}

/// `Heatmap` in heatmap.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct HeatmapUniform {
    pub view: [f32; 4],
    pub image: [f32; 4],
    pub seen: [f32; 4],
    pub background: [f32; 4],
    pub grid: [u32; 2],
    pub num_tokens: u32,
    pub num_experts: u32,
    pub overlay: u32,
    pub overlay_index: u32,
    pub top_k: u32,
    pub flags: u32,
    pub lit: u32,
    pub hovered: u32,
    pub pinned: u32,
    pub scale: u32,
    pub opacity: f32,
    pub scale_max: f32,
    pub mip_level: f32,
    pub pixels_per_point: f32,
}

/// `Bars` in load_bars.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct BarsUniform {
    pub view: [f32; 4],
    pub plot: [f32; 4],
    pub x_range: [f32; 2],
    pub y_range: [f32; 2],
    pub num_experts: u32,
    pub lit: u32,
    pub hovered: u32,
    pub bar_width: f32,
    pub pixels_per_point: f32,
    pub padding: [u32; 3],
}

/// Size of a pane's uniform buffer: the same for both kinds, so that a pane may change its kind.
pub(super) const PANE_UNIFORM_SIZE: u64 = {
    let (heatmap, bars) = (size_of::<HeatmapUniform>(), size_of::<BarsUniform>());
    if heatmap > bars { heatmap as u64 } else { bars as u64 }
};

impl HeatmapUniform {
    /// `photo_size` is the texture's, which is smaller than the image where that was reduced.
    pub fn new(frame: &HeatmapFrame, layer: LayerShape, photo_size: [u32; 2]) -> Self {
        let style = &frame.style;
        let (overlay, overlay_index) = overlay_code(style.overlay, layer);
        let [x, y, width, height] = frame.image_px;
        let scale = [width / frame.image_size[0], height / frame.image_size[1]];
        let seen = frame.grid.seen;
        Self {
            view: frame.view_px,
            image: frame.image_px,
            seen: [x + seen.x * scale[0], y + seen.y * scale[1], seen.width * scale[0], seen.height * scale[1]],
            background: style.background,
            grid: [frame.grid.cols as u32, frame.grid.rows as u32],
            num_tokens: layer.num_tokens,
            num_experts: layer.num_experts,
            overlay,
            overlay_index,
            top_k: layer.top_k,
            flags: flags(frame),
            lit: style.lit_expert.filter(|_| layer.num_tokens > 0).unwrap_or(NONE),
            hovered: frame.hovered.unwrap_or(NONE),
            pinned: frame.pinned.unwrap_or(NONE),
            scale: style.scale.index(),
            opacity: style.opacity.clamp(0.0, 1.0),
            scale_max: scale_max(style, layer),
            mip_level: mip_level(photo_size, [width, height]),
            pixels_per_point: style.pixels_per_point,
        }
    }
}

impl BarsUniform {
    pub fn new(frame: &BarsFrame, layer: LayerShape) -> Self {
        Self {
            view: frame.view_px,
            plot: frame.plot_px,
            x_range: frame.x_range,
            y_range: frame.y_range,
            num_experts: layer.num_experts,
            lit: frame.lit_expert.unwrap_or(NONE),
            hovered: frame.hovered.unwrap_or(NONE),
            bar_width: frame.bar_width,
            pixels_per_point: frame.pixels_per_point,
            padding: [0; 3],
        }
    }
}

fn overlay_code(overlay: Overlay, layer: LayerShape) -> (u32, u32) {
    if layer.num_tokens == 0 {
        return (0, 0);
    }
    match overlay {
        Overlay::None => (0, 0),
        Overlay::ChosenExpert { rank } => (1, u32::try_from(rank).unwrap_or(NONE)),
        Overlay::GateProb { expert } => (2, expert),
        Overlay::Entropy => (3, 0),
        Overlay::Margin => (4, 0),
    }
}

fn flags(frame: &HeatmapFrame) -> u32 {
    let style = &frame.style;
    let seen = frame.grid.seen;
    // Half a pixel of the image is within the rounding of crop arithmetic.
    let sees_all = seen.x <= 0.5
        && seen.y <= 0.5
        && seen.x + seen.width >= frame.image_size[0] - 0.5
        && seen.y + seen.height >= frame.image_size[1] - 0.5;
    let flag = |on: bool, bit: u32| if on { bit } else { 0 };
    flag(style.weight_opacity, WEIGHT_OPACITY)
        | flag(style.grid_lines, GRID_LINES)
        | flag(style.dim_outside && !sees_all, DIM_OUTSIDE)
        | flag(style.dark, DARK)
}

/// The value at the upper end of the colour scale; never 0, which the shader divides by.
fn scale_max(style: &HeatmapStyle, layer: LayerShape) -> f32 {
    let max = match style.overlay {
        Overlay::GateProb { .. } => style.scale_max,
        Overlay::Entropy => (layer.num_experts as f32).ln(),
        Overlay::None | Overlay::ChosenExpert { .. } | Overlay::Margin => 1.0,
    };
    max.max(f32::MIN_POSITIVE)
}

/// The mip level, counted in fractions, whose pixels are as large as the screen's.
fn mip_level(photo_size: [u32; 2], drawn: [f32; 2]) -> f32 {
    let reduced = (photo_size[0] as f32 / drawn[0]).max(photo_size[1] as f32 / drawn[1]);
    if reduced.is_finite() { reduced.log2().max(0.0) } else { 0.0 }
}
