//! The uniforms as the shaders declare them, field by field. Tests compare sizes and offsets with the WGSL.

use super::frame::{BarsFrame, HeatmapFrame, HeatmapStyle, Overlay};
use crate::routing::{LayerRouting, PatchGrid, SlotWeight, SlotWeights};
use bytemuck::{Pod, Zeroable};

/// In place of an expert or a patch.
const NONE: u32 = u32::MAX;

const DIM_OUTSIDE: u32 = 1;
const DARK: u32 = 2;

const IMPORTANCE_MARKS: u32 = 1;

/// Opacity of the lines between large patches.
const GRID_OPACITY: f32 = 0.22;
/// Grid lines are gone when patches are this small, in points, and strongest at the other size.
const GRID_FADE: [f32; 2] = [6.0, 20.0];

/// What a shader needs to know of a layer to find its way through the layer's buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LayerShape {
    /// T.
    pub num_tokens: u32,
    /// E.
    pub num_experts: u32,
    /// k.
    pub top_k: u32,
    /// Whether the router gave a probability for every token and expert.
    pub has_gate_probs: bool,
    /// E · S, where experts have slots.
    pub num_slots: u32,
}

impl LayerShape {
    pub fn of(routing: &LayerRouting) -> Self {
        Self {
            num_tokens: routing.num_tokens() as u32,
            num_experts: routing.num_experts() as u32,
            top_k: routing.top_k() as u32,
            has_gate_probs: routing.has_gate_probs(),
            num_slots: routing.slots().map_or(0, SlotWeights::num_slots) as u32,
        }
    }
}

/// `Heatmap` in heatmap.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct HeatmapUniform {
    pub image: [f32; 4],
    pub seen: [f32; 4],
    pub background: [f32; 4],
    pub grid: [u32; 2],
    pub patch_size: [f32; 2],
    pub num_tokens: u32,
    pub num_experts: u32,
    pub top_k: u32,
    pub overlay_index: u32,
    pub flags: u32,
    pub lit: u32,
    pub hovered: u32,
    pub pinned: u32,
    pub scale: u32,
    pub opacity: f32,
    pub scale_max: f32,
    pub grid_opacity: f32,
    pub mip_level: f32,
    pub pixels_per_point: f32,
    pub num_slots: u32,
    pub padding: u32,
}

/// What a heatmap's pipeline can leave out, as the constants of heatmap.wgsl name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct HeatmapFeatures {
    overlay: u8,
    has_weight_opacity: bool,
    has_missing_patches: bool,
    has_lit_expert: bool,
    has_small_patches: bool,
    has_grid_lines: bool,
    has_outlines: bool,
    has_large_texels: bool,
    /// Not for the shader: what is opaque need not be blended with what is below.
    pub is_opaque: bool,
}

impl HeatmapFeatures {
    /// `uniform` is made of `frame`.
    pub fn new(frame: &HeatmapFrame, uniform: &HeatmapUniform, photo_size: [u32; 2]) -> Self {
        let [width, height] = uniform.patch_size;
        Self {
            overlay: if uniform.num_tokens == 0 { 0 } else { overlay_code(frame.style.overlay) },
            has_weight_opacity: frame.style.weight_opacity,
            has_missing_patches: frame.grid.num_patches() > uniform.num_tokens as usize,
            has_lit_expert: uniform.lit != NONE,
            has_small_patches: width.min(height) < 2.0,
            has_grid_lines: uniform.grid_opacity > 0.0,
            has_outlines: uniform.flags & DIM_OUTSIDE != 0 || uniform.hovered != NONE || uniform.pinned != NONE,
            has_large_texels: frame.image_px[2] > 6.0 * photo_size[0] as f32,
            is_opaque: frame.style.background[3] == 1.0,
        }
    }

    /// Values of the shader's constants.
    pub fn constants(self) -> [(&'static str, f64); 8] {
        let flag = |on: bool| f64::from(u8::from(on));
        [
            ("overlay", f64::from(self.overlay)),
            ("has_weight_opacity", flag(self.has_weight_opacity)),
            ("has_missing_patches", flag(self.has_missing_patches)),
            ("has_lit_expert", flag(self.has_lit_expert)),
            ("has_small_patches", flag(self.has_small_patches)),
            ("has_grid_lines", flag(self.has_grid_lines)),
            ("has_outlines", flag(self.has_outlines)),
            ("has_large_texels", flag(self.has_large_texels)),
        ]
    }
}

/// `Bars` in load_bars.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct BarsUniform {
    pub view: [f32; 4],
    pub plot: [f32; 4],
    pub x_range: [f32; 2],
    pub y_max: f32,
    pub bar_width: f32,
    pub num_experts: u32,
    pub lit: u32,
    pub hovered: u32,
    pub flags: u32,
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
        let [x, y, width, height] = frame.image_px;
        let scale = [width / frame.image_size[0], height / frame.image_size[1]];
        let PatchGrid { rows, cols, seen } = frame.grid;
        let seen_size = [seen.width * scale[0], seen.height * scale[1]];
        let patch_size = [seen_size[0] / cols as f32, seen_size[1] / rows as f32];
        Self {
            image: frame.image_px,
            seen: [x + seen.x * scale[0], y + seen.y * scale[1], seen_size[0], seen_size[1]],
            background: style.background,
            grid: [cols as u32, rows as u32],
            patch_size,
            num_tokens: layer.num_tokens,
            num_experts: layer.num_experts,
            top_k: layer.top_k,
            overlay_index: overlay_index(style.overlay),
            flags: flags(frame),
            lit: style.lit_expert.filter(|_| layer.num_tokens > 0).unwrap_or(NONE),
            hovered: frame.hovered.unwrap_or(NONE),
            pinned: frame.pinned.unwrap_or(NONE),
            scale: style.scale.index(),
            opacity: style.opacity.clamp(0.0, 1.0),
            scale_max: scale_max(style, layer),
            grid_opacity: grid_opacity(style, patch_size),
            mip_level: mip_level(photo_size, [width, height]),
            pixels_per_point: style.pixels_per_point,
            num_slots: layer.num_slots,
            padding: 0,
        }
    }
}

impl BarsUniform {
    pub fn new(frame: &BarsFrame, layer: LayerShape) -> Self {
        Self {
            view: frame.view_px,
            plot: frame.plot_px,
            x_range: frame.x_range,
            y_max: frame.y_max.unwrap_or(0.0),
            bar_width: frame.bar_width,
            num_experts: layer.num_experts,
            lit: frame.lit_expert.unwrap_or(NONE),
            hovered: frame.hovered.unwrap_or(NONE),
            flags: if frame.importance_marks { IMPORTANCE_MARKS } else { 0 },
            pixels_per_point: frame.pixels_per_point,
            padding: [0; 3],
        }
    }
}

/// The `OVERLAY_…` constants of heatmap.wgsl.
fn overlay_code(overlay: Overlay) -> u8 {
    match overlay {
        Overlay::None => 0,
        Overlay::ChosenExpert { .. } => 1,
        Overlay::GateProb { .. } => 2,
        Overlay::Entropy => 3,
        Overlay::Margin => 4,
        Overlay::ExpertCount => 5,
        Overlay::Slot { weight: SlotWeight::Dispatch, .. } => 6,
        Overlay::Slot { weight: SlotWeight::Combine, .. } => 7,
    }
}

/// Which rank, expert or slot the overlay shows.
fn overlay_index(overlay: Overlay) -> u32 {
    match overlay {
        Overlay::ChosenExpert { rank } => u32::try_from(rank).unwrap_or(NONE),
        Overlay::GateProb { expert } => expert,
        Overlay::Slot { slot, .. } => u32::try_from(slot.0).unwrap_or(NONE),
        Overlay::None | Overlay::Entropy | Overlay::Margin | Overlay::ExpertCount => 0,
    }
}

/// Lines thin out with the patches, so that they never cover more than a hint of the picture.
fn grid_opacity(style: &HeatmapStyle, [width, height]: [f32; 2]) -> f32 {
    let [gone, strongest] = GRID_FADE;
    let points = width.min(height) / style.pixels_per_point;
    let t = ((points - gone) / (strongest - gone)).clamp(0.0, 1.0);
    if style.grid_lines { GRID_OPACITY * t * t * (3.0 - 2.0 * t) } else { 0.0 }
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
    flag(style.dim_outside && !sees_all, DIM_OUTSIDE) | flag(style.dark, DARK)
}

/// The value at the upper end of the colour scale; never 0, which the shader divides by.
fn scale_max(style: &HeatmapStyle, layer: LayerShape) -> f32 {
    let max = match style.overlay {
        Overlay::GateProb { .. } | Overlay::Slot { .. } => style.scale_max,
        Overlay::ExpertCount => layer.top_k as f32,
        Overlay::Entropy => (layer.num_experts as f32).ln(),
        Overlay::None | Overlay::ChosenExpert { .. } | Overlay::Margin => 1.0,
    };
    max.max(f32::MIN_POSITIVE)
}

/// The mip level whose pixels are about as large as the screen's, rather smaller than larger: soft is worse than crisp.
fn mip_level(photo_size: [u32; 2], drawn: [f32; 2]) -> f32 {
    let reduced = (photo_size[0] as f32 / drawn[0]).max(photo_size[1] as f32 / drawn[1]);
    if reduced.is_finite() { (reduced.log2() + 0.4).floor().max(0.0) } else { 0.0 }
}
